/* SPDX-License-Identifier: BSD-3-Clause */

/* The server and the client of the receive CQ examples, but for how they wait for completions. */

#define _DEFAULT_SOURCE /* htole64(), le64toh() */

#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>

#include "squares.h"

#define DEFAULT_REQUESTS "1000"
#define MAX_REQUESTS 1000000

static int post_receive(struct rpma_conn *conn, struct rpma_mr_local *mr, struct buffers *buffers,
		size_t slot)
{
	return FAILED(rpma_recv(conn, mr, offsetof(struct buffers, recv) + slot * sizeof(struct message),
			sizeof(struct message), &buffers->recv[slot])) ? -1 : 0;
}

/* before the connection exists, so that the other end cannot be faster */
static int post_first_receives(struct rpma_conn_req *req, struct rpma_mr_local *mr,
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

static int send_slot(struct rpma_conn *conn, struct rpma_mr_local *mr, struct buffers *buffers,
		size_t slot)
{
	return FAILED(rpma_send(conn, mr, offsetof(struct buffers, send) + slot * sizeof(struct message),
			sizeof(struct message), RPMA_F_COMPLETION_ALWAYS, &buffers->send[slot])) ? -1 : 0;
}

/* the queues: every operation that can be under way has its place */
static int squares_cfg(bool shared_channel, struct rpma_conn_cfg **cfg)
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

static bool is_sending(const struct state *state)
{
	for (size_t slot = 0; slot < WINDOW; slot++) {
		if (state->sending[slot])
			return true;
	}
	return false;
}

/* the message that a completed receive has brought; checked for its size */
static int received_message(struct state *state, const struct ibv_wc *wc, struct message *message,
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

/* ---- server: answers numbers with their squares, up to WINDOW at a time ---- */

static int request_received(struct state *state, const struct ibv_wc *wc)
{
	struct message message;
	struct message *answer;
	uint64_t number;
	size_t slot = 0;

	if (received_message(state, wc, &message, &slot) != 0)
		return -1;
	number = le64toh(message.number);
	if (number == 0) {
		state->finished = true;
		return 0;
	}
	if (state->received - state->sent == WINDOW) {
		complain("the client sends more than %d requests at a time", WINDOW);
		return -1;
	}
	answer = &state->answers[state->received++ % WINDOW];
	answer->number = message.number;
	answer->square = htole64(number * number);

	/* the receive for a later request, before the client gets the answer and may send that */
	return post_receive(state->conn, state->mr, state->buffers, slot);
}

/* sends answers in order, as far as the completions of earlier ones have been taken */
static int send_answers(struct state *state)
{
	while (state->sent < state->received) {
		size_t slot = (size_t)(state->sent % WINDOW);

		if (state->sending[slot])
			return 0;
		state->buffers->send[slot] = state->answers[slot];
		state->sending[slot] = true;
		state->sent++;
		if (send_slot(state->conn, state->mr, state->buffers, slot) != 0)
			return -1;
	}
	return 0;
}

int squares_server(int argc, char *argv[], bool shared_channel, int (*pump)(struct state *state))
{
	struct rpma_peer *peer = NULL;
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_ep *ep = NULL;
	struct rpma_conn_req *req = NULL;
	struct state state = { .handle_message = request_received };
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 2, 2, "ADDR PORT") != 0)
		return EXIT_FAILURE;

	state.buffers = alloc_pages(sizeof(*state.buffers));
	if (state.buffers == NULL)
		goto out;
	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, state.buffers, sizeof(*state.buffers),
			RPMA_MR_USAGE_SEND | RPMA_MR_USAGE_RECV, &state.mr)))
		goto out;
	if (squares_cfg(shared_channel, &cfg) != 0)
		goto out;

	if (start_listening(peer, argv[1], argv[2], &ep) != 0 || next_request(ep, cfg, &req) != 0)
		goto out;
	if (post_first_receives(req, state.mr, state.buffers) != 0 ||
	    establish(&req, NULL, 0, &state.conn) != 0)
		goto out;
	say("a client has connected");

	/* until the client has no more requests and has got all answers */
	while (!state.finished || state.sent < state.received || is_sending(&state)) {
		if (pump(&state) != 0 || send_answers(&state) != 0)
			goto out;
	}
	say("answered %" PRIu64 " requests", state.sent);
	if (wait_for_close(state.conn) != 0)
		goto out;
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_conn_delete(&state.conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_req_delete(&req)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_ep_shutdown(&ep)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_cfg_delete(&cfg)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&state.mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	free(state.buffers);
	return status;
}

/* ---- client: sends numbers, up to WINDOW at a time, and verifies the answers ---- */

static int answer_received(struct state *state, const struct ibv_wc *wc)
{
	struct message message;
	size_t slot = 0;

	if (received_message(state, wc, &message, &slot) != 0)
		return -1;
	state->received++;
	/* answers come in the order of the requests */
	if (le64toh(message.number) != state->received ||
	    le64toh(message.square) != state->received * state->received) {
		complain("answer %" PRIu64 " is not the square of %" PRIu64, state->received, state->received);
		return -1;
	}
	return post_receive(state->conn, state->mr, state->buffers, slot);
}

/* sends as many requests as may be under way */
static int send_requests(struct state *state)
{
	while (state->sent < state->total && state->sent - state->received < WINDOW) {
		size_t slot = (size_t)(state->sent % WINDOW);

		if (state->sending[slot])
			return 0; /* its completion has not been taken yet */
		state->sent++;
		state->buffers->send[slot].number = htole64(state->sent);
		state->sending[slot] = true;
		if (send_slot(state->conn, state->mr, state->buffers, slot) != 0)
			return -1;
	}
	return 0;
}

int squares_client(int argc, char *argv[], bool shared_channel, int (*pump)(struct state *state))
{
	struct rpma_peer *peer = NULL;
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_conn_req *req = NULL;
	struct state state = { .handle_message = answer_received };
	unsigned long total = 0;
	int status = EXIT_FAILURE;

	if (start("client", argc, argv, 2, 3, "ADDR PORT [REQUESTS]") != 0)
		return EXIT_FAILURE;
	if (parse_number(argc > 3 ? argv[3] : DEFAULT_REQUESTS, "requests", 1, MAX_REQUESTS, &total) != 0)
		return EXIT_FAILURE;
	state.total = total;

	state.buffers = alloc_pages(sizeof(*state.buffers));
	if (state.buffers == NULL)
		goto out;
	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_REMOTE, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, state.buffers, sizeof(*state.buffers),
			RPMA_MR_USAGE_SEND | RPMA_MR_USAGE_RECV, &state.mr)))
		goto out;

	if (squares_cfg(shared_channel, &cfg) != 0 ||
	    FAILED(rpma_conn_req_new(peer, argv[1], argv[2], cfg, &req)))
		goto out;
	say("connecting to %s:%s", argv[1], argv[2]);
	if (post_first_receives(req, state.mr, state.buffers) != 0 ||
	    establish(&req, NULL, 0, &state.conn) != 0)
		goto out;
	say("connected");

	while (state.received < state.total || is_sending(&state)) {
		if (send_requests(&state) != 0 || pump(&state) != 0)
			goto out;
	}
	say("sent %" PRIu64 " requests, received and verified all answers", state.sent);

	/* no more requests; the end that sends the last message disconnects first */
	state.buffers->send[0].number = 0;
	state.sending[0] = true;
	if (send_slot(state.conn, state.mr, state.buffers, 0) != 0)
		goto out;
	while (is_sending(&state)) {
		if (pump(&state) != 0)
			goto out;
	}
	if (close_connection(state.conn) != 0)
		goto out;
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_conn_delete(&state.conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_req_delete(&req)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_cfg_delete(&cfg)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&state.mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	free(state.buffers);
	return status;
}
