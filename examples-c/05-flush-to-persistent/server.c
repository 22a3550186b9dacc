/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Offers a file that is persistent memory, and sends the client its peer configuration, which says whether a
 * remote flush makes data persistent there.
 *
 * With the word direct-write it does. Say so only if FILE is on persistent memory (PMem) and this machine's
 * network card writes past the CPU caches ("direct write to PMem"), or these are part of what survives a
 * power failure (eADR). Nothing can check all of that, and for an ordinary file it is never true. Without
 * the word, this program makes the data persistent when the client has gone.
 */

#include <stdlib.h>
#include <string.h>

#include "../common/common.h"
#include "../common/pfile.h"

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_peer_cfg *pcfg = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_conn *conn = NULL;
	struct offer offer;
	struct pfile file = { 0 };
	bool direct_write = argc > 4;
	int usage = RPMA_MR_USAGE_WRITE_DST | RPMA_MR_USAGE_READ_SRC | RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY;
	const char *text;
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 3, 4, "ADDR PORT FILE [direct-write]") != 0)
		return EXIT_FAILURE;
	if (direct_write && strcmp(argv[4], "direct-write") != 0) {
		complain("'%s' is not 'direct-write'", argv[4]);
		return EXIT_FAILURE;
	}

	if (pfile_map(&file, argv[3], RECORD_SIZE) != 0)
		goto out;
	/* so that an earlier client's record is not taken for that of this one */
	memset(file.ptr, 0, RECORD_SIZE);
	say("mapped %s, %s persistent memory, with %s", file.path, file.on_pmem ? "which is" :
			"used as", pfile_method);
	if (direct_write && !file.on_pmem)
		say("nothing shows that %s is PMem: what is flushed may not survive a power failure",
				file.path);

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &peer) != 0)
		goto out;

	/* the client may write, flush and (to verify it) read */
	if (direct_write)
		usage |= RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT;
	if (FAILED(rpma_mr_reg(peer, file.ptr, RECORD_SIZE, usage, &mr)))
		goto out;

	/* the client needs the peer configuration to know whether it can flush to persistence */
	if (FAILED(rpma_peer_cfg_new(&pcfg)) ||
	    FAILED(rpma_peer_cfg_set_direct_write_to_pmem(pcfg, direct_write)))
		goto out;
	if (make_offer(mr, pcfg, &offer) != 0)
		goto out;

	if (accept_client(peer, argv[1], argv[2], &offer, &conn) != 0)
		goto out;
	say("%zu bytes are there for it to write to; what it flushes is %s", RECORD_SIZE, direct_write ?
			"persistent" : "visible here, and not yet persistent");

	/* a remote write causes no event here; the client disconnects when its last flush has completed */
	if (wait_for_close(conn) != 0)
		goto out;
	say("the client has closed the connection");

	text = record_verify(file.ptr);
	if (text == NULL) {
		complain("%s does not contain what a client writes", file.path);
		goto out;
	}
	say("verified the %zu bytes that have arrived; they say: %s", RECORD_SIZE, text);
	if (!direct_write) {
		if (pfile_persist(&file, 0, RECORD_SIZE) != 0)
			goto out;
		say("made them persistent");
	}
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
	if (pfile_unmap(&file) != 0)
		status = EXIT_FAILURE;
	return status;
}
