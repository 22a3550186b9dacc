/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The protocol of the general-purpose flush. Where direct write to persistent memory is not possible, a
 * client writes and then asks the server, by message, to make the data persistent. A message that arrives
 * after a write on the same connection finds the written data in place.
 */

#ifndef FLUSH_REQUEST_H
#define FLUSH_REQUEST_H

#include <endian.h>
#include <inttypes.h>
#include <stdint.h>

#include "common.h"

/* all little-endian */
struct flush_request {
	uint64_t offset;
	uint64_t size; /* 0: no more requests */
};

struct flush_answer {
	uint64_t offset;
	uint64_t size; /* so many bytes are persistent */
};

/* the buffers of either end, registered for sending and receiving */
struct flush_messages {
	struct flush_request request;
	struct flush_answer answer;
};

/* the client writes and flushes its record in so many pieces */
#define PIECES 4
#define PIECE_SIZE (RECORD_SIZE / PIECES)

static const char WRITE[] = "write of a piece";
static const char SEND_REQUEST[] = "send of a flush request";
static const char RECV_REQUEST[] = "receive of a flush request";
static const char SEND_ANSWER[] = "send of an answer";
static const char RECV_ANSWER[] = "receive of an answer";

/* a CQ for what is sent and a receive CQ, with a channel for each or a shared one */
static inline int flush_cfg(bool shared_channel, struct rpma_conn_cfg **cfg)
{
	if (FAILED(rpma_conn_cfg_new(cfg)))
		return -1;
	if (FAILED(rpma_conn_cfg_set_rcq_size(*cfg, 1)) ||
	    FAILED(rpma_conn_cfg_set_compl_channel(*cfg, shared_channel))) {
		(void) rpma_conn_cfg_delete(cfg);
		return -1;
	}
	return 0;
}

#endif /* FLUSH_REQUEST_H */
