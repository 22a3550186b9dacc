/* SPDX-License-Identifier: BSD-3-Clause */

/* Sends "ping" messages and verifies the "pong" that answers each, with a shared receive queue. */

#define _DEFAULT_SOURCE /* htole32() */

#include <stdlib.h>

#include "slots.h"

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_srq *srq = NULL;
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_conn_req *req = NULL;
	struct rpma_conn *conn = NULL;
	struct slots *slots = NULL;
	uint32_t rounds = 0;
	uint32_t rounds_le;
	int status = EXIT_FAILURE;

	if (start("client", argc, argv, 2, 3, "ADDR PORT [ROUNDS]") != 0)
		return EXIT_FAILURE;
	if (parse_rounds(argc > 3 ? argv[3] : DEFAULT_ROUNDS, &rounds) != 0)
		return EXIT_FAILURE;

	slots = alloc_pages(sizeof(*slots));
	if (slots == NULL)
		goto out;
	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_REMOTE, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, slots, sizeof(*slots), RPMA_MR_USAGE_SEND | RPMA_MR_USAGE_RECV, &mr)))
		goto out;
	/* the receives are posted before there is any connection */
	if (make_srq(peer, mr, &srq, &cfg) != 0)
		goto out;

	if (FAILED(rpma_conn_req_new(peer, argv[1], argv[2], cfg, &req)))
		goto out;
	say("connecting to %s:%s to play %" PRIu32 " rounds", argv[1], argv[2], rounds);
	rounds_le = htole32(rounds);
	if (establish(&req, &rounds_le, sizeof(rounds_le), &conn) != 0)
		goto out;
	say("connected");

	for (uint32_t round = 1; round <= rounds; round++) {
		if (send_message(conn, mr, slots, "ping", round) != 0 ||
		    receive(conn, srq, mr, slots, "pong", round) != 0)
			goto out;
	}
	say("sent %" PRIu32 " pings, received and verified the pong to each", rounds);

	/* the server sends the last message, so it disconnects first */
	if (wait_for_close(conn) != 0)
		goto out;
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error; the SRQ goes after its connections */
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_req_delete(&req)))
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
