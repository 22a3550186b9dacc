/* SPDX-License-Identifier: BSD-3-Clause */
#include "common.h"

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
		"followed up never hears of it",
		"destroyed",
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

void
better(enum difference row)
{
	if (!library_is_original())
		return;

	const struct difference_row *d = &differences[row];

	print_message("skipped: better than the original, \"%s\": original: %s; here: %s\n",
			d->name, d->original, d->here);
	skip();
}
