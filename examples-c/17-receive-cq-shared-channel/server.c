/* SPDX-License-Identifier: BSD-3-Clause */

/* Answers numbers with their squares, up to WINDOW at a time. */

#define _DEFAULT_SOURCE /* le64toh() */

#include <stdlib.h>

#include "queues.h"

static int received(struct state *state, const struct ibv_wc *wc)
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

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_ep *ep = NULL;
	struct rpma_conn_req *req = NULL;
	struct state state = { 0 };
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
	if (squares_cfg(SHARED_CHANNEL, &cfg) != 0)
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
