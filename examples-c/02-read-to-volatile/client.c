/* SPDX-License-Identifier: BSD-3-Clause */

/* Reads the server's memory into its own and verifies what it has read. */

#include <stdlib.h>

#include "../common/common.h"

static const char READ[] = "read of the server's memory";

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_mr_remote *remote = NULL;
	struct rpma_conn *conn = NULL;
	struct rpma_cq *cq = NULL;
	struct ibv_wc wc;
	void *memory = NULL;
	const char *text;
	int status = EXIT_FAILURE;

	if (start("client", argc, argv, 2, 2, "ADDR PORT") != 0)
		return EXIT_FAILURE;

	memory = alloc_pages(RECORD_SIZE);
	if (memory == NULL)
		goto out;

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_REMOTE, &peer) != 0)
		goto out;
	/* the destination of a read has to be registered as well */
	if (FAILED(rpma_mr_reg(peer, memory, RECORD_SIZE, RPMA_MR_USAGE_READ_DST, &mr)))
		goto out;

	if (connect_to_server(peer, argv[1], argv[2], &conn) != 0)
		goto out;

	/* what the server offers is in the private data of the connection */
	if (take_offer(conn, &remote, NULL) != 0)
		goto out;
	if (check_remote_size(remote, RECORD_SIZE) != 0)
		goto out;

	/* the call only starts the operation; the data is there when the completion is */
	if (FAILED(rpma_conn_get_cq(conn, &cq)))
		goto out;
	if (FAILED(rpma_read(conn, mr, 0, remote, 0, RECORD_SIZE, RPMA_F_COMPLETION_ALWAYS, READ)))
		goto out;
	if (wait_for_completion(conn, cq, READ, &wc) != 0)
		goto out;

	text = record_verify(memory);
	if (text == NULL) {
		complain("the data read is not what the server must have");
		goto out;
	}
	say("read %zu bytes and verified them; they say: %s", RECORD_SIZE, text);

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
