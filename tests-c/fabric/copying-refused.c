/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copying-refused [ADDRESS]: two processes that move data both ways with every operation, and compare it,
 * over and over. Each time one of them, or both, can suddenly not copy from the other one any more, one
 * copy later than the last time. Then requests whose memory is deregistered before anybody copied it.
 *
 *   softrdma run -- copying-refused
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: COPY_SWITCHES (12: how many copies are made to
 * fail, one after the other), PAIR_WAIT_MS (10000: how long anything may take).
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "two-processes.h"

#define DEPTH 16
#define ROUNDS 3
/* it takes more than one copy to move the most */
#define MOST ((size_t)5 << 18)
#define LEAST ((size_t)16 << 10)

/* the parts of each side's memory */
enum {
	WORDS,
	SOURCE,
	WRITTEN,
	WITH_IMM,
	RECEIVED,
	READ,
	PARTS
};
#define AT(part) ((part) * MOST)
#define SIZE AT(PARTS)

/* a message: where the memory of a side is */
#define WORD sizeof(struct remote)

/* work requests; a receive for each message of the other side, in their order */
enum {
	RECEIVE_READY,
	RECEIVE_IMM,
	RECEIVE_DATA,
	RECEIVE_DONE,
	SEND_READY,
	WRITE,
	WRITE_IMM,
	READ_DATA,
	SEND_DATA,
	SEND_DONE,
	WRS
};

/* waits until this one has completed, besides others */
static void
wait_for(struct link *link, unsigned *seen, unsigned wr_id)
{
	while ((*seen & 1u << wr_id) == 0)
		*seen |= 1u << complete(link).wr_id;
}

static void
compare(struct link *link, int part, size_t size, uint64_t seed, const char *what)
{
	static char wanted[MOST];

	fill(wanted, size, seed);
	if (memcmp(link->memory + AT(part), wanted, size) != 0)
		die("what was %s is not what it should be (%zu bytes)", what, size);
}

/* both sides do the same at the same time */
static void
exchange(struct link *link, bool is_server)
{
	struct remote own = {(uintptr_t)link->memory, link->mr->rkey, (uint32_t)SIZE};

	memcpy(link->memory + AT(WORDS) + WORD, &own, sizeof(own));
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct random random = {round + 1};
		size_t size = round == 0 ? MOST : LEAST + next_random(&random) % (MOST - LEAST);
		uint64_t seed = 2 * round + 1 + is_server, others = 2 * round + 2 - is_server;
		unsigned seen = 0;

		fill(link->memory + AT(SOURCE), size, seed);
		memset(link->memory + AT(WRITTEN), 0, SIZE - AT(WRITTEN));
		post_receive(link, RECEIVE_READY, AT(WORDS), WORD);
		post_receive(link, RECEIVE_IMM, AT(WORDS), 0);
		post_receive(link, RECEIVE_DATA, AT(RECEIVED), size);
		post_receive(link, RECEIVE_DONE, AT(WORDS), WORD);
		post(link, IBV_WR_SEND, SEND_READY, AT(WORDS) + WORD, WORD, 0);
		wait_for(link, &seen, RECEIVE_READY);
		memcpy(&link->remote, link->memory + AT(WORDS), sizeof(link->remote));

		post(link, IBV_WR_RDMA_WRITE, WRITE, AT(SOURCE), size, AT(WRITTEN));
		post(link, IBV_WR_RDMA_READ, READ_DATA, AT(READ), size, AT(SOURCE));
		post(link, IBV_WR_RDMA_WRITE_WITH_IMM, WRITE_IMM, AT(SOURCE), size, AT(WITH_IMM));
		post(link, IBV_WR_SEND, SEND_DATA, AT(SOURCE), size, 0);
		wait_for(link, &seen, READ_DATA);
		compare(link, READ, size, others, "read");
		wait_for(link, &seen, RECEIVE_DATA);
		compare(link, WRITTEN, size, others, "written");
		compare(link, WITH_IMM, size, others, "written with an immediate");
		compare(link, RECEIVED, size, others, "sent");
		CHECK(seen & 1u << RECEIVE_IMM);

		/* the other side needs this memory no more */
		post(link, IBV_WR_SEND, SEND_DONE, AT(WORDS) + WORD, WORD, 0);
		for (unsigned wr_id = 0; wr_id < WRS; wr_id++)
			wait_for(link, &seen, wr_id);
	}
}

/* the status of the next completion */
static enum ibv_wc_status
next_status(struct link *link)
{
	uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct pollfd readable = {.fd = link->channel->fd, .events = POLLIN};
	struct ibv_wc wc;

	while (drain(link, &wc) == 0) {
		if (now_ns() > end)
			die("no completion in %d ms", wait_ms());
		poll(&readable, 1, wait_ms());
	}

	return wc.status;
}

/* until large payloads are copied, if they can be */
static void
leave_tcp(struct link *link)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;

	while (tcp_connections() > 0) {
		CHECK(now_ns() < end);
		nanosleep(&moment, NULL);
	}
	/* its acknowledgement comes behind what the other side says of that */
	post(link, IBV_WR_RDMA_WRITE, 0, AT(SOURCE), WORD, AT(WRITTEN));
	complete(link);
}

/* a request, another one, and the memory of both is gone before anything was copied */
static void
lose_memory(struct link *link, enum ibv_wr_opcode opcode)
{
	char line[16];

	leave_tcp(link);
	report("connected");
	/* now the other side is stopped */
	CHECK(listen_to_parent(line, sizeof(line)));
	post(link, opcode, 0, AT(SOURCE), MOST, AT(WRITTEN));
	post(link, IBV_WR_RDMA_WRITE, 1, AT(SOURCE), MOST, AT(WRITTEN));
	CHECK(ibv_dereg_mr(link->mr) == 0);
	report("deregistered");
	CHECK(next_status(link) == IBV_WC_LOC_PROT_ERR);
	CHECK(next_status(link) == IBV_WC_WR_FLUSH_ERR);
	/* for link_close() */
	link->mr = ibv_reg_mr(pd_of(link->id->verbs), link->memory, SIZE, IBV_ACCESS_LOCAL_WRITE);
	CHECK(link->mr);
}

static enum rdma_cm_event_type
take_event(struct rdma_event_channel *channel, struct rdma_cm_id **id)
{
	struct rdma_cm_event *event = next_event(channel, wait_ms());
	enum rdma_cm_event_type type;

	CHECK(event);
	type = event->event;
	*id = event->id;
	CHECK(rdma_ack_cm_event(event) == 0);

	return type;
}

static int
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 1), *id;
	struct link link;

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	CHECK(take_event(channel, &id) == RDMA_CM_EVENT_CONNECT_REQUEST);
	link_open(&link, id, SIZE, DEPTH);
	if (env_number("COPY_LOSE", 0) > 0)
		post_receive(&link, RECEIVE_DATA, AT(RECEIVED), MOST);
	accept_link(&link);
	CHECK(!link.ended);
	CHECK(take_event(channel, &id) == RDMA_CM_EVENT_ESTABLISHED);
	if (env_number("COPY_LOSE", 0) == 0)
		exchange(&link, true);
	CHECK(take_event(channel, &id) == RDMA_CM_EVENT_DISCONNECTED);
	rdma_disconnect(link.id);
	/* nothing has come of what the client lost */
	if (env_number("COPY_LOSE", 0) > 0)
		CHECK(next_status(&link) == IBV_WC_WR_FLUSH_ERR);
	link_close(&link);
	close_server(channel, listener);

	return 0;
}

static int
work(const char *address, unsigned port)
{
	struct rdma_event_channel *channel = open_channel();
	struct link link;

	CHECK(connect_link(&link, channel, address, port, SIZE, DEPTH));
	switch (env_number("COPY_LOSE", 0)) {
	case 0:
		exchange(&link, false);
		break;
	case 1:
		lose_memory(&link, IBV_WR_RDMA_WRITE);
		break;
	default:
		lose_memory(&link, IBV_WR_SEND);
	}
	rdma_disconnect(link.id);
	link_close(&link);
	release_pd();
	rdma_destroy_event_channel(channel);

	return 0;
}

/* a pair of processes, of which the copy of this number fails; 0 for none */
static void
run_exchange(const char *address, unsigned of_server, unsigned of_client)
{
	const unsigned fails[] = {of_server, of_client};
	struct child children[2];
	unsigned port = 0;

	for (int i = 0; i < 2; i++) {
		char text[64];

		snprintf(text, sizeof(text), "process_vm_readv:%u:EPERM", fails[i]);
		if (fails[i] > 0)
			setenv("SOFTRDMA_FAIL", text, 1);
		else
			unsetenv("SOFTRDMA_FAIL");
		children[i] = start(i == 0 ? "server" : "client", address, port);
		if (i == 0)
			port = (unsigned)expect(&children[i], "listening ");
	}
	unsetenv("SOFTRDMA_FAIL");
	finish(&children[1]);
	finish(&children[0]);
}

static void
run_lose(const char *address, const char *operation)
{
	struct child server, client;
	int status;

	setenv("COPY_LOSE", operation, 1);
	server = start("server", address, 0);
	client = start("client", address, (unsigned)expect(&server, "listening "));
	expect(&client, "connected");
	CHECK(kill(server.pid, SIGSTOP) == 0);
	CHECK(waitpid(server.pid, &status, WUNTRACED) == server.pid && WIFSTOPPED(status));
	tell(&client, "stopped");
	expect(&client, "deregistered");
	CHECK(kill(server.pid, SIGCONT) == 0);
	finish(&client);
	finish(&server);
	unsetenv("COPY_LOSE");
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	const char *only = getenv("SOFTRDMA_SOCKET_ONLY");
	unsigned switches = (unsigned)env_number("COPY_SWITCHES", 12);

	if (argc == 4) {
		return strcmp(argv[1], "server") == 0 ? serve(argv[2]) :
				work(argv[2], (unsigned)atoi(argv[3]));
	}

	run_exchange(address, 0, 0);
	for (unsigned i = 1; i <= switches; i++) {
		run_exchange(address, i, 0);
		run_exchange(address, 0, i);
		run_exchange(address, i, switches + 1 - i);
	}
	printf("data arrived, with and without copies, and across %u changes\n", 3 * switches);
	if (only && strcmp(only, "1") == 0)
		return 0; /* what the socket has room for is sent at once */
	run_lose(address, "1");
	run_lose(address, "2");
	printf("requests without their memory failed\n");

	return 0;
}
