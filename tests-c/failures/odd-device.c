/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that answers in ways that no device has on demand: its operations are changed in its context. The
 * ibv_query_device() that stands here comes before that of libibverbs.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "device.h"

#define ALWAYS RPMA_F_COMPLETION_ALWAYS

#define NEXT(function) \
	__typeof__(function) *next = (__typeof__(function) *)(uintptr_t)dlsym(RTLD_NEXT, #function)

/* has no mark of an extended context */
static struct ibv_context *plain;

/* a context that is not extended has only this, which is given its mark back here */
int
ibv_query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
	NEXT(ibv_query_device);

	if (plain) {
		plain->abi_compat = (void *)(uintptr_t)UINTPTR_MAX;
		plain = NULL;
	}

	return next(context, attr);
}

static int
odd_query(struct ibv_context *ctx, const struct ibv_query_device_ex_input *input,
		struct ibv_device_attr_ex *attr, size_t size)
{
	(void)ctx;
	(void)input;
	(void)attr;
	(void)size;

	return EOPNOTSUPP;
}

/* a device without the extended query has no optional feature, and is a device all the same */
static void
device_without_the_extended_query(void **unused)
{
	struct ibv_context *ctx = device_context();
	struct verbs_context *extended = verbs_get_ctx(ctx);
	__typeof__(extended->query_device_ex) query = extended->query_device_ex;
	const size_t size = extended->sz;
	struct rpma_peer *peer = NULL;
	int odp = 1;

	(void)unused;
	extended->query_device_ex = odd_query;
	SUCCEED(rpma_peer_new(ctx, &peer));
	SUCCEED(rpma_peer_delete(&peer));
	SUCCEED(rpma_utils_ibv_context_is_odp_capable(ctx, &odp));
	assert_int_equal(odp, 0);
	extended->query_device_ex = query;

	/* of an older libibverbs: its end, where the operation is, was not there yet */
	extended->sz = sizeof(*extended) - offsetof(struct verbs_context, query_device_ex) - 1;
	SUCCEED(rpma_utils_ibv_context_is_odp_capable(ctx, &odp));
	extended->sz = size;
	assert_int_equal(odp, 0);

	/* not extended at all, until it is asked the plain question */
	plain = ctx;
	ctx->abi_compat = NULL;
	SUCCEED(rpma_utils_ibv_context_is_odp_capable(ctx, &odp));
	assert_null(plain);
	assert_int_equal(odp, 0);
}

static void
device_that_takes_no_advice(void **unused)
{
	struct verbs_context *extended = verbs_get_ctx(device_context());
	__typeof__(extended->advise_mr) advise = extended->advise_mr;
	struct rpma_peer *peer = open_peer(RPMA_UTIL_IBV_CONTEXT_LOCAL);
	struct region region = open_region(peer, MR_SIZE, ALL_USAGES);

	(void)unused;
	extended->advise_mr = NULL;
	EXPECT(rpma_mr_advise(region.mr, 0, MR_SIZE, IBV_ADVISE_MR_ADVICE_PREFETCH, 0), RPMA_E_NOSUPP);
	extended->advise_mr = advise;
	close_region(&region);
	SUCCEED(rpma_peer_delete(&peer));
}

static int
odd_post(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	(void)qp;
	*bad = wr;
	errno = ENOMEM;

	return -1;
}

static void
a_post_fails_the_other_way(void **state)
{
	struct pair *pair = *state;
	struct ibv_context *ctx = device_context();
	__typeof__(ctx->ops.post_send) post = ctx->ops.post_send;

	log_capture(RPMA_LOG_LEVEL_ERROR);
	ctx->ops.post_send = odd_post;
	EXPECT(rpma_write(pair->client.conn, pair->server.region.remote, 0, pair->client.region.mr, 0, 8,
			ALWAYS, NULL), RPMA_E_PROVIDER);
	ctx->ops.post_send = post;
	assert_non_null(strstr(logged.text, "ibv_post_send"));
	log_release();
	write_and_check(pair, MR_SIZE, 1);
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)

static const struct CMUnitTest rdma[] = {
	cmocka_unit_test(device_without_the_extended_query),
	cmocka_unit_test(device_that_takes_no_advice),
	WITH_PAIR(a_post_fails_the_other_way),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "odd-device", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
