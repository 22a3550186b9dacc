/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two processes with connections between them, for the programs of fabric and the soak. They use libibverbs and
 * librdmacm only, so they also run on a device.
 */
#ifndef TWO_PROCESSES_H
#define TWO_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

/* how long anything may take; PAIR_WAIT_MS in the environment changes it */
int wait_ms(void);
uint64_t now_ns(void);
unsigned long env_number(const char *name, unsigned long otherwise);

/* says what was wrong, and ends the process with 1 */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
#define CHECK(is_true) do { \
	if (!(is_true)) \
		die("%s:%d: not so: %s (errno: %m)", __FILE__, __LINE__, #is_true); \
} while (0)

/* --- processes --- */

/* starts this program anew, with a role and two arguments, and with pipes to talk through */
struct child {
	pid_t pid;
	FILE *in;  /* what it prints */
	int out;   /* what it reads */
};
struct child start(const char *role, const char *address, unsigned port);
/* Does what start() has started this program for with this address: the role "server", or any other one, which is of a
 * client. false if it was not started so. */
bool play_role(int argc, char *argv[], const char *address, void (*server)(void),
		void (*client)(const char *role, unsigned port));
/* starts this program with each of these roles, one after the other; all have to end by themselves, with 0 */
void run_cases(const char *const cases[], size_t count, const char *address);
/* the next line that it prints, without the newline; NULL if it ended or took too long */
char *hear(struct child *child);
/* hear() that must give this line, or a number behind it */
unsigned long expect(struct child *child, const char *line);
void tell(struct child *child, const char *line);
/* it must end by itself, with 0 */
void finish(struct child *child);
void kill_child(struct child *child);

/* children that are made by fork alone */
pid_t fork_or_die(void);
/* the child must end with 0 */
void wait_for_exit(pid_t pid);

/* any process of this user; it has stopped when this returns */
void stop_process(pid_t pid);
/* less than a second */
void pause_for(long us);

/* the other side of the pipes; they are the standard streams */
void report(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* the next line of the parent; false at the end of file */
bool listen_to_parent(char *line, size_t size);

/* how many this process has open, how much memory it has, and how much of that is shared, in KiB */
unsigned descriptors(void);
long resident(void);
long resident_shared(void);
/* how many connected TCP sockets it has: on softrdma a connection within a host leaves TCP soon after it was made */
unsigned tcp_connections(void);
void raise_descriptor_limit(void);
/* ends the process as a skipped test if this machine does not have the address */
void skip_without(const char *address);
/* the same, for what cannot be done here; errno says why */
void skip_because(const char *what) __attribute__((noreturn));

/* --- connections --- */

/* what the server says of itself in its private data */
struct remote {
	uint64_t address;
	uint32_t key;
	uint32_t size;
};

/* one end of a connection */
struct link {
	struct rdma_cm_id *id;
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	struct ibv_mr *mr;
	char *memory;
	size_t size;
	struct remote remote;
	unsigned posted; /* work requests that are not complete */
	bool ended;      /* the connection manager said so */
};

/* one protection domain for each process */
struct ibv_pd *pd_of(struct ibv_context *verbs);
/* there must be nothing in it any more */
void release_pd(void);

/* Queues, and memory that is registered, for an id that has a device. */
void link_open(struct link *link, struct rdma_cm_id *id, size_t size, unsigned depth);
/* Releases all of it, and the id; it must be possible. */
void link_close(struct link *link);
/* of its queue pair */
enum ibv_qp_state state_of(const struct link *link);

void post(struct link *link, enum ibv_wr_opcode opcode, uint64_t wr_id, size_t offset, size_t length,
		size_t remote_offset);
void post_receive(struct link *link, uint64_t wr_id, size_t offset, size_t length);
/* the next completion, waited for; it must be a success */
struct ibv_wc complete(struct link *link);
/* takes what is there, whatever its status; the number of completions, with the last one in *wc */
int drain(struct link *link, struct ibv_wc *wc);
/* drain() until a completion comes; false if none does within so many milliseconds */
bool comes_within(struct link *link, int ms, struct ibv_wc *wc);

struct rdma_event_channel *open_channel(void);
/* the next event, waited for; NULL if there is none in time */
struct rdma_cm_event *next_event(struct rdma_event_channel *channel, int ms);
const char *event_name(const struct rdma_cm_event *event);
/* the next event, waited for, which must be this one; the caller acknowledges it */
struct rdma_cm_event *expected_event(struct rdma_event_channel *channel, enum rdma_cm_event_type wanted);
/* as above, acknowledged; the identifier that it is of */
struct rdma_cm_id *await_event(struct rdma_event_channel *channel, enum rdma_cm_event_type wanted);

struct rdma_cm_id *listen_at(struct rdma_event_channel *channel, const char *address, unsigned port,
		int backlog);
/* Releases the listener, the channel and the protection domain; it must be possible. */
void close_server(struct rdma_event_channel *channel, struct rdma_cm_id *listener);
/* takes an address of the form that bind and connect want */
void parse_address(struct sockaddr_storage *parsed, const char *address, unsigned port);

/* how often requests are sent again on connections that are made from now on: 7 */
extern uint8_t connection_retries;
/* how many reads this side may have under way: as many as the device can */
extern uint8_t connection_reads;
/* native operations (native.h, QP_EX_WITH_...) of queue pairs that are made from now on: none */
extern uint64_t native_operations;
/* the parameters of a connection, with this private data */
struct rdma_conn_param conn_param(const void *data, size_t size);
void accept_link(struct link *link);
/* connects; false if that was refused or ended early, and then nothing is left of it */
bool connect_link(struct link *link, struct rdma_event_channel *channel, const char *address,
		unsigned port, size_t size, unsigned depth);

/* pseudo-random, for each process and thread its own */
struct random {
	uint64_t state;
};
uint64_t next_random(struct random *random);
void fill(char *memory, size_t size, uint64_t seed);

#endif
