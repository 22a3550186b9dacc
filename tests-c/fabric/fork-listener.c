/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork-listener [ADDRESS]: a server that forks after it has begun to listen. One of the two processes goes on: the
 * child of a daemon or of a parent that only waits for it, or the parent of a child that does something else.
 *
 *   softrdma run -- fork-listener
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: PAIR_WAIT_MS (see two-processes.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "two-processes.h"

/* as much as two processes of one host do not send with the frames */
#define SIZE ((size_t)256 * 1024)
#define DEPTH 8

static const char *address = "127.0.0.1";

/* --- a client, in a process of its own --- */

/* reads what the server has, gives it back, and hears of the end */
static int
client(unsigned port)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_event *event;
	struct link link;

	if (!connect_link(&link, channel, address, port, 2 * SIZE, DEPTH))
		die("not connected");
	report("connected");
	post(&link, IBV_WR_RDMA_READ, 1, 0, SIZE, 0);
	complete(&link);
	post(&link, IBV_WR_RDMA_WRITE, 2, 0, SIZE, SIZE);
	complete(&link);
	post_receive(&link, 3, 0, 8);
	post(&link, IBV_WR_SEND, 4, 0, 8, 0);
	complete(&link);
	complete(&link);
	report("exchanged");
	event = next_event(channel, wait_ms());
	if (!event || event->event != RDMA_CM_EVENT_DISCONNECTED)
		die("%s", event_name(event));
	CHECK(rdma_ack_cm_event(event) == 0);
	report("disconnected");
	link_close(&link);
	rdma_destroy_event_channel(channel);
	release_pd();

	return 0;
}

static struct child
start_client(unsigned port)
{
	return start("client", address, port);
}

static void
finish_client(struct child *child)
{
	expect(child, "connected");
	expect(child, "exchanged");
	expect(child, "disconnected");
	finish(child);
}

/* --- a server --- */

static struct rdma_event_channel *server_channel;
static struct rdma_cm_id *listener;
static unsigned port;

static void
begin(void)
{
	server_channel = open_channel();
	listener = listen_at(server_channel, address, 0, 8);
	port = ntohs(rdma_get_src_port(listener));
}

/* serves one client, whose request this is and whom it tells of the end */
static void
serve_request(struct rdma_cm_event *event)
{
	uint64_t seed = (uint64_t)getpid();
	struct link link;

	link_open(&link, event->id, 2 * SIZE, DEPTH);
	CHECK(rdma_ack_cm_event(event) == 0);
	fill(link.memory, SIZE, seed);
	post_receive(&link, 1, 0, 8);
	accept_link(&link);
	await_event(server_channel, RDMA_CM_EVENT_ESTABLISHED);
	complete(&link);
	post(&link, IBV_WR_SEND, 2, 0, 8, 0);
	complete(&link);
	CHECK(memcmp(link.memory, link.memory + SIZE, SIZE) == 0);
	CHECK(rdma_disconnect(link.id) == 0);
	await_event(server_channel, RDMA_CM_EVENT_DISCONNECTED);
	link_close(&link);
}

static void
serve(void)
{
	serve_request(expected_event(server_channel, RDMA_CM_EVENT_CONNECT_REQUEST));
}

static void
end(void)
{
	CHECK(rdma_destroy_id(listener) == 0);
	rdma_destroy_event_channel(server_channel);
	release_pd();
}

/* --- cases; each is a process that nothing has used before --- */

/* the parent does nothing but wait for the child */
static void
child_serves(void)
{
	struct child clients[2];
	pid_t pid;

	begin();
	pid = fork_or_die();
	if (pid == 0) {
		for (int i = 0; i < 2; i++) {
			clients[i] = start_client(port);
			serve();
			finish_client(&clients[i]);
		}
		end();
		exit(0);
	}
	wait_for_exit(pid);
}

static void *
wait_for_event(void *argument)
{
	struct rdma_cm_event *event;

	(void)argument;
	/* blocking: it never returns */
	rdma_get_cm_event(server_channel, &event);

	return NULL;
}

/* a thread that waited for an event, and was cancelled, waits no more */
static void
waiting_thread_cancelled(void)
{
	pthread_t thread;
	void *ended;

	server_channel = open_channel();
	listener = listen_at(server_channel, address, 0, 8);
	CHECK(pthread_create(&thread, NULL, wait_for_event, NULL) == 0);
	/* whether it waits by now or not, the cancellation comes in the wait */
	poll(NULL, 0, 20);
	CHECK(pthread_cancel(thread) == 0);
	CHECK(pthread_join(thread, &ended) == 0);
	CHECK(ended == PTHREAD_CANCELED);
	CHECK(rdma_destroy_id(listener) == 0);
	rdma_destroy_event_channel(server_channel);
	child_serves();
}

/* the client has come before the child waits for it, which it does without another call */
static void
child_only_polls(void)
{
	struct child comes;
	pid_t pid;

	begin();
	pid = fork_or_die();
	if (pid == 0) {
		serve();
		end();
		exit(0);
	}
	comes = start_client(port);
	finish_client(&comes);
	wait_for_exit(pid);
}

/* as daemons do it: the parent is gone. Says on which port it listens, and serves one client */
static int
daemon_server(void)
{
	begin();
	CHECK(daemon(1, 1) == 0);
	report("listening %u", port);
	serve();
	end();
	report("served");

	return 0;
}

/* twice, so that it is no session's leader; the first parent ends by exit() */
static int
double_fork_server(void)
{
	begin();
	if (fork_or_die() != 0)
		exit(0);
	CHECK(setsid() > 0);
	if (fork_or_die() != 0)
		_exit(0);
	report("listening %u", port);
	serve();
	end();
	report("served");

	return 0;
}

/* it has an event loop before it becomes a daemon */
static int
event_loop_server(void)
{
	struct epoll_event wanted = {.events = EPOLLIN}, seen;
	struct rdma_cm_event *event;
	int set = epoll_create1(EPOLL_CLOEXEC), flags;

	begin();
	flags = fcntl(server_channel->fd, F_GETFL);
	CHECK(fcntl(server_channel->fd, F_SETFL, flags | O_NONBLOCK) == 0);
	CHECK(epoll_ctl(set, EPOLL_CTL_ADD, server_channel->fd, &wanted) == 0);
	CHECK(daemon(1, 1) == 0);
	report("listening %u", port);
	do {
		CHECK(epoll_wait(set, &seen, 1, wait_ms()) == 1);
		errno = 0;
	} while (rdma_get_cm_event(server_channel, &event) != 0 && errno == EAGAIN);
	CHECK(errno == 0 && event->event == RDMA_CM_EVENT_CONNECT_REQUEST);
	serve_request(event);
	/* it does not go on being ready for nothing */
	for (int i = 0; epoll_wait(set, &seen, 1, 0) == 1; i++)
		CHECK(i < 3 && rdma_get_cm_event(server_channel, &event) == -1 && errno == EAGAIN);
	end();
	close(set);
	report("served");

	return 0;
}

static void
daemon_serves(const char *role)
{
	struct child server = start(role, address, 0);
	struct child comes;
	unsigned at;

	at = (unsigned)expect(&server, "listening ");
	/* the parent is gone */
	wait_for_exit(server.pid);
	comes = start_client(at);
	finish_client(&comes);
	expect(&server, "served");
	fclose(server.in);
	close(server.out);
}

/* the child uses nothing, and lives on; the parent only waits for events */
static void
parent_serves(bool child_lives)
{
	struct child comes;
	int alive[2];
	pid_t pid;
	char byte;

	begin();
	CHECK(pipe(alive) == 0);
	pid = fork_or_die();
	if (pid == 0) {
		close(alive[1]);
		if (child_lives)
			CHECK(read(alive[0], &byte, 1) == 0);
		_exit(0);
	}
	close(alive[0]);
	comes = start_client(port);
	serve();
	finish_client(&comes);
	close(alive[1]);
	wait_for_exit(pid);
	end();
}

/* a child that comes too late is told so */
static void
child_comes_too_late(void)
{
	struct rdma_cm_event *event;
	struct child comes;
	int go[2];
	pid_t pid;
	char byte;

	begin();
	CHECK(pipe(go) == 0);
	pid = fork_or_die();
	if (pid == 0) {
		close(go[1]);
		CHECK(read(go[0], &byte, 1) == 0);
		/* the second time as well */
		for (int i = 0; i < 2; i++) {
			errno = 0;
			CHECK(rdma_get_cm_event(server_channel, &event) == -1);
			CHECK(errno == ENODEV);
		}
		_exit(0);
	}
	close(go[0]);
	comes = start_client(port);
	serve();
	finish_client(&comes);
	close(go[1]);
	wait_for_exit(pid);
	comes = start_client(port);
	serve();
	finish_client(&comes);
	end();
}

/* several children, of which one serves */
static void
one_of_several(void)
{
	struct child comes;
	int alive[2];
	pid_t pids[3];
	char byte;

	begin();
	CHECK(pipe(alive) == 0);
	for (int i = 0; i < 3; i++) {
		pids[i] = fork_or_die();
		if (pids[i] != 0)
			continue;
		close(alive[1]);
		if (i == 1) {
			comes = start_client(port);
			serve();
			finish_client(&comes);
			end();
		} else {
			CHECK(read(alive[0], &byte, 1) == 0);
		}
		_exit(0);
	}
	close(alive[0]);
	wait_for_exit(pids[1]);
	close(alive[1]);
	wait_for_exit(pids[0]);
	wait_for_exit(pids[2]);
}

/* the parent serves a client, then its child the next one, then a grandchild */
static void
generations(int left)
{
	struct child comes = start_client(port);
	pid_t pid;

	serve();
	finish_client(&comes);
	if (left == 0) {
		end();
		return;
	}
	pid = fork_or_die();
	if (pid == 0) {
		generations(left - 1);
		_exit(0);
	}
	wait_for_exit(pid);
}

/* has a child that uses nothing, and goes on itself */
static int
killed_server(void)
{
	struct rdma_cm_id *id;
	pid_t pid;

	begin();
	pid = fork_or_die();
	if (pid == 0)
		pause();
	CHECK(rdma_create_id(server_channel, &id, NULL, RDMA_PS_TCP) == 0);
	report("child %d", (int)pid);
	report("listening %u", port);
	pause();

	return 1;
}

/* the child of a server that is killed does not keep its port */
static void
killed_parent(void)
{
	struct child server = start("killed", address, 0);
	uint64_t end_of_wait = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct sockaddr_storage parsed;
	struct rdma_cm_id *id;
	pid_t idle;

	server_channel = open_channel();
	idle = (pid_t)expect(&server, "child ");
	port = (unsigned)expect(&server, "listening ");
	CHECK(kill(server.pid, SIGKILL) == 0);
	CHECK(waitpid(server.pid, NULL, 0) == server.pid);
	parse_address(&parsed, address, port);
	CHECK(rdma_create_id(server_channel, &id, NULL, RDMA_PS_TCP) == 0);
	/* the child may not have run yet */
	while (rdma_bind_addr(id, (struct sockaddr *)&parsed) != 0) {
		CHECK(errno == EADDRINUSE && now_ns() < end_of_wait);
		poll(NULL, 0, 1);
	}
	CHECK(rdma_listen(id, 1) == 0);
	CHECK(rdma_destroy_id(id) == 0);
	rdma_destroy_event_channel(server_channel);
	CHECK(kill(idle, SIGKILL) == 0);
	fclose(server.in);
	close(server.out);
}

static int
run(const char *name)
{
	signal(SIGPIPE, SIG_IGN);
	if (strcmp(name, "client") == 0)
		return client(port);
	if (strcmp(name, "daemon") == 0)
		return daemon_server();
	if (strcmp(name, "double-fork") == 0)
		return double_fork_server();
	if (strcmp(name, "event-loop") == 0)
		return event_loop_server();
	if (strcmp(name, "killed") == 0)
		return killed_server();
	if (strcmp(name, "child-serves") == 0)
		child_serves();
	else if (strcmp(name, "waiting-thread-cancelled") == 0)
		waiting_thread_cancelled();
	else if (strcmp(name, "child-only-polls") == 0)
		child_only_polls();
	else if (strcmp(name, "daemon-serves") == 0)
		daemon_serves("daemon");
	else if (strcmp(name, "double-fork-serves") == 0)
		daemon_serves("double-fork");
	else if (strcmp(name, "event-loop-serves") == 0)
		daemon_serves("event-loop");
	else if (strcmp(name, "parent-serves-child-ends") == 0)
		parent_serves(false);
	else if (strcmp(name, "parent-serves-child-lives") == 0)
		parent_serves(true);
	else if (strcmp(name, "child-comes-too-late") == 0)
		child_comes_too_late();
	else if (strcmp(name, "one-of-several") == 0)
		one_of_several();
	else if (strcmp(name, "killed-parent") == 0)
		killed_parent();
	else if (strcmp(name, "generations") == 0) {
		begin();
		generations(2);
	} else
		die("no case %s", name);

	return 0;
}

int
main(int argc, char *argv[])
{
	static const char *const cases[] = {"child-serves", "waiting-thread-cancelled", "child-only-polls", "daemon-serves",
		"double-fork-serves", "event-loop-serves", "parent-serves-child-ends", "parent-serves-child-lives",
		"child-comes-too-late", "one-of-several", "generations", "killed-parent"};

	if (argc == 4) { /* a process that start() has made */
		address = argv[2];
		port = (unsigned)atoi(argv[3]);
		return run(argv[1]);
	}
	if (argc > 1)
		address = argv[1];
	skip_without(address);
	run_cases(cases, sizeof(cases) / sizeof(cases[0]), address);

	return 0;
}
