/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * large-transfers [ADDRESS]: 64 MiB are written, read back and compared on one connection, as one operation
 * each if the device can, while eight threads use connections of their own.
 *
 *   softrdma run -- large-transfers
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: BIG_MIB (64), BIG_ROUNDS (5), BIG_THREADS (8),
 * PAIR_WAIT_MS (10000: how long anything may take).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "two-processes.h"

#define DEPTH 256
#define SMALL ((size_t)1 << 20)
#define MESSAGE ((size_t)4096)
#define MOST_THREADS 64

static size_t big;

/* --- the server: memory for each connection, and messages that go back --------------------------- */

struct service {
	pthread_t thread;
	struct link link;
	size_t size;
	atomic_bool ended;
};

static void *
serve_link(void *argument)
{
	struct service *service = argument;
	struct link *link = &service->link;
	struct pollfd readable = {.fd = link->channel->fd, .events = POLLIN};

	while (!atomic_load(&service->ended)) {
		struct ibv_wc wc;

		if (drain(link, &wc) == 0) {
			poll(&readable, 1, 20);
			continue;
		}
		if (wc.status != IBV_WC_SUCCESS)
			continue;
		if (wc.opcode == IBV_WC_RECV)
			post(link, IBV_WR_SEND, 0, 0, wc.byte_len, 0);
		else
			post_receive(link, 0, 0, MESSAGE);
	}

	return NULL;
}

static int
serve(const char *address)
{
	static struct service services[MOST_THREADS + 1];
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, MOST_THREADS + 1);
	unsigned wanted = (unsigned)env_number("BIG_THREADS", 8) + 1;
	unsigned taken = 0, ended = 0;

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	while (ended < wanted) {
		/* the client may be busy for long: the parent ends this if it takes too long */
		struct rdma_cm_event *event = next_event(channel, -1);
		enum rdma_cm_event_type type;
		struct service *service;
		struct rdma_cm_id *id;

		CHECK(event);
		type = event->event;
		id = event->id;
		CHECK(rdma_ack_cm_event(event) == 0);
		switch (type) {
		case RDMA_CM_EVENT_CONNECT_REQUEST:
			CHECK(taken < wanted);
			/* the first is for the big data */
			service = &services[taken];
			link_open(&service->link, id, taken == 0 ? big : SMALL + MESSAGE, DEPTH);
			post_receive(&service->link, 0, 0, MESSAGE);
			accept_link(&service->link);
			CHECK(!service->link.ended);
			CHECK(pthread_create(&service->thread, NULL, serve_link, service) == 0);
			taken++;
			break;
		case RDMA_CM_EVENT_DISCONNECTED:
			for (unsigned i = 0; i < taken; i++) {
				if (services[i].link.id == id)
					atomic_store(&services[i].ended, true);
			}
			ended++;
			break;
		case RDMA_CM_EVENT_ESTABLISHED:
		case RDMA_CM_EVENT_TIMEWAIT_EXIT:
			break;
		default:
			die("event %s", rdma_event_str(type));
		}
	}
	for (unsigned i = 0; i < taken; i++) {
		pthread_join(services[i].thread, NULL);
		rdma_disconnect(services[i].link.id);
		link_close(&services[i].link);
	}
	close_server(channel, listener);

	return 0;
}

/* --- the client -------------------------------------------------------------------------------- */

struct worker {
	pthread_t thread;
	struct link link;
	struct rdma_event_channel *channel;
	uint64_t seed;
	unsigned rounds;
};

static atomic_bool stop;

/* small operations of all sizes, each verified */
static void *
work_small(void *argument)
{
	struct worker *worker = argument;
	struct link *link = &worker->link;
	char *written = link->memory;
	char *read = link->memory + SMALL / 2;
	struct random random = {worker->seed};

	do {
		size_t size = 1 + next_random(&random) % ((size_t)1 << next_random(&random) % 19);
		size_t remote = MESSAGE + next_random(&random) % (SMALL - size);
		size_t message = size < MESSAGE ? size : MESSAGE;

		fill(written, size, next_random(&random));
		memset(read, 0, size);
		/* the read comes after the write, without waiting for it */
		post(link, IBV_WR_RDMA_WRITE, 1, 0, size, remote);
		post(link, IBV_WR_RDMA_READ, 2, SMALL / 2, size, remote);
		CHECK(complete(link).wr_id == 1);
		CHECK(complete(link).wr_id == 2);
		if (memcmp(written, read, size) != 0)
			die("%zu bytes came back as others", size);

		memset(read, 0, message);
		post_receive(link, 3, SMALL / 2, MESSAGE);
		post(link, IBV_WR_SEND, 4, 0, message, 0);
		for (int i = 0; i < 2; i++) {
			struct ibv_wc wc = complete(link);

			CHECK(wc.opcode != IBV_WC_RECV || wc.byte_len == message);
		}
		if (memcmp(written, read, message) != 0)
			die("a message of %zu bytes came back as another one", message);
		worker->rounds++;
	} while (!atomic_load(&stop));

	return NULL;
}

/* in pieces as large as allowed, all posted at once; the seconds that it took */
static double
move_big(struct link *link, enum ibv_wr_opcode opcode, size_t local, size_t piece)
{
	uint64_t started = now_ns();
	unsigned due = 0;

	for (size_t at = 0; at < big; at += piece) {
		post(link, opcode, at, local + at, big - at < piece ? big - at : piece, at);
		due++;
	}
	while (due-- > 0)
		complete(link);

	return (double)(now_ns() - started) / 1e9;
}

static void
work_big(struct link *link, size_t piece, unsigned rounds)
{
	char *written = link->memory;
	char *read = link->memory + big;
	double write_s = 0, read_s = 0;

	for (unsigned round = 0; round < rounds; round++) {
		fill(written, big, now_ns());
		memset(read, 0, big);
		write_s += move_big(link, IBV_WR_RDMA_WRITE, 0, piece);
		read_s += move_big(link, IBV_WR_RDMA_READ, big, piece);
		if (memcmp(written, read, big) != 0)
			die("what was read is not what was written");
	}
	report("in pieces of %zu KiB: write %.0f MiB/s, read %.0f MiB/s", piece >> 10,
			(double)(big >> 20) * rounds / write_s, (double)(big >> 20) * rounds / read_s);
}

static int
work(const char *address, unsigned port)
{
	static struct worker workers[MOST_THREADS];
	unsigned threads = (unsigned)env_number("BIG_THREADS", 8);
	unsigned rounds = (unsigned)env_number("BIG_ROUNDS", 5);
	struct rdma_event_channel *channel = open_channel();
	struct ibv_port_attr attr;
	unsigned small = 0;
	struct link link;
	size_t piece;

	CHECK(connect_link(&link, channel, address, port, big * 2, DEPTH));
	CHECK(link.remote.size == big);
	CHECK(ibv_query_port(link.id->verbs, 1, &attr) == 0);
	piece = attr.max_msg_sz < big ? attr.max_msg_sz : big;
	work_big(&link, piece, rounds);

	for (unsigned i = 0; i < threads; i++) {
		workers[i].seed = i + 1;
		workers[i].channel = open_channel();
		CHECK(connect_link(&workers[i].link, workers[i].channel, address, port, SMALL, DEPTH));
		CHECK(pthread_create(&workers[i].thread, NULL, work_small, &workers[i]) == 0);
	}
	report("with %u threads besides:", threads);
	work_big(&link, piece, rounds);
	if (piece > SMALL)
		work_big(&link, SMALL, rounds);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		small += workers[i].rounds;
		CHECK(workers[i].rounds > 0);
		rdma_disconnect(workers[i].link.id);
		link_close(&workers[i].link);
		rdma_destroy_event_channel(workers[i].channel);
	}
	report("%u verified rounds of small operations meanwhile", small);
	rdma_disconnect(link.id);
	link_close(&link);
	release_pd();
	rdma_destroy_event_channel(channel);
	report("done");

	return 0;
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	struct child server, client;
	char *line;

	big = (size_t)env_number("BIG_MIB", 64) << 20;
	if (argc == 4) {
		return strcmp(argv[1], "server") == 0 ? serve(argv[2]) :
				work(argv[2], (unsigned)atoi(argv[3]));
	}
	skip_without(address);
	if (env_number("BIG_THREADS", 8) > MOST_THREADS)
		die("BIG_THREADS is at most %d", MOST_THREADS);

	server = start("server", address, 0);
	client = start("client", address, (unsigned)expect(&server, "listening "));
	do {
		line = hear(&client);
		if (!line)
			die("the client ended, or said nothing in %d ms", wait_ms());
		if (strcmp(line, "done") != 0)
			printf("%s\n", line);
		fflush(stdout);
	} while (strcmp(line, "done") != 0);
	finish(&client);
	finish(&server);

	return 0;
}
