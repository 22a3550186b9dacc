/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration of a shared receive queue. */
#include "common.h"

static void
srq_cfg(void **unused)
{
	struct rpma_srq_cfg *cfg = NULL;
	uint32_t size = UNTOUCHED_INT;

	(void)unused;
	INVALID(rpma_srq_cfg_new(NULL));
	INVALID(rpma_srq_cfg_delete(NULL));
	SUCCEED(rpma_srq_cfg_delete(&cfg));
	SUCCEED(rpma_srq_cfg_new(&cfg));
	assert_non_null(cfg);

	INVALID(rpma_srq_cfg_set_rq_size(NULL, 1));
	INVALID(rpma_srq_cfg_get_rq_size(NULL, &size));
	INVALID(rpma_srq_cfg_get_rq_size(cfg, NULL));
	INVALID(rpma_srq_cfg_set_rcq_size(NULL, 1));
	INVALID(rpma_srq_cfg_get_rcq_size(NULL, &size));
	INVALID(rpma_srq_cfg_get_rcq_size(cfg, NULL));
	assert_int_equal(size, UNTOUCHED_INT);

	SUCCEED(rpma_srq_cfg_get_rq_size(cfg, &size));
	assert_int_equal(size, 20);
	SUCCEED(rpma_srq_cfg_get_rcq_size(cfg, &size));
	assert_int_equal(size, 20);

	SUCCEED(rpma_srq_cfg_set_rq_size(cfg, UINT32_MAX));
	SUCCEED(rpma_srq_cfg_set_rcq_size(cfg, 0));
	SUCCEED(rpma_srq_cfg_get_rq_size(cfg, &size));
	assert_int_equal(size, UINT32_MAX);
	SUCCEED(rpma_srq_cfg_get_rcq_size(cfg, &size));
	assert_int_equal(size, 0);

	SUCCEED(rpma_srq_cfg_delete(&cfg));
	assert_null(cfg);
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(srq_cfg),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "srq_cfg", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
	};

	return topic_main(&topic, argc, argv);
}
