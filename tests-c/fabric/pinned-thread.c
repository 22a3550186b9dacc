/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinned-thread [ADDRESS]: a thread that polls on a CPU of its own, with real-time policy if that is permitted, is
 * the first to need softrdma's I/O thread. That one must have the attributes of the process instead, or it would
 * never run.
 *
 *   softrdma run -- pinned-thread
 *
 * ADDRESS is 127.0.0.1 unless given.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "two-processes.h"

#define SLACK_NS 1000000000UL

static const char *address = "127.0.0.1";
static bool has_real_time, may_lower_nice;

/* makes the calling thread's attributes its own */
static void
become_special(void)
{
	pid_t self = (pid_t)syscall(SYS_gettid);
	struct sched_param param = {0};
	int policy = SCHED_FIFO;
	cpu_set_t allowed, one;
	sigset_t some;

	/* whether one may have better than what one has */
	CHECK(setpriority(PRIO_PROCESS, (id_t)self, 7) == 0);
	may_lower_nice = setpriority(PRIO_PROCESS, (id_t)self, 6) == 0;

	CHECK(sched_getaffinity(0, sizeof(allowed), &allowed) == 0);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &allowed)) {
			CPU_SET(cpu, &one);
			break;
		}
	}
	CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
	CHECK(prctl(PR_SET_TIMERSLACK, SLACK_NS) == 0);
	sigemptyset(&some);
	sigaddset(&some, SIGSEGV);
	sigaddset(&some, SIGBUS);
	CHECK(pthread_sigmask(SIG_BLOCK, &some, NULL) == 0);
	/* with one CPU only, it would keep everybody from running */
	param.sched_priority = 1;
	has_real_time = CPU_COUNT(&allowed) > 1 && sched_setscheduler(0, policy, &param) == 0;
	if (!has_real_time) {
		param.sched_priority = 0;
		CHECK(sched_setscheduler(0, SCHED_BATCH, &param) == 0);
	}
}

/* without ever sleeping */
static struct rdma_cm_event *
spin_for_event(struct rdma_event_channel *channel, enum rdma_cm_event_type type)
{
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct rdma_cm_event *event;

	while (rdma_get_cm_event(channel, &event) != 0) {
		CHECK(errno == EAGAIN);
		if (now_ns() > limit)
			die("event %d did not come", (int)type);
	}
	CHECK(event->event == type);

	return event;
}

static void *
poll_on_own_cpu(void *arg)
{
	struct rdma_conn_param param = conn_param(NULL, 0);
	struct rdma_event_channel *channel;
	struct rdma_cm_id *listener, *id, *request;
	struct sockaddr_storage there;
	struct rdma_cm_event *event;

	(void)arg;
	become_special();
	CHECK((channel = rdma_create_event_channel()));
	CHECK(fcntl(channel->fd, F_SETFL, O_NONBLOCK) == 0);
	listener = listen_at(channel, address, 0, 1);
	parse_address(&there, address, ntohs(rdma_get_src_port(listener)));
	CHECK(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) == 0);
	CHECK(rdma_resolve_addr(id, NULL, (struct sockaddr *)&there, wait_ms()) == 0);
	CHECK(rdma_ack_cm_event(spin_for_event(channel, RDMA_CM_EVENT_ADDR_RESOLVED)) == 0);
	CHECK(rdma_resolve_route(id, wait_ms()) == 0);
	CHECK(rdma_ack_cm_event(spin_for_event(channel, RDMA_CM_EVENT_ROUTE_RESOLVED)) == 0);
	CHECK(rdma_connect(id, &param) == 0);
	event = spin_for_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST);
	request = event->id;
	CHECK(rdma_ack_cm_event(event) == 0);
	CHECK(rdma_reject(request, NULL, 0) == 0);
	CHECK(rdma_destroy_id(request) == 0);
	CHECK(rdma_ack_cm_event(spin_for_event(channel, RDMA_CM_EVENT_REJECTED)) == 0);
	CHECK(rdma_destroy_id(id) == 0);
	CHECK(rdma_destroy_id(listener) == 0);
	rdma_destroy_event_channel(channel);

	return NULL;
}

/* a line of a thread's status, behind its name */
static void
status_of(pid_t thread, const char *name, char *value, size_t size)
{
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", thread);
	CHECK((file = fopen(path, "r")));
	value[0] = '\0';
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, name, strlen(name)) == 0)
			snprintf(value, size, "%s", line + strlen(name));
	}
	fclose(file);
}

static pid_t
find_io_thread(void)
{
	DIR *tasks = opendir("/proc/self/task");
	pid_t found = 0;
	struct dirent *entry;
	char name[64];

	CHECK(tasks);
	while ((entry = readdir(tasks))) {
		pid_t thread = (pid_t)atoi(entry->d_name);

		if (thread <= 0)
			continue;
		status_of(thread, "Name:\t", name, sizeof(name));
		if (thread != getpid() && strcmp(name, "softrdma") == 0)
			found = thread;
	}
	closedir(tasks);

	return found;
}

/* the time slice of a thread, in nanoseconds; 0 from a kernel that has one for all */
static uint64_t
slice_of(pid_t thread)
{
	/* struct sched_attr in its first form */
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} attr = {0};

	CHECK(syscall(SYS_sched_getattr, thread, &attr, sizeof(attr), 0) == 0);

	return attr.runtime;
}

static void
check_io_thread(pid_t thread)
{
	static const int synchronous[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
	cpu_set_t cpus, of_process;
	uint64_t blocked, wanted = 0;
	char text[64];
	FILE *slack;

	CHECK(sched_getscheduler(thread) == SCHED_OTHER);
	/* who waits for it does not wait until a thread that polls has used up its time */
	CHECK(slice_of(getpid()) == 0 || slice_of(thread) < slice_of(getpid()));
	CHECK(sched_getaffinity(thread, sizeof(cpus), &cpus) == 0);
	CHECK(sched_getaffinity(getpid(), sizeof(of_process), &of_process) == 0);
	CHECK(CPU_EQUAL(&cpus, &of_process));
	if (may_lower_nice)
		CHECK(getpriority(PRIO_PROCESS, (id_t)thread) == getpriority(PRIO_PROCESS, 0));
	status_of(thread, "SigBlk:\t", text, sizeof(text));
	blocked = strtoull(text, NULL, 16);
	for (int signal = 1; signal < 32; signal++)
		wanted |= UINT64_C(1) << (signal - 1);
	wanted &= ~(UINT64_C(1) << (SIGKILL - 1) | UINT64_C(1) << (SIGSTOP - 1));
	for (size_t i = 0; i < sizeof(synchronous) / sizeof(synchronous[0]); i++)
		wanted &= ~(UINT64_C(1) << (synchronous[i] - 1));
	CHECK((blocked & UINT64_C(0x7fffffff)) == wanted);
	snprintf(text, sizeof(text), "/proc/%d/timerslack_ns", thread);
	slack = fopen(text, "r");
	/* it may be forbidden to read it */
	if (slack && fgets(text, sizeof(text), slack))
		CHECK(strtoull(text, NULL, 10) != SLACK_NS);
	if (slack)
		fclose(slack);
}

int
main(int argc, char *argv[])
{
	pthread_t poller;
	pid_t thread;

	if (argc > 1)
		address = argv[1];
	skip_without(address);
	CHECK(pthread_create(&poller, NULL, poll_on_own_cpu, NULL) == 0);
	CHECK(pthread_join(poller, NULL) == 0);
	thread = find_io_thread();
	if (thread == 0)
		die("there is no thread of the name softrdma");
	check_io_thread(thread);
	printf("the I/O thread has the attributes of the process, not those of its maker%s%s\n",
			has_real_time ? "" : " (real-time policy: not permitted here)",
			may_lower_nice ? "" : " (nice value: not permitted here)");

	return 0;
}
