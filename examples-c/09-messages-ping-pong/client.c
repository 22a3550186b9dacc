/* SPDX-License-Identifier: BSD-3-Clause */

/* Sends "ping" messages and verifies the "pong" that answers each of them. */

#define _DEFAULT_SOURCE /* htole32() */

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
		/* the receive for the pong is posted already, so the ping may go */
		message_write(buffers->send, "ping", round);
		if (FAILED(rpma_send(conn, mr, offsetof(struct buffers, send), MESSAGE_SIZE,
				RPMA_F_COMPLETION_ALWAYS, SEND)))
			return -1;
		/* the message must not be changed until then */
		if (wait_for_completion(conn, cq, SEND, &wc) != 0)
			return -1;

		if (wait_for_completion(conn, rcq, RECV, &wc) != 0 ||
		    message_verify(buffers->recv, &wc, "pong", round) != 0)
			return -1;

		/* the receive for the next pong */
		if (round < rounds && FAILED(rpma_recv(conn, mr, offsetof(struct buffers, recv),
				MESSAGE_SIZE, RECV)))
			return -1;
	}
	return 0;
}

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_conn_req *req = NULL;
	struct rpma_conn *conn = NULL;
	struct buffers *buffers = NULL;
	uint32_t rounds = 0;
	uint32_t rounds_le;
	int status = EXIT_FAILURE;

	if (start("client", argc, argv, 2, 3, "ADDR PORT [ROUNDS]") != 0)
		return EXIT_FAILURE;
	if (parse_rounds(argc > 3 ? argv[3] : DEFAULT_ROUNDS, &rounds) != 0)
		return EXIT_FAILURE;

	buffers = alloc_pages(sizeof(*buffers));
	if (buffers == NULL)
		goto out;
	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_REMOTE, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, buffers, sizeof(*buffers), RPMA_MR_USAGE_SEND | RPMA_MR_USAGE_RECV,
			&mr)))
		goto out;
	if (ping_pong_cfg(&cfg) != 0)
		goto out;

	/* the receive for the first pong is posted before the connection exists */
	if (FAILED(rpma_conn_req_new(peer, argv[1], argv[2], cfg, &req)) ||
	    FAILED(rpma_conn_req_recv(req, mr, offsetof(struct buffers, recv), MESSAGE_SIZE, RECV)))
		goto out;
	/* from RPMA_CONN_ESTABLISHED on this end may send */
	say("connecting to %s:%s to play %" PRIu32 " rounds", argv[1], argv[2], rounds);
	rounds_le = htole32(rounds);
	if (establish(&req, &rounds_le, sizeof(rounds_le), &conn) != 0)
		goto out;
	say("connected");

	if (play(conn, mr, buffers, rounds) != 0)
		goto out;
	say("sent %" PRIu32 " pings, received and verified the pong to each", rounds);

	/* the server sends the last message, so it disconnects first */
	if (wait_for_close(conn) != 0)
		goto out;
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_req_delete(&req)))
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
