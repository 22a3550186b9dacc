/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conformance [--list] [--address ADDRESS] [ADDRESS] [CASE...]: prints the behaviour of the RDMA device with this
 * address (default: the environment variable RXE_ADDR).
 *
 * It uses libibverbs and librdmacm only, never librpma. Each case runs in a separate process, with a time
 * limit. Optional cases run only when named. From the environment: CONFORMANCE_WAIT_MS (how long to wait for
 * expected events), CONFORMANCE_QUIET_MS (how long to check that no event comes), CONFORMANCE_LIMIT
 * (seconds for each case), and CONFORMANCE_JOBS (how many cases run at a time, default 1: most of them wait most
 * of the time). The order of the output does not depend on the latter.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance.h"

static const struct test_case *const groups[] = {
	cm_cases, refused_cases, listen_cases, id_cases, option_cases, disconnect_cases, data_cases,
	protection_cases, queue_cases, cq_cases, object_cases, modify_cases, process_cases, thread_cases,
	endpoint_cases,
};

static bool
is_address(const char *text)
{
	struct in6_addr addr;

	return inet_pton(AF_INET, text, &addr) == 1 || inet_pton(AF_INET6, text, &addr) == 1;
}

static bool
named(const char *name, char *names[], int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;

	return false;
}

/* a case that was selected, and its process */
struct run {
	const struct test_case *test;
	/* what it prints, until all earlier ones have ended */
	int output;
	/* 0 before it starts and after it has ended */
	pid_t pid;
	int pidfd;
	int64_t deadline;
	bool ended, failed;
	char end[64];
};

static struct run *runs;
static int count;

#define MAX_JOBS 64

/* in the process of the case */
static void
child(const struct run *run, pid_t parent)
{
	setpgid(0, 0);
	/* An interrupted run leaves no case behind. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	dup2(run->output, STDOUT_FILENO);
	/* those of this case and of others that run at the same time */
	for (const struct run *other = runs; other < runs + count; other++) {
		if (other->output >= 0)
			close(other->output);
		if (other->pid)
			close(other->pidfd);
	}
	case_name = run->test->name;
	run->test->run();
	exit(0);
}

static bool
start(struct run *run, unsigned limit)
{
	pid_t parent = getpid();

	fflush(stdout);
	run->output = memfd_create(run->test->name, MFD_CLOEXEC);
	/* The kernel does not serialise the position of a memory file: processes of the case would overwrite each other. */
	if (run->output < 0 || fcntl(run->output, F_SETFL, O_APPEND) < 0) {
		perror("memfd_create");
		return false;
	}
	run->pid = fork();
	if (run->pid < 0) {
		perror("fork");
		run->pid = 0;
		return false;
	}
	if (run->pid == 0)
		child(run, parent);
	setpgid(run->pid, run->pid);

	run->pidfd = (int)syscall(SYS_pidfd_open, run->pid, 0);
	if (run->pidfd < 0) {
		perror("pidfd_open");
		kill(-run->pid, SIGKILL);
		return false;
	}
	run->deadline = now_ms() + (int64_t)(run->test->limit > limit ? run->test->limit : limit) * 1000;

	return true;
}

/* The process has ended, or its time is up. */
static void
end(struct run *run, bool in_time)
{
	int status;

	/* and the processes that it started, if they still run */
	kill(-run->pid, SIGKILL);
	while (waitpid(run->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(run->pidfd);
	run->pid = 0;
	run->ended = true;
	if (!in_time)
		snprintf(run->end, sizeof(run->end), "timeout");
	else if (WIFSIGNALED(status))
		snprintf(run->end, sizeof(run->end), "ended by signal %d", WTERMSIG(status));
	run->failed = !in_time || status != 0;
}

static void
print(struct run *run)
{
	char buffer[4096];
	ssize_t length;
	off_t offset = 0;

	while ((length = pread(run->output, buffer, sizeof(buffer), offset)) > 0) {
		fwrite(buffer, 1, (size_t)length, stdout);
		offset += length;
	}
	close(run->output);
	run->output = -1;
	if (run->end[0])
		printf("%s: %s\n", run->test->name, run->end);
	fflush(stdout);
}

/* Waits until a case ends, or until the time of one is up. */
static void
wait_for_one(void)
{
	struct pollfd fds[MAX_JOBS];
	struct run *running[MAX_JOBS];
	int n = 0, ret;
	int64_t first = INT64_MAX, left;

	for (struct run *run = runs; run < runs + count; run++)
		if (run->pid) {
			fds[n] = (struct pollfd){.fd = run->pidfd, .events = POLLIN};
			running[n++] = run;
			if (run->deadline < first)
				first = run->deadline;
		}
	left = first - now_ms();
	do {
		ret = poll(fds, (nfds_t)n, left > 0 ? (int)left : 0);
	} while (ret < 0 && errno == EINTR);
	for (int i = 0; i < n; i++)
		if (fds[i].revents)
			end(running[i], true);
		else if (running[i]->deadline <= now_ms())
			end(running[i], false);
}

/* The next case to start. */
static struct run *
next(void)
{
	for (int slow = 1; slow >= 0; slow--)
		for (struct run *run = runs; run < runs + count; run++)
			if (!run->pid && !run->ended && run->test->slow == slow)
				return run;

	return NULL;
}

/* Runs those selected, so many at a time, and prints them in their order; returns the number of those that failed. */
static int
run_all(int jobs, unsigned limit)
{
	int running, printed = 0, failed = 0;
	struct run *run;

	while (printed < count) {
		running = 0;
		for (run = runs; run < runs + count; run++)
			running += run->pid != 0;
		while (running < jobs && (run = next())) {
			if (!start(run, limit))
				return count;
			running++;
		}
		wait_for_one();
		for (; printed < count && runs[printed].ended; printed++) {
			print(&runs[printed]);
			failed += runs[printed].failed;
		}
	}

	return failed;
}

/* Optional cases only if they are named. */
static bool
select_cases(char *names[], int named_count)
{
	size_t all = 0;

	for (size_t g = 0; g < COUNT_OF(groups); g++)
		for (const struct test_case *test = groups[g]; test->name; test++)
			all++;
	runs = calloc(all, sizeof(*runs));
	if (!runs) {
		perror("calloc");
		return false;
	}
	for (size_t g = 0; g < COUNT_OF(groups); g++)
		for (const struct test_case *test = groups[g]; test->name; test++)
			if (named_count > 0 ? named(test->name, names, named_count) : test->optional == NULL)
				runs[count++] = (struct run){.test = test, .output = -1};
	if (count < named_count)
		fprintf(stderr, "conformance: no such case among the arguments (see --list)\n");

	return count >= named_count;
}

static int
list(void)
{
	for (size_t g = 0; g < COUNT_OF(groups); g++)
		for (const struct test_case *test = groups[g]; test->name; test++)
			printf("%s%s%s\n", test->name, test->optional ? "  # optional: " : "",
					test->optional ? test->optional : "");

	return 0;
}

static int
setting(const char *name, int usual_value)
{
	const char *text = getenv(name);

	return text && atoi(text) > 0 ? atoi(text) : usual_value;
}

int
main(int argc, char *argv[])
{
	unsigned limit = (unsigned)setting("CONFORMANCE_LIMIT", 60);
	int jobs = setting("CONFORMANCE_JOBS", 1);
	int first = 1;

	wait_ms = setting("CONFORMANCE_WAIT_MS", wait_ms);
	quiet_ms = setting("CONFORMANCE_QUIET_MS", quiet_ms);
	address = getenv("RXE_ADDR");

	if (argc > first && strcmp(argv[first], "--list") == 0)
		return list();
	if (argc > first + 1 && strcmp(argv[first], "--address") == 0)
		first++;
	if (argc > first && is_address(argv[first]))
		address = argv[first++];
	if (!address || !is_address(address) || (argc > first && argv[first][0] == '-')) {
		fprintf(stderr, "usage: conformance --list | [--address] ADDRESS [CASE...] (or RXE_ADDR=ADDRESS)\n");
		return 2;
	}

	if (!select_cases(argv + first, argc - first))
		return 2;

	return run_all(jobs < MAX_JOBS ? jobs : MAX_JOBS, limit) ? 1 : 0;
}
