/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration of a connection. */
#include "common.h"

static int
new_conn_cfg(void **state)
{
	struct rpma_conn_cfg *cfg = NULL;

	SUCCEED(rpma_conn_cfg_new(&cfg));
	assert_non_null(cfg);
	*state = cfg;

	return 0;
}

static int
delete_conn_cfg(void **state)
{
	struct rpma_conn_cfg *cfg = *state;

	SUCCEED(rpma_conn_cfg_delete(&cfg));
	assert_null(cfg);

	return 0;
}

static void
conn_cfg_new_and_delete_refuse_null(void **unused)
{
	struct rpma_conn_cfg *none = NULL;

	(void)unused;
	INVALID(rpma_conn_cfg_new(NULL));
	INVALID(rpma_conn_cfg_delete(NULL));
	SUCCEED(rpma_conn_cfg_delete(&none));
	assert_null(none);
}

static void
conn_cfg_defaults(void **state)
{
	const struct rpma_conn_cfg *cfg = *state;
	struct rpma_srq *srq = UNTOUCHED_PTR;
	uint32_t size;
	bool shared = true;
	int timeout = -1;

	SUCCEED(rpma_conn_cfg_get_timeout(cfg, &timeout));
	assert_int_equal(timeout, RPMA_DEFAULT_TIMEOUT_MS);
	assert_int_equal(timeout, 1000);
	SUCCEED(rpma_conn_cfg_get_cq_size(cfg, &size));
	assert_int_equal(size, 10);
	SUCCEED(rpma_conn_cfg_get_rcq_size(cfg, &size));
	assert_int_equal(size, 0);
	SUCCEED(rpma_conn_cfg_get_sq_size(cfg, &size));
	assert_int_equal(size, 10);
	SUCCEED(rpma_conn_cfg_get_rq_size(cfg, &size));
	assert_int_equal(size, 10);
	SUCCEED(rpma_conn_cfg_get_compl_channel(cfg, &shared));
	assert_false(shared);
	SUCCEED(rpma_conn_cfg_get_srq(cfg, &srq));
	assert_null(srq);
}

static void
conn_cfg_timeout(void **state)
{
	struct rpma_conn_cfg *cfg = *state;
	static const int values[] = {1, 0, 1234, INT32_MAX};
	int timeout = UNTOUCHED_INT;

	INVALID(rpma_conn_cfg_set_timeout(NULL, 1));
	INVALID(rpma_conn_cfg_get_timeout(NULL, &timeout));
	INVALID(rpma_conn_cfg_get_timeout(cfg, NULL));
	assert_int_equal(timeout, UNTOUCHED_INT);

	for (size_t i = 0; i < COUNT_OF(values); i++) {
		SUCCEED(rpma_conn_cfg_set_timeout(cfg, values[i]));
		SUCCEED(rpma_conn_cfg_get_timeout(cfg, &timeout));
		assert_int_equal(timeout, values[i]);
	}

	/* a negative one changes nothing */
	INVALID(rpma_conn_cfg_set_timeout(cfg, -1));
	INVALID(rpma_conn_cfg_set_timeout(cfg, INT32_MIN));
	SUCCEED(rpma_conn_cfg_get_timeout(cfg, &timeout));
	assert_int_equal(timeout, INT32_MAX);
}

static void
conn_cfg_sizes(void **state)
{
	static const struct {
		int (*set)(struct rpma_conn_cfg *, uint32_t);
		int (*get)(const struct rpma_conn_cfg *, uint32_t *);
	} sizes[] = {
		{rpma_conn_cfg_set_cq_size, rpma_conn_cfg_get_cq_size},
		{rpma_conn_cfg_set_rcq_size, rpma_conn_cfg_get_rcq_size},
		{rpma_conn_cfg_set_sq_size, rpma_conn_cfg_get_sq_size},
		{rpma_conn_cfg_set_rq_size, rpma_conn_cfg_get_rq_size},
	};
	static const uint32_t values[] = {0, 1, 4096, (uint32_t)INT32_MAX + 1, UINT32_MAX};
	struct rpma_conn_cfg *cfg = *state;

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		uint32_t size = UNTOUCHED_INT;

		INVALID(sizes[i].set(NULL, 1));
		INVALID(sizes[i].get(NULL, &size));
		INVALID(sizes[i].get(cfg, NULL));
		assert_int_equal(size, UNTOUCHED_INT);

		for (size_t j = 0; j < COUNT_OF(values); j++) {
			SUCCEED(sizes[i].set(cfg, values[j]));
			SUCCEED(sizes[i].get(cfg, &size));
			assert_int_equal(size, values[j]);
		}
	}

	/* each has its own place */
	for (uint32_t i = 0; i < COUNT_OF(sizes); i++)
		SUCCEED(sizes[i].set(cfg, 100 + i));
	for (uint32_t i = 0; i < COUNT_OF(sizes); i++) {
		uint32_t size = 0;

		SUCCEED(sizes[i].get(cfg, &size));
		assert_int_equal(size, 100 + i);
	}
}

static void
conn_cfg_compl_channel(void **state)
{
	struct rpma_conn_cfg *cfg = *state;
	bool shared = true;

	INVALID(rpma_conn_cfg_set_compl_channel(NULL, true));
	INVALID(rpma_conn_cfg_get_compl_channel(NULL, &shared));
	INVALID(rpma_conn_cfg_get_compl_channel(cfg, NULL));
	assert_true(shared);

	SUCCEED(rpma_conn_cfg_set_compl_channel(cfg, true));
	shared = false;
	SUCCEED(rpma_conn_cfg_get_compl_channel(cfg, &shared));
	assert_true(shared);
	SUCCEED(rpma_conn_cfg_set_compl_channel(cfg, false));
	SUCCEED(rpma_conn_cfg_get_compl_channel(cfg, &shared));
	assert_false(shared);
}

static void
conn_cfg_srq(void **state)
{
	struct rpma_conn_cfg *cfg = *state;
	struct rpma_srq *srq = UNTOUCHED_PTR;

	INVALID(rpma_conn_cfg_set_srq(NULL, untouchable()));
	INVALID(rpma_conn_cfg_set_srq(cfg, NULL));
	INVALID(rpma_conn_cfg_get_srq(NULL, &srq));
	INVALID(rpma_conn_cfg_get_srq(cfg, NULL));
	assert_ptr_equal(srq, UNTOUCHED_PTR);

	/* it is only kept, never followed */
	SUCCEED(rpma_conn_cfg_set_srq(cfg, untouchable()));
	SUCCEED(rpma_conn_cfg_get_srq(cfg, &srq));
	assert_ptr_equal(srq, untouchable());
}

#define WITH_CFG(test) cmocka_unit_test_setup_teardown(test, new_conn_cfg, delete_conn_cfg)

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(conn_cfg_new_and_delete_refuse_null),
	WITH_CFG(conn_cfg_defaults),
	WITH_CFG(conn_cfg_timeout),
	WITH_CFG(conn_cfg_sizes),
	WITH_CFG(conn_cfg_compl_channel),
	WITH_CFG(conn_cfg_srq),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "conn_cfg", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
	};

	return topic_main(&topic, argc, argv);
}
