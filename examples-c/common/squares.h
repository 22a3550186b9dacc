/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The protocol of the receive CQ examples: the client sends numbers and the server answers with their squares.
 * Up to WINDOW requests are under way at a time, so completions of sends and of receives come mixed; with
 * a receive CQ each kind has a queue of its own, and its own size.
 */

#ifndef SQUARES_H
#define SQUARES_H

#include <endian.h>
#include <inttypes.h>
#include <stdint.h>

#include "common.h"

#define WINDOW 8
#define DEFAULT_REQUESTS "1000"
#define MAX_REQUESTS 1000000

/* little-endian; request N and its answer are in slot N % WINDOW of the sender */
struct message {
	uint64_t number; /* 0 in a request: there are no more */
	uint64_t square;
};

struct buffers {
	struct message send[WINDOW];
	struct message recv[WINDOW];
};

/* the op_context of an operation is the address of its message */
static inline int post_receive(struct rpma_conn *conn, struct rpma_mr_local *mr, struct buffers *buffers,
		size_t slot)
{
	return FAILED(rpma_recv(conn, mr, offsetof(struct buffers, recv) + slot * sizeof(struct message),
			sizeof(struct message), &buffers->recv[slot])) ? -1 : 0;
}

/* before the connection exists, so that the other end cannot be faster */
static inline int post_first_receives(struct rpma_conn_req *req, struct rpma_mr_local *mr,
		struct buffers *buffers)
{
	for (size_t slot = 0; slot < WINDOW; slot++) {
		if (FAILED(rpma_conn_req_recv(req, mr,
				offsetof(struct buffers, recv) + slot * sizeof(struct message),
				sizeof(struct message), &buffers->recv[slot])))
			return -1;
	}
	return 0;
}

static inline int send_slot(struct rpma_conn *conn, struct rpma_mr_local *mr, struct buffers *buffers,
		size_t slot)
{
	return FAILED(rpma_send(conn, mr, offsetof(struct buffers, send) + slot * sizeof(struct message),
			sizeof(struct message), RPMA_F_COMPLETION_ALWAYS, &buffers->send[slot])) ? -1 : 0;
}

/* the queues: every operation that can be under way has its place */
static inline int squares_cfg(bool shared_channel, struct rpma_conn_cfg **cfg)
{
	if (FAILED(rpma_conn_cfg_new(cfg)))
		return -1;
	if (FAILED(rpma_conn_cfg_set_sq_size(*cfg, WINDOW)) ||
	    FAILED(rpma_conn_cfg_set_cq_size(*cfg, WINDOW)) ||
	    FAILED(rpma_conn_cfg_set_rq_size(*cfg, WINDOW)) ||
	    FAILED(rpma_conn_cfg_set_rcq_size(*cfg, WINDOW)) || /* 0, the default: no receive CQ */
	    FAILED(rpma_conn_cfg_set_compl_channel(*cfg, shared_channel))) {
		(void) rpma_conn_cfg_delete(cfg);
		return -1;
	}
	return 0;
}

/*
 * What is under way. pump() of the topic's queues.h waits, and calls one of these two for each completion;
 * received() is the server's or the client's own.
 */
struct state {
	struct rpma_conn *conn;
	struct rpma_mr_local *mr;
	struct buffers *buffers;
	bool sending[WINDOW];
	struct message answers[WINDOW]; /* server: answers that wait for a free slot */
	uint64_t total; /* client: how many requests there are */
	uint64_t sent;
	uint64_t received;
	bool finished;
};

static inline void send_completed(struct state *state, const struct ibv_wc *wc)
{
	size_t slot = (size_t)((struct message *)(uintptr_t)wc->wr_id - state->buffers->send);

	state->sending[slot] = false;
}

static inline bool is_sending(const struct state *state)
{
	for (size_t slot = 0; slot < WINDOW; slot++) {
		if (state->sending[slot])
			return true;
	}
	return false;
}

/* the status of an operation whose wr_id is no name */
static inline int check_status(const struct ibv_wc *wc, const char *name)
{
	if (wc->status == IBV_WC_SUCCESS)
		return 0;
	complain("%s failed: %s", name, ibv_wc_status_str(wc->status));
	return -1;
}

/* the message that a completed receive has brought; checked for its size */
static inline int received_message(struct state *state, const struct ibv_wc *wc, struct message *message,
		size_t *slot)
{
	struct message *from = (struct message *)(uintptr_t)wc->wr_id;

	if (wc->byte_len != sizeof(*message)) {
		complain("a message has %" PRIu32 " bytes", wc->byte_len);
		return -1;
	}
	*message = *from;
	*slot = (size_t)(from - state->buffers->recv);
	return 0;
}

#endif /* SQUARES_H */
