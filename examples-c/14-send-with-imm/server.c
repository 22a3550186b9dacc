/* SPDX-License-Identifier: BSD-3-Clause */

/* Receives messages, and reads the immediate of each from its completion. */

#include <arpa/inet.h>
#include <stdlib.h>

#include "telegram.h"

static int verify(const char *buffer, const struct ibv_wc *wc, uint32_t imm, uint32_t expected)
{
	if (imm != expected) {
		complain("the immediate is %" PRIu32 " instead of %" PRIu32, imm, expected);
		return -1;
	}
	if (wc->byte_len != strlen(telegrams[imm]) + 1 ||
	    memcmp(buffer, telegrams[imm], wc->byte_len) != 0) {
		complain("the message with number %" PRIu32 " is not '%s'", imm, telegrams[imm]);
		return -1;
	}
	say("received number %" PRIu32 ": %s", imm, buffer);
	return 0;
}

static int receive_all(struct rpma_conn *conn, struct rpma_mr_local *mr, const char *buffer)
{
	struct rpma_cq *cq = NULL;

	/* there is no receive CQ: the CQ takes all completions */
	if (FAILED(rpma_conn_get_cq(conn, &cq)))
		return -1;

	for (uint32_t count = 0;; count++) {
		struct ibv_wc wc;
		uint32_t imm;

		if (wait_for_completion(conn, cq, RECV, &wc) != 0)
			return -1;
		if ((wc.wc_flags & IBV_WC_WITH_IMM) == 0) {
			complain("a message has no immediate");
			return -1;
		}
		/* in a completion the immediate is in network byte order */
		imm = ntohl(wc.imm_data);
		if (imm == THE_END && wc.byte_len == 0 && count == TELEGRAMS)
			return 0;
		if (count == TELEGRAMS) {
			complain("there are more messages than expected");
			return -1;
		}
		if (verify(buffer, &wc, imm, count) != 0)
			return -1;

		/* until this call the client's next message waits */
		if (FAILED(rpma_recv(conn, mr, 0, TELEGRAM_SIZE, RECV)))
			return -1;
	}
}

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_ep *ep = NULL;
	struct rpma_conn_req *req = NULL;
	struct rpma_conn *conn = NULL;
	char *buffer = NULL;
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 2, 2, "ADDR PORT") != 0)
		return EXIT_FAILURE;

	buffer = alloc_pages(TELEGRAM_SIZE);
	if (buffer == NULL)
		goto out;
	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, buffer, TELEGRAM_SIZE, RPMA_MR_USAGE_RECV, &mr)))
		goto out;

	if (start_listening(peer, argv[1], argv[2], &ep) != 0 || next_request(ep, NULL, &req) != 0)
		goto out;
	/* the first receive, before the client can send */
	if (FAILED(rpma_conn_req_recv(req, mr, 0, TELEGRAM_SIZE, RECV)))
		goto out;
	if (establish(&req, NULL, 0, &conn) != 0)
		goto out;
	say("a client has connected");

	if (receive_all(conn, mr, buffer) != 0)
		goto out;
	say("received and verified %zu messages", TELEGRAMS);
	if (wait_for_close(conn) != 0)
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
	if (FAILED(rpma_mr_dereg(&mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	free(buffer);
	return status;
}
