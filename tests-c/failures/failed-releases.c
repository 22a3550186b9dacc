/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Objects whose parts cannot be released: everything else is released all the same, the pointer is
 * NULL afterwards, and the first failure is the one that counts.
 */
#include "failing.h"

/* an object of a kind, made anew each time, and how it is deleted */
struct kind {
	void *(*make)(struct pair *pair);
	int (*delete)(void **object);
	void (*after)(struct pair *pair);
};

/*
 * The calls of the deletion of such an object, some of which claim to have failed. errno is what the
 * deletion left.
 */
static const char *
delete_with(const struct kind *kind, struct pair *pair, const char *const calls[], size_t count,
		int want)
{
	static char log[sizeof(verbs_log)];
	void *object = kind->make(pair);
	int ret;

	verbs_reset();
	for (size_t i = 0; i < count; i++)
		verbs_claim_failure(calls[i], EIO + (int)i);
	log_capture(RPMA_LOG_LEVEL_WARNING);
	errno = 0;
	ret = kind->delete(&object);
	const int left = errno;

	expect_code(ret, want, count ? calls[0] : "nothing fails", __FILE__,
			__LINE__);
	EXPECT_SPOILT();
	assert_null(object);
	log_release();
	strcpy(log, verbs_log);
	verbs_reset();
	if (kind->after)
		kind->after(pair);
	errno = left;

	return log;
}

/* each of the calls fails alone: the others are made as ever */
static void
each_fails(const struct kind *kind, const char *const calls[], size_t count, struct pair *pair)
{
	char *clean = strdup(delete_with(kind, pair, NULL, 0, 0));

	assert_non_null(clean);
	for (size_t i = 0; i < count; i++) {
		assert_string_equal(delete_with(kind, pair, &calls[i], 1, RPMA_E_PROVIDER), clean);
		assert_failure_logged(calls[i], EIO);
		EXPECT_ERRNO(EIO);
	}
	free(clean);
}

#define EACH_FAILS_OF(kind, pair, ...) do { \
	const char *const calls_[] = {__VA_ARGS__}; \
\
	each_fails((kind), calls_, COUNT_OF(calls_), (pair)); \
} while (0)

/* --- the kinds --- */

static void *
make_peer(struct pair *pair)
{
	(void)pair;

	return open_peer(RPMA_UTIL_IBV_CONTEXT_LOCAL);
}

static int
delete_peer(void **object)
{
	return rpma_peer_delete((struct rpma_peer **)object);
}

static void
peer(void **state)
{
	const struct kind kind = {.make = make_peer, .delete = delete_peer};

	EACH_FAILS_OF(&kind, *state, "ibv_dealloc_pd");
}

static void *
make_region(struct pair *pair)
{
	static char mem[64];
	struct rpma_mr_local *mr = NULL;

	SUCCEED(rpma_mr_reg(pair->client.peer, mem, sizeof(mem), ALL_USAGES, &mr));

	return mr;
}

static int
delete_region(void **object)
{
	return rpma_mr_dereg((struct rpma_mr_local **)object);
}

static void
region(void **state)
{
	const struct kind kind = {.make = make_region, .delete = delete_region};

	EACH_FAILS_OF(&kind, *state, "ibv_dereg_mr");
}

static void *
make_srq(struct pair *pair)
{
	struct rpma_srq *srq = NULL;

	SUCCEED(rpma_srq_new(pair->server.peer, NULL, &srq));

	return srq;
}

static int
delete_srq(void **object)
{
	return rpma_srq_delete((struct rpma_srq **)object);
}

static void
shared_receive_queue(void **state)
{
	const struct kind kind = {.make = make_srq, .delete = delete_srq};

	EACH_FAILS_OF(&kind, *state, "ibv_destroy_cq", "ibv_destroy_comp_channel", "ibv_destroy_srq");
}

static void *
make_ep(struct pair *pair)
{
	struct rpma_ep *ep = NULL;

	SUCCEED(rpma_ep_listen(pair->server.peer, device_addr(), "0", &ep));

	return ep;
}

static int
delete_ep(void **object)
{
	return rpma_ep_shutdown((struct rpma_ep **)object);
}

static void
endpoint(void **state)
{
	const struct kind kind = {.make = make_ep, .delete = delete_ep};

	EACH_FAILS_OF(&kind, *state, "rdma_destroy_id");
}

static void *
make_outgoing(struct pair *pair)
{
	struct rpma_conn_cfg *cfg = full_cfg(false);
	struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, cfg);

	SUCCEED(rpma_conn_cfg_delete(&cfg));

	return req;
}

static void *
make_outgoing_shared(struct pair *pair)
{
	struct rpma_conn_cfg *cfg = full_cfg(true);
	struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, cfg);

	SUCCEED(rpma_conn_cfg_delete(&cfg));

	return req;
}

static int
delete_req(void **object)
{
	return rpma_conn_req_delete((struct rpma_conn_req **)object);
}

static void
outgoing_request(void **state)
{
	const struct kind own = {.make = make_outgoing, .delete = delete_req};
	const struct kind shared = {.make = make_outgoing_shared, .delete = delete_req};

	EACH_FAILS_OF(&own, *state, "ibv_destroy_cq", "ibv_destroy_comp_channel",
			"rdma_destroy_id");
	EACH_FAILS_OF(&shared, *state, "ibv_destroy_cq", "ibv_destroy_comp_channel",
			"rdma_destroy_id");
}

static void *
make_incoming(struct pair *pair)
{
	pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));

	return take_request(pair->ep, NULL);
}

/* the endpoint may still hear of a request that was not answered */
static void
forget_client(struct pair *pair)
{
	SUCCEED(rpma_conn_delete(&pair->client.conn));
	SUCCEED(rpma_ep_shutdown(&pair->ep));
	pair->ep = listen_somewhere(pair->server.peer, pair->port);
}

static void
incoming_request(void **state)
{
	const struct kind kind = {make_incoming, delete_req, forget_client};

	EACH_FAILS_OF(&kind, *state, "ibv_destroy_cq", "ibv_destroy_comp_channel", "rdma_reject");
}

static void *
make_conn_with(struct pair *pair, bool shared)
{
	struct rpma_conn_cfg *cfg = full_cfg(shared);

	pair_connect(pair, cfg, cfg);
	SUCCEED(rpma_conn_cfg_delete(&cfg));
	SUCCEED(rpma_conn_disconnect(pair->server.conn));
	SUCCEED(rpma_conn_delete(&pair->server.conn));
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_CLOSED);

	struct rpma_conn *conn = pair->client.conn;

	pair->client.conn = NULL;

	return conn;
}

static void *
make_conn(struct pair *pair)
{
	return make_conn_with(pair, false);
}

static void *
make_conn_shared(struct pair *pair)
{
	return make_conn_with(pair, true);
}

static int
delete_conn(void **object)
{
	return rpma_conn_delete((struct rpma_conn **)object);
}

static void
connection(void **state)
{
	const struct kind own = {.make = make_conn, .delete = delete_conn};
	const struct kind shared = {.make = make_conn_shared, .delete = delete_conn};
	const bool buffer = strstr(delete_with(&own, *state, NULL, 0, 0), "ibv_dereg_mr") != NULL;

	EACH_FAILS_OF(&own, *state, "ibv_destroy_cq", "ibv_destroy_comp_channel",
			"rdma_destroy_id");
	EACH_FAILS_OF(&shared, *state, "ibv_destroy_cq", "ibv_destroy_comp_channel",
			"rdma_destroy_id");
	/* of the flush, where the device does not do that natively */
	if (buffer)
		EACH_FAILS_OF(&own, *state, "ibv_dereg_mr");
}

/* --- several failures --- */

static void
all_at_once(void **state)
{
	const struct kind own = {.make = make_conn, .delete = delete_conn};
	/* the receive CQ, then the CQ */
	static const char *const calls[] = {
		"ibv_destroy_cq", "ibv_destroy_comp_channel", "ibv_destroy_cq",
		"ibv_destroy_comp_channel", "rdma_destroy_id",
	};
	char *clean = strdup(delete_with(&own, *state, NULL, 0, 0));

	assert_non_null(clean);
	assert_string_equal(delete_with(&own, *state, calls, COUNT_OF(calls), RPMA_E_PROVIDER), clean);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
	free(clean);
}

static void
the_first_failure_is_told(void **state)
{
	const struct kind srq = {.make = make_srq, .delete = delete_srq};
	const char *order;

	BETTER(DIFF_ERRNO);
	order = strstr(delete_with(&srq, *state, NULL, 0, 0), "ibv_destroy_srq ");
	assert_non_null(order);

	/* each is logged */
	if (strstr(order, "ibv_destroy_cq "))
		delete_with(&srq, *state, (const char *const []){"ibv_destroy_srq",
				"ibv_destroy_comp_channel"}, 2, RPMA_E_PROVIDER);
	else
		delete_with(&srq, *state, (const char *const []){"ibv_destroy_comp_channel",
				"ibv_destroy_srq"}, 2, RPMA_E_PROVIDER);
	assert_int_equal(errno, EIO);
	assert_int_equal(logged.count, 2);
}

/* of course it cannot go either: that is not worth a line */
static void
one_line_for_a_queue_that_stays(const struct kind *kind, struct pair *pair)
{
	static const char *const calls[] = {"ibv_destroy_cq", "ibv_destroy_comp_channel"};

	delete_with(kind, pair, calls, COUNT_OF(calls), RPMA_E_PROVIDER);
	assert_failure_logged("ibv_destroy_cq", EIO);
	assert_int_equal(logged.count, 1);
}

static void
channel_of_a_queue_that_stays(void **state)
{
	static const struct kind kinds[] = {
		{.make = make_srq, .delete = delete_srq},
		{.make = make_outgoing, .delete = delete_req},
		{.make = make_conn, .delete = delete_conn},
		{.make = make_conn_shared, .delete = delete_conn},
	};

	for (size_t i = 0; i < COUNT_OF(kinds); i++)
		one_line_for_a_queue_that_stays(&kinds[i], *state);
}

static void
shared_channel_of_a_request(void **state)
{
	const struct kind shared = {.make = make_outgoing_shared, .delete = delete_req};

	BETTER(DIFF_TWO_LINES);
	one_line_for_a_queue_that_stays(&shared, *state);
}

static void
id_of_a_rejected_request(void **state)
{
	const struct kind incoming = {make_incoming, delete_req, forget_client};

	BETTER(DIFF_REJECTED_REQUEST);
	assert_non_null(strstr(delete_with(&incoming, *state, NULL, 0, 0), "rdma_destroy_id "));
	EACH_FAILS_OF(&incoming, *state, "rdma_destroy_id");
}

#define WITH_EP(test) cmocka_unit_test_setup_teardown(test, prepare_seen, release_seen)

static const struct CMUnitTest rdma[] = {
	WITH_EP(peer),
	WITH_EP(region),
	WITH_EP(shared_receive_queue),
	WITH_EP(endpoint),
	WITH_EP(outgoing_request),
	WITH_EP(incoming_request),
	WITH_EP(connection),
	WITH_EP(all_at_once),
	WITH_EP(the_first_failure_is_told),
	WITH_EP(channel_of_a_queue_that_stays),
	WITH_EP(shared_channel_of_a_request),
	WITH_EP(id_of_a_rejected_request),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "failed-releases", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
