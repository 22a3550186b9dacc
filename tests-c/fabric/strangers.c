/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * strangers: what connects to a server's port, asks as a client does, and goes no further. The server keeps a bounded
 * number of them, so that the program can open files and its other connections go on; and none of them for ever.
 *
 *   softrdma run -- strangers
 *
 * A port of the connection manager is one of TCP on softrdma only. From the environment: STRANGERS (1300),
 * PAIR_WAIT_MS (see two-processes.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "two-processes.h"

#define ADDRESS "127.0.0.1"
#define SIZE ((size_t)4 << 10)
#define DEPTH 4
/* what a server may have, and what strangers may use of that as long as the program does not answer */
#define LIMIT 1024
#define SHARE 160
/* how long a server waits for a client that it has accepted; also the others have to come within this time */
#define CM_TIMEOUT "5000"

/* --- the server -------------------------------------------------------------------------------- */

static struct {
	int files[2 * LIMIT];
	unsigned open;
	bool busy;     /* it takes no events */
	bool rejects;
	unsigned unreachable;
} self;

static unsigned
open_files(unsigned count)
{
	unsigned opened = 0;

	for (; opened < count; opened++) {
		int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			break;
		self.files[self.open++] = fd;
	}

	return opened;
}

static void
close_files(void)
{
	while (self.open > 0)
		close(self.files[--self.open]);
}

static unsigned long
cpu_ms(void)
{
	struct rusage usage;

	CHECK(getrusage(RUSAGE_SELF, &usage) == 0);

	return (unsigned long)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
			(unsigned long)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

/* false: the end */
static bool
obey(void)
{
	unsigned long before;
	char line[32];

	if (!listen_to_parent(line, sizeof(line)) || strcmp(line, "quit") == 0)
		return false;
	if (strcmp(line, "descriptors") == 0) {
		report("descriptors %u", descriptors());
	} else if (strncmp(line, "files ", 6) == 0) {
		report("opened %u", open_files((unsigned)atoi(line + 6)));
	} else if (strcmp(line, "close files") == 0) {
		close_files();
	} else if (strcmp(line, "cpu") == 0) {
		before = cpu_ms();
		poll(NULL, 0, 1000);
		report("cpu %lu", cpu_ms() - before);
	} else if (strcmp(line, "unreachable") == 0) {
		report("unreachable %u", self.unreachable);
	} else {
		self.busy = strcmp(line, "be busy") == 0;
		self.rejects = strcmp(line, "reject") == 0;
		report("so be it");
	}

	return true;
}

static void
answer(struct rdma_cm_id *id)
{
	struct link *link;

	if (self.rejects) {
		/* it fails when the client has gone */
		rdma_reject(id, NULL, 0);
		CHECK(rdma_destroy_id(id) == 0);
		return;
	}
	link = malloc(sizeof(*link));
	CHECK(link);
	link_open(link, id, SIZE, DEPTH);
	accept_link(link);
	if (link->ended) {
		link_close(link);
		free(link);
	}
}

static void
take_event(struct rdma_event_channel *channel)
{
	struct rdma_cm_event *event = next_event(channel, 0);
	enum rdma_cm_event_type type;
	struct rdma_cm_id *id;

	if (!event)
		return;
	type = event->event;
	id = event->id;
	if (type == RDMA_CM_EVENT_UNREACHABLE) {
		CHECK(event->status == -ETIMEDOUT);
		self.unreachable++;
	}
	CHECK(rdma_ack_cm_event(event) == 0);
	switch (type) {
	case RDMA_CM_EVENT_CONNECT_REQUEST:
		answer(id);
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_REJECTED:
		rdma_disconnect(id);
		link_close(id->context);
		break;
	default:
		CHECK(type == RDMA_CM_EVENT_ESTABLISHED);
	}
}

static int
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rlimit limit = {LIMIT, LIMIT};
	struct rdma_cm_id *listener;

	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	listener = listen_at(channel, address, 0, 0);
	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	for (;;) {
		struct pollfd fds[] = {
			{.fd = STDIN_FILENO, .events = POLLIN},
			{.fd = self.busy ? -1 : channel->fd, .events = POLLIN},
		};

		CHECK(poll(fds, 2, -1) > 0 || errno == EINTR);
		if (fds[0].revents && !obey())
			break;
		if (fds[1].revents && !self.busy)
			take_event(channel);
	}

	return 0;
}

static unsigned
ask(struct child *server, const char *what, const char *answer)
{
	tell(server, what);

	return (unsigned)expect(server, answer);
}

/* --- strangers --------------------------------------------------------------------------------- */

struct stranger {
	int fd;
	bool answered;
	size_t sent; /* how much of the hello */
};

static struct sockaddr_storage server_address;
static char hello[4096];
static size_t hello_size;

/* what a client sends first: the same for all of them */
static void
learn_the_hello(void)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_conn_param param = conn_param(NULL, 0);
	struct sockaddr_storage here;
	socklen_t length = sizeof(here);
	struct rdma_cm_event *event;
	struct pollfd readable;
	struct rdma_cm_id *id;
	struct link link;
	int fd, client;
	ssize_t got;

	parse_address(&here, ADDRESS, 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&here, length) == 0 && listen(fd, 1) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&here, &length) == 0);
	CHECK(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) == 0);
	CHECK(rdma_resolve_addr(id, NULL, (struct sockaddr *)&here, wait_ms()) == 0);
	CHECK((event = next_event(channel, wait_ms())) && rdma_ack_cm_event(event) == 0);
	CHECK(rdma_resolve_route(id, wait_ms()) == 0);
	CHECK((event = next_event(channel, wait_ms())) && rdma_ack_cm_event(event) == 0);
	link_open(&link, id, SIZE, DEPTH);
	CHECK(rdma_connect(id, &param) == 0);
	client = accept(fd, NULL, NULL);
	CHECK(client >= 0);
	/* it is sent at once, and nothing after it */
	readable = (struct pollfd){.fd = client, .events = POLLIN};
	CHECK(poll(&readable, 1, wait_ms()) == 1);
	got = recv(client, hello, sizeof(hello), 0);
	CHECK(got > 0);
	hello_size = (size_t)got;
	link_close(&link);
	close(client);
	close(fd);
	rdma_destroy_event_channel(channel);
}

static void
come(struct stranger *stranger)
{
	*stranger = (struct stranger){0};
	stranger->fd = socket(server_address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK(stranger->fd >= 0);
	CHECK(connect(stranger->fd, (struct sockaddr *)&server_address, sizeof(server_address)) == 0 ||
			errno == EINPROGRESS);
}

/* false: the server has closed the connection */
static bool
say(struct stranger *stranger, size_t size)
{
	while (stranger->sent < size) {
		ssize_t ret = send(stranger->fd, hello + stranger->sent, size - stranger->sent,
				MSG_NOSIGNAL | MSG_DONTWAIT);

		if (ret < 0)
			return errno == EAGAIN || errno == ENOTCONN;
		stranger->sent += (size_t)ret;
	}

	return true;
}

static void
leave(struct stranger *stranger, bool at_once)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	if (at_once)
		setsockopt(stranger->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(stranger->fd);
	stranger->fd = -1;
}

/* each comes when the one before it has asked, unless that has to wait */
static struct stranger *
come_all(unsigned count)
{
	struct stranger *all = calloc(count, sizeof(*all));

	CHECK(all);
	for (unsigned i = 0; i < count; i++) {
		struct pollfd writable = {.events = POLLOUT};

		come(&all[i]);
		writable.fd = all[i].fd;
		/* a full queue of the kernel's is no reason to stop */
		if (poll(&writable, 1, 5) > 0)
			CHECK(say(&all[i], hello_size));
	}

	return all;
}

/* they ask, and wait until the server has closed their connections; how many were answered before */
static unsigned
see_the_end(struct stranger *all, unsigned count)
{
	struct pollfd *fds = calloc(count, sizeof(*fds));
	uint64_t end = now_ns() + 6ull * (uint64_t)wait_ms() * 1000000;
	unsigned open = count, answered = 0;
	char answer[4096];

	CHECK(fds);
	while (open > 0) {
		if (now_ns() > end)
			die("the server keeps %u strangers of %u", open, count);
		for (unsigned i = 0; i < count; i++) {
			short asks = all[i].sent < hello_size ? POLLOUT : 0;

			fds[i] = (struct pollfd){.fd = all[i].fd, .events = (short)(POLLIN | asks)};
		}
		CHECK(poll(fds, count, 1000) >= 0 || errno == EINTR);
		for (unsigned i = 0; i < count; i++) {
			bool ended = false;
			ssize_t ret;

			if (all[i].fd < 0 || !fds[i].revents)
				continue;
			if (fds[i].revents & POLLOUT)
				ended = !say(&all[i], hello_size);
			if (fds[i].revents & (POLLIN | POLLHUP | POLLERR)) {
				ret = recv(all[i].fd, answer, sizeof(answer), 0);
				all[i].answered = all[i].answered || ret > 0;
				ended = ret == 0 || (ret < 0 && errno != EAGAIN);
			}
			if (ended) {
				answered += all[i].answered;
				leave(&all[i], false);
				open--;
			}
		}
	}
	free(fds);

	return answered;
}

/* --- what a server has to stand ----------------------------------------------------------------- */

static struct rdma_event_channel *channel;
static unsigned port;

static void
works(struct link *link)
{
	post(link, IBV_WR_RDMA_WRITE, 1, 0, SIZE, 0);
	complete(link);
}

static void
a_client_comes_and_goes(void)
{
	struct link link;

	if (!connect_link(&link, channel, ADDRESS, port, SIZE, DEPTH))
		die("a client was refused");
	works(&link);
	rdma_disconnect(link.id);
	link_close(&link);
}

/* until there are as few as this */
static void
wait_for_descriptors(struct child *server, unsigned most)
{
	uint64_t end = now_ns() + 3ull * (uint64_t)wait_ms() * 1000000;
	unsigned now;

	while ((now = ask(server, "descriptors", "descriptors ")) > most) {
		if (now_ns() > end)
			die("the server has %u descriptors, and had %u", now, most);
		poll(NULL, 0, 20);
	}
}

/* the program does not even look at them */
static void
while_the_program_is_busy(struct child *server, struct link *other, unsigned count)
{
	unsigned before, most, opened;
	struct stranger *all;

	before = ask(server, "descriptors", "descriptors ");
	ask(server, "be busy", "so be it");
	all = come_all(count);
	works(other);
	most = ask(server, "descriptors", "descriptors ");
	if (most > before + SHARE)
		die("%u strangers use %u descriptors", count, most - before);
	opened = ask(server, "files 800", "opened ");
	if (opened != 800)
		die("the program could open %u files only", opened);
	works(other);
	tell(server, "close files");
	ask(server, "reject", "so be it");
	see_the_end(all, count);
	free(all);
	ask(server, "accept", "so be it");
	wait_for_descriptors(server, before);
	a_client_comes_and_goes();
	printf("%u strangers used %u descriptors of a busy program\n", count, most - before);
}

/* the program accepts them, and none of them uses that */
static void
accepted_and_silent(struct child *server, struct link *other, unsigned count)
{
	unsigned before, opened, accepted, unreachable;
	struct stranger *all;

	before = ask(server, "descriptors", "descriptors ");
	all = come_all(count);
	works(other);
	opened = ask(server, "files 200", "opened ");
	if (opened != 200)
		die("the program could open %u files only", opened);
	tell(server, "close files");
	accepted = see_the_end(all, count);
	free(all);
	works(other);
	wait_for_descriptors(server, before);
	unreachable = ask(server, "unreachable", "unreachable ");
	if (accepted == 0 || unreachable != accepted)
		die("%u events for %u clients that did not come", unreachable, accepted);
	a_client_comes_and_goes();
}

/* they go in the middle of it, in both ways */
static void
those_that_die(struct child *server)
{
	unsigned before = ask(server, "descriptors", "descriptors ");
	const size_t until[] = {0, 1, hello_size / 2, hello_size};
	char answer[4096];

	for (unsigned i = 0; i < 400; i++) {
		struct pollfd fd = {.events = POLLOUT};
		struct stranger stranger;

		come(&stranger);
		fd.fd = stranger.fd;
		CHECK(poll(&fd, 1, wait_ms()) == 1);
		CHECK(say(&stranger, until[i % 4]));
		if (i % 4 == 3 && i % 3 == 0) {
			/* accepted */
			fd.events = POLLIN;
			CHECK(poll(&fd, 1, wait_ms()) == 1);
			CHECK(recv(fd.fd, answer, sizeof(answer), 0) > 0);
		}
		leave(&stranger, i % 2 == 0);
	}
	wait_for_descriptors(server, before);
	a_client_comes_and_goes();
}

/* half a hello is none */
static void
half_a_hello(struct child *server)
{
	unsigned before = ask(server, "descriptors", "descriptors ");
	struct pollfd fds[8];
	struct stranger all[8];

	for (unsigned i = 0; i < 8; i++) {
		come(&all[i]);
		fds[i] = (struct pollfd){.fd = all[i].fd, .events = POLLOUT};
		CHECK(poll(&fds[i], 1, wait_ms()) == 1);
		CHECK(say(&all[i], hello_size / 2));
	}
	a_client_comes_and_goes();
	for (unsigned i = 0; i < 8; i++) {
		char nothing;

		fds[i].events = POLLIN;
		CHECK(poll(&fds[i], 1, 3 * wait_ms()) == 1);
		CHECK(recv(fds[i].fd, &nothing, 1, 0) <= 0);
		leave(&all[i], false);
	}
	wait_for_descriptors(server, before);
}

/* there is no descriptor for one more: it is no reason to try all the time */
static void
no_descriptor_is_left(struct child *server, struct link *other)
{
	struct stranger stranger;
	unsigned cpu;

	CHECK(ask(server, "files 2000", "opened ") < LIMIT);
	come(&stranger);
	works(other);
	cpu = ask(server, "cpu", "cpu ");
	if (cpu > 50)
		die("a server that has no descriptor uses %u ms of 1000", cpu);
	works(other);
	tell(server, "close files");
	leave(&stranger, true);
	a_client_comes_and_goes();
}

int
main(int argc, char *argv[])
{
	unsigned count = (unsigned)env_number("STRANGERS", 1300);
	struct child server;
	struct link other;

	if (argc == 4)
		return serve(argv[2]);

	raise_descriptor_limit();
	setenv("SOFTRDMA_CM_TIMEOUT_MS", CM_TIMEOUT, 1);
	server = start("server", ADDRESS, 0);
	port = (unsigned)expect(&server, "listening ");
	parse_address(&server_address, ADDRESS, port);
	learn_the_hello();
	channel = open_channel();
	if (!connect_link(&other, channel, ADDRESS, port, SIZE, DEPTH))
		die("the first client was refused");
	works(&other);

	no_descriptor_is_left(&server, &other);
	while_the_program_is_busy(&server, &other, count);
	accepted_and_silent(&server, &other, count / 3);
	those_that_die(&server);
	half_a_hello(&server);

	works(&other);
	rdma_disconnect(other.id);
	link_close(&other);
	rdma_destroy_event_channel(channel);
	release_pd();
	tell(&server, "quit");
	finish(&server);

	return 0;
}
