/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * waiting [ADDRESS]: programs that wait for an event of a completion queue. One arms its queue behind a write, and then
 * looks at nothing but the descriptor of its channel. Others wait in ibv_get_cq_event: a message wakes no other thread
 * of theirs, and they may be interrupted, cancelled, left behind by a fork, or not be there when the message comes.
 *
 *   softrdma run -- waiting
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: WAITING_ROUNDS (100), PAIR_WAIT_MS (10000: how long anything
 * may take).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "two-processes.h"

#define DEPTH 16
#define MESSAGE ((size_t)64)

/* messages come through memory that both processes share */
static bool sharing;

static bool
is_set(const char *name, const char *value)
{
	const char *is = getenv(name);

	return is && strcmp(is, value) == 0;
}

static unsigned
rounds(void)
{
	return (unsigned)env_number("WAITING_ROUNDS", 100);
}

static bool
is_readable(const struct link *link, int ms)
{
	struct pollfd readable = {.fd = link->channel->fd, .events = POLLIN};

	return poll(&readable, 1, ms) == 1;
}

static void
arm(struct link *link)
{
	CHECK(ibv_req_notify_cq(link->cq, 0) == 0);
}

static void
take_event(struct link *link)
{
	struct ibv_cq *cq;
	void *context;

	CHECK(ibv_get_cq_event(link->channel, &cq, &context) == 0);
	ibv_ack_cq_events(cq, 1);
}

/* whether the next completion comes within so many milliseconds; the queue need not be armed */
static bool
comes(struct link *link, int ms)
{
	const uint64_t end = now_ns() + (uint64_t)ms * 1000000;
	struct ibv_wc wc;
	int taken;

	while ((taken = ibv_poll_cq(link->cq, 1, &wc)) == 0) {
		if (now_ns() > end)
			return false;
	}
	CHECK(taken == 1 && wc.status == IBV_WC_SUCCESS);
	link->posted--;

	return true;
}

/* --- who arms the queue behind a request, and looks at the descriptor only --- */

/* a thread that was interrupted for so long between two calls has not made one behind the other */
#define AT_ONCE_NS 40000000

static void
post_write(struct link *link)
{
	post(link, IBV_WR_RDMA_WRITE, 0, 0, MESSAGE, 0);
}

/* until the initiator executes writes itself, which shows while the other side is stopped */
static void
until_direct(struct link *link, pid_t server)
{
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
	bool done;

	do {
		int status;

		CHECK(kill(server, SIGSTOP) == 0);
		CHECK(waitpid(server, &status, WUNTRACED) == server && WIFSTOPPED(status));
		post_write(link);
		done = comes(link, 20);
		CHECK(kill(server, SIGCONT) == 0);
		CHECK(done || comes(link, wait_ms()));
		CHECK(now_ns() < end);
	} while (!done);
}

/* the write is executed before the call that posts it returns: the event has to come nevertheless */
static void
arm_behind_a_write(struct link *link)
{
	/* it was armed, and there is an event of that */
	while (is_readable(link, 0))
		take_event(link);
	for (unsigned i = 0; i < rounds(); i++) {
		const uint64_t begun = now_ns();
		bool at_once;

		post_write(link);
		arm(link);
		at_once = now_ns() - begun < AT_ONCE_NS;
		if (at_once && !is_readable(link, wait_ms()))
			die("no event of write %u", i);
		while (is_readable(link, 0))
			take_event(link);
		CHECK(comes(link, wait_ms()));
	}
	/* what was polled before the queue is armed is no event */
	post_write(link);
	CHECK(comes(link, wait_ms()));
	while (is_readable(link, 0))
		take_event(link);
	arm(link);
	CHECK(!is_readable(link, 0));
	post_write(link);
	CHECK(is_readable(link, wait_ms()));
	take_event(link);
	CHECK(comes(link, wait_ms()));
}

/* --- threads that wait in ibv_get_cq_event --- */

#define LINKS 2

/* a thread that waits for one event of a channel */
struct waiter {
	pthread_t thread;
	struct link *link;
	atomic_int tid;
	atomic_int result; /* of the call, or its errno */
};

static sigjmp_buf way_out;
static atomic_uint handled;

static void
on_signal(int signal)
{
	(void)signal;
	handled++;
}

static void
leave(int signal)
{
	(void)signal;
	handled++;
	siglongjmp(way_out, 1);
}

static void
handle(int signal, void (*handler)(int), int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

	CHECK(sigaction(signal, &action, NULL) == 0);
}

static void *
wait_for_event(void *arg)
{
	struct waiter *waiter = arg;
	struct ibv_cq *cq;
	void *context;

	waiter->tid = gettid();
	if (sigsetjmp(way_out, 1)) {
		waiter->result = EINTR;
		return NULL;
	}
	if (ibv_get_cq_event(waiter->link->channel, &cq, &context) != 0) {
		waiter->result = errno;
		return NULL;
	}
	ibv_ack_cq_events(cq, 1);
	arm(waiter->link);
	waiter->result = 0;

	return NULL;
}

/* until the kernel says that the thread sleeps in a system call */
static void
until_it_sleeps(const struct waiter *waiter)
{
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
	char path[64], line[32];
	bool sleeps = false;

	while (waiter->tid == 0)
		CHECK(now_ns() < end);
	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", waiter->tid);
	while (!sleeps) {
		FILE *file = fopen(path, "r");

		if (!file && errno == ENOENT)
			die("a thread does not wait: %d", waiter->result);
		if (!file || !fgets(line, sizeof(line), file))
			skip_because("look at what threads do");
		/* nobody waits without a reason in any other call than these */
		sleeps = atol(line) == SYS_epoll_pwait || atol(line) == SYS_futex;
		fclose(file);
		CHECK(now_ns() < end);
	}
}

static void
begin(struct waiter *waiter, struct link *link)
{
	*waiter = (struct waiter){.link = link, .result = -1};
	CHECK(pthread_create(&waiter->thread, NULL, wait_for_event, waiter) == 0);
	until_it_sleeps(waiter);
}

/* it must end in time; whether it was cancelled */
static bool
ends(struct waiter *waiter)
{
	struct timespec limit;
	void *result;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += wait_ms() / 1000;
	if (pthread_timedjoin_np(waiter->thread, &result, &limit) != 0)
		die("a thread waits for ever");

	return result == PTHREAD_CANCELED;
}

/* how often the library's thread has slept */
static unsigned long
sleeps_of_io_thread(void)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned long sleeps = 0;
	struct dirent *task;

	CHECK(tasks);
	while ((task = readdir(tasks))) {
		char path[300], line[128];
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/status", task->d_name);
		if (!(file = fopen(path, "r")))
			continue;
		CHECK(fgets(line, sizeof(line), file));
		if (strcmp(line, "Name:\tsoftrdma\n") == 0) {
			while (fgets(line, sizeof(line), file))
				if (sscanf(line, "voluntary_ctxt_switches: %lu", &sleeps) == 1)
					break;
		}
		fclose(file);
	}
	closedir(tasks);

	return sleeps;
}

static void
ask_for_message(struct child *server, unsigned link)
{
	char line[16];

	snprintf(line, sizeof(line), "send %u", link);
	tell(server, line);
}

static void
take_message(struct link *link)
{
	CHECK(comes(link, wait_ms()));
	post_receive(link, 0, MESSAGE, MESSAGE);
}

/* a message is there, and its event: none was lost */
static void
finds_message(struct link *link)
{
	CHECK(is_readable(link, wait_ms()));
	take_event(link);
	arm(link);
	take_message(link);
}

static void
one_thread_wakes(struct child *server, struct link *links)
{
	unsigned long before = 0;
	struct waiter waiter;

	/* the descriptors of the first one are made */
	for (unsigned i = 0; i < rounds(); i++) {
		if (i == 1)
			before = sleeps_of_io_thread();
		begin(&waiter, &links[i % LINKS]);
		ask_for_message(server, i % LINKS);
		CHECK(!ends(&waiter) && waiter.result == 0);
		take_message(&links[i % LINKS]);
	}
	before = sleeps_of_io_thread() - before;
	/* it may have something else to do now and then */
	if (before > rounds() / 4 && sharing)
		die("the I/O thread woke %lu times for %u messages", before, rounds());
}

static void
nobody_waits(struct child *server, struct link *links)
{
	for (unsigned i = 0; i < rounds(); i++) {
		ask_for_message(server, i % LINKS);
		finds_message(&links[i % LINKS]);
	}
}

static bool
one_has_ended(const struct waiter waiters[LINKS])
{
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;

	while (waiters[0].result == -1 && waiters[1].result == -1) {
		if (now_ns() > end)
			return false;
	}

	return true;
}

static void
two_wait(struct child *server, struct link *links)
{
	for (unsigned i = 0; i < rounds() / 4; i++) {
		struct waiter waiters[LINKS];

		begin(&waiters[0], &links[0]);
		/* for the same channel, or another one of the same peer */
		begin(&waiters[1], &links[i % LINKS]);
		ask_for_message(server, 0);
		if (i % LINKS == 0) {
			/* the queue is armed again by then */
			CHECK(one_has_ended(waiters));
			take_message(&links[0]);
		}
		ask_for_message(server, i % LINKS);
		CHECK(!ends(&waiters[0]) && !ends(&waiters[1]));
		CHECK(waiters[0].result == 0 && waiters[1].result == 0);
		take_message(&links[i % LINKS]);
		if (i % LINKS != 0)
			take_message(&links[0]);
	}
}

static void
some_are_cancelled(struct child *server, struct link *links)
{
	struct random chance = {.state = 4711};

	for (unsigned i = 0; i < rounds(); i++) {
		struct waiter waiter;
		uint64_t until;

		begin(&waiter, &links[0]);
		ask_for_message(server, i % LINKS);
		until = now_ns() + next_random(&chance) % 100000;
		while (now_ns() < until)
			;
		pthread_cancel(waiter.thread);
		/* that of the other link is nothing that the thread waits for, though it may have woken for it */
		if (ends(&waiter) || waiter.result != 0)
			finds_message(&links[i % LINKS]);
		else
			take_message(&links[0]);
	}
}

/* every event is there by the time that the thread asks for it: the call is a cancellation point nevertheless */
static void *
take_events_for_ever(void *arg)
{
	struct link *link = arg;

	for (;;) {
		int before;

		CHECK(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before) == 0);
		post_write(link);
		CHECK(comes(link, wait_ms()));
		post_write(link);
		arm(link);
		CHECK(comes(link, wait_ms()));
		CHECK(pthread_setcancelstate(before, NULL) == 0);
		take_event(link);
	}

	return NULL;
}

static void
one_is_cancelled_that_never_sleeps(struct link *links)
{
	struct waiter waiter = {.link = &links[0], .result = -1};

	CHECK(pthread_create(&waiter.thread, NULL, take_events_for_ever, &links[0]) == 0);
	usleep(1000);
	pthread_cancel(waiter.thread);
	CHECK(ends(&waiter));
	/* it may have ended before it took one */
	while (is_readable(&links[0], 0))
		take_event(&links[0]);
	arm(&links[0]);
}

static void
some_are_interrupted(struct child *server, struct link *links)
{
	for (unsigned i = 0; i < 3 * rounds() / 4; i++) {
		const unsigned before = handled;
		struct waiter waiter;
		const int how = (int)i % 3;
		bool at_once;

		handle(SIGUSR1, how == 2 ? leave : on_signal, how == 0 ? SA_RESTART : 0);
		begin(&waiter, &links[0]);
		CHECK(pthread_kill(waiter.thread, SIGUSR1) == 0);
		if (how == 0) {
			/* it goes on */
			while (handled == before)
				usleep(100);
			until_it_sleeps(&waiter);
			CHECK(waiter.result == -1);
			ask_for_message(server, 0);
			CHECK(!ends(&waiter) && waiter.result == 0);
			take_message(&links[0]);
			continue;
		}
		/* an event that a thread has got is lost when its handler leaves */
		at_once = i % 2 && (sharing || how == 1);
		if (at_once)
			ask_for_message(server, 0);
		CHECK(!ends(&waiter) && handled == before + 1);
		if (!at_once)
			ask_for_message(server, 0);
		if (waiter.result == 0) {
			/* the message was first */
			take_message(&links[0]);
			continue;
		}
		CHECK(waiter.result == EINTR);
		finds_message(&links[0]);
	}
	handle(SIGUSR1, SIG_DFL, 0);
}

/* the handler runs while the thread looks at what has come for another link: it is interrupted nevertheless */
static void
some_are_interrupted_at_work(struct child *server, struct link *links)
{
	struct random chance = {.state = 815};

	handle(SIGUSR1, on_signal, 0);
	for (unsigned i = 0; i < rounds(); i++) {
		const unsigned before = handled;
		struct waiter waiter;
		uint64_t until;

		begin(&waiter, &links[0]);
		ask_for_message(server, 1);
		until = now_ns() + next_random(&chance) % 100000;
		while (now_ns() < until)
			;
		CHECK(pthread_kill(waiter.thread, SIGUSR1) == 0);
		CHECK(!ends(&waiter) && handled == before + 1 && waiter.result == EINTR);
		finds_message(&links[1]);
	}
	handle(SIGUSR1, SIG_DFL, 0);
}

static void
one_forks(struct child *server, struct link *links)
{
	for (unsigned i = 0; i < 10; i++) {
		struct waiter waiter;
		pid_t pid;

		begin(&waiter, &links[0]);
		pid = fork_or_die();
		if (pid == 0)
			_exit(0);
		if (i % 2)
			wait_for_exit(pid);
		ask_for_message(server, 0);
		CHECK(!ends(&waiter) && waiter.result == 0);
		take_message(&links[0]);
		if (i % 2 == 0)
			wait_for_exit(pid);
	}
}

/* the child goes on with the connections; the parent, which finds that out, must not be woken in its place */
static void
child_goes_on(struct child *server, struct link *links)
{
	int taken[2], told[2];
	struct ibv_wc wc;
	char byte = 0;
	pid_t pid;

	CHECK(pipe(taken) == 0 && pipe(told) == 0);
	pid = fork_or_die();
	if (pid == 0) {
		ask_for_message(server, 0);
		take_message(&links[0]);
		while (is_readable(&links[0], 0))
			take_event(&links[0]);
		arm(&links[0]);
		CHECK(write(taken[1], &byte, 1) == 1 && read(told[0], &byte, 1) == 1);
		for (unsigned i = 0; i < 20; i++) {
			struct waiter waiter;

			begin(&waiter, &links[0]);
			ask_for_message(server, 0);
			CHECK(!ends(&waiter) && waiter.result == 0);
			take_message(&links[0]);
			ask_for_message(server, 0);
			finds_message(&links[0]);
		}
		_exit(0);
	}
	CHECK(read(taken[0], &byte, 1) == 1);
	while (ibv_poll_cq(links[0].cq, 1, &wc) > 0)
		;
	CHECK(write(told[1], &byte, 1) == 1);
	wait_for_exit(pid);
	for (int i = 0; i < 2; i++)
		CHECK(close(taken[i]) == 0 && close(told[i]) == 0);
}

static void
block(struct link *link)
{
	CHECK(fcntl(link->channel->fd, F_SETFL, fcntl(link->channel->fd, F_GETFL) & ~O_NONBLOCK) == 0);
}

static void
wait_for_messages(struct child *server, struct link *links)
{
	for (unsigned i = 0; i < LINKS; i++) {
		while (is_readable(&links[i], 0))
			take_event(&links[i]);
		block(&links[i]);
		arm(&links[i]);
		post_receive(&links[i], 0, MESSAGE, MESSAGE);
	}
	one_thread_wakes(server, links);
	nobody_waits(server, links);
	two_wait(server, links);
	some_are_cancelled(server, links);
	one_is_cancelled_that_never_sleeps(links);
	some_are_interrupted(server, links);
	some_are_interrupted_at_work(server, links);
	one_forks(server, links);
	one_thread_wakes(server, links);
	child_goes_on(server, links);
}

/* --- the other side --- */

static int
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, LINKS);
	struct link links[LINKS];
	char line[16];
	unsigned n;

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	for (unsigned i = 0; i < LINKS; i++) {
		link_open(&links[i], await_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST), 2 * MESSAGE, DEPTH);
		accept_link(&links[i]);
		await_event(channel, RDMA_CM_EVENT_ESTABLISHED);
	}
	/* however long that takes */
	while (listen_to_parent(line, sizeof(line)) && sscanf(line, "send %u", &n) == 1 && n < LINKS) {
		post(&links[n], IBV_WR_SEND, 0, 0, MESSAGE, 0);
		CHECK(comes(&links[n], wait_ms()));
	}
	for (unsigned i = 0; i < LINKS; i++)
		await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	for (unsigned i = 0; i < LINKS; i++) {
		rdma_disconnect(links[i].id);
		link_close(&links[i]);
	}
	close_server(channel, listener);

	return 0;
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	struct rdma_event_channel *channel;
	struct link links[LINKS];
	struct child server;
	unsigned port;

	if (argc > 2)
		return serve(argv[2]);
	skip_without(address);
	server = start("server", address, 0);
	port = (unsigned)expect(&server, "listening ");
	channel = open_channel();
	for (unsigned i = 0; i < LINKS; i++)
		CHECK(connect_link(&links[i], channel, address, port, 2 * MESSAGE, DEPTH));
	sharing = !is_set("SOFTRDMA_SOCKET_ONLY", "1");
	if (sharing && !is_set("SOFTRDMA_DIRECT", "0")) {
		until_direct(&links[0], server.pid);
		arm_behind_a_write(&links[0]);
	}
	wait_for_messages(&server, links);
	tell(&server, "done");
	for (unsigned i = 0; i < LINKS; i++) {
		rdma_disconnect(links[i].id);
		link_close(&links[i]);
	}
	rdma_destroy_event_channel(channel);
	release_pd();
	finish(&server);
	printf("%u rounds of each\n", rounds());

	return 0;
}
