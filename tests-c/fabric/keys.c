/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * keys [ADDRESS]: keys of memory regions and numbers of queue pairs cannot be guessed, are not reused early,
 * and are worth nothing in the wrong place: a client's own key at the server, the key for local use at the
 * server, the key for remote use in a scatter list, the key of a region that is gone.
 *
 *   softrdma run -- keys
 *
 * ADDRESS is 127.0.0.1 unless given.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "two-processes.h"

#define SIZE ((size_t)4096)
#define DEPTH 8
#define PROCESSES 4
#define REGISTRATIONS 70000

/* three numbers of a process that nobody else can know */
struct numbers {
	unsigned long lkey;
	unsigned long rkey;
	unsigned long qp_num;
};

/* takes one client after the other, until the parent says "quit" and all of them are gone */
static int
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 8);
	unsigned links = 0;
	bool quit = false;

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	while (!quit || links > 0) {
		struct pollfd fds[] = {
			{.fd = quit ? -1 : STDIN_FILENO, .events = POLLIN},
			{.fd = channel->fd, .events = POLLIN},
		};
		struct rdma_cm_event *event;
		enum rdma_cm_event_type type;
		struct rdma_cm_id *id;
		struct link *link;

		CHECK(poll(fds, 2, -1) > 0 || errno == EINTR);
		if (fds[0].revents)
			quit = true;
		if (!fds[1].revents)
			continue;
		event = next_event(channel, 0);
		CHECK(event);
		type = event->event;
		id = event->id;
		CHECK(rdma_ack_cm_event(event) == 0);
		if (type == RDMA_CM_EVENT_CONNECT_REQUEST) {
			link = malloc(sizeof(*link));
			CHECK(link);
			link_open(link, id, SIZE, DEPTH);
			links++;
			accept_link(link);
			report("lkey %lu", (unsigned long)link->mr->lkey);
			report("rkey %lu", (unsigned long)link->mr->rkey);
			report("queue pair %lu", (unsigned long)id->qp->qp_num);
		} else if (type == RDMA_CM_EVENT_DISCONNECTED) {
			link = id->context;
			rdma_disconnect(id);
			for (size_t i = 0; i < SIZE; i++)
				CHECK(link->memory[i] == 0);
			link_close(link);
			free(link);
			links--;
		}
	}
	close_server(channel, listener);

	return 0;
}

static struct numbers
numbers_of(struct child *server)
{
	struct numbers numbers = {
		.lkey = expect(server, "lkey "),
		.rkey = expect(server, "rkey "),
		.qp_num = expect(server, "queue pair "),
	};

	return numbers;
}

enum wrong {
	OWN,          /* the client's key for remote use, at the server */
	LOCAL,        /* the server's key for local use */
	GONE,         /* of a region of the server that is deregistered */
	NULL_KEY,
	REMOTE_LOCALLY, /* the key for remote use in the scatter list */
};

/* the status of a request with a wrong key; its connection ends with it */
static enum ibv_wc_status
status_with(enum wrong wrong, enum ibv_wr_opcode opcode, struct rdma_event_channel *channel, const char *address,
		unsigned port, struct child *server, uint32_t gone)
{
	struct link link;
	struct ibv_sge sge = {.length = 8};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = opcode,
		.send_flags = IBV_SEND_SIGNALED,
	};
	struct numbers there;
	struct ibv_send_wr *bad;
	struct pollfd readable;
	struct ibv_wc wc;

	if (!connect_link(&link, channel, address, port, SIZE, DEPTH))
		die("refused");
	there = numbers_of(server);
	memset(link.memory, 0xff, SIZE);
	sge.addr = (uintptr_t)link.memory;
	sge.lkey = wrong == REMOTE_LOCALLY ? link.mr->rkey : link.mr->lkey;
	wr.wr.rdma.remote_addr = link.remote.address;
	switch (wrong) {
	case OWN:
		wr.wr.rdma.rkey = link.mr->rkey;
		break;
	case LOCAL:
		wr.wr.rdma.rkey = (uint32_t)there.lkey;
		break;
	case GONE:
		wr.wr.rdma.rkey = gone;
		break;
	case NULL_KEY:
		break;
	case REMOTE_LOCALLY:
		wr.wr.rdma.rkey = link.remote.key;
		break;
	}
	CHECK(ibv_post_send(link.id->qp, &wr, &bad) == 0);
	readable = (struct pollfd){.fd = link.channel->fd, .events = POLLIN};
	while (ibv_poll_cq(link.cq, 1, &wc) == 0)
		CHECK(poll(&readable, 1, wait_ms()) > 0);
	/* nothing was read */
	for (size_t i = 0; i < SIZE; i++)
		CHECK(link.memory[i] == (char)0xff);
	rdma_disconnect(link.id);
	link_close(&link);

	return wc.status;
}

static int
compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

/* a key is not used again while there are others */
static void
register_often(struct ibv_context *verbs)
{
	static uint32_t keys[REGISTRATIONS];
	static char memory[64];

	for (unsigned i = 0; i < REGISTRATIONS; i++) {
		struct ibv_mr *mr = ibv_reg_mr(pd_of(verbs), memory, sizeof(memory), IBV_ACCESS_LOCAL_WRITE |
				IBV_ACCESS_REMOTE_READ);

		CHECK(mr);
		CHECK(mr->lkey != 0 && mr->rkey != 0);
		if (mr->lkey == mr->rkey)
			die("the keys for local and for remote use are the same");
		keys[i] = mr->rkey;
		CHECK(ibv_dereg_mr(mr) == 0);
	}
	qsort(keys, REGISTRATIONS, sizeof(keys[0]), compare);
	for (unsigned i = 1; i < REGISTRATIONS; i++)
		if (keys[i] == keys[i - 1])
			die("a key came again in %u registrations", REGISTRATIONS);
}

/* numbers that are the same in every process can be guessed; by chance they hardly ever are */
static void
check_numbers(const struct numbers *first)
{
	bool same = true;

	for (unsigned i = 0; i < PROCESSES; i++) {
		CHECK(first[i].qp_num > 1 && first[i].qp_num < 0xffffff);
		same &= first[i].qp_num == first[0].qp_num;
	}
	if (same)
		die("the first queue pair has the number %lu in every process", first[0].qp_num);
	same = true;
	for (unsigned i = 0; i < PROCESSES; i++)
		same &= first[i].rkey == first[0].rkey;
	if (same)
		die("the first region has the key %#lx in every process", first[0].rkey);
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	struct rdma_event_channel *channel;
	struct numbers first[PROCESSES];
	struct child server[PROCESSES];
	unsigned port[PROCESSES];
	struct link link;

	if (argc == 4)
		return serve(argv[2]);

	channel = open_channel();
	for (unsigned i = 0; i < PROCESSES; i++) {
		server[i] = start("server", address, 0);
		port[i] = (unsigned)expect(&server[i], "listening ");
		if (!connect_link(&link, channel, address, port[i], SIZE, DEPTH))
			die("refused");
		first[i] = numbers_of(&server[i]);
		if (i == 0)
			register_often(link.id->verbs);
		rdma_disconnect(link.id);
		link_close(&link);
	}
	check_numbers(first);

	for (enum wrong wrong = OWN; wrong <= REMOTE_LOCALLY; wrong++) {
		enum ibv_wc_status right = wrong == REMOTE_LOCALLY ? IBV_WC_LOC_PROT_ERR : IBV_WC_REM_ACCESS_ERR;

		for (unsigned i = 0; i < 2; i++) {
			enum ibv_wr_opcode opcode = i == 0 ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ;
			enum ibv_wc_status status = status_with(wrong, opcode, channel, address, port[0], &server[0],
					(uint32_t)first[0].rkey);

			if (status != right)
				die("%s with the wrong key %d: %s", i == 0 ? "a write" : "a read", (int)wrong,
						ibv_wc_status_str(status));
		}
	}

	for (unsigned i = 0; i < PROCESSES; i++) {
		tell(&server[i], "quit");
		finish(&server[i]);
	}
	rdma_destroy_event_channel(channel);
	release_pd();
	printf("%u registrations without the same key twice; %u processes with keys of their own\n",
			REGISTRATIONS, PROCESSES);

	return 0;
}
