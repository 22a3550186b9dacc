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

bool
original_is_1_3(void)
{
	static int known = -1;

	if (known < 0) {
		char path[4096], release[16] = "";
		char *end;
		FILE *file;

		/* DIR/release for DIR/usr/lib/x86_64-linux-gnu/librpma.so.0 */
		snprintf(path, sizeof(path), "%s", library_path());
		for (int up = 0; up < 4 && (end = strrchr(path, '/')) != NULL; up++)
			*end = '\0';
		strncat(path, "/release", sizeof(path) - strlen(path) - 1);
		file = library_is_original() ? fopen(path, "r") : NULL;
		if (file != NULL) {
			known = fgets(release, sizeof(release), file) && strcmp(release, "1.3.0\n") == 0;
			fclose(file);
		} else {
			known = false;
		}
	}

	return known;
}

bool
library_is_native(void)
{
	return !library_is_original() || original_is_1_3();
}

const char *
library_path(void)
{
	Dl_info info;

	if (!dladdr((void *)(uintptr_t)rpma_err_2str, &info) || info.dli_fname == NULL)
		return "unknown";

	return info.dli_fname;
}

/* dlsym() returns an object pointer, and a function pointer is needed */
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

	/* look up all five, so that a skipped test has checked the original */
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
