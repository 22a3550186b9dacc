/* SPDX-License-Identifier: BSD-3-Clause */

/* Answers each "ping" message of the client with a "pong". */

#define _DEFAULT_SOURCE /* le32toh() */

#include <stdlib.h>

#include "../common/ping_pong.h"
#include "queues.h"

static int play(struct rpma_conn *conn, struct rpma_mr_local *mr, struct buffers *buffers, uint32_t rounds)
{
	struct rpma_cq *cq = NULL;
	struct rpma_cq *rcq = NULL;
	struct ibv_wc wc;

	if (FAILED(rpma_conn_get_cq(conn, &cq)) || FAILED(rpma_conn_get_rcq(conn, &rcq)))
		return -1;

	for (uint32_t round = 1; round <= rounds; round++) {
		if (wait_for_completion(conn, rcq, RECV, &wc) != 0 ||
		    message_verify(buffers->recv, &wc, "ping", round) != 0)
			return -1;

		/* the receive for the next ping, before the client has a reason to send it */
		if (round < rounds && FAILED(rpma_recv(conn, mr, offsetof(struct buffers, recv),
				MESSAGE_SIZE, RECV)))
			return -1;

		message_write(buffers->send, "pong", round);
		if (FAILED(rpma_send(conn, mr, offsetof(struct buffers, send), MESSAGE_SIZE,
				RPMA_F_COMPLETION_ALWAYS, SEND)))
			return -1;
		/* the message must not be changed until then; and then the client has it */
		if (wait_for_completion(conn, cq, SEND, &wc) != 0)
			return -1;
	}
	return 0;
}

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_ep *ep = NULL;
	struct rpma_conn_req *req = NULL;
	struct rpma_conn *conn = NULL;
	struct buffers *buffers = NULL;
	uint32_t rounds = 0;
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 2, 2, "ADDR PORT") != 0)
		return EXIT_FAILURE;

	buffers = alloc_pages(sizeof(*buffers));
	if (buffers == NULL)
		goto out;
	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, buffers, sizeof(*buffers), RPMA_MR_USAGE_SEND | RPMA_MR_USAGE_RECV,
			&mr)))
		goto out;
	if (ping_pong_cfg(&cfg) != 0)
		goto out;

	if (start_listening(peer, argv[1], argv[2], &ep) != 0 || next_request(ep, cfg, &req) != 0)
		goto out;
	if (requested_rounds(req, &rounds) != 0)
		goto out; /* deleting the request rejects it */

	/* the receive for the first ping, before the client can send it */
	if (FAILED(rpma_conn_req_recv(req, mr, offsetof(struct buffers, recv), MESSAGE_SIZE, RECV)))
		goto out;
	if (establish(&req, NULL, 0, &conn) != 0)
		goto out;
	say("a client wants to play %" PRIu32 " rounds", rounds);

	if (play(conn, mr, buffers, rounds) != 0)
		goto out;
	say("received and verified %" PRIu32 " pings, answered them all", rounds);

	/*
	 * The end that sends the last message disconnects first. If the client did so when it has received
	 * the last pong, the send here might fail because its acknowledgement is missing.
	 */
	if (close_connection(conn) != 0)
		goto out;
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_req_delete(&req)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_ep_shutdown(&ep)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_cfg_delete(&cfg)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	free(buffers);
	return status;
}
