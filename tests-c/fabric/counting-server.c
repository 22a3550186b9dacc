/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "counting-server.h"

int
count_descriptors(const char *address, size_t size, unsigned depth)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 8);
	char line[16];
	unsigned links = 0;
	bool quits = false;

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	/* until the parent says quit and all clients are gone */
	while (!quits || links > 0) {
		struct pollfd fds[] = {
			{.fd = quits ? -1 : STDIN_FILENO, .events = POLLIN},
			{.fd = channel->fd, .events = POLLIN},
		};
		struct rdma_cm_event *event;
		enum rdma_cm_event_type type;
		struct rdma_cm_id *id;

		CHECK(poll(fds, 2, -1) > 0 || errno == EINTR);
		if (fds[0].revents) {
			quits = !listen_to_parent(line, sizeof(line)) || strcmp(line, "quit") == 0;
			if (!quits)
				report("descriptors %u", descriptors());
		}
		if (!fds[1].revents)
			continue;
		event = next_event(channel, 0);
		CHECK(event);
		type = event->event;
		id = event->id;
		CHECK(rdma_ack_cm_event(event) == 0);
		if (type == RDMA_CM_EVENT_CONNECT_REQUEST) {
			struct link *link = malloc(sizeof(*link));

			CHECK(link);
			link_open(link, id, size, depth);
			accept_link(link);
			if (link->ended) {
				link_close(link);
				free(link);
			} else {
				links++;
			}
		} else if (type != RDMA_CM_EVENT_ESTABLISHED && type != RDMA_CM_EVENT_TIMEWAIT_EXIT) {
			struct link *link = id->context;

			rdma_disconnect(id);
			link_close(link);
			free(link);
			links--;
		}
	}
	close_server(channel, listener);

	return 0;
}

unsigned
descriptors_of(struct child *server)
{
	tell(server, "how many");

	return (unsigned)expect(server, "descriptors ");
}
