/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Offers memory to write to, and verifies what is in it after the client has gone.
 *
 * The memory is a mapped FILE if there is one (what it held before is lost), else volatile. With the
 * word direct-write the server declares that data that a network card writes to FILE is persistent
 * without further ado: FILE is on persistent memory (PMem), and the machine is set up so that its
 * network card writes past the CPU caches ("direct write to PMem"). Nothing can check that: for an
 * ordinary file it is not true.
 */

#include <stdlib.h>
#include <string.h>

#include "../common/common.h"

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_peer_cfg *pcfg = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_conn *conn = NULL;
	struct offer offer;
	void *memory = NULL;
	const char *path = argc > 3 ? argv[3] : NULL;
	bool direct_write = argc > 4;
	int usage = RPMA_MR_USAGE_WRITE_DST | RPMA_MR_USAGE_READ_SRC | RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY;
	const char *text;
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 4, "ADDR PORT [FILE [direct-write]]") != 0)
		return EXIT_FAILURE;
	if (direct_write && strcmp(argv[4], "direct-write") != 0) {
		complain("'%s' is not 'direct-write'", argv[4]);
		return EXIT_FAILURE;
	}

	memory = path != NULL ? map_file(path, RECORD_SIZE) : alloc_pages(RECORD_SIZE);
	if (memory == NULL)
		goto out;
	say("the memory is %s%s", path != NULL ? "the file " : "volatile", path != NULL ? path : "");

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &peer) != 0)
		goto out;

	/* the client may write, flush and (to verify it) read */
	if (direct_write)
		usage |= RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT;
	if (FAILED(rpma_mr_reg(peer, memory, RECORD_SIZE, usage, &mr)))
		goto out;

	/* the client needs the peer configuration to know whether it can flush to persistence */
	if (FAILED(rpma_peer_cfg_new(&pcfg)) ||
	    FAILED(rpma_peer_cfg_set_direct_write_to_pmem(pcfg, direct_write)))
		goto out;
	if (make_offer(mr, pcfg, &offer) != 0)
		goto out;

	if (accept_client(peer, argv[1], argv[2], &offer, &conn) != 0)
		goto out;
	say("%zu bytes are there for it to write to; %s", RECORD_SIZE, direct_write ?
			"what it flushes is persistent" : "what it flushes is visible here");

	/* writes do not show here; the client disconnects when its last flush has completed */
	if (wait_for_close(conn) != 0)
		goto out;
	say("the client has closed the connection");

	text = record_verify(memory);
	if (text == NULL) {
		complain("what is in the memory is not what a client writes");
		goto out;
	}
	say("verified the %zu bytes that have arrived; they say: %s", RECORD_SIZE, text);
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_cfg_delete(&pcfg)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	if (path == NULL)
		free(memory);
	else if (memory != NULL && unmap_file(memory, RECORD_SIZE) != 0)
		status = EXIT_FAILURE;
	if (path != NULL && status == EXIT_SUCCESS)
		say("the file %s keeps them", path);
	return status;
}
