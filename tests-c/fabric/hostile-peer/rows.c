/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a hostile peer does, and what its victim has to answer: a row for each sentence of softrdma/doc/protocol.md.
 */
#include <infiniband/verbs.h>

#include "hostile.h"

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
const struct row rows[] = {
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

	/* more than there may be */
	{"more reads than there may be", ALL_ACCESS, 0, 0, {{WIRE_READ, .length = REGION}}, ENDS, .gives = true, .repeat = 400},

	/* hellos of a client */
	{"no hello", .outcome = TURNED_AWAY, .cut_hello = 1},
	{"half a hello", .outcome = TURNED_AWAY, .cut_hello = 100},
	{"hello of another protocol", .outcome = TURNED_AWAY, .hello = {{0, 'S'}}},
	{"hello of an older version", .outcome = TURNED_AWAY, .hello = {{8, WIRE_VERSION - 1}}},
	{"hello of a newer version", .outcome = TURNED_AWAY, .hello = {{8, WIRE_VERSION + 1}}},
	{"hello of no kind", .outcome = TURNED_AWAY, .hello = {{9, 0xff}}},
	{"reply to nothing", .outcome = TURNED_AWAY, .hello = {{9, WIRE_REPLY}}},
	{"reject of nothing", .outcome = TURNED_AWAY, .hello = {{9, WIRE_REJECT}}},
	{"request with a reason", .outcome = TURNED_AWAY, .hello = {{10, 1}}},
	{"too many retries", .outcome = TURNED_AWAY, .hello = {{14, 8}}},
	{"too many RNR retries", .outcome = TURNED_AWAY, .hello = {{15, 8}}},
	{"too much private data", .outcome = TURNED_AWAY, .hello = {{17, 57}}},
	{"private data beyond the hello", .outcome = TURNED_AWAY, .hello = {{17, 255}}},
	{"request with an invitation", .outcome = TURNED_AWAY, .hello = {{18, 1}, {24, 1}}},
	{"request with the place of an invitation", .outcome = TURNED_AWAY, .hello = {{24, 1}}},
	{"too large a number of a queue pair", .outcome = TURNED_AWAY, .hello = {{23, 1}}},
	{"hello with something behind it", .outcome = TURNED_AWAY, .hello = {{255, 1}}},

	/* a server: what a client's victim allows, it does not get more of */
	{"server that writes", ALL_ACCESS, 0, 0, {{WIRE_WRITE, .length = 8}}, ACKED, .writes = true, .is_server = true},
	{"server that reads", ALL_ACCESS, 0, 0, {{WIRE_READ, .length = 8}}, DATA, .is_server = true},
	{"server that writes beyond", ALL_ACCESS, 0, 0, {{WIRE_WRITE, .place = BEYOND, .length = 8}}, REFUSED,
		WIRE_REMOTE_ACCESS, .is_server = true},
	{"server that reads a guess", ALL_ACCESS, 0, 0, {{WIRE_READ, .place = GUESSED, .length = 8}}, REFUSED,
		WIRE_REMOTE_ACCESS, .is_server = true},
	{"server that is not allowed to read", 0, 0, 0, {{WIRE_READ, .length = 8}}, REFUSED, WIRE_INVALID_REQUEST,
		.is_server = true},
	{"server that reads in band", ALL_ACCESS, 0, 0, {{WIRE_READ_IN_BAND, .length = 8}}, ENDS, .is_server = true},
	{"server that uses", ALL_ACCESS, 0, 0, {{WIRE_USE}}, ENDS, .is_server = true},
	{"server that can copy", ALL_ACCESS, 0, 0, {{WIRE_CAN_PULL}}, ENDS, .is_server = true},
	{"server that changes over", ALL_ACCESS, 0, 0, {{WIRE_CHANGES_OVER}}, ENDS, .is_server = true},
	{"server that sends by reference", ALL_ACCESS, 1, 0, {{WIRE_SEND, WIRE_BY_REFERENCE, .length = 8}}, ENDS,
		.is_server = true},
	{"server that answers by reference", ALL_ACCESS, 1, 1,
		{{WIRE_READ_DATA, WIRE_BY_REFERENCE, .seq = 1, .length = 8}}, ENDS, .is_server = true},
	{"server that has not been asked", ALL_ACCESS, 1, 0, {{WIRE_ACK}}, ENDS, .is_server = true},
	{"server that disconnects", ALL_ACCESS, 1, 0, {{WIRE_DISCONNECT}}, LEFT, .is_server = true},
	{"invitation to nowhere", ALL_ACCESS, 0, 0, {{WIRE_WRITE, .length = 8}}, ACKED, .writes = true,
		.is_server = true, .hello = {{18, 1}, {24, 'x'}}},
	{"no reply", .outcome = TURNED_AWAY, .is_server = true, .cut_hello = 1},
	{"half a reply", .outcome = TURNED_AWAY, .is_server = true, .cut_hello = 100},
	{"reply of an older version", .outcome = TURNED_AWAY, .is_server = true, .hello = {{8, WIRE_VERSION - 1}}},
	{"reply of no kind", .outcome = TURNED_AWAY, .is_server = true, .hello = {{9, 9}}},
	{"request in place of a reply", .outcome = TURNED_AWAY, .is_server = true, .hello = {{9, WIRE_REQUEST}}},
	{"reject", .outcome = TURNED_AWAY, .is_server = true, .hello = {{9, WIRE_REJECT}, {10, 28}}},
	{"reply with too much private data", .outcome = TURNED_AWAY, .is_server = true, .hello = {{17, 197}}},
	{"invitation without an invitation", .outcome = TURNED_AWAY, .is_server = true, .hello = {{24, 1}}},
};
#pragma GCC diagnostic pop
const size_t row_count = sizeof(rows) / sizeof(rows[0]);
