/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The server of a connection, step by step: it listens, answers the private data of the one client it
 * serves with private data of its own, and closes the connection.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/common.h"
#include "greeting.h"

int main(int argc, char *argv[])
{
	struct ibv_context *ibv_ctx = NULL;
	struct rpma_peer *peer = NULL;
	struct rpma_ep *ep = NULL;
	struct rpma_conn_req *req = NULL;
	struct rpma_conn *conn = NULL;
	struct rpma_conn_private_data theirs = { NULL, 0 };
	struct rpma_conn_private_data mine = { NULL, 0 };
	char greeting[GREETING_SIZE];
	char answer[GREETING_SIZE];
	int fd = -1;
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 2, 2, "ADDR PORT") != 0)
		return EXIT_FAILURE;

	/* a peer represents an RDMA device, here the one with this address; all else is created on it */
	/* for the loopback's address, for example, it may be no failure and give NULL */
	if (FAILED(rpma_utils_get_ibv_context(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &ibv_ctx)) ||
	    ibv_ctx == NULL) {
		complain("no RDMA device has the address %s (without a device, use softrdma: see the README)",
				argv[1]);
		goto out;
	}
	if (FAILED(rpma_peer_new(ibv_ctx, &peer)))
		goto out;

	if (FAILED(rpma_ep_listen(peer, argv[1], argv[2], &ep)))
		goto out;
	say("listening on %s:%s", argv[1], argv[2]);

	/* rpma_ep_next_conn_req() would wait by itself; with the file descriptor Ctrl-C ends the wait */
	if (FAILED(rpma_ep_get_fd(ep, &fd)) || wait_readable(fd) != 0)
		goto out;
	/* the client's private data can be read before the request is accepted */
	if (FAILED(rpma_ep_next_conn_req(ep, NULL, &req)) ||
	    FAILED(rpma_conn_req_get_private_data(req, &theirs)))
		goto out;
	if (!greeting_copy(&theirs, greeting)) {
		complain("the client's private data is not a greeting");
		goto out; /* deleting the request rejects it */
	}
	say("a client asks for a connection and says: %s", greeting);

	/* rpma_conn_req_connect() consumes the request, also when it fails */
	greeting_answer(greeting, answer);
	mine.ptr = answer;
	mine.len = (uint8_t)(strlen(answer) + 1);
	if (FAILED(rpma_conn_req_connect(&req, &mine, &conn)))
		goto out;
	if (expect_event(conn, RPMA_CONN_ESTABLISHED) != 0)
		goto out;
	say("the connection is established; my answer was: %s", answer);

	/*
	 * This end disconnects first. If the client did so at once, and the last message of the handshake
	 * were lost, the first event here would be RPMA_CONN_CLOSED.
	 */
	if (FAILED(rpma_conn_disconnect(conn)) || expect_event(conn, RPMA_CONN_CLOSED) != 0)
		goto out;
	say("the connection is closed");
	status = EXIT_SUCCESS;

out:
	/* in reverse order of creation; what was not created is NULL, and deleting that is no error */
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
