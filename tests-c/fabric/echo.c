/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "echo.h"

#define DEPTH 16
/* what a client has: the data that it sends, what it reads, and what comes back */
#define SENT ((size_t)0)
#define READ ECHO_SIZE
#define RECEIVED (2 * ECHO_SIZE)
#define SIZE (2 * ECHO_SIZE + ECHO_MESSAGE)

/* takes what is there; whether the connection is over */
static bool
handle_event(struct rdma_event_channel *channel, struct link *link)
{
	struct rdma_cm_event *event = next_event(channel, 0);
	enum rdma_cm_event_type type;
	struct rdma_cm_id *id;

	if (!event)
		return false;
	type = event->event;
	id = event->id;
	CHECK(rdma_ack_cm_event(event) == 0);
	switch (type) {
	case RDMA_CM_EVENT_CONNECT_REQUEST:
		CHECK(!link->id);
		link_open(link, id, ECHO_SIZE + ECHO_MESSAGE, DEPTH);
		post_receive(link, 0, ECHO_SIZE, ECHO_MESSAGE);
		accept_link(link);
		return link->ended;
	case RDMA_CM_EVENT_ESTABLISHED:
		return false;
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_REJECTED:
		return true;
	default:
		die("event %s", rdma_event_str(type));
	}
}

static void
answer(struct link *link)
{
	struct ibv_wc wc;

	while (drain(link, &wc) > 0) {
		if (wc.status != IBV_WC_SUCCESS)
			continue;
		if (wc.opcode == IBV_WC_RECV)
			post(link, IBV_WR_SEND, 1, ECHO_SIZE, wc.byte_len, 0);
		else
			post_receive(link, 0, ECHO_SIZE, ECHO_MESSAGE);
	}
}

int
echo_serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 1);
	struct link link = {0};
	bool over = false;
	char line[16];

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	while (!over) {
		struct pollfd fds[] = {
			{.fd = STDIN_FILENO, .events = POLLIN},
			{.fd = channel->fd, .events = POLLIN},
			{.fd = link.channel ? link.channel->fd : -1, .events = POLLIN},
		};

		CHECK(poll(fds, 3, -1) > 0 || errno == EINTR);
		if (fds[0].revents) {
			if (!listen_to_parent(line, sizeof(line)))
				break;
			report("tcp %u", tcp_connections());
		}
		if (fds[1].revents)
			over = handle_event(channel, &link);
		if (link.id)
			answer(&link);
	}
	if (link.id) {
		rdma_disconnect(link.id);
		link_close(&link);
	}
	close_server(channel, listener);

	return 0;
}

bool
echo_connect(struct link *link, struct rdma_event_channel *channel, const char *address, unsigned port)
{
	return connect_link(link, channel, address, port, SIZE, DEPTH);
}

void
echo_exchange(struct link *link, uint64_t seed)
{
	fill(link->memory + SENT, ECHO_SIZE, seed);
	memset(link->memory + READ, 0, SIZE - READ);
	post_receive(link, 1, RECEIVED, ECHO_MESSAGE);
	post(link, IBV_WR_RDMA_WRITE, 2, SENT, ECHO_SIZE, 0);
	post(link, IBV_WR_RDMA_READ, 3, READ, ECHO_SIZE, 0);
	post(link, IBV_WR_SEND, 4, SENT, ECHO_MESSAGE, 0);
	for (unsigned due = 4; due > 0; due--) {
		struct ibv_wc wc = complete(link);

		CHECK(wc.wr_id != 1 || wc.byte_len == ECHO_MESSAGE);
	}
	if (memcmp(link->memory + READ, link->memory + SENT, ECHO_SIZE) != 0)
		die("what was read is not what was written");
	if (memcmp(link->memory + RECEIVED, link->memory + SENT, ECHO_MESSAGE) != 0)
		die("what came back is not what was sent");
}

void
echo_disconnect(struct link *link)
{
	rdma_disconnect(link->id);
	link_close(link);
	release_pd();
}
