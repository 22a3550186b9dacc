/* SPDX-License-Identifier: BSD-3-Clause */

/* Writes to the server's persistent memory, which the server itself makes persistent afterwards. */

#include <stdlib.h>

#include "../common/common.h"

static const char WRITE[] = "write";
static const char FLUSH[] = "flush";

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_mr_remote *remote = NULL;
	struct rpma_conn *conn = NULL;
	struct rpma_cq *cq = NULL;
	struct ibv_wc wc;
	void *memory = NULL;
	const char *text = argc > 3 ? argv[3] : "written from afar";
	int status = EXIT_FAILURE;

	if (start("client", argc, argv, 2, 3, "ADDR PORT [TEXT]") != 0)
		return EXIT_FAILURE;

	memory = alloc_pages(RECORD_SIZE);
	if (memory == NULL)
		goto out;
	record_fill(memory, text);

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_REMOTE, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, memory, RECORD_SIZE, RPMA_MR_USAGE_WRITE_SRC, &mr)))
		goto out;

	if (connect_to_server(peer, argv[1], argv[2], &conn) != 0)
		goto out;
	if (FAILED(rpma_conn_get_cq(conn, &cq)))
		goto out;
	if (take_offer(conn, &remote, NULL) != 0 || check_remote_size(remote, RECORD_SIZE) != 0)
		goto out;

	/*
	 * Operations on a connection are carried out in order, and a flush covers the writes before it: one
	 * completion, that of the flush, is enough. A write that fails has a completion in any case.
	 */
	if (FAILED(rpma_write(conn, remote, 0, mr, 0, RECORD_SIZE, RPMA_F_COMPLETION_ON_ERROR, WRITE)))
		goto out;
	/* without it, a completed write may be on its way through the server's hardware */
	if (FAILED(rpma_flush(conn, remote, 0, RECORD_SIZE, RPMA_FLUSH_TYPE_VISIBILITY,
			RPMA_F_COMPLETION_ALWAYS, FLUSH)))
		goto out;
	if (wait_for_completion(conn, cq, FLUSH, &wc) != 0)
		goto out;
	say("wrote %zu bytes; they are visible to the server, and say: %s", RECORD_SIZE, text);

	/* the server takes the end of the connection as the sign that everything is in its memory */
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
