/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Writes to the server's memory and flushes it (to persistence, if the server declares that this is
 * possible), reads it back and verifies it. The server's program does nothing until the connection is
 * closed.
 */

#include <stdlib.h>
#include <string.h>

#include "../common/common.h"

static const char WRITE[] = "write";
static const char FLUSH[] = "flush";
static const char READ[] = "read";

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_peer_cfg *pcfg = NULL;
	struct rpma_mr_local *src = NULL;
	struct rpma_mr_local *dst = NULL;
	struct rpma_mr_remote *remote = NULL;
	struct rpma_conn *conn = NULL;
	struct rpma_cq *cq = NULL;
	struct ibv_wc wc;
	bool direct_write = false;
	enum rpma_flush_type flush_type;
	char *memory = NULL; /* a record to write, then a record read back */
	const char *text = argc > 3 ? argv[3] : "written from afar";
	int status = EXIT_FAILURE;

	if (start("client", argc, argv, 2, 3, "ADDR PORT [TEXT]") != 0)
		return EXIT_FAILURE;

	memory = alloc_pages(2 * RECORD_SIZE);
	if (memory == NULL)
		goto out;
	record_fill(memory, text);

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_REMOTE, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, memory, RECORD_SIZE, RPMA_MR_USAGE_WRITE_SRC, &src)) ||
	    FAILED(rpma_mr_reg(peer, memory + RECORD_SIZE, RECORD_SIZE, RPMA_MR_USAGE_READ_DST, &dst)))
		goto out;

	if (connect_to_server(peer, argv[1], argv[2], &conn) != 0)
		goto out;
	if (FAILED(rpma_conn_get_cq(conn, &cq)))
		goto out;

	/* from the server: where its memory is, and whether a flush can make data persistent there */
	if (take_offer(conn, &remote, &pcfg) != 0)
		goto out;
	if (check_remote_size(remote, RECORD_SIZE) != 0)
		goto out;
	if (FAILED(rpma_peer_cfg_get_direct_write_to_pmem(pcfg, &direct_write)))
		goto out;
	/* without this call a flush to persistence is refused (RPMA_E_NOSUPP) */
	if (FAILED(rpma_conn_apply_remote_peer_cfg(conn, pcfg)))
		goto out;
	flush_type = direct_write ? RPMA_FLUSH_TYPE_PERSISTENT : RPMA_FLUSH_TYPE_VISIBILITY;
	say("the server offers %zu bytes %s direct write to persistent memory", RECORD_SIZE,
			direct_write ? "with" : "without");

	/*
	 * Operations on a connection are carried out in order, and a flush covers the writes before it: one
	 * completion, that of the flush, is enough. A write that fails has a completion in any case.
	 */
	if (FAILED(rpma_write(conn, remote, 0, src, 0, RECORD_SIZE, RPMA_F_COMPLETION_ON_ERROR, WRITE)))
		goto out;
	if (FAILED(rpma_flush(conn, remote, 0, RECORD_SIZE, flush_type, RPMA_F_COMPLETION_ALWAYS, FLUSH)))
		goto out;
	if (wait_for_completion(conn, cq, FLUSH, &wc) != 0)
		goto out;
	say("wrote %zu bytes and flushed them: they are %s at the server; they say: %s", RECORD_SIZE,
			direct_write ? "persistent" : "visible", text);

	if (FAILED(rpma_read(conn, dst, 0, remote, 0, RECORD_SIZE, RPMA_F_COMPLETION_ALWAYS, READ)))
		goto out;
	if (wait_for_completion(conn, cq, READ, &wc) != 0)
		goto out;
	if (record_verify(memory + RECORD_SIZE) == NULL ||
	    memcmp(memory, memory + RECORD_SIZE, RECORD_SIZE) != 0) {
		complain("what was read back is not what was written");
		goto out;
	}
	say("read them back and verified them");

	/* the server takes the end of the connection as the sign that everything is in its memory */
	if (close_connection(conn) != 0)
		goto out;
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_peer_cfg_delete(&pcfg)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_remote_delete(&remote)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&dst)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&src)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	free(memory);
	return status;
}
