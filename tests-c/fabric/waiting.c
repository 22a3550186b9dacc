/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * waiting [ADDRESS]: programs that wait for an event of a completion queue. One arms its queue behind a write, and then
 * looks at nothing but the descriptor of its channel.
 *
 *   softrdma run -- waiting
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: WAITING_ROUNDS (200), PAIR_WAIT_MS (10000: how long anything
 * may take).
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "two-processes.h"

#define DEPTH 16
#define MESSAGE ((size_t)64)

static unsigned
rounds(void)
{
	return (unsigned)env_number("WAITING_ROUNDS", 200);
}

static bool
is_readable(const struct link *link, int ms)
{
	struct pollfd readable = {.fd = link->channel->fd, .events = POLLIN};

	return poll(&readable, 1, ms) == 1;
}

static void
arm(struct link *link)
{
	CHECK(ibv_req_notify_cq(link->cq, 0) == 0);
}

static void
take_event(struct link *link)
{
	struct ibv_cq *cq;
	void *context;

	CHECK(ibv_get_cq_event(link->channel, &cq, &context) == 0);
	ibv_ack_cq_events(cq, 1);
}

/* whether the next completion comes within so many milliseconds; the queue need not be armed */
static bool
comes(struct link *link, int ms)
{
	const uint64_t end = now_ns() + (uint64_t)ms * 1000000;
	struct ibv_wc wc;
	int taken;

	while ((taken = ibv_poll_cq(link->cq, 1, &wc)) == 0) {
		if (now_ns() > end)
			return false;
	}
	CHECK(taken == 1 && wc.status == IBV_WC_SUCCESS);
	link->posted--;

	return true;
}

/* --- who arms the queue behind a request, and looks at the descriptor only --- */

/* a thread that was interrupted for so long between two calls has not made one behind the other */
#define AT_ONCE_NS 40000000

static void
post_write(struct link *link)
{
	post(link, IBV_WR_RDMA_WRITE, 0, 0, MESSAGE, 0);
}

/* until the initiator executes writes itself, which shows while the other side is stopped */
static void
until_direct(struct link *link, pid_t server)
{
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
	bool done;

	do {
		int status;

		CHECK(kill(server, SIGSTOP) == 0);
		CHECK(waitpid(server, &status, WUNTRACED) == server && WIFSTOPPED(status));
		post_write(link);
		done = comes(link, 20);
		CHECK(kill(server, SIGCONT) == 0);
		CHECK(done || comes(link, wait_ms()));
		CHECK(now_ns() < end);
	} while (!done);
}

/* the write is executed before the call that posts it returns: the event has to come nevertheless */
static void
arm_behind_a_write(struct link *link)
{
	/* it was armed, and there is an event of that */
	while (is_readable(link, 0))
		take_event(link);
	for (unsigned i = 0; i < rounds(); i++) {
		const uint64_t begun = now_ns();
		bool at_once;

		post_write(link);
		arm(link);
		at_once = now_ns() - begun < AT_ONCE_NS;
		if (at_once && !is_readable(link, wait_ms()))
			die("no event of write %u", i);
		while (is_readable(link, 0))
			take_event(link);
		CHECK(comes(link, wait_ms()));
	}
	/* what was polled before the queue is armed is no event */
	post_write(link);
	CHECK(comes(link, wait_ms()));
	while (is_readable(link, 0))
		take_event(link);
	arm(link);
	CHECK(!is_readable(link, 0));
	post_write(link);
	CHECK(is_readable(link, wait_ms()));
	take_event(link);
	CHECK(comes(link, wait_ms()));
}

static int
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 1);
	struct link link;
	char line[16];

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	link_open(&link, await_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST), 2 * MESSAGE, DEPTH);
	accept_link(&link);
	await_event(channel, RDMA_CM_EVENT_ESTABLISHED);
	/* however long that takes */
	CHECK(listen_to_parent(line, sizeof(line)));
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	rdma_disconnect(link.id);
	link_close(&link);
	close_server(channel, listener);

	return 0;
}

int
main(int argc, char *argv[])
{
	struct rdma_event_channel *channel;
	struct child server;
	struct link link;
	unsigned port;

	if (argc > 2)
		return serve(argv[2]);
	skip_without(argc > 1 ? argv[1] : "127.0.0.1");
	server = start("server", argc > 1 ? argv[1] : "127.0.0.1", 0);
	port = (unsigned)expect(&server, "listening ");
	channel = open_channel();
	CHECK(connect_link(&link, channel, argc > 1 ? argv[1] : "127.0.0.1", port, 2 * MESSAGE, DEPTH));
	until_direct(&link, server.pid);
	arm_behind_a_write(&link);
	tell(&server, "done");
	rdma_disconnect(link.id);
	link_close(&link);
	rdma_destroy_event_channel(channel);
	release_pd();
	finish(&server);
	printf("%u writes, each with its event\n", rounds());

	return 0;
}
