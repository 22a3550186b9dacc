/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The wire format of softrdma (softrdma/doc/protocol.md), for a peer that does not keep to it.
 */
#ifndef HOSTILE_WIRE_H
#define HOSTILE_WIRE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define WIRE_HELLO 256
#define WIRE_VERSION 11
#define WIRE_PRIVATE_DATA 200

enum wire_greeting {
	WIRE_REQUEST = 1,
	WIRE_REPLY = 2,
	WIRE_REJECT = 3,
};

struct wire_hello {
	char magic[8];
	uint8_t version;
	uint8_t greeting;
	uint8_t status;
	uint8_t responder_resources;
	uint8_t initiator_depth;
	uint8_t flow_control;
	uint8_t retry_count;
	uint8_t rnr_retry_count;
	uint8_t srq;
	uint8_t private_data_len;
	uint8_t invited;
	uint8_t zero;
	uint32_t qp_num; /* this and all others: little-endian */
	uint8_t invitation[32];
	uint8_t private_data[WIRE_PRIVATE_DATA];
};
_Static_assert(sizeof(struct wire_hello) == WIRE_HELLO, "a hello has 256 bytes");

static inline struct wire_hello
wire_hello(enum wire_greeting greeting, const void *private_data, size_t length)
{
	struct wire_hello hello = {
		.version = WIRE_VERSION,
		.greeting = (uint8_t)greeting,
		.responder_resources = 16,
		.initiator_depth = 16,
		.retry_count = 7,
		.rnr_retry_count = 7,
		.private_data_len = (uint8_t)length,
		.qp_num = htole32(0x123456),
	};

	memcpy(hello.magic, "softrdma", sizeof(hello.magic));
	memcpy(hello.private_data, private_data, length);

	return hello;
}

enum wire_kind {
	WIRE_SEND = 1,
	WIRE_WRITE = 2,
	WIRE_READ = 3,
	WIRE_ATOMIC_WRITE = 4,
	WIRE_FLUSH = 5,
	WIRE_ACK = 16,
	WIRE_NAK = 17,
	WIRE_READ_DATA = 18,
	WIRE_NOT_READY = 19,
	WIRE_READY = 20,
	WIRE_IN_BAND = 21,
	WIRE_READ_IN_BAND = 22,
	WIRE_USE = 32,
	WIRE_DISCONNECT = 34,
	WIRE_DISCONNECTED = 35,
	WIRE_CHANGES_OVER = 36,
};

enum wire_flag {
	WIRE_WITH_IMM = 1,
	WIRE_SOLICITED = 2,
	WIRE_BY_REFERENCE = 4,
	WIRE_PULLS = 8,
	WIRE_WHOLE_REGION = 16,
	WIRE_PLACED = 32,
	WIRE_IN_CHUNKS = 64,
};

enum wire_reason {
	WIRE_REMOTE_ACCESS = 1,
	WIRE_INVALID_REQUEST = 2,
	WIRE_REMOTE_OPERATION = 3,
	WIRE_QUEUE_PAIR_GONE = 4,
};

/* what a flush is for: its field extra */
enum wire_flush {
	WIRE_GLOBAL = 1,
	WIRE_PERSISTENT = 2,
};

#define WIRE_DESCRIPTOR 40

/* the header of a frame, as the host has it */
struct wire_frame {
	uint8_t kind;
	uint8_t flags;
	uint16_t extra;
	uint32_t length;
	uint64_t seq;
	uint64_t addr;
	uint32_t key;
	uint32_t imm;
	uint8_t zero[16];
};
_Static_assert(sizeof(struct wire_frame) == 48, "a header has 48 bytes");

/* between the host's and the wire's order of bytes, both ways */
static inline struct wire_frame
wire_order(struct wire_frame frame)
{
	frame.extra = htole16(frame.extra);
	frame.length = htole32(frame.length);
	frame.seq = htole64(frame.seq);
	frame.addr = htole64(frame.addr);
	frame.key = htole32(frame.key);
	frame.imm = htole32(frame.imm);

	return frame;
}

/* how many bytes follow the header */
static inline size_t
wire_payload(const struct wire_frame *frame)
{
	switch (frame->kind) {
	case WIRE_SEND:
	case WIRE_WRITE:
	case WIRE_READ_DATA:
		return frame->flags & WIRE_BY_REFERENCE ? WIRE_DESCRIPTOR : frame->length;
	case WIRE_ATOMIC_WRITE:
		return 8;
	default:
		return 0;
	}
}

#endif
