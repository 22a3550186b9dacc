/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Reads the server's memory into a file that is persistent memory.
 *
 * A completed read means that the network card has delivered the data to this machine's memory. What
 * makes it survive a power failure is the same as for data that this program stores there itself.
 */

#include <stdlib.h>

#include "../common/common.h"
#include "../common/pfile.h"

static const char READ[] = "read of the server's memory";

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_mr_remote *remote = NULL;
	struct rpma_conn *conn = NULL;
	struct rpma_cq *cq = NULL;
	struct ibv_wc wc;
	struct pfile file = { 0 };
	const char *text;
	int status = EXIT_FAILURE;

	if (start("client", argc, argv, 3, 3, "ADDR PORT FILE") != 0)
		return EXIT_FAILURE;

	if (pfile_map(&file, argv[3], RECORD_SIZE) != 0)
		goto out;
	say("mapped %s, %s persistent memory, with %s", file.path, file.on_pmem ? "which is" :
			"used as", pfile_method);

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_REMOTE, &peer) != 0)
		goto out;
	/* the file is the destination of the read: nothing is copied */
	if (FAILED(rpma_mr_reg(peer, file.ptr, RECORD_SIZE, RPMA_MR_USAGE_READ_DST, &mr)))
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

	text = record_verify(file.ptr);
	if (text == NULL) {
		complain("the data read is not what the server must have");
		goto out;
	}
	say("read %zu bytes and verified them; they say: %s", RECORD_SIZE, text);

	if (pfile_persist(&file, 0, RECORD_SIZE) != 0)
		goto out;
	say("they are persistent in %s", file.path);

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
	if (pfile_unmap(&file) != 0)
		status = EXIT_FAILURE;
	return status;
}
