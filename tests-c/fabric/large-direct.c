/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * large-direct [ADDRESS]: writes and reads of private memory of a process of this machine that are so large that both
 * processes copy parts of them: while the owner of the memory runs, is stopped, is killed or takes the memory away, with
 * two initiators, and with a program that waits for events. No byte may be copied after the completion, nor be missing then.
 *
 *   softrdma run -- large-direct
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: LARGE_MIB (20: the largest operation), LARGE_ROUNDS (5: how
 * often each case that depends on the moment runs), PAIR_WAIT_MS (10000: how long anything may take). With
 * SOFTRDMA_DIRECT=0 or SOFTRDMA_SOCKET_ONLY=1 nothing works without the owner, and the rest has to come out in the same
 * way.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "two-processes.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define WORD ((size_t)8)
#define DEPTH 16
/* more than there is room for frames that the owner has not read */
#define UNREAD 500
#define STREAM (4 * MIB)

/* since Linux 6.1 */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ)

enum loss {
	DEREGISTERED,
	REGISTERED_ANEW,
	REVOKED,
	IN_ERROR,
	UNMAPPED,
	LOSSES
};
static const char *const losses[] = {"deregistered", "registered anew", "access revoked", "queue pair in error",
		"unmapped"};

static const char *address;

static bool
is_set(const char *name, const char *value)
{
	const char *is = getenv(name);

	return is && strcmp(is, value) == 0;
}

static bool
is_direct(void)
{
	return !is_set("SOFTRDMA_DIRECT", "0") && !is_set("SOFTRDMA_SOCKET_ONLY", "1");
}

static int
rounds(void)
{
	return (int)env_number("LARGE_ROUNDS", 5);
}

/* The memory of each side: what is written from or to, what is read to, and a word for messages. */
static size_t
largest(void)
{
	return env_number("LARGE_MIB", 20) * MIB - 4 * KIB;
}

static size_t
memory_size(void)
{
	return 2 * largest() + WORD;
}

static void
polled(struct link *link)
{
	struct ibv_wc wc;

	if (!comes_within(link, wait_ms(), &wc))
		die("no completion");
	if (wc.status != IBV_WC_SUCCESS)
		die("%s", ibv_wc_status_str(wc.status));
}

/* --- the server: takes its memory away --------------------------------------------------------------- */

/* private memory becomes that of the link */
static void
use_private(struct link *link)
{
	CHECK(ibv_dereg_mr(link->mr) == 0);
	free(link->memory);
	link->memory = mmap(NULL, STREAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(link->memory != MAP_FAILED);
	link->mr = ibv_reg_mr(pd_of(link->id->verbs), link->memory, STREAM, ACCESS);
	CHECK(link->mr);
}

/* while the client writes; afterwards no byte may come */
static void
lose(struct link *link, enum loss loss)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

	switch (loss) {
	case REGISTERED_ANEW:
		CHECK(ibv_dereg_mr(link->mr) == 0);
		link->mr = ibv_reg_mr(pd_of(link->id->verbs), link->memory, STREAM, ACCESS);
		CHECK(link->mr);
		break;
	case REVOKED:
		CHECK(ibv_modify_qp(link->id->qp, &attr, IBV_QP_ACCESS_FLAGS) == 0);
		break;
	case IN_ERROR:
		CHECK(ibv_modify_qp(link->id->qp, &attr, IBV_QP_STATE) == 0);
		break;
	case UNMAPPED:
		CHECK(munmap(link->memory, STREAM) == 0);
		return;
	default:
		CHECK(ibv_dereg_mr(link->mr) == 0);
		link->mr = NULL;
	}
	memset(link->memory, 0, STREAM);
	for (int i = 0; i < 10; i++) {
		for (size_t at = 0; at < STREAM; at += WORD)
			if (*(volatile uint64_t *)(link->memory + at) != 0)
				die("a byte came after: %s", losses[loss]);
	}
}

static void
serve_losses(void)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 4);

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	for (int i = 0; i < LOSSES * rounds(); i++) {
		const enum loss loss = (enum loss)(i % LOSSES);
		const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
		struct link link;

		link_open(&link, await_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST), WORD, DEPTH);
		use_private(&link);
		accept_link(&link);
		await_event(channel, RDMA_CM_EVENT_ESTABLISHED);
		while (*(volatile char *)link.memory == 0)
			CHECK(now_ns() < end);
		pause_for(i * 137 % 3000);
		lose(&link, loss);
		await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
		rdma_disconnect(link.id);
		if (link.mr)
			CHECK(ibv_dereg_mr(link.mr) == 0);
		if (loss != UNMAPPED)
			CHECK(munmap(link.memory, STREAM) == 0);
		/* for link_close() */
		link.memory = malloc(WORD);
		link.mr = ibv_reg_mr(pd_of(link.id->verbs), link.memory, WORD, 0);
		CHECK(link.memory && link.mr);
		link_close(&link);
	}
	close_server(channel, listener);
}

/* a child that has all memory in common with this process, as long as neither writes to it, until this process ends */
static void
share_memory(void)
{
	const pid_t parent = getpid(), child = fork();

	CHECK(child >= 0);
	if (child > 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent)
		pause();
	_exit(0);
}

/* --- the server: sends messages back ----------------------------------------------------------------- */

static void
serve(void)
{
	const unsigned wanted = (unsigned)env_number("LARGE_CLIENTS", 1);
	struct rdma_event_channel *channel;
	struct rdma_cm_id *listener;
	struct link links[2];
	unsigned taken = 0, ended = 0;

	if (wanted == 0) {
		serve_losses();
		return;
	}
	channel = open_channel();
	listener = listen_at(channel, address, 0, 4);
	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	while (ended < wanted) {
		struct rdma_cm_event *event;

		for (unsigned i = 0; i < taken; i++) {
			struct ibv_wc wc;

			if (drain(&links[i], &wc) == 0 || wc.status != IBV_WC_SUCCESS)
				continue;
			if (wc.opcode == IBV_WC_RECV)
				post(&links[i], IBV_WR_SEND, 0, memory_size() - WORD, WORD, 0);
			else
				post_receive(&links[i], 0, memory_size() - WORD, WORD);
		}
		event = next_event(channel, 1);
		if (!event)
			continue;
		if (event->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
			struct rdma_cm_id *id = event->id;

			CHECK(rdma_ack_cm_event(event) == 0 && taken < wanted);
			link_open(&links[taken], id, memory_size(), DEPTH);
			/* all clients write to the memory of the first link */
			if (taken > 0) {
				CHECK(ibv_dereg_mr(links[taken].mr) == 0);
				free(links[taken].memory);
				links[taken].memory = links[0].memory;
				links[taken].mr = links[0].mr;
			}
			if (env_number("LARGE_SHARED", 0) == 1)
				share_memory();
			post_receive(&links[taken], 0, memory_size() - WORD, WORD);
			accept_link(&links[taken++]);
			continue;
		}
		if (event->event == RDMA_CM_EVENT_DISCONNECTED) {
			rdma_disconnect(event->id);
			ended++;
		}
		CHECK(rdma_ack_cm_event(event) == 0);
	}
	for (unsigned i = taken; i-- > 0;) {
		if (i > 0) {
			links[i].memory = malloc(WORD);
			links[i].mr = ibv_reg_mr(pd_of(links[i].id->verbs), links[i].memory, WORD, 0);
			CHECK(links[i].memory && links[i].mr);
		}
		link_close(&links[i]);
	}
	close_server(channel, listener);
}

/* --- the clients ----------------------------------------------------------------------------------- */

static pid_t
server_pid(void)
{
	return (pid_t)env_number("LARGE_SERVER", 0);
}

static void
continue_server(void)
{
	CHECK(kill(server_pid(), SIGCONT) == 0);
}

/* a message, and back: the owner has come to all that was sent before */
static void
greet(struct link *link)
{
	post_receive(link, 1, memory_size() - WORD, WORD);
	post(link, IBV_WR_SEND, 2, memory_size() - WORD, WORD, 0);
	complete(link);
	complete(link);
}

/* until a write needs no answer: soon after the connection was made, both sides know of each other's regions */
static void
until_direct(struct link *link)
{
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_wc wc;

	for (bool done = false; !done;) {
		stop_process(server_pid());
		post(link, IBV_WR_RDMA_WRITE, 0, 0, WORD, 0);
		done = comes_within(link, 20, &wc);
		continue_server();
		if (!done && (!comes_within(link, wait_ms(), &wc) || now_ns() > end))
			die("no write is done without the owner of the memory");
		CHECK(wc.status == IBV_WC_SUCCESS);
	}
}

/* Writes new bytes, and changes them at once; then reads them. */
static void
write_and_read(struct link *link, size_t size, size_t at, void (*wait)(struct link *), uint64_t seed)
{
	char *source = link->memory, *into = link->memory + largest();
	char *wanted = malloc(size);

	CHECK(wanted);
	fill(wanted, size, seed);
	memcpy(source, wanted, size);
	post(link, IBV_WR_RDMA_WRITE, 1, 0, size, at);
	wait(link);
	memset(source, 0, size);
	memset(into, 0, size);
	post(link, IBV_WR_RDMA_READ, 2, largest(), size, at);
	wait(link);
	if (memcmp(into, wanted, size) != 0)
		die("%zu bytes at %zu are not those that were written", size, at);
	free(wanted);
}

static void
wait_for_event(struct link *link)
{
	complete(link);
}

static size_t
any_size(struct random *random, size_t most)
{
	return 256 * KIB + 1 + next_random(random) % (most - 256 * KIB);
}

/* both run, and the program polls, or waits for events */
static void
work_together(struct link *link, void (*wait)(struct link *))
{
	struct random random = {7};

	for (uint64_t i = 1; i <= 100; i++) {
		const size_t size = any_size(&random, 3 * MIB);

		write_and_read(link, size, next_random(&random) % MIB, wait, i);
	}
	write_and_read(link, largest(), 0, wait, 3);
	/* several at once, and small ones between them */
	for (unsigned i = 0; i < DEPTH; i++)
		post(link, i % 3 == 2 ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE, i, i * MIB, i % 2 ? WORD : MIB, i * MIB);
	for (unsigned i = 0; i < DEPTH; i++)
		CHECK(complete(link).wr_id == i);
}

/* the owner is stopped, and comes to the frames of all that was done only when that is long over */
static void
work_alone(struct link *link)
{
	static const size_t sizes[] = {256 * KIB + 1, 300 * KIB, MIB, 5 * MIB + 3};
	const size_t size = 300 * KIB;

	until_direct(link);
	stop_process(server_pid());
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		write_and_read(link, sizes[i], 5 * i, polled, i + 1);
	write_and_read(link, largest(), 0, polled, 9);
	for (uint64_t i = 0; i < UNREAD; i++) {
		fill(link->memory, size, i);
		post(link, IBV_WR_RDMA_WRITE, 1, 0, size, 0);
		polled(link);
	}
	memset(link->memory, 0, size);
	continue_server();
	greet(link);
	fill(link->memory, size, UNREAD - 1);
	post(link, IBV_WR_RDMA_READ, 2, largest(), size, 0);
	polled(link);
	CHECK(memcmp(link->memory, link->memory + largest(), size) == 0);
}

/* the owner is stopped and continued at any moment */
static void
work_with_pauses(struct link *link)
{
	const pid_t client = getpid();
	pid_t child;

	until_direct(link);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		struct random random = {11};

		while (getppid() == client) {
			kill(server_pid(), SIGSTOP);
			pause_for((long)(next_random(&random) % 2000));
			kill(server_pid(), SIGCONT);
			pause_for((long)(next_random(&random) % 2000));
		}
		_exit(0);
	}
	for (uint64_t i = 0; i < 40 * (uint64_t)rounds(); i++)
		write_and_read(link, STREAM - i * 1000, i, polled, i);
	CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
	continue_server();
	greet(link);
}

/* the bytes of a process that are in huge pages */
static size_t
in_huge_pages(pid_t pid)
{
	char path[64], line[256];
	size_t sum = 0, kib;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	file = fopen(path, "r");
	CHECK(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "AnonHugePages: %zu kB", &kib) == 1)
			sum += kib * KIB;
	fclose(file);

	return sum;
}

/*
 * whether the kernel moves memory to huge pages when it is asked, does so here, and the administrator permits it; in
 * strict mode no process asks another one whether its memory can be mapped, and so none is moved
 */
static bool
can_move(void)
{
	char *memory = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
	char *inside, line[64] = "[never]";
	bool can;

	if (file) {
		CHECK(fgets(line, sizeof(line), file));
		fclose(file);
	}
	CHECK(memory != MAP_FAILED);
	memset(memory, 1, 4 * MIB);
	inside = (char *)(((uintptr_t)memory + 2 * MIB - 1) / (2 * MIB) * (2 * MIB));
	can = !getenv("SOFTRDMA_STRICT") && !strstr(line, "[never]") && madvise(inside, 2 * MIB, MADV_COLLAPSE) == 0;
	CHECK(munmap(memory, 4 * MIB) == 0);

	return can;
}

/* writes a part again and again: the owner of the memory hears of it now and then */
static void
until_moved(struct link *link, size_t size, size_t at, size_t wanted)
{
	/* before the parent gives up waiting for this process */
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000 / 3;

	do {
		if (now_ns() > end)
			die("%zu bytes of the memory are in huge pages", in_huge_pages(server_pid()));
		write_and_read(link, size, at, polled, at + 1);
		pause_for(1000);
	} while (in_huge_pages(server_pid()) < wanted);
}

/* Memory is in huge pages soon after it has become the owner's alone: here a child has it too, until it is written. */
static void
work_until_moved(struct link *link)
{
	until_direct(link);
	until_moved(link, 6 * MIB, 0, 4 * MIB);
	/* all but where the memory begins, and ends */
	until_moved(link, largest() - 6 * MIB, 6 * MIB, largest() - 5 * MIB);
}

/* writes until one fails; the status */
static enum ibv_wc_status
stream(struct link *link)
{
	struct ibv_wc wc;

	memset(link->memory, 1, STREAM);
	do {
		post(link, IBV_WR_RDMA_WRITE, 1, 0, STREAM, 0);
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
		/* the second one in the middle of a write */
		return status == IBV_WC_REM_INV_REQ_ERR || status == IBV_WC_REM_ACCESS_ERR;
	case IN_ERROR:
		return status == IBV_WC_RETRY_EXC_ERR;
	default:
		return status == IBV_WC_REM_ACCESS_ERR;
	}
}

static void
work_with_losses(struct rdma_event_channel *channel, unsigned port)
{
	for (int i = 0; i < LOSSES * rounds(); i++) {
		const enum loss loss = (enum loss)(i % LOSSES);
		enum ibv_wc_status status;
		struct link link;

		CHECK(connect_link(&link, channel, address, port, STREAM, DEPTH));
		status = stream(&link);
		if (!fits(loss, status))
			die("writes to memory that is %s: %s", losses[loss], ibv_wc_status_str(status));
		rdma_disconnect(link.id);
		/* the server has taken the end of this connection before it gets the request of the next one */
		await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
		link_close(&link);
	}
}

static void
work_until_killed(struct link *link, struct rdma_event_channel *channel)
{
	enum ibv_wc_status status;

	report("connected");
	status = stream(link);
	if (status != IBV_WC_RETRY_EXC_ERR)
		die("the owner was killed: %s", ibv_wc_status_str(status));
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	link->ended = true;
}

/* the other client writes to the same bytes */
static void
work_with_another(struct link *link)
{
	const char byte = (char)env_number("LARGE_BYTE", 1);
	const char *into = link->memory + largest();
	char line[16];

	memset(link->memory, byte, STREAM);
	post(link, IBV_WR_RDMA_WRITE, 1, 0, STREAM, 0);
	polled(link);
	report("connected");
	CHECK(listen_to_parent(line, sizeof(line)));
	for (int i = 0; i < 20 * rounds(); i++) {
		post(link, IBV_WR_RDMA_WRITE, 1, 0, STREAM, 0);
		polled(link);
		post(link, IBV_WR_RDMA_READ, 2, largest(), STREAM, 0);
		polled(link);
		for (size_t at = 0; at < STREAM; at += 512)
			CHECK(into[at] == 1 || into[at] == 2);
	}
}

static void
work(const char *what, unsigned port)
{
	struct rdma_event_channel *channel = open_channel();
	struct link link;

	if (strcmp(what, "losses") == 0) {
		work_with_losses(channel, port);
		release_pd();
		rdma_destroy_event_channel(channel);
		return;
	}
	CHECK(connect_link(&link, channel, address, port, memory_size(), DEPTH));
	if (strcmp(what, "together") == 0)
		work_together(&link, polled);
	else if (strcmp(what, "events") == 0)
		work_together(&link, wait_for_event);
	else if (strcmp(what, "alone") == 0)
		work_alone(&link);
	else if (strcmp(what, "pauses") == 0)
		work_with_pauses(&link);
	else if (strcmp(what, "moved") == 0)
		work_until_moved(&link);
	else if (strcmp(what, "killed") == 0)
		work_until_killed(&link, channel);
	else
		work_with_another(&link);
	rdma_disconnect(link.id);
	link_close(&link);
	release_pd();
	rdma_destroy_event_channel(channel);
}

/* --- the cases ------------------------------------------------------------------------------------- */

static struct child
start_server(const char *clients, unsigned *port)
{
	struct child server;
	char pid[16];

	setenv("LARGE_CLIENTS", clients, 1);
	server = start("server", address, 0);
	*port = (unsigned)expect(&server, "listening ");
	snprintf(pid, sizeof(pid), "%d", (int)server.pid);
	setenv("LARGE_SERVER", pid, 1);

	return server;
}

static void
run_case(const char *what, const char *clients, const char *said)
{
	unsigned port;
	struct child server = start_server(clients, &port);
	struct child client = start(what, address, port);

	finish(&client);
	finish(&server);
	printf("%s\n", said);
	fflush(stdout);
}

static void
owner_killed(void)
{
	for (int i = 0; i < 2 * rounds(); i++) {
		unsigned port;
		struct child server = start_server("1", &port);
		struct child client = start("killed", address, port);

		expect(&client, "connected");
		pause_for(1000 + i * 737);
		kill_child(&server);
		finish(&client);
	}
	printf("an owner that was killed ended the connection\n");
}

static void
two_initiators(void)
{
	unsigned port;
	struct child server = start_server("2", &port), clients[2];

	for (int i = 0; i < 2; i++) {
		setenv("LARGE_BYTE", i == 0 ? "1" : "2", 1);
		clients[i] = start("another", address, port);
		expect(&clients[i], "connected");
	}
	for (int i = 0; i < 2; i++)
		tell(&clients[i], "go");
	for (int i = 0; i < 2; i++)
		finish(&clients[i]);
	finish(&server);
	printf("two initiators wrote to the same bytes\n");
}

int
main(int argc, char *argv[])
{
	address = argc == 4 ? argv[2] : argc > 1 ? argv[1] : "127.0.0.1";
	if (play_role(argc, argv, address, serve, work))
		return 0;

	skip_without(address);
	run_case("together", "1", "polled");
	run_case("events", "1", "with events");
	if (is_direct()) {
		run_case("alone", "1", "while the owner was stopped");
		run_case("pauses", "1", "while the owner was stopped now and then");
		setenv("LARGE_SHARED", "1", 1);
		if (can_move())
			run_case("moved", "1", "in memory that was moved to huge pages");
		else
			printf("not run: no memory is moved to huge pages here\n");
		unsetenv("LARGE_SHARED");
	}
	run_case("losses", "0", "no byte came after memory or access was taken away");
	owner_killed();
	two_initiators();

	return 0;
}
