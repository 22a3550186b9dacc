/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Prints the behaviour of an RDMA device, line by line: "case: step = result".
 *
 * Every case runs in a separate process and prints its results. Nothing that differs between two
 * runs is printed (addresses, keys, numbers of queue pairs, times), so that the outputs of two
 * devices can be compared: see run-conformance.
 */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <rdma/rdma_cma.h>

struct test_case {
	const char *name;
	void (*run)(void);
	/* seconds, if the default limit is too short */
	unsigned limit;
	/* it waits for timeouts of many seconds: it starts before the others, where several run at a time */
	bool slow;
	/* why it runs only when it is named; NULL: it always runs */
	const char *optional;
};

/* each ends with an entry that has no name */
extern const struct test_case cm_cases[];
extern const struct test_case refused_cases[];
extern const struct test_case listen_cases[];
extern const struct test_case id_cases[];
extern const struct test_case option_cases[];
extern const struct test_case disconnect_cases[];
extern const struct test_case data_cases[];
extern const struct test_case protection_cases[];
extern const struct test_case queue_cases[];
extern const struct test_case cq_cases[];
extern const struct test_case object_cases[];
extern const struct test_case modify_cases[];
extern const struct test_case process_cases[];
extern const struct test_case thread_cases[];
extern const struct test_case endpoint_cases[];

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MIB ((size_t)1024 * 1024)
#define ALL_ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE)

/* how long to wait for expected events, and how long to check that none comes */
extern int wait_ms;
extern int quiet_ms;
/* the address of the device */
extern const char *address;
/* the case that runs */
extern const char *case_name;

/* --- output --- */
void say(const char *step, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* the prefix of all further steps (NULL: none) */
void within(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *errno_name(int error);
const char *cm_event_name(enum rdma_cm_event_type type);
const char *status_name(enum ibv_wc_status status);
const char *qp_state_name(enum ibv_qp_state state);
const char *opcode_name(enum ibv_wc_opcode opcode);
const char *async_event_name(enum ibv_event_type type);

/* a result of either kind: 0, -1 with errno, or an error number; returns it */
int say_result(const char *step, int result);
/* NULL with errno, or not; returns it */
void *say_pointer(const char *step, void *result);
/* a necessary call has failed: prints that and ends the process */
void broken(const char *what) __attribute__((noreturn));
#define NEED(call) \
	do { \
		int result_ = (call); \
		if (result_) { \
			if (result_ > 0) \
				errno = result_; \
			broken(#call); \
		} \
	} while (0)
#define NEED_POINTER(variable, call) \
	do { \
		(variable) = (call); \
		if (!(variable)) \
			broken(#call); \
	} while (0)

/* --- waiting --- */
int64_t now_ms(void);
bool readable(int fd, int ms);
void nonblocking(int fd);

/* --- connection manager --- */
struct cm_event {
	enum rdma_cm_event_type type;
	int status;
	struct rdma_cm_id *id;
	struct rdma_cm_id *listener;
	struct rdma_conn_param param;
	/* what param.private_data pointed to */
	uint8_t private_data[256];
};

/* takes the next event within `ms` and acknowledges it */
bool take_event(struct rdma_event_channel *channel, struct cm_event *event, int ms);
/* the same, and prints the event */
bool say_event(const char *step, struct rdma_event_channel *channel, struct cm_event *event);
/* checks that no event comes, and prints that, or the event */
void say_no_event(const char *step, struct rdma_event_channel *channel);
/* takes an event that must be this one */
void need_event(struct rdma_event_channel *channel, enum rdma_cm_event_type type, struct cm_event *event);

/* the address of the device with this port */
struct sockaddr *device_address(uint16_t port, struct sockaddr_storage *storage);
struct sockaddr *any_address(uint16_t port, struct sockaddr_storage *storage);
/* how the addresses of these two compare, without their ports */
const char *same_address(const struct sockaddr *a, const struct sockaddr *b);

/* private data of the bytes 1, 2, 3, ..., and a check of how many of them have arrived */
const uint8_t *private_bytes(void);
void say_private(const char *step, const struct cm_event *event, unsigned given);

/* --- one end of a connection --- */
struct setup {
	int cq_size;
	bool split_cq;	/* a CQ of its own for receives */
	bool use_srq;
	bool signal_all;
	uint32_t sq_size, rq_size, sges, inline_size;
	size_t length;	/* of the memory */
	int client_access, server_access;
	uint8_t rnr_retry;
};

struct end {
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id;
	struct ibv_pd *pd;
	struct ibv_comp_channel *comp;
	struct ibv_cq *cq, *rcq;	/* the same one, unless split */
	struct ibv_srq *srq;
	struct ibv_qp *qp;
	uint8_t *memory;
	size_t length;
	struct ibv_mr *mr;
};

struct listener {
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id;
	uint16_t port;
};

struct pair {
	struct listener listener;
	struct end client, server;
};

struct setup usual(void);
void listen_any_port(struct listener *listener);
/* channel, id, address and route */
void resolve(struct end *end, uint16_t port);
/* PD, CQs, QP and memory for an id that has a device */
void equip(struct end *end, const struct setup *setup, int access);
struct rdma_conn_param conn_param(const struct setup *setup);
/* resolve, equip, connect; without waiting for the answer */
void client_start(struct end *client, uint16_t port, const struct setup *setup);
/* takes the request and equips its id, which gets a channel of its own */
void server_take(struct end *server, struct listener *listener, const struct setup *setup);
void server_accept(struct end *server, const struct setup *setup);
void established(struct end *end);
/* both ends in this process, connected */
void connect_pair(struct pair *pair, const struct setup *setup);
/* disconnects both, and destroys everything */
void close_end(struct end *end);
void close_pair(struct pair *pair);

/* --- requests --- */
struct request {
	struct ibv_send_wr wr;
	struct ibv_sge sge[4];
};

/* where in another process a request goes to */
struct remote {
	uint64_t addr;
	uint32_t rkey;
};
struct remote remote_of(const struct end *end, size_t offset);

/* one SGE of the end's memory; none when length is 0 */
void prepare(struct request *request, const struct end *end, enum ibv_wr_opcode opcode,
		uint64_t wr_id, size_t offset, size_t length, struct remote remote);
int post(struct end *end, struct request *request);
/* prepares and posts, signalled */
int post_op(struct end *end, enum ibv_wr_opcode opcode, uint64_t wr_id, size_t offset, size_t length,
		struct remote remote);
int post_send(struct end *end, uint64_t wr_id, size_t offset, size_t length);
/* what the wr_id of a receive has besides its number, so that a completion tells which queue it is of */
#define RECEIVE ((uint64_t)1 << 63)
int post_recv(struct end *end, uint64_t wr_id, size_t offset, size_t length);
/* receives with wr_id first, first + 1, ... into the whole memory */
void post_recvs(struct end *end, uint64_t first, unsigned count);

#define IMMEDIATE 0x01020304u

/* --- completions --- */
bool take_wc(struct end *end, struct ibv_cq *cq, struct ibv_wc *wc, int ms);
/* the next completion, with all that it holds when it is a success */
bool say_wc(const char *step, struct end *end, struct ibv_cq *cq);
void say_no_wc(const char *step, struct end *end, struct ibv_cq *cq);
/*
 * Prints the statuses and wr_ids of that many completions, and of any unexpected further ones. First those of the
 * send queue, then those of the receive queue: the order between the two is undefined.
 */
void say_wcs(const char *step, struct end *end, struct ibv_cq *cq, unsigned count);
/* a completion that must be a success */
void need_wc(struct end *end, struct ibv_cq *cq, struct ibv_wc *wc);
void say_state(const char *step, struct ibv_qp *qp);
/* the asynchronous events of the device */
void say_async(const char *step, struct ibv_context *ctx);

/* --- memory --- */
void fill(uint8_t *memory, size_t length, unsigned seed);
/* says whether it holds what fill() with this seed wrote */
void say_filled(const char *step, const uint8_t *memory, size_t length, unsigned seed);
/* says whether every byte of it is this one */
void say_untouched(const char *step, const uint8_t *memory, size_t length, uint8_t byte);

/* --- other processes --- */
struct process {
	pid_t pid;
	int fd;	/* the way to the other process */
};

/* runs the function in a child, which has the other end of the descriptor; call it before any verb */
struct process start_process(void (*run)(int fd));
void tell(int fd, const void *data, size_t length);
void hear(int fd, void *data, size_t length);
/* waits for its end */
void join_process(struct process *process);

#endif
