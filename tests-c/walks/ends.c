/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections that cannot be established, and the ways in which connections end. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "walk.h"

static const struct plan no_plan;

/* a request has its own queues, and a channel if they share one */
static struct rpma_conn_cfg *
all_queues(void)
{
	struct rpma_conn_cfg *cfg = NULL;

	if (STEP("it", rpma_conn_cfg_new(&cfg)) == 0) {
		STEP("it", rpma_conn_cfg_set_rcq_size(cfg, 4));
		STEP("it", rpma_conn_cfg_set_compl_channel(cfg, true));
	}

	return cfg;
}

/* waits for the next request of the endpoint */
static struct rpma_conn_req *
take_request(struct pair *pair, const struct rpma_conn_cfg *cfg)
{
	struct rpma_conn_req *req = NULL;
	int fd;

	if (STEP("server", rpma_ep_get_fd(pair->ep, &fd)) == 0 && readable("server", fd))
		STEP("server", rpma_ep_next_conn_req(pair->ep, cfg, &req));

	return req;
}

static void
reject(const struct rpma_conn_cfg *cfg)
{
	struct pair pair;
	struct rpma_conn_req *req = NULL;

	if (pair_prepare(&pair) && pair_request(&pair, &no_plan)) {
		req = take_request(&pair, cfg);
		DELETE("server", rpma_conn_req_delete, req);
		next_event(&pair.client);
	}
	pair_release(&pair);
}

static void
rejected(void)
{
	reject(NULL);
}

static void
rejected_with_all_queues(void)
{
	struct rpma_conn_cfg *cfg = all_queues();

	reject(cfg);
	DELETE("it", rpma_conn_cfg_delete, cfg);
}

/* the endpoint still works after a rejection */
static void
rejected_then_accepted(void)
{
	struct pair pair;
	struct rpma_conn_req *req = NULL;

	if (pair_prepare(&pair) && pair_request(&pair, &no_plan) &&
			(req = take_request(&pair, NULL))) {
		DELETE("server", rpma_conn_req_delete, req);
		next_event(&pair.client);
		DELETE("client", rpma_conn_delete, pair.client.conn);
		if (pair_request(&pair, &no_plan))
			pair_answer(&pair, &no_plan);
		pair_disconnect(&pair);
	}
	pair_release(&pair);
}

/* a request that could not be taken may still be queued */
static void
taken_again(void)
{
	struct pair pair;
	struct rpma_conn_req *req = NULL;

	if (pair_prepare(&pair) && pair_request(&pair, &no_plan)) {
		req = take_request(&pair, NULL);
		if (req == NULL)
			req = take_request(&pair, NULL);
		if (req)
			STEP("server", rpma_conn_req_connect(&req, NULL, &pair.server.conn));
		pair.up = next_event(&pair.client) == RPMA_CONN_ESTABLISHED && pair.server.conn &&
			next_event(&pair.server) == RPMA_CONN_ESTABLISHED;
		pair_disconnect(&pair);
	}
	pair_release(&pair);
}

static void
nobody_listens(void)
{
	struct pair pair;

	if (pair_prepare(&pair)) {
		STEP("server", rpma_ep_shutdown(&pair.ep));
		if (pair_request(&pair, &no_plan))
			next_event(&pair.client);
	}
	pair_release(&pair);
}

/* the server takes the request and never answers it */
static void
no_answer(void)
{
	struct pair pair;
	struct rpma_conn_req *req = NULL;

	if (pair_prepare(&pair) && pair_request(&pair, &no_plan)) {
		req = take_request(&pair, NULL);
		next_event(&pair.client);
		DELETE("client", rpma_conn_delete, pair.client.conn);
		/* there is no event when the server learns that the client has gone */
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
		DELETE("server", rpma_conn_req_delete, req);
	}
	pair_release(&pair);
}

/* an unreachable address (RFC 5737) */
static void
no_way(void)
{
	struct side it;
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_conn_req *req = NULL;

	if (open_side(&it, "client", RPMA_UTIL_IBV_CONTEXT_LOCAL) &&
			STEP("client", rpma_conn_cfg_new(&cfg)) == 0) {
		STEP("client", rpma_conn_cfg_set_timeout(cfg, 20));
		STEP("client", rpma_conn_req_new(it.peer, "203.0.113.1", own_port(), cfg, &req));
		STEP("client", rpma_conn_cfg_delete(&cfg));
	}
	DELETE("client", rpma_conn_req_delete, req);
	close_side(&it);
}

static void
delete_request(const struct rpma_conn_cfg *cfg)
{
	struct pair pair;
	struct rpma_conn_req *req = NULL;

	if (pair_prepare(&pair)) {
		STEP("client", rpma_conn_req_new(pair.client.peer, own_addr(), own_port(), cfg, &req));
		if (req)
			STEP("client", rpma_conn_req_recv(req, pair.client.mr, 0, 8, (void *)1));
		DELETE("client", rpma_conn_req_delete, req);
	}
	pair_release(&pair);
}

static void
request_deleted(void)
{
	delete_request(NULL);
}

static void
request_with_all_queues_deleted(void)
{
	struct rpma_conn_cfg *cfg = all_queues();

	delete_request(cfg);
	DELETE("it", rpma_conn_cfg_delete, cfg);
}

/* two listeners on one port */
static void
port_in_use(void)
{
	struct pair pair;
	struct rpma_ep *second = NULL;

	if (pair_prepare(&pair)) {
		STEP("server", rpma_ep_listen(pair.server.peer, own_addr(), own_port(), &second));
		DELETE("server", rpma_ep_shutdown, second);
	}
	pair_release(&pair);
}

static void
server_disconnects(void)
{
	struct pair pair;

	if (pair_prepare(&pair) && pair_request(&pair, &no_plan) && pair_answer(&pair, &no_plan)) {
		STEP("server", rpma_conn_disconnect(pair.server.conn));
		next_event(&pair.client);
		STEP("client", rpma_conn_disconnect(pair.client.conn));
		next_event(&pair.server);
	}
	pair_release(&pair);
}

/* unused receives are flushed */
static void
flushed_receives(void)
{
	struct pair pair;
	struct side *const s = &pair.server;

	if (pair_prepare(&pair) && pair_request(&pair, &no_plan) && pair_answer(&pair, &no_plan)) {
		if (STEP("server", rpma_recv(s->conn, s->mr, 0, 8, (void *)1)) == 0) {
			STEP("client", rpma_conn_disconnect(pair.client.conn));
			next_event(s);
			STEP("server", rpma_conn_disconnect(s->conn));
			completion("server", s->cq);
			pair.up = false;
		}
	}
	pair_release(&pair);
}

/* a connection is deleted while it is connected: the peer gets an event */
static void
deleted_connected(void)
{
	struct pair pair;

	if (pair_prepare(&pair) && pair_request(&pair, &no_plan) && pair_answer(&pair, &no_plan)) {
		STEP("client", rpma_conn_delete(&pair.client.conn));
		next_event(&pair.server);
		STEP("server", rpma_conn_delete(&pair.server.conn));
	}
	pair_release(&pair);
}

/* the endpoint is deleted before the connections, and the peers before everything else */
static void
other_order(void)
{
	struct pair pair;

	if (pair_prepare(&pair) && pair_request(&pair, &no_plan) && pair_answer(&pair, &no_plan)) {
		STEP("server", rpma_ep_shutdown(&pair.ep));
		pair_disconnect(&pair);
		STEP("server", rpma_peer_delete(&pair.server.peer));
		STEP("client", rpma_peer_delete(&pair.client.peer));
		DELETE("server", rpma_conn_delete, pair.server.conn);
		DELETE("client", rpma_conn_delete, pair.client.conn);
	}
	pair_release(&pair);
}

static void
set_nonblocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* non-blocking descriptors without an event */
static void
nothing_there(void)
{
	struct pair pair;
	struct rpma_conn_req *req = NULL;
	enum rpma_conn_event event;
	int fd;

	if (pair_prepare(&pair) && STEP("server", rpma_ep_get_fd(pair.ep, &fd)) == 0) {
		set_nonblocking(fd);
		STEP("server", rpma_ep_next_conn_req(pair.ep, NULL, &req));
		if (pair_request(&pair, &no_plan) && pair_answer(&pair, &no_plan)) {
			if (STEP("client", rpma_conn_get_event_fd(pair.client.conn, &fd)) == 0) {
				set_nonblocking(fd);
				STEP("client", rpma_conn_next_event(pair.client.conn, &event));
			}
			if (STEP("client", rpma_cq_get_fd(pair.client.cq, &fd)) == 0) {
				set_nonblocking(fd);
				STEP("client", rpma_cq_wait(pair.client.cq));
			}
		}
		pair_disconnect(&pair);
	}
	pair_release(&pair);
}

const struct scenario end_scenarios[] = {
	{"rejected", rejected},
	{"rejected-with-all-queues", rejected_with_all_queues},
	{"rejected-then-accepted", rejected_then_accepted},
	{"taken-again", taken_again},
	{"nobody-listens", nobody_listens},
	{"no-answer", no_answer},
	{"no-way", no_way},
	{"request-deleted", request_deleted},
	{"request-with-all-queues-deleted", request_with_all_queues_deleted},
	{"port-in-use", port_in_use},
	{"server-disconnects", server_disconnects},
	{"flushed-receives", flushed_receives},
	{"deleted-connected", deleted_connected},
	{"other-order", other_order},
	{"nothing-there", nothing_there},
};
const size_t end_scenarios_count = COUNT_OF(end_scenarios);
