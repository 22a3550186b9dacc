/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * same-host [ADDRESS]: which way data goes between two processes of one host. Those of one user leave TCP, also
 * where one may not read the memory of the other; those of two users do not. In each case large payloads arrive.
 *
 *   softrdma run -- same-host
 *
 * ADDRESS is 127.0.0.1 unless given. What needs root, or what the kernel does not have, is skipped and said so.
 * With PAIR_TCP_ONLY=1 in the environment no case is to leave TCP. PAIR_WAIT_MS: see two-processes.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "echo.h"

/* a user that nobody is */
#define OTHER_USER 12345

static bool
become_other_user(void)
{
	/* it has the descriptors that it needs already */
	return setresgid(OTHER_USER, OTHER_USER, OTHER_USER) == 0 &&
		setresuid(OTHER_USER, OTHER_USER, OTHER_USER) == 0 &&
		/* the change of the user has made it undumpable */
		prctl(PR_SET_DUMPABLE, 1) == 0;
}

/* whom root may trace and whom nobody else may: so it is not root's */
static bool
become_undumpable(void)
{
	return (geteuid() != 0 || become_other_user()) && prctl(PR_SET_DUMPABLE, 0) == 0;
}

/* as the profiles of containers do it */
static bool
forbid_copying(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_process_vm_readv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(*filter), filter};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* goes on in a child; this process waits for it */
static bool
enter_process_name_space(void)
{
	int status;
	pid_t pid;

	if (unshare(CLONE_NEWPID) != 0)
		return false;
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		return true;
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

static const struct condition {
	const char *name;
	/* for the server, and for the client; NULL: nothing; false: it cannot be done here */
	bool (*server)(void);
	bool (*client)(void);
	bool leaves_tcp;
} conditions[] = {
	{"two-of-one-user", NULL, NULL, true},
	{"the-server-is-another-user's", become_other_user, NULL, false},
	{"the-client-is-another-user's", NULL, become_other_user, false},
	{"not-dumpable", become_undumpable, become_undumpable, true},
	{"the-server-may-not-copy", forbid_copying, NULL, true},
	{"neither-may-copy", forbid_copying, forbid_copying, true},
	{"the-server-has-a-process-name-space", enter_process_name_space, NULL, true},
	{"the-client-has-a-process-name-space", NULL, enter_process_name_space, true},
};

static int
work(const char *address, unsigned port)
{
	struct rdma_event_channel *channel = open_channel();
	struct link link;
	char line[16];

	CHECK(echo_connect(&link, channel, address, port));
	report("connected");
	while (listen_to_parent(line, sizeof(line)) && strcmp(line, "quit") != 0) {
		if (strcmp(line, "exchange") == 0) {
			echo_exchange(&link, now_ns());
			report("exchanged");
		} else {
			report("tcp %u", tcp_connections());
		}
	}
	echo_disconnect(&link);
	rdma_destroy_event_channel(channel);

	return 0;
}

static unsigned
tcp_connections_of(struct child *child)
{
	tell(child, "tcp");

	return (unsigned)expect(child, "tcp ");
}

static void
wait_until_it_leaves_tcp(struct child *child, const char *who)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;

	while (tcp_connections_of(child) != 0) {
		if (now_ns() > end)
			die("the %s still uses TCP", who);
		nanosleep(&moment, NULL);
	}
}

/* the first line of a child is this one and a number, or why it cannot do it */
static bool
is_possible(struct child *child, const char *wanted, unsigned *number)
{
	char *line = hear(child);

	if (!line)
		die("waited for \"%s\" in vain", wanted);
	if (strncmp(line, "skipped", strlen("skipped")) == 0) {
		printf("  %s\n", line);
		return false;
	}
	if (strncmp(line, wanted, strlen(wanted)) != 0)
		die("\"%s\" instead of \"%s\"", line, wanted);
	*number = (unsigned)strtoul(line + strlen(wanted), NULL, 10);

	return true;
}

static bool
try_condition(const struct condition *condition, const char *address)
{
	bool leaves_tcp = condition->leaves_tcp && env_number("PAIR_TCP_ONLY", 0) == 0;
	struct child server, client;
	unsigned port, none;
	char role[64];

	printf("%s\n", condition->name);
	snprintf(role, sizeof(role), "server:%s", condition->name);
	server = start(role, address, 0);
	if (!is_possible(&server, "listening ", &port)) {
		finish(&server);
		return false;
	}
	snprintf(role, sizeof(role), "client:%s", condition->name);
	client = start(role, address, port);
	if (!is_possible(&client, "connected", &none)) {
		finish(&client);
		kill_child(&server);
		return false;
	}
	for (int i = 0; i < 2; i++) {
		tell(&client, "exchange");
		expect(&client, "exchanged");
		if (leaves_tcp) {
			wait_until_it_leaves_tcp(&client, "client");
			wait_until_it_leaves_tcp(&server, "server");
		} else {
			CHECK(tcp_connections_of(&client) == 1);
			CHECK(tcp_connections_of(&server) == 1);
		}
	}
	tell(&client, "quit");
	finish(&client);
	finish(&server);

	return true;
}

/* one of both processes */
static int
play(const char *role, const char *address, unsigned port)
{
	bool is_server = strncmp(role, "server:", strlen("server:")) == 0;
	const struct condition *condition = conditions;
	bool (*prepare)(void);

	while (strcmp(condition->name, strchr(role, ':') + 1) != 0)
		condition++;
	prepare = is_server ? condition->server : condition->client;
	if (prepare && !prepare()) {
		report("skipped: the %s cannot do that: %s", is_server ? "server" : "client",
				strerror(errno));
		return 0;
	}

	return is_server ? echo_serve(address) : work(address, port);
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";

	if (argc == 4)
		return play(argv[1], argv[2], (unsigned)atoi(argv[3]));
	skip_without(address);
	for (size_t i = 0; i < sizeof(conditions) / sizeof(*conditions); i++)
		try_condition(&conditions[i], address);

	return 0;
}
