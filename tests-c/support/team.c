/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <pthread.h>
#include <time.h>

#include "device.h"
#include "team.h"

#define MOST_THREADS 80
#define MOST_TEXTS 512

struct member {
	const struct job *job;
	unsigned thread;
	pthread_t id;
	pthread_barrier_t *start;
	char complaint[512];
	/* the texts that were passed to note_calls(), each once: a hash table by address */
	const char *texts[MOST_TEXTS];
};

/* a function of librpma that some thread has called */
struct called {
	char name[64];
	const struct member *last;	/* which has been counted */
	unsigned threads;		/* of this team */
	unsigned most;			/* of any team */
};

static struct called called[128];

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

/* --- who calls what --- */

void
note_calls(const char *text)
{
	size_t at = ((uintptr_t)text >> 3) % MOST_TEXTS;

	/* when the table is full, the function counts as not called */
	for (size_t i = 0; i < MOST_TEXTS; i++, at = (at + 1) % MOST_TEXTS) {
		if (myself->texts[at] == text)
			return;
		if (myself->texts[at] == NULL) {
			myself->texts[at] = text;
			return;
		}
	}
}

static struct called *
find_called(const char *name, size_t len)
{
	for (size_t i = 0; i < COUNT_OF(called); i++) {
		struct called *c = &called[i];

		if (c->name[0] == '\0' && len < sizeof(c->name))
			memcpy(c->name, name, len);
		if (strlen(c->name) == len && memcmp(c->name, name, len) == 0)
			return c;
	}

	return NULL;
}

/* the functions that the text names, each with a parenthesis after it */
static void
count_text(const struct member *member, const char *text)
{
	static const char older[] = "older->";

	for (const char *p = text; *p; p++) {
		const bool is_older = strncmp(p, older, strlen(older)) == 0;
		char name[64];
		int len = 0;

		if (!is_older && strncmp(p, "rpma_", strlen("rpma_")) != 0)
			continue;
		if (is_older)
			p += strlen(older);
		while (isalnum((unsigned char)p[len]) || p[len] == '_')
			len++;
		if (p[len] == '(') {
			snprintf(name, sizeof(name), "%s%.*s", is_older ? "rpma_" : "", len, p);
			struct called *c = find_called(name, strlen(name));

			if (c && c->last != member) {
				c->last = member;
				c->threads++;
			}
		}
		p += len - 1;
	}
}

static void
count_calls(const struct member *members, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		for (size_t t = 0; t < MOST_TEXTS; t++) {
			if (members[i].texts[t])
				count_text(&members[i], members[i].texts[t]);
		}
	}
	for (size_t i = 0; i < COUNT_OF(called); i++) {
		if (called[i].most < called[i].threads)
			called[i].most = called[i].threads;
		called[i].threads = 0;
		called[i].last = NULL;
	}
}

unsigned
most_callers(const char *function)
{
	const struct called *c = find_called(function, strlen(function));

	return c ? c->most : 0;
}

/* --- a team --- */

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
	count_calls(members, n);
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
