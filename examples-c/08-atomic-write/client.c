/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Appends entries to a log in the server's memory. It first writes and flushes an entry, and then moves
 * the counter of the log behind it with one atomic write. So everybody who reads the log, at any time, sees
 * complete entries only. (To keep this order through a power failure as well, both flushes would have to be
 * RPMA_FLUSH_TYPE_PERSISTENT: see 05-flush-to-persistent.)
 */

#define _DEFAULT_SOURCE /* htole64(), le64toh() */

#include <stdlib.h>

#include "log.h"

static const char READ_LOG[] = "read of the log";
static const char WRITE_ENTRY[] = "write of an entry";
static const char FLUSH_ENTRY[] = "flush of an entry";
static const char WRITE_COUNTER[] = "atomic write of the counter";
static const char FLUSH_COUNTER[] = "flush of the counter";

static int append(struct rpma_conn *conn, struct rpma_cq *cq, struct rpma_mr_remote *remote,
		const struct rpma_mr_local *mr, struct log *copy, const char *line)
{
	uint64_t used = le64toh(copy->used);
	size_t offset = offsetof(struct log, entries) + used;
	size_t size = strlen(line) + 1;
	char counter[8];
	struct ibv_wc wc;

	if (used > sizeof(copy->entries) || size > sizeof(copy->entries) - used) {
		complain("the log has no room for '%s'", line);
		return -1;
	}

	/* first the entry, beyond the end of the log: nobody sees it yet */
	memcpy(copy->entries + used, line, size);
	if (FAILED(rpma_write(conn, remote, offset, mr, offset, size, RPMA_F_COMPLETION_ON_ERROR,
			WRITE_ENTRY)))
		return -1;
	if (FAILED(rpma_flush(conn, remote, offset, size, RPMA_FLUSH_TYPE_VISIBILITY,
			RPMA_F_COMPLETION_ALWAYS, FLUSH_ENTRY)))
		return -1;
	if (wait_for_completion(conn, cq, FLUSH_ENTRY, &wc) != 0)
		return -1;

	/* the entry is in place; now the counter, all 8 bytes at once or none */
	used += size;
	copy->used = htole64(used);
	memcpy(counter, &copy->used, sizeof(counter));
	if (FAILED(rpma_atomic_write(conn, remote, offsetof(struct log, used), counter,
			RPMA_F_COMPLETION_ON_ERROR, WRITE_COUNTER)))
		return -1;
	if (FAILED(rpma_flush(conn, remote, offsetof(struct log, used), sizeof(counter),
			RPMA_FLUSH_TYPE_VISIBILITY, RPMA_F_COMPLETION_ALWAYS, FLUSH_COUNTER)))
		return -1;
	if (wait_for_completion(conn, cq, FLUSH_COUNTER, &wc) != 0)
		return -1;

	say("appended '%s'; the log uses %" PRIu64 " bytes", line, used);
	return 0;
}

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_mr_remote *remote = NULL;
	struct rpma_conn *conn = NULL;
	struct rpma_cq *cq = NULL;
	struct ibv_wc wc;
	long count;
	struct log *logs = NULL; /* a copy of the server's log, and room to read it back */
	int status = EXIT_FAILURE;

	if (start("client", argc, argv, 2, 2, "ADDR PORT") != 0)
		return EXIT_FAILURE;

	logs = alloc_pages(2 * sizeof(*logs));
	if (logs == NULL)
		goto out;

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_REMOTE, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, logs, 2 * sizeof(*logs), RPMA_MR_USAGE_READ_DST |
			RPMA_MR_USAGE_WRITE_SRC, &mr)))
		goto out;

	if (connect_to_server(peer, argv[1], argv[2], &conn) != 0)
		goto out;
	if (FAILED(rpma_conn_get_cq(conn, &cq)))
		goto out;
	if (take_offer(conn, &remote, NULL) != 0)
		goto out;
	if (check_remote_size(remote, sizeof(*logs)) != 0)
		goto out;

	/* the log that is there; others may have written to it before */
	if (FAILED(rpma_read(conn, mr, 0, remote, 0, sizeof(*logs), RPMA_F_COMPLETION_ALWAYS, READ_LOG)))
		goto out;
	if (wait_for_completion(conn, cq, READ_LOG, &wc) != 0)
		goto out;
	count = log_walk(logs, NULL, NULL);
	if (count < 0)
		goto out;
	say("the server's log has %ld entries", count);

	for (size_t i = 0; i < LOG_LINES; i++) {
		if (append(conn, cq, remote, mr, logs, log_lines[i]) != 0)
			goto out;
	}

	if (FAILED(rpma_read(conn, mr, sizeof(*logs), remote, 0, sizeof(*logs), RPMA_F_COMPLETION_ALWAYS,
			READ_LOG)))
		goto out;
	if (wait_for_completion(conn, cq, READ_LOG, &wc) != 0)
		goto out;
	if (memcmp(&logs[0], &logs[1], sizeof(*logs)) != 0) {
		complain("the log that was read back is not the one that was written");
		goto out;
	}
	say("read the log back and verified it");

	/* tells the server that the log is complete */
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
	free(logs);
	return status;
}
