/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork-direct [ADDRESS]: a server that forks when it listens, a client that forks when it has an identifier, and either
 * of them when it has a connection and goes on with it. The process that has the connection then executes writes and
 * reads in the memory of the other one itself, as without a fork: while the owner of the memory is stopped.
 *
 *   softrdma run -- fork-direct
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: PAIR_WAIT_MS (10000: how long anything may take).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "two-processes.h"

#define SIZE ((size_t)1 << 20)
#define DEPTH 8
#define WORD ((size_t)8)
/* large enough to be copied in chunks */
#define LARGE ((size_t)300000)
/* the parts of the memory of each side */
#define SOURCE ((size_t)0)
#define INTO (SIZE / 2)
/* where the client says what its memory is, and where it learns that the server has seen it */
#define SELF (SIZE - sizeof(struct remote))
/* where the peer tries whether its writes are direct */
#define TRIAL (SIZE - sizeof(struct remote) - WORD)

enum moment {
	/* nobody forks */
	NEVER,
	/* a server that listens; a client that has an identifier */
	BEFORE_CONNECTION,
	/* the same by daemon(): the parent is gone */
	DAEMON,
	/* both sides know of each other's memory; the parent goes on, with a child that lives */
	PARENT_GOES_ON,
	MOMENTS
};
static const char *const moments[] = {"never", "before", "daemon", "parent goes on"};

static struct link link_;
static struct rdma_event_channel *channel;
/* of the server: memory that was registered before it forks */
static char *memory;
static struct ibv_mr *mr;

/* --- each side ----------------------------------------------------------------------------------- */

static void
expect_order(const char *wanted)
{
	char line[32];

	if (!listen_to_parent(line, sizeof(line)) || strcmp(line, wanted) != 0)
		die("no order to %s", wanted);
}

/* forks if it is time to; returns in the process that goes on */
static void
fork_at(enum moment now, enum moment wanted)
{
	int alive[2];
	char byte;
	pid_t pid;

	if (now != wanted)
		return;
	if (now == DAEMON) {
		CHECK(daemon(1, 1) == 0);
		return;
	}
	CHECK(pipe(alive) == 0);
	pid = fork_or_die();
	if (now == PARENT_GOES_ON) {
		close(alive[pid == 0]);
		if (pid == 0) {
			CHECK(read(alive[0], &byte, 1) == 0);
			_exit(0);
		}
	} else if (pid != 0) {
		close(alive[0]);
		close(alive[1]);
		wait_for_exit(pid);
		_exit(0);
	}
}

/* until a write needs no answer: soon after the connection was made, both sides know of each other's memory */
static void
until_direct(pid_t owner)
{
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_wc wc;

	for (;;) {
		bool done;

		stop_process(owner);
		post(&link_, IBV_WR_RDMA_WRITE, 0, SOURCE, WORD, TRIAL);
		done = comes_within(&link_, 20, &wc);
		if (done)
			break;
		CHECK(kill(owner, SIGCONT) == 0);
		CHECK(comes_within(&link_, wait_ms(), &wc) && wc.status == IBV_WC_SUCCESS);
		if (now_ns() > end)
			die("no write is done without the owner of the memory");
		pause_for(1000);
	}
	CHECK(wc.status == IBV_WC_SUCCESS);
}

/* while the owner is stopped: small ones, those that the kernel copies at once, and chunks */
static void
work_alone(pid_t owner)
{
	static const size_t lengths[] = {8, 20000, LARGE};

	until_direct(owner);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		fill(link_.memory + SOURCE, lengths[i], (uint64_t)getpid() + i);
		memset(link_.memory + INTO, 0, lengths[i]);
		post(&link_, IBV_WR_RDMA_WRITE, 1, SOURCE, lengths[i], 0);
		CHECK(complete(&link_).wr_id == 1);
		post(&link_, IBV_WR_RDMA_READ, 2, INTO, lengths[i], 0);
		CHECK(complete(&link_).wr_id == 2);
		CHECK(memcmp(link_.memory + INTO, link_.memory + SOURCE, lengths[i]) == 0);
	}
	CHECK(kill(owner, SIGCONT) == 0);
}

/* does what it is told until it is told to end */
static void
obey(void)
{
	char line[32];

	for (;;) {
		int pid;

		CHECK(listen_to_parent(line, sizeof(line)));
		if (sscanf(line, "work %d", &pid) != 1)
			break;
		work_alone((pid_t)pid);
		report("worked");
	}
	CHECK(strcmp(line, "end") == 0);
}

/* obeys, before it may fork too, and disconnects */
static void
work_on(enum moment forks)
{
	if (forks == PARENT_GOES_ON)
		obey();
	fork_at(PARENT_GOES_ON, forks);
	report("process %d", (int)getpid());
	obey();
	rdma_disconnect(link_.id);
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	link_close(&link_);
}

static void
register_memory(struct rdma_cm_id *id)
{
	const int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;

	memory = calloc(1, SIZE);
	CHECK(memory);
	mr = ibv_reg_mr(pd_of(id->verbs), memory, SIZE, access);
	CHECK(mr);
}

/* the memory of the connection is the one that was registered before */
static void
use_memory(void)
{
	CHECK(ibv_dereg_mr(link_.mr) == 0);
	free(link_.memory);
	link_.memory = memory;
	link_.mr = mr;
}

static void
serve(const char *address, enum moment forks)
{
	struct rdma_cm_id *listener, *id;
	struct remote client;

	channel = open_channel();
	listener = listen_at(channel, address, 0, 4);
	register_memory(listener);
	fork_at(BEFORE_CONNECTION, forks);
	fork_at(DAEMON, forks);
	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	id = await_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST);
	link_open(&link_, id, SIZE, DEPTH);
	use_memory();
	accept_link(&link_);
	CHECK(!link_.ended);
	await_event(channel, RDMA_CM_EVENT_ESTABLISHED);
	expect_order("look");
	memcpy(&client, link_.memory + SELF, sizeof(client));
	link_.remote = client;
	report("looked");
	work_on(forks);
	close_server(channel, listener);
}

static void
be_client(const char *address, unsigned port, enum moment forks)
{
	struct remote own;

	channel = open_channel();
	if (forks == BEFORE_CONNECTION || forks == DAEMON) {
		/* an identifier */
		struct rdma_cm_id *id;

		CHECK(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) == 0);
		fork_at(BEFORE_CONNECTION, forks);
		fork_at(DAEMON, forks);
		CHECK(rdma_destroy_id(id) == 0);
	}
	CHECK(connect_link(&link_, channel, address, port, SIZE, DEPTH));
	own.address = (uintptr_t)link_.memory;
	own.key = link_.mr->rkey;
	own.size = (uint32_t)link_.size;
	memcpy(link_.memory, &own, sizeof(own));
	post(&link_, IBV_WR_RDMA_WRITE, 1, 0, sizeof(own), SELF);
	complete(&link_);
	report("connected");
	work_on(forks);
	release_pd();
	rdma_destroy_event_channel(channel);
}

/* --- the cases ----------------------------------------------------------------------------------- */

static void
let_work(struct child *side, pid_t owner)
{
	char order[32];

	snprintf(order, sizeof(order), "work %d", (int)owner);
	tell(side, order);
	expect(side, "worked");
}

static enum moment
moment_of(const char *name)
{
	int i = 0;

	while (i < MOMENTS && strcmp(moments[i], name) != 0)
		i++;
	CHECK(i < MOMENTS);

	return (enum moment)i;
}

static void
end_side(struct child *side, enum moment forks)
{
	char *line;

	if (forks != DAEMON) {
		finish(side);
		return;
	}
	/* its parent has ended long ago, and the pipe ends with the daemon */
	line = hear(side);
	if (line)
		die("\"%s\" instead of the end", line);
	wait_for_exit(side->pid);
	fclose(side->in);
	close(side->out);
}

static void
try(const char *address, enum moment server_forks, enum moment client_forks)
{
	struct child server, client;
	pid_t server_pid, client_pid;
	unsigned port;

	printf("the server forks: %s; the client: %s\n", moments[server_forks], moments[client_forks]);
	fflush(stdout);
	setenv("FORKS", moments[server_forks], 1);
	server = start("server", address, 0);
	port = (unsigned)expect(&server, "listening ");
	setenv("FORKS", moments[client_forks], 1);
	client = start("client", address, port);
	expect(&client, "connected");
	tell(&server, "look");
	expect(&server, "looked");
	if (server_forks == PARENT_GOES_ON) {
		let_work(&server, client.pid);
		tell(&server, "end");
	}
	if (client_forks == PARENT_GOES_ON) {
		let_work(&client, server.pid);
		tell(&client, "end");
	}
	server_pid = (pid_t)expect(&server, "process ");
	client_pid = (pid_t)expect(&client, "process ");
	for (int i = 0; i < 2; i++) {
		let_work(&client, server_pid);
		let_work(&server, client_pid);
	}
	tell(&client, "end");
	tell(&server, "end");
	end_side(&client, client_forks);
	end_side(&server, server_forks);
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";

	if (argc == 4 && getenv("FORKS")) {
		const enum moment forks = moment_of(getenv("FORKS"));

		if (strcmp(argv[1], "server") == 0)
			serve(argv[2], forks);
		else
			be_client(argv[2], (unsigned)atoi(argv[3]), forks);

		return 0;
	}
	skip_without(address);
	for (int i = 0; i < MOMENTS; i++) {
		try(address, (enum moment)i, NEVER);
		if (i != NEVER)
			try(address, NEVER, (enum moment)i);
	}

	return 0;
}
