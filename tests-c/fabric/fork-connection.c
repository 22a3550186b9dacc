/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork-connection [ADDRESS]: processes that fork when they have a connection. One of the two goes on with it; for
 * the peer nothing has changed. And processes that fork when they have a device, and memory that is registered.
 *
 *   softrdma run -- fork-connection
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: PAIR_WAIT_MS (see two-processes.h).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "two-processes.h"

/* as much as two processes of one host do not send with the frames */
#define SIZE ((size_t)256 * 1024)
#define DEPTH 8

/* so many connections the peer may have */
#define MOST 16

static const char *address = "127.0.0.1";
static unsigned port;

/* --- the peer, in a process of its own: answers each message with what the client has written --- */

static int
peer(void)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 8);
	struct rdma_cm_event *event;
	struct link links[MOST];
	int count = 0, ended = 0, wanted = 1;

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	if (port)
		wanted = (int)port;
	while (ended < wanted) {
		struct pollfd fds[MOST + 1] = {{.fd = channel->fd, .events = POLLIN}};

		for (int i = 0; i < count; i++)
			fds[i + 1] = (struct pollfd){.fd = links[i].channel->fd, .events = POLLIN};
		if (poll(fds, (nfds_t)count + 1, wait_ms()) <= 0)
			die("the peer waits in vain: %d connections, %d ended", count, ended);
		for (int i = 0; i < count; i++) {
			struct ibv_wc wc;

			while (drain(&links[i], &wc) > 0) {
				if (wc.status != IBV_WC_SUCCESS || wc.opcode != IBV_WC_RECV)
					continue;
				memcpy(links[i].memory + SIZE, links[i].memory, SIZE);
				post_receive(&links[i], 1, 2 * SIZE, 8);
				post(&links[i], IBV_WR_SEND, 2, SIZE, SIZE, 0);
			}
		}
		if (!(fds[0].revents & POLLIN))
			continue;
		CHECK(rdma_get_cm_event(channel, &event) == 0);
		if (event->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
			CHECK(count < MOST);
			link_open(&links[count], event->id, 3 * SIZE, DEPTH);
			post_receive(&links[count], 1, 2 * SIZE, 8);
			accept_link(&links[count]);
			count++;
		} else if (event->event == RDMA_CM_EVENT_DISCONNECTED) {
			CHECK(rdma_disconnect(event->id) == 0);
			ended++;
			report("ended");
		} else {
			if (event->event != RDMA_CM_EVENT_ESTABLISHED &&
					event->event != RDMA_CM_EVENT_TIMEWAIT_EXIT)
				die("the peer has %s (%d)", event_name(event), event->status);
		}
		CHECK(rdma_ack_cm_event(event) == 0);
	}
	for (int i = 0; i < count; i++)
		link_close(&links[i]);
	CHECK(rdma_destroy_id(listener) == 0);
	rdma_destroy_event_channel(channel);
	release_pd();

	return 0;
}

static struct child
start_peer(unsigned connections)
{
	struct child child = start("peer", address, connections);

	port = (unsigned)expect(&child, "listening ");

	return child;
}

/* --- the client --- */

static struct rdma_event_channel *channel;
static struct link link_;

static void
connect_one(void)
{
	channel = open_channel();
	if (!connect_link(&link_, channel, address, port, 2 * SIZE, DEPTH))
		die("not connected");
}

/* writes what is this process's alone, and gets it back; both in one piece and read by the peer */
static void
exchange(int rounds)
{
	struct ibv_wc wc;

	for (int i = 0; i < rounds; i++) {
		fill(link_.memory, SIZE, (uint64_t)getpid() + (uint64_t)i);
		memset(link_.memory + SIZE, 0, SIZE);
		post_receive(&link_, 1, SIZE, SIZE);
		post(&link_, IBV_WR_RDMA_WRITE, 2, 0, SIZE, 0);
		post(&link_, IBV_WR_SEND, 3, 0, 8, 0);
		for (int n = 0; n < 3; n++) {
			wc = complete(&link_);
			CHECK(wc.wr_id >= 1 && wc.wr_id <= 3);
		}
		CHECK(memcmp(link_.memory, link_.memory + SIZE, SIZE) == 0);
		memset(link_.memory + SIZE, 0, SIZE);
		post(&link_, IBV_WR_RDMA_READ, 4, SIZE, SIZE, 0);
		complete(&link_);
		CHECK(memcmp(link_.memory, link_.memory + SIZE, SIZE) == 0);
	}
}

/* of a connection that has ended for this process */
static void
complete_with_error(void)
{
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_wc wc;

	while (drain(&link_, &wc) == 0) {
		if (now_ns() > limit)
			die("no completion in %d ms", wait_ms());
	}
	CHECK(wc.status != IBV_WC_SUCCESS);
}

static void
disconnect(void)
{
	CHECK(rdma_disconnect(link_.id) == 0);
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	link_close(&link_);
	rdma_destroy_event_channel(channel);
	release_pd();
}

/* --- cases; each is a process that nothing has used before --- */

static void
child_goes_on(int rounds_before)
{
	struct child other = start_peer(1);
	pid_t pid;

	connect_one();
	exchange(rounds_before);
	pid = fork_or_die();
	if (pid == 0) {
		exchange(3);
		disconnect();
		exit(0);
	}
	wait_for_exit(pid);
	expect(&other, "ended");
	finish(&other);
}

/* reports, since its parent is gone */
static int
daemon_client(void)
{
	connect_one();
	exchange(1);
	CHECK(daemon(1, 1) == 0);
	exchange(3);
	disconnect();
	report("done");

	return 0;
}

static void
daemon_goes_on(void)
{
	struct child other = start_peer(1);
	struct child client = start("daemon-client", address, port);

	wait_for_exit(client.pid);
	expect(&client, "done");
	expect(&other, "ended");
	finish(&other);
}

/* the child lives, and uses nothing; it does not keep the connection */
static void
parent_goes_on(void)
{
	struct child other = start_peer(1);
	int alive[2];
	pid_t pid;
	char byte;

	connect_one();
	exchange(1);
	CHECK(pipe(alive) == 0);
	pid = fork_or_die();
	if (pid == 0) {
		close(alive[1]);
		CHECK(read(alive[0], &byte, 1) == 0);
		_exit(0);
	}
	close(alive[0]);
	exchange(3);
	disconnect();
	expect(&other, "ended");
	finish(&other);
	close(alive[1]);
	wait_for_exit(pid);
}

/* the parent has gone on: for the child that comes too late, the connection has ended */
static void
child_comes_too_late(void)
{
	struct child other = start_peer(1);
	int go[2];
	pid_t pid;
	char byte;

	connect_one();
	CHECK(pipe(go) == 0);
	pid = fork_or_die();
	if (pid == 0) {
		close(go[1]);
		CHECK(read(go[0], &byte, 1) == 0);
		post(&link_, IBV_WR_RDMA_WRITE, 1, 0, SIZE, 0);
		complete_with_error();
		await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
		_exit(0);
	}
	close(go[0]);
	exchange(2);
	close(go[1]);
	wait_for_exit(pid);
	exchange(2);
	disconnect();
	expect(&other, "ended");
	finish(&other);
}

/*
 * The sockets that a child has taken over must not wake the parent, perhaps again and again: no epoll set has an entry
 * for a file that is not the one that the number means here.
 */
static void
check_watched(void)
{
	DIR *fds = opendir("/proc/self/fd");
	unsigned sets = 0, watched = 0;
	struct dirent *fd;

	CHECK(fds);
	while ((fd = readdir(fds))) {
		char path[64], target[64] = "", line[256];
		FILE *info;

		snprintf(path, sizeof(path), "/proc/self/fd/%.16s", fd->d_name);
		if (readlink(path, target, sizeof(target) - 1) < 0 || strcmp(target, "anon_inode:[eventpoll]") != 0)
			continue;
		sets++;
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%.16s", fd->d_name);
		info = fopen(path, "re");
		CHECK(info);
		while (fgets(line, sizeof(line), info)) {
			unsigned long inode;
			struct stat file;
			int number;

			if (sscanf(line, "tfd: %d %*[^i]ino:%lx", &number, &inode) != 2)
				continue;
			watched++;
			if (fstat(number, &file) || (unsigned long)file.st_ino != inode)
				die("epoll set %s has descriptor %d of another process", fd->d_name, number);
		}
		fclose(info);
	}
	closedir(fds);
	/* each has what wakes it */
	CHECK(sets > 0 && watched >= sets);
}

/* a parent that uses the connection which its child has taken over */
static void
parent_comes_too_late(void)
{
	struct child other = start_peer(1);
	int taken[2], go[2];
	pid_t pid;
	char byte;

	connect_one();
	CHECK(pipe(taken) == 0 && pipe(go) == 0);
	pid = fork_or_die();
	if (pid == 0) {
		close(go[1]);
		exchange(1);
		check_watched();
		close(taken[1]);
		CHECK(read(go[0], &byte, 1) == 0);
		exchange(2);
		disconnect();
		exit(0);
	}
	close(taken[1]);
	CHECK(read(taken[0], &byte, 1) == 0);
	post(&link_, IBV_WR_RDMA_WRITE, 1, 0, SIZE, 0);
	complete_with_error();
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	check_watched();
	/* what it releases then is its own */
	link_close(&link_);
	rdma_destroy_event_channel(channel);
	release_pd();
	close(go[1]);
	wait_for_exit(pid);
	expect(&other, "ended");
	finish(&other);
}

/* a parent that is killed has no connection any more, though its child lives */
static int
killed_client(void)
{
	pid_t pid;

	connect_one();
	pid = fork_or_die();
	if (pid == 0)
		pause();
	report("child %d", (int)pid);
	exchange(1);
	report("exchanged");
	pause();

	return 1;
}

static void
killed_parent(void)
{
	struct child other = start_peer(1);
	struct child client = start("killed-client", address, port);
	pid_t idle = (pid_t)expect(&client, "child ");

	expect(&client, "exchanged");
	CHECK(kill(client.pid, SIGKILL) == 0);
	expect(&other, "ended");
	finish(&other);
	CHECK(waitpid(client.pid, NULL, 0) == client.pid);
	CHECK(kill(idle, SIGKILL) == 0);
	fclose(client.in);
	close(client.out);
}

/* the device, the protection domain and the memory are the parent's, and connections each process's own */
static void
workers(void)
{
	struct child other = start_peer(3);
	struct rdma_event_channel *first = open_channel();
	struct rdma_cm_id *id = listen_at(first, address, 0, 1);
	struct ibv_context **devices = rdma_get_devices(NULL);
	struct ibv_mr *mr;
	char *memory;
	pid_t pids[2];

	CHECK(devices && devices[0]);
	memory = calloc(1, SIZE);
	mr = ibv_reg_mr(pd_of(devices[0]), memory, SIZE, IBV_ACCESS_LOCAL_WRITE);
	CHECK(mr);
	for (int i = 0; i < 2; i++) {
		pids[i] = fork_or_die();
		if (pids[i] != 0)
			continue;
		connect_one();
		exchange(2);
		/* what the parent has registered, with what is this process's alone */
		fill(memory, SIZE, (uint64_t)getpid());
		{
			struct ibv_sge sge = {.addr = (uintptr_t)memory, .length = SIZE, .lkey = mr->lkey};
			struct ibv_send_wr *bad, wr = {.sg_list = &sge, .num_sge = 1, .wr_id = 9,
				.opcode = IBV_WR_RDMA_WRITE, .send_flags = IBV_SEND_SIGNALED,
				.wr.rdma = {link_.remote.address, link_.remote.key}};

			CHECK(ibv_post_send(link_.id->qp, &wr, &bad) == 0);
			link_.posted++;
			complete(&link_);
			post(&link_, IBV_WR_RDMA_READ, 4, SIZE, SIZE, 0);
			complete(&link_);
			CHECK(memcmp(memory, link_.memory + SIZE, SIZE) == 0);
		}
		CHECK(rdma_disconnect(link_.id) == 0);
		exit(0);
	}
	/* the parent's listener is still its own */
	connect_one();
	exchange(2);
	for (int i = 0; i < 2; i++)
		wait_for_exit(pids[i]);
	CHECK(rdma_disconnect(link_.id) == 0);
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	link_close(&link_);
	rdma_destroy_event_channel(channel);
	CHECK(ibv_dereg_mr(mr) == 0);
	release_pd();
	rdma_free_devices(devices);
	CHECK(rdma_destroy_id(id) == 0);
	rdma_destroy_event_channel(first);
	free(memory);
	for (int i = 0; i < 3; i++)
		expect(&other, "ended");
	finish(&other);
}

/* many children that end or execute something, while data is on its way */
static void
many_children(void)
{
	struct child other = start_peer(1);

	connect_one();
	for (int i = 0; i < 50; i++) {
		pid_t pid = fork_or_die();

		if (pid == 0 && i % 2)
			_exit(0);
		if (pid == 0) {
			execlp("true", "true", (char *)NULL);
			_exit(1);
		}
		if (i % 3)
			exchange(1);
		wait_for_exit(pid);
	}
	exchange(1);
	disconnect();
	expect(&other, "ended");
	finish(&other);
}

/* for how many children the threads of their parent work */
#define BUSY_CHILDREN 40

static volatile bool stop;

/* a thread with a connection of its own */
static void *
work(void *argument)
{
	struct link *link = argument;

	while (!stop) {
		post(link, IBV_WR_RDMA_WRITE, 2, 0, 4096, 0);
		complete(link);
		post(link, IBV_WR_RDMA_READ, 4, 0, SIZE, 0);
		complete(link);
	}

	return NULL;
}

/* threads of the parent work while it forks; some of the children have connections of their own */
static void
busy_parent(void)
{
	struct child other = start_peer(2 + BUSY_CHILDREN / 4);
	struct link links[2];
	pthread_t threads[2];

	channel = open_channel();
	for (int i = 0; i < 2; i++) {
		if (!connect_link(&links[i], channel, address, port, 2 * SIZE, DEPTH))
			die("not connected");
	}
	for (int i = 0; i < 2; i++)
		CHECK(pthread_create(&threads[i], NULL, work, &links[i]) == 0);
	for (int i = 0; i < BUSY_CHILDREN; i++) {
		pid_t pid = fork_or_die();

		if (pid == 0 && i % 4 == 0) {
			connect_one();
			exchange(1);
			CHECK(rdma_disconnect(link_.id) == 0);
			await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
			exit(0);
		}
		if (pid == 0 && i % 2) {
			execlp("true", "true", (char *)NULL);
			_exit(1);
		}
		if (pid == 0)
			_exit(0);
		wait_for_exit(pid);
	}
	stop = true;
	for (int i = 0; i < 2; i++) {
		CHECK(pthread_join(threads[i], NULL) == 0);
		CHECK(rdma_disconnect(links[i].id) == 0);
		await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
		link_close(&links[i]);
	}
	rdma_destroy_event_channel(channel);
	release_pd();
	for (int i = 0; i < 2 + BUSY_CHILDREN / 4; i++)
		expect(&other, "ended");
	finish(&other);
}

static int
run(const char *name)
{
	if (strcmp(name, "peer") == 0)
		return peer();
	if (strcmp(name, "daemon-client") == 0)
		return daemon_client();
	if (strcmp(name, "killed-client") == 0)
		return killed_client();
	if (strcmp(name, "child-goes-on") == 0)
		child_goes_on(0);
	else if (strcmp(name, "child-goes-on-later") == 0)
		child_goes_on(3);
	else if (strcmp(name, "daemon-goes-on") == 0)
		daemon_goes_on();
	else if (strcmp(name, "parent-goes-on") == 0)
		parent_goes_on();
	else if (strcmp(name, "child-comes-too-late") == 0)
		child_comes_too_late();
	else if (strcmp(name, "parent-comes-too-late") == 0)
		parent_comes_too_late();
	else if (strcmp(name, "killed-parent") == 0)
		killed_parent();
	else if (strcmp(name, "workers") == 0)
		workers();
	else if (strcmp(name, "many-children") == 0)
		many_children();
	else if (strcmp(name, "busy-parent") == 0)
		busy_parent();
	else
		die("no case %s", name);

	return 0;
}

int
main(int argc, char *argv[])
{
	static const char *const cases[] = {"child-goes-on", "child-goes-on-later", "daemon-goes-on", "parent-goes-on",
		"child-comes-too-late", "parent-comes-too-late", "killed-parent", "workers", "many-children",
		"busy-parent"};

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
