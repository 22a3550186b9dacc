/* SPDX-License-Identifier: BSD-3-Clause */

/* Offers memory for reading: the same as the server of 02-read-to-volatile, with a text of yours. */

#include <stdlib.h>

#include "../common/common.h"

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_conn *conn = NULL;
	struct offer offer;
	void *memory = NULL;
	const char *text = argc > 3 ? argv[3] : "read from afar, and kept";
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 2, 3, "ADDR PORT [TEXT]") != 0)
		return EXIT_FAILURE;

	memory = alloc_pages(RECORD_SIZE);
	if (memory == NULL)
		goto out;
	record_fill(memory, text);

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &peer) != 0)
		goto out;

	/* memory has to be registered for its usage: the other end may read it, and nothing else */
	if (FAILED(rpma_mr_reg(peer, memory, RECORD_SIZE, RPMA_MR_USAGE_READ_SRC, &mr)))
		goto out;
	/* with this description the client can address the memory */
	if (make_offer(mr, NULL, &offer) != 0)
		goto out;

	if (accept_client(peer, argv[1], argv[2], &offer, &conn) != 0)
		goto out;
	say("%zu bytes are there for it to read", RECORD_SIZE);

	/* the memory has to stay registered as long as the client may read it */
	if (wait_for_close(conn) != 0)
		goto out;
	say("the client has closed the connection");
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	free(memory);
	return status;
}
