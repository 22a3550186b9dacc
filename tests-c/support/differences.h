/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The deliberate differences from the original C library.
 *
 * The suite runs with both libraries. A test of such a difference begins with BETTER(row), which names its
 * row. With the original the test runs in a separate process, where it has to fail, crash or hang after that
 * line: it is an error if it passes. Any other difference between the two libraries is a failure.
 * check-tables compares this list with the tests and with doc/compatibility.md.
 */
#ifndef TESTS_DIFFERENCES_H
#define TESTS_DIFFERENCES_H

#include <stdbool.h>
#include <stddef.h>

struct CMUnitTest;

/* in the order of doc/compatibility.md */
enum difference {
	DIFF_NO_EVENT,			/* nothing to fetch from a non-blocking descriptor */
	DIFF_LENGTH_4G,			/* an operation longer than 4 GiB - 1 */
	DIFF_REJECTED_REQUEST,		/* what a rejected or failed incoming request leaves */
	DIFF_FLUSH_TYPE,		/* a flush type that does not exist */
	DIFF_MR_ADVISE_NULL,		/* mr_advise without a region */
	DIFF_MR_ADVISE_4G,		/* mr_advise for more than 4 GiB - 1 */
	DIFF_UNKNOWN_EVENT,		/* the log line of an unknown CM event */
	DIFF_ERRNO,			/* errno after RPMA_E_PROVIDER */
	DIFF_BATCHED_ACKS,		/* acknowledging completion events */
	DIFF_UNFENCED,			/* a native atomic write without a fence */
	DIFF_REFUSED_OPERATIONS,	/* native operations that only the device has */
	DIFF_READABLE,			/* remote reads of a region that may be flushed natively */
	DIFF_FLUSH_BUFFER,		/* a connection without a buffer for flushes */
	DIFF_FLUSH_PAGE,		/* the page of that buffer */
	DIFF_LOGGED,			/* an ERROR log for an invalid argument */
	DIFF_FUNCTION_NAME,		/* which function the log names */
	DIFF_LOG_WORDS,			/* what a message says, and the place it names */
	DIFF_LONG_MONTH,		/* the time of a message, when the month has a long name */
	DIFF_LOG_ARGUMENTS,		/* how a user's log function gets the text */
	DIFF_MISSING_FLUSH,		/* what is said of a device without native flush */
	DIFF_TWO_LINES,			/* what is said of a channel whose CQ cannot be destroyed */
	DIFF_UNASKED_DEVICE,		/* what is said of a device that cannot be asked */
	DIFF_CFG_NOMEM,			/* the out-parameter when there is no memory for a configuration */
	DIFF_COUNT
};

struct difference_row {
	const char *name;
	const char *original;
	const char *here;
	const char *tests;
	/* the release of the original that differs, if not both */
	enum { OF_BOTH, OF_1_2, OF_1_3 } of;
	bool hangs; /* the original, in these tests */
};

extern const struct difference_row differences[DIFF_COUNT];

/*
 * The first statement in a test of a difference. With the original library the rest of the test runs in another
 * process and has to fail, unless it is skipped or that release does not differ. The row must list the test.
 */
#define BETTER(row) do { \
	if (better((row), __func__)) \
		return; \
} while (0)
bool better(enum difference row, const char *test);

/* checks that each test that a row lists, of the running topic and group, has named that row; prints a line if not */
bool differences_were_tested(const char *topic, const struct CMUnitTest *tests, size_t count);
/* for check-tables: a line for each row, with its tests */
void print_differences(void);

#endif
