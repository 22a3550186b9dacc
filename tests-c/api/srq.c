/* SPDX-License-Identifier: BSD-3-Clause */
/* A receive queue that several connections share. */
#include "device.h"

#define ALWAYS RPMA_F_COMPLETION_ALWAYS

/* --- bad arguments --- */

static void
check_arguments(struct rpma_peer *peer, struct rpma_srq *srq, struct rpma_mr_local *mr)
{
	struct rpma_srq *none = NULL;
	struct rpma_srq *out = UNTOUCHED_PTR;
	struct rpma_cq *rcq = UNTOUCHED_PTR;

	INVALID(rpma_srq_new(NULL, NULL, &out));
	INVALID(rpma_srq_new(peer, NULL, NULL));
	assert_ptr_equal(out, UNTOUCHED_PTR);
	INVALID(rpma_srq_delete(NULL));
	SUCCEED(rpma_srq_delete(&none));
	assert_null(none);
	INVALID(rpma_srq_recv(NULL, mr, 0, 8, NULL));
	INVALID(rpma_srq_recv(NULL, NULL, 0, 0, NULL));
	INVALID(rpma_srq_recv(srq, NULL, 8, 0, NULL));
	INVALID(rpma_srq_recv(srq, NULL, 0, 8, NULL));
	INVALID(rpma_srq_get_rcq(NULL, &rcq));
	INVALID(rpma_srq_get_rcq(srq, NULL));
	assert_ptr_equal(rcq, UNTOUCHED_PTR);
}

static void
shared_queues_refuse(void **unused)
{
	(void)unused;
	check_arguments(untouchable(), untouchable(), untouchable());
}

/* --- with a device --- */

/* a server whose connections share a receive queue */
struct shared {
	struct pair pair;
	struct rpma_srq *srq;
	struct rpma_cq *srq_rcq;
	struct rpma_conn_cfg *cfg;
};

static struct shared *
open_shared_queue(struct rpma_srq_cfg *srq_cfg)
{
	struct shared *shared = calloc(1, sizeof(*shared));

	assert_non_null(shared);
	pair_prepare(&shared->pair);
	SUCCEED(rpma_srq_new(shared->pair.server.peer, srq_cfg, &shared->srq));
	assert_non_null(shared->srq);
	shared->srq_rcq = UNTOUCHED_PTR;
	SUCCEED(rpma_srq_get_rcq(shared->srq, &shared->srq_rcq));
	SUCCEED(rpma_conn_cfg_new(&shared->cfg));
	SUCCEED(rpma_conn_cfg_set_srq(shared->cfg, shared->srq));

	return shared;
}

static int
open_default(void **state)
{
	struct shared *shared = open_shared_queue(NULL);

	*state = shared;
	assert_non_null(shared->srq_rcq);
	/* programs tell handles apart by their addresses */
	assert_ptr_not_equal(shared->srq_rcq, shared->srq);

	return 0;
}

static int
open_without_rcq(void **state)
{
	struct rpma_srq_cfg *srq_cfg = NULL;
	struct shared *shared;

	SUCCEED(rpma_srq_cfg_new(&srq_cfg));
	SUCCEED(rpma_srq_cfg_set_rcq_size(srq_cfg, 0));
	shared = open_shared_queue(srq_cfg);
	*state = shared;
	SUCCEED(rpma_srq_cfg_delete(&srq_cfg));
	assert_null(shared->srq_rcq);

	return 0;
}

static int
close_shared_queue(void **state)
{
	struct shared *shared = *state;

	/* first who uses it, then the queue, then what it was made of */
	SUCCEED(rpma_conn_delete(&shared->pair.client.conn));
	SUCCEED(rpma_conn_delete(&shared->pair.server.conn));
	SUCCEED(rpma_srq_delete(&shared->srq));
	assert_null(shared->srq);
	SUCCEED(rpma_conn_cfg_delete(&shared->cfg));
	pair_release(&shared->pair);
	free(shared);

	return 0;
}

static void
arguments_of_a_real_queue(void **state)
{
	struct shared *shared = *state;

	check_arguments(shared->pair.server.peer, shared->srq, shared->pair.server.region.mr);
}

static void
send_one(struct pair *pair, const char *what)
{
	strcpy(pair->client.region.mem, what);
	SUCCEED(rpma_send(pair->client.conn, pair->client.region.mr, 0, strlen(what) + 1, ALWAYS,
			pair));
	EXPECT_WC(pair->client.cq, pair, IBV_WC_SUCCESS);
}

static void
queue_with_a_receive_cq(void **state)
{
	struct shared *shared = *state;
	struct pair *pair = &shared->pair;

	pair_connect(pair, NULL, shared->cfg);
	/* the queue's own, not the connection's */
	assert_null(pair->server.rcq);
	SUCCEED(rpma_srq_recv(shared->srq, pair->server.region.mr, 100, 64, shared));
	send_one(pair, "to the shared queue");
	const struct ibv_wc wc = EXPECT_WC(shared->srq_rcq, shared, IBV_WC_SUCCESS);
	uint32_t qp_num = 0;

	assert_int_equal(wc.opcode, IBV_WC_RECV);
	assert_string_equal(pair->server.region.mem + 100, "to the shared queue");
	SUCCEED(rpma_conn_get_qp_num(pair->server.conn, &qp_num));
	assert_int_equal(wc.qp_num, qp_num);
	EXPECT_NO_WC(pair->server.cq);
}

static void
queue_with_a_receive_cq_wins_over_the_connection_s(void **state)
{
	struct shared *shared = *state;
	struct pair *pair = &shared->pair;

	SUCCEED(rpma_conn_cfg_set_rcq_size(shared->cfg, 10));
	pair_connect(pair, NULL, shared->cfg);
	assert_null(pair->server.rcq);
	SUCCEED(rpma_srq_recv(shared->srq, pair->server.region.mr, 0, 64, shared));
	send_one(pair, "still there");
	EXPECT_WC(shared->srq_rcq, shared, IBV_WC_SUCCESS);
}

static void
queue_without_a_receive_cq(void **state)
{
	struct shared *shared = *state;
	struct pair *pair = &shared->pair;

	/* then the connection's CQ serves, or its receive CQ when it has one */
	pair_connect(pair, NULL, shared->cfg);
	assert_null(pair->server.rcq);
	SUCCEED(rpma_srq_recv(shared->srq, pair->server.region.mr, 0, 64, shared));
	send_one(pair, "one");
	EXPECT_WC(pair->server.cq, shared, IBV_WC_SUCCESS);
	pair_disconnect(pair);

	SUCCEED(rpma_conn_cfg_set_rcq_size(shared->cfg, 10));
	pair_connect(pair, NULL, shared->cfg);
	assert_non_null(pair->server.rcq);
	SUCCEED(rpma_srq_recv(shared->srq, pair->server.region.mr, 0, 64, shared));
	send_one(pair, "two");
	EXPECT_WC(pair->server.rcq, shared, IBV_WC_SUCCESS);
	EXPECT_NO_WC(pair->server.cq);
}

static void
connections_share_it(void **state)
{
	struct shared *shared = *state;
	struct pair pairs[4];
	int contexts[8] = {0};

	for (size_t i = 0; i < COUNT_OF(pairs); i++) {
		pairs[i] = shared->pair;
		pair_connect(&pairs[i], NULL, shared->cfg);
	}
	for (size_t i = 0; i < COUNT_OF(contexts); i++)
		SUCCEED(rpma_srq_recv(shared->srq, shared->pair.server.region.mr, i * 64, 64,
				&contexts[i]));
	for (size_t i = 0; i < COUNT_OF(contexts); i++) {
		struct pair *pair = &pairs[i % COUNT_OF(pairs)];
		uint32_t qp_num = 0;
		char text[32];

		snprintf(text, sizeof(text), "message %zu", i);
		send_one(pair, text);
		/* in the order of the queue, whoever sent */
		const struct ibv_wc wc = EXPECT_WC(shared->srq_rcq, &contexts[i], IBV_WC_SUCCESS);

		SUCCEED(rpma_conn_get_qp_num(pair->server.conn, &qp_num));
		assert_int_equal(wc.qp_num, qp_num);
		assert_string_equal(shared->pair.server.region.mem + i * 64, text);
	}
	for (size_t i = 0; i < COUNT_OF(pairs); i++)
		pair_disconnect(&pairs[i]);
}

static void
receive_of_no_bytes(void **state)
{
	struct shared *shared = *state;
	struct pair *pair = &shared->pair;

	pair_connect(pair, NULL, shared->cfg);
	SUCCEED(rpma_srq_recv(shared->srq, NULL, 0, 0, shared));
	SUCCEED(rpma_send_with_imm(pair->client.conn, NULL, 0, 0, ALWAYS, 9, pair));
	EXPECT_WC(pair->client.cq, pair, IBV_WC_SUCCESS);
	const struct ibv_wc wc = EXPECT_WC(shared->srq_rcq, shared, IBV_WC_SUCCESS);

	assert_int_equal(wc.byte_len, 0);
	assert_true(wc.wc_flags & IBV_WC_WITH_IMM);
}

static void
receive_on_the_connection(void **state)
{
	struct shared *shared = *state;
	struct pair *pair = &shared->pair;

	pair_connect(pair, NULL, shared->cfg);
	log_capture(RPMA_LOG_LEVEL_ERROR);
	EXPECT(rpma_recv(pair->server.conn, pair->server.region.mr, 0, 8, NULL), RPMA_E_PROVIDER);
	assert_int_equal(logged.count, 1);
	assert_non_null(strstr(logged.text, "ibv_post_recv"));
	log_release();
}

static void
queue_full(void **state)
{
	struct shared *shared = *state;
	int posted = 0;
	int ret;

	while ((ret = rpma_srq_recv(shared->srq, shared->pair.server.region.mr, 0, 8, NULL)) == 0 &&
			posted < 10000)
		posted++;
	EXPECT(ret, RPMA_E_PROVIDER);
	assert_in_range(posted, 20, 200);
}

static void
shared_channel_and_a_receive_cq(void **state)
{
	struct shared *shared = *state;
	struct pair *pair = &shared->pair;
	struct rpma_conn_req *req = UNTOUCHED_PTR;
	int fd = -1;

	SUCCEED(rpma_conn_cfg_set_compl_channel(shared->cfg, true));
	log_capture(RPMA_LOG_LEVEL_ERROR);
	INVALID(rpma_conn_req_new(pair->server.peer, device_addr(), pair->port, shared->cfg, &req));
	assert_int_equal(logged.count, 1);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
	log_release();

	/* the same for a request that comes in */
	SUCCEED(rpma_ep_get_fd(pair->ep, &fd));
	pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	wait_readable(fd);
	INVALID(rpma_ep_next_conn_req(pair->ep, shared->cfg, &req));
	assert_ptr_equal(req, UNTOUCHED_PTR);
}

static void
shared_channel_without_a_receive_cq(void **state)
{
	struct shared *shared = *state;
	struct pair *pair = &shared->pair;
	struct rpma_cq *cq = NULL;
	bool is_rcq = false;

	SUCCEED(rpma_conn_cfg_set_compl_channel(shared->cfg, true));
	SUCCEED(rpma_conn_cfg_set_rcq_size(shared->cfg, 10));
	pair_connect(pair, NULL, shared->cfg);
	SUCCEED(rpma_srq_recv(shared->srq, pair->server.region.mr, 0, 64, shared));
	send_one(pair, "one");
	const struct ibv_wc wc = wait_shared_wc(pair->server.conn, &cq, &is_rcq);

	assert_true(wc.wr_id == (uintptr_t)shared);
	assert_ptr_equal(cq, pair->server.rcq);
	assert_true(is_rcq);
}

static void
impossible_sizes(void **unused)
{
	struct rpma_peer *peer = open_peer(RPMA_UTIL_IBV_CONTEXT_LOCAL);
	struct rpma_srq_cfg *cfg = NULL;
	struct rpma_srq *srq = UNTOUCHED_PTR;

	(void)unused;
	SUCCEED(rpma_srq_cfg_new(&cfg));
	SUCCEED(rpma_srq_cfg_set_rq_size(cfg, UINT32_MAX));
	EXPECT(rpma_srq_new(peer, cfg, &srq), RPMA_E_PROVIDER);
	SUCCEED(rpma_srq_cfg_set_rq_size(cfg, 10));
	SUCCEED(rpma_srq_cfg_set_rcq_size(cfg, UINT32_MAX));
	EXPECT(rpma_srq_new(peer, cfg, &srq), RPMA_E_PROVIDER);
	assert_ptr_equal(srq, UNTOUCHED_PTR);
	SUCCEED(rpma_srq_cfg_delete(&cfg));
	/* what the second one had made is gone: nothing keeps the domain busy */
	SUCCEED(rpma_peer_delete(&peer));
}

static void
length_above_4g(void **state)
{
	struct shared *shared = *state;

	BETTER(DIFF_LENGTH_4G);
	log_capture(RPMA_LOG_LEVEL_ERROR);
	INVALID(rpma_srq_recv(shared->srq, shared->pair.server.region.mr, 0,
			(size_t)UINT32_MAX + 1, NULL));
	assert_int_equal(logged.count, 1);
	log_release();
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(shared_queues_refuse),
};

#define WITH_RCQ(test) cmocka_unit_test_setup_teardown(test, open_default, close_shared_queue)
#define WITHOUT_RCQ(test) \
	cmocka_unit_test_setup_teardown(test, open_without_rcq, close_shared_queue)

static const struct CMUnitTest rdma[] = {
	WITH_RCQ(arguments_of_a_real_queue),
	WITH_RCQ(queue_with_a_receive_cq),
	WITH_RCQ(queue_with_a_receive_cq_wins_over_the_connection_s),
	WITHOUT_RCQ(queue_without_a_receive_cq),
	WITH_RCQ(connections_share_it),
	WITH_RCQ(receive_of_no_bytes),
	WITH_RCQ(receive_on_the_connection),
	WITH_RCQ(queue_full),
	WITH_RCQ(shared_channel_and_a_receive_cq),
	WITHOUT_RCQ(shared_channel_without_a_receive_cq),
	cmocka_unit_test(impossible_sizes),
	WITH_RCQ(length_above_4g),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "srq", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
		.rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
