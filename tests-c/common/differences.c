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
		"conn: next_event_when_there_is_none; conn_req: next_request_when_there_is_none",
	},
	[DIFF_LENGTH_4G] = {
		"length above 4 GiB - 1",
		"cut to 32 bits in silence",
		"INVAL, ERROR log",
		"ops: length_above_4g; mr: advise_on_more_than_4g; srq: length_above_4g; conn_req: length_above_4g",
	},
	[DIFF_REJECTED_REQUEST] = {
		"rejected incoming request",
		"the CM id leaks, in the process and the kernel; a client whose accept was not "
		"followed up never hears of it; NULL instead of no request when its event cannot be "
		"acknowledged",
		"the id is destroyed, the client hears of it, the out-parameter is left alone",
		"conn_req: endpoint_after_a_rejection; "
		"conn_req: endpoint_after_an_accept_that_failed_half_way; stress: rejections_leave_nothing; "
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
	[DIFF_UNKNOWN_EVENT] = {
		"unknown CM event",
		"reads an unset variable for its log",
		"logs the name of the CM event",
		"none: no device here sends one on demand",
	},
	[DIFF_ERRNO] = {
		"errno after RPMA_E_PROVIDER",
		"whatever was left there",
		"that of the call that failed",
		"mr: errno_of_a_failed_registration; conn_req: errno_of_a_failed_listen; "
		"ops: errno_of_a_full_queue",
	},
	[DIFF_BATCHED_ACKS] = {
		"acknowledging completion events",
		"one at a time",
		"in batches, the rest before the CQ is destroyed",
		"completions: many_events_then_delete; completions: events_taken_by_many_threads",
	},
	[DIFF_FLUSH_BUFFER] = {
		"connection without a buffer for flushes",
		"the CM id goes back to synchronous operation: a passive side may wait for the other "
		"one, and its channel may be used after it was freed",
		"the connection is dropped",
		"failing-requests: no_buffer_for_flushes",
	},
	[DIFF_LOGGED] = {
		"invalid argument, memory that cannot be had",
		"a code, mostly without a log",
		"an ERROR log as well, which says what is wrong",
		"log: invalid_arguments_are_logged",
	},
	[DIFF_FUNCTION_NAME] = {
		"function name in the log",
		"that of an internal function",
		"that of the public function",
		"log: the_public_function_is_named",
	},
};

/* set in the environment of a test that is to show its difference on the original */
#define SHOW "RPMA_TEST_SHOW_DIFFERENCE"
#define REACHED "=== from here on it may fail"

/* no test of a difference takes longer on either library; some of them hang on the original */
static int
limit_ms(void)
{
	return 6 * timeout_ms();
}

/* all that the process prints until it ends; false when it had to be killed */
static bool
collect(struct helper *process, char *text, size_t size, int *status)
{
	struct timespec start;
	struct timespec now;
	size_t len = 0;
	ssize_t got = 1;
	int left = limit_ms();

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (got > 0 && left > 0) {
		char rest[256];
		const bool full = len + 1 >= size;

		if (readable_within(process->out, left)) {
			got = read(process->out, full ? rest : text + len,
					full ? sizeof(rest) : size - 1 - len);
			if (got > 0 && !full)
				len += (size_t)got;
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
		left = limit_ms() - (int)((now.tv_sec - start.tv_sec) * 1000 +
				(now.tv_nsec - start.tv_nsec) / 1000000);
	}
	text[len] = '\0';
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
	ended = collect(&process, text, sizeof(text), &status);

	reason = strstr(text, REACHED);
	if (reason == NULL) {
		print_error("%s", text);
		fail_msg("it failed before the difference could show");
		return;
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

bool
better(enum difference row, const char *test)
{
	if (!library_is_original())
		return false;

	if (getenv(SHOW)) {
		printf("%s\n", REACHED);
		fflush(stdout);
		return false;
	}
	show(row, test);

	return true;
}
