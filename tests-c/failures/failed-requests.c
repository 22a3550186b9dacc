/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that fail while an incoming request is taken, and while a request of either kind becomes a
 * connection.
 */
#include "failing.h"

/* --- incoming requests --- */

/* a client that asks, and what became of its request */
static struct rpma_conn_req *incoming;
static struct rpma_conn *accepted;

static void
client_asks(struct pair *pair)
{
	int fd = -1;

	SUCCEED(rpma_ep_get_fd(pair->ep, &fd));
	pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	wait_readable(fd);
}

static void
client_leaves(struct pair *pair)
{
	verbs_reset();
	SUCCEED(rpma_conn_req_delete(&incoming));
	SUCCEED(rpma_conn_delete(&accepted));
	SUCCEED(rpma_conn_delete(&pair->client.conn));
	/* without what may still come of that request */
	SUCCEED(rpma_ep_shutdown(&pair->ep));
	pair->ep = listen_somewhere(pair->server.peer, pair->port);
}

static int
take_next(struct pair *pair)
{
	struct rpma_conn_req *req = UNTOUCHED_PTR;
	struct rpma_conn_cfg *cfg = full_cfg(false);
	const int ret = rpma_ep_next_conn_req(pair->ep, cfg, &req);

	assert_int_equal(req == UNTOUCHED_PTR, ret != 0);
	if (ret == 0)
		incoming = req;
	SUCCEED(rpma_conn_cfg_delete(&cfg));

	return ret;
}

static const struct subject taking = {client_asks, take_next, client_leaves};

static const struct failing taking_fails[] = {
	{"ibv_create_comp_channel", 0, EMFILE, RPMA_E_PROVIDER},
	{"ibv_create_cq", 0, ENOMEM, RPMA_E_PROVIDER},
	{"ibv_req_notify_cq", 0, EIO, RPMA_E_PROVIDER},
	{"ibv_create_comp_channel", 1, EMFILE, RPMA_E_PROVIDER},
	{"ibv_create_cq", 1, ENOMEM, RPMA_E_PROVIDER},
	{"ibv_req_notify_cq", 1, EIO, RPMA_E_PROVIDER},
	{"rdma_create_qp_ex", 0, ENOMEM, RPMA_E_PROVIDER},
};

static void
ep_next_conn_req(void **state)
{
	EACH_FAILS_IN(taking_fails, &taking, *state);
}

static void
expect_destroyed_ids(const struct failing *failing, size_t count, const struct subject *subject,
		struct pair *pair)
{
	for (size_t i = 0; i < count; i++) {
		subject->before(pair);
		verbs_reset();
		verbs_fail_later(failing[i].call, failing[i].more, failing[i].err);
		EXPECT(subject->call(pair), failing[i].code);
		assert_int_equal(verbs_calls("rdma_destroy_id"), 1);
		subject->after(pair);
	}
}

static void
id_of_a_request_that_cannot_be_taken(void **state)
{
	BETTER(DIFF_REJECTED_REQUEST);
	expect_destroyed_ids(taking_fails, COUNT_OF(taking_fails), &taking, *state);
}

static void
no_event_to_take(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_req *req = UNTOUCHED_PTR;
	enum rpma_conn_event event = UNTOUCHED_INT;

	verbs_fail("rdma_get_cm_event", EIO);
	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(rpma_ep_next_conn_req(pair->ep, NULL, &req), RPMA_E_PROVIDER);
	assert_failure_logged("rdma_get_cm_event", EIO);
	log_capture(RPMA_LOG_LEVEL_WARNING);
	verbs_fail("rdma_get_cm_event", EIO);
	EXPECT(rpma_conn_next_event(pair->client.conn, &event), RPMA_E_PROVIDER);
	assert_failure_logged("rdma_get_cm_event", EIO);
	assert_ptr_equal(req, UNTOUCHED_PTR);
	assert_int_equal(event, UNTOUCHED_INT);

	/* the CM's way to say that there is nothing */
	log_capture(RPMA_LOG_LEVEL_WARNING);
	verbs_fail("rdma_get_cm_event", ENODATA);
	EXPECT(rpma_ep_next_conn_req(pair->ep, NULL, &req), RPMA_E_NO_EVENT);
	verbs_fail("rdma_get_cm_event", ENODATA);
	EXPECT(rpma_conn_next_event(pair->client.conn, &event), RPMA_E_NO_EVENT);
	assert_int_equal(logged.count, 0);
	assert_ptr_equal(req, UNTOUCHED_PTR);
	assert_int_equal(event, UNTOUCHED_INT);
}

/* what comes to an endpoint and is no request */
static void
other_events_of_an_endpoint(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_req *req = UNTOUCHED_PTR;

	client_asks(pair);
	verbs_reset();
	verbs_change_event(RDMA_CM_EVENT_DEVICE_REMOVAL);
	log_capture(RPMA_LOG_LEVEL_WARNING);
	INVALID(rpma_ep_next_conn_req(pair->ep, NULL, &req));
	EXPECT_SPOILT();
	assert_ptr_equal(req, UNTOUCHED_PTR);
	assert_int_equal(logged.count, 1);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
	assert_string_equal(logged.function, "rpma_ep_next_conn_req");
	assert_non_null(strstr(logged.text, "RDMA_CM_EVENT_DEVICE_REMOVAL"));
	assert_int_equal(verbs_calls("rdma_ack_cm_event"), 1);
	client_leaves(pair);
}

/* --- connecting --- */

static int
connect_outgoing(struct pair *pair)
{
	struct rpma_conn_cfg *cfg = full_cfg(false);
	struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, cfg);
	struct rpma_conn *conn = UNTOUCHED_PTR;
	const int ret = rpma_conn_req_connect(&req, NULL, &conn);

	SUCCEED(rpma_conn_cfg_delete(&cfg));
	assert_null(req);
	assert_int_equal(conn == UNTOUCHED_PTR, ret != 0);
	if (ret == 0)
		SUCCEED(rpma_conn_delete(&conn));

	return ret;
}

static void
connect_of_an_outgoing_request(void **state)
{
	static const struct failing failing[] = {
		{"rdma_create_event_channel", 0, EMFILE, RPMA_E_PROVIDER},
		{"rdma_migrate_id", 0, ENOMEM, RPMA_E_PROVIDER},
		{"rdma_connect", 0, ECONNREFUSED, RPMA_E_PROVIDER},
	};

	EACH_FAILS(failing, connect_outgoing, *state);
}

static void
client_asks_and_is_taken(struct pair *pair)
{
	client_asks(pair);
	SUCCEED(rpma_ep_next_conn_req(pair->ep, NULL, &incoming));
}

static int
connect_incoming(struct pair *pair)
{
	struct rpma_conn *conn = UNTOUCHED_PTR;
	const int ret = rpma_conn_req_connect(&incoming, NULL, &conn);

	(void)pair;
	assert_null(incoming);
	assert_int_equal(conn == UNTOUCHED_PTR, ret != 0);
	if (ret == 0)
		accepted = conn;

	return ret;
}

static const struct subject accepting = {
	client_asks_and_is_taken, connect_incoming, client_leaves,
};

static const struct failing accepting_fails[] = {
	{"rdma_accept", 0, EINVAL, RPMA_E_PROVIDER},
	{"rdma_create_event_channel", 0, EMFILE, RPMA_E_PROVIDER},
	{"rdma_migrate_id", 0, ENOMEM, RPMA_E_PROVIDER},
};

static void
connect_of_an_incoming_request(void **state)
{
	for (size_t i = 0; i < COUNT_OF(accepting_fails); i++) {
		client_asks_and_is_taken(*state);
		verbs_reset();
		verbs_fail(accepting_fails[i].call, accepting_fails[i].err);
		log_capture(RPMA_LOG_LEVEL_WARNING);
		EXPECT(connect_incoming(*state), accepting_fails[i].code);
		EXPECT_SPOILT();
		assert_failure_logged(accepting_fails[i].call, accepting_fails[i].err);
		assert_int_equal(verbs_calls("rdma_destroy_qp"), 1);
		assert_int_equal(verbs_calls("ibv_destroy_cq"), 1);
		assert_int_equal(verbs_calls("ibv_destroy_comp_channel"), 1);
		assert_int_equal(verbs_calls("rdma_create_event_channel"),
				verbs_calls("rdma_destroy_event_channel"));
		log_release();
		client_leaves(*state);
	}
}

static void
id_of_a_request_that_cannot_be_accepted(void **state)
{
	BETTER(DIFF_REJECTED_REQUEST);
	expect_destroyed_ids(accepting_fails, COUNT_OF(accepting_fails), &accepting, *state);
}

/* --- a connection whose buffer for flushes cannot be had --- */

static void
no_buffer_for_flushes(void **state)
{
	struct pair *pair = *state;
	static const struct failing failing = {"ibv_reg_mr", 0, ENOMEM, RPMA_E_PROVIDER};

	BETTER(DIFF_FLUSH_BUFFER);
	if (flushes_natively(pair)) {
		print_message("skipped: the device flushes natively, without a buffer\n");
		skip();
	}
	run_failing(&failing, &(const struct subject){.call = connect_outgoing}, pair);

	client_asks_and_is_taken(pair);
	verbs_reset();
	verbs_fail("ibv_reg_mr", ENOMEM);
	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(connect_incoming(pair), RPMA_E_PROVIDER);
	assert_failure_logged("ibv_reg_mr", ENOMEM);
	/* the id stays on its channel, and goes before it */
	assert_int_equal(verbs_calls("rdma_migrate_id"), 1);
	assert_int_equal(verbs_calls("rdma_destroy_id"), 1);
	assert_true(strstr(verbs_log, "rdma_destroy_id ") <
			strstr(verbs_log, "rdma_destroy_event_channel "));
	log_release();
	client_leaves(pair);
}

#define WITH_EP(test) cmocka_unit_test_setup_teardown(test, prepare_seen, release_seen)
#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, connect_seen, release_seen)

static const struct CMUnitTest rdma[] = {
	WITH_EP(ep_next_conn_req),
	WITH_EP(id_of_a_request_that_cannot_be_taken),
	WITH_PAIR(no_event_to_take),
	WITH_EP(other_events_of_an_endpoint),
	WITH_EP(connect_of_an_outgoing_request),
	WITH_EP(connect_of_an_incoming_request),
	WITH_EP(id_of_a_request_that_cannot_be_accepted),
	WITH_EP(no_buffer_for_flushes),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "failed-requests", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
