/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vanished-host: two network namespaces with a link between them, and the link is cut. Nothing tells either side so.
 * Requests end with an error within the time that the queue pair's timeout and retry count mean, idle connections
 * with an event; but a short cut or a stopped process is no reason to give up.
 *
 *   softrdma run -- vanished-host
 *
 * Skipped where network namespaces are not permitted. From the environment: PAIR_WAIT_MS (see two-processes.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "two-processes.h"

#define SIZE ((size_t)1 << 20)
#define DEPTH 8
#define CLIENT "10.77.0.1"
#define SERVER "10.77.0.2"
/*
 * Without retries it is 2.1 s, and softrdma takes no less than 4 s; with 7 retries it is 17.2 s. The rest is for the
 * last look and a loaded machine.
 */
#define WITHOUT_RETRIES_MS 15000
#define WITH_RETRIES_MS 30000

/* --- namespaces --------------------------------------------------------------------------------- */

static bool
write_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);

	return done;
}

/* a network of its own, with the right to change it */
static bool
own_network(void)
{
	unsigned user = geteuid(), group = getegid();
	char map[32];

	if (unshare(CLONE_NEWNET) == 0)
		return true;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return false;
	snprintf(map, sizeof(map), "0 %u 1", user);
	if (!write_file("/proc/self/setgroups", "deny") || !write_file("/proc/self/uid_map", map))
		return false;
	snprintf(map, sizeof(map), "0 %u 1", group);

	return write_file("/proc/self/gid_map", map);
}

/* runs ip with these arguments, up to NULL */
static bool
ip(const char *argument, ...)
{
	char *arguments[16] = {"ip"};
	va_list more;
	pid_t child;
	int status;

	va_start(more, argument);
	for (int i = 1; argument; i++, argument = va_arg(more, const char *))
		arguments[i] = (char *)argument;
	va_end(more);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		unsetenv("LD_PRELOAD");
		execvp("ip", arguments);
		_exit(127);
	}
	while (waitpid(child, &status, 0) < 0)
		CHECK(errno == EINTR);
	errno = status == 127 << 8 ? ENOENT : EOPNOTSUPP;

	return status == 0;
}

/* --- the server -------------------------------------------------------------------------------- */

static unsigned links;
/* a request that is not answered, if there is to be one */
static struct rdma_cm_id *held;
static bool holds;
/* clients that were accepted and did not come */
static unsigned unreachable;

static void
take_event(struct rdma_event_channel *channel)
{
	struct rdma_cm_event *event = next_event(channel, 0);
	enum rdma_cm_event_type type;
	struct rdma_cm_id *id;
	struct link *link;

	if (!event)
		return;
	type = event->event;
	id = event->id;
	CHECK(rdma_ack_cm_event(event) == 0);
	if (type == RDMA_CM_EVENT_CONNECT_REQUEST && holds) {
		CHECK(!held);
		held = id;
	} else if (type == RDMA_CM_EVENT_CONNECT_REQUEST) {
		link = malloc(sizeof(*link));
		CHECK(link);
		link_open(link, id, SIZE, DEPTH);
		accept_link(link);
		links++;
	} else if (type == RDMA_CM_EVENT_DISCONNECTED || type == RDMA_CM_EVENT_UNREACHABLE) {
		unreachable += type == RDMA_CM_EVENT_UNREACHABLE;
		link = id->context;
		rdma_disconnect(id);
		link_close(link);
		free(link);
		links--;
	}
}

/* false: the end */
static bool
obey(void)
{
	char line[32];

	if (!listen_to_parent(line, sizeof(line)) || strcmp(line, "quit") == 0)
		return false;
	if (strcmp(line, "cut") == 0) {
		CHECK(ip("link", "set", "there", "down", NULL));
		report("cut");
	} else if (strcmp(line, "mend") == 0) {
		CHECK(ip("link", "set", "there", "up", NULL));
		report("mended");
	} else if (strcmp(line, "hold") == 0) {
		holds = true;
		report("holds");
	} else if (strcmp(line, "unreachable") == 0) {
		report("unreachable %u", unreachable);
	} else if (strcmp(line, "held") == 0) {
		report("held %d", held ? 1 : 0);
	} else if (strcmp(line, "accept held") == 0) {
		/* as when a client has gone */
		CHECK(rdma_accept(held, NULL) == -1 && errno == EINVAL);
		CHECK(rdma_destroy_id(held) == 0);
		report("gone");
	} else if (strcmp(line, "descriptors") == 0) {
		report("descriptors %u", descriptors());
	} else {
		report("links %u", links);
	}

	return true;
}

static int
serve(const char *address)
{
	struct rdma_event_channel *channel;
	struct rdma_cm_id *listener;
	char line[16];

	CHECK(unshare(CLONE_NEWNET) == 0);
	report("here");
	CHECK(listen_to_parent(line, sizeof(line)));
	CHECK(ip("addr", "add", SERVER "/24", "dev", "there", NULL));
	CHECK(ip("link", "set", "there", "up", NULL));
	channel = open_channel();
	listener = listen_at(channel, address, 0, 8);
	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	for (;;) {
		struct pollfd fds[] = {
			{.fd = STDIN_FILENO, .events = POLLIN},
			{.fd = channel->fd, .events = POLLIN},
		};

		CHECK(poll(fds, 2, -1) > 0 || errno == EINTR);
		if (fds[0].revents && !obey())
			break;
		if (fds[1].revents)
			take_event(channel);
	}
	close_server(channel, listener);

	return 0;
}

/* --- the client --------------------------------------------------------------------------------- */

static struct child server;
static unsigned port;

/* each has a channel of its own */
static struct rdma_event_channel *
open_link(struct link *link, unsigned retries)
{
	struct rdma_event_channel *channel = open_channel();

	connection_retries = (uint8_t)retries;
	if (!connect_link(link, channel, SERVER, port, SIZE, DEPTH))
		die("the client was refused");
	post(link, IBV_WR_RDMA_WRITE, 1, 0, 8, 0);
	complete(link);

	return channel;
}

static void
close_link(struct link *link, struct rdma_event_channel *channel)
{
	rdma_disconnect(link->id);
	link_close(link);
	rdma_destroy_event_channel(channel);
}

static enum ibv_wc_status
next_status(struct link *link, int ms)
{
	uint64_t end = now_ns() + (uint64_t)ms * 1000000;
	struct pollfd readable = {.fd = link->channel->fd, .events = POLLIN};
	struct ibv_wc wc;

	while (drain(link, &wc) == 0) {
		if (now_ns() > end)
			die("no completion in %d ms", ms);
		poll(&readable, 1, ms);
	}

	return wc.status;
}

static void
expect_status(struct link *link, enum ibv_wc_status wanted, int ms)
{
	enum ibv_wc_status status = next_status(link, ms);

	if (status != wanted)
		die("%s instead of %s", ibv_wc_status_str(status), ibv_wc_status_str(wanted));
}

static void
expect_disconnected(struct rdma_event_channel *channel, int ms)
{
	struct rdma_cm_event *event = next_event(channel, ms);

	if (!event || event->event != RDMA_CM_EVENT_DISCONNECTED)
		die("%s instead of %s", event_name(event), rdma_event_str(RDMA_CM_EVENT_DISCONNECTED));
	CHECK(rdma_ack_cm_event(event) == 0);
}

/* its kernel acknowledges, also when there is no room for more */
static void
a_stopped_process_is_no_vanished_host(bool with_data)
{
	struct rdma_event_channel *channel;
	struct link link;

	channel = open_link(&link, 0);
	CHECK(kill(server.pid, SIGSTOP) == 0);
	for (unsigned i = 0; with_data && i < DEPTH; i++)
		post(&link, IBV_WR_RDMA_WRITE, i, 0, SIZE, 0);
	if (next_event(channel, 9000))
		die("a stopped process ends the connection");
	CHECK(link.posted == (with_data ? DEPTH : 0));
	CHECK(kill(server.pid, SIGCONT) == 0);
	while (link.posted > 0)
		expect_status(&link, IBV_WC_SUCCESS, wait_ms());
	post(&link, IBV_WR_RDMA_READ, 1, 0, SIZE, 0);
	complete(&link);
	close_link(&link, channel);
}

static void
a_short_cut_is_no_end(void)
{
	struct rdma_event_channel *channel;
	struct link link;

	channel = open_link(&link, 7);
	tell(&server, "cut");
	expect(&server, "cut");
	for (unsigned i = 0; i < DEPTH; i++)
		post(&link, IBV_WR_RDMA_WRITE, i, 0, SIZE, 0);
	poll(NULL, 0, 1000);
	tell(&server, "mend");
	expect(&server, "mended");
	while (link.posted > 0)
		expect_status(&link, IBV_WC_SUCCESS, WITH_RETRIES_MS);
	if (next_event(channel, 0))
		die("a short cut ends the connection");
	close_link(&link, channel);
}

/* until the server's answer is this number */
static void
wait_until(const char *question, const char *answer, unsigned wanted)
{
	uint64_t end = now_ns() + (uint64_t)WITH_RETRIES_MS * 1000000;
	unsigned now;

	for (;;) {
		tell(&server, question);
		now = (unsigned)expect(&server, answer);
		if (now == wanted)
			return;
		if (now_ns() > end)
			die("the server: %s%u instead of %u", answer, now, wanted);
		poll(NULL, 0, 100);
	}
}

/* a client that asks, and waits for the answer */
static struct rdma_cm_id *
ask(struct rdma_event_channel *channel)
{
	struct rdma_conn_param param = conn_param(NULL, 0);
	struct sockaddr_storage there;
	struct rdma_cm_event *event;
	struct rdma_cm_id *id;

	parse_address(&there, SERVER, port);
	CHECK(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) == 0);
	CHECK(rdma_resolve_addr(id, NULL, (struct sockaddr *)&there, wait_ms()) == 0);
	CHECK((event = next_event(channel, wait_ms())) && rdma_ack_cm_event(event) == 0);
	CHECK(rdma_resolve_route(id, wait_ms()) == 0);
	CHECK((event = next_event(channel, wait_ms())) && rdma_ack_cm_event(event) == 0);
	CHECK(rdma_connect(id, &param) == 0);

	return id;
}

static void
the_host_vanishes(void)
{
	struct rdma_event_channel *impatient_channel, *usual_channel, *idle_channel, *reader_channel;
	struct rdma_event_channel *asking_channel = open_channel(), *accepted_channel = open_channel();
	struct link impatient, usual, idle, reader;
	unsigned first, last, before;
	struct rdma_cm_id *asking, *accepted;
	uint64_t cut;

	wait_until("links", "links ", 0);
	tell(&server, "descriptors");
	before = (unsigned)expect(&server, "descriptors ");
	usual_channel = open_link(&usual, 7);
	impatient_channel = open_link(&impatient, 0);
	reader_channel = open_link(&reader, 0);
	idle_channel = open_link(&idle, 0);
	/* one does not look at the reply, another does not get any */
	accepted = ask(accepted_channel);
	wait_until("links", "links ", 5);
	tell(&server, "hold");
	expect(&server, "holds");
	asking = ask(asking_channel);
	wait_until("held", "held ", 1);
	tell(&server, "cut");
	expect(&server, "cut");
	cut = now_ns();
	for (unsigned i = 0; i < DEPTH; i++) {
		post(&usual, IBV_WR_RDMA_WRITE, i, 0, SIZE, 0);
		post(&impatient, IBV_WR_RDMA_WRITE, i, 0, 8, 0);
	}
	post(&reader, IBV_WR_RDMA_READ, 0, 0, SIZE, 0);

	expect_status(&impatient, IBV_WC_RETRY_EXC_ERR, WITHOUT_RETRIES_MS);
	first = (unsigned)((now_ns() - cut) / 1000000);
	for (unsigned i = 1; i < DEPTH; i++)
		expect_status(&impatient, IBV_WC_WR_FLUSH_ERR, wait_ms());
	expect_disconnected(impatient_channel, wait_ms());
	expect_status(&reader, IBV_WC_RETRY_EXC_ERR, WITHOUT_RETRIES_MS);
	expect_disconnected(reader_channel, wait_ms());
	expect_disconnected(idle_channel, WITHOUT_RETRIES_MS);
	CHECK(impatient.posted == 0 && idle.posted == 0);

	expect_status(&usual, IBV_WC_RETRY_EXC_ERR, WITH_RETRIES_MS);
	last = (unsigned)((now_ns() - cut) / 1000000);
	for (unsigned i = 1; i < DEPTH; i++)
		expect_status(&usual, IBV_WC_WR_FLUSH_ERR, wait_ms());
	expect_disconnected(usual_channel, wait_ms());
	if (last < 12000)
		die("with 7 retries it took %u ms only", last);
	if (last > WITH_RETRIES_MS)
		die("with 7 retries it took %u ms", last);
	printf("the first error came after %u ms without retries, after %u ms with 7\n", first, last);

	/* the other side has done nothing but wait */
	wait_until("links", "links ", 0);
	wait_until("unreachable", "unreachable ", 1);
	wait_until("descriptors", "descriptors ", before);
	tell(&server, "accept held");
	expect(&server, "gone");

	CHECK(rdma_destroy_id(asking) == 0);
	CHECK(rdma_destroy_id(accepted) == 0);
	rdma_destroy_event_channel(asking_channel);
	rdma_destroy_event_channel(accepted_channel);
	close_link(&usual, usual_channel);
	close_link(&impatient, impatient_channel);
	close_link(&reader, reader_channel);
	close_link(&idle, idle_channel);
}

int
main(int argc, char *argv[])
{
	char pid[16];

	if (argc == 4)
		return serve(argv[2]);

	if (!own_network())
		skip_because("no network namespaces");
	server = start("server", SERVER, 0);
	expect(&server, "here");
	snprintf(pid, sizeof(pid), "%d", (int)server.pid);
	if (!ip("link", "add", "here", "type", "veth", "peer", "name", "there", "netns", pid, NULL)) {
		kill_child(&server);
		skip_because("no link between network namespaces");
	}
	CHECK(ip("addr", "add", CLIENT "/24", "dev", "here", NULL));
	CHECK(ip("link", "set", "here", "up", NULL));
	tell(&server, "go on");
	port = (unsigned)expect(&server, "listening ");

	a_stopped_process_is_no_vanished_host(false);
	a_stopped_process_is_no_vanished_host(true);
	a_short_cut_is_no_end();
	the_host_vanishes();
	release_pd();
	tell(&server, "quit");
	finish(&server);

	return 0;
}
