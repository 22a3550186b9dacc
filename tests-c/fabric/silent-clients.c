/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * silent-clients [ADDRESS]: many connect to a server's port with plain sockets and say nothing, again
 * and again. The server must go on taking clients, use descriptors for a bounded number of the others
 * only, and get rid of them in the end.
 *
 *   softrdma run -- silent-clients
 *
 * A port of the connection manager is one of TCP on softrdma only. ADDRESS is 127.0.0.1 unless given.
 * From the environment: SILENT_SOCKETS (300), PAIR_WAIT_MS (see two-processes.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "counting-server.h"
#include "two-processes.h"

#define SIZE ((size_t)64 << 10)
#define DEPTH 8
#define CLIENTS 5
/* how many of them a server may keep at a time, with room for its own use of descriptors */
#define MOST 200

static int
connect_silently(const struct sockaddr_storage *to)
{
	int fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	CHECK(connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0 || errno == EINPROGRESS);

	return fd;
}

/* replaces those that the server has closed; how many these were */
static unsigned
replace_closed(struct pollfd *sockets, unsigned count, const struct sockaddr_storage *to)
{
	unsigned closed = 0;

	CHECK(poll(sockets, count, 0) >= 0);
	for (unsigned i = 0; i < count; i++) {
		if (!sockets[i].revents)
			continue;
		close(sockets[i].fd);
		sockets[i].fd = connect_silently(to);
		closed++;
	}

	return closed;
}

/* all of them are closed by the server, in the end */
static void
wait_for_the_end(struct pollfd *sockets, unsigned count)
{
	unsigned open = count;

	while (open > 0) {
		int ready = poll(sockets, count, 3 * wait_ms());

		CHECK(ready >= 0 || errno == EINTR);
		if (ready == 0)
			die("%u silent sockets are still open", open);
		for (unsigned i = 0; i < count; i++) {
			if (sockets[i].fd < 0 || !sockets[i].revents)
				continue;
			close(sockets[i].fd);
			sockets[i].fd = -1;
			open--;
		}
	}
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	unsigned count = (unsigned)env_number("SILENT_SOCKETS", 300);
	struct rdma_event_channel *channel;
	unsigned before, most = 0, replaced = 0;
	uint64_t started, slowest = 0;
	struct sockaddr_storage to;
	struct pollfd *sockets;
	struct child server;
	unsigned port;

	if (argc == 4)
		return count_descriptors(argv[2], SIZE, DEPTH);

	raise_descriptor_limit();
	server = start("server", address, 0);
	port = (unsigned)expect(&server, "listening ");
	before = descriptors_of(&server);
	parse_address(&to, address, port);
	sockets = calloc(count, sizeof(*sockets));
	CHECK(sockets);
	for (unsigned i = 0; i < count; i++) {
		sockets[i].fd = connect_silently(&to);
		sockets[i].events = POLLIN;
	}

	channel = open_channel();
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct link link;
		unsigned now;

		started = now_ns();
		if (!connect_link(&link, channel, address, port, SIZE, DEPTH))
			die("client %u was refused", i);
		if (now_ns() - started > slowest)
			slowest = now_ns() - started;
		post(&link, IBV_WR_RDMA_WRITE, 1, 0, SIZE, 0);
		complete(&link);
		rdma_disconnect(link.id);
		link_close(&link);
		now = descriptors_of(&server);
		if (now > most)
			most = now;
		replaced += replace_closed(sockets, count, &to);
	}
	rdma_destroy_event_channel(channel);
	release_pd();
	if (most > before + MOST)
		die("the server had %u descriptors, %u of its own", most, before);
	wait_for_the_end(sockets, count);
	free(sockets);
	if (descriptors_of(&server) > before + 8)
		die("descriptors are left over: %u, %u before", descriptors_of(&server), before);
	tell(&server, "quit");
	finish(&server);
	printf("%u silent sockets, %u of them replaced: %d clients connected, the slowest in %.1f ms; the "
			"server had %u descriptors at most, %u of its own\n", count, replaced, CLIENTS,
			(double)slowest / 1e6, most, before);

	return 0;
}
