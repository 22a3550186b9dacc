/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main-thread-gone [ADDRESS]: processes whose main threads have ended (pthread_exit) while others go on. Before
 * or after the connection was made, of the client, of the server or of both; and processes that a seccomp
 * filter keeps from copying from each other. Memory is registered and data goes both ways, in all sizes.
 *
 *   softrdma run -- main-thread-gone
 *
 * ADDRESS is 127.0.0.1 unless given.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "two-processes.h"

#define MOST ((size_t)2 << 20)
#define DEPTH 4

/* of one side */
enum trouble {
	NONE,
	GONE_BEFORE,
	GONE_AFTER,
	FORBIDDEN,
	TROUBLES
};

static enum trouble trouble;
static bool is_server;
static const char *address;
static unsigned port;
static struct rdma_event_channel *channel;
static struct rdma_cm_id *listener;
static struct link link_;

static void
connect_both(void)
{
	if (!is_server) {
		CHECK(connect_link(&link_, channel, address, port, 2 * MOST, DEPTH));
		return;
	}
	link_open(&link_, await_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST), 2 * MOST, DEPTH);
	accept_link(&link_);
	await_event(channel, RDMA_CM_EVENT_ESTABLISHED);
}

static void
move_data(void)
{
	if (!is_server) {
		for (size_t size = 1; size <= MOST; size = size * 2 + (size > 1000 ? 0 : size / 3)) {
			fill(link_.memory, size, size);
			post(&link_, IBV_WR_RDMA_WRITE, 1, 0, size, 0);
			CHECK(complete(&link_).wr_id == 1);
			post(&link_, IBV_WR_RDMA_READ, 2, MOST, size, 0);
			CHECK(complete(&link_).wr_id == 2);
			CHECK(memcmp(link_.memory, link_.memory + MOST, size) == 0);
		}
		rdma_disconnect(link_.id);
	}
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	if (is_server)
		rdma_disconnect(link_.id);
	link_close(&link_);
}

/* waits until the main thread has ended: it is a zombie then */
static void
wait_for_the_end(void)
{
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
	char path[64], text[512];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)getpid(), (int)getpid());
	while (now_ns() < end) {
		const int fd = open(path, O_RDONLY | O_CLOEXEC);
		const ssize_t size = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;

		CHECK(size > 0);
		close(fd);
		text[size] = '\0';
		if (strstr(text, ") Z "))
			return;
		usleep(1000);
	}
	die("the main thread did not end");
}

static void *
go_on(void *before)
{
	wait_for_the_end();
	if (before)
		connect_both();
	move_data();
	if (listener)
		close_server(channel, listener);
	exit(0);
}

/* process_vm_readv and process_vm_writev fail with EACCES from now on */
static bool
forbid(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_writev, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	/* for the I/O thread as well, if it is there already */
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
			syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
					&program) == 0;
}

static int
run_side(void)
{
	pthread_t other;

	channel = open_channel();
	if (is_server) {
		listener = listen_at(channel, address, 0, 1);
		report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	}
	if (trouble == GONE_BEFORE || trouble == GONE_AFTER) {
		if (trouble == GONE_AFTER)
			connect_both();
		CHECK(pthread_create(&other, NULL, go_on, trouble == GONE_BEFORE ? &trouble : NULL) == 0);
		pthread_exit(NULL);
	}
	connect_both();
	if (trouble == FORBIDDEN && !forbid())
		report("not forbidden");
	move_data();
	if (listener)
		close_server(channel, listener);

	return 0;
}

/* its last line, if any, says that it could not be kept from copying */
static void
finish_side(struct child *child)
{
	const char *line = hear(child);

	if (line) {
		CHECK(strcmp(line, "not forbidden") == 0);
		printf("no seccomp filter can be set here: that part is skipped\n");
	}
	finish(child);
}

static void
run_pair(enum trouble of_server, enum trouble of_client)
{
	struct child server, client;
	char number[16];

	snprintf(number, sizeof(number), "%d", (int)of_server);
	setenv("GONE_TROUBLE", number, 1);
	server = start("server", address, 0);
	snprintf(number, sizeof(number), "%d", (int)of_client);
	setenv("GONE_TROUBLE", number, 1);
	client = start("client", address, (unsigned)expect(&server, "listening "));
	finish_side(&client);
	finish_side(&server);
}

int
main(int argc, char *argv[])
{
	address = argc > 1 ? argv[1] : "127.0.0.1";
	if (argc == 4) {
		is_server = strcmp(argv[1], "server") == 0;
		address = argv[2];
		port = (unsigned)atoi(argv[3]);
		trouble = (enum trouble)env_number("GONE_TROUBLE", 0);
		return run_side();
	}
	skip_without(address);
	for (int of_server = NONE; of_server < TROUBLES; of_server++) {
		for (int of_client = NONE; of_client < TROUBLES; of_client++)
			run_pair((enum trouble)of_server, (enum trouble)of_client);
	}
	printf("data arrived with whatever thread was there\n");

	return 0;
}
