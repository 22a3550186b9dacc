/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frozen-peer [ADDRESS]: a client writes from memory that does not resolve (userfaultfd): whoever copies it waits.
 * Only that client's connection may wait: another client connects and exchanges messages with the server, which
 * can post to the frozen connection, and is told that the memory the write goes to is in use (EBUSY). Then the
 * memory resolves and the write is done, or the client is killed and the connection ends. A server that waits for events, and
 * one that polls.
 *
 *   softrdma run -- frozen-peer
 *
 * ADDRESS is 127.0.0.1 unless given. It is skipped where the faults of system calls may not be handled, or
 * processes may not copy from each other. PAIR_TCP_ONLY=1: the connections are on TCP, where the client alone waits for
 * its memory.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "two-processes.h"

#define SIZE ((size_t)256 << 10)
#define WRITTEN ((size_t)64 << 10)
#define DEPTH 8
#define MESSAGES 200

static int
open_userfaultfd(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	const int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		CHECK(ioctl(fd, UFFDIO_API, &api) == 0);

	return fd;
}

/* --- the server ---------------------------------------------------------------------------------- */

static bool polls;

/* looks into the queue of the frozen connection while it waits for something else */
static void
wait_for_event(struct rdma_event_channel *channel, struct link *frozen)
{
	struct pollfd readable = {.fd = channel->fd, .events = POLLIN};
	const uint64_t end = now_ns() + 2 * (uint64_t)wait_ms() * 1000000;

	while (polls && poll(&readable, 1, 0) == 0) {
		CHECK(drain(frozen, NULL) == 0);
		if (now_ns() > end)
			die("nothing happens any more");
	}
}

static void
echo(struct link *link, struct link *frozen)
{
	for (int i = 0; i < MESSAGES; i++) {
		/* its own completion queue, and that of the other connection */
		for (bool received = false, sent = i == 0; !received || !sent;) {
			struct ibv_wc wc;

			if (polls) {
				const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;

				while (drain(link, &wc) == 0) {
					CHECK(drain(frozen, NULL) == 0);
					if (now_ns() > end)
						die("no message in %d ms", wait_ms());
				}
				CHECK(wc.status == IBV_WC_SUCCESS);
			} else {
				wc = complete(link);
			}
			if (wc.opcode == IBV_WC_RECV)
				received = true;
			else
				sent = true;
		}
		post_receive(link, 1, 0, 8);
		post(link, IBV_WR_SEND, 2, 8, 8, 0);
	}
}

static int
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 2), *id;
	struct link frozen, good;
	char line[32];
	int error;

	polls = env_number("FROZEN_POLLS", 0) != 0;
	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	id = await_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST);
	link_open(&frozen, id, SIZE, DEPTH);
	memset(frozen.memory, 1, SIZE);
	accept_link(&frozen);
	await_event(channel, RDMA_CM_EVENT_ESTABLISHED);
	/* by then it knows all of this side */
	post(&frozen, IBV_WR_SEND, 2, 0, 8, 0);
	CHECK(complete(&frozen).opcode == IBV_WC_SEND);

	/* now that one freezes */
	wait_for_event(channel, &frozen);
	id = await_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST);
	link_open(&good, id, SIZE, DEPTH);
	post_receive(&good, 1, 0, 8);
	accept_link(&good);
	wait_for_event(channel, &frozen);
	await_event(channel, RDMA_CM_EVENT_ESTABLISHED);
	echo(&good, &frozen);
	wait_for_event(channel, &frozen);
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	rdma_disconnect(good.id);
	link_close(&good);

	post(&frozen, IBV_WR_SEND, 3, 0, 8, 0);
	/* on TCP nobody copies from a peer */
	error = env_number("PAIR_TCP_ONLY", 0) ? EBUSY : ibv_dereg_mr(frozen.mr);
	if (error == 0)
		frozen.mr = NULL;
	else
		CHECK(error == EBUSY);
	report(error == 0 ? "not copied" : "in use");
	CHECK(listen_to_parent(line, sizeof(line)));
	if (error == 0)
		exit(0);
	if (strcmp(line, "thawed") == 0) {
		/* it says so once its write is done */
		CHECK(complete(&frozen).opcode == IBV_WC_SEND);
		for (size_t i = 0; i < SIZE; i++)
			CHECK(frozen.memory[i] == (i < WRITTEN ? 0 : 1));
	}
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	rdma_disconnect(frozen.id);
	link_close(&frozen);
	close_server(channel, listener);

	return 0;
}

/* --- the client whose memory does not resolve ------------------------------------------------------ */

/* posts: where the bytes come with the request, that waits for the memory itself */
static void *
write_from(void *link)
{
	post(link, IBV_WR_RDMA_WRITE, 1, 0, WRITTEN, 0);

	return NULL;
}

static int
freeze(const char *address, unsigned port)
{
	struct rdma_event_channel *channel = open_channel();
	struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	struct uffdio_zeropage zeros;
	const int faults = open_userfaultfd();
	struct pollfd readable = {.fd = faults, .events = POLLIN};
	struct uffd_msg message;
	struct link link;
	pthread_t writer;
	char line[32];
	char *received;

	CHECK(faults >= 0);
	CHECK(connect_link(&link, channel, address, port, SIZE, DEPTH));
	/* a message that comes before this is sent again */
	received = link.memory;
	post_receive(&link, 2, 0, 8);
	CHECK(complete(&link).wr_id == 2);
	post_receive(&link, 2, 0, 8);
	/* the received message needs its memory until the end: this is another region */
	struct ibv_mr *mr = link.mr;
	link.memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(link.memory != MAP_FAILED);
	link.mr = ibv_reg_mr(pd_of(link.id->verbs), link.memory, SIZE, IBV_ACCESS_LOCAL_WRITE);
	CHECK(link.mr);
	range.range.start = (uintptr_t)link.memory;
	range.range.len = SIZE;
	CHECK(ioctl(faults, UFFDIO_REGISTER, &range) == 0);
	CHECK(madvise(link.memory, SIZE, MADV_DONTNEED) == 0);
	CHECK(pthread_create(&writer, NULL, write_from, &link) == 0);
	CHECK(poll(&readable, 1, wait_ms()) == 1);
	CHECK(read(faults, &message, sizeof(message)) == sizeof(message));
	CHECK(message.event == UFFD_EVENT_PAGEFAULT);
	report("frozen");

	CHECK(listen_to_parent(line, sizeof(line)));
	zeros = (struct uffdio_zeropage){.range = range.range};
	CHECK(ioctl(faults, UFFDIO_ZEROPAGE, &zeros) == 0);
	CHECK(pthread_join(writer, NULL) == 0);
	for (unsigned seen = 0; seen != 3;)
		seen |= 1u << (complete(&link).wr_id - 1);
	report("thawed");
	CHECK(listen_to_parent(line, sizeof(line)));
	rdma_disconnect(link.id);
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	CHECK(ibv_dereg_mr(link.mr) == 0);
	CHECK(munmap(link.memory, SIZE) == 0);
	link.mr = mr;
	link.memory = received;
	link_close(&link);
	release_pd();
	rdma_destroy_event_channel(channel);
	close(faults);

	return 0;
}

/* --- the other client ---------------------------------------------------------------------------- */

static int
talk(const char *address, unsigned port)
{
	struct rdma_event_channel *channel = open_channel();
	struct link link;

	CHECK(connect_link(&link, channel, address, port, SIZE, DEPTH));
	for (int i = 0; i < MESSAGES; i++) {
		post_receive(&link, 1, 0, 8);
		post(&link, IBV_WR_SEND, 2, 8, 8, 0);
		for (unsigned seen = 0; seen != 3;)
			seen |= 1u << (complete(&link).wr_id - 1);
	}
	rdma_disconnect(link.id);
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	link_close(&link);
	release_pd();
	rdma_destroy_event_channel(channel);

	return 0;
}

static void
run(const char *address, bool server_polls, bool thaws)
{
	struct child server, frozen, good;
	unsigned port;
	const char *line;

	setenv("FROZEN_POLLS", server_polls ? "1" : "0", 1);
	server = start("server", address, 0);
	port = (unsigned)expect(&server, "listening ");
	frozen = start("frozen", address, port);
	expect(&frozen, "frozen");
	good = start("good", address, port);
	finish(&good);
	line = hear(&server);
	CHECK(line);
	if (strcmp(line, "not copied") == 0) {
		printf("skipped: here processes do not copy from each other\n");
		kill_child(&frozen);
		kill_child(&server);
		exit(77);
	}
	CHECK(strcmp(line, "in use") == 0);
	if (thaws) {
		tell(&frozen, "thaw");
		expect(&frozen, "thawed");
		tell(&server, "thawed");
		tell(&frozen, "end");
		finish(&frozen);
	} else {
		kill_child(&frozen);
		tell(&server, "killed");
	}
	finish(&server);
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	int faults;

	if (argc == 4) {
		const unsigned port = (unsigned)atoi(argv[3]);

		if (strcmp(argv[1], "server") == 0)
			return serve(argv[2]);

		return strcmp(argv[1], "frozen") == 0 ? freeze(argv[2], port) : talk(argv[2], port);
	}
	faults = open_userfaultfd();
	if (faults < 0) {
		printf("skipped: the faults of system calls may not be handled here: %s\n", strerror(errno));
		return 77;
	}
	close(faults);
	for (int i = 0; i < 4; i++)
		run(address, i % 2 == 1, i < 2);
	printf("only the connection of the client that did not answer waited\n");

	return 0;
}
