/* SPDX-License-Identifier: BSD-3-Clause */
/* The device of an address: rpma_utils_get_ibv_context(), and whether it pages on demand. */
#include "device.h"

/* --- without a device --- */

static void
get_ibv_context_refuses(void **unused)
{
	struct ibv_context *ctx = UNTOUCHED_PTR;

	(void)unused;
	INVALID(rpma_utils_get_ibv_context(NULL, RPMA_UTIL_IBV_CONTEXT_LOCAL, &ctx));
	INVALID(rpma_utils_get_ibv_context(NULL, RPMA_UTIL_IBV_CONTEXT_REMOTE, &ctx));
	INVALID(rpma_utils_get_ibv_context("127.0.0.1", RPMA_UTIL_IBV_CONTEXT_LOCAL, NULL));
	INVALID(rpma_utils_get_ibv_context("127.0.0.1", (enum rpma_util_ibv_context_type)2, &ctx));
	INVALID(rpma_utils_get_ibv_context("127.0.0.1", (enum rpma_util_ibv_context_type)-1, &ctx));
	assert_ptr_equal(ctx, UNTOUCHED_PTR);
}

static void
get_ibv_context_without_any_device(void **unused)
{
	struct ibv_context *ctx = UNTOUCHED_PTR;
	int count = 0;
	struct ibv_device **list = ibv_get_device_list(&count);

	(void)unused;
	if (list)
		ibv_free_device_list(list);
	if (count > 0) {
		print_message("skipped: this machine has an RDMA device\n");
		skip();
	}

	EXPECT(rpma_utils_get_ibv_context("127.0.0.1", RPMA_UTIL_IBV_CONTEXT_LOCAL, &ctx),
			RPMA_E_PROVIDER);
	EXPECT(rpma_utils_get_ibv_context("127.0.0.1", RPMA_UTIL_IBV_CONTEXT_REMOTE, &ctx),
			RPMA_E_PROVIDER);
	assert_ptr_equal(ctx, UNTOUCHED_PTR);
}

static void
odp_capable_refuses(void **unused)
{
	int capable = UNTOUCHED_INT;

	(void)unused;
	INVALID(rpma_utils_ibv_context_is_odp_capable(NULL, &capable));
	INVALID(rpma_utils_ibv_context_is_odp_capable(untouchable(), NULL));
	assert_int_equal(capable, UNTOUCHED_INT);
}

/* --- with a device --- */

static void
context_of_either_type(void **unused)
{
	struct ibv_context *local = NULL;
	struct ibv_context *remote = NULL;
	struct ibv_device_attr attr;

	(void)unused;
	SUCCEED(rpma_utils_get_ibv_context(device_addr(), RPMA_UTIL_IBV_CONTEXT_LOCAL, &local));
	SUCCEED(rpma_utils_get_ibv_context(device_addr(), RPMA_UTIL_IBV_CONTEXT_REMOTE, &remote));
	assert_non_null(local);
	assert_ptr_equal(local, remote);

	/* it stays valid after the id it was found with is gone */
	assert_int_equal(ibv_query_device(local, &attr), 0);
	assert_true(attr.max_qp > 0);
}

static void
context_of_a_foreign_address(void **unused)
{
	struct ibv_context *ctx = UNTOUCHED_PTR;

	(void)unused;
	/* 203.0.113.0/24 is set aside for documentation: no machine has it */
	EXPECT(rpma_utils_get_ibv_context("203.0.113.1", RPMA_UTIL_IBV_CONTEXT_LOCAL, &ctx),
			RPMA_E_PROVIDER);
	EXPECT(rpma_utils_get_ibv_context("no such address", RPMA_UTIL_IBV_CONTEXT_LOCAL, &ctx),
			RPMA_E_PROVIDER);
	EXPECT(rpma_utils_get_ibv_context("no such address", RPMA_UTIL_IBV_CONTEXT_REMOTE, &ctx),
			RPMA_E_PROVIDER);
	assert_ptr_equal(ctx, UNTOUCHED_PTR);
}

static void
odp_capability(void **unused)
{
	struct ibv_context *ctx = NULL;
	struct ibv_device_attr_ex attr;
	int capable = UNTOUCHED_INT;
	const uint32_t needed = IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ;

	(void)unused;
	SUCCEED(rpma_utils_get_ibv_context(device_addr(), RPMA_UTIL_IBV_CONTEXT_LOCAL, &ctx));
	INVALID(rpma_utils_ibv_context_is_odp_capable(ctx, NULL));
	INVALID(rpma_utils_ibv_context_is_odp_capable(NULL, &capable));
	assert_int_equal(capable, UNTOUCHED_INT);
	SUCCEED(rpma_utils_ibv_context_is_odp_capable(ctx, &capable));

	memset(&attr, 0, sizeof(attr));
	assert_int_equal(ibv_query_device_ex(ctx, NULL, &attr), 0);
	assert_int_equal(capable, (attr.odp_caps.general_caps & IBV_ODP_SUPPORT) &&
			(attr.odp_caps.per_transport_caps.rc_odp_caps & needed) == needed);
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(get_ibv_context_refuses),
	cmocka_unit_test(get_ibv_context_without_any_device),
	cmocka_unit_test(odp_capable_refuses),
};

static const struct CMUnitTest rdma[] = {
	cmocka_unit_test(context_of_either_type),
	cmocka_unit_test(context_of_a_foreign_address),
	cmocka_unit_test(odp_capability),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "ibv_context", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
		.rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
