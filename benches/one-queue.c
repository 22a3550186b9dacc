/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * one-queue [ADDRESS] [CONNECTIONS...]: how long an 8-byte message and back takes between two processes that have so
 * many connections on one completion queue each, and poll it: on each connection in turn, and on one of them. Prints
 * the best of many rounds, which depends least on the load of the machine. Without numbers: 1 8 16 17 18 32 64 256 1000.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "two-processes.h"

#define MESSAGE 8
#define ROUNDS 50
#define ROUND_NS 5000000
#define MOST 4096

static struct rdma_cm_id *ids[MOST];
static char memory[4096];
static struct ibv_cq *cq;
static struct ibv_mr *mr;

static void
make_qp(struct rdma_cm_id *id)
{
	struct ibv_qp_init_attr attr = {
		.cap = {.max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 1, .max_recv_sge = 1},
		.qp_type = IBV_QPT_RC,
	};

	if (!cq) {
		cq = ibv_create_cq(id->verbs, 8 * MOST - 1, NULL, NULL, 0);
		mr = ibv_reg_mr(pd_of(id->verbs), memory, sizeof(memory), IBV_ACCESS_LOCAL_WRITE);
		CHECK(cq && mr);
	}
	attr.send_cq = attr.recv_cq = cq;
	CHECK(rdma_create_qp(id, pd_of(id->verbs), &attr) == 0);
}

static void
receive(unsigned index)
{
	struct ibv_sge sge = {.addr = (uintptr_t)memory, .length = MESSAGE, .lkey = mr->lkey};
	struct ibv_recv_wr wr = {.wr_id = index, .sg_list = &sge, .num_sge = 1};
	struct ibv_recv_wr *bad;

	CHECK(ibv_post_recv(ids[index]->qp, &wr, &bad) == 0);
}

static void
send_on(unsigned index, uint64_t value)
{
	struct ibv_sge sge = {.addr = (uintptr_t)memory + 64, .length = MESSAGE, .lkey = mr->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND,
		.send_flags = IBV_SEND_SIGNALED};
	struct ibv_send_wr *bad;

	memcpy(memory + 64, &value, sizeof(value));
	CHECK(ibv_post_send(ids[index]->qp, &wr, &bad) == 0);
}

/* the connection of the next message */
static unsigned
next_message(void)
{
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_wc wc;

	for (unsigned turn = 1;; turn++) {
		int taken = ibv_poll_cq(cq, 1, &wc);

		CHECK(taken >= 0);
		if (taken == 1) {
			CHECK(wc.status == IBV_WC_SUCCESS);
			if (wc.opcode == IBV_WC_RECV)
				return (unsigned)wc.wr_id;
		}
		if (turn % 1024 == 0) {
			CHECK(now_ns() < limit);
			sched_yield();
		}
	}
}

static void
close_all(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		rdma_disconnect(ids[i]);
		rdma_destroy_qp(ids[i]);
		CHECK(rdma_destroy_id(ids[i]) == 0);
	}
	CHECK(ibv_dereg_mr(mr) == 0 && ibv_destroy_cq(cq) == 0);
	release_pd();
}

static int
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, MOST);
	unsigned count = (unsigned)env_number("QUEUE_CONNECTIONS", 1);
	struct rdma_conn_param param = conn_param(NULL, 0);
	uint64_t value;

	raise_descriptor_limit();
	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	for (unsigned taken = 0, established = 0; established < count;) {
		struct rdma_cm_event *event = next_event(channel, wait_ms());
		enum rdma_cm_event_type type;

		CHECK(event);
		type = event->event;
		if (type == RDMA_CM_EVENT_CONNECT_REQUEST)
			ids[taken] = event->id;
		CHECK(rdma_ack_cm_event(event) == 0);
		if (type == RDMA_CM_EVENT_CONNECT_REQUEST) {
			make_qp(ids[taken]);
			receive(taken);
			CHECK(rdma_accept(ids[taken], &param) == 0);
			taken++;
		} else if (type == RDMA_CM_EVENT_ESTABLISHED) {
			established++;
		}
	}
	report("established");
	do {
		unsigned index = next_message();

		memcpy(&value, memory, sizeof(value));
		receive(index);
		send_on(index, 0);
	} while (value == 0);
	for (unsigned ended = 0; ended < count;) {
		struct rdma_cm_event *event = next_event(channel, wait_ms());

		CHECK(event);
		ended += event->event == RDMA_CM_EVENT_DISCONNECTED;
		CHECK(rdma_ack_cm_event(event) == 0);
	}
	close_all(count);
	CHECK(rdma_destroy_id(listener) == 0);

	return 0;
}

static double
best(unsigned connections)
{
	double best_time = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t start = now_ns(), now;
		unsigned sent = 0;

		do {
			send_on(sent % connections, 0);
			CHECK(next_message() == sent % connections);
			receive(sent % connections);
			sent++;
			now = now_ns();
		} while (now - start < ROUND_NS || sent < connections);
		if (round == 0 || (double)(now - start) / sent < best_time)
			best_time = (double)(now - start) / sent;
	}

	return best_time / 1000;
}

static void
await(struct rdma_event_channel *channel, enum rdma_cm_event_type type)
{
	struct rdma_cm_event *event = next_event(channel, wait_ms());

	CHECK(event && event->event == type && rdma_ack_cm_event(event) == 0);
}

static int
work(const char *address, unsigned port)
{
	unsigned count = (unsigned)env_number("QUEUE_CONNECTIONS", 1);
	struct rdma_event_channel *channel = open_channel();
	struct rdma_conn_param param = conn_param(NULL, 0);
	struct sockaddr_storage parsed;
	char line[16];

	raise_descriptor_limit();
	parse_address(&parsed, address, port);
	for (unsigned i = 0; i < count; i++) {
		CHECK(rdma_create_id(channel, &ids[i], NULL, RDMA_PS_TCP) == 0);
		CHECK(rdma_resolve_addr(ids[i], NULL, (struct sockaddr *)&parsed, wait_ms()) == 0);
		await(channel, RDMA_CM_EVENT_ADDR_RESOLVED);
		CHECK(rdma_resolve_route(ids[i], wait_ms()) == 0);
		await(channel, RDMA_CM_EVENT_ROUTE_RESOLVED);
		make_qp(ids[i]);
		receive(i);
		CHECK(rdma_connect(ids[i], &param) == 0);
		await(channel, RDMA_CM_EVENT_ESTABLISHED);
	}
	CHECK(listen_to_parent(line, sizeof(line)));
	best(count);
	report("%4u connections: in turn %7.2f us, on one %7.2f us", count, best(count), best(1));
	send_on(0, 1);
	CHECK(next_message() == 0);
	close_all(count);

	return 0;
}

static void
measure(const char *address, const char *count)
{
	struct child server, client;
	char *line;

	setenv("QUEUE_CONNECTIONS", count, 1);
	server = start("server", address, 0);
	client = start("client", address, (unsigned)expect(&server, "listening "));
	expect(&server, "established");
	tell(&client, "go");
	line = hear(&client);
	CHECK(line);
	puts(line);
	finish(&client);
	finish(&server);
}

int
main(int argc, char *argv[])
{
	static const char *const usual[] = {"1", "8", "16", "17", "18", "32", "64", "256", "1000"};
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";

	if (argc == 4 && strcmp(argv[0], "server") == 0)
		return serve(argv[2]);
	if (argc == 4 && strcmp(argv[0], "client") == 0)
		return work(argv[2], (unsigned)atoi(argv[3]));
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 2; i < argc; i++)
		measure(address, argv[i]);
	for (unsigned i = 0; argc <= 2 && i < sizeof(usual) / sizeof(usual[0]); i++)
		measure(address, usual[i]);

	return 0;
}
