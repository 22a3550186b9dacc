/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * small-pair [ADDRESS]: a server and a client that exchange a message, write, read, and take everything down again,
 * each in its own process: what a checker such as valgrind is given.
 *
 *   softrdma run -- valgrind --trace-children=yes small-pair
 *
 * ADDRESS is 127.0.0.1 unless given.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "two-processes.h"

#define LARGE ((size_t)256 << 10)
#define SMALL ((size_t)64)
/* the parts of the memory: what is sent, what the other side writes, and what was read */
#define SOURCE ((size_t)0)
#define WRITTEN LARGE
#define READ (2 * LARGE)
#define SIZE (3 * LARGE)

static void
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 1);
	struct link link;

	report("listening %u", ntohs(rdma_get_src_port(listener)));
	link_open(&link, await_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST), SIZE, 4);
	fill(link.memory + SOURCE, LARGE, 1);
	post_receive(&link, 1, READ, SMALL);
	accept_link(&link);
	await_event(channel, RDMA_CM_EVENT_ESTABLISHED);
	complete(&link);
	post(&link, IBV_WR_SEND, 2, SOURCE, SMALL, 0);
	complete(&link);
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	CHECK(rdma_disconnect(link.id) == 0);
	link_close(&link);
	CHECK(rdma_destroy_id(listener) == 0);
	rdma_destroy_event_channel(channel);
	release_pd();
}

static void
use(const char *address, unsigned port)
{
	struct rdma_event_channel *channel = open_channel();
	struct link link;

	CHECK(connect_link(&link, channel, address, port, SIZE, 4));
	fill(link.memory + SOURCE, LARGE, 2);
	for (size_t length = SMALL; length <= LARGE; length *= LARGE / SMALL) {
		post(&link, IBV_WR_RDMA_WRITE, 1, SOURCE, length, WRITTEN);
		complete(&link);
		post(&link, IBV_WR_RDMA_READ, 2, READ, length, WRITTEN);
		complete(&link);
		CHECK(memcmp(link.memory + READ, link.memory + SOURCE, length) == 0);
	}
	post_receive(&link, 3, READ, SMALL);
	post(&link, IBV_WR_SEND, 4, SOURCE, SMALL, 0);
	/* the request and the answer, in either order */
	complete(&link);
	complete(&link);
	CHECK(rdma_disconnect(link.id) == 0);
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	link_close(&link);
	rdma_destroy_event_channel(channel);
	release_pd();
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	struct child server, client;

	if (argc > 3) {
		if (strcmp(argv[1], "server") == 0)
			serve(argv[2]);
		else
			use(argv[2], (unsigned)atoi(argv[3]));
		return 0;
	}
	skip_without(address);
	server = start("server", address, 0);
	client = start("client", address, (unsigned)expect(&server, "listening"));
	finish(&client);
	finish(&server);

	return 0;
}
