/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Offers a file that is persistent memory to write to. When the client has gone, this program makes
 * persistent what has arrived.
 */

#include <stdlib.h>
#include <string.h>

#include "../common/common.h"
#include "../common/pfile.h"

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_conn *conn = NULL;
	struct pfile file = { 0 };
	struct offer offer;
	const char *text;
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 3, 3, "ADDR PORT FILE") != 0)
		return EXIT_FAILURE;

	if (pfile_map(&file, argv[3], RECORD_SIZE) != 0)
		goto out;
	/* so that an earlier client's record is not taken for that of this one */
	memset(file.ptr, 0, RECORD_SIZE);
	say("mapped %s, %s persistent memory, with %s", file.path, file.on_pmem ? "which is" :
			"used as", pfile_method);

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &peer) != 0)
		goto out;
	/* the client may write, and flush until its data is visible here */
	if (FAILED(rpma_mr_reg(peer, file.ptr, RECORD_SIZE, RPMA_MR_USAGE_WRITE_DST |
			RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY, &mr)))
		goto out;
	if (make_offer(mr, NULL, &offer) != 0)
		goto out;

	if (accept_client(peer, argv[1], argv[2], &offer, &conn) != 0)
		goto out;

	/* a remote write causes no event here; the client disconnects when its flush has completed */
	if (wait_for_close(conn) != 0)
		goto out;
	say("the client has closed the connection");

	text = record_verify(file.ptr);
	if (text == NULL) {
		complain("%s does not contain what a client writes", file.path);
		goto out;
	}
	/*
	 * The data may still be in a CPU cache or, with an ordinary file, in the page cache. That the network
	 * card has written it, and not this program, makes no difference to that.
	 */
	if (pfile_persist(&file, 0, RECORD_SIZE) != 0)
		goto out;
	say("verified %zu bytes and made them persistent; they say: %s", RECORD_SIZE, text);
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	if (pfile_unmap(&file) != 0)
		status = EXIT_FAILURE;
	return status;
}
