/* SPDX-License-Identifier: BSD-3-Clause */
/* Events of a connection that are unusual or cannot be acknowledged, and a connection that cannot be ended. */
#include "failing.h"

/* the client's first event is one of this type; its connection is gone when this returns */
static int
event_of_type(struct pair *pair, enum rdma_cm_event_type type, enum rpma_conn_event *event)
{
	int fd = -1;
	int ret;

	pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	pair->server.conn = connect_request(take_request(pair->ep, NULL));
	SUCCEED(rpma_conn_get_event_fd(pair->client.conn, &fd));
	wait_readable(fd);

	verbs_reset();
	verbs_change_event(type);
	log_capture(RPMA_LOG_LEVEL_NOTICE);
	ret = rpma_conn_next_event(pair->client.conn, event);
	log_release();
	EXPECT_SPOILT();
	assert_int_equal(verbs_calls("rdma_ack_cm_event"), 1);

	SUCCEED(rpma_conn_delete(&pair->client.conn));
	SUCCEED(rpma_conn_delete(&pair->server.conn));

	return ret;
}

static void
every_event(void **state)
{
	static const struct {
		enum rdma_cm_event_type type;
		enum rpma_conn_event event;
	} cases[] = {
		{RDMA_CM_EVENT_ESTABLISHED, RPMA_CONN_ESTABLISHED},
		{RDMA_CM_EVENT_CONNECT_ERROR, RPMA_CONN_LOST},
		{RDMA_CM_EVENT_DEVICE_REMOVAL, RPMA_CONN_LOST},
		{RDMA_CM_EVENT_DISCONNECTED, RPMA_CONN_CLOSED},
		{RDMA_CM_EVENT_TIMEWAIT_EXIT, RPMA_CONN_CLOSED},
		{RDMA_CM_EVENT_REJECTED, RPMA_CONN_REJECTED},
		{RDMA_CM_EVENT_UNREACHABLE, RPMA_CONN_UNREACHABLE},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		enum rpma_conn_event event = UNTOUCHED_INT;
		char text[64];

		SUCCEED(event_of_type(*state, cases[i].type, &event));
		assert_int_equal(event, cases[i].event);
		snprintf(text, sizeof(text), "%s\n", rpma_utils_conn_event_2str(event));
		assert_int_equal(logged.count, 1);
		assert_int_equal(logged.level, RPMA_LOG_LEVEL_NOTICE);
		assert_string_equal(logged.function, "rpma_conn_next_event");
		assert_string_equal(logged.text, text);
	}
}

static const int other_events[] = {
	RDMA_CM_EVENT_ADDR_RESOLVED, RDMA_CM_EVENT_ADDR_ERROR, RDMA_CM_EVENT_ROUTE_RESOLVED,
	RDMA_CM_EVENT_ROUTE_ERROR, RDMA_CM_EVENT_CONNECT_REQUEST, RDMA_CM_EVENT_CONNECT_RESPONSE,
	RDMA_CM_EVENT_MULTICAST_JOIN, RDMA_CM_EVENT_MULTICAST_ERROR, RDMA_CM_EVENT_ADDR_CHANGE, 99,
};

static void
other_events_are_unknown(void **state)
{
	for (size_t i = 0; i < COUNT_OF(other_events); i++) {
		enum rpma_conn_event event = UNTOUCHED_INT;

		EXPECT(event_of_type(*state, (enum rdma_cm_event_type)other_events[i], &event),
				RPMA_E_UNKNOWN);
		assert_int_equal(event, UNTOUCHED_INT);
		assert_int_equal(logged.count, 1);
		assert_int_equal(logged.level, RPMA_LOG_LEVEL_WARNING);
		assert_string_equal(logged.function, "rpma_conn_next_event");
	}
}

static void
other_events_are_named(void **state)
{
	BETTER(DIFF_UNKNOWN_EVENT);
	for (size_t i = 0; i < COUNT_OF(other_events); i++) {
		const enum rdma_cm_event_type type = (enum rdma_cm_event_type)other_events[i];
		enum rpma_conn_event event;
		char text[128];

		EXPECT(event_of_type(*state, type, &event), RPMA_E_UNKNOWN);
		snprintf(text, sizeof(text), "unexpected CM event: %s\n", rdma_event_str(type));
		assert_string_equal(logged.text, text);
	}
}

static void
event_that_cannot_be_acknowledged(void **state)
{
	struct pair *pair = *state;
	enum rpma_conn_event event = UNTOUCHED_INT;
	int fd = -1;

	SUCCEED(rpma_conn_get_event_fd(pair->client.conn, &fd));
	SUCCEED(rpma_conn_disconnect(pair->server.conn));
	wait_readable(fd);
	verbs_claim_failure("rdma_ack_cm_event", EINVAL);
	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(rpma_conn_next_event(pair->client.conn, &event), RPMA_E_PROVIDER);
	assert_int_equal(event, UNTOUCHED_INT);
	assert_failure_logged("rdma_ack_cm_event", EINVAL);
}

/* the original undoes the request by deleting it, and so says NULL */
static void
request_whose_event_cannot_be_acknowledged(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_req *req = UNTOUCHED_PTR;
	struct rpma_conn *conn;
	int fd = -1;

	BETTER(DIFF_REJECTED_REQUEST);
	SUCCEED(rpma_ep_get_fd(pair->ep, &fd));
	conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	wait_readable(fd);
	verbs_reset();
	verbs_claim_failure("rdma_ack_cm_event", EINVAL);
	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(rpma_ep_next_conn_req(pair->ep, NULL, &req), RPMA_E_PROVIDER);
	assert_failure_logged("rdma_ack_cm_event", EINVAL);
	assert_int_equal(verbs_calls("rdma_destroy_qp"), 1);
	assert_int_equal(verbs_calls("rdma_destroy_id"), 1);
	assert_ptr_equal(req, UNTOUCHED_PTR);
	SUCCEED(rpma_conn_delete(&conn));
}

static int
disconnect(struct pair *pair)
{
	return rpma_conn_disconnect(pair->client.conn);
}

static void
conn_disconnect(void **state)
{
	static const struct failing failing[] = {
		{"rdma_disconnect", 0, ENOTCONN, RPMA_E_PROVIDER},
		{"rdma_disconnect", 0, EINVAL, RPMA_E_PROVIDER},
	};

	EACH_FAILS(failing, disconnect, *state);
}

#define WITH_EP(test) cmocka_unit_test_setup_teardown(test, prepare_seen, release_seen)
#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, connect_seen, release_seen)

static const struct CMUnitTest rdma[] = {
	WITH_EP(every_event),
	WITH_EP(other_events_are_unknown),
	WITH_EP(other_events_are_named),
	WITH_PAIR(event_that_cannot_be_acknowledged),
	WITH_EP(request_whose_event_cannot_be_acknowledged),
	WITH_PAIR(conn_disconnect),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "failed-events", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
