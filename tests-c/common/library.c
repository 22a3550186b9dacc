/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "common.h"

bool
library_is_original(void)
{
	return dlsym(RTLD_DEFAULT, "rpma_write_atomic") == NULL;
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

	if (library_is_original()) {
		print_message("skipped: the library has no rpma_write_atomic, "
				"rpma_cq_get_completion, rpma_conn_completion_get, "
				"rpma_conn_completion_wait, rpma_conn_get_completion_fd\n");
		skip();
	}

	LOOK_UP(conn_completion_get);
	LOOK_UP(conn_completion_wait);
	LOOK_UP(conn_get_completion_fd);
	LOOK_UP(cq_get_completion);
	LOOK_UP(write_atomic);

	assert_non_null(functions.conn_completion_get);
	assert_non_null(functions.conn_completion_wait);
	assert_non_null(functions.conn_get_completion_fd);
	assert_non_null(functions.cq_get_completion);

	return &functions;
}
