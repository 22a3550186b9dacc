/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a call with wrong arguments leaves: what there is to take stays there. A request that is to be connected
 * is the exception.
 */
#include "failing.h"

static void
refused_calls_take_no_event(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn *conn;
	struct rpma_conn_req *req;
	int fd = -1;

	SUCCEED(rpma_conn_get_event_fd(pair->client.conn, &fd));
	SUCCEED(rpma_conn_disconnect(pair->server.conn));
	wait_readable(fd);
	INVALID(rpma_conn_next_event(pair->client.conn, NULL));
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_CLOSED);

	SUCCEED(rpma_ep_get_fd(pair->ep, &fd));
	conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	wait_readable(fd);
	INVALID(rpma_ep_next_conn_req(pair->ep, NULL, NULL));
	req = take_request(pair->ep, NULL);
	SUCCEED(rpma_conn_req_delete(&req));
	EXPECT_EVENT(conn, RPMA_CONN_REJECTED);
	SUCCEED(rpma_conn_delete(&conn));
}

static void
refused_calls_take_no_completion(void **state)
{
	struct pair *pair = *state;
	struct rpma_cq *cq = NULL;
	struct ibv_wc wc[2];
	bool is_rcq = true;
	int got = UNTOUCHED_INT;
	int fd = -1;

	SUCCEED(rpma_conn_get_compl_fd(pair->client.conn, &fd));
	write_signalled(pair, pair);
	wait_readable(fd);
	INVALID(rpma_conn_wait(pair->client.conn, 0, NULL, &is_rcq));
	EXPECT(rpma_cq_wait(pair->client.cq), RPMA_E_SHARED_CHANNEL);
	INVALID(rpma_cq_get_wc(pair->client.cq, 0, wc, &got));
	INVALID(rpma_cq_get_wc(pair->client.cq, 1, NULL, &got));
	INVALID(rpma_cq_get_wc(pair->client.cq, 2, wc, NULL));
	SUCCEED(rpma_conn_wait(pair->client.conn, 0, &cq, &is_rcq));
	SUCCEED(rpma_cq_get_wc(cq, 2, wc, &got));
	assert_int_equal(got, 1);
	assert_true(wc[0].wr_id == (uintptr_t)pair);
}

/* every failure of these rejects an incoming request, and drops an outgoing one */
static void
refused_connects_take_the_request(void **state)
{
	struct pair *pair = *state;
	char byte = 1;
	struct rpma_conn_private_data bad[] = {{NULL, 1}, {&byte, 0}, {NULL, 0}};

	for (size_t i = 0; i <= COUNT_OF(bad); i++) {
		/* the last time: no place for the connection */
		const struct rpma_conn_private_data *pdata = i < COUNT_OF(bad) ? &bad[i] : NULL;
		struct rpma_conn *out = UNTOUCHED_PTR;
		struct rpma_conn **place = pdata ? &out : NULL;
		struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, NULL);
		struct rpma_conn *conn;

		verbs_reset();
		INVALID(rpma_conn_req_connect(&req, pdata, place));
		assert_null(req);
		assert_int_equal(verbs_calls("rdma_destroy_id"), 1);
		assert_int_equal(verbs_calls("rdma_destroy_qp"), 1);
		assert_int_equal(verbs_calls("rdma_connect"), 0);

		conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
		req = take_request(pair->ep, NULL);
		verbs_reset();
		INVALID(rpma_conn_req_connect(&req, pdata, place));
		assert_null(req);
		assert_int_equal(verbs_calls("rdma_reject"), 1);
		assert_int_equal(verbs_calls("rdma_destroy_qp"), 1);
		assert_int_equal(verbs_calls("rdma_accept"), 0);
		assert_ptr_equal(out, UNTOUCHED_PTR);
		EXPECT_EVENT(conn, RPMA_CONN_REJECTED);
		SUCCEED(rpma_conn_delete(&conn));
	}
}

#define WITH_EP(test) cmocka_unit_test_setup_teardown(test, prepare_seen, release_seen)
#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, connect_seen, release_seen)
#define SHARED(test) cmocka_unit_test_setup_teardown(test, connect_shared_seen, release_seen)

static const struct CMUnitTest rdma[] = {
	WITH_PAIR(refused_calls_take_no_event),
	SHARED(refused_calls_take_no_completion),
	WITH_EP(refused_connects_take_the_request),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "refused-calls", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
