/* SPDX-License-Identifier: BSD-3-Clause */
/* Connection requests of both kinds, and the private data that comes with them. */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <unistd.h>

#include "device.h"

/* --- without a device --- */

static void
requests_refuse_null(void **unused)
{
	struct rpma_peer *peer = untouchable();
	struct rpma_conn_req *req = UNTOUCHED_PTR;
	struct rpma_conn_req *none = NULL;
	struct rpma_conn *conn = UNTOUCHED_PTR;
	struct rpma_conn_private_data pdata = {UNTOUCHED_PTR, 0x5a};

	(void)unused;
	INVALID(rpma_conn_req_new(NULL, "127.0.0.1", "7204", NULL, &req));
	INVALID(rpma_conn_req_new(peer, NULL, "7204", NULL, &req));
	INVALID(rpma_conn_req_new(peer, "127.0.0.1", NULL, NULL, &req));
	INVALID(rpma_conn_req_new(peer, "127.0.0.1", "7204", NULL, NULL));
	assert_ptr_equal(req, UNTOUCHED_PTR);

	INVALID(rpma_conn_req_delete(NULL));
	SUCCEED(rpma_conn_req_delete(&none));

	INVALID(rpma_conn_req_connect(NULL, NULL, &conn));
	INVALID(rpma_conn_req_connect(&none, NULL, &conn));
	INVALID(rpma_conn_req_connect(&none, &pdata, &conn));
	INVALID(rpma_conn_req_connect(&none, NULL, NULL));
	assert_ptr_equal(conn, UNTOUCHED_PTR);

	INVALID(rpma_conn_req_recv(NULL, untouchable(), 0, 8, NULL));
	INVALID(rpma_conn_req_recv(untouchable(), NULL, 0, 8, NULL));
	/* unlike rpma_recv(), which takes a NULL region for a receive of no bytes */
	INVALID(rpma_conn_req_recv(untouchable(), NULL, 0, 0, NULL));

	INVALID(rpma_conn_req_get_private_data(NULL, &pdata));
	INVALID(rpma_conn_req_get_private_data(untouchable(), NULL));
	assert_ptr_equal(pdata.ptr, UNTOUCHED_PTR);
	assert_int_equal(pdata.len, 0x5a);
}

/* --- requests --- */

static void
request_arguments(void **state)
{
	struct pair *pair = *state;
	struct rpma_peer *peer = pair->client.peer;
	struct rpma_mr_local *mr = pair->client.region.mr;
	struct rpma_conn_req *req = UNTOUCHED_PTR;

	INVALID(rpma_conn_req_new(peer, NULL, pair->port, NULL, &req));
	INVALID(rpma_conn_req_new(peer, device_addr(), NULL, NULL, &req));
	INVALID(rpma_conn_req_new(peer, device_addr(), pair->port, NULL, NULL));
	assert_ptr_equal(req, UNTOUCHED_PTR);

	req = new_request(peer, pair->port, NULL);
	INVALID(rpma_conn_req_recv(req, NULL, 0, 8, NULL));
	INVALID(rpma_conn_req_recv(req, NULL, 0, 0, NULL));
	INVALID(rpma_conn_req_recv(NULL, mr, 0, 8, NULL));
	INVALID(rpma_conn_req_get_private_data(req, NULL));
	SUCCEED(rpma_conn_req_delete(&req));
	assert_null(req);
}

static void
request_to_a_bad_address(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_req *req = UNTOUCHED_PTR;

	EXPECT(rpma_conn_req_new(pair->client.peer, "no such address", "7204", NULL, &req),
			RPMA_E_PROVIDER);
	EXPECT(rpma_conn_req_new(pair->client.peer, device_addr(), "no such port", NULL, &req),
			RPMA_E_PROVIDER);
	/* nothing leads there */
	EXPECT(rpma_conn_req_new(pair->client.peer, "203.0.113.1", "7204", NULL, &req),
			RPMA_E_PROVIDER);
	assert_ptr_equal(req, UNTOUCHED_PTR);
}

static void
request_with_impossible_sizes(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_req *req = UNTOUCHED_PTR;
	static int (*const set[])(struct rpma_conn_cfg *, uint32_t) = {
		rpma_conn_cfg_set_cq_size, rpma_conn_cfg_set_rcq_size,
		rpma_conn_cfg_set_sq_size, rpma_conn_cfg_set_rq_size,
	};

	for (size_t i = 0; i < COUNT_OF(set); i++) {
		struct rpma_conn_cfg *cfg = NULL;

		SUCCEED(rpma_conn_cfg_new(&cfg));
		SUCCEED(set[i](cfg, UINT32_MAX));
		EXPECT(rpma_conn_req_new(pair->client.peer, device_addr(), pair->port, cfg, &req),
				RPMA_E_PROVIDER);
		assert_ptr_equal(req, UNTOUCHED_PTR);
		SUCCEED(rpma_conn_cfg_delete(&cfg));
	}
}

static void
connect_without_a_place_for_the_connection(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, NULL);

	/* it takes the request all the same */
	INVALID(rpma_conn_req_connect(&req, NULL, NULL));
	assert_null(req);
}

static void
connect_with_empty_private_data(void **state)
{
	struct pair *pair = *state;
	char byte = 1;
	struct rpma_conn_private_data bad[] = {{NULL, 1}, {&byte, 0}, {NULL, 0}};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, NULL);
		struct rpma_conn *conn = UNTOUCHED_PTR;

		INVALID(rpma_conn_req_connect(&req, &bad[i], &conn));
		assert_null(req);
		assert_ptr_equal(conn, UNTOUCHED_PTR);
	}
}

static void
receive_posted_before_the_connection(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, NULL);

	SUCCEED(rpma_conn_req_recv(req, pair->client.region.mr, 16, 8, &pair->client));
	pair->client.conn = connect_request(req);

	req = take_request(pair->ep, NULL);
	SUCCEED(rpma_conn_req_recv(req, pair->server.region.mr, 32, 8, &pair->server));
	pair->server.conn = connect_request(req);
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_ESTABLISHED);
	EXPECT_EVENT(pair->server.conn, RPMA_CONN_ESTABLISHED);

	for (int i = 0; i < 2; i++) {
		struct side *from = i ? &pair->server : &pair->client;
		struct side *to = i ? &pair->client : &pair->server;

		fill(from->region.mem, 8, (unsigned)i + 1);
		SUCCEED(rpma_send(from->conn, from->region.mr, 0, 8, RPMA_F_COMPLETION_ALWAYS, from));
		EXPECT_WC(cq_of(from->conn), from, IBV_WC_SUCCESS);
		const struct ibv_wc wc = EXPECT_WC(cq_of(to->conn), to, IBV_WC_SUCCESS);

		assert_int_equal(wc.opcode, IBV_WC_RECV);
		assert_int_equal(wc.byte_len, 8);
		assert_memory_equal(to->region.mem + (i ? 16 : 32), from->region.mem, 8);
	}
}

static void
length_above_4g(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_req *req;

	BETTER(DIFF_LENGTH_4G);
	req = new_request(pair->client.peer, pair->port, NULL);
	log_capture(RPMA_LOG_LEVEL_ERROR);
	INVALID(rpma_conn_req_recv(req, pair->client.region.mr, 0, (size_t)1 << 32, NULL));
	assert_int_equal(logged.count, 1);
	log_release();
	SUCCEED(rpma_conn_req_delete(&req));
}

/* --- rejections --- */

static void
nobody_listens(void **state)
{
	struct pair *pair = *state;

	SUCCEED(rpma_ep_shutdown(&pair->ep));
	pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_REJECTED);
}

static void
rejected_by_the_server(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_req *req;

	pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	req = take_request(pair->ep, NULL);
	SUCCEED(rpma_conn_req_delete(&req));
	assert_null(req);
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_REJECTED);
}

static void
rejected_by_a_bad_connect(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_private_data empty = {NULL, 0};
	struct rpma_conn *conn = UNTOUCHED_PTR;
	struct rpma_conn_req *req;

	pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	req = take_request(pair->ep, NULL);
	INVALID(rpma_conn_req_connect(&req, &empty, &conn));
	assert_null(req);
	assert_ptr_equal(conn, UNTOUCHED_PTR);
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_REJECTED);
}

/* --- what fails half-way: no descriptor is left for the connection's event channel --- */

static int
connect_without_descriptors(struct rpma_conn_req **req, struct rpma_conn **conn)
{
	struct rlimit before;
	struct rlimit none;
	const int lowest = dup(0);
	int ret;

	assert_return_code(lowest, errno);
	close(lowest);
	assert_return_code(getrlimit(RLIMIT_NOFILE, &before), errno);
	none = before;
	none.rlim_cur = (rlim_t)lowest;
	assert_return_code(setrlimit(RLIMIT_NOFILE, &none), errno);
	ret = rpma_conn_req_connect(req, NULL, conn);
	assert_return_code(setrlimit(RLIMIT_NOFILE, &before), errno);

	return ret;
}

static void
connect_fails_half_way(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn *conn = UNTOUCHED_PTR;
	struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, NULL);

	EXPECT(connect_without_descriptors(&req, &conn), RPMA_E_PROVIDER);
	assert_null(req);
	assert_ptr_equal(conn, UNTOUCHED_PTR);
	pair_connect(pair, NULL, NULL);
	write_and_check(pair, 64, 4);
}

static void
accept_fails_half_way(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn *conn = UNTOUCHED_PTR;
	struct rpma_conn_req *req;

	pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	req = take_request(pair->ep, NULL);
	EXPECT(connect_without_descriptors(&req, &conn), RPMA_E_PROVIDER);
	assert_null(req);
	assert_ptr_equal(conn, UNTOUCHED_PTR);
}

static void
endpoint_after_an_accept_that_failed_half_way(void **state)
{
	struct pair *pair = *state;
	enum rpma_conn_event event;

	BETTER(DIFF_REJECTED_REQUEST);
	accept_fails_half_way(state);

	/* the client had its accept, and then nobody was there: it hears of that, sooner or later */
	do {
		event = next_event(pair->client.conn);
	} while (event == RPMA_CONN_ESTABLISHED);
	assert_true(event == RPMA_CONN_CLOSED || event == RPMA_CONN_REJECTED ||
			event == RPMA_CONN_LOST);
	SUCCEED(rpma_conn_delete(&pair->client.conn));

	/* the next event of the endpoint is the next request, and nothing else */
	pair_connect(pair, NULL, NULL);
	write_and_check(pair, 64, 4);
}

/* the client is gone before its request is answered */
static void
client_gone_before_the_accept(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn *conn = UNTOUCHED_PTR;
	struct rpma_conn_req *req;
	int ret;

	pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	req = take_request(pair->ep, NULL);
	SUCCEED(rpma_conn_delete(&pair->client.conn));

	/* the accept fails as soon as the news has come; one that was faster hears of the end */
	ret = rpma_conn_req_connect(&req, NULL, &conn);
	assert_null(req);
	if (ret) {
		EXPECT(ret, RPMA_E_PROVIDER);
		assert_ptr_equal(conn, UNTOUCHED_PTR);
	} else {
		const enum rpma_conn_event event = next_event(conn);

		assert_true(event == RPMA_CONN_CLOSED || event == RPMA_CONN_REJECTED ||
				event == RPMA_CONN_LOST);
		SUCCEED(rpma_conn_delete(&conn));
	}
}

/* --- private data --- */

static void
check_zero_padded(const struct rpma_conn_private_data *got, const char *want, size_t len)
{
	const char *bytes = got->ptr;

	assert_non_null(bytes);
	assert_true(got->len >= len);
	if (len)
		assert_memory_equal(bytes, want, len);
	for (size_t i = len; i < got->len; i++)
		assert_int_equal(bytes[i], 0);
}

static void
private_data(void **state)
{
	struct pair *pair = *state;
	static const uint8_t request_lens[] = {0, 1, 20, REQUEST_PRIVATE_DATA};
	static const uint8_t reply_lens[] = {0, REPLY_PRIVATE_DATA, 1, 57};
	char request_data[256];
	char reply_data[256];

	fill(request_data, sizeof(request_data), 5);
	fill(reply_data, sizeof(reply_data), 6);

	for (size_t i = 0; i < COUNT_OF(request_lens); i++) {
		const struct rpma_conn_private_data request = {request_data, request_lens[i]};
		const struct rpma_conn_private_data reply = {reply_data, reply_lens[i]};
		struct rpma_conn_private_data got = {UNTOUCHED_PTR, 0x5a};
		struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, NULL);

		/* an outgoing request has none */
		SUCCEED(rpma_conn_req_get_private_data(req, &got));
		assert_null(got.ptr);
		assert_int_equal(got.len, 0);
		SUCCEED(rpma_conn_req_connect(&req, request.len ? &request : NULL,
				&pair->client.conn));
		assert_null(req);
		got.ptr = UNTOUCHED_PTR;
		SUCCEED(rpma_conn_get_private_data(pair->client.conn, &got));
		assert_null(got.ptr);
		assert_int_equal(got.len, 0);

		/* on the server: with the request, and with the connection made of it */
		req = take_request(pair->ep, NULL);
		SUCCEED(rpma_conn_req_get_private_data(req, &got));
		check_zero_padded(&got, request_data, request.len);
		assert_int_equal(got.len, REQUEST_PRIVATE_DATA);
		SUCCEED(rpma_conn_req_connect(&req, reply.len ? &reply : NULL, &pair->server.conn));
		SUCCEED(rpma_conn_get_private_data(pair->server.conn, &got));
		check_zero_padded(&got, request_data, request.len);
		assert_int_equal(got.len, REQUEST_PRIVATE_DATA);

		/* on the client: with the event */
		EXPECT_EVENT(pair->client.conn, RPMA_CONN_ESTABLISHED);
		SUCCEED(rpma_conn_get_private_data(pair->client.conn, &got));
		check_zero_padded(&got, reply_data, reply.len);
		assert_int_equal(got.len, REPLY_PRIVATE_DATA);

		/* the server's own event does not replace what it has */
		EXPECT_EVENT(pair->server.conn, RPMA_CONN_ESTABLISHED);
		SUCCEED(rpma_conn_get_private_data(pair->server.conn, &got));
		check_zero_padded(&got, request_data, request.len);

		pair_disconnect(pair);
	}
}

static void
too_much_private_data_from_the_client(void **state)
{
	struct pair *pair = *state;
	char data[256] = {1};
	static const uint8_t lens[] = {REQUEST_PRIVATE_DATA + 1, 255};

	for (size_t i = 0; i < COUNT_OF(lens); i++) {
		const struct rpma_conn_private_data pdata = {data, lens[i]};
		struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, NULL);
		struct rpma_conn *conn = UNTOUCHED_PTR;

		EXPECT(rpma_conn_req_connect(&req, &pdata, &conn), RPMA_E_PROVIDER);
		assert_null(req);
		assert_ptr_equal(conn, UNTOUCHED_PTR);
	}
}

static void
too_much_private_data_from_the_server(void **state)
{
	struct pair *pair = *state;
	char data[256] = {1};
	const struct rpma_conn_private_data pdata = {data, REPLY_PRIVATE_DATA + 1};
	struct rpma_conn *conn = UNTOUCHED_PTR;
	struct rpma_conn_req *req;

	pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	req = take_request(pair->ep, NULL);
	EXPECT(rpma_conn_req_connect(&req, &pdata, &conn), RPMA_E_PROVIDER);
	assert_null(req);
	assert_ptr_equal(conn, UNTOUCHED_PTR);
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_REJECTED);
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(requests_refuse_null),
};

#define WITH_EP(test) cmocka_unit_test_setup_teardown(test, prepare_pair, close_pair)

static const struct CMUnitTest rdma[] = {
	WITH_EP(request_arguments),
	WITH_EP(request_to_a_bad_address),
	WITH_EP(request_with_impossible_sizes),
	WITH_EP(connect_without_a_place_for_the_connection),
	WITH_EP(connect_with_empty_private_data),
	WITH_EP(receive_posted_before_the_connection),
	WITH_EP(length_above_4g),
	WITH_EP(nobody_listens),
	WITH_EP(rejected_by_the_server),
	WITH_EP(rejected_by_a_bad_connect),
	WITH_EP(connect_fails_half_way),
	WITH_EP(accept_fails_half_way),
	WITH_EP(endpoint_after_an_accept_that_failed_half_way),
	WITH_EP(client_gone_before_the_accept),
	WITH_EP(private_data),
	WITH_EP(too_much_private_data_from_the_client),
	WITH_EP(too_much_private_data_from_the_server),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "conn_req", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
		.rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
