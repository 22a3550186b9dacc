/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Writes a record to the server's persistent memory, piece by piece, and asks the server by message to make
 * each piece persistent, with one channel for both completion queues.
 */

#define _DEFAULT_SOURCE /* htole64() */

#include <stdlib.h>

#include "../common/flush_request.h"

/* everything that the client needs for one piece */
struct context {
	struct rpma_conn *conn;
	struct rpma_mr_remote *remote;
	struct rpma_mr_local *mr;
	struct rpma_mr_local *messages_mr;
	struct flush_messages *messages;
};

/* one wait covers both queues; their completions come in any order */
static int wait_for_both(const struct context *ctx, bool sending, bool receiving)
{
	while (sending || receiving) {
		struct ibv_wc wc;
		bool is_rcq = false;

		if (wait_on_shared_channel(ctx->conn, sending ? SEND_REQUEST : RECV_ANSWER, &wc, &is_rcq) != 0)
			return -1;
		if (!is_rcq) {
			sending = false;
			continue;
		}
		if (wc.byte_len != sizeof(struct flush_answer)) {
			complain("a message of %" PRIu32 " bytes is not an answer", wc.byte_len);
			return -1;
		}
		receiving = false;
	}
	return 0;
}

static int wait_for_send(const struct context *ctx)
{
	return wait_for_both(ctx, true, false);
}

static int wait_for_answer(const struct context *ctx)
{
	return wait_for_both(ctx, true, true);
}

static int send_request(const struct context *ctx, uint64_t offset, uint64_t size)
{
	ctx->messages->request.offset = htole64(offset);
	ctx->messages->request.size = htole64(size);
	return FAILED(rpma_send(ctx->conn, ctx->messages_mr, offsetof(struct flush_messages, request),
			sizeof(struct flush_request), RPMA_F_COMPLETION_ALWAYS, SEND_REQUEST)) ? -1 : 0;
}

static int write_and_flush(const struct context *ctx, size_t offset)
{
	const struct flush_messages *messages = ctx->messages;

	if (FAILED(rpma_write(ctx->conn, ctx->remote, offset, ctx->mr, offset, PIECE_SIZE,
			RPMA_F_COMPLETION_ON_ERROR, WRITE)))
		return -1;
	/* the receive for the answer, before the server has a reason to send it */
	if (FAILED(rpma_recv(ctx->conn, ctx->messages_mr, offsetof(struct flush_messages, answer),
			sizeof(struct flush_answer), RECV_ANSWER)))
		return -1;
	/* the request does not wait for the write: it cannot overtake it */
	if (send_request(ctx, offset, PIECE_SIZE) != 0 || wait_for_answer(ctx) != 0)
		return -1;
	if (le64toh(messages->answer.offset) != offset || le64toh(messages->answer.size) != PIECE_SIZE) {
		complain("the answer is for another request");
		return -1;
	}
	say("%zu bytes at %zu are persistent at the server", PIECE_SIZE, offset);
	return 0;
}

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_conn_req *req = NULL;
	struct context ctx = { 0 };
	void *memory = NULL;
	int status = EXIT_FAILURE;

	if (start("client", argc, argv, 2, 3, "ADDR PORT [TEXT]") != 0)
		return EXIT_FAILURE;

	memory = alloc_pages(RECORD_SIZE);
	ctx.messages = alloc_pages(sizeof(*ctx.messages));
	if (memory == NULL || ctx.messages == NULL)
		goto out;
	record_fill(memory, argc > 3 ? argv[3] : "written from afar, made persistent on request");

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_REMOTE, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, memory, RECORD_SIZE, RPMA_MR_USAGE_WRITE_SRC, &ctx.mr)) ||
	    FAILED(rpma_mr_reg(peer, ctx.messages, sizeof(*ctx.messages),
			RPMA_MR_USAGE_SEND | RPMA_MR_USAGE_RECV, &ctx.messages_mr)))
		goto out;

	if (flush_cfg(true, &cfg) != 0 || FAILED(rpma_conn_req_new(peer, argv[1], argv[2], cfg, &req)))
		goto out;
	say("connecting to %s:%s", argv[1], argv[2]);
	if (establish(&req, NULL, 0, &ctx.conn) != 0)
		goto out;
	say("connected");
	if (take_offer(ctx.conn, &ctx.remote, NULL) != 0 || check_remote_size(ctx.remote, RECORD_SIZE) != 0)
		goto out;

	for (size_t piece = 0; piece < PIECES; piece++) {
		if (write_and_flush(&ctx, piece * PIECE_SIZE) != 0)
			goto out;
	}

	/* no more requests */
	if (send_request(&ctx, 0, 0) != 0 || wait_for_send(&ctx) != 0)
		goto out;
	if (close_connection(ctx.conn) != 0)
		goto out;
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_mr_remote_delete(&ctx.remote)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_delete(&ctx.conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_req_delete(&req)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_cfg_delete(&cfg)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&ctx.messages_mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&ctx.mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	free(ctx.messages);
	free(memory);
	return status;
}
