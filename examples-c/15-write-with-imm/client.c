/* SPDX-License-Identifier: BSD-3-Clause */

/* Writes records to the server's memory, and with each write tells the server which one it was. */

#include <stdlib.h>

#include "board.h"

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_mr_remote *remote = NULL;
	struct rpma_conn *conn = NULL;
	struct rpma_cq *cq = NULL;
	struct ibv_wc wc;
	char *memory = NULL;
	char text[64];
	int status = EXIT_FAILURE;

	if (start("client", argc, argv, 2, 2, "ADDR PORT") != 0)
		return EXIT_FAILURE;

	memory = alloc_pages(RECORDS * RECORD_SIZE);
	if (memory == NULL)
		goto out;
	for (uint32_t i = 0; i < RECORDS; i++) {
		record_text(i, text, sizeof(text));
		record_fill(memory + i * RECORD_SIZE, text);
	}

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_REMOTE, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, memory, RECORDS * RECORD_SIZE, RPMA_MR_USAGE_WRITE_SRC, &mr)))
		goto out;
	if (connect_to_server(peer, argv[1], argv[2], &conn) != 0 || FAILED(rpma_conn_get_cq(conn, &cq)))
		goto out;
	if (take_offer(conn, &remote, NULL) != 0 || check_remote_size(remote, RECORDS * RECORD_SIZE) != 0)
		goto out;

	/* from the last one to the first, so that the server has to look at the numbers */
	for (uint32_t left = RECORDS; left > 0; left--) {
		uint32_t number = left - 1;
		size_t offset = number * RECORD_SIZE;

		if (FAILED(rpma_write_with_imm(conn, remote, offset, mr, offset, RECORD_SIZE,
				RPMA_F_COMPLETION_ALWAYS, number, WRITE)))
			goto out;
		if (wait_for_completion(conn, cq, WRITE, &wc) != 0)
			goto out;
		say("wrote record %" PRIu32, number);
	}

	/* the end whose operation is the last one disconnects first */
	if (close_connection(conn) != 0)
		goto out;
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_mr_remote_delete(&remote)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	free(memory);
	return status;
}
