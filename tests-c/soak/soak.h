/* SPDX-License-Identifier: BSD-3-Clause */
/* The pieces of the program soak, which soak.c explains. */
#ifndef SOAK_H
#define SOAK_H

#include <pthread.h>
#include <stdint.h>

#include <librpma.h>

#include "two-processes.h"

/* --- what is counted, in memory that all processes share --- */

#define COUNTERS(X) \
	X(CONNECTIONS, "connections, as clients") \
	X(ACCEPTED, "connections, as servers") \
	X(SHARED, "ends with a shared completion channel") \
	X(SRQ, "ends with a shared receive queue") \
	X(IN_MEMORY_FILE, "ends whose region is a file in memory") \
	X(IN_FILE, "ends whose region is a file") \
	X(MAPPED, "connections whose client has mapped the region of the server") \
	X(BYTES, "bytes moved by clients") \
	X(WRITE, "write") \
	X(READ, "read") \
	X(WRITE_IMM, "write with immediate") \
	X(ATOMIC, "atomic write") \
	X(FLUSH_VISIBILITY, "flush to visibility") \
	X(FLUSH_PERSISTENT, "flush to persistence") \
	X(SEND, "send") \
	X(SEND_IMM, "send with immediate") \
	X(RECV, "receive") \
	X(REJECTED, "requests rejected on purpose") \
	X(CLIENT_KILLED, "clients killed") \
	X(SERVER_KILLED, "servers killed") \
	X(KEEPER_CLIENT_BROKEN, "kills noticed on a connection by the survivor's clients") \
	X(KEEPER_SERVER_BROKEN, "kills noticed on a connection by the survivor's server") \
	X(REFUSED, "connections that a kill kept from being established") \
	X(FAILED_ACCEPT, "requests whose client was dead before they were answered") \
	X(CLOSED, "event: closed") \
	X(LOST, "event: lost") \
	X(UNREACHABLE, "event: unreachable")

enum counter {
#define X(name, text) COUNT_##name,
	COUNTERS(X)
#undef X
	COUNT_STATUS, /* of completions: one for each enum ibv_wc_status from here on */
	COUNTER_COUNT = COUNT_STATUS + 32
};

void counters_create(void);
void counters_open(void);
void count(enum counter counter, uint64_t by);
uint64_t counted(enum counter counter);
void counters_print(void);

/* --- one end of a connection --- */

#define MESSAGE ((size_t)4096)
/* messages that may be under way; as many slots for what comes in as for what goes out */
#define MESSAGES 8
/* private data of a request, on the smallest device */
#define REQUEST_DATA 56
#define REPLY_DATA 196

/* what a client says first; random bytes follow */
struct hello {
	uint64_t seed;
	uint32_t size;
	uint8_t reject;	/* the server is to reject it */
	uint8_t length;	/* of the private data */
};

/* and what the server answers */
struct reply {
	uint8_t region[64];
	uint8_t peer_cfg[16];
	uint64_t inode; /* session_inode() */
	uint8_t region_length;
	uint8_t peer_cfg_length;
	uint8_t length;
};

/* the last message of a connection; any other one is sent back with its bits inverted */
#define FAREWELL UINT64_C(0x6c6c657765726166)
struct farewell {
	uint64_t word;
	uint64_t server_disconnects;
};

struct session {
	struct rpma_conn_cfg *cfg;
	struct rpma_conn *conn;
	struct rpma_cq *cq;
	struct rpma_cq *rcq;	/* where receives complete: perhaps cq */
	struct rpma_srq *srq;
	bool shared;		/* both on one channel */
	struct rpma_mr_local *mr;
	char *memory;		/* two halves, and the slots for messages behind */
	size_t size;		/* of the halves together */
	int file;		/* that the memory is a mapping of, or -1 */
	uint64_t seed;
	const char *doing;	/* for messages */
	bool established;
	bool over;
	bool farewell;		/* the end is meant */
	unsigned answers;	/* of a server, that are not complete */
	bool disconnects;	/* when they are */
	enum rpma_conn_event ended_by;
};

/* a configuration of any kind; for a server, perhaps with a shared receive queue */
void session_configure(struct session *session, struct rpma_peer *peer, struct random *random,
		bool server);
/* a region: private memory, a file in memory, or a file */
void session_memory(struct session *session, struct rpma_peer *peer, struct random *random, size_t size);
/* the inode of the file under the region, which the peer may map; 0 if there is none */
uint64_t session_inode(const struct session *session);
/* whether this process has mapped a file with this inode */
bool has_mapped(uint64_t inode);
/* a request became a connection */
void session_start(struct session *session);
void session_receive(struct session *session, unsigned slot);
/* waits for an event; false if it was the end */
bool session_event(struct session *session);
/* waits for a completion that is a success; false if the connection ended instead */
bool session_next(struct session *session, struct ibv_wc *wc);
/* releases everything, at any point */
void session_close(struct session *session);

size_t slot_in(const struct session *session, unsigned slot);
size_t slot_out(const struct session *session, unsigned slot);
/* how much a write with this immediate writes to the second half */
size_t immediate_length(const struct session *session, uint32_t imm);

#define GOOD(call) do { \
	int ret_ = (call); \
	if (ret_) \
		die("%s:%d: %s: %s (errno: %m)", __FILE__, __LINE__, #call, rpma_err_2str(ret_)); \
} while (0)

/* --- the two halves of a process --- */

/* other processes are killed, so connections may break; everywhere else that is an error */
extern bool is_keeper;
/* rejecting a request is what the original library should not be asked for */
extern bool is_original;

struct rpma_peer *open_peer(const char *address);

/* listens on some port, or on this one, and says so; the threads run until the process ends */
void serve(struct rpma_peer *peer, const char *address, unsigned port, uint64_t seed);
/* waits until there are no connections */
void serve_idle(void);

#define WORKERS 2
void work(struct rpma_peer *peer, const char *address, unsigned port, uint64_t seed);
/* the workers finish their connections and pause, or go on */
void work_pause(bool pause);

#endif
