/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Offers a log in a file that is persistent memory. The client appends to it; this program verifies it
 * after the client has gone. An existing log is continued.
 */

#define _DEFAULT_SOURCE /* le64toh() */

#include <stdlib.h>

#include "../common/pfile.h"
#include "log.h"

/* the last entries, to be compared with those that a client appends */
struct tail {
	long skip;
	size_t matching;
};

static void compare(const char *entry, void *arg)
{
	struct tail *tail = arg;

	if (tail->skip-- > 0)
		return;
	if (tail->matching < LOG_LINES && strcmp(entry, log_lines[tail->matching]) == 0)
		tail->matching++;
	say("new entry: %s", entry);
}

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_conn *conn = NULL;
	struct pfile file = { 0 };
	struct offer offer;
	struct tail tail = { 0, 0 };
	long before;
	long after;
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 3, 3, "ADDR PORT FILE") != 0)
		return EXIT_FAILURE;

	if (pfile_map(&file, argv[3], sizeof(struct log)) != 0)
		goto out;
	before = log_walk(file.ptr, NULL, NULL); /* a new file is all zeros: an empty log */
	if (before < 0)
		goto out;
	say("mapped %s with %s: a log with %ld entries", file.path, pfile_method, before);

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, file.ptr, sizeof(struct log), RPMA_MR_USAGE_READ_SRC |
			RPMA_MR_USAGE_WRITE_DST | RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY, &mr)))
		goto out;
	if (make_offer(mr, NULL, &offer) != 0)
		goto out;

	if (accept_client(peer, argv[1], argv[2], &offer, &conn) != 0)
		goto out;
	if (wait_for_close(conn) != 0)
		goto out;

	tail.skip = before;
	after = log_walk(file.ptr, compare, &tail);
	if (after < 0)
		goto out;
	if (after != before + (long)LOG_LINES || tail.matching != LOG_LINES) {
		complain("the %ld new entries are not those of a client", after - before);
		goto out;
	}
	if (pfile_persist(&file, 0, sizeof(struct log)) != 0)
		goto out;
	say("verified %zu new entries and made them persistent", LOG_LINES);
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
