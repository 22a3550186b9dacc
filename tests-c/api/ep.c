/* SPDX-License-Identifier: BSD-3-Clause */
/* Endpoints: listening, and taking requests. */
#include "device.h"

/* --- without a device --- */

static void
endpoints_refuse_null(void **unused)
{
	struct rpma_peer *peer = untouchable();
	struct rpma_ep *ep = UNTOUCHED_PTR;
	struct rpma_ep *none = NULL;
	struct rpma_conn_req *req = UNTOUCHED_PTR;
	int fd = UNTOUCHED_INT;

	(void)unused;
	INVALID(rpma_ep_listen(NULL, "127.0.0.1", "7204", &ep));
	INVALID(rpma_ep_listen(peer, NULL, "7204", &ep));
	INVALID(rpma_ep_listen(peer, "127.0.0.1", NULL, &ep));
	INVALID(rpma_ep_listen(peer, "127.0.0.1", "7204", NULL));
	assert_ptr_equal(ep, UNTOUCHED_PTR);
	INVALID(rpma_ep_shutdown(NULL));
	SUCCEED(rpma_ep_shutdown(&none));
	INVALID(rpma_ep_get_fd(NULL, &fd));
	INVALID(rpma_ep_get_fd(untouchable(), NULL));
	assert_int_equal(fd, UNTOUCHED_INT);
	INVALID(rpma_ep_next_conn_req(NULL, NULL, &req));
	INVALID(rpma_ep_next_conn_req(untouchable(), NULL, NULL));
	assert_ptr_equal(req, UNTOUCHED_PTR);
}

/* --- with a device --- */

static void
endpoint_arguments(void **state)
{
	struct pair *pair = *state;
	struct rpma_peer *peer = pair->server.peer;
	struct rpma_ep *ep = UNTOUCHED_PTR;
	struct rpma_conn_req *req = UNTOUCHED_PTR;

	INVALID(rpma_ep_listen(peer, NULL, "7204", &ep));
	INVALID(rpma_ep_listen(peer, device_addr(), NULL, &ep));
	INVALID(rpma_ep_listen(peer, device_addr(), "7204", NULL));
	INVALID(rpma_ep_get_fd(pair->ep, NULL));
	INVALID(rpma_ep_next_conn_req(pair->ep, NULL, NULL));
	assert_ptr_equal(ep, UNTOUCHED_PTR);
	assert_ptr_equal(req, UNTOUCHED_PTR);
}

static void
failed_listens(void **state)
{
	struct pair *pair = *state;
	struct rpma_peer *peer = pair->server.peer;
	struct rpma_ep *ep = UNTOUCHED_PTR;

	/* the port is in use, the address foreign, the port no number, the address none */
	errno = 0;
	EXPECT(rpma_ep_listen(peer, device_addr(), pair->port, &ep), RPMA_E_PROVIDER);
	EXPECT_ERRNO(EADDRINUSE);
	errno = 0;
	EXPECT(rpma_ep_listen(peer, "203.0.113.1", "7204", &ep), RPMA_E_PROVIDER);
	EXPECT_ERRNO(EADDRNOTAVAIL);
	EXPECT(rpma_ep_listen(peer, device_addr(), "no such port", &ep), RPMA_E_PROVIDER);
	EXPECT(rpma_ep_listen(peer, "no such address", "7204", &ep), RPMA_E_PROVIDER);
	assert_ptr_equal(ep, UNTOUCHED_PTR);
}

static void
listen_again_and_on_any_port(void **state)
{
	struct pair *pair = *state;
	struct rpma_ep *ep = NULL;

	SUCCEED(rpma_ep_shutdown(&pair->ep));
	assert_null(pair->ep);
	SUCCEED(rpma_ep_listen(pair->server.peer, device_addr(), pair->port, &pair->ep));
	pair_connect(pair, NULL, NULL);
	pair_disconnect(pair);

	SUCCEED(rpma_ep_listen(pair->server.peer, device_addr(), "0", &ep));
	SUCCEED(rpma_ep_shutdown(&ep));
	SUCCEED(rpma_ep_shutdown(&pair->ep));
	SUCCEED(rpma_ep_listen(pair->server.peer, "0.0.0.0", pair->port, &pair->ep));
	pair_connect(pair, NULL, NULL);
	write_and_check(pair, 64, 9);
}

static void
next_request_when_there_is_none(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_req *req = UNTOUCHED_PTR;
	int fd = -1;

	BETTER(DIFF_NO_EVENT);
	SUCCEED(rpma_ep_get_fd(pair->ep, &fd));
	set_nonblocking(fd);
	log_capture(RPMA_LOG_LEVEL_DEBUG);
	EXPECT(rpma_ep_next_conn_req(pair->ep, NULL, &req), RPMA_E_NO_EVENT);
	assert_int_equal(logged.count, 0);
	log_release();
	assert_ptr_equal(req, UNTOUCHED_PTR);

	/* and it goes on to work */
	pair_connect(pair, NULL, NULL);
	EXPECT(rpma_ep_next_conn_req(pair->ep, NULL, &req), RPMA_E_NO_EVENT);
	write_and_check(pair, 64, 9);
}

static void
endpoint_shut_down_with_the_request_unanswered(void **state)
{
	struct pair *pair = *state;
	int fd = -1;

	SUCCEED(rpma_ep_get_fd(pair->ep, &fd));
	pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	wait_readable(fd);
	SUCCEED(rpma_ep_shutdown(&pair->ep));
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_REJECTED);
}

static void
endpoint_after_a_rejection(void **state)
{
	struct pair *pair = *state;

	for (int i = 0; i < 3; i++) {
		struct rpma_conn_req *req;

		pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
		req = take_request(pair->ep, NULL);
		SUCCEED(rpma_conn_req_delete(&req));
		EXPECT_EVENT(pair->client.conn, RPMA_CONN_REJECTED);
		SUCCEED(rpma_conn_delete(&pair->client.conn));
	}

	/* the next event of the endpoint is the next request, and nothing else */
	pair_connect(pair, NULL, NULL);
	write_and_check(pair, 64, 4);
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(endpoints_refuse_null),
};

#define WITH_EP(test) cmocka_unit_test_setup_teardown(test, prepare_pair, close_pair)

static const struct CMUnitTest rdma[] = {
	WITH_EP(endpoint_arguments),
	WITH_EP(failed_listens),
	WITH_EP(listen_again_and_on_any_port),
	WITH_EP(next_request_when_there_is_none),
	WITH_EP(endpoint_shut_down_with_the_request_unanswered),
	WITH_EP(endpoint_after_a_rejection),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "ep", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
		.rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
