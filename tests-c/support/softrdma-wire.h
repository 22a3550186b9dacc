/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What softrdma sends over TCP and to a door, for tests that play a peer. softrdma/src/wire/ is where it is defined.
 */
#ifndef SOFTRDMA_WIRE_H
#define SOFTRDMA_WIRE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

/* --- hellos --- */

#define WIRE_HELLO 256
#define WIRE_VERSION 4
#define WIRE_REQUEST 1
#define WIRE_REPLY 2

/* where things are in a hello */
#define WIRE_KIND_AT 9
#define WIRE_HAS_INVITATION_AT 18
#define WIRE_DOOR_AT 24
#define WIRE_WORD_AT 40
#define WIRE_PRIVATE_DATA_AT 56

/* what the name of a door and an invitation have */
#define WIRE_WORD 16

/* a request without private data, for a queue pair that may have one read under way */
static inline void
wire_request(uint8_t hello[WIRE_HELLO])
{
	memset(hello, 0, WIRE_HELLO);
	memcpy(hello, "softrdma", 8);
	hello[8] = WIRE_VERSION;
	hello[WIRE_KIND_AT] = WIRE_REQUEST;
	/* responder resources, initiator depth, flow control, retries, RNR retries */
	memcpy(hello + 11, (uint8_t[]){1, 1, 0, 7, 7}, 5);
}

/* --- frames --- */

#define WIRE_HEADER 48

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
	WIRE_CAN_PULL = 33,
	WIRE_DISCONNECT = 34,
	WIRE_DISCONNECTED = 35,
	WIRE_CHANGES_OVER = 36,
};

#define WIRE_WITH_IMM 1
#define WIRE_SOLICITED 2
#define WIRE_BY_REFERENCE 4
#define WIRE_PULLS 8
#define WIRE_WHOLE_REGION 16

struct wire_frame {
	uint8_t kind;
	uint8_t flags;
	uint16_t extra;
	uint32_t length;
	uint64_t seq;
	uint64_t address;
	uint32_t key;
	uint32_t imm;
};

static inline void
wire_put(uint8_t *to, uint64_t value, unsigned bytes)
{
	value = htole64(value);
	memcpy(to, &value, bytes);
}

static inline void
wire_header(uint8_t header[WIRE_HEADER], const struct wire_frame *frame)
{
	memset(header, 0, WIRE_HEADER);
	header[0] = frame->kind;
	header[1] = frame->flags;
	wire_put(header + 2, frame->extra, 2);
	wire_put(header + 4, frame->length, 4);
	wire_put(header + 8, frame->seq, 8);
	wire_put(header + 16, frame->address, 8);
	wire_put(header + 24, frame->key, 4);
	wire_put(header + 28, frame->imm, 4);
}

/* what stands for bytes that the other side copies: where they are, and a word that has to have this value */
#define WIRE_DESCRIPTOR 40

static inline void
wire_descriptor(uint8_t descriptor[WIRE_DESCRIPTOR], uint64_t address, uint64_t word, uint64_t value)
{
	wire_put(descriptor, address, 8);
	for (int i = 0; i < 2; i++) {
		wire_put(descriptor + 8 + 16 * i, word, 8);
		wire_put(descriptor + 16 + 16 * i, value, 8);
	}
}

/* --- at a door --- */

/* what the name of a door is in the abstract name space, with 0 in front: this, and its bytes in hexadecimal */
#define WIRE_DOOR_PREFIX "softrdma-"
#define WIRE_KNOCK 64

/* the addresses, of 16 bytes each and mapped to IPv6, and ports are those of the client and the server on TCP */
static inline void
wire_knock(uint8_t knock[WIRE_KNOCK], const uint8_t word[WIRE_WORD], const uint8_t addresses[32],
		uint16_t client_port, uint16_t server_port)
{
	memset(knock, 0, WIRE_KNOCK);
	memcpy(knock, "softdoor", 8);
	memcpy(knock + 8, word, WIRE_WORD);
	memcpy(knock + 24, addresses, 32);
	wire_put(knock + 56, client_port, 2);
	wire_put(knock + 58, server_port, 2);
}

#endif
