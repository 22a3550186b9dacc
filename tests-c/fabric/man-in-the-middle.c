/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * man-in-the-middle [ADDRESS]: a process that speaks nothing but TCP is between a client and a server of the same
 * user, and passes on what they say. It must not get the client to copy from the memory of the server, whatever it
 * adds; and as long as it adds nothing, the connection works.
 *
 *   softrdma run -- man-in-the-middle
 *
 * ADDRESS is 127.0.0.1 unless given. PAIR_WAIT_MS: see two-processes.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "door.h"
#include "echo.h"

/* --- the client and the server ------------------------------------------------------------------ */

#define SECRET ((size_t)32 << 10)
#define SECRET_SEED 4711
#define KNOWN 0x6b6e6f776e207674u

/* what is in the memory of the server and not registered, and what somebody knows of it */
static char secret[SECRET];
static uint64_t known;

static int
serve(const char *address)
{
	fill(secret, sizeof(secret), SECRET_SEED);
	known = KNOWN;
	report("secret %lu", (unsigned long)(uintptr_t)secret);
	report("known %lu", (unsigned long)(uintptr_t)&known);

	return echo_serve(address);
}

static bool
has_secret(const char *memory, size_t size)
{
	char wanted[64];

	fill(wanted, sizeof(wanted), SECRET_SEED);
	return memmem(memory, size, wanted, sizeof(wanted)) != NULL;
}

/* connects, and does what it is told; says how that ends */
static int
work(const char *address, unsigned port)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_event *event;
	struct link link;
	struct ibv_wc wc;
	char line[16];

	CHECK(echo_connect(&link, channel, address, port));
	CHECK(link.size >= 2 * SECRET);
	post_receive(&link, 1, 0, SECRET);
	report("connected");
	CHECK(listen_to_parent(line, sizeof(line)));
	if (strcmp(line, "exchange") == 0) {
		/* the receive above gets the first answer */
		post(&link, IBV_WR_SEND, 2, SECRET, 8, 0);
		complete(&link);
		complete(&link);
		for (unsigned round = 0; round < 3; round++)
			echo_exchange(&link, now_ns());
		report("exchanged");
	} else {
		struct pollfd fds[] = {
			{.fd = link.channel->fd, .events = POLLIN},
			{.fd = channel->fd, .events = POLLIN},
		};

		/* a message, or the end */
		CHECK(poll(fds, 2, wait_ms()) > 0);
		if (drain(&link, &wc) > 0 && wc.status == IBV_WC_SUCCESS)
			report("received");
		else
			report("ended");
		if (has_secret(link.memory, link.size))
			die("this is memory of the server");
	}
	CHECK(listen_to_parent(line, sizeof(line)));
	echo_disconnect(&link);
	while ((event = next_event(channel, 0)))
		CHECK(rdma_ack_cm_event(event) == 0);
	rdma_destroy_event_channel(channel);

	return 0;
}

/* --- the one in the middle ---------------------------------------------------------------------- */

struct middle {
	int client;
	int server;
	pthread_t to_client;
	pthread_t to_server;
};

static int
listen_on_tcp(const char *address, unsigned *port)
{
	struct sockaddr_storage own;
	socklen_t length = sizeof(own);
	int fd;

	parse_address(&own, address, 0);
	fd = socket(own.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	CHECK(bind(fd, (struct sockaddr *)&own, sizeof(own)) == 0 && listen(fd, 1) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&own, &length) == 0);
	*port = ntohs(((struct sockaddr_in *)&own)->sin_port);

	return fd;
}

static int
connect_on_tcp(const char *address, unsigned port)
{
	struct sockaddr_storage there;
	int fd;

	parse_address(&there, address, port);
	fd = socket(there.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&there, sizeof(there)) == 0);

	return fd;
}

static void
receive_all(int fd, void *bytes, size_t size)
{
	CHECK(recv(fd, bytes, size, MSG_WAITALL) == (ssize_t)size);
}

static void
send_all(int fd, const void *bytes, size_t size)
{
	CHECK(send(fd, bytes, size, 0) == (ssize_t)size);
}

/* passes on what comes from one side until there is no more */
static void
pass_on(int from, int to)
{
	uint8_t bytes[64 << 10];
	ssize_t got;

	while ((got = recv(from, bytes, sizeof(bytes), 0)) > 0) {
		for (ssize_t at = 0; at < got;) {
			ssize_t sent = send(to, bytes + at, (size_t)(got - at), 0);

			if (sent < 0)
				break;
			at += sent;
		}
	}
	shutdown(to, SHUT_WR);
}

static void *
pass_to_client(void *middle)
{
	pass_on(((struct middle *)middle)->server, ((struct middle *)middle)->client);
	return NULL;
}

static void *
pass_to_server(void *middle)
{
	pass_on(((struct middle *)middle)->client, ((struct middle *)middle)->server);
	return NULL;
}

/* What is said of memory and sockets that may be shared. As it was, it leads the client to the server's door. */
static void
spoil_invitation(struct wire_hello *hello)
{
	memset(hello->invitation + WIRE_WORD + 4, 0xff, 4);
}

/* what is added to what the server says */
enum addition {
	NOTHING,
	/* a message whose bytes are in the memory of the server */
	REFERENCE,
	/* the same, as if it came through shared memory */
	CHANGE_AND_REFERENCE,
	/* the same in two pieces */
	CHANGE_THEN_REFERENCE,
	ADDITIONS
};

static const char *const addition_names[ADDITIONS] = {
	"nothing", "a reference", "a change and a reference", "a change, then a reference",
};

static void
add(int client, enum addition addition, uint64_t secret_at, uint64_t known_at)
{
	uint8_t bytes[2 * WIRE_HEADER + WIRE_DESCRIPTOR];
	size_t size = sizeof(bytes);

	wire_header(bytes, &(struct wire_frame){.kind = WIRE_CHANGES_OVER});
	wire_header(bytes + WIRE_HEADER, &(struct wire_frame){
		.kind = WIRE_SEND,
		.flags = WIRE_BY_REFERENCE,
		.length = SECRET,
	});
	wire_descriptor(bytes + 2 * WIRE_HEADER, secret_at, known_at, KNOWN);
	switch (addition) {
	case REFERENCE:
		send_all(client, bytes + WIRE_HEADER, size - WIRE_HEADER);
		break;
	case CHANGE_AND_REFERENCE:
		send_all(client, bytes, size);
		break;
	case CHANGE_THEN_REFERENCE:
		send_all(client, bytes, WIRE_HEADER);
		/* the client may have ended the connection by now */
		if (send(client, bytes + WIRE_HEADER, size - WIRE_HEADER, 0) < 0)
			CHECK(errno == EPIPE || errno == ECONNRESET);
		break;
	default:
		break;
	}
}

static void
stand_between(const char *address, enum addition addition, bool spoils)
{
	struct child server = start("server", address, 0), client;
	uint64_t secret_at = expect(&server, "secret "), known_at = expect(&server, "known ");
	unsigned port, server_port = (unsigned)expect(&server, "listening ");
	int listener = listen_on_tcp(address, &port);
	struct wire_hello hello;
	struct middle middle;

	printf("adds %s%s\n", addition_names[addition], spoils ? ", and spoils the invitation" : "");
	client = start("client", address, port);
	middle.client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	middle.server = connect_on_tcp(address, server_port);
	CHECK(middle.client >= 0);
	receive_all(middle.client, &hello, sizeof(hello));
	send_all(middle.server, &hello, sizeof(hello));
	receive_all(middle.server, &hello, sizeof(hello));
	CHECK(hello.greeting == WIRE_REPLY);
	if (spoils)
		spoil_invitation(&hello);
	send_all(middle.client, &hello, sizeof(hello));
	CHECK(pthread_create(&middle.to_client, NULL, pass_to_client, &middle) == 0);
	CHECK(pthread_create(&middle.to_server, NULL, pass_to_server, &middle) == 0);
	expect(&client, "connected");

	if (addition == NOTHING) {
		tell(&client, "exchange");
		expect(&client, "exchanged");
		tell(&server, "tcp");
		CHECK(expect(&server, "tcp ") == 1);
	} else {
		tell(&client, "wait");
		add(middle.client, addition, secret_at, known_at);
		/* nobody has sent a message */
		expect(&client, "ended");
	}
	tell(&client, "quit");
	finish(&client);
	finish(&server);
	pthread_join(middle.to_client, NULL);
	pthread_join(middle.to_server, NULL);
	close(middle.client);
	close(middle.server);
	close(listener);
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";

	if (argc == 4) {
		return strcmp(argv[1], "server") == 0 ? serve(argv[2]) :
				work(argv[2], (unsigned)atoi(argv[3]));
	}
	skip_without(address);
	for (unsigned addition = 0; addition < ADDITIONS; addition++) {
		stand_between(address, addition, false);
		stand_between(address, addition, true);
	}

	return 0;
}
