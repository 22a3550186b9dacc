/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * strangers-at-the-door [ADDRESS]: the local socket by which a server shares memory with clients of its host gets
 * messages that are none, invitations that are not good, descriptors that nobody wants, and many connections that say
 * nothing. The server must send all of them away, keep no descriptors for them, and go on taking clients.
 *
 *   softrdma run -- strangers-at-the-door
 *
 * ADDRESS is an IPv4 address, 127.0.0.1 unless given. What needs root is skipped and said so. From the environment:
 * DOOR_STRANGERS (300: how many come at once), PAIR_WAIT_MS (see two-processes.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "counting-server.h"
#include "door.h"
#include "echo.h"

#define SIZE ((size_t)64 << 10)
#define DEPTH 8
/* how many that say nothing a server may keep */
#define MOST_SILENT 40
#define OTHER_USER 12345

/* --- the server, and clients as they should be --------------------------------------------------- */

static void
moment(void)
{
	const struct timespec ms = {.tv_nsec = 1000000};

	nanosleep(&ms, NULL);
}

/* until it has so many, or fewer */
static void
wait_for_descriptors(struct child *server, unsigned wanted)
{
	uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;

	while (descriptors_of(server) > wanted) {
		if (now_ns() > end)
			die("the server has %u descriptors, not %u", descriptors_of(server), wanted);
		moment();
	}
}

/* writes and reads; whether it does so after this process has left TCP */
static void
exchange(struct link *link, bool leaves_tcp)
{
	uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;

	for (;;) {
		bool has_left = tcp_connections() == 0;

		fill(link->memory, SIZE, now_ns());
		memset(link->memory + SIZE, 0, SIZE);
		post(link, IBV_WR_RDMA_WRITE, 1, 0, SIZE, 0);
		post(link, IBV_WR_RDMA_READ, 2, SIZE, SIZE, 0);
		complete(link);
		complete(link);
		CHECK(memcmp(link->memory, link->memory + SIZE, SIZE) == 0);
		if (has_left || !leaves_tcp)
			return;
		CHECK(now_ns() < end);
		moment();
	}
}

/* a client in a process of its own, which stays until it is told to go */
static int
work(const char *address, unsigned port)
{
	struct rdma_event_channel *channel = open_channel();
	struct link link;
	char line[16];

	CHECK(connect_link(&link, channel, address, port, 2 * SIZE, DEPTH));
	exchange(&link, true);
	report("exchanged");
	while (listen_to_parent(line, sizeof(line)) && strcmp(line, "quit") != 0) {
		exchange(&link, true);
		report("exchanged");
	}
	rdma_disconnect(link.id);
	link_close(&link);
	release_pd();
	rdma_destroy_event_channel(channel);

	return 0;
}

static void
have_a_client(const char *address, unsigned port)
{
	struct child client = start("client", address, port);

	expect(&client, "exchanged");
	tell(&client, "quit");
	finish(&client);
}

/* --- strangers --------------------------------------------------------------------------------- */

/* the server closes it, and says nothing but that a connection stays on TCP */
static void
expect_to_be_sent_away(int fd)
{
	const uint32_t refusal = htole32(WIRE_REFUSED);
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	uint32_t message;
	ssize_t got;

	do {
		CHECK(poll(&readable, 1, wait_ms()) == 1);
		got = recv(fd, &message, sizeof(message), 0);
		CHECK(got <= 0 || (got == sizeof(message) && (message & refusal)));
	} while (got > 0);
	CHECK(got == 0 || errno == ECONNRESET);
	close(fd);
}

static uint32_t
next_message(int fd)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	uint32_t message;

	CHECK(poll(&readable, 1, wait_ms()) == 1);
	CHECK(recv(fd, &message, sizeof(message), 0) == sizeof(message));

	return le32toh(message);
}

static void
send_garbage(const struct invited *invited)
{
	static const size_t sizes[] = {1, WIRE_KNOCK - 1, WIRE_KNOCK, WIRE_KNOCK + 1, 4096};
	struct random random = {1};
	uint8_t bytes[4096];
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	printf("messages that are none\n");
	CHECK(zero >= 0);
	for (unsigned i = 0; i < 10; i++)
		close(connect_to_door(invited));
	for (unsigned i = 0; i < 2 * sizeof(sizes) / sizeof(*sizes); i++) {
		int fd = connect_to_door(invited);

		fill((char *)bytes, sizeof(bytes), next_random(&random));
		send_with(fd, bytes, sizes[i / 2], zero, i % 2);
		expect_to_be_sent_away(fd);
	}
	close(zero);
}

/* what an invitation is used with, once each, and for nothing */
static void
misuse_invitations(const char *address, unsigned port)
{
	struct misuse {
		const char *what;
		int fd;
		unsigned count;
		size_t spoilt; /* this byte of the message */
	} misuses[] = {
		{"no memory", -1, 0, 0},
		{"a file that is no memory", open("/dev/zero", O_RDONLY | O_CLOEXEC), 1, 0},
		{"memory that can shrink", make_memory(RINGS, F_SEAL_GROW | F_SEAL_SEAL), 1, 0},
		{"memory that is too small", make_memory(4096, SEALS), 1, 0},
		{"many descriptors", make_memory(RINGS, SEALS), MOST_DESCRIPTORS, 0},
		{"another word", make_memory(RINGS, SEALS), 1, 8},
		{"another client", make_memory(RINGS, SEALS), 1, 39},
		{"another server", make_memory(RINGS, SEALS), 1, 55},
		{"another port of the client", make_memory(RINGS, SEALS), 1, 56},
		{"another port of the server", make_memory(RINGS, SEALS), 1, 58},
		{"a slot behind the memory", make_memory(RINGS, SEALS), 1, WIRE_SLOT_AT},
		{"memory of a slot and a half", make_memory(RINGS * 3 / 2, SEALS), 1, 0},
	};

	for (unsigned i = 0; i < sizeof(misuses) / sizeof(*misuses); i++) {
		struct misuse *misuse = &misuses[i];
		struct invited invited = get_invited(address, port);
		struct pollfd readable = {.fd = invited.tcp, .events = POLLIN};
		int fd = connect_to_door(&invited);

		printf("an invitation with %s\n", misuse->what);
		if (misuse->spoilt)
			invited.knock[misuse->spoilt] ^= 1;
		send_with(fd, invited.knock, WIRE_KNOCK, misuse->fd, misuse->count);
		expect_to_be_sent_away(fd);
		/* the connection stays where it is */
		CHECK(poll(&readable, 1, 0) == 0);
		close(invited.tcp);
		if (misuse->fd >= 0)
			close(misuse->fd);
	}
}

/* once it is good, and the server goes on in the memory and closes TCP; not once more */
static void
use_an_invitation_twice(const char *address, unsigned port)
{
	struct invited invited = get_invited(address, port);
	uint8_t header[WIRE_HEADER];
	int fd = connect_to_door(&invited), again = connect_to_door(&invited);
	int rings = make_memory(RINGS, SEALS);
	uint8_t *memory = mmap(NULL, RINGS, PROT_READ | PROT_WRITE, MAP_SHARED, rings, 0);

	printf("an invitation that is used twice\n");
	CHECK(memory != MAP_FAILED);
	send_with(fd, invited.knock, WIRE_KNOCK, rings, 1);
	CHECK(recv(invited.tcp, header, sizeof(header), MSG_WAITALL) <= 0);
	CHECK(atomic_load((atomic_uint *)(memory + WAY_AT)) == (WAY_HERE | WAY_READY));
	send_with(again, invited.knock, WIRE_KNOCK, rings, 1);
	expect_to_be_sent_away(again);
	/* the first one is still there, and gets no more than the table of the server's regions */
	while (recv(fd, header, WIRE_DOORBELL, MSG_DONTWAIT) > 0)
		;
	CHECK(errno == EAGAIN);
	/* and takes neither a slot that is in use, nor what is no message */
	send_with(fd, invited.knock, WIRE_KNOCK, -1, 0);
	CHECK(next_message(fd) == WIRE_REFUSED);
	/* what is no table of regions is not taken for one, but may be sent once */
	send_with(fd, invited.knock, WIRE_DOORBELL, rings, 1);
	CHECK(recv(fd, header, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	send_with(fd, invited.knock, WIRE_DOORBELL, rings, 1);
	expect_to_be_sent_away(fd);
	CHECK(munmap(memory, RINGS) == 0);
	close(rings);
	close(invited.tcp);
}

/* what the client decides before it knocks: the server finds it on TCP */
static void
decide_for_tcp(const char *address, unsigned port)
{
	struct invited invited = get_invited(address, port);
	struct pollfd readable = {.fd = invited.tcp, .events = POLLIN};
	int fd = connect_to_door(&invited), rings = make_memory(RINGS, SEALS);
	uint8_t *memory = mmap(NULL, RINGS, PROT_READ | PROT_WRITE, MAP_SHARED, rings, 0);

	printf("an invitation that the client does not wait for\n");
	CHECK(memory != MAP_FAILED);
	atomic_store((atomic_uint *)(memory + WAY_AT), WAY_TCP);
	send_with(fd, invited.knock, WIRE_KNOCK, rings, 1);
	CHECK(next_message(fd) == WIRE_REFUSED);
	CHECK(poll(&readable, 1, 0) == 0);
	CHECK(atomic_load((atomic_uint *)(memory + WAY_AT)) == WAY_TCP);
	CHECK(munmap(memory, RINGS) == 0);
	close(rings);
	close(fd);
	close(invited.tcp);
}

/* with an invitation that is good for somebody else */
static void
come_as_another_user(const char *address, unsigned port)
{
	struct invited invited = get_invited(address, port);
	int rings = make_memory(RINGS, SEALS), status;
	pid_t pid;

	printf("another user\n");
	if (geteuid() != 0) {
		printf("  skipped: only root can be another user\n");
	} else {
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			int fd;

			CHECK(setresuid(OTHER_USER, OTHER_USER, OTHER_USER) == 0);
			fd = connect_to_door(&invited);
			send_with(fd, invited.knock, WIRE_KNOCK, rings, 1);
			expect_to_be_sent_away(fd);
			_exit(0);
		}
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	}
	close(rings);
	close(invited.tcp);
}

/* many at a time that say nothing: clients come all the same, and in the end none is left */
static void
come_in_crowds(const char *address, unsigned port, struct child *server)
{
	unsigned count = (unsigned)env_number("DOOR_STRANGERS", 300);
	struct invited invited = get_invited(address, port);
	int *crowd = calloc(count, sizeof(*crowd));
	unsigned before, during;

	printf("%u that say nothing\n", count);
	CHECK(crowd);
	before = descriptors_of(server);
	for (unsigned i = 0; i < count; i++)
		crowd[i] = connect_to_door(&invited);
	have_a_client(address, port);
	during = descriptors_of(server);
	if (during > before + MOST_SILENT)
		die("the server has %u descriptors, and had %u", during, before);
	for (unsigned i = 0; i < count; i++)
		expect_to_be_sent_away(crowd[i]);
	free(crowd);
	close(invited.tcp);
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	struct child server, client;
	struct invited invited;
	unsigned port, before;

	if (argc == 4) {
		return strcmp(argv[1], "server") == 0 ? count_descriptors(argv[2], SIZE, DEPTH) :
				work(argv[2], (unsigned)atoi(argv[3]));
	}
	skip_without(address);
	raise_descriptor_limit();
	server = start("server", address, 0);
	port = (unsigned)expect(&server, "listening ");
	client = start("client", address, port);
	expect(&client, "exchanged");
	/* what it takes to have had one more */
	have_a_client(address, port);
	before = descriptors_of(&server);

	invited = get_invited(address, port);
	send_garbage(&invited);
	close(invited.tcp);
	misuse_invitations(address, port);
	use_an_invitation_twice(address, port);
	decide_for_tcp(address, port);
	come_as_another_user(address, port);
	come_in_crowds(address, port, &server);

	wait_for_descriptors(&server, before);
	have_a_client(address, port);
	tell(&client, "again");
	expect(&client, "exchanged");
	tell(&client, "quit");
	finish(&client);
	tell(&server, "quit");
	finish(&server);

	return 0;
}
