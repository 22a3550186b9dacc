/* SPDX-License-Identifier: BSD-3-Clause */
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "process.h"

const struct difference_row differences[DIFF_COUNT] = {
	[DIFF_NO_EVENT] = {
		"no event",
		"a non-blocking descriptor with nothing to fetch gives PROVIDER and an ERROR log",
		"NO_EVENT, no log",
		"conn: next_event_when_there_is_none; ep: next_request_when_there_is_none",
	},
	[DIFF_LENGTH_4G] = {
		"length above 4 GiB - 1",
		"cut to 32 bits in silence",
		"INVAL, ERROR log",
		"ops: length_above_4g; srq: length_above_4g; conn_req: length_above_4g; "
		"native-operations: flush_of_more_than_4g",
	},
	[DIFF_REJECTED_REQUEST] = {
		"rejected incoming request",
		"the CM id leaks, in the process and the kernel; a client whose accept was not "
		"followed up never hears of it; NULL instead of no request when its event cannot be "
		"acknowledged",
		"the id is destroyed, the client hears of it, the out-parameter is left alone",
		"conn_req: endpoint_after_an_accept_that_failed_half_way; "
		"failed-requests: id_of_a_request_that_cannot_be_taken; "
		"failed-requests: id_of_a_request_that_cannot_be_accepted; "
		"failed-events: request_whose_event_cannot_be_acknowledged; "
		"failed-releases: id_of_a_rejected_request; stress: rejections_leave_nothing; "
		"stress: failed_accepts_leave_nothing",
	},
	[DIFF_FLUSH_TYPE] = {
		"flush of an unknown type",
		"posts and returns 0",
		"INVAL",
		"ops: flush_of_an_unknown_type",
	},
	[DIFF_MR_ADVISE_NULL] = {
		"mr_advise(NULL, ...)",
		"crash",
		"INVAL",
		"mr: advise_without_a_region",
	},
	[DIFF_MR_ADVISE_4G] = {
		"mr_advise for more than 4 GiB - 1",
		"cut to 32 bits in silence",
		"INVAL, ERROR log",
		"mr: advise_on_more_than_4g",
	},
	[DIFF_UNKNOWN_EVENT] = {
		"unknown CM event",
		"reads an unset variable for its log",
		"logs the name of the CM event",
		"failed-events: other_events_are_named",
	},
	[DIFF_ERRNO] = {
		"errno after RPMA_E_PROVIDER",
		"whatever was left there",
		"that of the call that failed",
		"failed-operations: errno_of_a_call_that_returns_it; "
		"failed-operations: errno_after_more_has_failed; failed-releases: the_first_failure_is_told",
	},
	[DIFF_BATCHED_ACKS] = {
		"acknowledging completion events",
		"one at a time",
		"in batches, the rest before the CQ is destroyed",
		"verbs-calls: events_are_acknowledged_in_batches",
	},
	[DIFF_UNFENCED] = {
		"native atomic write",
		"without a fence: it does not wait for the reads and the flush before it",
		"with a fence, as the write in its place",
		"native-operations: atomic_write_is_fenced",
		.of = OF_1_3,
	},
	[DIFF_REFUSED_OPERATIONS] = {
		"native operations that the device has, and libibverbs or its provider does not",
		"no connection",
		"the connection does without them",
		"native-operations: operations_that_the_provider_does_not_know; device-capabilities: refused_operations; "
		"device-capabilities: claimed_operations",
		.of = OF_1_3,
	},
	[DIFF_READABLE] = {
		"region that may be flushed, on a device with native flush",
		"not registered for remote reads: a side without native flush cannot flush it",
		"registered for them",
		"native-operations: access_of_regions",
		.of = OF_1_3,
	},
	[DIFF_FLUSH_BUFFER] = {
		"connection without a buffer for flushes",
		"the CM id goes back to synchronous operation: a passive side may wait for the other "
		"one, and its channel may be used after it was freed",
		"the connection is dropped",
		"failed-requests: no_buffer_for_flushes",
		.hangs = true,
	},
	[DIFF_FLUSH_PAGE] = {
		"page that emulated flushes read into",
		"one for each connection; deleting one gives INVAL when its page cannot be unmapped",
		"one for the process, which stays",
		"page-for-flushes: page_for_flushes_is_mapped_once; "
		"page-for-flushes: page_for_flushes_stays_mapped",
	},
	[DIFF_LOGGED] = {
		"invalid argument, memory that cannot be had, the wrong channel (a wait, or its descriptor)",
		"a code, mostly without a log",
		"an ERROR log as well, which says what is wrong",
		"refused-arguments: configurations_are_named; refused-arguments: peers_and_regions_are_named; "
		"refused-arguments: requests_and_endpoints_are_named; refused-arguments: connections_are_named; "
		"refused-arguments: operations_are_named; refused-arguments: thresholds_are_named; "
		"failed-creation: a_domain_that_cannot_be_had; cq: the_wrong_channel_is_logged",
	},
	[DIFF_FUNCTION_NAME] = {
		"function name in the log",
		"that of an internal function",
		"that of the public function",
		"log: the_public_function_is_named",
	},
	[DIFF_LOG_WORDS] = {
		"words of a log message, file and line in it",
		"its own words, and a place in its own source",
		"other words, and a place in the source of this library",
		"log-texts: words_and_place_are_its_own; log-texts: without_a_device_softrdma_is_named",
	},
	[DIFF_LONG_MONTH] = {
		"time of a message, when the locale has a long name for the month",
		"[time error]",
		"the time",
		"log-texts: month_with_a_long_name",
	},
	[DIFF_LOG_ARGUMENTS] = {
		"what a user's log function gets",
		"a format and its arguments",
		"the format %s, and the finished text",
		"log: the_text_is_the_argument",
	},
	[DIFF_MISSING_FLUSH] = {
		"device without native flush",
		"nothing is said of it",
		"an INFO log, as for native atomic write",
		"peer: missing_flush_is_logged",
		.of = OF_1_2,
	},
	[DIFF_TWO_LINES] = {
		"request with a shared channel, whose CQ cannot be destroyed",
		"another ERROR log: of course the channel cannot go either",
		"one for the CQ alone, as for all other objects",
		"failed-releases: shared_channel_of_a_request",
	},
	[DIFF_UNASKED_DEVICE] = {
		"device that cannot be asked what it can do",
		"an INFO log that it has no native atomic write, before the ERROR log",
		"the ERROR log alone",
		"failed-creation: a_device_that_cannot_be_asked",
		.of = OF_1_2,
	},
	[DIFF_CFG_NOMEM] = {
		"no memory for a configuration",
		"the out-parameter becomes NULL",
		"it is left alone",
		"no-memory: no_memory_for_a_configuration",
	},
};

/* set in the environment of a test that is to show its difference on the original */
#define SHOW "RPMA_TEST_SHOW_DIFFERENCE"
#define REACHED "=== from here on it may fail"

/* more than such a test takes, which may hang on the original: it would not fail by itself then */
static int
limit_ms(void)
{
	return 2 * timeout_ms();
}

/* all that the process prints until it ends; false when it had to be killed. What is known to hang has less time. */
static bool
collect(struct helper *process, bool hangs, char *text, size_t size, int *status)
{
	struct timespec start;
	struct timespec now;
	size_t len = 0;
	ssize_t got = 1;
	int limit = limit_ms();
	int left = limit;

	text[0] = '\0';
	clock_gettime(CLOCK_MONOTONIC, &start);
	while (got > 0 && left > 0) {
		char rest[256];
		const bool full = len + 1 >= size;

		if (readable_within(process->out, left)) {
			got = read(process->out, full ? rest : text + len,
					full ? sizeof(rest) : size - 1 - len);
			if (got > 0 && !full)
				len += (size_t)got;
			text[len] = '\0';
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (hangs && strstr(text, REACHED) != NULL) {
			hangs = false;
			limit = timeout_ms() / 2;
			start = now;
		}
		left = limit - (int)((now.tv_sec - start.tv_sec) * 1000 +
				(now.tv_nsec - start.tv_nsec) / 1000000);
	}
	*status = stop_helper(process, got > 0);

	return got <= 0;
}

/* the running test once more, alone in a process of its own, where it has to fail */
static void
show(enum difference row, const char *test)
{
	const struct difference_row *d = &differences[row];
	const char *const args[] = {running_group(), test, NULL};
	static char text[16384];
	struct helper process;
	const char *reason;
	const char *end;
	int status = 0;
	bool ended;

	setenv(SHOW, "1", 1);
	process = start_itself(args);
	unsetenv(SHOW);
	ended = collect(&process, d->hangs, text, sizeof(text), &status);

	reason = strstr(text, REACHED);
	if (reason == NULL) {
		print_error("%s", text);
		fail_msg("it failed before the difference could show");
		return;
	}
	if (strstr(reason, "[  SKIPPED ] ") != NULL) {
		print_message("skipped: see above\n");
		skip();
	}
	if (ended && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		fail_msg("no difference: it passes on the original");

	print_message("better than the original, \"%s\": original: %s; here: %s\n", d->name,
			d->original, d->here);
	reason += strlen(REACHED) + 1;
	end = strstr(reason, "[  FAILED  ]");
	print_message("on the original:\n%.*s%s", end ? (int)(end - reason) : 400, reason,
			ended ? "" : "\nkilled: it hung\n");
}

/* --- what the rows say of the tests --- */

/* the tests that named their rows */
static const char *reached[64];
static size_t reached_count;

/* calls `with` for each "topic: test" of a row, until it returns false */
static bool
each_test(enum difference row, bool (*with)(const char *topic, const char *test, void *arg), void *arg)
{
	char *tests = strdup(differences[row].tests);
	char *rest = tests;
	bool go_on = true;
	char *entry;

	assert_non_null(tests);
	while (go_on && (entry = strtok_r(rest, ";", &rest)) != NULL) {
		char *colon = strchr(entry, ':');

		assert_non_null(colon);
		*colon = '\0';
		go_on = with(entry + strspn(entry, " "), colon + 2, arg);
	}
	free(tests);

	return go_on;
}

static bool
is_another(const char *topic, const char *test, void *arg)
{
	return strcmp(topic, running_topic()) != 0 || strcmp(test, (const char *)arg) != 0;
}

bool
better(enum difference row, const char *test)
{
	if (each_test(row, is_another, (void *)(uintptr_t)test)) {
		fail_msg("%s: %s is not in the row \"%s\" of differences.c", running_topic(), test,
				differences[row].name);
	}
	assert_true(reached_count < COUNT_OF(reached));
	reached[reached_count++] = test;

	if (!library_is_original() || differences[row].of == (original_is_1_3() ? OF_1_2 : OF_1_3))
		return false;

	if (getenv(SHOW)) {
		printf("%s\n", REACHED);
		fflush(stdout);
		return false;
	}
	show(row, test);

	return true;
}

struct run {
	const char *topic;
	const struct CMUnitTest *tests;
	size_t count;
};

/* not a test of this run, or one that named its row */
static bool
was_reached(const char *topic, const char *test, void *arg)
{
	const struct run *run = arg;

	if (strcmp(topic, run->topic) != 0)
		return true;
	for (size_t i = 0; i < run->count; i++) {
		if (strcmp(run->tests[i].name, test) != 0)
			continue;
		for (size_t j = 0; j < reached_count; j++) {
			if (strcmp(reached[j], test) == 0)
				return true;
		}
		printf("FAILED: %s: %s is in differences.c, and does not say so\n", topic, test);
		return false;
	}

	return true;
}

bool
differences_were_tested(const char *topic, const struct CMUnitTest *tests, size_t count)
{
	struct run run = {topic, tests, count};
	bool all = true;

	for (enum difference row = 0; row < DIFF_COUNT; row++)
		all = each_test(row, was_reached, &run) && all;

	return all;
}

static bool
print_test(const char *topic, const char *test, void *separator)
{
	printf("%s%s: %s", *(const char **)separator, topic, test);
	*(const char **)separator = "; ";

	return true;
}

void
print_differences(void)
{
	for (enum difference row = 0; row < DIFF_COUNT; row++) {
		const char *separator = "";

		each_test(row, print_test, &separator);
		printf("\n");
	}
}
