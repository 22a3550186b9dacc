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

/* the INFO messages of a new peer */
static char infos[1024];

static void
keep_infos(enum rpma_log_level level, const char *file_name, const int line_no,
		const char *function_name, const char *message_format, ...)
{
	const size_t len = strlen(infos);
	va_list args;

	(void)file_name;
	(void)line_no;
	assert_int_equal(level, RPMA_LOG_LEVEL_INFO);
	assert_string_equal(function_name, "rpma_peer_new");
	va_start(args, message_format);
	vsnprintf(infos + len, sizeof(infos) - len, message_format, args);
	va_end(args);
}

static void
new_peer_with_infos(void)
{
	struct ibv_context *context = device_context();
	struct rpma_peer *peer = NULL;

	infos[0] = '\0';
	SUCCEED(rpma_log_set_function(keep_infos));
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_LEVEL_INFO));
	SUCCEED(rpma_peer_new(context, &peer));
	log_release();
	SUCCEED(rpma_peer_delete(&peer));
}

static void
missing_atomic_write_is_logged(void **unused)
{
	(void)unused;
	new_peer_with_infos();
	if (library_is_native() && device_claims_atomic_write()) {
		assert_null(strstr(infos, "tomic write"));
		return;
	}
	assert_non_null(strstr(infos, "ative atomic write is not supported"));
	assert_int_equal(infos[strlen(infos) - 1], '\n');
}

static void
missing_flush_is_logged(void **unused)
{
	(void)unused;
	BETTER(DIFF_MISSING_FLUSH);
	new_peer_with_infos();
	if (library_is_native() && device_claims_flush()) {
		assert_null(strstr(infos, "flush"));
		return;
	}
	assert_non_null(strstr(infos, "ative flush is not supported"));
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(peer_refuses_null),
};

static const struct CMUnitTest rdma[] = {
	cmocka_unit_test(many_peers_on_one_context),
	cmocka_unit_test(delete_while_a_region_is_registered),
	cmocka_unit_test(missing_atomic_write_is_logged),
	cmocka_unit_test(missing_flush_is_logged),
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
