/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The protocol of the receive CQ examples: the client sends numbers and the server answers with their squares.
 * Up to WINDOW requests are under way at a time, so completions of sends and of receives come mixed; with
 * a receive CQ each kind has a queue of its own, and its own size.
 */

#ifndef SQUARES_H
#define SQUARES_H

#include <stdint.h>

#include "common.h"

#define WINDOW 8

/* little-endian; request N and its answer are in slot N % WINDOW of the sender */
struct message {
	uint64_t number; /* 0 in a request: there are no more */
	uint64_t square;
};

struct buffers {
	struct message send[WINDOW];
	struct message recv[WINDOW];
};

/* what is under way */
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
	int (*handle_message)(struct state *state, const struct ibv_wc *wc);
};

/*
 * The server and the client, which do the same whether the queues share a channel or not. pump() waits for
 * completions if there are none, checks their status, and calls send_completed() or state->handle_message() for each.
 */
int squares_server(int argc, char *argv[], bool shared_channel, int (*pump)(struct state *state));
int squares_client(int argc, char *argv[], bool shared_channel, int (*pump)(struct state *state));

/* the op_context of an operation is the address of its message */
static inline void send_completed(struct state *state, const struct ibv_wc *wc)
{
	size_t slot = (size_t)((struct message *)(uintptr_t)wc->wr_id - state->buffers->send);

	state->sending[slot] = false;
}

/* the status of an operation whose wr_id is no name */
static inline int check_status(const struct ibv_wc *wc, const char *name)
{
	if (wc->status == IBV_WC_SUCCESS)
		return 0;
	complain("%s failed: %s", name, ibv_wc_status_str(wc->status));
	return -1;
}

#endif /* SQUARES_H */
