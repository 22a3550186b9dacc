/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hostile-peer [ADDRESS [ROW]]: a peer that speaks the wire format of softrdma over TCP, and sends what no honest
 * peer sends: every frame in every state, with wrong keys, ranges, numbers, flags and lengths. Its victim must
 * answer as softrdma/doc/protocol.md says, give nothing away, keep its memory, go on with its other connections,
 * and have nothing left over afterwards.
 *
 *   softrdma run -- hostile-peer
 *
 * ADDRESS is 127.0.0.1 unless given; of all rows (rows.c) only the one named ROW. From the environment: PAIR_WAIT_MS
 * (see two-processes.h); HOSTILE_FLUSH=1 on a device that can flush; HOSTILE_ATTACKS (100: how
 * many random ones) and HOSTILE_SEED (of the first of them; it is printed).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile.h"
#include "two-processes.h"

/* A leak of a buffer or of a shared page for each attack is more; the victim remembers for a minute what it has invited. */
#define MOST_GROWTH_KIB 768

/* the name of the attack */
static const char *under_way = "nothing";

struct hostile {
	int fd;
	struct knowledge knows;
};

static void
send_all(int fd, const void *bytes, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		/* the victim may have had enough */
		if (sent < 0)
			return;
		bytes = (const char *)bytes + sent;
		length -= (size_t)sent;
	}
}

/* false at the end of the connection */
static bool
receive_all(int fd, void *bytes, size_t length)
{
	while (length > 0) {
		struct pollfd readable = {.fd = fd, .events = POLLIN};
		ssize_t got;

		if (poll(&readable, 1, wait_ms()) == 0)
			die("%s: the victim has neither answered nor closed the connection", under_way);
		got = recv(fd, bytes, length, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		bytes = (char *)bytes + got;
		length -= (size_t)got;
	}

	return true;
}

static int
reach(const char *address, unsigned port)
{
	struct sockaddr_storage to;
	int fd;

	parse_address(&to, address, port);
	fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	CHECK(connect(fd, (struct sockaddr *)&to, to.ss_family == AF_INET ? sizeof(struct sockaddr_in) :
			sizeof(struct sockaddr_in6)) == 0);

	return fd;
}

static void
send_frame(const struct hostile *hostile, struct wire_frame frame, uint8_t byte, size_t cut)
{
	static char payload[REGION];
	size_t length = wire_payload(&frame);
	struct wire_frame ordered = wire_order(frame);
	size_t header = cut && cut < sizeof(ordered) ? cut : sizeof(ordered);

	CHECK(length <= sizeof(payload) || frame.length > REGION);
	send_all(hostile->fd, &ordered, header);
	if (header < sizeof(ordered) || length > sizeof(payload))
		return;
	memset(payload, byte, sizeof(payload));
	send_all(hostile->fd, payload, cut && cut - header < length ? cut - header : length);
}

static struct wire_frame
frame_of(const struct knowledge *knows, const struct step *step)
{
	struct wire_frame frame = {
		.kind = (uint8_t)step->kind,
		.flags = step->flags,
		.extra = step->extra,
		.length = step->length,
		.seq = step->seq,
		.imm = step->imm,
		.zero = {[15] = step->zero},
	};

	if (step->kind != WIRE_WRITE && step->kind != WIRE_READ && step->kind != WIRE_ATOMIC_WRITE &&
			step->kind != WIRE_FLUSH && step->kind != WIRE_READ_IN_BAND)
		return frame;
	frame.addr = knows->addr;
	frame.key = knows->rkey;
	switch (step->place) {
	case THERE:
		break;
	case BEYOND:
		frame.addr += REGION - step->length + (step->kind == WIRE_ATOMIC_WRITE ? 8 : 1);
		break;
	case BEFORE:
		frame.addr -= step->kind == WIRE_ATOMIC_WRITE ? 8 : 1;
		break;
	case WRAPPED:
		frame.addr = UINT64_MAX - 7;
		break;
	case FOR_LOCAL:
		frame.key = knows->local_only;
		break;
	case READ_ONLY:
		frame.key = knows->read_only;
		break;
	case OTHER_PD:
		frame.key = knows->other_pd;
		break;
	case GONE:
		frame.key = knows->gone;
		break;
	case LKEY:
		frame.key = knows->lkey;
		break;
	case GUESSED:
		frame.key ^= 0x100;
		break;
	case UNALIGNED:
		frame.addr += 4;
		break;
	case NO_PLACE:
		frame.addr = 0;
		frame.key = 0;
		break;
	}

	return frame;
}

static const struct step *
last_step(const struct row *row)
{
	const struct step *last = row->steps;

	for (size_t i = 1; i < sizeof(row->steps) / sizeof(row->steps[0]) && row->steps[i].kind; i++)
		last = &row->steps[i];

	return last;
}

/* what a row says of the hello */
static size_t
spoil(struct wire_hello *hello, const struct row *row)
{
	for (size_t i = 0; i < 2; i++)
		if (row->hello[i].at || row->hello[i].byte)
			((uint8_t *)hello)[row->hello[i].at] = row->hello[i].byte;

	return row->cut_hello ? row->cut_hello : sizeof(*hello);
}

/* the victim tells what the peer may know; false if there is no connection */
static bool
learn(struct child *victim, struct knowledge *knows, const struct row *row)
{
	const char *line = hear(victim);

	if (!line)
		die("%s: the victim has ended", row->name);
	if (strcmp(line, "turned away") == 0)
		return false;
	CHECK(sscanf(line, "ready %llx %x %x %x %x %x %x", &knows->addr, &knows->rkey, &knows->lkey,
			&knows->local_only, &knows->read_only, &knows->other_pd, &knows->gone) == 7);

	return true;
}

static bool
connect_to_victim(struct hostile *hostile, struct child *victim, const char *address, unsigned port,
		const struct row *row)
{
	struct wish wish = {
		.hostile = 1,
		.access = row->access,
		.receives = row->receives,
		.posts = row->posts,
		.state = row->state,
	};
	struct wire_hello hello = wire_hello(WIRE_REQUEST, &wish, sizeof(wish));
	size_t length = spoil(&hello, row);

	hostile->fd = reach(address, port);
	send_all(hostile->fd, &hello, length);
	if (length < sizeof(hello))
		CHECK(shutdown(hostile->fd, SHUT_WR) == 0);
	if (!receive_all(hostile->fd, &hello, sizeof(hello)))
		return false;
	CHECK(hello.greeting == WIRE_REPLY);
	CHECK(learn(victim, &hostile->knows, row));
	if (!row->is_first)
		send_frame(hostile, (struct wire_frame){.kind = WIRE_USE}, 0, 0);

	return true;
}

static bool
connect_to_peer(struct hostile *hostile, struct child *victim, const char *address, const struct row *row)
{
	struct sockaddr_storage parsed;
	struct sockaddr *at = (struct sockaddr *)&parsed;
	socklen_t length = sizeof(parsed);
	struct wire_hello hello;
	struct wire_frame use;
	char command[64];
	size_t size;
	int listener;

	parse_address(&parsed, address, 0);
	listener = socket(parsed.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(listener >= 0);
	CHECK(bind(listener, at, parsed.ss_family == AF_INET ? sizeof(struct sockaddr_in) :
			sizeof(struct sockaddr_in6)) == 0);
	CHECK(listen(listener, 1) == 0 && getsockname(listener, at, &length) == 0);
	/* of both kinds of addresses the port is at the same place */
	snprintf(command, sizeof(command), "connect %u %u %u %u %u",
			(unsigned)ntohs(((struct sockaddr_in *)at)->sin_port), row->access, row->receives, row->posts,
			row->state);
	tell(victim, command);
	hostile->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	CHECK(hostile->fd >= 0);
	CHECK(receive_all(hostile->fd, &hello, sizeof(hello)) && hello.greeting == WIRE_REQUEST);
	hello = wire_hello(WIRE_REPLY, "", 0);
	size = spoil(&hello, row);
	send_all(hostile->fd, &hello, size);
	if (size < sizeof(hello))
		CHECK(shutdown(hostile->fd, SHUT_WR) == 0);
	if (!learn(victim, &hostile->knows, row))
		return false;
	CHECK(receive_all(hostile->fd, &use, sizeof(use)) && use.kind == WIRE_USE);

	return true;
}

/* whether there was a connection at all */
static bool
attack(struct hostile *hostile, struct child *victim, const char *address, unsigned port, const struct row *row)
{
	struct step again = *last_step(row);
	bool connected = row->is_server ? connect_to_peer(hostile, victim, address, row) :
			connect_to_victim(hostile, victim, address, port, row);

	if (connected != (row->outcome != TURNED_AWAY))
		die("%s: %s", row->name, connected ? "its hello was taken" : "its hello was not taken");
	if (!connected)
		return false;
	for (size_t i = 0; i < sizeof(row->steps) / sizeof(row->steps[0]) && row->steps[i].kind; i++)
		send_frame(hostile, frame_of(&hostile->knows, &row->steps[i]), 0x5a, row->steps[i].cut);
	for (unsigned i = 0; i < row->repeat; i++) {
		again.seq++;
		send_frame(hostile, frame_of(&hostile->knows, &again), 0x5a, 0);
	}

	return true;
}

/* Reads what the victim says until it is what the row wants. Whatever it is, no byte of memory may be given away. */
static void
expect_outcome(const struct hostile *hostile, const struct row *row)
{
	static char payload[REGION], right[REGION + 2 * PAGE];
	const uint64_t seq = last_step(row)->seq;
	struct wire_frame frame;
	bool data = false;

	fill_memory(right);
	while (receive_all(hostile->fd, &frame, sizeof(frame))) {
		size_t length;

		frame = wire_order(frame);
		length = wire_payload(&frame);
		CHECK(length <= sizeof(payload));
		if (!receive_all(hostile->fd, payload, length))
			break;
		switch (frame.kind) {
		case WIRE_READ_DATA:
			if ((row->outcome != DATA && !row->gives) || frame.flags & WIRE_BY_REFERENCE)
				die("%s: data was given away", row->name);
			CHECK(memcmp(payload, right + PAGE, length) == 0);
			data = frame.seq == seq;
			break;
		case WIRE_ACK:
			/* of what came before it */
			if (frame.seq != seq || row->gives ||
					(row->outcome == ENDS && last_step(row) != row->steps))
				break;
			if (row->outcome != ACKED && !(row->outcome == DATA && data))
				die("%s: acknowledged", row->name);
			return;
		case WIRE_NAK:
			if (row->outcome != REFUSED || frame.seq != seq || frame.imm != row->reason)
				die("%s: request %llu was refused for reason %u", row->name,
						(unsigned long long)frame.seq, frame.imm);
			return;
		case WIRE_NOT_READY:
			if (row->outcome != DEFERRED || frame.seq != seq)
				die("%s: there was no receive", row->name);
			return;
		case WIRE_DISCONNECTED:
			if (row->outcome != LEFT)
				die("%s: the victim has disconnected", row->name);
			return;
		case WIRE_SEND:
		case WIRE_WRITE:
		case WIRE_READ:
			/* the victim's own */
			CHECK(row->posts);
			break;
		default:
			die("%s: a frame of kind %u", row->name, frame.kind);
		}
	}
	if (row->outcome != ENDS)
		die("%s: the victim has closed the connection", row->name);
}

/* --- anything ----------------------------------------------------------------------------------- */

#define PICK(random, array) ((array)[next_random(random) % (sizeof(array) / sizeof((array)[0]))])

/* a frame that is not all wrong, mostly */
static struct step
any_step(struct random *random)
{
	static const enum wire_kind kinds[] = {WIRE_SEND, WIRE_WRITE, WIRE_READ, WIRE_ATOMIC_WRITE, WIRE_FLUSH, WIRE_ACK,
		WIRE_NAK, WIRE_READ_DATA, WIRE_NOT_READY, WIRE_READY, WIRE_IN_BAND, WIRE_READ_IN_BAND, WIRE_USE,
		WIRE_DISCONNECT, WIRE_DISCONNECTED, WIRE_CHANGES_OVER};
	static const uint8_t flags[] = {0, 0, 0, 0, WIRE_WITH_IMM, WIRE_SOLICITED, WIRE_BY_REFERENCE, WIRE_PULLS,
		WIRE_WHOLE_REGION, WIRE_IN_CHUNKS | WIRE_BY_REFERENCE, WIRE_IN_CHUNKS | WIRE_PULLS, 0xff};
	static const uint32_t lengths[] = {0, 7, 8, 8, 8, 8, INBOX, INBOX + 1, PAGE, REGION, 1u << 31, UINT32_MAX};
	static const uint64_t numbers[] = {0, 0, 0, 1, 1, 2, 3, UINT64_MAX};
	struct step step = {
		.kind = next_random(random) % 32 == 0 ? (enum wire_kind)(next_random(random) % 256) : PICK(random, kinds),
		.flags = PICK(random, flags),
		.place = (enum place)(next_random(random) % (NO_PLACE + 1)),
		.length = PICK(random, lengths),
		.seq = PICK(random, numbers),
	};

	/* what has no length, number or flag is not taken if it has one, so often it has none */
	if (step.kind >= WIRE_ACK && next_random(random) % 4) {
		step.flags = 0;
		if (step.kind != WIRE_READ_DATA && step.kind != WIRE_READ_IN_BAND)
			step.length = 0;
		if (step.kind >= WIRE_USE)
			step.seq = 0;
	}
	if (step.flags & WIRE_WITH_IMM || step.kind == WIRE_NAK)
		step.imm = (uint32_t)(next_random(random) % 6);
	if (step.kind == WIRE_FLUSH)
		step.extra = (uint16_t)(next_random(random) % 5);

	return step;
}

/* The queue pair allows nothing, so nothing may come but answers and what the victim itself sends. */
static void
attack_anyhow(struct child *victim, const char *address, unsigned port, uint64_t seed,
		const char *name)
{
	static char payload[REGION];
	struct random random = {seed};
	const struct row row = {
		.name = name,
		.receives = (uint8_t)(next_random(&random) % 3),
		.posts = (uint8_t)(next_random(&random) % 2),
		.is_first = next_random(&random) % 8 == 0,
		.is_server = next_random(&random) % 4 == 0,
	};
	struct hostile hostile;
	struct wire_frame frame;

	under_way = name;
	if (row.is_server)
		CHECK(connect_to_peer(&hostile, victim, address, &row));
	else
		CHECK(connect_to_victim(&hostile, victim, address, port, &row));
	for (uint64_t count = next_random(&random) % 12; count > 0; count--) {
		struct step step = any_step(&random);

		send_frame(&hostile, frame_of(&hostile.knows, &step), 0x5a, 0);
	}
	/* it may have reset the connection */
	shutdown(hostile.fd, SHUT_WR);
	while (receive_all(hostile.fd, &frame, sizeof(frame))) {
		frame = wire_order(frame);
		if (frame.kind == WIRE_READ_DATA)
			die("%s: data was given away", name);
		CHECK(wire_payload(&frame) <= sizeof(payload));
		if (!receive_all(hostile.fd, payload, wire_payload(&frame)))
			break;
	}
	close(hostile.fd);
}

/* --- all of it --------------------------------------------------------------------------------- */

/* another connection of the victim goes on, whatever happens to this one */
static void
use(struct link *honest)
{
	static uint8_t byte;

	memset(honest->memory, ++byte, 64);
	post(honest, IBV_WR_RDMA_WRITE, 1, 0, 64, 128);
	post(honest, IBV_WR_RDMA_READ, 2, 1024, 64, 128);
	complete(honest);
	complete(honest);
	CHECK(memcmp(honest->memory, honest->memory + 1024, 64) == 0);
}

struct holdings {
	unsigned descriptors;
	long resident;
};

/* the victim's memory, and what it holds, after an attack */
static struct holdings
inspect(struct child *victim, const char *name, bool writes, bool must_write)
{
	struct holdings holdings;
	const char *line;
	char what[16];
	bool written;

	tell(victim, "check");
	line = hear(victim);
	if (!line)
		die("%s: the victim has ended", name);
	CHECK(sscanf(line, "%15s %u %ld", what, &holdings.descriptors, &holdings.resident) == 3);
	written = strcmp(what, "written") == 0;
	if (written && !writes)
		die("%s: memory was written", name);
	if (!written && must_write)
		die("%s: memory was not written", name);

	return holdings;
}

static struct holdings
run(struct child *victim, struct link *honest, const char *address, unsigned port, const struct row *row)
{
	struct hostile hostile;
	struct holdings holdings;
	const bool cut = last_step(row)->cut;

	under_way = row->name;
	if (attack(&hostile, victim, address, port, row)) {
		if (cut)
			CHECK(shutdown(hostile.fd, SHUT_WR) == 0);
		else if (row->outcome != LEFT)
			expect_outcome(&hostile, row);
	}
	use(honest);
	/* it is the victim's program that ends this one */
	if (row->outcome != LEFT)
		close(hostile.fd);
	holdings = inspect(victim, row->name, row->writes, row->writes && !cut);
	if (row->outcome == LEFT)
		close(hostile.fd);

	return holdings;
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	const char *only = argc == 3 ? argv[2] : NULL;
	struct holdings before = {0}, now = {0};
	struct rdma_event_channel *channel;
	struct child victim;
	struct link honest;
	unsigned port, done = 0;
	const unsigned long randomly = env_number("HOSTILE_ATTACKS", 100);
	uint64_t seed = env_number("HOSTILE_SEED", now_ns() % 1000000000);

	if (argc == 4)
		return serve(argv[2]);

	skip_without(address);
	victim = start("victim", address, 0);
	port = (unsigned)expect(&victim, "listening ");
	channel = open_channel();
	if (!connect_link(&honest, channel, address, port, PAGE, DEPTH))
		die("the honest connection was refused");
	/* what there is after the first round is there after the second one, and no more */
	for (unsigned round = 0; round < 2; round++) {
		before = now;
		for (size_t i = 0; i < row_count; i++) {
			if (only ? strcmp(only, rows[i].name) != 0 : rows[i].flushes && !getenv("HOSTILE_FLUSH"))
				continue;
			now = run(&victim, &honest, address, port, &rows[i]);
			done++;
		}
		for (unsigned i = 0; !only && i < randomly; i++, done++) {
			char name[32];

			snprintf(name, sizeof(name), "anything, seed %llu", (unsigned long long)(seed + i));
			attack_anyhow(&victim, address, port, seed + i, name);
			use(&honest);
			now = inspect(&victim, name, false, false);
		}
	}
	CHECK(done > 0);
	if (now.descriptors > before.descriptors + 4)
		die("%u descriptors, %u before", now.descriptors, before.descriptors);
	if (now.resident > before.resident + MOST_GROWTH_KIB)
		die("%ld KiB of memory, %ld before", now.resident, before.resident);
	tell(&victim, "quit");
	rdma_disconnect(honest.id);
	link_close(&honest);
	finish(&victim);
	rdma_destroy_event_channel(channel);
	release_pd();
	printf("seed %llu: %u attacks: nothing given away, nothing written, nothing left over: %u descriptors, %ld KiB, "
			"after half of them %u and %ld\n", (unsigned long long)seed, done, now.descriptors, now.resident,
			before.descriptors, before.resident);

	return 0;
}
