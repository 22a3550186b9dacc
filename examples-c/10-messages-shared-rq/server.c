/* SPDX-License-Identifier: BSD-3-Clause */

/* Answers each "ping" message of the client with a "pong", with a shared receive queue. */

#define _DEFAULT_SOURCE /* le32toh() */

#include <stdlib.h>

#include "slots.h"

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_srq *srq = NULL;
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_ep *ep = NULL;
	struct rpma_conn_req *req = NULL;
	struct rpma_conn *conn = NULL;
	struct slots *slots = NULL;
	uint32_t rounds = 0;
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 2, 2, "ADDR PORT") != 0)
		return EXIT_FAILURE;

	slots = alloc_pages(sizeof(*slots));
	if (slots == NULL)
		goto out;
	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, slots, sizeof(*slots), RPMA_MR_USAGE_SEND | RPMA_MR_USAGE_RECV, &mr)))
		goto out;
	/* the receives are posted before there is any connection */
	if (make_srq(peer, mr, &srq, &cfg) != 0)
		goto out;

	if (start_listening(peer, argv[1], argv[2], &ep) != 0 || next_request(ep, cfg, &req) != 0)
		goto out;
	if (requested_rounds(req, &rounds) != 0)
		goto out; /* deleting the request rejects it */
	if (establish(&req, NULL, 0, &conn) != 0)
		goto out;
	say("a client wants to play %" PRIu32 " rounds", rounds);

	for (uint32_t round = 1; round <= rounds; round++) {
		if (receive(conn, srq, mr, slots, "ping", round) != 0 ||
		    send_message(conn, mr, slots, "pong", round) != 0)
			goto out;
	}
	say("received and verified %" PRIu32 " pings, answered them all", rounds);

	/* the end that sends the last message disconnects first */
	if (close_connection(conn) != 0)
		goto out;
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error; the SRQ goes after its connections */
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_req_delete(&req)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_ep_shutdown(&ep)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_cfg_delete(&cfg)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_srq_delete(&srq)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	free(slots);
	return status;
}
