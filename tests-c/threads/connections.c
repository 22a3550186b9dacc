/* SPDX-License-Identifier: BSD-3-Clause */
/* Many threads that establish a connection each, and many threads that post receives to one queue. */
#include <arpa/inet.h>

#include "threads.h"

#define TEXT_LEN ((size_t)64)

static bool
event_is(struct rpma_conn *conn, enum rpma_conn_event want)
{
	enum rpma_conn_event event = RPMA_CONN_UNDEFINED;
	int fd = -1;

	WORKS(rpma_conn_get_event_fd(conn, &fd));
	MUST(readable_within(fd, timeout_ms()));
	WORKS(rpma_conn_next_event(conn, &event));
	if (event != want)
		return complain(__FILE__, __LINE__, "got the event \"%s\", expected \"%s\"",
				rpma_utils_conn_event_2str(event),
				rpma_utils_conn_event_2str(want));

	return true;
}

/* the next completion of a queue that this thread alone looks at */
static bool
completes(struct rpma_cq *cq, const void *context, struct ibv_wc *wc)
{
	int fd = -1;
	int ret;

	WORKS(rpma_cq_get_fd(cq, &fd));
	while ((ret = CALLS(rpma_cq_get_wc(cq, 1, wc, NULL))) == RPMA_E_NO_COMPLETION) {
		MUST(readable_within(fd, timeout_ms()));
		WORKS(rpma_cq_wait(cq));
	}
	WORKS(ret);
	MUST(wc->status == IBV_WC_SUCCESS);
	MUST(wc->wr_id == (uintptr_t)context);

	return true;
}

/* --- connections, each made, used and deleted by one thread --- */

/* each thread has its own peers, endpoint and regions: some calls require one thread at a time for these */
struct lanes {
	struct pair pair[TEAM];
	unsigned seed[TEAM];	/* for rand_r() */
};

/* the endpoint goes while those of the others come, and comes back on another port */
static bool
listen_again(struct pair *pair, unsigned *seed)
{
	int ret = RPMA_E_UNKNOWN;

	WORKS(rpma_ep_shutdown(&pair->ep));
	MUST(pair->ep == NULL);
	for (int i = 0; i < 64 && ret; i++) {
		snprintf(pair->port, sizeof(pair->port), "%d", 20000 + rand_r(seed) % 12000);
		ret = CALLS(rpma_ep_listen(pair->server.peer, device_addr(), pair->port, &pair->ep));
	}
	WORKS(ret);
	MUST(pair->ep != NULL);

	return true;
}

/* requests without a connection: one that is never sent, and one that the server rejects */
static bool
refuse_lane(struct pair *pair)
{
	struct rpma_conn_req *req = NULL;
	struct rpma_conn *conn = NULL;
	int fd = -1;

	WORKS(rpma_conn_req_new(pair->client.peer, device_addr(), pair->port, NULL, &req));
	WORKS(rpma_conn_req_delete(&req));
	MUST(req == NULL);

	WORKS(rpma_conn_req_new(pair->client.peer, device_addr(), pair->port, NULL, &req));
	WORKS(rpma_conn_req_connect(&req, NULL, &conn));
	WORKS(rpma_ep_get_fd(pair->ep, &fd));
	MUST(readable_within(fd, timeout_ms()));
	WORKS(rpma_ep_next_conn_req(pair->ep, NULL, &req));
	WORKS(rpma_conn_req_delete(&req));
	MUST(req == NULL);
	if (!event_is(conn, RPMA_CONN_REJECTED))
		return false;
	WORKS(rpma_conn_delete(&conn));

	return true;
}

static bool
connect_lane(struct pair *pair)
{
	const struct rpma_conn_private_data hello = {(void *)pair->port, sizeof(pair->port)};
	struct rpma_conn_private_data data = {0};
	struct side *client = &pair->client;
	struct side *server = &pair->server;
	struct rpma_conn_req *req = NULL;
	int fd = -1;

	WORKS(rpma_conn_req_new(client->peer, device_addr(), pair->port, NULL, &req));
	WORKS(rpma_conn_req_recv(req, client->region.mr, TEXT_LEN, TEXT_LEN, client));
	WORKS(rpma_conn_req_connect(&req, &hello, &client->conn));

	WORKS(rpma_ep_get_fd(pair->ep, &fd));
	MUST(readable_within(fd, timeout_ms()));
	WORKS(rpma_ep_next_conn_req(pair->ep, NULL, &req));
	WORKS(rpma_conn_req_get_private_data(req, &data));
	MUST(data.len >= hello.len && memcmp(data.ptr, hello.ptr, hello.len) == 0);
	WORKS(rpma_conn_req_connect(&req, NULL, &server->conn));

	if (!event_is(client->conn, RPMA_CONN_ESTABLISHED) ||
	    !event_is(server->conn, RPMA_CONN_ESTABLISHED))
		return false;
	WORKS(rpma_conn_get_cq(client->conn, &client->cq));
	WORKS(rpma_conn_get_cq(server->conn, &server->cq));
	WORKS(rpma_conn_get_private_data(server->conn, &data));
	MUST(data.len >= hello.len && memcmp(data.ptr, hello.ptr, hello.len) == 0);

	return true;
}

static bool
use_lane(struct pair *pair, unsigned seed)
{
	struct side *client = &pair->client;
	struct side *server = &pair->server;
	const size_t len = 1 + seed % MR_SIZE;
	struct rpma_peer_cfg *cfg = NULL;
	struct ibv_wc wc;

	WORKS(rpma_peer_cfg_new(&cfg));
	WORKS(rpma_conn_apply_remote_peer_cfg(client->conn, cfg));
	WORKS(rpma_peer_cfg_delete(&cfg));

	/* the answer to a write: a message into the receive that was there before the connection */
	fill(client->region.mem, len, seed);
	WORKS(rpma_write(client->conn, server->region.remote, 0, client->region.mr, 0, len, ALWAYS,
			pair));
	if (!completes(client->cq, pair, &wc))
		return false;
	MUST(memcmp(server->region.mem, client->region.mem, len) == 0);

	fill(server->region.mem, TEXT_LEN, seed + 1);
	WORKS(rpma_send(server->conn, server->region.mr, 0, TEXT_LEN, ALWAYS, pair));
	if (!completes(server->cq, pair, &wc) || !completes(client->cq, client, &wc))
		return false;
	MUST(wc.byte_len == TEXT_LEN);
	MUST(memcmp(client->region.mem + TEXT_LEN, server->region.mem, TEXT_LEN) == 0);

	return true;
}

static bool
close_lane(struct pair *pair)
{
	WORKS(rpma_conn_disconnect(pair->client.conn));
	if (!event_is(pair->server.conn, RPMA_CONN_CLOSED))
		return false;
	WORKS(rpma_conn_disconnect(pair->server.conn));
	if (!event_is(pair->client.conn, RPMA_CONN_CLOSED))
		return false;
	WORKS(rpma_conn_delete(&pair->client.conn));
	WORKS(rpma_conn_delete(&pair->server.conn));

	return true;
}

static bool
connects_and_closes(void *arg, unsigned thread, unsigned round)
{
	struct lanes *lanes = arg;
	struct pair *pair = &lanes->pair[thread];

	return listen_again(pair, &lanes->seed[thread]) && refuse_lane(pair) &&
			connect_lane(pair) && use_lane(pair, thread * 1000 + round * 7) && close_lane(pair);
}

void
connections_in_parallel(void **unused)
{
	struct lanes *lanes = calloc(1, sizeof(*lanes));
	struct rpma_peer *bystander = open_peer(RPMA_UTIL_IBV_CONTEXT_LOCAL);
	const struct job jobs[] = {
		{connects_and_closes, lanes, TEAM, false},
		{regions_come_and_go, bystander, 2, true},
		{log_changes, NULL, 1, true},
	};

	(void)unused;
	assert_non_null(lanes);
	for (unsigned i = 0; i < TEAM; i++) {
		pair_prepare(&lanes->pair[i]);
		lanes->seed[i] = (unsigned)atoi(lanes->pair[i].port);
	}
	begin_log_changes();
	run_team(jobs, COUNT_OF(jobs));
	log_release();
	for (unsigned i = 0; i < TEAM; i++)
		pair_release(&lanes->pair[i]);
	SUCCEED(rpma_peer_delete(&bystander));
	free(lanes);
}

/* --- receives of one request --- */

struct request {
	struct pair pair;
	struct rpma_conn_req *req;
	unsigned receives;	/* of each thread */
	char used[MR_SIZE / TEXT_LEN];
};

static bool
posts_on_the_request(void *arg, unsigned thread, unsigned round)
{
	struct request *request = arg;
	struct rpma_conn_private_data data = {0};

	WORKS(rpma_conn_req_get_private_data(request->req, &data));
	MUST(strcmp(data.ptr, request->pair.port) == 0);
	if (round >= request->receives)
		return true;
	const size_t at = thread * request->receives + round;

	WORKS(rpma_conn_req_recv(request->req, request->pair.server.region.mr, at * TEXT_LEN,
			TEXT_LEN, &request->used[at]));

	return true;
}

void
receives_of_a_request(void **unused)
{
	struct request *request = calloc(1, sizeof(*request));
	struct pair *pair = &request->pair;
	struct side *client = &pair->client;
	struct side *server = &pair->server;
	struct rpma_conn_private_data hello = {pair->port, sizeof(pair->port)};
	struct rpma_conn_req *req = NULL;
	struct rpma_conn_cfg *cfg = NULL;
	unsigned count;

	(void)unused;
	assert_non_null(request);
	request->receives = rounds() < 8 ? rounds() : 8;
	count = TEAM * request->receives;
	assert_in_range(count, 1, sizeof(request->used));
	SUCCEED(rpma_conn_cfg_new(&cfg));
	SUCCEED(rpma_conn_cfg_set_rq_size(cfg, count));
	SUCCEED(rpma_conn_cfg_set_cq_size(cfg, count));
	pair_prepare(pair);
	req = new_request(client->peer, pair->port, NULL);
	SUCCEED(rpma_conn_req_connect(&req, &hello, &client->conn));
	request->req = take_request(pair->ep, cfg);
	SUCCEED(rpma_conn_cfg_delete(&cfg));
	on_a_team(posts_on_the_request, request);
	server->conn = connect_request(request->req);
	EXPECT_EVENT(client->conn, RPMA_CONN_ESTABLISHED);
	EXPECT_EVENT(server->conn, RPMA_CONN_ESTABLISHED);
	client->cq = cq_of(client->conn);
	server->cq = cq_of(server->conn);

	/* every receive is there, once */
	for (unsigned i = 0; i < count; i++) {
		fill(client->region.mem, TEXT_LEN, i);
		SUCCEED(rpma_send(client->conn, client->region.mr, 0, TEXT_LEN, ALWAYS, pair));
		EXPECT_WC(client->cq, pair, IBV_WC_SUCCESS);
		const struct ibv_wc wc = wait_wc(server->cq);
		const size_t at = (size_t)((char *)(uintptr_t)wc.wr_id - request->used);

		assert_int_equal(wc.status, IBV_WC_SUCCESS);
		assert_in_range(at, 0, count - 1);
		assert_int_equal(request->used[at]++, 0);
		assert_memory_equal(server->region.mem + at * TEXT_LEN, client->region.mem,
				TEXT_LEN);
	}
	pair_disconnect(pair);
	pair_release(pair);
	free(request);
}

/* --- receives of a shared queue --- */

/* a connection for each thread; the receives of all are in one queue */
struct shared {
	struct pair base;
	struct pair pair[TEAM];
	struct rpma_srq *srq;
	struct rpma_cq *rcq;
	sem_t used[TEAM];	/* the thread's receive, by some message */
	sem_t arrived[TEAM];	/* the thread's message, in some receive */
	uint32_t sent[TEAM];
};

static bool
sends_to_the_queue(void *arg, unsigned thread, unsigned round)
{
	struct shared *shared = arg;
	struct side *client = &shared->pair[thread].client;
	struct rpma_cq *rcq = NULL;
	const size_t at = thread * TEXT_LEN;
	struct ibv_wc wc;

	WORKS(rpma_srq_get_rcq(shared->srq, &rcq));
	MUST(rcq == shared->rcq);
	shared->sent[thread] = thread << 24 | round;
	fill(client->region.mem + at, TEXT_LEN, shared->sent[thread]);
	WORKS(rpma_srq_recv(shared->srq, shared->base.server.region.mr, at, TEXT_LEN,
			&shared->used[thread]));
	WORKS(rpma_send_with_imm(client->conn, client->region.mr, at, TEXT_LEN, ALWAYS,
			shared->sent[thread], shared));
	if (!completes(client->cq, shared, &wc))
		return false;
	MUST(take_semaphore(&shared->arrived[thread]));
	MUST(take_semaphore(&shared->used[thread]));

	return true;
}

static bool
takes_from_the_queue(void *arg, unsigned thread, unsigned round)
{
	struct shared *shared = arg;
	struct ibv_wc wc;
	int fd = -1;
	int ret;

	(void)thread;
	(void)round;
	WORKS(rpma_cq_get_fd(shared->rcq, &fd));
	if (!readable_within(fd, 20))
		return true;
	ret = CALLS(rpma_cq_wait(shared->rcq));
	MUST(ret == 0 || ret == RPMA_E_NO_COMPLETION);
	while ((ret = CALLS(rpma_cq_get_wc(shared->rcq, 1, &wc, NULL))) == 0) {
		const size_t at = (size_t)((sem_t *)(uintptr_t)wc.wr_id - shared->used);
		const uint32_t sent = ntohl(wc.imm_data);
		char want[TEXT_LEN];

		MUST(wc.status == IBV_WC_SUCCESS && wc.wc_flags & IBV_WC_WITH_IMM);
		MUST(at < TEAM && sent >> 24 < TEAM && shared->sent[sent >> 24] == sent);
		fill(want, TEXT_LEN, sent);
		MUST(memcmp(shared->base.server.region.mem + at * TEXT_LEN, want, TEXT_LEN) == 0);
		sem_post(&shared->used[at]);
		sem_post(&shared->arrived[sent >> 24]);
	}
	MUST(ret == RPMA_E_NO_COMPLETION);

	return true;
}

void
receives_of_a_shared_queue(void **unused)
{
	struct shared *shared = calloc(1, sizeof(*shared));
	struct rpma_conn_cfg *cfg = NULL;
	const struct job jobs[] = {
		{sends_to_the_queue, shared, TEAM, false},
		{takes_from_the_queue, shared, 4, true},
		{log_changes, NULL, 1, true},
	};
	int fd = -1;

	(void)unused;
	assert_non_null(shared);
	pair_prepare(&shared->base);
	SUCCEED(rpma_srq_new(shared->base.server.peer, NULL, &shared->srq));
	SUCCEED(rpma_srq_get_rcq(shared->srq, &shared->rcq));
	SUCCEED(rpma_cq_get_fd(shared->rcq, &fd));
	set_nonblocking(fd);
	SUCCEED(rpma_conn_cfg_new(&cfg));
	SUCCEED(rpma_conn_cfg_set_srq(cfg, shared->srq));
	for (unsigned i = 0; i < TEAM; i++) {
		sem_init(&shared->used[i], 0, 0);
		sem_init(&shared->arrived[i], 0, 0);
		shared->pair[i] = shared->base;
		pair_connect(&shared->pair[i], NULL, cfg);
	}
	SUCCEED(rpma_conn_cfg_delete(&cfg));
	begin_log_changes();
	run_team(jobs, COUNT_OF(jobs));
	log_release();
	for (unsigned i = 0; i < TEAM; i++) {
		pair_disconnect(&shared->pair[i]);
		sem_destroy(&shared->used[i]);
		sem_destroy(&shared->arrived[i]);
	}
	SUCCEED(rpma_srq_delete(&shared->srq));
	pair_release(&shared->base);
	free(shared);
}
