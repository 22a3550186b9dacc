/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A peer that does not keep to the protocol, its victim, and what it does to it.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

#define PAGE ((size_t)4096)
#define REGION ((size_t)256 << 10)
#define DEPTH 16
#define INBOX ((size_t)64)

#define READ_ACCESS IBV_ACCESS_REMOTE_READ
#define WRITE_ACCESS IBV_ACCESS_REMOTE_WRITE
/* flags that older headers do not have; the region has them where the device can flush (HOSTILE_FLUSH) */
#define GLOBAL_ACCESS (1 << 8)
#define PERSISTENT_ACCESS (1 << 9)
#define ALL_ACCESS (READ_ACCESS | WRITE_ACCESS | IBV_ACCESS_REMOTE_ATOMIC)

/* what the peer wants of its victim, in the private data of a request */
struct wish {
	uint8_t hostile; /* of 0: an honest peer */
	uint16_t access; /* what the queue pair allows */
	uint8_t receives;
	uint8_t posts;   /* requests to the peer: a send, a read of 8 bytes, a write of 8 bytes, in this order */
	uint8_t state;   /* what becomes of the queue pair, of enum state */
};

enum state {
	READY,
	FAILED,
	WAS_RESET,
	DESTROYED,
	MISSING, /* the program has accepted without one */
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
	LEFT,    /* the victim's program sees that the peer has disconnected */
	TURNED_AWAY, /* the hello is not taken, and there is no connection */
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
	uint16_t access;
	uint8_t receives;
	uint8_t posts;
	struct step steps[3];
	enum outcome outcome;
	enum wire_reason reason;
	bool is_first;   /* of the connection: what normally comes first is left out */
	bool writes;     /* the region may have changed, and should have unless cut off */
	bool gives;      /* data may come, although it ends */
	unsigned repeat; /* the last step comes so many times more, with the next numbers */
	uint8_t state;   /* of the queue pair */
	bool flushes;    /* only where the device can */
	bool is_server;  /* the victim is the client */
	/* bytes of the hello that are different, or all behind `cut` missing */
	struct {
		uint8_t at;
		uint8_t byte;
	} hello[2];
	size_t cut_hello;
};

extern const struct row rows[];
extern const size_t row_count;

/* the bytes of the region, before and after its page of each side, at first */
void fill_memory(char *memory);

/* the process of the victim */
int serve(const char *address);

#endif
