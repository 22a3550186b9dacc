/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ended-connections [ADDRESS]: what processes give back when connections end: the shared memory of those that end while
 * others stay, and after the last one all that the two processes have of each other. Then they connect again. The same
 * when the other process is killed.
 *
 *   softrdma run -- ended-connections
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: PAIR_WAIT_MS (see two-processes.h).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "two-processes.h"

#define COUNT 60
#define ROUNDS 2
/* a message that goes through shared memory, of which a direction then has 32 KiB */
#define SIZE ((size_t)12 * 1024)
#define OF_CONNECTION 36
/* of one connection, and what processes show each other */
#define KEPT 200

static const char *address = "127.0.0.1";

/* what this process has open of others: themselves, and their memory */
static unsigned
of_others(void)
{
	DIR *fds = opendir("/proc/self/fd");
	struct dirent *fd;
	unsigned count = 0;
	char own[32];

	CHECK(fds);
	snprintf(own, sizeof(own), "/proc/%d/", (int)getpid());
	while ((fd = readdir(fds))) {
		char target[256] = "";

		if (readlinkat(dirfd(fds), fd->d_name, target, sizeof(target) - 1) < 0)
			continue;
		if (strstr(target, "pidfd"))
			count++;
		else if (strncmp(target, "/proc/", 6) == 0 && strncmp(target, own, strlen(own)) != 0)
			count++;
	}
	closedir(fds);

	return count;
}

static void
wait_until_given_back(long most_kib, unsigned most_of_others)
{
	const struct timespec moment = {.tv_nsec = 10000000};
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;

	while (resident_shared() > most_kib || of_others() > most_of_others) {
		if (now_ns() > limit)
			die("after %d ms, %ld KiB are shared instead of %ld, and %u descriptors are of others instead of %u",
					wait_ms(), resident_shared(), most_kib, of_others(), most_of_others);
		nanosleep(&moment, NULL);
	}
}

/* --- the server -------------------------------------------------------------------------------- */

static struct link links[COUNT];

static struct link *
link_of(const struct rdma_cm_id *id)
{
	for (unsigned i = 0; i < COUNT; i++) {
		if (links[i].id == id)
			return &links[i];
	}

	return NULL;
}

static void
serve_until(struct rdma_event_channel *channel, unsigned established, unsigned disconnected)
{
	while (established > 0 || disconnected > 0) {
		struct rdma_cm_event *event = next_event(channel, wait_ms());
		enum rdma_cm_event_type type;
		struct rdma_cm_id *id;
		struct link *link;

		if (!event)
			die("%u connections are due, and the end of %u", established, disconnected);
		type = event->event;
		id = event->id;
		CHECK(rdma_ack_cm_event(event) == 0);
		switch (type) {
		case RDMA_CM_EVENT_CONNECT_REQUEST:
			link = link_of(NULL);
			CHECK(link);
			link_open(link, id, SIZE, 4);
			post_receive(link, 1, 0, SIZE);
			accept_link(link);
			break;
		case RDMA_CM_EVENT_ESTABLISHED:
			established--;
			break;
		case RDMA_CM_EVENT_DISCONNECTED:
			CHECK(rdma_disconnect(id) == 0);
			link_close(link_of(id));
			disconnected--;
			break;
		case RDMA_CM_EVENT_TIMEWAIT_EXIT:
			break;
		default:
			die("event %s", rdma_event_str(type));
		}
	}
}

static void
server(void)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, COUNT);
	long before = resident_shared();
	char line[16];

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	for (unsigned round = 0; round < ROUNDS; round++) {
		serve_until(channel, COUNT, 0);
		for (unsigned i = 0; i < COUNT; i++)
			complete(&links[i]);
		report("connected");
		serve_until(channel, 0, COUNT - 1);
		wait_until_given_back(before + KEPT, 8);
		report("kept one");
		serve_until(channel, 0, 1);
		wait_until_given_back(before + 64, 0);
		report("gone");
	}
	serve_until(channel, 1, 0);
	/* until it is killed */
	listen_to_parent(line, sizeof(line));
	close_server(channel, listener);
}

/* --- the client -------------------------------------------------------------------------------- */

/* connections leave TCP soon after they were made */
static void
leave_tcp(void)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;

	while (!getenv("SOFTRDMA_SOCKET_ONLY") && tcp_connections() > 0) {
		if (now_ns() > limit)
			die("%u connections are on TCP", tcp_connections());
		nanosleep(&moment, NULL);
	}
}

static void
end(struct rdma_event_channel *channel, struct link *link)
{
	CHECK(rdma_disconnect(link->id) == 0);
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	link_close(link);
}

static void
client(const char *role, unsigned port)
{
	struct rdma_event_channel *channel = open_channel();
	long before = resident_shared();
	char line[16];

	(void)role;
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < COUNT; i++) {
			if (!connect_link(&links[i], channel, address, port, SIZE, 4))
				die("connection %u was refused", i);
		}
		leave_tcp();
		for (unsigned i = 0; i < COUNT; i++) {
			post(&links[i], IBV_WR_SEND, 1, 0, SIZE, 0);
			complete(&links[i]);
		}
		/* otherwise nothing can be given back */
		if (of_others() > 0 && resident_shared() < before + COUNT * OF_CONNECTION)
			die("%d connections have only %ld KiB of shared memory", COUNT, resident_shared() - before);
		report("connected");
		listen_to_parent(line, sizeof(line));
		/* the one that stays is not the first */
		for (unsigned i = 0; i < COUNT; i++) {
			if (i != COUNT / 2)
				end(channel, &links[i]);
		}
		wait_until_given_back(before + KEPT, 8);
		report("kept one");
		listen_to_parent(line, sizeof(line));
		end(channel, &links[COUNT / 2]);
		wait_until_given_back(before + 64, 0);
		report("gone");
		listen_to_parent(line, sizeof(line));
	}
	if (!connect_link(&links[0], channel, address, port, SIZE, 4))
		die("the last connection was refused");
	leave_tcp();
	report("connected");
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	link_close(&links[0]);
	/* without another connection */
	wait_until_given_back(before + 64, 0);
	report("gone");
	rdma_destroy_event_channel(channel);
	release_pd();
}

int
main(int argc, char *argv[])
{
	static const char *const steps[] = {"connected", "kept one", "gone"};
	struct child serving, connecting;

	if (argc == 4)
		address = argv[2];
	else if (argc > 1)
		address = argv[1];
	if (play_role(argc, argv, address, server, client))
		return 0;
	skip_without(address);
	serving = start("server", address, 0);
	connecting = start("client", address, (unsigned)expect(&serving, "listening "));
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
			expect(&connecting, steps[i]);
			expect(&serving, steps[i]);
			tell(&connecting, "go on");
		}
	}
	expect(&connecting, "connected");
	kill_child(&serving);
	expect(&connecting, "gone");
	finish(&connecting);

	return 0;
}
