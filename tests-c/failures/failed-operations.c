/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that fail, or answer what they never should, while operations are posted and their completions taken;
 * and errno, which tells why.
 */
#include "failing.h"

#define ALWAYS RPMA_F_COMPLETION_ALWAYS

/* --- operations --- */

enum operation {
	READ, WRITE, WRITE_IMM, ATOMIC_WRITE, FLUSH, SEND, SEND_IMM, RECV, SRQ_RECV, REQ_RECV,
	OPERATIONS,
};

struct operands {
	struct pair *pair;
	struct rpma_srq *srq;
	struct rpma_conn_req *req;
};

static int
post(const struct operands *o, enum operation operation)
{
	struct rpma_conn *conn = o->pair->client.conn;
	struct rpma_mr_local *mr = o->pair->client.region.mr;
	struct rpma_mr_remote *remote = o->pair->server.region.remote;
	const char word[8] = {0};

	switch (operation) {
	case READ:
		return rpma_read(conn, mr, 0, remote, 0, 8, ALWAYS, NULL);
	case WRITE:
		return rpma_write(conn, remote, 0, mr, 0, 8, ALWAYS, NULL);
	case WRITE_IMM:
		return rpma_write_with_imm(conn, remote, 0, mr, 0, 8, ALWAYS, 1, NULL);
	case ATOMIC_WRITE:
		return rpma_atomic_write(conn, remote, 0, word, ALWAYS, NULL);
	case FLUSH:
		return rpma_flush(conn, remote, 0, 8, RPMA_FLUSH_TYPE_VISIBILITY, ALWAYS, NULL);
	case SEND:
		return rpma_send(conn, mr, 0, 8, ALWAYS, NULL);
	case SEND_IMM:
		return rpma_send_with_imm(conn, mr, 0, 8, ALWAYS, 1, NULL);
	case RECV:
		return rpma_recv(conn, mr, 0, 8, NULL);
	case SRQ_RECV:
		return rpma_srq_recv(o->srq, mr, 0, 8, NULL);
	case REQ_RECV:
		return rpma_conn_req_recv(o->req, mr, 0, 8, NULL);
	default:
		return 0;
	}
}

/* what each of them comes to; natively done ones come to something else */
static const char *
call_of(enum operation operation)
{
	switch (operation) {
	case SRQ_RECV:
		return "ibv_post_srq_recv";
	case RECV:
	case REQ_RECV:
		return "ibv_post_recv";
	default:
		return "ibv_post_send";
	}
}

static struct operands
operands(struct pair *pair)
{
	struct operands o = {.pair = pair, .req = new_request(pair->client.peer, pair->port, NULL)};

	SUCCEED(rpma_srq_new(pair->client.peer, NULL, &o.srq));

	return o;
}

static void
free_operands(struct operands *o)
{
	log_release();
	SUCCEED(rpma_conn_req_delete(&o->req));
	SUCCEED(rpma_srq_delete(&o->srq));
}

/* whether the operation goes through what is watched; natively done ones do not */
static bool
is_watched(const struct operands *o, enum operation operation)
{
	verbs_reset();
	SUCCEED(post(o, operation));

	return verbs_calls(call_of(operation)) == 1;
}

static void
every_operation(void **state)
{
	struct operands o = operands(*state);

	for (int i = 0; i < OPERATIONS; i++) {
		static const int errors[] = {ENOMEM, EINVAL, EIO};

		if (!is_watched(&o, (enum operation)i))
			continue;
		for (size_t j = 0; j < COUNT_OF(errors); j++) {
			verbs_fail(call_of((enum operation)i), errors[j]);
			log_capture(RPMA_LOG_LEVEL_WARNING);
			EXPECT(post(&o, (enum operation)i), RPMA_E_PROVIDER);
			EXPECT_SPOILT();
			assert_failure_logged(call_of((enum operation)i), errors[j]);
		}
	}
	free_operands(&o);
}

/* --- errno --- */

static void
errno_of_a_call_that_returns_it(void **state)
{
	struct rpma_mr_local *mr = NULL;
	struct operands o;
	char mem[64];

	BETTER(DIFF_ERRNO);
	o = operands(*state);
	for (int i = 0; i < OPERATIONS; i++) {
		if (!is_watched(&o, (enum operation)i))
			continue;
		verbs_fail(call_of((enum operation)i), ENOMEM);
		errno = 0;
		EXPECT(post(&o, (enum operation)i), RPMA_E_PROVIDER);
		assert_int_equal(errno, ENOMEM);
	}
	free_operands(&o);

	SUCCEED(rpma_mr_reg(o.pair->client.peer, mem, sizeof(mem), ALL_USAGES, &mr));
	verbs_claim_failure("ibv_dereg_mr", EBUSY);
	errno = 0;
	EXPECT(rpma_mr_dereg(&mr), RPMA_E_PROVIDER);
	assert_int_equal(errno, EBUSY);
}

static void
errno_after_more_has_failed(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_req *req = NULL;

	BETTER(DIFF_ERRNO);
	verbs_fail("rdma_resolve_route", EHOSTUNREACH);
	verbs_claim_failure("rdma_destroy_id", EIO);
	EXPECT(rpma_conn_req_new(pair->client.peer, device_addr(), pair->port, NULL, &req),
			RPMA_E_PROVIDER);
	EXPECT_SPOILT();
	assert_int_equal(errno, EHOSTUNREACH);
}

/* --- completions --- */

static void
polls_that_fail(void **state)
{
	struct pair *pair = *state;
	static const struct {
		int asked;
		int polled;
		int code;
	} cases[] = {
		{1, -1, RPMA_E_PROVIDER}, {4, -1, RPMA_E_PROVIDER}, {1, -EIO, RPMA_E_PROVIDER},
		{1, 2, RPMA_E_UNKNOWN}, {4, 5, RPMA_E_UNKNOWN}, {4, INT32_MAX, RPMA_E_UNKNOWN},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct ibv_wc wc[4];
		int got = UNTOUCHED_INT;

		verbs_fail("ibv_poll_cq", cases[i].polled);
		log_capture(RPMA_LOG_LEVEL_WARNING);
		EXPECT(rpma_cq_get_wc(pair->client.cq, cases[i].asked, wc, &got), cases[i].code);
		EXPECT_SPOILT();
		assert_int_equal(got, UNTOUCHED_INT);
		assert_int_equal(logged.count, 1);
		assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
		assert_string_equal(logged.function, "rpma_cq_get_wc");
		assert_non_null(strstr(logged.text, "ibv_poll_cq"));
	}
}

static void
cq_wait(void **state)
{
	struct pair *pair = *state;
	static const int no_event[] = {EAGAIN, EINTR, EIO};
	const struct ibv_wc *wc;

	for (size_t i = 0; i < COUNT_OF(no_event); i++) {
		verbs_fail("ibv_get_cq_event", no_event[i]);
		EXPECT(rpma_cq_wait(pair->client.cq), RPMA_E_NO_COMPLETION);
		EXPECT_SPOILT();
	}

	/* armed in vain: the event is taken and acknowledged all the same */
	write_signalled(pair, pair);
	verbs_reset();
	verbs_fail("ibv_req_notify_cq", EIO);
	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(rpma_cq_wait(pair->client.cq), RPMA_E_PROVIDER);
	EXPECT_SPOILT();
	assert_failure_logged("ibv_req_notify_cq", EIO);
	wc = &(const struct ibv_wc){0};
	SUCCEED(rpma_cq_get_wc(pair->client.cq, 1, (struct ibv_wc *)(uintptr_t)wc, NULL));
}

static void
conn_wait(void **state)
{
	struct pair *pair = *state;
	static const int no_event[] = {EAGAIN, EINTR, EIO};
	struct rpma_cq *cq = UNTOUCHED_PTR;
	bool is_rcq = true;

	for (size_t i = 0; i < COUNT_OF(no_event); i++) {
		verbs_fail("ibv_get_cq_event", no_event[i]);
		EXPECT(rpma_conn_wait(pair->client.conn, 0, &cq, &is_rcq), RPMA_E_NO_COMPLETION);
		EXPECT_SPOILT();
	}
	assert_ptr_equal(cq, UNTOUCHED_PTR);
	assert_true(is_rcq);

	/* an event of nobody's */
	write_signalled(pair, pair);
	verbs_reset();
	verbs_strange_cq();
	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(rpma_conn_wait(pair->client.conn, 0, &cq, &is_rcq), RPMA_E_UNKNOWN);
	EXPECT_SPOILT();
	assert_int_equal(logged.count, 1);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
	assert_string_equal(logged.function, "rpma_conn_wait");
	assert_int_equal(verbs_calls("ibv_req_notify_cq"), 0);
	assert_ptr_equal(cq, UNTOUCHED_PTR);
	assert_true(is_rcq);
}

static void
conn_wait_that_cannot_arm(void **state)
{
	struct pair *pair = *state;
	struct rpma_cq *cq = UNTOUCHED_PTR;
	bool is_rcq = true;

	write_signalled(pair, pair);
	verbs_reset();
	verbs_fail("ibv_req_notify_cq", EIO);
	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(rpma_conn_wait(pair->client.conn, 0, &cq, &is_rcq), RPMA_E_PROVIDER);
	EXPECT_SPOILT();
	assert_failure_logged("ibv_req_notify_cq", EIO);
	assert_null(cq);
}

/* --- the older functions --- */

static void
older_functions_fail_alike(void **state)
{
	struct pair *pair = *state;
	const struct older_functions *f = older_functions();
	struct rpma_completion cmpl;

	memset(&cmpl, 0x5a, sizeof(cmpl));
	verbs_fail("ibv_poll_cq", -1);
	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(f->cq_get_completion(pair->client.cq, &cmpl), RPMA_E_PROVIDER);
	assert_failure_logged("ibv_poll_cq", 0);
	verbs_fail("ibv_poll_cq", 2);
	EXPECT(f->cq_get_completion(pair->client.cq, &cmpl), RPMA_E_UNKNOWN);
	verbs_fail("ibv_poll_cq", -1);
	EXPECT(f->conn_completion_get(pair->client.conn, &cmpl), RPMA_E_PROVIDER);
	verbs_fail("ibv_poll_cq", 2);
	EXPECT(f->conn_completion_get(pair->client.conn, &cmpl), RPMA_E_UNKNOWN);
	EXPECT_SPOILT();
	for (size_t i = 0; i < sizeof(cmpl); i++)
		assert_int_equal(((unsigned char *)&cmpl)[i], 0x5a);

	verbs_fail("ibv_get_cq_event", EAGAIN);
	EXPECT(f->conn_completion_wait(pair->client.conn), RPMA_E_NO_COMPLETION);
	write_signalled(pair, pair);
	verbs_fail("ibv_req_notify_cq", EIO);
	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(f->conn_completion_wait(pair->client.conn), RPMA_E_PROVIDER);
	assert_failure_logged("ibv_req_notify_cq", EIO);

	verbs_fail("ibv_post_send", EINVAL);
	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(f->write_atomic(pair->client.conn, pair->server.region.remote, 0,
			pair->client.region.mr, 0, ALWAYS, NULL), RPMA_E_PROVIDER);
	assert_failure_logged("ibv_post_send", EINVAL);
	EXPECT_SPOILT();
}

#define WITH_EP(test) cmocka_unit_test_setup_teardown(test, prepare_seen, release_seen)
#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, connect_seen, release_seen)
#define SHARED(test) cmocka_unit_test_setup_teardown(test, connect_shared_seen, release_seen)

static const struct CMUnitTest rdma[] = {
	WITH_PAIR(every_operation),
	WITH_PAIR(errno_of_a_call_that_returns_it),
	WITH_EP(errno_after_more_has_failed),
	WITH_PAIR(polls_that_fail),
	WITH_PAIR(cq_wait),
	SHARED(conn_wait),
	SHARED(conn_wait_that_cannot_arm),
	WITH_PAIR(older_functions_fail_alike),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "failed-operations", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
