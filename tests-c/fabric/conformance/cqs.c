/* SPDX-License-Identifier: BSD-3-Clause */
/* Completion queues and their channels. */
#include <errno.h>
#include <string.h>

#include "conformance.h"

struct arrival {
	struct ibv_cq *cq;
	void *context;
};

static bool
take_comp(struct end *end, struct arrival *arrival, int ms)
{
	if (!readable(end->comp->fd, ms))
		return false;
	NEED(ibv_get_cq_event(end->comp, &arrival->cq, &arrival->context));
	ibv_ack_cq_events(arrival->cq, 1);

	return true;
}

static void
say_comp(const char *step, struct end *end, int ms)
{
	struct arrival arrival;

	if (!take_comp(end, &arrival, ms))
		say(step, "none");
	else if (arrival.cq == end->cq)
		say(step, "event of the CQ%s", arrival.context == end ? "" : ", wrong context");
	else
		say(step, "event of the receive CQ");
}

/* a write that is done when this returns, its completion in the CQ */
static void
write_done(struct pair *pair, uint64_t wr_id)
{
	struct request request;

	memset(pair->server.memory, 0, 8);
	fill(pair->client.memory, 8, (unsigned)wr_id);
	prepare(&request, &pair->client, IBV_WR_RDMA_WRITE, wr_id, 0, 8, remote_of(&pair->server, 0));
	NEED(post(&pair->client, &request));
}

static void
comp_events(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *client = &pair.client;
	struct ibv_wc wc[8];

	connect_pair(&pair, &setup);
	within("not armed");
	write_done(&pair, 1);
	say_comp("event", client, quiet_ms);
	say("poll", "%d", ibv_poll_cq(client->cq, 8, wc));

	within("armed");
	say_result("arm", ibv_req_notify_cq(client->cq, 0));
	say_comp("event before a completion", client, quiet_ms);
	write_done(&pair, 2);
	say_comp("event", client, wait_ms);
	say("poll", "%d", ibv_poll_cq(client->cq, 8, wc));
	write_done(&pair, 3);
	say_comp("event of the next completion", client, quiet_ms);

	within("armed with a completion there");
	say_result("arm", ibv_req_notify_cq(client->cq, 0));
	say_comp("event", client, quiet_ms);
	write_done(&pair, 4);
	say_comp("event of the next completion", client, wait_ms);
	say("poll", "%d", ibv_poll_cq(client->cq, 8, wc));

	within("armed twice");
	NEED(ibv_req_notify_cq(client->cq, 0));
	NEED(ibv_req_notify_cq(client->cq, 0));
	write_done(&pair, 5);
	say_comp("event", client, wait_ms);
	say_comp("another", client, quiet_ms);
	say("poll", "%d", ibv_poll_cq(client->cq, 8, wc));

	within("several completions");
	NEED(ibv_req_notify_cq(client->cq, 0));
	write_done(&pair, 6);
	write_done(&pair, 7);
	write_done(&pair, 8);
	say_comp("event", client, wait_ms);
	say_comp("another", client, quiet_ms);
	say("poll", "%d", ibv_poll_cq(client->cq, 8, wc));

	within("polled first");
	NEED(ibv_req_notify_cq(client->cq, 0));
	write_done(&pair, 9);
	for (int turn = 0; turn < wait_ms && ibv_poll_cq(client->cq, 8, wc) == 0; turn++)
		readable(client->channel->fd, 1);
	say("readable after the CQ was emptied", "%s", readable(client->comp->fd, quiet_ms) ? "yes" : "no");
	say_comp("event", client, quiet_ms);
	say("poll", "%d", ibv_poll_cq(client->cq, 8, wc));

	within("unsignalled");
	NEED(ibv_req_notify_cq(client->cq, 0));
	{
		struct request request;

		prepare(&request, client, IBV_WR_RDMA_WRITE, 10, 0, 8, remote_of(&pair.server, 0));
		request.wr.send_flags = 0;
		NEED(post(client, &request));
	}
	say_comp("event", client, quiet_ms);
}

static void
comp_solicited(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *server = &pair.server;
	struct request request;
	struct ibv_wc wc[8];

	connect_pair(&pair, &setup);
	post_recvs(server, 1, 4);
	say_result("arm for solicited", ibv_req_notify_cq(server->cq, 1));
	prepare(&request, &pair.client, IBV_WR_SEND, 11, 0, 8, (struct remote){0, 0});
	NEED(post(&pair.client, &request));
	say_comp("event of a plain send", server, quiet_ms);
	request.wr.send_flags |= IBV_SEND_SOLICITED;
	NEED(post(&pair.client, &request));
	say_comp("event of a solicited send", server, wait_ms);
	say("poll", "%d", ibv_poll_cq(server->cq, 8, wc));
	say_result("arm for solicited again", ibv_req_notify_cq(server->cq, 1));
	NEED(rdma_disconnect(server->id));
	say_comp("event of flushed receives", server, quiet_ms);
}

static void
comp_nonblocking(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *client = &pair.client;
	struct ibv_cq *cq;
	void *context;

	connect_pair(&pair, &setup);
	nonblocking(client->comp->fd);
	say_result("get an event, nothing there", ibv_get_cq_event(client->comp, &cq, &context));
	NEED(ibv_req_notify_cq(client->cq, 0));
	say_result("get an event, armed", ibv_get_cq_event(client->comp, &cq, &context));
	write_done(&pair, 1);
	say("readable", "%s", readable(client->comp->fd, wait_ms) ? "yes" : "no");
	say_result("get the event", ibv_get_cq_event(client->comp, &cq, &context));
	say("readable then", "%s", readable(client->comp->fd, 0) ? "yes" : "no");
	say_result("get another", ibv_get_cq_event(client->comp, &cq, &context));
	ibv_ack_cq_events(client->cq, 1);
}

static void
comp_shared_channel(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *server = &pair.server;
	struct arrival arrival;
	struct ibv_wc wc[4];
	bool cq_seen = false, rcq_seen = false;

	setup.split_cq = true;
	connect_pair(&pair, &setup);
	NEED(ibv_req_notify_cq(server->cq, 0));
	NEED(ibv_req_notify_cq(server->rcq, 0));
	post_recvs(server, 1, 2);
	NEED(post_send(&pair.client, 11, 0, 8));
	say_comp("a receive", server, wait_ms);
	say("poll the CQ", "%d", ibv_poll_cq(server->cq, 4, wc));
	say("poll the receive CQ", "%d", ibv_poll_cq(server->rcq, 4, wc));
	NEED(post_op(server, IBV_WR_RDMA_WRITE, 12, 0, 8, remote_of(&pair.client, 0)));
	say_comp("a write", server, wait_ms);
	say("poll the receive CQ then", "%d", ibv_poll_cq(server->rcq, 4, wc));
	say("poll the CQ then", "%d", ibv_poll_cq(server->cq, 4, wc));
	NEED(ibv_req_notify_cq(server->cq, 0));
	NEED(ibv_req_notify_cq(server->rcq, 0));
	NEED(post_send(&pair.client, 13, 0, 8));
	NEED(post_op(server, IBV_WR_RDMA_WRITE, 14, 0, 8, remote_of(&pair.client, 0)));
	for (int i = 0; i < 2; i++)
		if (take_comp(server, &arrival, wait_ms)) {
			cq_seen |= arrival.cq == server->cq && arrival.context == server;
			rcq_seen |= arrival.cq == server->rcq && arrival.context == NULL;
		}
	say("both", "%s", cq_seen && rcq_seen ? "an event of each" : "not an event of each");
	say_comp("more", server, quiet_ms);
	say_result("destroy the channel in use", ibv_destroy_comp_channel(server->comp));
}

/* taken one by one, acknowledged together */
static void
comp_acknowledged_late(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *client = &pair.client;
	struct ibv_cq *cq;
	struct ibv_wc wc;
	void *context;

	connect_pair(&pair, &setup);
	for (unsigned i = 0; i < 3; i++) {
		NEED(ibv_req_notify_cq(client->cq, 0));
		write_done(&pair, i);
		NEED(ibv_get_cq_event(client->comp, &cq, &context));
		NEED(ibv_poll_cq(client->cq, 1, &wc) != 1);
	}
	ibv_ack_cq_events(client->cq, 3);
	NEED(rdma_disconnect(client->id));
	rdma_destroy_qp(client->id);
	say_result("destroy the CQ", ibv_destroy_cq(client->cq));
	say_result("destroy the channel", ibv_destroy_comp_channel(client->comp));
}

/* several at a time, and never more than asked for */
static void
poll_several(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *client = &pair.client;
	struct ibv_wc wc[8];

	connect_pair(&pair, &setup);
	for (unsigned i = 0; i < 5; i++)
		NEED(post_op(client, IBV_WR_RDMA_WRITE, i, 0, 8, remote_of(&pair.server, 0)));
	/* the last one of another kind, whose end can be seen */
	NEED(ibv_req_notify_cq(client->cq, 0));
	NEED(post_recv(&pair.server, 1, 0, 8));
	NEED(post_send(client, 5, 0, 8));
	need_wc(&pair.server, pair.server.cq, NULL);
	for (int turn = 0; turn < quiet_ms; turn += 10)
		readable(pair.client.channel->fd, 10);
	say("poll 0", "%d", ibv_poll_cq(client->cq, 0, wc));
	say("poll 2", "%d", ibv_poll_cq(client->cq, 2, wc));
	say("first", "%u %u", (unsigned)wc[0].wr_id, (unsigned)wc[1].wr_id);
	say("poll 8", "%d", ibv_poll_cq(client->cq, 8, wc));
	say("next", "%u %u %u %u", (unsigned)wc[0].wr_id, (unsigned)wc[1].wr_id, (unsigned)wc[2].wr_id,
			(unsigned)wc[3].wr_id);
	say("poll again", "%d", ibv_poll_cq(client->cq, 8, wc));
}

/* one CQ for the queue pairs of several connections */
static void
cq_of_two_connections(void)
{
	struct setup setup = usual();
	struct pair first = {0}, second = {0};
	struct ibv_wc wc;

	connect_pair(&first, &setup);
	second.listener = first.listener;
	second.client = first.client;
	second.client.id = NULL;
	second.client.channel = NULL;
	connect_pair(&second, &setup);
	NEED(post_op(&first.client, IBV_WR_RDMA_WRITE, 1, 0, 8, remote_of(&first.server, 0)));
	need_wc(&first.client, first.client.cq, &wc);
	say("completion of the first", "%s", wc.qp_num == first.client.qp->qp_num ? "of its queue pair" : "of another");
	NEED(post_op(&second.client, IBV_WR_RDMA_WRITE, 2, 0, 8, remote_of(&second.server, 0)));
	need_wc(&first.client, first.client.cq, &wc);
	say("completion of the second", "%s", wc.qp_num == second.client.qp->qp_num ? "of its queue pair" : "of another");
}

/* completions stay when the queue pair goes; or do not */
static void
cq_after_qp(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct ibv_wc wc[8];

	connect_pair(&pair, &setup);
	post_recvs(&pair.client, 1, 3);
	NEED(post_op(&pair.client, IBV_WR_RDMA_WRITE, 10, 0, 8, remote_of(&pair.server, 0)));
	need_wc(&pair.client, pair.client.cq, NULL);
	rdma_destroy_qp(pair.client.id);
	say("receives of a destroyed queue pair", "%d completions", ibv_poll_cq(pair.client.cq, 8, wc));
}

const struct test_case cq_cases[] = {
	{.name = "cq-of-two-connections", .run = cq_of_two_connections},
	{.name = "cq-after-queue-pair", .run = cq_after_qp},
	{.name = "poll-several", .run = poll_several},
	{.name = "completion-events", .run = comp_events},
	{.name = "completion-events-solicited", .run = comp_solicited},
	{.name = "completion-events-nonblocking", .run = comp_nonblocking},
	{.name = "completion-events-shared-channel", .run = comp_shared_channel},
	{.name = "completion-events-acknowledged-late", .run = comp_acknowledged_late},
	{0},
};
