/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * direct [ADDRESS]: writes, reads and flushes that the initiator executes in the memory of a process of this machine,
 * as an RDMA device does without the other side's processor: while the owner of the memory is stopped, is killed,
 * takes the memory or the access away in the middle of a stream of writes, or writes to the same bytes itself.
 *
 *   softrdma run -- direct
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: DIRECT_ROUNDS (5: how often each case that depends on the
 * moment runs), PAIR_WAIT_MS (10000: how long anything may take). With SOFTRDMA_DIRECT=0 or SOFTRDMA_SOCKET_ONLY=1
 * nothing works without the owner, and the rest has to come out in the same way.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "two-processes.h"

#define SIZE ((size_t)1 << 20)
#define DEPTH 16
#define WORD ((size_t)8)
/* the parts of the client's memory, and of the server's */
#define SOURCE ((size_t)0)
#define INTO (SIZE / 2)
#define STREAM ((size_t)4096)
#define OPERATIONS 10000

enum loss {
	DEREGISTERED,
	REGISTERED_ANEW,
	REVOKED,
	IN_ERROR,
	UNMAPPED,
	TRUNCATED,
	LOSSES
};
static const char *const losses[] = {"deregistered", "registered anew", "access revoked", "queue pair in error",
		"unmapped", "truncated"};
#define MOST ((size_t)100000)
static const size_t lengths[] = {8, 4096, MOST};
#define N_LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

static bool
is_set(const char *name, const char *value)
{
	const char *is = getenv(name);

	return is && strcmp(is, value) == 0;
}

static int
rounds(void)
{
	return (int)env_number("DIRECT_ROUNDS", 5);
}

/* whether the initiator needs the owner for nothing */
static bool
is_direct(void)
{
	return !is_set("SOFTRDMA_DIRECT", "0") && !is_set("SOFTRDMA_SOCKET_ONLY", "1");
}

static enum rdma_cm_event_type
take_event(struct rdma_event_channel *channel, struct rdma_cm_id **id)
{
	struct rdma_cm_event *event = next_event(channel, wait_ms());
	enum rdma_cm_event_type type;

	CHECK(event);
	type = event->event;
	if (id)
		*id = event->id;
	CHECK(rdma_ack_cm_event(event) == 0);

	return type;
}

/* --- the server ---------------------------------------------------------------------------------- */

/* memory of a file, which can be truncated, or private memory */
struct region {
	int file;
	char *memory;
};

static struct region
map_region(enum loss loss)
{
	/* a file goes on where it is mapped, as on a device; see mapped.c */
	const int flags = loss == UNMAPPED ? MAP_PRIVATE : MAP_SHARED;
	struct region region = {.file = memfd_create("direct", MFD_CLOEXEC)};

	CHECK(region.file >= 0 && ftruncate(region.file, SIZE) == 0);
	region.memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, flags, region.file, 0);
	CHECK(region.memory != MAP_FAILED);

	return region;
}

/* the memory of the link becomes that of the region */
static void
use_region(struct link *link, const struct region *region)
{
	CHECK(ibv_dereg_mr(link->mr) == 0);
	free(link->memory);
	link->memory = region->memory;
	link->mr = ibv_reg_mr(pd_of(link->id->verbs), link->memory, SIZE, IBV_ACCESS_LOCAL_WRITE |
			IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
	CHECK(link->mr);
}

static void
set_state(struct link *link, enum ibv_qp_state state)
{
	struct ibv_qp_attr attr = {.qp_state = state};

	CHECK(ibv_modify_qp(link->id->qp, &attr, IBV_QP_STATE) == 0);
}

/* takes it away while the client writes; afterwards no byte may come */
static void
lose(struct link *link, struct region *region, enum loss loss)
{
	struct ibv_qp_attr attr = {.qp_access_flags = 0};

	switch (loss) {
	case DEREGISTERED:
	case REGISTERED_ANEW:
		CHECK(ibv_dereg_mr(link->mr) == 0);
		link->mr = NULL;
		if (loss == DEREGISTERED)
			break;
		link->mr = ibv_reg_mr(pd_of(link->id->verbs), link->memory, SIZE, IBV_ACCESS_LOCAL_WRITE |
				IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
		CHECK(link->mr);
		break;
	case REVOKED:
		CHECK(ibv_modify_qp(link->id->qp, &attr, IBV_QP_ACCESS_FLAGS) == 0);
		break;
	case IN_ERROR:
		set_state(link, IBV_QPS_ERR);
		break;
	case UNMAPPED:
		CHECK(munmap(region->memory, SIZE) == 0);
		return;
	default:
		CHECK(ftruncate(region->file, 0) == 0);
		return;
	}
	memset(region->memory, 0, SIZE);
	for (int i = 0; i < 50; i++) {
		for (size_t at = 0; at < MOST; at += WORD)
			if (*(volatile uint64_t *)(region->memory + at) != 0)
				die("a byte came after: %s", losses[loss]);
	}
}

static void
release_region(struct link *link, struct region *region, enum loss loss)
{
	if (loss != UNMAPPED) {
		if (link->mr)
			CHECK(ibv_dereg_mr(link->mr) == 0);
		CHECK(munmap(region->memory, SIZE) == 0);
	} else {
		CHECK(ibv_dereg_mr(link->mr) == 0);
	}
	close(region->file);
	/* for link_close() */
	link->memory = malloc(WORD);
	link->mr = ibv_reg_mr(pd_of(link->id->verbs), link->memory, WORD, IBV_ACCESS_LOCAL_WRITE);
	CHECK(link->memory && link->mr);
}

static void
serve_losses(struct rdma_event_channel *channel)
{
	for (int i = 0; i < LOSSES * (int)N_LENGTHS * rounds(); i++) {
		const enum loss loss = (enum loss)(i % LOSSES);
		struct region region = map_region(loss);
		struct rdma_cm_id *id;
		struct link link;

		CHECK(take_event(channel, &id) == RDMA_CM_EVENT_CONNECT_REQUEST);
		link_open(&link, id, SIZE, DEPTH);
		use_region(&link, &region);
		accept_link(&link);
		CHECK(!link.ended && take_event(channel, NULL) == RDMA_CM_EVENT_ESTABLISHED);
		/* in the middle of the stream */
		for (uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000; region.memory[0] == 0;)
			CHECK(now_ns() < end);
		pause_for(i * 37 % 500);
		lose(&link, &region, loss);
		CHECK(take_event(channel, NULL) == RDMA_CM_EVENT_DISCONNECTED);
		rdma_disconnect(link.id);
		release_region(&link, &region, loss);
		link_close(&link);
	}
}

/* its own writes go to the same bytes as those of two clients */
static void
serve_two(struct link links[2])
{
	char line[16];

	memset(links[0].memory, 3, STREAM);
	report("ready");
	CHECK(listen_to_parent(line, sizeof(line)));
	for (int i = 0; i < OPERATIONS; i++)
		memset(links[0].memory + (size_t)i % (STREAM / WORD) * WORD, 3, WORD);
	for (size_t at = 0; at < STREAM; at++) {
		const char byte = ((volatile char *)links[0].memory)[at];

		CHECK(byte >= 1 && byte <= 3);
	}
}

/* a message that waits for its receive, and a write behind it */
static void
serve_order(struct link *link)
{
	char line[16];

	report("ready");
	/* by now both were posted */
	CHECK(listen_to_parent(line, sizeof(line)));
	for (int i = 0; i < 50; i++) {
		CHECK(((volatile char *)link->memory)[INTO] == 0);
		pause_for(100);
	}
	post_receive(link, 1, 0, WORD);
	CHECK(complete(link).opcode == IBV_WC_RECV);
	for (uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000; ((volatile char *)link->memory)[INTO] == 0;)
		CHECK(now_ns() < end);
}

static int
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 4), *id;
	const int clients = (int)env_number("DIRECT_CLIENTS", 1);
	struct link links[2];

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	if (clients == 0) {
		serve_losses(channel);
	} else {
		for (int i = 0; i < clients; i++) {
			CHECK(take_event(channel, &id) == RDMA_CM_EVENT_CONNECT_REQUEST);
			link_open(&links[i], id, SIZE, DEPTH);
			/* all clients write to the memory of the first link */
			if (i > 0) {
				CHECK(ibv_dereg_mr(links[i].mr) == 0);
				free(links[i].memory);
				links[i].memory = links[0].memory;
				links[i].mr = links[0].mr;
			}
			memset(links[i].memory, 0, SIZE);
			accept_link(&links[i]);
			CHECK(!links[i].ended && take_event(channel, NULL) == RDMA_CM_EVENT_ESTABLISHED);
		}
		if (clients == 2)
			serve_two(links);
		else
			serve_order(&links[0]);
		for (int i = 0; i < clients; i++)
			CHECK(take_event(channel, NULL) == RDMA_CM_EVENT_DISCONNECTED);
		for (int i = clients - 1; i >= 0; i--) {
			rdma_disconnect(links[i].id);
			if (i > 0) {
				links[i].memory = malloc(WORD);
				links[i].mr = ibv_reg_mr(pd_of(links[i].id->verbs), links[i].memory, WORD, 0);
				CHECK(links[i].memory && links[i].mr);
			}
			link_close(&links[i]);
		}
	}
	close_server(channel, listener);

	return 0;
}

/* --- the client ---------------------------------------------------------------------------------- */

static pid_t
server_pid(void)
{
	return (pid_t)env_number("DIRECT_SERVER", 0);
}

/* until a write needs no answer: soon after the connection was made, both sides know of each other's regions */
static void
until_direct(struct link *link)
{
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_wc wc;

	for (;;) {
		bool done;

		stop_process(server_pid());
		post(link, IBV_WR_RDMA_WRITE, 0, SOURCE, WORD, SIZE - WORD);
		done = comes_within(link, 20, &wc);
		if (done)
			break;
		CHECK(kill(server_pid(), SIGCONT) == 0);
		CHECK(comes_within(link, wait_ms(), &wc) && wc.status == IBV_WC_SUCCESS);
		if (now_ns() > end)
			die("no write is done without the owner of the memory");
		pause_for(1000);
	}
	CHECK(wc.status == IBV_WC_SUCCESS);
}

/* with the server stopped: everything, over and over */
static void
work_alone(struct link *link)
{
	static const size_t sizes[] = {8, 100, 5000, 20000, 200000};

	until_direct(link);
	for (uint64_t i = 1; i <= OPERATIONS; i++) {
		const size_t at = i * 24 % (SIZE / 4);

		memcpy(link->memory + SOURCE, &i, WORD);
		post(link, IBV_WR_RDMA_WRITE, 1, SOURCE, WORD, at);
		post(link, IBV_WR_RDMA_READ, 2, INTO, WORD, at);
		CHECK(complete(link).wr_id == 1 && complete(link).wr_id == 2);
		CHECK(memcmp(link->memory + INTO, &i, WORD) == 0);
	}
	report("small ones");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		fill(link->memory + SOURCE, sizes[i], i + 1);
		memset(link->memory + INTO, 0, sizes[i]);
		post(link, IBV_WR_RDMA_WRITE, 1, SOURCE, sizes[i], 3 * i);
		post(link, IBV_WR_RDMA_READ, 2, INTO, sizes[i], 3 * i);
		CHECK(complete(link).wr_id == 1 && complete(link).wr_id == 2);
		CHECK(memcmp(link->memory + INTO, link->memory + SOURCE, sizes[i]) == 0);
	}
}

/* with the server stopped: what is wrong waits for it, and fails as it always does */
static void
break_a_rule(struct link *link, enum ibv_wc_status wanted)
{
	struct ibv_wc wc;

	if (is_direct()) {
		until_direct(link);
		CHECK(kill(server_pid(), SIGCONT) == 0);
	}
	post(link, IBV_WR_RDMA_WRITE, 1, SOURCE, WORD, 0);
	CHECK(comes_within(link, wait_ms(), &wc) && wc.status == IBV_WC_SUCCESS);
	switch (env_number("DIRECT_RULE", 0)) {
	case 0:
		link->remote.key ^= 0x5550;
		post(link, IBV_WR_RDMA_WRITE, 2, SOURCE, WORD, 0);
		break;
	case 1:
		post(link, IBV_WR_RDMA_WRITE, 2, SOURCE, WORD, SIZE - WORD + 1);
		break;
	default:
		post(link, IBV_WR_RDMA_READ, 2, INTO, WORD, (size_t)0 - 1);
	}
	CHECK(comes_within(link, wait_ms(), &wc));
	CHECK(wc.wr_id == 2 && wc.status == wanted);
}

/* writes until one fails; the status */
static enum ibv_wc_status
stream(struct link *link, size_t length)
{
	struct ibv_wc wc;

	memset(link->memory + SOURCE, 1, length);
	do {
		post(link, IBV_WR_RDMA_WRITE, 1, SOURCE, length, 0);
		if (!comes_within(link, wait_ms(), &wc))
			die("a write does not complete");
	} while (wc.status == IBV_WC_SUCCESS);

	return wc.status;
}

static bool
fits(enum loss loss, enum ibv_wc_status status)
{
	switch (loss) {
	case REVOKED:
		/* the second one in the middle of a payload */
		return status == IBV_WC_REM_INV_REQ_ERR || status == IBV_WC_REM_ACCESS_ERR;
	case IN_ERROR:
		return status == IBV_WC_RETRY_EXC_ERR;
	default:
		return status == IBV_WC_REM_ACCESS_ERR;
	}
}

static void
work_with_losses(struct rdma_event_channel *channel, const char *address, unsigned port)
{
	for (int i = 0; i < LOSSES * (int)N_LENGTHS * rounds(); i++) {
		const enum loss loss = (enum loss)(i % LOSSES);
		const size_t length = lengths[i / LOSSES % (int)N_LENGTHS];
		enum ibv_wc_status status;
		struct link link;

		CHECK(connect_link(&link, channel, address, port, SIZE, DEPTH));
		status = stream(&link, length);
		if (!fits(loss, status))
			die("writes of %zu bytes to memory that is %s: %s", length, losses[loss],
					ibv_wc_status_str(status));
		rdma_disconnect(link.id);
		link_close(&link);
		report("lost");
	}
}

static void
work_in_order(struct link *link)
{
	report("connected");
	memset(link->memory, 1, WORD);
	post(link, IBV_WR_SEND, 1, SOURCE, WORD, 0);
	post(link, IBV_WR_RDMA_WRITE, 2, SOURCE, WORD, INTO);
	report("posted");
	CHECK(complete(link).wr_id == 1 && complete(link).wr_id == 2);
}

static void
work_with_another(struct link *link)
{
	const int byte = (int)env_number("DIRECT_BYTE", 1);
	char line[16];

	report("connected");
	CHECK(listen_to_parent(line, sizeof(line)));
	memset(link->memory + SOURCE, byte, WORD);
	for (int i = 0; i < OPERATIONS; i++) {
		const size_t at = (size_t)i % (STREAM / WORD) * WORD;

		post(link, IBV_WR_RDMA_WRITE, 1, SOURCE, WORD, at);
		post(link, IBV_WR_RDMA_READ, 2, INTO, WORD, at);
		CHECK(complete(link).wr_id == 1 && complete(link).wr_id == 2);
		for (size_t j = 0; j < WORD; j++)
			CHECK(link->memory[INTO + j] >= 1 && link->memory[INTO + j] <= 3);
	}
}

static int
work(const char *what, const char *address, unsigned port)
{
	struct rdma_event_channel *channel = open_channel();
	struct link link;

	if (strcmp(what, "losses") == 0) {
		work_with_losses(channel, address, port);
	} else {
		CHECK(connect_link(&link, channel, address, port, SIZE, DEPTH));
		if (strcmp(what, "alone") == 0) {
			work_alone(&link);
		} else if (strcmp(what, "order") == 0) {
			work_in_order(&link);
		} else if (strcmp(what, "rule") == 0) {
			break_a_rule(&link, IBV_WC_REM_ACCESS_ERR);
		} else if (strcmp(what, "killed") == 0) {
			report("connected");
			CHECK(stream(&link, WORD) == IBV_WC_RETRY_EXC_ERR);
			while (!link.ended)
				link.ended = take_event(channel, NULL) == RDMA_CM_EVENT_DISCONNECTED;
		} else {
			work_with_another(&link);
		}
		rdma_disconnect(link.id);
		link_close(&link);
	}
	release_pd();
	rdma_destroy_event_channel(channel);

	return 0;
}

/* --- the cases ----------------------------------------------------------------------------------- */

static struct child
start_server(const char *address, const char *clients, unsigned *port)
{
	struct child server;
	char pid[16];

	setenv("DIRECT_CLIENTS", clients, 1);
	server = start("server", address, 0);
	*port = (unsigned)expect(&server, "listening ");
	snprintf(pid, sizeof(pid), "%d", (int)server.pid);
	setenv("DIRECT_SERVER", pid, 1);

	return server;
}

static void
owner_stopped(const char *address)
{
	unsigned port;
	struct child server = start_server(address, "1", &port);
	struct child client = start("alone", address, port);

	expect(&client, "small ones");
	finish(&client);
	kill_child(&server);
	printf("%d writes and reads while their owner was stopped\n", 2 * OPERATIONS);
}

static void
owner_killed(const char *address)
{
	for (int i = 0; i < rounds(); i++) {
		unsigned port;
		struct child server = start_server(address, "1", &port);
		struct child client = start("killed", address, port);

		expect(&client, "connected");
		pause_for(i * 700);
		kill_child(&server);
		finish(&client);
	}
	printf("an owner that was killed ended the connection\n");
}

static void
memory_lost(const char *address)
{
	unsigned port;
	struct child server = start_server(address, "0", &port);
	struct child client = start("losses", address, port);

	for (int i = 0; i < LOSSES * (int)N_LENGTHS * rounds(); i++)
		expect(&client, "lost");
	finish(&client);
	finish(&server);
	printf("no byte came after memory or access was taken away\n");
}

static void
two_initiators(const char *address)
{
	unsigned port;
	struct child server = start_server(address, "2", &port), clients[2];

	setenv("DIRECT_BYTE", "1", 1);
	clients[0] = start("another", address, port);
	expect(&clients[0], "connected");
	setenv("DIRECT_BYTE", "2", 1);
	clients[1] = start("another", address, port);
	expect(&clients[1], "connected");
	expect(&server, "ready");
	tell(&server, "go");
	tell(&clients[0], "go");
	tell(&clients[1], "go");
	finish(&clients[0]);
	finish(&clients[1]);
	finish(&server);
	printf("two initiators and the owner wrote to the same bytes\n");
}

static void
order_kept(const char *address)
{
	unsigned port;
	struct child server = start_server(address, "1", &port);
	struct child client = start("order", address, port);

	expect(&server, "ready");
	expect(&client, "connected");
	expect(&client, "posted");
	tell(&server, "posted");
	finish(&client);
	finish(&server);
	printf("a write waited for the message before it\n");
}

static void
rules_kept(const char *address)
{
	static const char *const rules[] = {"0", "1", "2"};

	for (int i = 0; i < 3; i++) {
		unsigned port;
		struct child server = start_server(address, "1", &port), client;

		setenv("DIRECT_RULE", rules[i], 1);
		client = start("rule", address, port);
		finish(&client);
		kill_child(&server);
	}
	printf("a wrong key and wrong ranges were refused\n");
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";

	if (argc == 4) {
		return strcmp(argv[1], "server") == 0 ? serve(argv[2]) :
				work(argv[1], argv[2], (unsigned)atoi(argv[3]));
	}

	skip_without(address);
	if (is_direct())
		owner_stopped(address);
	owner_killed(address);
	memory_lost(address);
	two_initiators(address);
	order_kept(address);
	rules_kept(address);

	return 0;
}
