/* SPDX-License-Identifier: BSD-3-Clause */

/* Offers an empty log, to which the client appends, and verifies it after the client has gone. */

#define _DEFAULT_SOURCE /* le64toh() */

#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../common/common.h"
#include "log.h"

static int verify(const struct log *log)
{
	uint64_t used = le64toh(log->used);
	size_t offset = 0;

	if (used > sizeof(log->entries)) {
		complain("the log claims %" PRIu64 " bytes, more than there are", used);
		return -1;
	}
	for (size_t i = 0; i < LOG_LINES; i++) {
		size_t size = strlen(log_lines[i]) + 1;

		if (size > used - offset || memcmp(log->entries + offset, log_lines[i], size) != 0) {
			complain("entry %zu of the log is not '%s'", i + 1, log_lines[i]);
			return -1;
		}
		say("entry %zu: %s", i + 1, log->entries + offset);
		offset += size;
	}
	if (offset != used) {
		complain("the log has more than the %zu expected bytes", offset);
		return -1;
	}
	return 0;
}

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_conn *conn = NULL;
	struct offer offer;
	struct log *log = NULL;
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 2, "ADDR PORT") != 0)
		return EXIT_FAILURE;

	log = alloc_pages(sizeof(*log)); /* zeroed: an empty log */
	if (log == NULL)
		goto out;

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, log, sizeof(*log), RPMA_MR_USAGE_READ_SRC | RPMA_MR_USAGE_WRITE_DST |
			RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY, &mr)))
		goto out;
	if (make_offer(mr, NULL, &offer) != 0)
		goto out;

	if (accept_client(peer, argv[1], argv[2], &offer, &conn) != 0)
		goto out;
	if (wait_for_close(conn) != 0)
		goto out;

	if (verify(log) != 0)
		goto out;
	say("verified the log: %zu entries, %" PRIu64 " bytes", LOG_LINES, le64toh(log->used));
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	free(log);
	return status;
}
