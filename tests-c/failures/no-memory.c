/* SPDX-License-Identifier: BSD-3-Clause */
/* No memory for a handle. The malloc() that stands here comes before that of the C library. */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "common.h"

/* until it is reset */
static bool no_memory;

void *
malloc(size_t size)
{
	static void *(*next)(size_t size);

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "malloc");
	if (no_memory) {
		errno = ENOMEM;
		return NULL;
	}

	return next(size);
}

static void
memory_runs_out(void)
{
	void *(*volatile allocate)(size_t size) = malloc;
	void *memory;

	no_memory = true;
	memory = allocate(1);
	if (memory) {
		no_memory = false;
		free(memory);
		print_message("skipped: malloc is another one's here, such as valgrind's\n");
		skip();
	}
}

static void
no_memory_for_a_handle(void **unused)
{
	const char desc[21] = {[20] = RPMA_MR_USAGE_READ_SRC};
	struct rpma_peer_cfg *pcfg = UNTOUCHED_PTR;
	struct rpma_peer_cfg *parsed = UNTOUCHED_PTR;
	struct rpma_conn_cfg *cfg = UNTOUCHED_PTR;
	struct rpma_srq_cfg *srq_cfg = UNTOUCHED_PTR;
	struct rpma_mr_remote *remote = UNTOUCHED_PTR;
	int ret[5];

	(void)unused;
	memory_runs_out();
	ret[0] = rpma_peer_cfg_new(&pcfg);
	ret[1] = rpma_conn_cfg_new(&cfg);
	ret[2] = rpma_srq_cfg_new(&srq_cfg);
	ret[3] = rpma_mr_remote_from_descriptor(desc, sizeof(desc), &remote);
	ret[4] = rpma_peer_cfg_from_descriptor(desc, 1, &parsed);
	no_memory = false;
	for (size_t i = 0; i < COUNT_OF(ret); i++)
		EXPECT(ret[i], RPMA_E_NOMEM);
	assert_ptr_equal(pcfg, UNTOUCHED_PTR);
	assert_ptr_equal(parsed, UNTOUCHED_PTR);
	assert_ptr_equal(remote, UNTOUCHED_PTR);
}

static void
no_memory_for_a_configuration(void **unused)
{
	struct rpma_conn_cfg *cfg = UNTOUCHED_PTR;
	struct rpma_srq_cfg *srq_cfg = UNTOUCHED_PTR;

	(void)unused;
	BETTER(DIFF_CFG_NOMEM);
	memory_runs_out();
	(void)rpma_conn_cfg_new(&cfg);
	(void)rpma_srq_cfg_new(&srq_cfg);
	no_memory = false;
	assert_ptr_equal(cfg, UNTOUCHED_PTR);
	assert_ptr_equal(srq_cfg, UNTOUCHED_PTR);
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(no_memory_for_a_handle),
	cmocka_unit_test(no_memory_for_a_configuration),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "no-memory", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
	};

	return topic_main(&topic, argc, argv);
}
