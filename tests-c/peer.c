/* SPDX-License-Identifier: BSD-3-Clause */
/* The peer: a protection domain on a device. */
#include "device.h"

static void
peer_refuses_null(void **unused)
{
	struct rpma_peer *peer = UNTOUCHED_PTR;
	struct rpma_peer *none = NULL;

	(void)unused;
	INVALID(rpma_peer_new(NULL, &peer));
	INVALID(rpma_peer_new(untouchable(), NULL));
	INVALID(rpma_peer_new(NULL, NULL));
	assert_ptr_equal(peer, UNTOUCHED_PTR);
	INVALID(rpma_peer_delete(NULL));
	SUCCEED(rpma_peer_delete(&none));
	assert_null(none);
}

static struct ibv_context *
device_context(void)
{
	struct ibv_context *ctx = NULL;

	SUCCEED(rpma_utils_get_ibv_context(device_addr(), RPMA_UTIL_IBV_CONTEXT_LOCAL, &ctx));

	return ctx;
}

static void
many_peers_on_one_context(void **unused)
{
	struct ibv_context *ctx = device_context();
	struct rpma_peer *peers[8] = {NULL};

	(void)unused;
	INVALID(rpma_peer_new(ctx, NULL));
	for (size_t i = 0; i < COUNT_OF(peers); i++) {
		SUCCEED(rpma_peer_new(ctx, &peers[i]));
		assert_non_null(peers[i]);
	}
	for (size_t i = 0; i < COUNT_OF(peers); i++) {
		SUCCEED(rpma_peer_delete(&peers[i]));
		assert_null(peers[i]);
	}
}

static void
delete_while_a_region_is_registered(void **unused)
{
	struct rpma_peer *peer = NULL;
	struct region region;

	(void)unused;
	SUCCEED(rpma_peer_new(device_context(), &peer));
	region = open_region(peer, MR_SIZE, ALL_USAGES);

	/* the domain is busy: the failure is reported, and the peer is gone all the same */
	log_capture(RPMA_LOG_LEVEL_ERROR);
	EXPECT(rpma_peer_delete(&peer), RPMA_E_PROVIDER);
	assert_null(peer);
	assert_int_equal(logged.count, 1);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
	assert_string_equal(logged.function, "rpma_peer_delete");
	assert_non_null(strstr(logged.text, "ibv_dealloc_pd"));
	log_release();

	close_region(&region);
}

static void
missing_features_are_logged(void **unused)
{
	struct rpma_peer *peer = NULL;

	(void)unused;
	log_capture(RPMA_LOG_LEVEL_INFO);
	SUCCEED(rpma_peer_new(device_context(), &peer));
	/* a device that can all natively has nothing to say */
	if (logged.count) {
		assert_int_equal(logged.level, RPMA_LOG_LEVEL_INFO);
		assert_string_equal(logged.function, "rpma_peer_new");
		assert_int_equal(logged.text[strlen(logged.text) - 1], '\n');
	}
	log_release();
	SUCCEED(rpma_peer_delete(&peer));
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(peer_refuses_null),
};

static const struct CMUnitTest rdma[] = {
	cmocka_unit_test(many_peers_on_one_context),
	cmocka_unit_test(delete_while_a_region_is_registered),
	cmocka_unit_test(missing_features_are_logged),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "peer", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
		.rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
