/* SPDX-License-Identifier: BSD-3-Clause */

/* Sends messages with an immediate, the last one without any data. */

#include <stdio.h>
#include <stdlib.h>

#include "telegram.h"

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_conn *conn = NULL;
	struct rpma_cq *cq = NULL;
	struct ibv_wc wc;
	char *buffer = NULL;
	int status = EXIT_FAILURE;

	if (start("client", argc, argv, 2, 2, "ADDR PORT") != 0)
		return EXIT_FAILURE;

	buffer = alloc_pages(TELEGRAM_SIZE);
	if (buffer == NULL)
		goto out;
	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_REMOTE, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, buffer, TELEGRAM_SIZE, RPMA_MR_USAGE_SEND, &mr)))
		goto out;
	if (connect_to_server(peer, argv[1], argv[2], &conn) != 0 || FAILED(rpma_conn_get_cq(conn, &cq)))
		goto out;

	for (uint32_t i = 0; i < TELEGRAMS; i++) {
		size_t size = strlen(telegrams[i]) + 1;

		snprintf(buffer, TELEGRAM_SIZE, "%s", telegrams[i]);
		/* the immediate is given in host byte order */
		if (FAILED(rpma_send_with_imm(conn, mr, 0, size, RPMA_F_COMPLETION_ALWAYS, i, SEND)))
			goto out;
		/* the buffer must not be changed until then */
		if (wait_for_completion(conn, cq, SEND, &wc) != 0)
			goto out;
		say("sent number %" PRIu32 ": %s", i, telegrams[i]);
	}

	/* without data, and so without a memory region */
	if (FAILED(rpma_send_with_imm(conn, NULL, 0, 0, RPMA_F_COMPLETION_ALWAYS, THE_END, SEND)))
		goto out;
	if (wait_for_completion(conn, cq, SEND, &wc) != 0)
		goto out;

	/* the end that sends the last message disconnects first */
	if (close_connection(conn) != 0)
		goto out;
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	free(buffer);
	return status;
}
