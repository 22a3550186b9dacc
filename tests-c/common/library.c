/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "common.h"

bool
library_is_original(void)
{
	/* only this library serves programs that were built against the releases before 1.0 */
	return dlvsym(RTLD_DEFAULT, "rpma_read", "LIBRPMA_0.10") == NULL;
}

const char *
library_path(void)
{
	Dl_info info;

	if (!dladdr((void *)(uintptr_t)rpma_err_2str, &info) || info.dli_fname == NULL)
		return "unknown";

	return info.dli_fname;
}

/* dlsym() hands out an object pointer where a function pointer is wanted */
#define LOOK_UP(member) \
	(*(void **)(&functions.member) = dlsym(RTLD_DEFAULT, "rpma_" #member))

const struct older_functions *
older_functions(void)
{
	static struct older_functions functions;
	const bool original = library_is_original();

	LOOK_UP(conn_completion_get);
	LOOK_UP(conn_completion_wait);
	LOOK_UP(conn_get_completion_fd);
	LOOK_UP(cq_get_completion);
	LOOK_UP(write_atomic);

	/* each of them, so that a skipped test says something of the original as well */
	assert_int_equal(functions.conn_completion_get == NULL, original);
	assert_int_equal(functions.conn_completion_wait == NULL, original);
	assert_int_equal(functions.conn_get_completion_fd == NULL, original);
	assert_int_equal(functions.cq_get_completion == NULL, original);
	assert_int_equal(functions.write_atomic == NULL, original);

	if (original) {
		print_message("skipped: the library has none of rpma_write_atomic, "
				"rpma_cq_get_completion, rpma_conn_completion_get, "
				"rpma_conn_completion_wait, rpma_conn_get_completion_fd\n");
		skip();
	}

	return &functions;
}
