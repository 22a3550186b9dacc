/* SPDX-License-Identifier: BSD-3-Clause */
/* Two processes, peers that die, fork. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance.h"

/* what the server process sends to the client process */
struct hello {
	uint16_t port;
	uint64_t addr;
	uint32_t rkey;
};

struct serving {
	struct listener listener;
	struct end end;
	struct setup setup;
};

static void
serve(struct serving *serving, int fd)
{
	struct hello hello = {0};

	serving->setup = usual();
	listen_any_port(&serving->listener);
	hello.port = serving->listener.port;
	tell(fd, &hello, sizeof(hello));
	server_take(&serving->end, &serving->listener, &serving->setup);
	server_accept(&serving->end, &serving->setup);
	established(&serving->end);
	fill(serving->end.memory, serving->end.length, 1);
	hello.addr = remote_of(&serving->end, 0).addr;
	hello.rkey = remote_of(&serving->end, 0).rkey;
	tell(fd, &hello, sizeof(hello));
}

static struct remote
reach(struct end *client, int fd)
{
	struct setup setup = usual();
	struct hello hello;

	hear(fd, &hello, sizeof(hello));
	client_start(client, hello.port, &setup);
	established(client);
	hear(fd, &hello, sizeof(hello));

	return (struct remote){hello.addr, hello.rkey};
}

static void
wait_for_end(int fd)
{
	char byte;

	(void)!read(fd, &byte, 1);
}

/* --- both directions --------------------------------------------------------------------------- */

static void
exchange_server(int fd)
{
	struct serving serving = {0};
	struct end *end = &serving.end;
	struct hello client;
	char byte = 0;

	serve(&serving, fd);
	NEED(post_recv(end, 1, 0, 64));
	tell(fd, &byte, 1);
	within("server");
	say_wc("receive", end, end->cq);
	say_filled("data", end->memory, 64, 2);
	tell(fd, &byte, 1);

	/* and in the other direction, into the client's memory */
	hear(fd, &client, sizeof(client));
	fill(end->memory, 4096, 3);
	NEED(post_op(end, IBV_WR_RDMA_WRITE_WITH_IMM, 2, 0, 4096, (struct remote){client.addr, client.rkey}));
	say_wc("write with immediate", end, end->cq);
	tell(fd, &byte, 1);
	say_event("event", end->channel, NULL);
	NEED(rdma_disconnect(end->id));
	close_end(end);
	say("its parts", "destroyed");
	tell(fd, &byte, 1);
}

static void
exchange(void)
{
	struct process process = start_process(exchange_server);
	struct end client = {0};
	struct remote remote = reach(&client, process.fd);
	struct hello hello;
	char byte;

	NEED(post_op(&client, IBV_WR_RDMA_READ, 1, 0, 4096, remote));
	within("client");
	say_wc("read", &client, client.cq);
	say_filled("data read", client.memory, 4096, 1);
	hear(process.fd, &byte, 1);
	fill(client.memory, 64, 2);
	NEED(post_send(&client, 2, 0, 64));
	need_wc(&client, client.cq, NULL);
	hear(process.fd, &byte, 1);

	hello.addr = remote_of(&client, 0).addr;
	hello.rkey = remote_of(&client, 0).rkey;
	NEED(post_recv(&client, 3, 0, 0));
	tell(process.fd, &hello, sizeof(hello));
	hear(process.fd, &byte, 1);
	say_wc("receive", &client, client.cq);
	say_filled("data written", client.memory, 4096, 3);
	NEED(rdma_disconnect(client.id));
	hear(process.fd, &byte, 1);
	say_event("event", client.channel, NULL);
	within(NULL);
	join_process(&process);
}

/* data of both, the operations of both, at the same time */
static void
large_server(int fd)
{
	struct serving serving = {0};
	char byte;

	serving.setup = usual();
	serve(&serving, fd);
	hear(fd, &byte, 1);
	within("server");
	say_filled("memory", serving.end.memory, serving.end.length, 4);
	tell(fd, &byte, 1);
	wait_for_end(fd);
}

static void
write_then_tell(void)
{
	struct process process = start_process(large_server);
	struct end client = {0};
	struct remote remote = reach(&client, process.fd);
	char byte = 0;

	fill(client.memory, client.length, 4);
	NEED(post_op(&client, IBV_WR_RDMA_WRITE, 1, 0, client.length, remote));
	/* once it has completed the bytes are there, whatever the server's process does */
	need_wc(&client, client.cq, NULL);
	tell(process.fd, &byte, 1);
	hear(process.fd, &byte, 1);
	join_process(&process);
}

/* --- peers that end ---------------------------------------------------------------------------- */

static void
idle_server(int fd)
{
	struct serving serving = {0};

	serve(&serving, fd);
	wait_for_end(fd);
}

static void
killed(int signal_number)
{
	struct process process = start_process(idle_server);
	struct end client = {0};
	struct remote remote = reach(&client, process.fd);
	int status;

	post_recvs(&client, 1, 2);
	/* SIGTERM is like exit() here: the process ends without an orderly shutdown */
	kill(process.pid, signal_number);
	waitpid(process.pid, &status, 0);
	say_event("event", client.channel, NULL);
	say_no_wc("receives", &client, client.cq);
	say_state("state", client.qp);
	say_result("write", post_op(&client, IBV_WR_RDMA_WRITE, 11, 0, 8, remote));
	say_no_wc("its completion", &client, client.cq);
	say_result("send", post_send(&client, 12, 0, 8));
	say_result("disconnect", rdma_disconnect(client.id));
	say_wcs("completions", &client, client.cq, 4);
	say_event("event later", client.channel, NULL);
	say_no_event("event at last", client.channel);
}

static void
peer_killed(void)
{
	killed(SIGKILL);
}

static void
exiting_server(int fd)
{
	struct serving serving = {0};

	serve(&serving, fd);
	wait_for_end(fd);
	exit(0);
}

static void
peer_exits(void)
{
	struct process process = start_process(exiting_server);
	struct end client = {0};

	reach(&client, process.fd);
	post_recvs(&client, 1, 2);
	join_process(&process);
	say_event("event", client.channel, NULL);
	say_result("disconnect", rdma_disconnect(client.id));
	say_wcs("receives", &client, client.cq, 2);
}

/* the client's outstanding requests when the server dies */
static void
peer_killed_under_load(void)
{
	struct process process = start_process(idle_server);
	struct end client = {0};
	int status;

	reach(&client, process.fd);
	/* the server has no receive: they wait */
	for (unsigned i = 0; i < 5; i++)
		NEED(post_send(&client, i, 0, 8));
	say_no_wc("completion", &client, client.cq);
	kill(process.pid, SIGKILL);
	waitpid(process.pid, &status, 0);
	say_event("event", client.channel, NULL);
	say_no_wc("completion then", &client, client.cq);
	say_result("disconnect", rdma_disconnect(client.id));
	say_wcs("completions", &client, client.cq, 5);
}

static void
killed_client(int fd)
{
	struct end client = {0};

	reach(&client, fd);
	wait_for_end(fd);
}

static void
client_killed(void)
{
	struct process process = start_process(killed_client);
	struct serving serving = {0};
	struct end second = {0};
	struct setup setup = usual();
	int status;

	serve(&serving, process.fd);
	post_recvs(&serving.end, 1, 2);
	kill(process.pid, SIGKILL);
	waitpid(process.pid, &status, 0);
	say_event("server", serving.end.channel, NULL);
	say_result("server disconnects", rdma_disconnect(serving.end.id));
	say_wcs("its receives", &serving.end, serving.end.cq, 2);
	say_no_event("listener", serving.listener.channel);
	client_start(&second, serving.listener.port, &setup);
	say_event("listener, next client", serving.listener.channel, NULL);
}

static void
half_client(int fd)
{
	struct setup setup = usual();
	struct end client = {0};
	uint16_t port;

	hear(fd, &port, sizeof(port));
	client_start(&client, port, &setup);
	wait_for_end(fd);
}

static void
client_killed_before_accept(void)
{
	struct process process = start_process(half_client);
	struct setup setup = usual();
	struct rdma_conn_param param = conn_param(&setup);
	struct listener listener = {0};
	struct end server = {0};
	int status;

	listen_any_port(&listener);
	tell(process.fd, &listener.port, sizeof(listener.port));
	server_take(&server, &listener, &setup);
	kill(process.pid, SIGKILL);
	waitpid(process.pid, &status, 0);
	say_no_event("server", server.channel);
	say_result("accept", rdma_accept(server.id, &param));
}

static void
listening_server(int fd)
{
	struct listener listener = {0};
	char byte;

	listen_any_port(&listener);
	tell(fd, &listener.port, sizeof(listener.port));
	if (!readable(listener.channel->fd, wait_ms))
		broken("waiting for a request");
	tell(fd, &(char){0}, 1);
	hear(fd, &byte, 1);
}

static void
server_killed_before_accept(void)
{
	struct process process = start_process(listening_server);
	struct setup setup = usual();
	struct end client = {0};
	uint16_t port;
	char byte;
	int status;

	hear(process.fd, &port, sizeof(port));
	client_start(&client, port, &setup);
	hear(process.fd, &byte, 1);
	kill(process.pid, SIGKILL);
	waitpid(process.pid, &status, 0);
	say_event("client", client.channel, NULL);
	say_no_event("more", client.channel);
}

/* a stopped process still answers one-sided operations, as its device does that */
static void
peer_stopped(void)
{
	struct process process = start_process(idle_server);
	struct end client = {0};
	struct remote remote = reach(&client, process.fd);
	int status;

	kill(process.pid, SIGSTOP);
	waitpid(process.pid, &status, WUNTRACED);
	NEED(post_op(&client, IBV_WR_RDMA_WRITE, 1, 0, 8, remote));
	say_wc("write", &client, client.cq);
	NEED(post_op(&client, IBV_WR_RDMA_READ, 2, 0, 8, remote));
	say_wc("read", &client, client.cq);
	NEED(post_send(&client, 3, 0, 8));
	say_no_wc("send", &client, client.cq);
	say_no_event("event", client.channel);
	kill(process.pid, SIGCONT);
	say_no_event("event after it goes on", client.channel);
}

/* --- fork -------------------------------------------------------------------------------------- */

/* a child that ends must not take its parent's connection along */
static void
fork_child_ends(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	int status;
	pid_t pid;

	connect_pair(&pair, &setup);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(7);
	NEED(waitpid(pid, &status, 0) != pid);
	say("child", "ended with %d", WEXITSTATUS(status));
	say_no_event("client", pair.client.channel);
	/* memory that the parent writes after the fork would be a copy, and not the page that the device uses */
	NEED(post_op(&pair.client, IBV_WR_RDMA_WRITE, 1, 0, 8, remote_of(&pair.server, 0)));
	say_wc("write", &pair.client, pair.client.cq);
	NEED(post_recv(&pair.server, 2, 0, 8));
	NEED(post_send(&pair.client, 3, 0, 8));
	say_wc("receive", &pair.server, pair.server.cq);
}

/* ... also when it ends by exit(), with what libraries do then */
static void
fork_child_exits(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	int status;
	pid_t pid;

	connect_pair(&pair, &setup);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		exit(7);
	NEED(waitpid(pid, &status, 0) != pid);
	say("child", "ended with %d", WEXITSTATUS(status));
	NEED(post_op(&pair.client, IBV_WR_RDMA_WRITE, 1, 0, 8, remote_of(&pair.server, 0)));
	say_wc("write", &pair.client, pair.client.cq);
	NEED(rdma_disconnect(pair.client.id));
	say_event("server", pair.server.channel, NULL);
}

/*
 * What a child may do that was forked after its parent has used the device. For verbs that is undefined: here it only
 * resolves address and route, which needs no object of the parent.
 */
static void
fork_child_goes_on(void)
{
	struct sockaddr_storage storage;
	struct setup setup = usual();
	struct pair pair = {0};
	int status;
	pid_t pid;

	connect_pair(&pair, &setup);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		struct end client = {0};

		within("child");
		client.channel = say_pointer("event channel", rdma_create_event_channel());
		if (!client.channel)
			_exit(0);
		if (say_result("id", rdma_create_id(client.channel, &client.id, NULL, RDMA_PS_TCP)) ||
				say_result("resolve address", rdma_resolve_addr(client.id, NULL,
						device_address(pair.listener.port, &storage), wait_ms)) ||
				!say_event("address", client.channel, NULL) ||
				say_result("resolve route", rdma_resolve_route(client.id, wait_ms)))
			_exit(0);
		say_event("route", client.channel, NULL);
		_exit(0);
	}
	NEED(waitpid(pid, &status, 0) != pid);
	say("child", WIFSIGNALED(status) ? "ended by a signal" : "ended");
	NEED(post_op(&pair.client, IBV_WR_RDMA_WRITE, 1, 0, 8, remote_of(&pair.server, 0)));
	say_wc("write of the parent", &pair.client, pair.client.cq);
	NEED(rdma_disconnect(pair.client.id));
	say_event("server", pair.server.channel, NULL);
}

const struct test_case process_cases[] = {
	{.name = "processes-exchange", .run = exchange},
	{.name = "processes-write-then-tell", .run = write_then_tell},
	{.name = "peer-killed", .run = peer_killed, .slow = true},
	{.name = "peer-exits", .run = peer_exits},
	{.name = "peer-killed-with-sends-waiting", .run = peer_killed_under_load, .slow = true},
	{.name = "peer-stopped", .run = peer_stopped, .slow = true},
	{.name = "client-killed", .run = client_killed},
	{.name = "client-killed-before-accept", .run = client_killed_before_accept},
	{.name = "server-killed-before-accept", .run = server_killed_before_accept},
	{.name = "fork-child-ends", .run = fork_child_ends},
	{.name = "fork-child-exits", .run = fork_child_exits},
	{.name = "fork-child-goes-on", .run = fork_child_goes_on},
	{0},
};
