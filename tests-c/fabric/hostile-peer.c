/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hostile-peer [ADDRESS [ROW]]: a peer that speaks the wire format of softrdma over TCP, and sends what no honest
 * peer sends: every frame in every state, with wrong keys, ranges, numbers, flags and lengths. Its victim must
 * answer as softrdma/doc/protocol.md says, give nothing away, keep its memory, go on with its other connections,
 * and have nothing left over afterwards.
 *
 *   softrdma run -- hostile-peer
 *
 * ADDRESS is 127.0.0.1 unless given; of all rows only the one named ROW. From the environment: PAIR_WAIT_MS (see
 * two-processes.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile-wire.h"
#include "two-processes.h"

#define PAGE ((size_t)4096)
#define REGION ((size_t)256 << 10)
#define DEPTH 16
#define INBOX ((size_t)64)

#define READ_ACCESS IBV_ACCESS_REMOTE_READ
#define WRITE_ACCESS IBV_ACCESS_REMOTE_WRITE
#define ALL_ACCESS (READ_ACCESS | WRITE_ACCESS | IBV_ACCESS_REMOTE_ATOMIC)
#define LOCAL IBV_ACCESS_LOCAL_WRITE

/* --- what the peer wants of its victim, in the private data ------------------------------------ */

struct wish {
	uint8_t hostile; /* of 0: an honest peer */
	uint8_t access;  /* what the queue pair allows */
	uint8_t receives;
	uint8_t posts;   /* requests to the peer: a send, a read of 8 bytes, a write of 8 bytes, in this order */
};

/* what the peer knows of its victim */
struct knowledge {
	unsigned long long addr;
	unsigned rkey;
	unsigned lkey;
	unsigned local_only; /* a region of the same memory that is not for peers */
	unsigned read_only;
	unsigned other_pd;
	unsigned gone;
};

/* --- the victim --------------------------------------------------------------------------------- */

/* a page, the region, a page: no byte of the pages ever changes */
static char *memory;
static char *copy;

struct victim {
	struct rdma_cm_id *id;
	struct ibv_pd *pd, *other_pd;
	struct ibv_cq *cq;
	struct ibv_mr *mr, *local_only, *read_only, *in_other_pd, *inbox_mr;
	char inbox[INBOX];
	unsigned posted;
	bool ended;
};

static void
prepare_memory(void)
{
	memory = mmap(NULL, REGION + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	copy = malloc(REGION + 2 * PAGE);
	CHECK(copy);
	fill(memory, REGION + 2 * PAGE, 7);
	memcpy(copy, memory, REGION + 2 * PAGE);
}

static struct ibv_mr *
region(struct ibv_pd *pd, int access)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, memory + PAGE, REGION, access);

	CHECK(mr);

	return mr;
}

static void
post_to_peer(struct victim *victim)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)victim->inbox,
		.length = 8,
		.lkey = victim->inbox_mr->lkey,
	};
	static const enum ibv_wr_opcode opcodes[] = {IBV_WR_SEND, IBV_WR_RDMA_READ, IBV_WR_RDMA_WRITE};

	for (size_t i = 0; i < 3; i++) {
		struct ibv_send_wr wr = {
			.sg_list = &sge,
			.num_sge = 1,
			.opcode = opcodes[i],
			.send_flags = IBV_SEND_SIGNALED,
			.wr.rdma = {.remote_addr = 4096, .rkey = 7},
		};
		struct ibv_send_wr *bad;

		CHECK(ibv_post_send(victim->id->qp, &wr, &bad) == 0);
		victim->posted++;
	}
}

static struct victim *
meet(struct rdma_cm_id *id, const struct wish *wish)
{
	struct ibv_qp_init_attr init = {
		.cap = {.max_send_wr = DEPTH, .max_recv_wr = DEPTH, .max_send_sge = 1, .max_recv_sge = 1},
		.qp_type = IBV_QPT_RC,
	};
	struct rdma_conn_param param = conn_param(NULL, 0);
	struct ibv_qp_attr attr = {.qp_access_flags = wish->access};
	struct victim *victim = calloc(1, sizeof(*victim));
	struct ibv_mr *gone;
	unsigned gone_key;

	CHECK(victim);
	victim->id = id;
	id->context = victim;
	victim->pd = ibv_alloc_pd(id->verbs);
	victim->other_pd = ibv_alloc_pd(id->verbs);
	victim->cq = ibv_create_cq(id->verbs, 4 * DEPTH, NULL, NULL, 0);
	CHECK(victim->pd && victim->other_pd && victim->cq);
	init.send_cq = init.recv_cq = victim->cq;
	CHECK(rdma_create_qp(id, victim->pd, &init) == 0);
	victim->mr = region(victim->pd, LOCAL | READ_ACCESS | WRITE_ACCESS);
	victim->local_only = region(victim->pd, LOCAL);
	victim->read_only = region(victim->pd, READ_ACCESS);
	victim->in_other_pd = region(victim->other_pd, LOCAL | READ_ACCESS | WRITE_ACCESS);
	gone = region(victim->pd, LOCAL | READ_ACCESS | WRITE_ACCESS);
	gone_key = gone->rkey;
	CHECK(ibv_dereg_mr(gone) == 0);
	victim->inbox_mr = ibv_reg_mr(victim->pd, victim->inbox, INBOX, LOCAL);
	CHECK(victim->inbox_mr);
	for (unsigned i = 0; i < wish->receives; i++) {
		struct ibv_sge sge = {
			.addr = (uintptr_t)victim->inbox,
			.length = INBOX,
			.lkey = victim->inbox_mr->lkey,
		};
		struct ibv_recv_wr wr = {.sg_list = &sge, .num_sge = 1};
		struct ibv_recv_wr *bad;

		CHECK(ibv_post_recv(id->qp, &wr, &bad) == 0);
		victim->posted++;
	}
	CHECK(rdma_accept(id, &param) == 0);
	CHECK(ibv_modify_qp(id->qp, &attr, IBV_QP_ACCESS_FLAGS) == 0);
	if (wish->posts)
		post_to_peer(victim);
	report("ready %llx %x %x %x %x %x %x", (unsigned long long)(uintptr_t)(memory + PAGE), victim->mr->rkey,
			victim->mr->lkey, victim->local_only->rkey, victim->read_only->rkey,
			victim->in_other_pd->rkey, gone_key);

	return victim;
}

/* everything that was posted completes, once; then nothing keeps anything from being released */
static void
part(struct victim *victim)
{
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_wc wc;

	rdma_disconnect(victim->id);
	while (victim->posted > 0) {
		int count = ibv_poll_cq(victim->cq, 1, &wc);

		CHECK(count >= 0);
		victim->posted -= (unsigned)count;
		if (now_ns() > limit)
			die("%u work requests never completed", victim->posted);
	}
	CHECK(ibv_poll_cq(victim->cq, 1, &wc) == 0);
	rdma_destroy_qp(victim->id);
	CHECK(ibv_dereg_mr(victim->mr) == 0);
	CHECK(ibv_dereg_mr(victim->local_only) == 0);
	CHECK(ibv_dereg_mr(victim->read_only) == 0);
	CHECK(ibv_dereg_mr(victim->in_other_pd) == 0);
	CHECK(ibv_dereg_mr(victim->inbox_mr) == 0);
	CHECK(ibv_destroy_cq(victim->cq) == 0);
	CHECK(ibv_dealloc_pd(victim->pd) == 0);
	CHECK(ibv_dealloc_pd(victim->other_pd) == 0);
	CHECK(rdma_destroy_id(victim->id) == 0);
	free(victim);
}

/* says whether the region was written, and how many descriptors the process has */
static void
check_memory(void)
{
	bool same = memcmp(memory + PAGE, copy + PAGE, REGION) == 0;

	CHECK(memcmp(memory, copy, PAGE) == 0);
	CHECK(memcmp(memory + PAGE + REGION, copy + PAGE + REGION, PAGE) == 0);
	memcpy(memory, copy, REGION + 2 * PAGE);
	report("%s %u", same ? "same" : "written", descriptors());
}

static int
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 8);
	struct victim *victim = NULL;
	struct link *honest = NULL;
	char line[16];
	bool is_asked = false, quit = false;

	prepare_memory();
	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	while (!quit || honest) {
		struct pollfd fds[] = {
			{.fd = channel->fd, .events = POLLIN},
			{.fd = quit ? -1 : STDIN_FILENO, .events = POLLIN},
		};
		struct rdma_cm_event *event;
		enum rdma_cm_event_type type;
		struct rdma_cm_id *id;
		struct wish wish = {0};

		if (is_asked && (!victim || victim->ended)) {
			if (victim)
				part(victim);
			victim = NULL;
			is_asked = false;
			check_memory();
		}
		CHECK(poll(fds, 2, wait_ms()) >= 0 || errno == EINTR);
		if (is_asked && !fds[0].revents)
			die("the connection to the hostile peer has not ended");
		if (fds[1].revents) {
			if (!listen_to_parent(line, sizeof(line)) || strcmp(line, "quit") == 0)
				quit = true;
			else
				is_asked = true;
		}
		if (!fds[0].revents)
			continue;
		event = next_event(channel, 0);
		CHECK(event);
		type = event->event;
		id = event->id;
		if (type == RDMA_CM_EVENT_CONNECT_REQUEST && event->param.conn.private_data_len >= sizeof(wish))
			memcpy(&wish, event->param.conn.private_data, sizeof(wish));
		CHECK(rdma_ack_cm_event(event) == 0);
		if (type == RDMA_CM_EVENT_CONNECT_REQUEST && wish.hostile) {
			CHECK(!victim);
			victim = meet(id, &wish);
		} else if (type == RDMA_CM_EVENT_CONNECT_REQUEST) {
			CHECK(!honest);
			honest = malloc(sizeof(*honest));
			CHECK(honest);
			link_open(honest, id, PAGE, DEPTH);
			accept_link(honest);
		} else if (type == RDMA_CM_EVENT_DISCONNECTED && honest && id == honest->id) {
			CHECK(quit);
			rdma_disconnect(id);
			link_close(honest);
			free(honest);
			honest = NULL;
		} else if (type == RDMA_CM_EVENT_DISCONNECTED || type == RDMA_CM_EVENT_REJECTED) {
			/* rejected: by a client that has not said that it uses the connection */
			CHECK(victim && id == victim->id);
			victim->ended = true;
		}
	}
	CHECK(rdma_destroy_id(listener) == 0);
	release_pd();
	rdma_destroy_event_channel(channel);

	return 0;
}

/* --- the hostile peer --------------------------------------------------------------------------- */

enum place {
	THERE,      /* where it may */
	BEYOND,     /* the last byte is one too far */
	BEFORE,     /* the first byte is one too early */
	WRAPPED,    /* so far that its end is at the beginning of the address space */
	FOR_LOCAL,  /* of a region that is for its owner only */
	READ_ONLY,
	OTHER_PD,
	GONE,       /* of a region that is not registered any more */
	LKEY,       /* by the key that only its owner uses */
	GUESSED,    /* a key that may be one */
	UNALIGNED,
	NO_PLACE,   /* address and key of 0 */
};

enum outcome {
	ENDS,    /* the victim closes the connection, without an answer */
	ACKED,   /* the last request is acknowledged */
	REFUSED, /* the last request is refused, for a reason */
	DATA,    /* its data comes, and it is right */
	DEFERRED, /* there is no receive for the last request */
	LEFT,    /* the victim says that it has disconnected as well */
};

struct step {
	enum wire_kind kind;
	uint8_t flags;
	enum place place;
	uint32_t length;
	uint64_t seq;
	uint32_t imm;
	uint16_t extra;
	uint8_t zero; /* what must be 0 */
	size_t cut;   /* only so many bytes of it, and then the end */
};

struct row {
	const char *name;
	uint8_t access;
	uint8_t receives;
	uint8_t posts;
	struct step steps[3];
	enum outcome outcome;
	enum wire_reason reason;
	bool is_first; /* of the connection: what normally comes first is left out */
	bool writes;   /* the region may have changed, and should have unless cut off */
};

struct hostile {
	int fd;
	struct knowledge knows;
	struct wire_hello reply;
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
			die("the victim has neither answered nor closed the connection");
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

static struct hostile
attack(struct child *victim, const char *address, unsigned port, const struct row *row)
{
	struct wish wish = {
		.hostile = 1,
		.access = row->access,
		.receives = row->receives,
		.posts = row->posts,
	};
	struct wire_hello hello = wire_hello(WIRE_REQUEST, &wish, sizeof(wish));
	struct hostile hostile = {.fd = reach(address, port)};
	struct knowledge *knows = &hostile.knows;
	const char *line;

	send_all(hostile.fd, &hello, sizeof(hello));
	CHECK(receive_all(hostile.fd, &hostile.reply, sizeof(hostile.reply)));
	CHECK(hostile.reply.greeting == WIRE_REPLY);
	line = hear(victim);
	if (!line)
		die("the victim has ended");
	CHECK(sscanf(line, "ready %llx %x %x %x %x %x %x", &knows->addr, &knows->rkey, &knows->lkey,
			&knows->local_only, &knows->read_only, &knows->other_pd, &knows->gone) == 7);
	if (!row->is_first)
		send_frame(&hostile, (struct wire_frame){.kind = WIRE_USE}, 0, 0);
	for (size_t i = 0; i < sizeof(row->steps) / sizeof(row->steps[0]) && row->steps[i].kind; i++)
		send_frame(&hostile, frame_of(knows, &row->steps[i]), 0x5a, row->steps[i].cut);

	return hostile;
}

static const struct step *
last_step(const struct row *row)
{
	const struct step *last = row->steps;

	for (size_t i = 1; i < sizeof(row->steps) / sizeof(row->steps[0]) && row->steps[i].kind; i++)
		last = &row->steps[i];

	return last;
}

/* Reads what the victim says until it is what the row wants. Whatever it is, no byte of memory may be given away. */
static void
expect_outcome(const struct hostile *hostile, const struct row *row)
{
	static char payload[REGION], right[REGION + 2 * PAGE];
	const uint64_t seq = last_step(row)->seq;
	struct wire_frame frame;
	bool data = false;

	fill(right, sizeof(right), 7);
	while (receive_all(hostile->fd, &frame, sizeof(frame))) {
		size_t length;

		frame = wire_order(frame);
		length = wire_payload(&frame);
		CHECK(length <= sizeof(payload));
		if (!receive_all(hostile->fd, payload, length))
			break;
		switch (frame.kind) {
		case WIRE_READ_DATA:
			if (row->outcome != DATA || frame.flags & WIRE_BY_REFERENCE)
				die("%s: data was given away", row->name);
			CHECK(memcmp(payload, right + PAGE, length) == 0);
			data = frame.seq == seq;
			break;
		case WIRE_ACK:
			/* of what came before it */
			if (frame.seq != seq || (row->outcome == ENDS && last_step(row) != row->steps))
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

#define WRONG(wrong_name, what, wrong_place, wrong_length) \
	{wrong_name, ALL_ACCESS, 1, 0, {{what, .place = wrong_place, .length = wrong_length}}, REFUSED, \
		WIRE_REMOTE_ACCESS}
#define NOT_ALLOWED(not_allowed_name, ...) \
	{not_allowed_name, 0, 1, 0, {{__VA_ARGS__}}, REFUSED, WIRE_INVALID_REQUEST}
#define BAD(bad_name, ...) {bad_name, ALL_ACCESS, 1, 0, {{__VA_ARGS__}}, ENDS}
#define BAD_ANSWER(bad_name, ...) {bad_name, ALL_ACCESS, 1, 1, {{__VA_ARGS__}}, ENDS}

/* what a row does not say is 0 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
static const struct row rows[] = {
	/* what is allowed works: otherwise the rest would say little */
	{"write", ALL_ACCESS, 0, 0, {{WIRE_WRITE, .length = 8}}, ACKED, .writes = true},
	{"write all", ALL_ACCESS, 0, 0, {{WIRE_WRITE, .length = REGION}}, ACKED, .writes = true},
	{"read", ALL_ACCESS, 0, 0, {{WIRE_READ, .length = 8}}, DATA},
	{"read all", ALL_ACCESS, 0, 0, {{WIRE_READ, .length = REGION}}, DATA},
	{"read what is read-only", ALL_ACCESS, 0, 0, {{WIRE_READ, .place = READ_ONLY, .length = 8}}, DATA},
	{"atomic write", ALL_ACCESS, 0, 0, {{WIRE_ATOMIC_WRITE, .length = 8}}, ACKED, .writes = true},
	{"send", 0, 1, 0, {{WIRE_SEND, .length = INBOX}}, ACKED},
	{"write with immediate", ALL_ACCESS, 1, 0, {{WIRE_WRITE, WIRE_WITH_IMM, .length = 8, .imm = 3}}, ACKED,
		.writes = true},
	{"write without a byte", ALL_ACCESS, 0, 0, {{WIRE_WRITE, .place = NO_PLACE}}, ACKED},
	{"read without a byte", ALL_ACCESS, 0, 0, {{WIRE_READ, .place = NO_PLACE}}, DATA},
	{"send without a receive", 0, 0, 0, {{WIRE_SEND, .length = 8}}, DEFERRED},
	{"disconnect", ALL_ACCESS, 1, 0, {{WIRE_DISCONNECT}}, LEFT},

	/* memory that is not the peer's */
	WRONG("write beyond", WIRE_WRITE, BEYOND, 8),
	WRONG("write before", WIRE_WRITE, BEFORE, 8),
	WRONG("write around", WIRE_WRITE, WRAPPED, 64),
	WRONG("write for local", WIRE_WRITE, FOR_LOCAL, 8),
	WRONG("write read-only", WIRE_WRITE, READ_ONLY, 8),
	WRONG("write another domain", WIRE_WRITE, OTHER_PD, 8),
	WRONG("write gone", WIRE_WRITE, GONE, 8),
	WRONG("write lkey", WIRE_WRITE, LKEY, 8),
	WRONG("write guessed", WIRE_WRITE, GUESSED, 8),
	WRONG("write nowhere", WIRE_WRITE, NO_PLACE, 8),
	WRONG("large write beyond", WIRE_WRITE, BEYOND, REGION),
	WRONG("read beyond", WIRE_READ, BEYOND, 8),
	WRONG("read before", WIRE_READ, BEFORE, 8),
	WRONG("read around", WIRE_READ, WRAPPED, 64),
	WRONG("read for local", WIRE_READ, FOR_LOCAL, 8),
	WRONG("read another domain", WIRE_READ, OTHER_PD, 8),
	WRONG("read gone", WIRE_READ, GONE, 8),
	WRONG("read lkey", WIRE_READ, LKEY, 8),
	WRONG("read guessed", WIRE_READ, GUESSED, 8),
	WRONG("read nowhere", WIRE_READ, NO_PLACE, 8),
	WRONG("large read beyond", WIRE_READ, BEYOND, REGION),
	WRONG("read of the largest size", WIRE_READ, THERE, 1u << 31),
	WRONG("atomic write beyond", WIRE_ATOMIC_WRITE, BEYOND, 8),
	WRONG("atomic write before", WIRE_ATOMIC_WRITE, BEFORE, 8),
	WRONG("atomic write around", WIRE_ATOMIC_WRITE, WRAPPED, 8),
	WRONG("atomic write for local", WIRE_ATOMIC_WRITE, FOR_LOCAL, 8),
	WRONG("atomic write read-only", WIRE_ATOMIC_WRITE, READ_ONLY, 8),
	WRONG("atomic write another domain", WIRE_ATOMIC_WRITE, OTHER_PD, 8),
	WRONG("atomic write gone", WIRE_ATOMIC_WRITE, GONE, 8),
	WRONG("atomic write lkey", WIRE_ATOMIC_WRITE, LKEY, 8),
	WRONG("atomic write unaligned", WIRE_ATOMIC_WRITE, UNALIGNED, 8),
	{"write with immediate beyond", ALL_ACCESS, 1, 0, {{WIRE_WRITE, WIRE_WITH_IMM, BEYOND, .length = 8}}, REFUSED,
		WIRE_REMOTE_ACCESS},
	{"flush of a wrong key", ALL_ACCESS, 0, 0, {{WIRE_FLUSH, .place = GUESSED, .length = 8}}, REFUSED,
		WIRE_REMOTE_ACCESS},
	{"flush of another domain", ALL_ACCESS, 0, 0, {{WIRE_FLUSH, WIRE_WHOLE_REGION, OTHER_PD}}, REFUSED,
		WIRE_REMOTE_ACCESS},
	{"flush beyond", ALL_ACCESS, 0, 0, {{WIRE_FLUSH, .place = BEYOND, .length = 8}}, REFUSED,
		WIRE_REMOTE_ACCESS},

	/* a queue pair that allows nothing, whatever the region does */
	NOT_ALLOWED("write that is not allowed", WIRE_WRITE, .length = 8),
	NOT_ALLOWED("write without a byte that is not allowed", WIRE_WRITE, .place = NO_PLACE),
	NOT_ALLOWED("write with immediate that is not allowed", WIRE_WRITE, WIRE_WITH_IMM, .length = 8),
	NOT_ALLOWED("read that is not allowed", WIRE_READ, .length = 8),
	NOT_ALLOWED("read without a byte that is not allowed", WIRE_READ, .place = NO_PLACE),
	NOT_ALLOWED("large read that is not allowed", WIRE_READ, WIRE_PULLS, .length = REGION),
	NOT_ALLOWED("atomic write that is not allowed", WIRE_ATOMIC_WRITE, .length = 8),
	NOT_ALLOWED("flush that is not allowed", WIRE_FLUSH, .length = 8, .extra = WIRE_GLOBAL),
	NOT_ALLOWED("flush of all that is not allowed", WIRE_FLUSH, WIRE_WHOLE_REGION, .extra = WIRE_PERSISTENT),
	NOT_ALLOWED("flush for an unknown purpose", WIRE_FLUSH, .length = 8, .extra = 4),
	{"read from a queue pair for writes", WRITE_ACCESS, 0, 0, {{WIRE_READ, .length = 8}}, REFUSED,
		WIRE_INVALID_REQUEST},
	{"write to a queue pair for reads", READ_ACCESS, 0, 0, {{WIRE_WRITE, .length = 8}}, REFUSED,
		WIRE_INVALID_REQUEST},
	{"too long a message", ALL_ACCESS, 1, 0, {{WIRE_SEND, .length = INBOX + 1}}, REFUSED, WIRE_INVALID_REQUEST},

	/* data once more */
	BAD("read in band", WIRE_READ_IN_BAND, .length = 8),
	BAD("read all in band", WIRE_READ_IN_BAND, .length = REGION),
	BAD("read in band what comes next", WIRE_READ_IN_BAND, .length = 8, .seq = 1),
	{"read in band with nothing allowed", 0, 1, 0, {{WIRE_READ_IN_BAND, .length = 8}}, ENDS},
	{"read in band after a send", 0, 1, 0, {{WIRE_SEND, .length = 8}, {WIRE_READ_IN_BAND, .length = 8}}, ENDS},
	{"read in band after a write", ALL_ACCESS, 1, 0,
		{{WIRE_WRITE, .length = 8}, {WIRE_READ_IN_BAND, .length = 8}}, ENDS, .writes = true},

	/* numbers */
	BAD("write of a later number", WIRE_WRITE, .length = 8, .seq = 1),
	BAD("write of the last number", WIRE_WRITE, .length = 8, .seq = UINT64_MAX),
	BAD("read of a later number", WIRE_READ, .length = 8, .seq = 1),
	BAD("send of a later number", WIRE_SEND, .length = 8, .seq = 1),
	BAD("atomic write of a later number", WIRE_ATOMIC_WRITE, .length = 8, .seq = 1),
	BAD("flush of a later number", WIRE_FLUSH, .length = 8, .seq = 1),

	/* what no header has */
	BAD("unknown kind", (enum wire_kind)99),
	BAD("write with something behind it", WIRE_WRITE, .length = 8, .zero = 1),
	BAD("write with a flag of a read", WIRE_WRITE, WIRE_PULLS, .length = 8),
	BAD("write with an immediate, unflagged", WIRE_WRITE, .length = 8, .imm = 1),
	BAD("write for a purpose", WIRE_WRITE, .length = 8, .extra = 1),
	BAD("read with an immediate", WIRE_READ, WIRE_WITH_IMM, .length = 8),
	BAD("read by reference", WIRE_READ, WIRE_BY_REFERENCE, .length = 8),
	BAD("atomic write of more", WIRE_ATOMIC_WRITE, .length = 16),
	BAD("atomic write of nothing", WIRE_ATOMIC_WRITE),
	BAD("atomic write with a flag", WIRE_ATOMIC_WRITE, WIRE_SOLICITED, .length = 8),
	BAD("flush with a flag", WIRE_FLUSH, WIRE_WITH_IMM, .length = 8),
	BAD("flush with an immediate", WIRE_FLUSH, .length = 8, .imm = 1),
	BAD("send with a purpose", WIRE_SEND, .length = 8, .extra = 1),
	BAD("send of more than the largest size", WIRE_SEND, .length = (1u << 31) + 1),
	BAD("write of more than the largest size", WIRE_WRITE, .length = (1u << 31) + 1),
	BAD("read of more than the largest size", WIRE_READ, .length = (1u << 31) + 1),

	/* another process's memory, over TCP */
	BAD("send by reference", WIRE_SEND, WIRE_BY_REFERENCE, .length = 8),
	BAD("large send by reference", WIRE_SEND, WIRE_BY_REFERENCE, .length = INBOX),
	BAD("write by reference", WIRE_WRITE, WIRE_BY_REFERENCE, .length = 8),
	BAD("large write by reference", WIRE_WRITE, WIRE_BY_REFERENCE, .length = REGION),
	BAD("ability to copy", WIRE_CAN_PULL),
	BAD("change to another way", WIRE_CHANGES_OVER),
	{"large read with the promise to copy", ALL_ACCESS, 0, 0, {{WIRE_READ, WIRE_PULLS, .length = REGION}}, DATA},

	/* answers that nobody asked for */
	BAD("acknowledgement of nothing", WIRE_ACK),
	BAD("refusal of nothing", WIRE_NAK, .imm = WIRE_REMOTE_ACCESS),
	BAD("data of nothing", WIRE_READ_DATA, .length = 8),
	BAD("no data of nothing", WIRE_READ_DATA),
	BAD("no receive for nothing", WIRE_NOT_READY),
	BAD("a receive for nothing", WIRE_READY),
	BAD("in band what was not sent", WIRE_IN_BAND),
	BAD("answer to no disconnect", WIRE_DISCONNECTED),

	/* wrong answers to a send, a read and a write */
	BAD_ANSWER("acknowledgement of a later one", WIRE_ACK, .seq = 3),
	BAD_ANSWER("acknowledgement of the last one", WIRE_ACK, .seq = UINT64_MAX),
	BAD_ANSWER("acknowledgement of a read without data", WIRE_ACK, .seq = 1),
	BAD_ANSWER("acknowledgement with a length", WIRE_ACK, .length = 1),
	BAD_ANSWER("acknowledgement with a flag", WIRE_ACK, WIRE_SOLICITED),
	BAD_ANSWER("refusal for an unknown reason", WIRE_NAK, .imm = 99),
	BAD_ANSWER("refusal of a later one", WIRE_NAK, .seq = 3, .imm = WIRE_REMOTE_ACCESS),
	BAD_ANSWER("data of a send", WIRE_READ_DATA, .length = 8),
	BAD_ANSWER("data of a write", WIRE_READ_DATA, .seq = 2, .length = 8),
	BAD_ANSWER("too much data", WIRE_READ_DATA, .seq = 1, .length = 9),
	BAD_ANSWER("too little data", WIRE_READ_DATA, .seq = 1, .length = 7),
	BAD_ANSWER("very much data", WIRE_READ_DATA, .seq = 1, .length = 1u << 31),
	BAD_ANSWER("data by reference", WIRE_READ_DATA, WIRE_BY_REFERENCE, .seq = 1, .length = 8),
	BAD_ANSWER("data with an immediate", WIRE_READ_DATA, WIRE_WITH_IMM, .seq = 1, .length = 8),
	BAD_ANSWER("no receive for a read", WIRE_NOT_READY, .seq = 1),
	BAD_ANSWER("no receive for a write", WIRE_NOT_READY, .seq = 2),
	BAD_ANSWER("no receive for a later one", WIRE_NOT_READY, .seq = 3),
	BAD_ANSWER("a receive that was not missing", WIRE_READY),
	BAD_ANSWER("in band what was in band", WIRE_IN_BAND),
	{"data twice", ALL_ACCESS, 0, 1,
		{{WIRE_READ_DATA, .seq = 1, .length = 8}, {WIRE_READ_DATA, .seq = 1, .length = 8}}, ENDS},
	{"no receive twice", ALL_ACCESS, 0, 1, {{WIRE_NOT_READY}, {WIRE_NOT_READY}}, ENDS},
	{"a receive for another one", ALL_ACCESS, 0, 1, {{WIRE_NOT_READY}, {WIRE_READY, .seq = 1}}, ENDS},
	{"acknowledgement twice", ALL_ACCESS, 0, 1, {{WIRE_ACK}, {WIRE_ACK}}, ENDS},

	/* states of the connection */
	{"write before the use", ALL_ACCESS, 1, 0, {{WIRE_WRITE, .length = 8}}, ENDS, .is_first = true},
	{"read before the use", ALL_ACCESS, 1, 0, {{WIRE_READ, .length = 8}}, ENDS, .is_first = true},
	{"send before the use", ALL_ACCESS, 1, 0, {{WIRE_SEND, .length = 8}}, ENDS, .is_first = true},
	{"disconnect before the use", ALL_ACCESS, 1, 0, {{WIRE_DISCONNECT}}, ENDS, .is_first = true},
	{"acknowledgement before the use", ALL_ACCESS, 1, 1, {{WIRE_ACK}}, ENDS, .is_first = true},
	{"use twice", ALL_ACCESS, 1, 0, {{WIRE_USE}, {WIRE_USE}}, ENDS},
	{"use with a key", ALL_ACCESS, 1, 0, {{WIRE_USE, .length = 8}}, ENDS, .is_first = true},
	{"use with a flag", ALL_ACCESS, 1, 0, {{WIRE_USE, WIRE_PULLS}}, ENDS, .is_first = true},
	{"write after a disconnect", ALL_ACCESS, 1, 0, {{WIRE_DISCONNECT}, {WIRE_WRITE, .length = 8}}, LEFT},
	{"read after a disconnect", ALL_ACCESS, 1, 0, {{WIRE_DISCONNECT}, {WIRE_READ, .length = 8}}, LEFT},
	{"disconnect twice", ALL_ACCESS, 1, 0, {{WIRE_DISCONNECT}, {WIRE_DISCONNECT}}, LEFT},
	{"disconnect with a number", ALL_ACCESS, 1, 0, {{WIRE_DISCONNECT, .seq = 1}}, ENDS},

	/* the end in the middle */
	{"half a header", ALL_ACCESS, 1, 0, {{WIRE_WRITE, .length = 8, .cut = 24}}, ENDS},
	{"half a write", ALL_ACCESS, 1, 0, {{WIRE_WRITE, .length = REGION, .cut = 48 + REGION / 2}}, ENDS,
		.writes = true},
	{"half a send", ALL_ACCESS, 1, 0, {{WIRE_SEND, .length = INBOX, .cut = 48 + 8}}, ENDS},
	{"half an atomic write", ALL_ACCESS, 1, 0, {{WIRE_ATOMIC_WRITE, .length = 8, .cut = 48 + 4}}, ENDS},
};
#pragma GCC diagnostic pop

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

/* The victim's memory and descriptors after an attack. */
static unsigned
inspect(struct child *victim, const char *name, bool writes, bool must_write)
{
	const char *line;
	unsigned count;
	bool written;

	tell(victim, "check");
	line = hear(victim);
	if (!line)
		die("%s: the victim has ended", name);
	written = strncmp(line, "written ", 8) == 0;
	CHECK(sscanf(line, written ? "written %u" : "same %u", &count) == 1);
	if (written && !writes)
		die("%s: memory was written", name);
	if (!written && must_write)
		die("%s: memory was not written", name);

	return count;
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	const char *only = argc > 2 && argc < 4 ? argv[2] : NULL;
	const size_t count = sizeof(rows) / sizeof(rows[0]);
	struct rdma_event_channel *channel;
	unsigned port, before = 0, done = 0;
	struct child victim;
	struct link honest;

	if (argc == 4)
		return serve(argv[2]);

	victim = start("victim", address, 0);
	port = (unsigned)expect(&victim, "listening ");
	channel = open_channel();
	if (!connect_link(&honest, channel, address, port, PAGE, DEPTH))
		die("the honest connection was refused");
	/* the accepting side has no private data for it */
	for (size_t i = 0; i < count; i++) {
		const struct row *row = &rows[i];
		struct hostile hostile;
		unsigned now;

		if (only && strcmp(only, row->name) != 0)
			continue;
		hostile = attack(&victim, address, port, row);
		if (last_step(row)->cut)
			CHECK(shutdown(hostile.fd, SHUT_WR) == 0);
		else if (row->outcome != LEFT)
			expect_outcome(&hostile, row);
		use(&honest);
		if (row->outcome != LEFT)
			close(hostile.fd);
		now = inspect(&victim, row->name, row->writes, row->writes && !last_step(row)->cut);
		if (row->outcome == LEFT)
			close(hostile.fd);
		if (before == 0)
			before = now;
		if (now > before + 4)
			die("%s: the victim has %u descriptors, %u before", row->name, now, before);
		done++;
	}
	CHECK(done > 0);
	tell(&victim, "quit");
	rdma_disconnect(honest.id);
	link_close(&honest);
	finish(&victim);
	rdma_destroy_event_channel(channel);
	release_pd();
	printf("%u attacks: nothing given away, nothing written, nothing left over\n", done);

	return 0;
}
