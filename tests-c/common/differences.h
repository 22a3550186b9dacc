/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where this library is deliberately better than the original C library.
 *
 * The suite runs with both. A test of such a difference names its row with BETTER(row), before
 * the part that shows it. With the original the test is run in a process of its own, where it has to
 * fail, crash or hang from there on: it is an error when it passes. Any other difference between the
 * two libraries is a failure. check-tables compares this list with the tests and with what is
 * written for users.
 */
#ifndef TESTS_DIFFERENCES_H
#define TESTS_DIFFERENCES_H

#include <stdbool.h>

enum difference {
	DIFF_NO_EVENT,			/* nothing to fetch from a non-blocking descriptor */
	DIFF_LENGTH_4G,			/* an operation longer than 4 GiB - 1 */
	DIFF_REJECTED_REQUEST,		/* what a rejected or failed incoming request leaves */
	DIFF_FLUSH_TYPE,		/* a flush type that does not exist */
	DIFF_MR_ADVISE_NULL,		/* mr_advise without a region */
	DIFF_UNKNOWN_EVENT,		/* the log line of an unknown CM event */
	DIFF_ERRNO,			/* errno after RPMA_E_PROVIDER */
	DIFF_BATCHED_ACKS,		/* acknowledging completion events */
	DIFF_FLUSH_BUFFER,		/* a connection without a buffer for flushes */
	DIFF_LOGGED,			/* an ERROR log for an invalid argument */
	DIFF_FUNCTION_NAME,		/* which function the log names */
	DIFF_COUNT
};

struct difference_row {
	const char *name;
	const char *original;
	const char *here;
	const char *tests;
};

extern const struct difference_row differences[DIFF_COUNT];

/* ends the running test when the original library is loaded, which has to fail it */
#define BETTER(row) do { \
	if (better((row), __func__)) \
		return; \
} while (0)
bool better(enum difference row, const char *test);

#endif
