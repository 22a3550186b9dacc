/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The log with the library's own function: it writes to syslog what passes RPMA_LOG_THRESHOLD, and of this to
 * stderr what passes RPMA_LOG_THRESHOLD_AUX. The server raises both for the part that is of interest.
 */

#include <stdlib.h>

#include "../common/common.h"

static int set_thresholds(enum rpma_log_level level)
{
	enum rpma_log_level is = RPMA_LOG_DISABLED;

	if (FAILED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, level)) ||
	    FAILED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, level)) ||
	    FAILED(rpma_log_get_threshold(RPMA_LOG_THRESHOLD_AUX, &is)))
		return -1;
	if (is != level) {
		complain("the threshold is %d instead of %d", (int)is, (int)level);
		return -1;
	}
	return 0;
}

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_ep *ep = NULL;
	struct rpma_conn_req *req = NULL;
	struct rpma_conn *conn = NULL;
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 2, 2, "ADDR PORT") != 0)
		return EXIT_FAILURE;

	/* the default, which any program can restore */
	if (FAILED(rpma_log_set_function(RPMA_LOG_USE_DEFAULT_FUNCTION)))
		return EXIT_FAILURE;
	if (set_thresholds(RPMA_LOG_LEVEL_WARNING) != 0)
		return EXIT_FAILURE;
	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &peer) != 0)
		goto out;

	/* endpoints and connections log at level NOTICE what happens to them */
	if (set_thresholds(RPMA_LOG_LEVEL_NOTICE) != 0)
		goto out;
	if (start_listening(peer, argv[1], argv[2], &ep) != 0 || next_request(ep, NULL, &req) != 0)
		goto out;
	if (establish(&req, NULL, 0, &conn) != 0 || wait_for_close(conn) != 0)
		goto out;
	say("the connection has ended; stderr and syslog have what was logged");
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_req_delete(&req)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_ep_shutdown(&ep)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	return status;
}
