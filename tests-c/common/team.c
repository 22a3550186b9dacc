/* SPDX-License-Identifier: BSD-3-Clause */
#include <pthread.h>
#include <time.h>

#include "device.h"
#include "team.h"

#define MOST_THREADS 64

struct member {
	const struct job *job;
	unsigned thread;
	pthread_t id;
	pthread_barrier_t *start;
	char complaint[512];
};

static bool over;
static _Thread_local struct member *myself;

unsigned
rounds(void)
{
	const char *n = getenv("RPMA_TEST_ROUNDS");

	return n && atoi(n) > 0 ? (unsigned)atoi(n) : 50;
}

bool
complain(const char *file, int line, const char *format, ...)
{
	char *text = myself->complaint;
	const size_t size = sizeof(myself->complaint);
	va_list args;
	const int len = snprintf(text, size, "%s:%d: thread %u: ", file, line, myself->thread);

	va_start(args, format);
	vsnprintf(text + len, size - (size_t)len, format, args);
	va_end(args);

	return false;
}

bool
take_semaphore(sem_t *semaphore)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += timeout_ms() / 1000 + 1;
	while (sem_timedwait(semaphore, &until) != 0) {
		if (errno != EINTR)
			return false;
	}

	return true;
}

static void *
member_main(void *arg)
{
	const unsigned n = rounds();
	struct member *me = arg;
	const struct job *job = me->job;
	unsigned round = 0;

	myself = me;
	pthread_barrier_wait(me->start);
	do {
		if (!job->work(job->arg, me->thread, round))
			break;
		round++;
	} while (job->meanwhile ? !__atomic_load_n(&over, __ATOMIC_ACQUIRE) : round < n);

	return NULL;
}

static unsigned
join(struct member *members, unsigned count, bool meanwhile)
{
	unsigned failed = 0;

	for (unsigned i = 0; i < count; i++) {
		if (members[i].job->meanwhile != meanwhile)
			continue;
		pthread_join(members[i].id, NULL);
		if (members[i].complaint[0]) {
			print_error("%s\n", members[i].complaint);
			failed++;
		}
	}

	return failed;
}

void
run_team(const struct job *jobs, size_t count)
{
	struct member *members = calloc(MOST_THREADS, sizeof(*members));
	pthread_barrier_t start;
	unsigned failed;
	unsigned n = 0;

	assert_non_null(members);
	for (size_t i = 0; i < count; i++) {
		for (unsigned thread = 0; thread < jobs[i].threads; thread++) {
			assert_in_range(n, 0, MOST_THREADS - 1);
			members[n++] = (struct member){
				.job = &jobs[i], .thread = thread, .start = &start,
			};
		}
	}
	over = false;
	assert_int_equal(pthread_barrier_init(&start, NULL, n), 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_create(&members[i].id, NULL, member_main, &members[i]), 0);

	failed = join(members, n, false);
	__atomic_store_n(&over, true, __ATOMIC_RELEASE);
	failed += join(members, n, true);
	pthread_barrier_destroy(&start);
	free(members);
	if (failed)
		fail_msg("%u of %u threads failed", failed, n);
}

void
on_a_team(work *work, void *arg)
{
	const struct job job = {.work = work, .arg = arg, .threads = TEAM};

	run_team(&job, 1);
}
