/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.h"

int
timeout_ms(void)
{
	const char *ms = getenv("RPMA_TEST_TIMEOUT_MS");

	return ms ? atoi(ms) : 20000;
}

bool
readable_within(int fd, int ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	int ret;

	do {
		ret = poll(&poll_fd, 1, ms);
	} while (ret < 0 && errno == EINTR);

	return ret > 0;
}

void
wait_readable(int fd)
{
	if (!readable_within(fd, timeout_ms()))
		fail_msg("nothing to read within %d ms", timeout_ms());
}

void
set_nonblocking(int fd)
{
	assert_return_code(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), errno);
}

extern char **environ;

static struct helper
start(const char *const first[], const char *const args[], bool with_stderr)
{
	posix_spawn_file_actions_t actions;
	struct helper helper = {0};
	char self[4096] = "";
	char *argv[16] = {0};
	int ends[2];
	int argc = 0;

	/* by its path, as /proc/self/exe is another program under valgrind */
	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	for (int i = 0; first[i]; i++)
		argv[argc++] = (char *)(uintptr_t)first[i];
	for (int i = 0; args[i]; i++)
		argv[argc++] = (char *)(uintptr_t)args[i];

	assert_return_code(pipe2(ends, O_CLOEXEC), errno);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
	if (with_stderr)
		posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
	assert_int_equal(posix_spawn(&helper.pid, self, &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	helper.out = ends[0];

	return helper;
}

struct helper
start_helper(const char *const args[])
{
	const char *const first[] = {"helper-process", "helper", NULL};

	return start(first, args, false);
}

struct helper
start_itself(const char *const args[])
{
	const char *const first[] = {"one-test", NULL};

	return start(first, args, true);
}

void
helper_line(struct helper *helper, char *line, size_t size)
{
	size_t len = 0;

	for (;;) {
		wait_readable(helper->out);
		assert_true(len + 1 < size);
		if (read(helper->out, &line[len], 1) != 1)
			fail_msg("the helper process ended");
		if (line[len] == '\n')
			break;
		len++;
	}
	line[len] = '\0';
}

int
stop_helper(struct helper *helper, bool kill_it)
{
	int status = 0;

	if (kill_it)
		kill(helper->pid, SIGKILL);
	assert_int_equal(waitpid(helper->pid, &status, 0), helper->pid);
	close(helper->out);

	return status;
}
