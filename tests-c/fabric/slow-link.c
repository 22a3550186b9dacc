/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * slow-link: softrdma is told that the link has a latency and a bandwidth (SOFTRDMA_DELAY, SOFTRDMA_BANDWIDTH). Nothing
 * may arrive or complete earlier than such a link would bring it, in the order of the requests, whether the program
 * polls or waits; and while nothing is under way, nothing may be busy. How much later it comes depends on the machine,
 * so that is looked at in the best of many rounds only.
 *
 *   softrdma run -- slow-link
 *
 * From the environment: PAIR_WAIT_MS (10000: how long anything may take).
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "two-processes.h"

#define ADDRESS "127.0.0.1"
#define SMALL ((size_t)64)
#define LARGE ((size_t)100000)
#define SIZE (2 * LARGE)
#define DEPTH 16
#define MS ((uint64_t)1000000)

/* the link of most cases: a large payload takes 100 ms */
#define DELAY_TEXT "20ms"
#define DELAY (20 * MS)
#define BANDWIDTH_TEXT "8Mbit"
#define LARGE_TIME (100 * MS)

/* --- the client -------------------------------------------------------------------------------- */

struct client {
	struct rdma_event_channel *channel;
	struct link link;
	bool polls;
};

/* the completion of this request, by polling or by waiting for an event; when it was there */
static uint64_t
finished(struct client *client, uint64_t wr_id)
{
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * MS;
	struct ibv_wc wc = {0};

	if (!client->polls) {
		wc = complete(&client->link);
	} else {
		while (ibv_poll_cq(client->link.cq, 1, &wc) == 0) {
			if (now_ns() > limit)
				die("request %lu does not complete", (unsigned long)wr_id);
		}
		client->link.posted--;
	}
	if (wc.status != IBV_WC_SUCCESS || wc.wr_id != wr_id)
		die("request %lu: %s, request %lu is due", (unsigned long)wc.wr_id, ibv_wc_status_str(wc.status),
				(unsigned long)wr_id);

	return now_ns();
}

static void
expect_no_earlier(const char *what, uint64_t begun, uint64_t ended, uint64_t least)
{
	if (ended - begun < least)
		die("%s took %.3f ms, and must not take less than %.3f ms", what, (double)(ended - begun) / 1e6,
				(double)least / 1e6);
}

static void
latency(struct client *client)
{
	static const enum ibv_wr_opcode opcodes[] = {IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ, IBV_WR_SEND};

	for (int i = 0; i < 3; i++) {
		uint64_t begun = now_ns();

		post(&client->link, opcodes[i], 1, 0, SMALL, 0);
		expect_no_earlier("a small request", begun, finished(client, 1), 2 * DELAY);
	}
}

/* two of them, of which the second has to wait for the first one, and a small one behind both */
static void
bandwidth(struct client *client)
{
	static const enum ibv_wr_opcode opcodes[] = {IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ};

	for (int i = 0; i < 2; i++) {
		uint64_t begun = now_ns();

		post(&client->link, opcodes[i], 1, 0, LARGE, 0);
		post(&client->link, opcodes[i], 2, 0, LARGE, 0);
		post(&client->link, IBV_WR_RDMA_WRITE, 3, 0, SMALL, 0);
		expect_no_earlier("the first", begun, finished(client, 1), 2 * DELAY + LARGE_TIME);
		expect_no_earlier("the second", begun, finished(client, 2), 2 * DELAY + 2 * LARGE_TIME);
		/* completions are in the order of the requests */
		finished(client, 3);
	}
}

/* the server says when it has received a message, by the clock that both have */
static void
arrival(struct client *client)
{
	char line[64];
	uint64_t begun = now_ns();

	post(&client->link, IBV_WR_SEND, 1, 0, LARGE, 0);
	finished(client, 1);
	report("posted %lu", (unsigned long)begun);
	CHECK(listen_to_parent(line, sizeof(line)));
	expect_no_earlier("the arrival", begun, strtoull(line, NULL, 10), DELAY + LARGE_TIME);
}

/* the answer of a program comes behind the acknowledgement of what it answers, however fast its side of the link is */
static void
answer_behind_acknowledgement(struct client *client)
{
	uint64_t begun = now_ns();

	strcpy(client->link.memory, "echo");
	post_receive(&client->link, 10, LARGE, SMALL);
	post(&client->link, IBV_WR_SEND, 1, 0, SMALL, 0);
	finished(client, 1);
	expect_no_earlier("an answer", begun, finished(client, 10), 2 * DELAY);
	CHECK(strcmp(client->link.memory + LARGE, "echo") == 0);
}

/* no thread is busy while nothing is under way */
static void
idle(struct client *client)
{
	struct rusage before, after;
	uint64_t used;

	post(&client->link, IBV_WR_RDMA_WRITE, 1, 0, SMALL, 0);
	finished(client, 1);
	CHECK(getrusage(RUSAGE_SELF, &before) == 0);
	poll(NULL, 0, 500);
	CHECK(getrusage(RUSAGE_SELF, &after) == 0);
	used = (uint64_t)(after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000 +
			(uint64_t)(after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000 +
			(uint64_t)((after.ru_utime.tv_usec - before.ru_utime.tv_usec) / 1000 +
				(after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1000);
	if (used > 100)
		die("an idle connection took %lu ms of processor time in 500 ms", (unsigned long)used);
}

/* a link of 50 us: a clock that ticks in milliseconds would not do */
static void
short_latency(struct client *client)
{
	uint64_t least = UINT64_MAX;

	for (int round = 0; round < 300; round++) {
		uint64_t begun = now_ns(), took;

		post(&client->link, IBV_WR_RDMA_WRITE, 1, 0, SMALL, 0);
		took = finished(client, 1) - begun;
		expect_no_earlier("a write", 0, took, 100000);
		if (took < least)
			least = took;
	}
	if (least > MS)
		die("the fastest of 300 writes took %.3f ms on a link of 0.1 ms", (double)least / 1e6);
}

/* the peer answers and ends: the answer is still on its way, and comes first */
static void
answer_of_a_peer_that_ends(struct client *client)
{
	uint64_t begun = now_ns();
	struct rdma_cm_event *event;
	struct ibv_wc wc;

	strcpy(client->link.memory, "end");
	post(&client->link, IBV_WR_SEND, 1, 0, SMALL, 0);
	expect_no_earlier("the last request", begun, finished(client, 1), 2 * DELAY);
	event = next_event(client->channel, wait_ms());
	CHECK(event && event->event == RDMA_CM_EVENT_DISCONNECTED);
	CHECK(rdma_ack_cm_event(event) == 0);
	post(&client->link, IBV_WR_RDMA_WRITE, 2, 0, SMALL, 0);
	CHECK(drain(&client->link, &wc) == 1);
	CHECK(wc.status == IBV_WC_RETRY_EXC_ERR);
}

/* what was posted and has not arrived is flushed at once */
static void
end_in_the_middle(struct client *client)
{
	struct ibv_wc wc;

	for (uint64_t wr_id = 1; wr_id <= 5; wr_id++)
		post(&client->link, IBV_WR_RDMA_WRITE, wr_id, 0, LARGE, 0);
	CHECK(rdma_disconnect(client->link.id) == 0);
	for (uint64_t wr_id = 1; wr_id <= 5; wr_id++) {
		CHECK(drain(&client->link, &wc) == 1);
		CHECK(wc.wr_id == wr_id && wc.status == IBV_WC_WR_FLUSH_ERR);
	}
}

static const struct link_case {
	const char *name;
	const char *delay;
	const char *bandwidth;
	void (*client)(struct client *);
} cases[] = {
	{"latency", DELAY_TEXT, "", latency},
	{"bandwidth", DELAY_TEXT, BANDWIDTH_TEXT, bandwidth},
	{"arrival", DELAY_TEXT, BANDWIDTH_TEXT, arrival},
	{"answer", DELAY_TEXT, "", answer_behind_acknowledgement},
	{"idle", DELAY_TEXT, BANDWIDTH_TEXT, idle},
	{"short-latency", "50us", "", short_latency},
	{"ending-peer", DELAY_TEXT, "", answer_of_a_peer_that_ends},
	{"end-in-the-middle", DELAY_TEXT, BANDWIDTH_TEXT, end_in_the_middle},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

static void
run_client(const char *name, unsigned port)
{
	struct client client = {.channel = open_channel(), .polls = getenv("SLOW_LINK_POLLS") != NULL};

	CHECK(connect_link(&client.link, client.channel, ADDRESS, port, SIZE, DEPTH));
	for (size_t i = 0; i < CASES; i++) {
		if (strcmp(cases[i].name, name) == 0)
			cases[i].client(&client);
	}
	CHECK(rdma_disconnect(client.link.id) == 0);
	link_close(&client.link);
	release_pd();
	rdma_destroy_event_channel(client.channel);
}

/* --- the server -------------------------------------------------------------------------------- */

/* takes messages until the client disconnects, or says so */
static void
serve(void)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, ADDRESS, 0, 1);
	struct rdma_cm_id *id = NULL;
	struct link link;

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	id = await_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST);
	link_open(&link, id, SIZE, DEPTH);
	for (uint64_t wr_id = 0; wr_id < 4; wr_id++)
		post_receive(&link, wr_id, 0, LARGE);
	accept_link(&link);
	await_event(channel, RDMA_CM_EVENT_ESTABLISHED);
	for (;;) {
		struct pollfd fds[] = {
			{.fd = channel->fd, .events = POLLIN},
			{.fd = link.channel->fd, .events = POLLIN},
		};
		struct ibv_wc wc;

		CHECK(ibv_req_notify_cq(link.cq, 0) == 0);
		if (ibv_poll_cq(link.cq, 1, &wc) == 1) {
			link.posted--;
			if (wc.status != IBV_WC_SUCCESS)
				continue;
			if (wc.opcode != IBV_WC_RECV)
				continue;
			report("received %lu", (unsigned long)now_ns());
			if (strcmp(link.memory, "echo") == 0)
				post(&link, IBV_WR_SEND, 9, 0, wc.byte_len, 0);
			if (strcmp(link.memory, "end") == 0)
				break;
			continue;
		}
		CHECK(poll(fds, 2, wait_ms()) > 0);
		if (fds[0].revents) {
			await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
			break;
		}
		if (fds[1].revents) {
			struct ibv_cq *cq;
			void *context;

			if (ibv_get_cq_event(link.channel, &cq, &context) == 0)
				ibv_ack_cq_events(cq, 1);
		}
	}
	/* the client must not find a connection any more, and not only that it is about to end */
	_exit(0);
}

/* --- both -------------------------------------------------------------------------------------- */

static void
run_case(const struct link_case *test, bool polls)
{
	struct child server = start("server", ADDRESS, 0);
	unsigned port = (unsigned)expect(&server, "listening");
	struct child client;
	char line[64];

	CHECK(setenv("SOFTRDMA_DELAY", test->delay, 1) == 0);
	CHECK(setenv("SOFTRDMA_BANDWIDTH", test->bandwidth, 1) == 0);
	CHECK((polls ? setenv("SLOW_LINK_POLLS", "1", 1) : unsetenv("SLOW_LINK_POLLS")) == 0);
	client = start(test->name, ADDRESS, port);
	CHECK(unsetenv("SOFTRDMA_DELAY") == 0 && unsetenv("SOFTRDMA_BANDWIDTH") == 0);
	if (strcmp(test->name, "arrival") == 0) {
		expect(&client, "posted");
		snprintf(line, sizeof(line), "%lu", expect(&server, "received"));
		tell(&client, line);
	}
	finish(&client);
	/* it says when it has received something, which only one case wants to know */
	while (hear(&server))
		;
	wait_for_exit(server.pid);
	printf("%-20s %s\n", test->name, polls ? "polled" : "waited for");
}

int
main(int argc, char *argv[])
{
	if (play_role(argc, argv, ADDRESS, serve, run_client))
		return 0;
	skip_without(ADDRESS);
	for (size_t i = 0; i < CASES; i++) {
		if (argc > 1 && strcmp(argv[1], cases[i].name) != 0)
			continue;
		run_case(&cases[i], false);
		run_case(&cases[i], true);
	}

	return 0;
}
