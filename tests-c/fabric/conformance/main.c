/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conformance [--list] [--address ADDRESS] [ADDRESS] [CASE...]: prints the behaviour of the RDMA device with this
 * address (default: the environment variable RXE_ADDR).
 *
 * It uses libibverbs and librdmacm only, never librpma. Each case runs in a separate process, with a time
 * limit. Optional cases run only when named. From the environment: CONFORMANCE_WAIT_MS (how long to wait for
 * expected events), CONFORMANCE_QUIET_MS (how long to check that no event comes), and CONFORMANCE_LIMIT
 * (seconds for each case).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance.h"

static const struct test_case *const groups[] = {
	cm_cases, refused_cases, listen_cases, id_cases, option_cases, disconnect_cases, data_cases,
	protection_cases, queue_cases, cq_cases, object_cases, modify_cases, process_cases, thread_cases,
	endpoint_cases,
};

static int
run_case(const struct test_case *test, unsigned limit)
{
	struct pollfd ended = {.events = POLLIN};
	pid_t pid;
	int status, ret;

	case_name = test->name;
	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		perror("fork");
		return 1;
	}
	if (pid == 0) {
		setpgid(0, 0);
		test->run();
		exit(0);
	}
	setpgid(pid, pid);

	ended.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (ended.fd < 0) {
		perror("pidfd_open");
		kill(-pid, SIGKILL);
		return 1;
	}
	do {
		ret = poll(&ended, 1, (int)(test->limit > limit ? test->limit : limit) * 1000);
	} while (ret < 0 && errno == EINTR);
	close(ended.fd);
	/* and the processes that it started, if they still run */
	kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (ret == 0) {
		printf("%s: timeout\n", test->name);
		return 1;
	}
	if (WIFSIGNALED(status)) {
		printf("%s: ended by signal %d\n", test->name, WTERMSIG(status));
		return 1;
	}

	return WEXITSTATUS(status) ? 1 : 0;
}

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
	int first = 1, failed = 0, found = 0;

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

	for (size_t g = 0; g < COUNT_OF(groups); g++)
		for (const struct test_case *test = groups[g]; test->name; test++) {
			if (argc > first ? !named(test->name, argv + first, argc - first) : test->optional != NULL)
				continue;
			found++;
			failed += run_case(test, limit);
		}
	if (found < argc - first) {
		fprintf(stderr, "conformance: no such case among the arguments (see --list)\n");
		return 2;
	}

	return failed ? 1 : 0;
}
