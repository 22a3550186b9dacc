/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls of libibverbs and librdmacm that fail while objects are made: the code, the log, the out-parameter,
 * and that what was made is undone.
 */
#include "failing.h"

/* --- utilities and peer --- */

static int
get_context(enum rpma_util_ibv_context_type type)
{
	struct ibv_context *context = UNTOUCHED_PTR;
	const int ret = rpma_utils_get_ibv_context(device_addr(), type, &context);

	assert_int_equal(context == UNTOUCHED_PTR, ret != 0);

	return ret;
}

static int
get_local_context(struct pair *unused)
{
	(void)unused;

	return get_context(RPMA_UTIL_IBV_CONTEXT_LOCAL);
}

static int
get_remote_context(struct pair *unused)
{
	(void)unused;

	return get_context(RPMA_UTIL_IBV_CONTEXT_REMOTE);
}

static void
get_ibv_context(void **state)
{
	static const struct failing local[] = {
		{"rdma_getaddrinfo", 0, ENODEV, RPMA_E_PROVIDER},
		{"rdma_create_id", 0, ENOMEM, RPMA_E_PROVIDER},
		{"rdma_bind_addr", 0, EADDRNOTAVAIL, RPMA_E_PROVIDER},
	};
	static const struct failing remote[] = {
		{"rdma_getaddrinfo", 0, EINVAL, RPMA_E_PROVIDER},
		{"rdma_create_id", 0, EIO, RPMA_E_PROVIDER},
		{"rdma_resolve_addr", 0, ENETUNREACH, RPMA_E_PROVIDER},
	};

	EACH_FAILS(local, get_local_context, *state);
	EACH_FAILS(remote, get_remote_context, *state);
}

static int
ask_for_odp(struct pair *unused)
{
	int capable = UNTOUCHED_INT;
	const int ret = rpma_utils_ibv_context_is_odp_capable(device_context(), &capable);

	(void)unused;
	/* not left alone: what a caller reads after a failure is "no" */
	if (ret)
		assert_int_equal(capable, 0);

	return ret;
}

static int
new_peer(struct pair *unused)
{
	struct rpma_peer *peer = UNTOUCHED_PTR;
	const int ret = rpma_peer_new(device_context(), &peer);

	(void)unused;
	assert_int_equal(peer == UNTOUCHED_PTR, ret != 0);
	if (ret == 0)
		SUCCEED(rpma_peer_delete(&peer));

	return ret;
}

static void
odp_capability(void **state)
{
	static const struct failing failing[] = {
		{"ibv_query_device_ex", 0, EIO, RPMA_E_PROVIDER},
	};

	EACH_FAILS(failing, ask_for_odp, *state);
}

static void
peer_new(void **state)
{
	static const struct failing failing[] = {
		{"ibv_query_device_ex", 0, EIO, RPMA_E_PROVIDER},
		{"ibv_alloc_pd", 0, ENOMEM, RPMA_E_NOMEM},
		{"ibv_alloc_pd", 0, EPERM, RPMA_E_PROVIDER},
		{"ibv_alloc_pd", 0, 0, RPMA_E_UNKNOWN},
	};

	EACH_FAILS(failing, new_peer, *state);
}

/* of these two the original says nothing */
static void
a_domain_that_cannot_be_had(void **unused)
{
	static const int errors[] = {ENOMEM, 0};

	(void)unused;
	BETTER(DIFF_LOGGED);
	for (size_t i = 0; i < COUNT_OF(errors); i++) {
		struct ibv_context *context = device_context();
		struct rpma_peer *peer = NULL;

		verbs_fail("ibv_alloc_pd", errors[i]);
		log_capture(RPMA_LOG_LEVEL_WARNING);
		EXPECT(rpma_peer_new(context, &peer), errors[i] ? RPMA_E_NOMEM : RPMA_E_UNKNOWN);
		assert_failure_logged("ibv_alloc_pd", errors[i]);
	}
}

/* what it lacks is not known */
static void
a_device_that_cannot_be_asked(void **unused)
{
	struct rpma_peer *peer = NULL;
	struct ibv_context *context = device_context();

	(void)unused;
	BETTER(DIFF_UNASKED_DEVICE);
	verbs_fail("ibv_query_device_ex", EIO);
	log_capture(RPMA_LOG_LEVEL_INFO);
	EXPECT(rpma_peer_new(context, &peer), RPMA_E_PROVIDER);
	assert_failure_logged("ibv_query_device_ex", EIO);
	assert_int_equal(logged.count, 1);
}

/* --- memory regions --- */

static int
register_region(struct pair *pair)
{
	struct rpma_mr_local *mr = UNTOUCHED_PTR;
	char mem[64];
	const int ret = rpma_mr_reg(pair->client.peer, mem, sizeof(mem), ALL_USAGES, &mr);

	assert_int_equal(mr == UNTOUCHED_PTR, ret != 0);
	if (ret == 0)
		SUCCEED(rpma_mr_dereg(&mr));

	return ret;
}

static void
mr_reg(void **state)
{
	static const struct failing failing[] = {
		{"ibv_reg_mr", 0, ENOMEM, RPMA_E_PROVIDER},
		{"ibv_reg_mr", 0, EINVAL, RPMA_E_PROVIDER},
		{"ibv_reg_mr", 0, EFAULT, RPMA_E_PROVIDER},
	};

	EACH_FAILS(failing, register_region, *state);
}

/* memory that cannot be pinned is registered for on-demand paging, where the device can do that */
static void
mr_reg_on_demand(void **state)
{
	struct pair *pair = *state;
	struct rpma_mr_local *mr = UNTOUCHED_PTR;
	char mem[64];
	int odp = 0;

	SUCCEED(rpma_utils_ibv_context_is_odp_capable(device_context(), &odp));
	verbs_reset();
	verbs_fail("ibv_reg_mr", EOPNOTSUPP);
	if (!odp) {
		EXPECT(rpma_mr_reg(pair->client.peer, mem, sizeof(mem), RPMA_MR_USAGE_RECV, &mr),
				RPMA_E_PROVIDER);
		assert_ptr_equal(mr, UNTOUCHED_PTR);
		/* the only one, which failed */
		assert_int_equal(verbs_calls("ibv_reg_mr"), 0);
		return;
	}

	SUCCEED(rpma_mr_reg(pair->client.peer, mem, sizeof(mem), RPMA_MR_USAGE_RECV, &mr));
	assert_int_equal(verbs_calls("ibv_reg_mr"), 1);
	assert_int_equal(verbs_seen.access, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_ON_DEMAND);
	SUCCEED(rpma_mr_dereg(&mr));

	/* a second failure decides */
	verbs_fail("ibv_reg_mr", EOPNOTSUPP);
	verbs_fail("ibv_reg_mr", ENOMEM);
	mr = UNTOUCHED_PTR;
	EXPECT(rpma_mr_reg(pair->client.peer, mem, sizeof(mem), RPMA_MR_USAGE_RECV, &mr),
			RPMA_E_PROVIDER);
	EXPECT_SPOILT();
	assert_ptr_equal(mr, UNTOUCHED_PTR);
}

static int
advise_region(struct pair *pair)
{
	return rpma_mr_advise(pair->client.region.mr, 16, 32, IBV_ADVISE_MR_ADVICE_PREFETCH, 0);
}

static void
mr_advise(void **state)
{
	struct pair *pair = *state;
	static const struct failing failing[] = {
		{"ibv_advise_mr", 0, EOPNOTSUPP, RPMA_E_NOSUPP},
		{"ibv_advise_mr", 0, ENOTSUP, RPMA_E_NOSUPP},
		{"ibv_advise_mr", 0, EFAULT, RPMA_E_INVAL},
		{"ibv_advise_mr", 0, EINVAL, RPMA_E_INVAL},
		{"ibv_advise_mr", 0, EPERM, RPMA_E_PROVIDER},
		{"ibv_advise_mr", 0, ENOMEM, RPMA_E_PROVIDER},
		{"ibv_advise_mr", 0, EIO, RPMA_E_PROVIDER},
	};

	for (size_t i = 0; i < COUNT_OF(failing); i++) {
		verbs_reset();
		verbs_fail("ibv_advise_mr", failing[i].err);
		log_capture(RPMA_LOG_LEVEL_WARNING);
		expect_code(advise_region(pair), failing[i].code, strerror(failing[i].err), __FILE__,
				__LINE__);
		EXPECT_SPOILT();
		assert_failure_logged(failing[i].call, failing[i].err);
	}

	/* the range that was asked for */
	assert_true(verbs_seen.sge.addr == (uintptr_t)pair->client.region.mem + 16);
	assert_int_equal(verbs_seen.sge.length, 32);
}

/* --- shared receive queues, endpoints and requests --- */

static int
new_srq(struct pair *pair)
{
	struct rpma_srq *srq = UNTOUCHED_PTR;
	const int ret = rpma_srq_new(pair->server.peer, NULL, &srq);

	assert_int_equal(srq == UNTOUCHED_PTR, ret != 0);
	if (ret == 0)
		SUCCEED(rpma_srq_delete(&srq));

	return ret;
}

static void
srq_new(void **state)
{
	static const struct failing failing[] = {
		{"ibv_create_srq", 0, ENOMEM, RPMA_E_PROVIDER},
		{"ibv_create_comp_channel", 0, EMFILE, RPMA_E_PROVIDER},
		{"ibv_create_cq", 0, ENOMEM, RPMA_E_PROVIDER},
		{"ibv_req_notify_cq", 0, EIO, RPMA_E_PROVIDER},
	};

	EACH_FAILS(failing, new_srq, *state);
}

static int
listen_once_more(struct pair *pair)
{
	struct rpma_ep *ep = UNTOUCHED_PTR;
	const int ret = rpma_ep_listen(pair->server.peer, device_addr(), "0", &ep);

	assert_int_equal(ep == UNTOUCHED_PTR, ret != 0);
	if (ret == 0)
		SUCCEED(rpma_ep_shutdown(&ep));

	return ret;
}

static void
ep_listen(void **state)
{
	static const struct failing failing[] = {
		{"rdma_create_event_channel", 0, EMFILE, RPMA_E_PROVIDER},
		{"rdma_create_id", 0, ENOMEM, RPMA_E_PROVIDER},
		{"rdma_getaddrinfo", 0, ENODEV, RPMA_E_PROVIDER},
		{"rdma_bind_addr", 0, EADDRINUSE, RPMA_E_PROVIDER},
		{"rdma_listen", 0, EADDRINUSE, RPMA_E_PROVIDER},
	};

	EACH_FAILS(failing, listen_once_more, *state);
}

static int
make_request(struct pair *pair, bool shared)
{
	struct rpma_conn_req *req = UNTOUCHED_PTR;
	struct rpma_conn_cfg *cfg = full_cfg(shared);
	const int ret = rpma_conn_req_new(pair->client.peer, device_addr(), pair->port, cfg, &req);

	assert_int_equal(req == UNTOUCHED_PTR, ret != 0);
	SUCCEED(rpma_conn_cfg_delete(&cfg));
	if (ret == 0)
		SUCCEED(rpma_conn_req_delete(&req));

	return ret;
}

static int
request(struct pair *pair)
{
	return make_request(pair, false);
}

static int
request_with_shared_channel(struct pair *pair)
{
	return make_request(pair, true);
}

static void
conn_req_new(void **state)
{
	static const struct failing failing[] = {
		{"rdma_getaddrinfo", 0, ENODEV, RPMA_E_PROVIDER},
		{"rdma_create_id", 0, ENOMEM, RPMA_E_PROVIDER},
		{"rdma_resolve_addr", 0, ETIMEDOUT, RPMA_E_PROVIDER},
		{"rdma_resolve_route", 0, ETIMEDOUT, RPMA_E_PROVIDER},
		{"ibv_create_comp_channel", 0, EMFILE, RPMA_E_PROVIDER},
		{"ibv_create_cq", 0, ENOMEM, RPMA_E_PROVIDER},
		{"ibv_req_notify_cq", 0, EIO, RPMA_E_PROVIDER},
		{"ibv_create_comp_channel", 1, EMFILE, RPMA_E_PROVIDER},
		{"ibv_create_cq", 1, ENOMEM, RPMA_E_PROVIDER},
		{"ibv_req_notify_cq", 1, EIO, RPMA_E_PROVIDER},
		{"rdma_create_qp_ex", 0, ENOMEM, RPMA_E_PROVIDER},
	};
	static const struct failing shared[] = {
		{"ibv_create_comp_channel", 0, EMFILE, RPMA_E_PROVIDER},
		{"ibv_create_cq", 0, ENOMEM, RPMA_E_PROVIDER},
		{"ibv_req_notify_cq", 0, EIO, RPMA_E_PROVIDER},
		{"ibv_create_cq", 1, ENOMEM, RPMA_E_PROVIDER},
		{"ibv_req_notify_cq", 1, EIO, RPMA_E_PROVIDER},
		{"rdma_create_qp_ex", 0, ENOMEM, RPMA_E_PROVIDER},
	};

	EACH_FAILS(failing, request, *state);
	EACH_FAILS(shared, request_with_shared_channel, *state);
}

#define WITH_EP(test) cmocka_unit_test_setup_teardown(test, prepare_seen, release_seen)

static const struct CMUnitTest rdma[] = {
	WITH_EP(get_ibv_context),
	WITH_EP(odp_capability),
	WITH_EP(peer_new),
	WITH_EP(a_domain_that_cannot_be_had),
	WITH_EP(a_device_that_cannot_be_asked),
	WITH_EP(mr_reg),
	WITH_EP(mr_reg_on_demand),
	WITH_EP(mr_advise),
	WITH_EP(srq_new),
	WITH_EP(ep_listen),
	WITH_EP(conn_req_new),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "failed-creation", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
