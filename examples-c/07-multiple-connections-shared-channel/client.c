/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * One of many clients: offers a record for reading in the private data of its request, sends the
 * server a message when the record is complete, and waits for the answer. Its two completion queues share a
 * channel.
 */

#include <stdlib.h>

#include "../common/collect.h"

/* waits until the message has gone and the answer has come, in any order */
static int wait_for_both(struct rpma_conn *conn, struct ibv_wc *received)
{
	bool sending = true;
	bool receiving = true;

	while (sending || receiving) {
		struct ibv_wc wc;
		bool is_rcq = false;

		if (wait_on_shared_channel(conn, sending ? SEND : RECV, &wc, &is_rcq) != 0)
			return -1;
		if (is_rcq) {
			receiving = false;
			*received = wc;
		} else {
			sending = false;
		}
	}
	return 0;
}

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *record_mr = NULL;
	struct rpma_mr_local *messages_mr = NULL;
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_conn_req *req = NULL;
	struct rpma_conn *conn = NULL;
	struct ibv_wc wc = { 0 };
	struct offer offer;
	void *record = NULL;
	char *messages = NULL; /* one to send, then one received */
	int status = EXIT_FAILURE;

	if (start("client", argc, argv, 2, 3, "ADDR PORT [TEXT]") != 0)
		return EXIT_FAILURE;

	record = alloc_pages(RECORD_SIZE);
	messages = alloc_pages(2 * MESSAGE_SIZE);
	if (record == NULL || messages == NULL)
		goto out;
	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_REMOTE, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, record, RECORD_SIZE, RPMA_MR_USAGE_READ_SRC, &record_mr)) ||
	    FAILED(rpma_mr_reg(peer, messages, 2 * MESSAGE_SIZE, RPMA_MR_USAGE_SEND | RPMA_MR_USAGE_RECV,
			&messages_mr)))
		goto out;
	if (make_offer(record_mr, NULL, &offer) != 0)
		goto out;

	if (collect_cfg(true, &cfg) != 0 || FAILED(rpma_conn_req_new(peer, argv[1], argv[2], cfg, &req)))
		goto out;
	/* the receive for the thanks, before the server has a reason to send them */
	if (FAILED(rpma_conn_req_recv(req, messages_mr, MESSAGE_SIZE, MESSAGE_SIZE, RECV)))
		goto out;
	say("connecting to %s:%s", argv[1], argv[2]);
	if (establish(&req, &offer, sizeof(offer), &conn) != 0)
		goto out;
	say("connected");

	record_fill(record, argc > 3 ? argv[3] : "collected from afar");
	memcpy(messages, COMPLETE, MESSAGE_SIZE);
	if (FAILED(rpma_send(conn, messages_mr, 0, MESSAGE_SIZE, RPMA_F_COMPLETION_ALWAYS, SEND)))
		goto out;
	if (wait_for_both(conn, &wc) != 0 || expect_message(messages + MESSAGE_SIZE, &wc, THANKS) != 0)
		goto out;
	say("the server has read the record, and says: %s", messages + MESSAGE_SIZE);

	if (wait_for_close(conn) != 0)
		goto out;
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_req_delete(&req)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_cfg_delete(&cfg)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&messages_mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&record_mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	free(messages);
	free(record);
	return status;
}
