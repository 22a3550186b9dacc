/* SPDX-License-Identifier: BSD-3-Clause */
/* Every kind of connection: request, a message, disconnect. */
#include "walk.h"

/* the settings of a configuration that are not the defaults */
struct kind {
	uint32_t cq_size, rcq_size, sq_size, rq_size;
	bool shared_channel;
	int timeout_ms;
	/* the server has a shared receive queue, with a receive CQ or without; the client uses it, too */
	bool srq, srq_rcq, for_client;
};

static bool
make_cfg(const char *who, const struct kind *kind, struct rpma_srq *srq, struct rpma_conn_cfg **cfg)
{
	if (STEP(who, rpma_conn_cfg_new(cfg)))
		return false;
	if (kind->cq_size)
		STEP(who, rpma_conn_cfg_set_cq_size(*cfg, kind->cq_size));
	if (kind->rcq_size)
		STEP(who, rpma_conn_cfg_set_rcq_size(*cfg, kind->rcq_size));
	if (kind->sq_size)
		STEP(who, rpma_conn_cfg_set_sq_size(*cfg, kind->sq_size));
	if (kind->rq_size)
		STEP(who, rpma_conn_cfg_set_rq_size(*cfg, kind->rq_size));
	if (kind->shared_channel)
		STEP(who, rpma_conn_cfg_set_compl_channel(*cfg, true));
	if (kind->timeout_ms)
		STEP(who, rpma_conn_cfg_set_timeout(*cfg, kind->timeout_ms));
	if (srq)
		STEP(who, rpma_conn_cfg_set_srq(*cfg, srq));

	return true;
}

static bool
make_srq(struct rpma_peer *peer, const struct kind *kind, struct rpma_srq **srq)
{
	struct rpma_srq_cfg *cfg = NULL;

	if (STEP("server", rpma_srq_cfg_new(&cfg)))
		return false;
	STEP("server", rpma_srq_cfg_set_rq_size(cfg, 4));
	STEP("server", rpma_srq_cfg_set_rcq_size(cfg, kind->srq_rcq ? 4 : 0));
	STEP("server", rpma_srq_new(peer, cfg, srq));
	STEP("server", rpma_srq_cfg_delete(&cfg));

	return *srq;
}

/* a completion of a connection whose queues share a channel */
static bool
shared_completion(struct side *side)
{
	struct rpma_cq *cq = NULL;
	bool is_rcq = false;
	struct ibv_wc wc;
	int fd;

	STEP(side->who, rpma_cq_wait(side->cq));
	if (STEP(side->who, rpma_conn_get_compl_fd(side->conn, &fd)) || !readable(side->who, fd))
		return false;
	if (STEP(side->who, rpma_conn_wait(side->conn, 0, &cq, &is_rcq)))
		return false;
	say(side->who, "the %s", is_rcq ? "RCQ" : "CQ");
	if (STEP(side->who, rpma_cq_get_wc(cq, 1, &wc, NULL)))
		return false;
	say_wc(side->who, &wc);

	return true;
}

/* one message from the client to the server */
static void
message(struct pair *pair, const struct kind *kind, struct rpma_srq *srq)
{
	struct side *client = &pair->client;
	struct side *server = &pair->server;
	struct rpma_cq *rcq = server->rcq ? server->rcq : server->cq;
	bool arrived;
	int fd;

	if (srq) {
		struct rpma_cq *own = NULL;

		if (STEP("server", rpma_srq_recv(srq, server->mr, 0, 64, (void *)2)))
			return;
		if (STEP("server", rpma_srq_get_rcq(srq, &own)) == 0 && own)
			rcq = own;
	} else if (STEP("server", rpma_recv(server->conn, server->mr, 0, 64, (void *)2))) {
		return;
	}
	strcpy(client->mem, "a message");
	if (STEP("client", rpma_send(client->conn, client->mr, 0, 16, RPMA_F_COMPLETION_ALWAYS,
			(void *)3)))
		return;
	if (kind->shared_channel) {
		shared_completion(client);
		arrived = shared_completion(server);
	} else {
		STEP("client", rpma_conn_get_compl_fd(client->conn, &fd));
		completion("client", client->cq);
		arrived = completion("server", rcq);
	}
	if (arrived)
		say("server", "%.16s", server->mem);
}

static void
set_up(const struct kind *kind, struct plan *plan)
{
	struct pair pair;
	struct rpma_srq *srq = NULL;

	if (pair_prepare(&pair) && (!kind->srq || make_srq(pair.server.peer, kind, &srq)) &&
			make_cfg("client", kind, kind->for_client ? srq : NULL,
					&plan->client_cfg) &&
			make_cfg("server", kind, srq, &plan->server_cfg)) {
		if (pair_request(&pair, plan) && pair_answer(&pair, plan)) {
			if (plan->early_recv)
				say("server", "a receive waits already");
			message(&pair, kind, srq);
		}
		pair_disconnect(&pair);
	}
	DELETE("client", rpma_conn_cfg_delete, plan->client_cfg);
	DELETE("server", rpma_conn_cfg_delete, plan->server_cfg);
	DELETE("client", rpma_conn_delete, pair.client.conn);
	DELETE("server", rpma_conn_delete, pair.server.conn);
	DELETE("server", rpma_srq_delete, srq);
	pair_release(&pair);
}

static void
by_default(void)
{
	struct pair pair;
	struct plan plan = {0};
	const struct kind kind = {0};
	uint32_t number = 0;

	if (pair_prepare(&pair) && pair_request(&pair, &plan)) {
		if (pair_answer(&pair, &plan)) {
			if (STEP("client", rpma_conn_get_qp_num(pair.client.conn, &number)) == 0)
				say("client", "%s number", number ? "a" : "no");
			message(&pair, &kind, NULL);
		}
		pair_disconnect(&pair);
	}
	pair_release(&pair);
}

#define SETUP(function, ...) \
	static void \
	function(void) \
	{ \
		const struct kind kind = __VA_ARGS__; \
		struct plan plan = {0}; \
	\
		set_up(&kind, &plan); \
	}

SETUP(sizes, {.cq_size = 3, .sq_size = 5, .rq_size = 7, .timeout_ms = 5000})
SETUP(with_rcq, {.rcq_size = 6})
SETUP(shared_channel, {.shared_channel = true})
SETUP(shared_channel_with_rcq, {.shared_channel = true, .rcq_size = 6})
SETUP(with_srq, {.srq = true, .srq_rcq = true, .rcq_size = 6})
SETUP(with_srq_without_rcq, {.srq = true})
SETUP(with_srq_and_rcq_of_conn, {.srq = true, .rcq_size = 6})
/* settings that exclude each other */
SETUP(shared_channel_with_srq, {
	.shared_channel = true,
	.srq = true,
	.srq_rcq = true,
	.for_client = true,
})

static void
private_data(void)
{
	const struct kind kind = {.rcq_size = 4};
	struct plan plan = {
		.request_data = "from the client",
		.reply_data = "from the server",
		.early_recv = true,
	};

	set_up(&kind, &plan);
}

/* two connections with one shared receive queue */
static void
srq_of_two(void)
{
	const struct kind kind = {.srq = true, .srq_rcq = true};
	struct pair first;
	struct pair second = {0};
	struct plan plan = {0};
	struct rpma_srq *srq = NULL;

	if (pair_prepare(&first) && make_srq(first.server.peer, &kind, &srq) &&
			make_cfg("server", &kind, srq, &plan.server_cfg) &&
			pair_request(&first, &plan)) {
		if (pair_answer(&first, &plan)) {
			/* the second connection uses the objects of the first one */
			second = first;
			second.up = false;
			second.client.conn = second.server.conn = NULL;
			if (pair_request(&second, &plan) && pair_answer(&second, &plan)) {
				message(&first, &kind, srq);
				message(&second, &kind, srq);
			}
			pair_disconnect(&second);
		}
		pair_disconnect(&first);
	}
	DELETE("client", rpma_conn_delete, second.client.conn);
	DELETE("server", rpma_conn_delete, second.server.conn);
	DELETE("client", rpma_conn_delete, first.client.conn);
	DELETE("server", rpma_conn_delete, first.server.conn);
	DELETE("server", rpma_conn_cfg_delete, plan.server_cfg);
	DELETE("server", rpma_srq_delete, srq);
	pair_release(&first);
}

const struct scenario setup_scenarios[] = {
	{"default", by_default},
	{"sizes", sizes},
	{"rcq", with_rcq},
	{"shared-channel", shared_channel},
	{"shared-channel-rcq", shared_channel_with_rcq},
	{"srq", with_srq},
	{"srq-no-rcq", with_srq_without_rcq},
	{"srq-rcq-of-conn", with_srq_and_rcq_of_conn},
	{"shared-channel-srq", shared_channel_with_srq},
	{"srq-of-two", srq_of_two},
	{"private-data", private_data},
};
const size_t setup_scenarios_count = COUNT_OF(setup_scenarios);
