/* SPDX-License-Identifier: BSD-3-Clause */

/* Sends numbers, up to WINDOW at a time, and verifies the squares that the server answers with. */

#define _DEFAULT_SOURCE /* htole64() */

#include <stdlib.h>

#include "queues.h"

static int received(struct state *state, const struct ibv_wc *wc)
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

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_conn_req *req = NULL;
	struct state state = { 0 };
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

	if (squares_cfg(SHARED_CHANNEL, &cfg) != 0 ||
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
