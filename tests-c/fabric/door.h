/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests that play a client of softrdma, and go to the local socket where its server shares memory. */
#ifndef DOOR_H
#define DOOR_H

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "hostile-peer/wire.h"
#include "two-processes.h"

/* --- the wire format, where the plain structures do not do --- */

/* what the name of a door and an invitation have */
#define WIRE_WORD 16

#define WIRE_HEADER sizeof(struct wire_frame)

static inline void
wire_put(uint8_t *to, uint64_t value, unsigned bytes)
{
	value = htole64(value);
	memcpy(to, &value, bytes);
}

static inline void
wire_header(uint8_t header[WIRE_HEADER], const struct wire_frame *frame)
{
	struct wire_frame on_the_wire = wire_order(*frame);

	memcpy(header, &on_the_wire, WIRE_HEADER);
}

/* what stands for bytes that the other side copies: where they are, and a word that has to have this value */
static inline void
wire_descriptor(uint8_t descriptor[WIRE_DESCRIPTOR], uint64_t address, uint64_t word, uint64_t value)
{
	wire_put(descriptor, address, 8);
	for (int i = 0; i < 2; i++) {
		wire_put(descriptor + 8 + 16 * i, word, 8);
		wire_put(descriptor + 16 + 16 * i, value, 8);
	}
}

/* what the name of a door is in the abstract name space, with 0 in front: this, and its bytes in hexadecimal */
#define WIRE_DOOR_PREFIX "softrdma-"
#define WIRE_KNOCK 64
/* where it has the number of the slot: 0, the first one of the memory that comes along */
#define WIRE_SLOT_AT 60
#define WIRE_DOORBELL 4
/* in the number that the server's doorbell names: the connection stays on TCP */
#define WIRE_REFUSED 0x80000000u

/* in the memory of a slot: the words of both rings, and among those of the first one how the connection goes on */
#define RING_WORDS 512
#define WAY_AT 448
#define WAY_TCP 1
#define WAY_HERE 2
#define WAY_READY 8

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

/* --- a client --- */

/* one that has sent a request over TCP, and has been invited */
struct invited {
	int tcp;
	struct sockaddr_un door;
	socklen_t door_length;
	uint8_t knock[WIRE_KNOCK];
};

/* an address of IPv4 */
struct invited get_invited(const char *address, unsigned port);
int connect_to_door(const struct invited *invited);

#define MOST_DESCRIPTORS 200

/* with COUNT copies of a descriptor; the other side may have closed it by now */
void send_with(int to, const void *bytes, size_t size, int descriptor, unsigned count);

/* what two processes share for one connection, and what its size is kept by */
#define RINGS (4096 + 2 * (32 << 10))
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

int make_memory(size_t size, unsigned seals);

#endif
