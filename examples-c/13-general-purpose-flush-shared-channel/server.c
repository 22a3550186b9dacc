/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Offers a file that is persistent memory to write to, and makes persistent what the client asks for by
 * message, with one channel for both completion queues.
 */

#define _DEFAULT_SOURCE /* le64toh() */

#include <stdlib.h>
#include <string.h>

#include "../common/flush_request.h"
#include "../common/pfile.h"

/*
 * One wait covers both queues. The completion of the last answer comes before or after the next request;
 * both are needed before the buffer of the answer can be used again.
 */
static int wait_for_request(struct rpma_conn *conn, bool *sending)
{
	bool received = false;

	while (!received || *sending) {
		struct ibv_wc wc;
		bool is_rcq = false;

		if (wait_on_shared_channel(conn, RECV_REQUEST, &wc, &is_rcq) != 0)
			return -1;
		if (!is_rcq) {
			*sending = false;
			continue;
		}
		if (wc.byte_len != sizeof(struct flush_request)) {
			complain("a message of %" PRIu32 " bytes is not a flush request", wc.byte_len);
			return -1;
		}
		received = true;
	}
	return 0;
}

/* answers requests until the client has no more of them */
static int serve(struct rpma_conn *conn, struct rpma_mr_local *mr, struct flush_messages *messages,
		const struct pfile *file)
{
	bool sending = false; /* an answer whose completion has not come yet */

	for (;;) {
		struct flush_request request;
		uint64_t offset;
		uint64_t size;

		if (wait_for_request(conn, &sending) != 0)
			return -1;
		memcpy(&request, &messages->request, sizeof(request));
		offset = le64toh(request.offset);
		size = le64toh(request.size);
		if (size == 0)
			return 0;
		/* this came over the network: check it before it is used */
		if (offset > RECORD_SIZE || size > RECORD_SIZE - offset) {
			complain("a request for %" PRIu64 " bytes at %" PRIu64 " exceeds the file", size, offset);
			return -1;
		}
		if (pfile_persist(file, offset, size) != 0)
			return -1;
		say("made %" PRIu64 " bytes at %" PRIu64 " persistent", size, offset);

		/* the receive for the next request, before the client has a reason to send it */
		if (FAILED(rpma_recv(conn, mr, offsetof(struct flush_messages, request),
				sizeof(struct flush_request), RECV_REQUEST)))
			return -1;
		messages->answer.offset = request.offset;
		messages->answer.size = request.size;
		if (FAILED(rpma_send(conn, mr, offsetof(struct flush_messages, answer),
				sizeof(struct flush_answer), RPMA_F_COMPLETION_ALWAYS, SEND_ANSWER)))
			return -1;
		sending = true;
	}
}

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_mr_local *messages_mr = NULL;
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_ep *ep = NULL;
	struct rpma_conn_req *req = NULL;
	struct rpma_conn *conn = NULL;
	struct pfile file = { 0 };
	struct flush_messages *messages = NULL;
	struct offer offer;
	const char *text;
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 3, 3, "ADDR PORT FILE") != 0)
		return EXIT_FAILURE;

	if (pfile_map(&file, argv[3], RECORD_SIZE) != 0)
		goto out;
	/* so that an earlier client's record is not taken for that of this one */
	memset(file.ptr, 0, RECORD_SIZE);
	say("mapped %s with %s", file.path, pfile_method);
	messages = alloc_pages(sizeof(*messages));
	if (messages == NULL)
		goto out;

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, file.ptr, RECORD_SIZE, RPMA_MR_USAGE_WRITE_DST, &mr)) ||
	    FAILED(rpma_mr_reg(peer, messages, sizeof(*messages), RPMA_MR_USAGE_SEND | RPMA_MR_USAGE_RECV,
			&messages_mr)))
		goto out;
	if (make_offer(mr, NULL, &offer) != 0 || flush_cfg(true, &cfg) != 0)
		goto out;

	if (start_listening(peer, argv[1], argv[2], &ep) != 0 || next_request(ep, cfg, &req) != 0)
		goto out;
	/* the receive for the first request, before the client can send it */
	if (FAILED(rpma_conn_req_recv(req, messages_mr, offsetof(struct flush_messages, request),
			sizeof(struct flush_request), RECV_REQUEST)))
		goto out;
	if (establish(&req, &offer, sizeof(offer), &conn) != 0)
		goto out;
	say("a client has connected");

	if (serve(conn, messages_mr, messages, &file) != 0 || wait_for_close(conn) != 0)
		goto out;
	text = record_verify(file.ptr);
	if (text == NULL) {
		complain("%s does not contain what a client writes", file.path);
		goto out;
	}
	say("verified the %zu bytes; they say: %s", RECORD_SIZE, text);
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_req_delete(&req)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_ep_shutdown(&ep)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_cfg_delete(&cfg)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&messages_mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	free(messages);
	if (pfile_unmap(&file) != 0)
		status = EXIT_FAILURE;
	return status;
}
