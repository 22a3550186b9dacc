/* SPDX-License-Identifier: BSD-3-Clause */
/* What every test program of this directory includes. */
#ifndef TESTS_COMMON_H
#define TESTS_COMMON_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compat.h"
#include "differences.h"
#include "library.h"
#include "log-capture.h"

/*
 * One program for each topic. It is called with "nodev" (tests that need no RDMA device) or
 * "rdma" (tests that need one: its address is taken from the environment variable RXE_ADDR),
 * and with nothing runs both; after that, the name of the only test to run. RPMA_TEST_LEAVE_OUT is the name
 * of one that does not run. "list" and "differences" print what check-tables wants to know. Exit code 77:
 * nothing of what was asked for could run.
 */
struct topic {
	const char *name;
	const struct CMUnitTest *nodev;
	size_t nodev_count;
	const struct CMUnitTest *rdma;
	size_t rdma_count;
	/* "helper ARGUMENTS": the program as the other end of one of its own tests */
	int (*helper)(int argc, char *argv[]);
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define EXIT_SKIPPED 77

int topic_main(const struct topic *topic, int argc, char *argv[]);
/*
 * A loader that does not find a library where it was told to look goes on looking elsewhere. So that
 * nobody tests one library and believes it was the other: false, with a message, when
 * RPMA_TEST_LIBRARY=original (or =new) is set, and the loader found the wrong one.
 */
bool library_is_expected(void);
/* its name, and "nodev" or "rdma" */
const char *running_topic(void);
const char *running_group(void);

/* checks a return code, and says what was expected in librpma's own words */
#define EXPECT(call, code) expect_code((call), (code), #call, __FILE__, __LINE__)
#define INVALID(call) EXPECT(call, RPMA_E_INVAL)
#define SUCCEED(call) EXPECT(call, 0)
void expect_code(int got, int want, const char *call, const char *file, int line);

/* errno says why the call of verbs failed; the original leaves whatever was there (DIFF_ERRNO) */
#define EXPECT_ERRNO(want) do { \
	if (!library_is_original()) \
		assert_int_equal(errno, (want)); \
} while (0)

/* a non-NULL pointer that no function may follow before it has checked its other arguments */
void *untouchable(void);

/* the value that out-parameters have before a call that must not set them */
#define UNTOUCHED_PTR ((void *)(uintptr_t)0x5a5a5a5a5a5a5a5aULL)
#define UNTOUCHED_INT 0x5a5a5a5a

#endif
