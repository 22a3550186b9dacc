/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Offers memory for records. A write with an immediate uses up a receive here, whose completion tells that
 * data has arrived, how much, and the immediate. The data goes to where the client writes it, and nothing
 * into the buffer of the receive.
 */

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"

static int verify(const char *memory, const struct ibv_wc *wc)
{
	uint32_t number = ntohl(wc->imm_data); /* in network byte order */
	char expected[64];
	const char *text;

	if (wc->opcode != IBV_WC_RECV_RDMA_WITH_IMM || wc->byte_len != RECORD_SIZE || number >= RECORDS) {
		complain("a completion is not that of the write of a record");
		return -1;
	}
	text = record_verify(memory + number * RECORD_SIZE);
	record_text(number, expected, sizeof(expected));
	if (text == NULL || strcmp(text, expected) != 0) {
		complain("record %" PRIu32 " is not what a client writes", number);
		return -1;
	}
	say("record %" PRIu32 " has arrived; it says: %s", number, text);
	return 0;
}

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_mr_local *notice_mr = NULL;
	struct rpma_ep *ep = NULL;
	struct rpma_conn_req *req = NULL;
	struct rpma_conn *conn = NULL;
	struct rpma_cq *cq = NULL;
	struct offer offer;
	char *memory = NULL; /* the records */
	char *notice = NULL; /* the buffer of all receives */
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 2, 2, "ADDR PORT") != 0)
		return EXIT_FAILURE;

	memory = alloc_pages(RECORDS * RECORD_SIZE);
	notice = alloc_pages(8);
	if (memory == NULL || notice == NULL)
		goto out;
	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, memory, RECORDS * RECORD_SIZE, RPMA_MR_USAGE_WRITE_DST, &mr)) ||
	    FAILED(rpma_mr_reg(peer, notice, 8, RPMA_MR_USAGE_RECV, &notice_mr)))
		goto out;
	if (make_offer(mr, NULL, &offer) != 0)
		goto out;

	if (start_listening(peer, argv[1], argv[2], &ep) != 0 || next_request(ep, NULL, &req) != 0)
		goto out;
	/* a receive for each write; rpma_recv() would need no buffer, but rpma_conn_req_recv() does */
	for (int i = 0; i < RECORDS; i++) {
		if (FAILED(rpma_conn_req_recv(req, notice_mr, 0, 8, NOTICE)))
			goto out;
	}
	if (establish(&req, &offer, sizeof(offer), &conn) != 0 || FAILED(rpma_conn_get_cq(conn, &cq)))
		goto out;
	say("a client has connected");

	for (int i = 0; i < RECORDS; i++) {
		struct ibv_wc wc;

		if (wait_for_completion(conn, cq, NOTICE, &wc) != 0 || verify(memory, &wc) != 0)
			goto out;
	}
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
	if (FAILED(rpma_mr_dereg(&notice_mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	free(notice);
	free(memory);
	return status;
}
