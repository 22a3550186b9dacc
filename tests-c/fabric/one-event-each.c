/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * one-event-each [ADDRESS]: messages to and fro between programs of the oldest kind, which wait for an event, arm the
 * queue, take one completion, and wait again before they look for the next one. The server answers when it has an
 * event, and then when it polls, so that both completions of the client come at once. And a server that is stopped as
 * soon as it has seen a message: the client's completion must not wait for it.
 *
 *   softrdma run -- one-event-each
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: EVENT_ROUNDS (500), PAIR_WAIT_MS (10000: how long anything
 * may take).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "two-processes.h"

#define DEPTH 16
#define MESSAGE ((size_t)64)
/* how often the server is stopped */
#define STOPS 50

static unsigned
rounds(void)
{
	return (unsigned)env_number("EVENT_ROUNDS", 500);
}

/* what an old program has where it needs the next completion */
static void
wait_and_take(struct link *link, enum ibv_wc_opcode expected)
{
	struct pollfd readable = {.fd = link->channel->fd, .events = POLLIN};
	struct ibv_cq *cq;
	struct ibv_wc wc;
	void *context;
	int taken;

	/* as the library that they use does it: in a call that blocks */
	alarm((unsigned)wait_ms() / 1000 + 1);
	CHECK(ibv_get_cq_event(link->channel, &cq, &context) == 0);
	alarm(0);
	ibv_ack_cq_events(cq, 1);
	CHECK(ibv_req_notify_cq(cq, 0) == 0);
	taken = ibv_poll_cq(cq, 1, &wc);
	if (taken == 0) {
		/* nothing was left for this event: it was taken with the one before */
		die("an event without a completion; the channel is%s readable", poll(&readable, 1, 0) ? "" : " not");
	}
	CHECK(taken == 1);
	if (wc.status != IBV_WC_SUCCESS || wc.opcode != expected)
		die("completion: %s, opcode %d instead of %d", ibv_wc_status_str(wc.status), wc.opcode, expected);
	link->posted--;
}

static void
poll_and_take(struct link *link, enum ibv_wc_opcode expected)
{
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_wc wc;
	int taken;

	while ((taken = ibv_poll_cq(link->cq, 1, &wc)) == 0) {
		if (now_ns() > limit)
			die("no completion");
	}
	CHECK(taken == 1 && wc.status == IBV_WC_SUCCESS && wc.opcode == expected);
	link->posted--;
}

static void
block(struct link *link)
{
	CHECK(fcntl(link->channel->fd, F_SETFL, 0) == 0);
}

static void
answer(struct link *link, void (*take)(struct link *, enum ibv_wc_opcode))
{
	for (unsigned i = 0; i < rounds(); i++) {
		take(link, IBV_WC_RECV);
		post_receive(link, 0, 0, MESSAGE);
		post(link, IBV_WR_SEND, 1, MESSAGE, MESSAGE, 0);
		take(link, IBV_WC_SEND);
	}
}

static int
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 1);
	struct link link;

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	link_open(&link, await_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST), 2 * MESSAGE, DEPTH);
	block(&link);
	post_receive(&link, 0, 0, MESSAGE);
	accept_link(&link);

	answer(&link, wait_and_take);
	answer(&link, poll_and_take);
	/* the queue may be armed, with an event of what was polled: it is in the way of nothing */
	CHECK(fcntl(link.channel->fd, F_SETFL, O_NONBLOCK) == 0);
	for (;;) {
		struct ibv_cq *cq;
		void *context;

		if (ibv_get_cq_event(link.channel, &cq, &context) != 0)
			break;
		ibv_ack_cq_events(cq, 1);
	}
	block(&link);
	CHECK(ibv_req_notify_cq(link.cq, 0) == 0);
	report("stops");
	for (unsigned i = 0; i < STOPS; i++) {
		wait_and_take(&link, IBV_WC_RECV);
		kill(getpid(), SIGSTOP);
		post_receive(&link, 0, 0, MESSAGE);
	}
	report("done");
	/* the other end is still there for this */
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
	struct link link;
	char line[32];

	CHECK(connect_link(&link, channel, address, port, 2 * MESSAGE, DEPTH));
	block(&link);
	for (unsigned i = 0; i < 2 * rounds(); i++) {
		post_receive(&link, 0, 0, MESSAGE);
		post(&link, IBV_WR_SEND, 1, MESSAGE, MESSAGE, 0);
		wait_and_take(&link, IBV_WC_SEND);
		wait_and_take(&link, IBV_WC_RECV);
	}
	report("done");
	while (listen_to_parent(line, sizeof(line))) {
		post(&link, IBV_WR_SEND, 1, MESSAGE, MESSAGE, 0);
		wait_and_take(&link, IBV_WC_SEND);
		report("acknowledged");
	}
	rdma_disconnect(link.id);
	link_close(&link);
	release_pd();
	rdma_destroy_event_channel(channel);

	return 0;
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	struct child server, client;

	if (argc == 4) {
		return strcmp(argv[1], "server") == 0 ? serve(argv[2]) :
				work(argv[2], (unsigned)atoi(argv[3]));
	}

	skip_without(address);
	server = start("server", address, 0);
	client = start("client", address, (unsigned)expect(&server, "listening "));
	expect(&client, "done");
	expect(&server, "stops");
	for (unsigned i = 0; i < STOPS; i++) {
		int status;

		tell(&client, "send");
		CHECK(waitpid(server.pid, &status, WUNTRACED) == server.pid);
		if (!WIFSTOPPED(status))
			die("the server ended with status %#x", (unsigned)status);
		expect(&client, "acknowledged");
		CHECK(kill(server.pid, SIGCONT) == 0);
	}
	expect(&server, "done");
	close(client.out);
	client.out = open("/dev/null", O_WRONLY | O_CLOEXEC);
	finish(&client);
	finish(&server);
	printf("%u messages to and fro with one event for each completion, %d acknowledged by a stopped server\n",
			2 * rounds(), STOPS);

	return 0;
}
