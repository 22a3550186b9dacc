/* SPDX-License-Identifier: BSD-3-Clause */
/* How connections end. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "conformance.h"

/* one end disconnects, then the other */
static void
disconnect_by(bool client_first)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *first = client_first ? &pair.client : &pair.server;
	struct end *second = client_first ? &pair.server : &pair.client;
	struct cm_event event;

	connect_pair(&pair, &setup);
	post_recvs(first, 1, 3);
	post_recvs(second, 11, 3);

	say_result("first end disconnects", rdma_disconnect(first->id));
	say_event("second end", second->channel, &event);
	say("private data in it", "%u bytes", event.param.private_data_len);
	say_state("state of the first end's queue pair", first->qp);
	say_wcs("receives of the first end", first, first->cq, 3);
	say_no_event("first end meanwhile", first->channel);
	say_result("first end sends", post_send(first, 4, 0, 8));
	say_wcs("its completion", first, first->cq, 1);
	say_result("first end disconnects again", rdma_disconnect(first->id));

	say_state("state of the second end's queue pair", second->qp);
	say_no_wc("receives of the second end", second, second->cq);
	say_result("second end sends", post_send(second, 14, 0, 8));
	say_no_wc("completion of the send", second, second->cq);
	say_result("second end disconnects", rdma_disconnect(second->id));
	say_wcs("requests of the second end", second, second->cq, 4);
	say_state("state of the second end's queue pair then", second->qp);
	say_event("first end", first->channel, NULL);
	say_event("first end later", first->channel, NULL);
	say_event("second end later", second->channel, NULL);
	say_no_event("first end at last", first->channel);
	say_no_event("second end at last", second->channel);
	say_result("second end disconnects again", rdma_disconnect(second->id));
	say_result("second end sends again", post_send(second, 15, 0, 8));
	say_wcs("completion of that", second, second->cq, 1);
}

static void
disconnect_by_client(void)
{
	disconnect_by(true);
}

static void
disconnect_by_server(void)
{
	disconnect_by(false);
}

static void
disconnect_both(void)
{
	struct setup setup = usual();
	struct pair pair = {0};

	connect_pair(&pair, &setup);
	post_recvs(&pair.client, 1, 2);
	post_recvs(&pair.server, 11, 2);
	say_result("client disconnects", rdma_disconnect(pair.client.id));
	say_result("server disconnects", rdma_disconnect(pair.server.id));
	say_wcs("receives of the client", &pair.client, pair.client.cq, 2);
	say_wcs("receives of the server", &pair.server, pair.server.cq, 2);
	say_event("client", pair.client.channel, NULL);
	say_event("server", pair.server.channel, NULL);
	/* whether TIMEWAIT_EXIT follows depends, on rxe, on whether their messages cross */
}

static void
destroyed_by(bool client_first)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *first = client_first ? &pair.client : &pair.server;
	struct end *second = client_first ? &pair.server : &pair.client;

	connect_pair(&pair, &setup);
	post_recvs(second, 1, 2);
	close_end(first);
	say_event("the other end", second->channel, NULL);
	say_no_wc("its receives", second, second->cq);
	say_result("it disconnects", rdma_disconnect(second->id));
	say_wcs("its receives then", second, second->cq, 2);
	say_event("it hears", second->channel, NULL);
	say_no_event("it hears no more", second->channel);
	close_end(second);
	say("its parts", "destroyed");
}

static void
destroyed_by_client(void)
{
	destroyed_by(true);
}

static void
destroyed_by_server(void)
{
	destroyed_by(false);
}

/* only the queue pair is destroyed, without the connection manager */
static void
queue_pair_destroyed(void)
{
	struct setup setup = usual();
	struct pair pair = {0};

	connect_pair(&pair, &setup);
	post_recvs(&pair.server, 1, 2);
	rdma_destroy_qp(pair.client.id);
	say("queue pair in the id", "%s", pair.client.id->qp ? "still there" : "NULL");
	say_no_event("server", pair.server.channel);
	say_no_wc("its receives", &pair.server, pair.server.cq);
	say_result("client disconnects", rdma_disconnect(pair.client.id));
	say_event("server then", pair.server.channel, NULL);
}

enum going { DESTROYED, DISCONNECTED_THEN_DESTROYED, QP_DESTROYED, QP_IN_ERROR };

/* messages wait for a receive that the peer never posts */
static void
going_with_sends_waiting(enum going going)
{
	struct ibv_qp_attr error = {.qp_state = IBV_QPS_ERR};
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *client = &pair.client, *server = &pair.server;
	struct remote remote;

	connect_pair(&pair, &setup);
	remote = remote_of(server, 0);
	for (unsigned i = 1; i <= 3; i++)
		NEED(post_send(client, i, 0, 8));
	say_no_wc("completion", client, client->cq);
	switch (going) {
	case DISCONNECTED_THEN_DESTROYED:
		NEED(rdma_disconnect(server->id));
		close_end(server);
		break;
	case DESTROYED:
		close_end(server);
		break;
	case QP_DESTROYED:
		rdma_destroy_qp(server->id);
		break;
	case QP_IN_ERROR:
		NEED(ibv_modify_qp(server->qp, &error, IBV_QP_STATE));
		break;
	}
	if (going == QP_DESTROYED || going == QP_IN_ERROR)
		say_no_event("event", client->channel);
	else
		say_event("event", client->channel, NULL);
	say_wcs("completions then", client, client->cq, 0);
	say_result("write", post_op(client, IBV_WR_RDMA_WRITE, 11, 0, 8, remote));
	say_wcs("its completion", client, client->cq, 0);
	say_result("client disconnects", rdma_disconnect(client->id));
	say_wcs("completions at last", client, client->cq, 0);
	if (going == QP_DESTROYED || going == QP_IN_ERROR)
		say_event("server", server->channel, NULL);
}

static void
destroyed_with_sends_waiting(void)
{
	going_with_sends_waiting(DESTROYED);
}

static void
disconnected_with_sends_waiting(void)
{
	going_with_sends_waiting(DISCONNECTED_THEN_DESTROYED);
}

static void
queue_pair_destroyed_with_sends_waiting(void)
{
	going_with_sends_waiting(QP_DESTROYED);
}

static void
queue_pair_in_error_with_sends_waiting(void)
{
	going_with_sends_waiting(QP_IN_ERROR);
}

/* and requests posted to a peer whose queue pair is destroyed and whose id still exists */
static void
queue_pair_destroyed_then_write(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *client = &pair.client;
	struct remote remote;

	connect_pair(&pair, &setup);
	remote = remote_of(&pair.server, 0);
	rdma_destroy_qp(pair.server.id);
	say_result("write", post_op(client, IBV_WR_RDMA_WRITE, 1, 0, 8, remote));
	say_result("read", post_op(client, IBV_WR_RDMA_READ, 2, 8, 8, remote));
	say_wcs("completions", client, client->cq, 0);
	say_no_event("event", client->channel);
	say_result("client disconnects", rdma_disconnect(client->id));
	say_wcs("completions at last", client, client->cq, 0);
	say_event("server", pair.server.channel, NULL);
}

/* the peer has gone, and this end continues to post */
static void
after_disconnected(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *client = &pair.client;
	struct remote remote;

	connect_pair(&pair, &setup);
	remote = remote_of(&pair.server, 0);
	say_result("server disconnects", rdma_disconnect(pair.server.id));
	say_event("client", client->channel, NULL);
	say_result("write", post_op(client, IBV_WR_RDMA_WRITE, 1, 0, 8, remote));
	say_result("read", post_op(client, IBV_WR_RDMA_READ, 2, 0, 8, remote));
	say_result("receive", post_recv(client, 3, 0, 8));
	say_no_wc("completion", client, client->cq);
	say_result("client disconnects", rdma_disconnect(client->id));
	say_wcs("completions", client, client->cq, 3);
}

static void
after_own_disconnect(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *client = &pair.client;

	connect_pair(&pair, &setup);
	NEED(rdma_disconnect(client->id));
	say_result("send", post_send(client, 1, 0, 8));
	say_wcs("its completion", client, client->cq, 1);
	say_result("receive", post_recv(client, 2, 0, 8));
	say_no_wc("completion of the receive", client, client->cq);
	say_result("write", post_op(client, IBV_WR_RDMA_WRITE, 3, 0, 8, remote_of(&pair.server, 0)));
	say_wcs("completion of the write", client, client->cq, 1);
	say_state("state", client->qp);
}

/* every request completes exactly once, with any status */
static void
disconnect_under_load(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	unsigned good = 0, flushed = 0, others = 0, total = 0;
	struct ibv_wc wc;

	setup.length = MIB;
	connect_pair(&pair, &setup);
	for (unsigned i = 0; i < 8; i++)
		NEED(post_op(&pair.client, IBV_WR_RDMA_WRITE, i, 0, MIB, remote_of(&pair.server, 0)));
	NEED(rdma_disconnect(pair.client.id));
	while (take_wc(&pair.client, pair.client.cq, &wc, total < 8 ? wait_ms : quiet_ms)) {
		/* in the order of posting, and no success after a failure */
		if (wc.wr_id != total || (wc.status == IBV_WC_SUCCESS && flushed + others))
			say("order", "completion %u is of request %u", total, (unsigned)wc.wr_id);
		total++;
		if (wc.status == IBV_WC_SUCCESS)
			good++;
		else if (wc.status == IBV_WC_WR_FLUSH_ERR)
			flushed++;
		else
			others++;
	}
	say("completions", "%u", total);
	say("neither good nor flushed", "%u", others);
	say_event("server", pair.server.channel, NULL);
}

static void
srq_after_disconnect(void)
{
	struct setup setup = usual();
	struct pair pair = {0};

	setup.use_srq = true;
	connect_pair(&pair, &setup);
	post_recvs(&pair.server, 1, 2);
	NEED(rdma_disconnect(pair.client.id));
	NEED(rdma_disconnect(pair.server.id));
	say_no_wc("receives in the server's SRQ", &pair.server, pair.server.cq);
	say_state("state of its queue pair", pair.server.qp);
}

/* how many messages came, up to the one with an immediate, and the sends that completed, up to this one */
static void
say_exchange(struct end *end, uint64_t last_send)
{
	bool immediate = false, sent = false;
	unsigned received = 0, completed = 0;
	struct ibv_wc wc;

	while (!immediate || !sent) {
		if (!take_wc(end, end->cq, &wc, wait_ms)) {
			say("the last ones", "missing");
			break;
		}
		if (wc.status != IBV_WC_SUCCESS)
			say("status", "%s", status_name(wc.status));
		if (wc.wr_id & RECEIVE) {
			received++;
			immediate |= (wc.wc_flags & IBV_WC_WITH_IMM) != 0;
		} else {
			completed++;
			sent |= wc.wr_id == last_send;
		}
	}
	say("messages received", "%u", received);
	say("sends completed", "%u", completed);
}

/* what either end may do before its ESTABLISHED event; a refused send must not be sent later */
static void
before_established(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *client = &pair.client, *server = &pair.server;
	const struct remote none = {0, 0};

	listen_any_port(&pair.listener);
	client_start(client, pair.listener.port, &setup);
	within("before the answer");
	say_result("receives", post_recv(client, 1, 0, 8));
	post_recvs(client, 2, 3);
	say_result("send", post_send(client, 1, 0, 8));
	server_take(server, &pair.listener, &setup);
	within("before accept");
	say_result("receives at the server", post_recv(server, 11, 0, 8));
	post_recvs(server, 12, 3);
	say_result("send at the server", post_send(server, 11, 0, 8));
	server_accept(server, &setup);
	within("after accept");
	say_result("send at the server", post_op(server, IBV_WR_SEND_WITH_IMM, 12, 0, 8, none));
	within("ESTABLISHED not taken");
	say("event of the client", "%s", readable(client->channel->fd, wait_ms) ? "waiting" : "none");
	say_state("state of the client's queue pair", client->qp);
	say_result("send", post_send(client, 2, 0, 8));
	established(client);
	within("ESTABLISHED taken");
	say_state("state of the client's queue pair", client->qp);
	say_result("send", post_op(client, IBV_WR_SEND_WITH_IMM, 3, 0, 8, none));
	say_event("server", server->channel, NULL);
	within("client");
	say_exchange(client, 3);
	within("server");
	say_exchange(server, 12);
}

/* at the same time, on one device */
static void
many_connections(void)
{
	struct setup setup = usual();
	struct pair pairs[16];
	unsigned good = 0;

	memset(pairs, 0, sizeof(pairs));
	setup.cq_size = 16;
	for (size_t i = 0; i < COUNT_OF(pairs); i++) {
		pairs[i].listener = pairs[0].listener;
		connect_pair(&pairs[i], &setup);
		if (i == 0)
			continue;
		NEED(post_recv(&pairs[i].server, i, 0, 8));
	}
	NEED(post_recv(&pairs[0].server, 0, 0, 8));
	for (size_t i = 0; i < COUNT_OF(pairs); i++)
		NEED(post_send(&pairs[i].client, i, 0, 8));
	for (size_t i = 0; i < COUNT_OF(pairs); i++) {
		struct ibv_wc wc;

		need_wc(&pairs[i].server, pairs[i].server.cq, &wc);
		if (wc.wr_id == (i | RECEIVE) && wc.qp_num == pairs[i].server.qp->qp_num)
			good++;
		need_wc(&pairs[i].client, pairs[i].client.cq, &wc);
	}
	say("connections that work at the same time", "%u", good);
	for (size_t i = 1; i < COUNT_OF(pairs); i++) {
		rdma_disconnect(pairs[i].client.id);
		close_end(&pairs[i].client);
		close_end(&pairs[i].server);
	}
	NEED(post_recv(&pairs[0].server, 1, 0, 8));
	NEED(post_send(&pairs[0].client, 2, 0, 8));
	say_wc("send on the last one", &pairs[0].client, pairs[0].client.cq);
	close_pair(&pairs[0]);
	say("all", "destroyed");
}

const struct test_case disconnect_cases[] = {
	{.name = "disconnect-by-client", .run = disconnect_by_client},
	{.name = "disconnect-by-server", .run = disconnect_by_server},
	{.name = "disconnect-both", .run = disconnect_both},
	{.name = "destroyed-by-client", .run = destroyed_by_client},
	{.name = "destroyed-by-server", .run = destroyed_by_server},
	{.name = "queue-pair-destroyed", .run = queue_pair_destroyed},
	{.name = "destroyed-with-sends-waiting", .run = destroyed_with_sends_waiting},
	{.name = "disconnected-with-sends-waiting", .run = disconnected_with_sends_waiting},
	{.name = "queue-pair-destroyed-with-sends-waiting", .run = queue_pair_destroyed_with_sends_waiting},
	{.name = "queue-pair-in-error-with-sends-waiting", .run = queue_pair_in_error_with_sends_waiting},
	{.name = "queue-pair-destroyed-then-write", .run = queue_pair_destroyed_then_write},
	{.name = "after-disconnected", .run = after_disconnected},
	{.name = "after-own-disconnect", .run = after_own_disconnect},
	{.name = "disconnect-under-load", .run = disconnect_under_load},
	{.name = "srq-after-disconnect", .run = srq_after_disconnect},
	{.name = "before-established", .run = before_established},
	{.name = "many-connections", .run = many_connections},
	{0},
};
