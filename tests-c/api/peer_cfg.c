/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration of a peer, and its descriptor. */
#include "common.h"

static void
peer_cfg_refuses_null(void **unused)
{
	struct rpma_peer_cfg *cfg = NULL;
	unsigned char desc = 0x5a;
	bool supported = true;
	size_t size = 77;

	(void)unused;
	INVALID(rpma_peer_cfg_new(NULL));
	INVALID(rpma_peer_cfg_delete(NULL));
	SUCCEED(rpma_peer_cfg_delete(&cfg));
	SUCCEED(rpma_peer_cfg_new(&cfg));
	assert_non_null(cfg);

	INVALID(rpma_peer_cfg_set_direct_write_to_pmem(NULL, true));
	INVALID(rpma_peer_cfg_get_direct_write_to_pmem(NULL, &supported));
	INVALID(rpma_peer_cfg_get_direct_write_to_pmem(cfg, NULL));
	assert_true(supported);
	INVALID(rpma_peer_cfg_get_descriptor(NULL, &desc));
	INVALID(rpma_peer_cfg_get_descriptor(cfg, NULL));
	assert_int_equal(desc, 0x5a);
	INVALID(rpma_peer_cfg_get_descriptor_size(NULL, &size));
	INVALID(rpma_peer_cfg_get_descriptor_size(cfg, NULL));
	assert_int_equal(size, 77);

	SUCCEED(rpma_peer_cfg_delete(&cfg));
	assert_null(cfg);
}

static void
peer_cfg_direct_write_and_descriptor(void **unused)
{
	struct rpma_peer_cfg *cfg = NULL;
	unsigned char desc[3] = {0x5a, 0x5a, 0x5a};
	bool supported = true;
	size_t size = 0;

	(void)unused;
	SUCCEED(rpma_peer_cfg_new(&cfg));
	SUCCEED(rpma_peer_cfg_get_direct_write_to_pmem(cfg, &supported));
	assert_false(supported);
	SUCCEED(rpma_peer_cfg_get_descriptor_size(cfg, &size));
	assert_int_equal(size, 1);

	SUCCEED(rpma_peer_cfg_get_descriptor(cfg, desc));
	assert_memory_equal(desc, ((unsigned char[]){0, 0x5a, 0x5a}), 3);
	SUCCEED(rpma_peer_cfg_set_direct_write_to_pmem(cfg, true));
	SUCCEED(rpma_peer_cfg_get_direct_write_to_pmem(cfg, &supported));
	assert_true(supported);
	SUCCEED(rpma_peer_cfg_get_descriptor(cfg, desc));
	assert_memory_equal(desc, ((unsigned char[]){1, 0x5a, 0x5a}), 3);
	SUCCEED(rpma_peer_cfg_set_direct_write_to_pmem(cfg, false));
	SUCCEED(rpma_peer_cfg_get_descriptor(cfg, desc));
	assert_int_equal(desc[0], 0);

	SUCCEED(rpma_peer_cfg_delete(&cfg));
}

static void
peer_cfg_from_descriptor(void **unused)
{
	static const struct {
		unsigned char desc[4];
		size_t size;
		bool supported;
	} cases[] = {
		{{0}, 1, false},
		{{1}, 1, true},
		{{2}, 1, true},
		{{0xff}, 1, true},
		{{0, 1, 1, 1}, 4, false},
		{{1, 0, 0, 0}, 4, true},
	};
	struct rpma_peer_cfg *cfg = UNTOUCHED_PTR;
	unsigned char desc = 1;

	(void)unused;
	INVALID(rpma_peer_cfg_from_descriptor(NULL, 1, &cfg));
	INVALID(rpma_peer_cfg_from_descriptor(&desc, 1, NULL));
	log_capture(RPMA_LOG_LEVEL_WARNING);
	INVALID(rpma_peer_cfg_from_descriptor(&desc, 0, &cfg));
	assert_int_equal(logged.count, 1);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
	assert_string_equal(logged.function, "rpma_peer_cfg_from_descriptor");
	assert_non_null(strstr(logged.text, "size of the descriptor"));
	log_release();
	assert_ptr_equal(cfg, UNTOUCHED_PTR);

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		bool supported = !cases[i].supported;

		SUCCEED(rpma_peer_cfg_from_descriptor(cases[i].desc, cases[i].size, &cfg));
		SUCCEED(rpma_peer_cfg_get_direct_write_to_pmem(cfg, &supported));
		assert_int_equal(supported, cases[i].supported);
		SUCCEED(rpma_peer_cfg_get_descriptor(cfg, &desc));
		assert_int_equal(desc, cases[i].supported);
		SUCCEED(rpma_peer_cfg_delete(&cfg));
		assert_null(cfg);
	}
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(peer_cfg_refuses_null),
	cmocka_unit_test(peer_cfg_direct_write_and_descriptor),
	cmocka_unit_test(peer_cfg_from_descriptor),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "peer_cfg", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
	};

	return topic_main(&topic, argc, argv);
}
