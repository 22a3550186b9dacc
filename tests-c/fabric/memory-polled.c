/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory-polled [ADDRESS]: two programs that poll their memory for what the other one writes, and their completion
 * queues for their own writes only. They have to be served while they look at memory, as on a device, and not once in
 * a millisecond. On a busy machine that may be seen late: the test goes on until it is, MEMORY_SECONDS (30) at most.
 *
 *   softrdma run -- memory-polled
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: PAIR_WAIT_MS (10000: how long anything may take).
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "two-processes.h"

#define DEPTH 16
/* what the other side writes, what this side writes, and a message */
#define THERE 0
#define HERE ((size_t)64)
#define MESSAGE ((size_t)128)
#define SIZE ((size_t)256)
/* writes to and fro that are timed together */
#define BATCH 50
/* the first ones show how the program polls */
#define FIRST 200
#define FAST_NS ((uint64_t)15000000)

static void
wait_for_value(struct link *link, uint32_t value)
{
	volatile uint32_t *there = (volatile uint32_t *)(link->memory + THERE);
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;

	for (unsigned turn = 1; *there != value; turn++) {
		/* the other process may be waiting for this processor */
		if (turn % (1u << 20) == 0)
			sched_yield();
		if (turn % (1u << 20) == 0 && now_ns() > limit)
			die("no write in %d ms", wait_ms());
	}
}

/* without arming the queue, which would say that this program waits for events */
static struct ibv_wc
poll_one(struct link *link)
{
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_wc wc;
	int taken;

	for (unsigned turn = 1; (taken = ibv_poll_cq(link->cq, 1, &wc)) == 0; turn++) {
		if (now_ns() > limit)
			die("no completion in %d ms", wait_ms());
		if (turn % 10000 == 0)
			sched_yield();
	}
	CHECK(taken == 1 && wc.status == IBV_WC_SUCCESS);
	link->posted--;

	return wc;
}

static void
write_value(struct link *link, uint32_t value)
{
	memcpy(link->memory + HERE, &value, sizeof(value));
	post(link, IBV_WR_RDMA_WRITE, value, HERE, sizeof(value), THERE);
	CHECK(poll_one(link).wr_id == value);
}

static int
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 1);
	struct link link;

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	link_open(&link, await_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST), SIZE, DEPTH);
	post_receive(&link, 0, MESSAGE, sizeof(link.remote));
	accept_link(&link);
	/* where the client's memory is */
	CHECK(poll_one(&link).opcode == IBV_WC_RECV);
	memcpy(&link.remote, link.memory + MESSAGE, sizeof(link.remote));
	for (uint32_t value = 1; value != 0; value++) {
		wait_for_value(&link, value);
		write_value(&link, value);
		/* the client looks from time to time whether there is an end */
		if (value % BATCH == 0) {
			post_receive(&link, 0, MESSAGE, 1);
			if (poll_one(&link).byte_len == 1)
				break;
		}
	}
	await_event(channel, RDMA_CM_EVENT_ESTABLISHED);
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	rdma_disconnect(link.id);
	link_close(&link);
	close_server(channel, listener);

	return 0;
}

static int
work(const char *address, unsigned port)
{
	struct rdma_event_channel *channel = open_channel();
	uint64_t limit = now_ns() + (uint64_t)env_number("MEMORY_SECONDS", 30) * 1000000000;
	uint64_t best = UINT64_MAX;
	struct remote own;
	struct link link;
	uint32_t value = 0;
	bool is_last;

	CHECK(connect_link(&link, channel, address, port, SIZE, DEPTH));
	own = (struct remote){(uintptr_t)link.memory, link.mr->rkey, (uint32_t)SIZE};
	memcpy(link.memory + MESSAGE, &own, sizeof(own));
	post(&link, IBV_WR_SEND, 0, MESSAGE, sizeof(own), 0);
	CHECK(poll_one(&link).opcode == IBV_WC_SEND);
	do {
		uint64_t start = now_ns(), time;

		for (unsigned i = 0; i < BATCH; i++) {
			write_value(&link, ++value);
			wait_for_value(&link, value);
		}
		time = now_ns() - start;
		if (value > FIRST && time < best)
			best = time;
		is_last = best < FAST_NS || now_ns() > limit;
		post(&link, IBV_WR_SEND, 0, MESSAGE, is_last, 0);
		CHECK(poll_one(&link).opcode == IBV_WC_SEND);
	} while (!is_last);
	rdma_disconnect(link.id);
	link_close(&link);
	release_pd();
	rdma_destroy_event_channel(channel);
	report("microseconds %lu", (unsigned long)(best / 1000));

	return 0;
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	struct child server, client;
	unsigned long microseconds;

	if (argc == 4) {
		return strcmp(argv[1], "server") == 0 ? serve(argv[2]) :
				work(argv[2], (unsigned)atoi(argv[3]));
	}

	/* longer than the client tries */
	setenv("PAIR_WAIT_MS", "100000", 0);
	skip_without(address);
	server = start("server", address, 0);
	client = start("client", address, (unsigned)expect(&server, "listening "));
	microseconds = expect(&client, "microseconds ");
	finish(&client);
	finish(&server);
	printf("%d writes to and fro between programs that poll memory: %lu us\n", BATCH, microseconds);
	if (microseconds > FAST_NS / 1000) {
		double load;

		/* it has to wait for a processor each time */
		if (getloadavg(&load, 1) == 1 && load > (double)sysconf(_SC_NPROCESSORS_ONLN) + 2) {
			printf("skipped: this machine is too busy to tell, with a load of %.1f\n", load);
			return 77;
		}
		die("never in %d us", (int)(FAST_NS / 1000));
	}

	return 0;
}
