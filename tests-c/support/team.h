/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The same work on many threads at once.
 *
 * Cmocka ends a test with longjmp(), which only the thread of the test may call. So the threads of a team report
 * failures with MUST() and WORKS(), and the test fails after all of them have ended.
 */
#ifndef TESTS_TEAM_H
#define TESTS_TEAM_H

#include <semaphore.h>

#include "common.h"

#define TEAM 16

/* one round of one thread of a job; false: it failed, and the thread ends */
typedef bool work(void *arg, unsigned thread, unsigned round);

struct job {
	work *work;
	void *arg;
	unsigned threads;
	/* repeats its rounds until all jobs that are not `meanwhile` have ended */
	bool meanwhile;
};

/* how many rounds: RPMA_TEST_ROUNDS, 50 by default */
unsigned rounds(void);

/* runs all jobs at once; the test fails with the first failure that a thread reported */
void run_team(const struct job *jobs, size_t count);
/* one job, on TEAM threads */
void on_a_team(work *work, void *arg);

/*
 * Which functions of librpma the threads call: MUST() and WORKS() read it from the text of their argument,
 * and CALLS() does where the result goes elsewhere. Those of older_functions() are read after "older->".
 */
#define CALLS(call) (note_calls(#call), (call))
void note_calls(const char *text);
/* the largest number of threads that have called the function in one run_team() */
unsigned most_callers(const char *function);

/* waits as long as any wait of a test may take */
bool take_semaphore(sem_t *semaphore);

#define MUST(condition) do { \
	note_calls(#condition); \
	if (!(condition)) \
		return complain(__FILE__, __LINE__, "%s", #condition); \
} while (0)
#define WORKS(call) do { \
	const int ret_ = CALLS(call); \
	if (ret_ != 0) \
		return complain(__FILE__, __LINE__, "%s returned %d (%s)", #call, ret_, \
				rpma_err_2str(ret_)); \
} while (0)
bool complain(const char *file, int line, const char *format, ...)
		__attribute__((format(printf, 3, 4)));

#endif
