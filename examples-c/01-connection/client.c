/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The client of a connection, step by step: it connects, sends a greeting as private data, verifies the
 * answer in the server's private data and closes the connection.
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
	struct rpma_conn_req *req = NULL;
	struct rpma_conn *conn = NULL;
	struct rpma_conn_private_data theirs = { NULL, 0 };
	struct rpma_conn_private_data mine = { NULL, 0 };
	char greeting[] = "good morning";
	char answer[GREETING_SIZE];
	char expected[GREETING_SIZE];
	int status = EXIT_FAILURE;

	if (start("client", argc, argv, 2, 2, "ADDR PORT") != 0)
		return EXIT_FAILURE;

	/* a peer represents an RDMA device: here the one through which the server can be reached */
	/* for the loopback's address, for example, it may be no failure and give NULL */
	if (FAILED(rpma_utils_get_ibv_context(argv[1], RPMA_UTIL_IBV_CONTEXT_REMOTE, &ibv_ctx)) ||
	    ibv_ctx == NULL) {
		complain("no RDMA device leads to the address %s (without a device, use softrdma: see the README)",
				argv[1]);
		goto out;
	}
	if (FAILED(rpma_peer_new(ibv_ctx, &peer)))
		goto out;

	if (FAILED(rpma_conn_req_new(peer, argv[1], argv[2], NULL, &req)))
		goto out;

	say("connecting to %s:%s", argv[1], argv[2]);

	/* only begins to connect, and consumes the request, also when it fails */
	mine.ptr = greeting;
	mine.len = sizeof(greeting);
	if (FAILED(rpma_conn_req_connect(&req, &mine, &conn)))
		goto out;
	/* the outcome is an event: established, rejected (nobody listens) or unreachable */
	if (expect_event(conn, RPMA_CONN_ESTABLISHED) != 0)
		goto out;
	say("connected; my greeting was: %s", greeting);

	/* the server's private data came together with that event */
	if (FAILED(rpma_conn_get_private_data(conn, &theirs)))
		goto out;
	greeting_answer(greeting, expected);
	if (!greeting_copy(&theirs, answer) || strcmp(answer, expected) != 0) {
		complain("the server's private data is not the expected answer");
		goto out;
	}
	say("the server answers as expected: %s", answer);

	/* the server disconnects first; after that event this end disconnects as well */
	if (expect_event(conn, RPMA_CONN_CLOSED) != 0 || FAILED(rpma_conn_disconnect(conn)))
		goto out;
	say("the connection is closed");
	status = EXIT_SUCCESS;

out:
	/* in reverse order of creation; what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_req_delete(&req)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	return status;
}
