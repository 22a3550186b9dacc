/* SPDX-License-Identifier: BSD-3-Clause */
/* What depends on what the device can do: on-demand paging, native operations, and the protocol that it speaks. */
#include "failing.h"
#include "native.h"

#define READ IBV_ODP_SUPPORT_READ
#define WRITE IBV_ODP_SUPPORT_WRITE

/* on-demand paging in general, and for reads and writes of connected queue pairs */
static const struct {
	uint64_t general;
	uint32_t rc;
	int capable;
} odp_cases[] = {
	{0, 0, 0},
	{IBV_ODP_SUPPORT, 0, 0},
	{IBV_ODP_SUPPORT, READ, 0},
	{IBV_ODP_SUPPORT, WRITE, 0},
	{IBV_ODP_SUPPORT_IMPLICIT, READ | WRITE, 0},
	{0, READ | WRITE, 0},
	{IBV_ODP_SUPPORT, READ | WRITE, 1},
	{IBV_ODP_SUPPORT | IBV_ODP_SUPPORT_IMPLICIT, READ | WRITE | IBV_ODP_SUPPORT_SEND, 1},
	{UINT64_MAX, UINT32_MAX, 1},
};

static void
odp_capability(void **unused)
{
	struct ibv_context *context = device_context();

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(odp_cases); i++) {
		int capable = UNTOUCHED_INT;

		verbs_odp(odp_cases[i].general, odp_cases[i].rc);
		SUCCEED(rpma_utils_ibv_context_is_odp_capable(context, &capable));
		assert_int_equal(capable, odp_cases[i].capable);
	}
}

/* what a peer does with memory that cannot be pinned follows from it */
static void
registration_on_demand(void **unused)
{
	struct ibv_context *context = device_context();

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(odp_cases); i++) {
		struct rpma_mr_local *mr = UNTOUCHED_PTR;
		struct rpma_peer *peer = NULL;
		char mem[64];

		verbs_odp(odp_cases[i].general, odp_cases[i].rc);
		SUCCEED(rpma_peer_new(context, &peer));
		verbs_reset();
		/* both: whether this device can really do it does not matter */
		verbs_fail("ibv_reg_mr", EOPNOTSUPP);
		if (odp_cases[i].capable)
			verbs_fail("ibv_reg_mr", ENOMEM);
		EXPECT(rpma_mr_reg(peer, mem, sizeof(mem), RPMA_MR_USAGE_WRITE_DST, &mr),
				RPMA_E_PROVIDER);
		EXPECT_SPOILT();
		assert_ptr_equal(mr, UNTOUCHED_PTR);
		assert_string_equal(verbs_log, odp_cases[i].capable ? "!ibv_reg_mr !ibv_reg_mr " :
				"!ibv_reg_mr ");
		assert_int_equal(verbs_seen.access, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
				(odp_cases[i].capable ? IBV_ACCESS_ON_DEMAND : 0));

		/* no other failure is a reason to try again */
		verbs_reset();
		verbs_fail("ibv_reg_mr", EINVAL);
		EXPECT(rpma_mr_reg(peer, mem, sizeof(mem), RPMA_MR_USAGE_WRITE_DST, &mr),
				RPMA_E_PROVIDER);
		assert_string_equal(verbs_log, "!ibv_reg_mr ");
		SUCCEED(rpma_peer_delete(&peer));
	}
}

/* --- native operations --- */

#define OTHERS (1ULL << 37 | 1ULL << 41 | 1)

/* whether this library uses what a device says that it has */
static const struct {
	uint64_t caps;
	bool flush;
	bool atomic_write;
} native_cases[] = {
	{0, false, false},
	{OTHERS, false, false},
	{DEVICE_FLUSH_GLOBAL, false, false},
	{DEVICE_FLUSH_PERSISTENT, false, false},
	{DEVICE_FLUSH, true, false},
	{DEVICE_ATOMIC_WRITE, false, true},
	{DEVICE_ATOMIC_WRITE | DEVICE_FLUSH_PERSISTENT | OTHERS, false, true},
	{DEVICE_ATOMIC_WRITE | DEVICE_FLUSH, true, true},
	{UINT64_MAX, true, true},
};

/* nothing is made: whether this device can really do it does not matter */
static void
native_operations(void **unused)
{
	/* which the original leaves out */
	const uint64_t usual = library_is_original() ? 0 : IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM |
			IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_SEND_WITH_IMM | IBV_QP_EX_WITH_RDMA_READ;
	struct ibv_context *context = device_context();

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(native_cases); i++) {
		const bool flush = native_cases[i].flush && library_is_native();
		const bool atomic_write = native_cases[i].atomic_write && library_is_native();
		const uint64_t ops = (flush ? QP_EX_WITH_FLUSH : 0) |
				(atomic_write ? QP_EX_WITH_ATOMIC_WRITE : 0);
		struct rpma_conn_req *req = UNTOUCHED_PTR;
		struct rpma_mr_local *mr = UNTOUCHED_PTR;
		struct rpma_peer *peer = NULL;
		char mem[64];

		verbs_caps(native_cases[i].caps);
		SUCCEED(rpma_peer_new(context, &peer));
		verbs_reset();
		verbs_fail("ibv_reg_mr", EINVAL);
		EXPECT(rpma_mr_reg(peer, mem, sizeof(mem), RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY |
				RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT, &mr), RPMA_E_PROVIDER);
		/* an emulated flush, of a remote side that has no native one, is a read */
		assert_int_equal(verbs_seen.access, (flush && library_is_original() ? 0 : IBV_ACCESS_REMOTE_READ) |
				(flush ? ACCESS_FLUSH_GLOBAL | ACCESS_FLUSH_PERSISTENT : 0));

		verbs_fail("rdma_create_qp_ex", ENOMEM);
		EXPECT(rpma_conn_req_new(peer, device_addr(), "7204", NULL, &req), RPMA_E_PROVIDER);
		/* 1.3.0 names operations even if there are none but the usual, and then names none */
		assert_int_equal(verbs_seen.qp.comp_mask, IBV_QP_INIT_ATTR_PD |
				(ops || original_is_1_3() ? IBV_QP_INIT_ATTR_SEND_OPS_FLAGS : 0));
		/* without its bit in the mask the member says nothing */
		if (ops)
			assert_int_equal(verbs_seen.qp.send_ops_flags, ops | usual);
		EXPECT_SPOILT();
		SUCCEED(rpma_peer_delete(&peer));
	}
}

/* what libibverbs, its provider or the kernel does not know is done without; other failures are failures */
static void
refused_operations(void **unused)
{
	static const struct {
		int err;
		bool refusal;
	} cases[] = {
		{EOPNOTSUPP, true}, {ENOSYS, true}, {EINVAL, true},
		{ENOMEM, false}, {EPERM, false}, {EIO, false}, {EBUSY, false},
	};
	struct ibv_context *context = device_context();
	struct rpma_peer *peer = NULL;

	(void)unused;
	BETTER(DIFF_REFUSED_OPERATIONS);
	if (!library_is_native()) {
		print_message("skipped: the original 1.2.0 has no native operations\n");
		skip();
	}
	verbs_caps(DEVICE_ATOMIC_WRITE | DEVICE_FLUSH);
	SUCCEED(rpma_peer_new(context, &peer));
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct rpma_conn_req *req = UNTOUCHED_PTR;

		verbs_reset();
		verbs_fail("rdma_create_qp_ex", cases[i].err);
		if (!cases[i].refusal) {
			EXPECT(rpma_conn_req_new(peer, device_addr(), "7204", NULL, &req), RPMA_E_PROVIDER);
			EXPECT_ERRNO(cases[i].err);
			assert_non_null(strstr(verbs_log, "!rdma_create_qp_ex"));
			assert_int_equal(verbs_calls("rdma_create_qp_ex"), 0);
			EXPECT_SPOILT();
			continue;
		}
		/* with atomic write alone, and with neither */
		verbs_fail("rdma_create_qp_ex", cases[i].err);
		SUCCEED(rpma_conn_req_new(peer, device_addr(), "7204", NULL, &req));
		EXPECT_SPOILT();
		assert_int_equal(verbs_calls("rdma_create_qp_ex"), 1);
		assert_int_equal(verbs_seen.qp.comp_mask, IBV_QP_INIT_ATTR_PD);
		SUCCEED(rpma_conn_req_delete(&req));

		/* there was another reason for it */
		verbs_reset();
		for (int attempt = 0; attempt < 3; attempt++)
			verbs_fail("rdma_create_qp_ex", cases[i].err);
		EXPECT(rpma_conn_req_new(peer, device_addr(), "7204", NULL, &req), RPMA_E_PROVIDER);
		EXPECT_ERRNO(cases[i].err);
		EXPECT_SPOILT();
		assert_int_equal(verbs_calls("rdma_create_qp_ex"), 0);
	}
	SUCCEED(rpma_peer_delete(&peer));
}

/*
 * Only what the device claims is faked here: where it lacks them, the real provider refuses the operations, as an
 * older one does.
 */
static void
claimed_operations(void **unused)
{
	struct ibv_context *context = device_context();
	struct rpma_conn_req *req = NULL;
	struct rpma_peer *peer = NULL;

	(void)unused;
	BETTER(DIFF_REFUSED_OPERATIONS);
	if (library_is_original() && writes_natively_here() && flushes_natively_here()) {
		print_message("skipped: the provider has them\n");
		skip();
	}
	verbs_caps(DEVICE_ATOMIC_WRITE | DEVICE_FLUSH);
	SUCCEED(rpma_peer_new(context, &peer));
	SUCCEED(rpma_conn_req_new(peer, device_addr(), "7204", NULL, &req));
	SUCCEED(rpma_conn_req_delete(&req));
	SUCCEED(rpma_peer_delete(&peer));
}

/* there the destination of a read is written to from outside */
static void
access_on_iwarp(void **unused)
{
	struct ibv_context *context = device_context();
	const enum ibv_transport_type real = context->device->transport_type;
	static const struct {
		int usage;
		int access;
	} cases[] = {
		{RPMA_MR_USAGE_READ_DST, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE},
		{RPMA_MR_USAGE_READ_SRC, IBV_ACCESS_REMOTE_READ},
		{RPMA_MR_USAGE_WRITE_SRC, IBV_ACCESS_LOCAL_WRITE},
		{RPMA_MR_USAGE_RECV, IBV_ACCESS_LOCAL_WRITE},
		{RPMA_MR_USAGE_SEND, 0},
	};
	struct rpma_peer *peer = NULL;
	char mem[64];

	(void)unused;
	SUCCEED(rpma_peer_new(context, &peer));
	context->device->transport_type = IBV_TRANSPORT_IWARP;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct rpma_mr_local *mr = NULL;

		SUCCEED(rpma_mr_reg(peer, mem, sizeof(mem), cases[i].usage, &mr));
		assert_int_equal(verbs_seen.access & ~IBV_ACCESS_ON_DEMAND, cases[i].access);
		SUCCEED(rpma_mr_dereg(&mr));
	}
	context->device->transport_type = real;
	SUCCEED(rpma_peer_delete(&peer));
}

/* the address of no device in particular */
static void
context_of_any_address(void **unused)
{
	struct ibv_context *context = UNTOUCHED_PTR;
	struct rpma_peer *peer = UNTOUCHED_PTR;

	(void)unused;
	SUCCEED(rpma_utils_get_ibv_context("0.0.0.0", RPMA_UTIL_IBV_CONTEXT_LOCAL, &context));
	assert_null(context);
	/* the next function says what is wrong */
	INVALID(rpma_peer_new(context, &peer));
	assert_ptr_equal(peer, UNTOUCHED_PTR);
}

static int
watch(void **unused)
{
	(void)unused;
	watch_context();
	verbs_reset();

	return 0;
}

#define SEEN(test) cmocka_unit_test_setup(test, watch)

static const struct CMUnitTest rdma[] = {
	SEEN(odp_capability),
	SEEN(registration_on_demand),
	SEEN(native_operations),
	SEEN(refused_operations),
	SEEN(claimed_operations),
	SEEN(access_on_iwarp),
	SEEN(context_of_any_address),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "device-capabilities", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
