/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * closed-descriptors [ADDRESS]: a program closes the descriptors of softrdma, all of them or one, and opens files of
 * its own that get their numbers. Its connections may end, but nothing of softrdma's may get into these files or be
 * read from them, none of them may be closed, no thread may spin, and new connections must work.
 *
 *   softrdma run -- closed-descriptors
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: PAIR_WAIT_MS (see two-processes.h).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "two-processes.h"

#define SIZE ((size_t)64 << 10)
#define DEPTH 8
#define MOST 128

static const char *address = "127.0.0.1";

/* --- the program that closes descriptors --- */

/* open descriptors, in order */
struct set {
	int fds[MOST];
	int count;
};

static int
compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static struct set
open_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	struct set set = {.count = 0};
	struct dirent *entry;

	CHECK(directory);
	while ((entry = readdir(directory))) {
		int fd = atoi(entry->d_name);

		if (entry->d_name[0] == '.' || fd == dirfd(directory))
			continue;
		CHECK(set.count < MOST);
		set.fds[set.count++] = fd;
	}
	closedir(directory);
	qsort(set.fds, (size_t)set.count, sizeof(set.fds[0]), compare);

	return set;
}

/* those that were opened since */
static struct set
opened_since(const struct set *before)
{
	struct set now = open_descriptors(), opened = {.count = 0};

	for (int i = 0; i < now.count; i++) {
		if (!bsearch(&now.fds[i], before->fds, (size_t)before->count, sizeof(before->fds[0]),
				compare))
			opened.fds[opened.count++] = now.fds[i];
	}

	return opened;
}

/* the same; softrdma has one with a low number for a moment, when the peer sends it, but none that it keeps */
static struct set
opened_with_high_numbers(const struct set *before)
{
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct set opened;

	for (;;) {
		int low = 0;

		opened = opened_since(before);
		for (int i = 0; i < opened.count; i++)
			low += opened.fds[i] <= 100;
		if (low == 0)
			return opened;
		if (now_ns() > limit)
			die("%d descriptors of softrdma have low numbers", low);
		sched_yield();
	}
}

/* a file of the program, of one of several kinds; `other` is what shows whether somebody wrote to it */
struct own {
	int number;
	int other;
	int kind;
	struct stat stat;
};

enum {STREAM, DATAGRAMS, PIPE, FILE_IN_MEMORY, KINDS};

static int
far_away(int fd)
{
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, 20);

	CHECK(moved >= 0);
	close(fd);

	return moved;
}

static struct own
put_own_file_at(int number, int kind)
{
	struct own own = {.number = number, .kind = kind};
	int fds[2];

	switch (kind) {
	case STREAM:
		CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
		break;
	case DATAGRAMS:
		CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) == 0);
		break;
	case PIPE:
		CHECK(pipe(fds) == 0);
		/* there is something to be read by mistake, too */
		CHECK(write(fds[1], "own", 3) == 3);
		break;
	default:
		CHECK((fds[0] = memfd_create("own", 0)) >= 0);
		CHECK((fds[1] = dup(fds[0])) >= 0);
		break;
	}
	if (kind == STREAM || kind == DATAGRAMS)
		CHECK(send(fds[1], "own", 3, 0) == 3);
	own.other = far_away(fds[1]);
	fds[0] = far_away(fds[0]);
	CHECK(dup2(fds[0], number) == number);
	close(fds[0]);
	CHECK(fstat(number, &own.stat) == 0);

	return own;
}

static void
check_own_file(const struct own *own)
{
	char bytes[16];
	struct stat stat;

	CHECK(fstat(own->number, &stat) == 0);
	CHECK(stat.st_ino == own->stat.st_ino && stat.st_dev == own->stat.st_dev);
	switch (own->kind) {
	case STREAM:
	case DATAGRAMS:
		CHECK(recv(own->other, bytes, sizeof(bytes), MSG_DONTWAIT) == -1 && errno == EAGAIN);
		CHECK(recv(own->number, bytes, sizeof(bytes), MSG_DONTWAIT) == 3);
		CHECK(recv(own->number, bytes, sizeof(bytes), MSG_DONTWAIT) == -1 && errno == EAGAIN);
		break;
	case PIPE:
		CHECK(read(own->number, bytes, sizeof(bytes)) == 3);
		break;
	default:
		CHECK(stat.st_size == 0);
		break;
	}
	CHECK(close(own->number) == 0);
	close(own->other);
}

static uint64_t
cpu_ns(void)
{
	struct timespec used;

	CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0);

	return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

/* no thread may look for what is not there over and over */
static void
check_idle(void)
{
	uint64_t before = cpu_ns();

	poll(NULL, 0, 400);
	if (cpu_ns() - before > 200000000)
		die("busy for %u of 400 ms", (unsigned)((cpu_ns() - before) / 1000000));
}

/* writes, until each one has come to an end */
static void
use(struct link *link)
{
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_sge sge = {.addr = (uintptr_t)link->memory, .length = 64, .lkey = link->mr->lkey};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = IBV_WR_RDMA_WRITE,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {.remote_addr = link->remote.address, .rkey = link->remote.key},
	}, *bad;

	for (int i = 0; i < 4; i++) {
		struct ibv_wc wc;
		int n;

		if (ibv_post_send(link->id->qp, &wr, &bad))
			return;
		while ((n = ibv_poll_cq(link->cq, 1, &wc)) == 0) {
			if (now_ns() > limit)
				die("a request does not come to its end");
		}
		CHECK(n == 1);
		if (wc.status != IBV_WC_SUCCESS)
			return;
	}
}

static FILE *errors;
static int standard_error;

/* what was wrong is for the parent to see */
static void
show_errors(void)
{
	char line[256];

	rewind(errors);
	while (fgets(line, sizeof(line), errors))
		dprintf(standard_error, "%s", line);
}

/* which: the number of the descriptor to replace, -1: all are closed, -2: and replaced */
static int
close_descriptors(unsigned port, int which)
{
	struct set before, opened;
	struct rdma_event_channel *channel, *another;
	struct own own[MOST];
	struct link link;
	int count = 0;
	int lines = 0;
	char line[256];

	/* what is said there is counted */
	CHECK((errors = tmpfile()));
	CHECK((standard_error = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 20)) >= 0);
	CHECK(atexit(show_errors) == 0);
	CHECK(dup2(fileno(errors), STDERR_FILENO) == STDERR_FILENO);
	/* a number that is free is for the program, whatever it means */
	CHECK(close(STDIN_FILENO) == 0);
	before = open_descriptors();
	channel = open_channel();
	if (!connect_link(&link, channel, address, port, SIZE, DEPTH))
		die("refused");
	use(&link);
	opened = opened_with_high_numbers(&before);
	for (int i = 0; i < opened.count; i++) {
		CHECK(fcntl(opened.fds[i], F_GETFD) == FD_CLOEXEC);
	}
	CHECK(fcntl(STDIN_FILENO, F_GETFD) == -1);
	report("opened %d", opened.count);

	if (which < 0) {
		/* as closefrom(3) does it, but for those that this program needs; some may be closed by now */
		for (int i = 0; i < opened.count; i++)
			CHECK(close(opened.fds[i]) == 0 || errno == EBADF);
	}
	for (int i = 0; i < opened.count && which != -1; i++) {
		if (which == -2 || which == i)
			own[count++] = put_own_file_at(opened.fds[i], i % KINDS);
	}
	check_idle();
	use(&link);
	check_idle();
	rdma_disconnect(link.id);
	rdma_destroy_qp(link.id);
	CHECK(ibv_dereg_mr(link.mr) == 0);
	CHECK(ibv_destroy_cq(link.cq) == 0);
	CHECK(ibv_destroy_comp_channel(link.channel) == 0);

	another = open_channel();
	{
		struct link again;

		if (!connect_link(&again, another, address, port, SIZE, DEPTH))
			die("refused afterwards");
		post(&again, IBV_WR_RDMA_WRITE, 1, 0, SIZE, 0);
		complete(&again);
		rdma_disconnect(again.id);
		link_close(&again);
	}
	rdma_destroy_event_channel(another);
	CHECK(rdma_destroy_id(link.id) == 0);
	rdma_destroy_event_channel(channel);
	for (int i = 0; i < count; i++)
		check_own_file(&own[i]);

	rewind(errors);
	while (fgets(line, sizeof(line), errors))
		lines += strncmp(line, "softrdma: ", 10) == 0;
	/* of one that is not used there is nothing to say */
	CHECK(which >= 0 ? lines <= 1 : lines == 1);
	CHECK(ftruncate(fileno(errors), 0) == 0);

	return 0;
}

/* --- the server: takes every client --- */

static int
serve(void)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 64);

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	for (;;) {
		struct pollfd fds[] = {
			{.fd = STDIN_FILENO, .events = POLLIN},
			{.fd = channel->fd, .events = POLLIN},
		};
		enum rdma_cm_event_type type;
		struct rdma_cm_event *event;
		struct rdma_cm_id *id;
		struct link *link;

		CHECK(poll(fds, 2, -1) > 0 || errno == EINTR);
		if (fds[0].revents)
			return 0;
		if (!fds[1].revents)
			continue;
		CHECK((event = next_event(channel, 0)));
		type = event->event;
		id = event->id;
		CHECK(rdma_ack_cm_event(event) == 0);
		if (type == RDMA_CM_EVENT_CONNECT_REQUEST) {
			CHECK((link = malloc(sizeof(*link))));
			link_open(link, id, SIZE, DEPTH);
			id->context = link;
			accept_link(link);
		} else if (type == RDMA_CM_EVENT_DISCONNECTED) {
			link = id->context;
			rdma_disconnect(id);
			link_close(link);
			free(link);
			report("disconnected");
		}
	}
}

int
main(int argc, char *argv[])
{
	int which, count = 0;
	struct child server;
	unsigned port;

	if (argc == 4) {
		address = argv[2];
		if (strcmp(argv[1], "server") == 0)
			return serve();
		return close_descriptors((unsigned)atoi(argv[3]), atoi(argv[1]));
	}
	if (argc > 1)
		address = argv[1];
	skip_without(address);
	server = start("server", address, 0);
	port = (unsigned)expect(&server, "listening ");
	for (which = -2; which < 0 || which < count; which++) {
		struct child program;
		char role[16];

		snprintf(role, sizeof(role), "%d", which);
		program = start(role, address, port);
		count = (int)expect(&program, "opened ");
		finish(&program);
		/* of both its connections */
		expect(&server, "disconnected");
		expect(&server, "disconnected");
	}
	tell(&server, "quit");
	finish(&server);
	printf("a program closed %d descriptors of softrdma, and used each number itself\n", count);

	return 0;
}
