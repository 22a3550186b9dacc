/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fabric [ADDRESS] [CONNECTIONS]: measures the speed of the RDMA device with this address (default: RXE_ADDR)
 * between two processes of this machine.
 *
 * Each figure is also printed as a ratio to a baseline of the same run: bandwidth to memcpy, round trips to two
 * processes that wake each other through eventfds, connections to TCP connections. Only the ratios are
 * meaningful on a machine that others use too. Each figure is the median of several rounds, between which
 * memcpy and the eventfds are measured. With FABRIC_BEST in the environment it is that of the best round, which
 * depends less on the load of the machine.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "../tests-c/fabric/conformance/conformance.h"

#define ROUNDS 7
#define ROUND_NS 1e8
#define DEPTH 8
#define MESSAGE 8

enum command { COPY, POLLED, WAITED, EVENTFD, TCP, CONNECTIONS, END };

struct order {
	enum command command;
	unsigned count;
};

/* what the server sends to the client */
struct server {
	uint16_t port;
	uint64_t addr;
	uint32_t rkey;
};

struct usage {
	long bytes;
	long descriptors;
};

static int ping, pong;	/* eventfds */

static double
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);

	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double
representative(double values[ROUNDS])
{
	qsort(values, ROUNDS, sizeof(values[0]), by_value);

	return values[getenv("FABRIC_BEST") ? 0 : ROUNDS / 2];
}

static struct usage
usage_now(void)
{
	struct usage usage = {0, 0};
	FILE *statm = fopen("/proc/self/statm", "r");
	DIR *fds = opendir("/proc/self/fd");
	long pages = 0;

	if (!statm || !fds || fscanf(statm, "%*d %ld", &pages) != 1)
		broken("/proc/self");
	usage.bytes = pages * sysconf(_SC_PAGESIZE);
	while (readdir(fds))
		usage.descriptors++;
	fclose(statm);
	closedir(fds);

	return usage;
}

static struct setup
bench_setup(void)
{
	struct setup setup = usual();

	/* send completions are polled from time to time, the program may wait for receive completions */
	setup.split_cq = true;
	setup.length = 2 * MIB;

	return setup;
}

/* --- messages ---------------------------------------------------------------------------------- */

static void
next_receive(struct end *end, bool waited, struct ibv_wc *wc)
{
	while (ibv_poll_cq(end->rcq, 1, wc) == 0) {
		struct ibv_cq *cq;
		void *context;

		if (!waited) {
			/* there may be fewer processors than threads */
			sched_yield();
			continue;
		}
		NEED(ibv_get_cq_event(end->comp, &cq, &context));
		ibv_ack_cq_events(cq, 1);
		NEED(ibv_req_notify_cq(cq, 0));
	}
	if (wc->status != IBV_WC_SUCCESS)
		broken(status_name(wc->status));
}

static void
send_message(struct end *end)
{
	struct ibv_wc wc;

	NEED(post_send(end, 1, 0, MESSAGE));
	while (ibv_poll_cq(end->cq, 1, &wc) == 1)
		if (wc.status != IBV_WC_SUCCESS)
			broken(status_name(wc.status));
}

/* answers messages until the last one, whose first byte is 1 */
static void
answer_messages(struct end *end, bool waited)
{
	struct ibv_wc wc;
	bool last;

	if (waited)
		NEED(ibv_req_notify_cq(end->rcq, 0));
	do {
		next_receive(end, waited, &wc);
		last = end->memory[MESSAGE] == 1;
		NEED(post_recv(end, 0, MESSAGE, MESSAGE));
		send_message(end);
	} while (!last);
}

static double
message_round(struct end *end, int fd, bool waited)
{
	struct order order = {waited ? WAITED : POLLED, 0};
	double start, end_of_round;
	struct ibv_wc wc;
	unsigned count = 0;
	bool last = false;

	tell(fd, &order, sizeof(order));
	if (waited)
		NEED(ibv_req_notify_cq(end->rcq, 0));
	start = now_ns();
	do {
		last = now_ns() - start > ROUND_NS;
		end->memory[0] = last;
		send_message(end);
		next_receive(end, waited, &wc);
		NEED(post_recv(end, 0, MESSAGE, MESSAGE));
		count++;
	} while (!last);
	end_of_round = now_ns();

	return (end_of_round - start) / count;
}

static void
answer_eventfd(void)
{
	eventfd_t value;

	do {
		NEED(eventfd_read(ping, &value));
		NEED(eventfd_write(pong, 1));
	} while (value == 1);
}

static double
eventfd_round(int fd)
{
	struct order order = {EVENTFD, 0};
	double start;
	unsigned count = 0;
	bool last;

	tell(fd, &order, sizeof(order));
	start = now_ns();
	do {
		eventfd_t value;

		last = now_ns() - start > ROUND_NS;
		NEED(eventfd_write(ping, last ? 2 : 1));
		NEED(eventfd_read(pong, &value));
		count++;
	} while (!last);

	return (now_ns() - start) / count;
}

/* --- 1 MiB ------------------------------------------------------------------------------------- */

static double
memcpy_round(uint8_t *to, const uint8_t *from)
{
	double start = now_ns();
	unsigned count = 0;

	do {
		memcpy(to, from, MIB);
		__asm__ volatile("" : : "r"(to) : "memory");
		count++;
	} while (now_ns() - start < ROUND_NS);

	return (now_ns() - start) / count;
}

/* with `depth` outstanding requests */
static double
rdma_round(struct end *end, enum ibv_wr_opcode opcode, struct remote remote, size_t length, unsigned depth)
{
	double start = now_ns();
	unsigned posted = 0, done = 0;
	struct ibv_wc wc;

	do {
		while (posted - done < depth)
			NEED(post_op(end, opcode, posted++, 0, length, remote));
		while (ibv_poll_cq(end->cq, 1, &wc) == 0)
			sched_yield();
		if (wc.status != IBV_WC_SUCCESS)
			broken(status_name(wc.status));
		done++;
	} while (now_ns() - start < ROUND_NS);
	while (done < posted) {
		if (ibv_poll_cq(end->cq, 1, &wc) == 0) {
			sched_yield();
			continue;
		}
		if (wc.status != IBV_WC_SUCCESS)
			broken(status_name(wc.status));
		done++;
	}

	return (now_ns() - start) / done;
}

/* a write of 8 bytes and then a read of 8 bytes, as librpma writes and flushes */
static double
flush_round(struct end *end, struct remote remote)
{
	double start = now_ns();
	struct request request;
	unsigned count = 0;
	struct ibv_wc wc;

	do {
		prepare(&request, end, IBV_WR_RDMA_WRITE, 1, 0, 8, remote);
		request.wr.send_flags = 0;
		NEED(post(end, &request));
		NEED(post_op(end, IBV_WR_RDMA_READ, 2, 8, 8, remote));
		while (ibv_poll_cq(end->cq, 1, &wc) == 0)
			sched_yield();
		if (wc.status != IBV_WC_SUCCESS)
			broken(status_name(wc.status));
		count++;
	} while (now_ns() - start < ROUND_NS);

	return (now_ns() - start) / count;
}

/* --- connections ------------------------------------------------------------------------------- */

/* each connection has its own channels, CQs and queue pair, as with librpma; memory and PD are shared */
static struct setup
small_setup(void)
{
	struct setup setup = bench_setup();

	setup.split_cq = false;
	setup.cq_size = 10;
	setup.sq_size = setup.rq_size = 10;
	setup.length = 4096;

	return setup;
}

static void
share(struct end *end, const struct end *first)
{
	memset(end, 0, sizeof(*end));
	end->pd = first->pd;
	end->memory = first->memory;
	end->length = first->length;
	end->mr = first->mr;
}

static struct end *
many_ends(unsigned count)
{
	struct rlimit limit;
	struct end *ends;

	NEED(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	NEED(setrlimit(RLIMIT_NOFILE, &limit));
	NEED_POINTER(ends, calloc(count + 1, sizeof(*ends)));

	return ends;
}

static void
take_down(struct end *ends, unsigned count)
{
	for (unsigned i = 0; i <= count; i++) {
		rdma_disconnect(ends[i].id);
		/* the first connection owns what is shared */
		if (i > 0) {
			ends[i].pd = NULL;
			ends[i].mr = NULL;
			ends[i].memory = NULL;
		}
	}
	for (unsigned i = count; i <= count; i--)
		close_end(&ends[i]);
	free(ends);
}

static void
serve_connections(int fd, struct listener *listener, unsigned count)
{
	struct setup setup = small_setup();
	struct end *ends = many_ends(count);
	struct usage before = {0, 0}, after;
	char byte;

	for (unsigned i = 0; i <= count; i++) {
		if (i > 0)
			share(&ends[i], &ends[0]);
		server_take(&ends[i], listener, &setup);
		server_accept(&ends[i], &setup);
		established(&ends[i]);
		if (i == 0)
			before = usage_now();
	}
	after = usage_now();
	after.bytes -= before.bytes;
	after.descriptors -= before.descriptors;
	tell(fd, &after, sizeof(after));
	hear(fd, &byte, 1);
	take_down(ends, count);
	tell(fd, &byte, 1);
}

struct setting_up {
	double ns;
	double ns_of_taking_down;
	struct usage client, server;
};

static struct setting_up
connections(int fd, uint16_t port, unsigned count)
{
	struct order order = {CONNECTIONS, count};
	struct setup setup = small_setup();
	struct end *ends = many_ends(count);
	struct setting_up result;
	struct usage before = {0, 0};
	double start = 0;
	char byte = 0;

	tell(fd, &order, sizeof(order));
	/* one more than those that are measured: it creates the shared objects */
	for (unsigned i = 0; i <= count; i++) {
		if (i > 0)
			share(&ends[i], &ends[0]);
		client_start(&ends[i], port, &setup);
		established(&ends[i]);
		if (i == 0) {
			before = usage_now();
			start = now_ns();
		}
	}
	result.ns = (now_ns() - start) / count;
	result.client = usage_now();
	result.client.bytes -= before.bytes;
	result.client.descriptors -= before.descriptors;
	hear(fd, &result.server, sizeof(result.server));

	start = now_ns();
	tell(fd, &byte, 1);
	take_down(ends, count);
	hear(fd, &byte, 1);
	result.ns_of_taking_down = (now_ns() - start) / count;

	return result;
}

static void
serve_tcp(int fd, unsigned count)
{
	struct sockaddr_storage storage;
	socklen_t length = sizeof(storage);
	int listener;

	device_address(0, &storage);
	listener = socket(storage.ss_family, SOCK_STREAM, 0);
	NEED(bind(listener, (struct sockaddr *)&storage, sizeof(storage)));
	NEED(listen(listener, 128));
	NEED(getsockname(listener, (struct sockaddr *)&storage, &length));
	tell(fd, &storage, sizeof(storage));
	for (unsigned i = 0; i < count; i++) {
		int connection = accept(listener, NULL, NULL);
		char byte;

		if (connection < 0)
			broken("accept");
		hear(connection, &byte, 1);
		tell(connection, &byte, 1);
		close(connection);
	}
	close(listener);
}

/* a TCP connection, and a byte in each direction */
static double
tcp_connections(int fd, unsigned count)
{
	struct order order = {TCP, count};
	struct sockaddr_storage storage;
	double start;

	tell(fd, &order, sizeof(order));
	hear(fd, &storage, sizeof(storage));
	start = now_ns();
	for (unsigned i = 0; i < count; i++) {
		int connection = socket(storage.ss_family, SOCK_STREAM, 0);
		char byte = 0;

		if (connection < 0)
			broken("socket");
		NEED(connect(connection, (struct sockaddr *)&storage, sizeof(storage)));
		tell(connection, &byte, 1);
		hear(connection, &byte, 1);
		close(connection);
	}

	return (now_ns() - start) / count;
}

/* --- both processes ---------------------------------------------------------------------------- */

static void
server(int fd)
{
	struct setup setup = bench_setup();
	struct listener listener = {0};
	struct end end = {0};
	struct server self = {0};
	struct order order;

	listen_any_port(&listener);
	self.port = listener.port;
	tell(fd, &self, sizeof(self));
	server_take(&end, &listener, &setup);
	for (unsigned i = 0; i < 4; i++)
		NEED(post_recv(&end, 0, MESSAGE, MESSAGE));
	server_accept(&end, &setup);
	established(&end);
	self.addr = remote_of(&end, 0).addr;
	self.rkey = remote_of(&end, 0).rkey;
	tell(fd, &self, sizeof(self));

	for (;;) {
		hear(fd, &order, sizeof(order));
		switch (order.command) {
		case POLLED:
		case WAITED:
			answer_messages(&end, order.command == WAITED);
			break;
		case EVENTFD:
			answer_eventfd();
			break;
		case TCP:
			serve_tcp(fd, order.count);
			break;
		case CONNECTIONS:
			serve_connections(fd, &listener, order.count);
			break;
		default:
			return;
		}
	}
}

static void
say_bandwidth(const char *name, double ns, double reference)
{
	printf("%-34s %8.1f MB/s  %6.2f of memcpy\n", name, (double)MIB / ns * 1000, reference / ns);
	fflush(stdout);
}

static void
say_time(const char *name, double ns, double reference, const char *unit)
{
	printf("%-34s %8.1f us    %6.2f %s\n", name, ns / 1000, ns / reference, unit);
	fflush(stdout);
}

int
main(int argc, char *argv[])
{
	struct setup setup = bench_setup();
	struct end end = {0};
	struct process process;
	struct server peer;
	struct remote remote;
	struct setting_up many;
	unsigned count = 1000;
	double tcp;
	enum { MEMCPY, WRITE, READ, WRITE_ONE, READ_ONE, EVENTFDS, MESSAGE_POLLED, MESSAGE_WAITED,
		WRITE_AND_READ, READ_8, KINDS };
	double ns[KINDS][ROUNDS], of[KINDS];

	case_name = "fabric";
	address = argc > 1 ? argv[1] : getenv("RXE_ADDR");
	if (argc > 2)
		count = (unsigned)atoi(argv[2]);
	if (!address || argc > 3) {
		fprintf(stderr, "usage: fabric ADDRESS [CONNECTIONS] (or RXE_ADDR=ADDRESS)\n");
		return 2;
	}

	ping = eventfd(0, 0);
	pong = eventfd(0, 0);
	process = start_process(server);
	hear(process.fd, &peer, sizeof(peer));
	client_start(&end, peer.port, &setup);
	for (unsigned i = 0; i < 4; i++)
		NEED(post_recv(&end, 0, MESSAGE, MESSAGE));
	established(&end);
	hear(process.fd, &peer, sizeof(peer));
	remote = (struct remote){peer.addr, peer.rkey};
	/* so that all pages are allocated */
	memset(end.memory, 0, end.length);
	rdma_round(&end, IBV_WR_RDMA_WRITE, remote, MIB, DEPTH);

	for (unsigned round = 0; round < ROUNDS; round++) {
		ns[MEMCPY][round] = memcpy_round(end.memory + MIB, end.memory);
		ns[WRITE][round] = rdma_round(&end, IBV_WR_RDMA_WRITE, remote, MIB, DEPTH);
		ns[READ][round] = rdma_round(&end, IBV_WR_RDMA_READ, remote, MIB, DEPTH);
		ns[WRITE_ONE][round] = rdma_round(&end, IBV_WR_RDMA_WRITE, remote, MIB, 1);
		ns[READ_ONE][round] = rdma_round(&end, IBV_WR_RDMA_READ, remote, MIB, 1);
		ns[EVENTFDS][round] = eventfd_round(process.fd);
		ns[MESSAGE_POLLED][round] = message_round(&end, process.fd, false);
		ns[MESSAGE_WAITED][round] = message_round(&end, process.fd, true);
		ns[WRITE_AND_READ][round] = flush_round(&end, remote);
		ns[READ_8][round] = rdma_round(&end, IBV_WR_RDMA_READ, remote, 8, 1);
	}
	for (unsigned kind = 0; kind < KINDS; kind++)
		of[kind] = representative(ns[kind]);

	say_bandwidth("memcpy of 1 MiB", of[MEMCPY], of[MEMCPY]);
	say_bandwidth("writes of 1 MiB, 8 at a time", of[WRITE], of[MEMCPY]);
	say_bandwidth("reads of 1 MiB, 8 at a time", of[READ], of[MEMCPY]);
	say_bandwidth("writes of 1 MiB, one at a time", of[WRITE_ONE], of[MEMCPY]);
	say_bandwidth("reads of 1 MiB, one at a time", of[READ_ONE], of[MEMCPY]);
	say_time("eventfd round trip", of[EVENTFDS], of[EVENTFDS], "eventfd round trips");
	say_time("8-byte message and back, polled", of[MESSAGE_POLLED], of[EVENTFDS], "eventfd round trips");
	say_time("8-byte message and back, waited", of[MESSAGE_WAITED], of[EVENTFDS], "eventfd round trips");
	say_time("8-byte write, then 8-byte read", of[WRITE_AND_READ], of[EVENTFDS], "eventfd round trips");
	say_time("8-byte read", of[READ_8], of[EVENTFDS], "eventfd round trips");

	if (count == 0)
		return 0;
	tcp = tcp_connections(process.fd, count);
	many = connections(process.fd, peer.port, count);
	printf("%u connections, one after the other\n", count);
	say_time("  TCP, and a byte each way", tcp, tcp, "TCP connections");
	say_time("  RDMA, until ESTABLISHED", many.ns, tcp, "TCP connections");
	printf("%-34s %8.0f a second\n", "  which is", 1e9 / many.ns);
	say_time("  disconnect and destroy", many.ns_of_taking_down, tcp, "TCP connections");
	printf("%-34s %8.1f KiB of memory, %.2f descriptors\n", "  each, at the client",
			(double)many.client.bytes / 1024 / count, (double)many.client.descriptors / count);
	printf("%-34s %8.1f KiB of memory, %.2f descriptors\n", "  each, at the server",
			(double)many.server.bytes / 1024 / count, (double)many.server.descriptors / count);

	tell(process.fd, &(struct order){END, 0}, sizeof(struct order));

	return 0;
}
