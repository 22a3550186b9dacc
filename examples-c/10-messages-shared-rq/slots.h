/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * A shared receive queue (SRQ) with a completion queue of its own, and the buffers for its receives. The
 * order in which receives are used is not known: the op_context tells which buffer has the message.
 */

#ifndef SLOTS_H
#define SLOTS_H

#include "../common/ping_pong.h"

#define SLOTS 4

struct slots {
	char send[MESSAGE_SIZE];
	char recv[SLOTS][MESSAGE_SIZE];
};

/* the op_context of the receive into buffer N is the address of element N */
static const char slot_names[SLOTS][32] = {
	"receive into buffer 0", "receive into buffer 1", "receive into buffer 2", "receive into buffer 3",
};

static inline int post_receive(struct rpma_srq *srq, struct rpma_mr_local *mr, size_t slot)
{
	return FAILED(rpma_srq_recv(srq, mr, offsetof(struct slots, recv) + slot * MESSAGE_SIZE,
			MESSAGE_SIZE, slot_names[slot])) ? -1 : 0;
}

static inline size_t completed_slot(const struct ibv_wc *wc)
{
	return (size_t)((const char (*)[32])(uintptr_t)wc->wr_id - slot_names);
}

/* the queue, with a receive for each buffer, and the configuration of connections that use it */
static inline int make_srq(struct rpma_peer *peer, struct rpma_mr_local *mr, struct rpma_srq **srq,
		struct rpma_conn_cfg **cfg)
{
	struct rpma_srq_cfg *srq_cfg = NULL;
	int ret = -1;

	if (FAILED(rpma_srq_cfg_new(&srq_cfg)))
		return -1;
	if (FAILED(rpma_srq_cfg_set_rq_size(srq_cfg, SLOTS)) ||
	    FAILED(rpma_srq_cfg_set_rcq_size(srq_cfg, SLOTS)) ||
	    FAILED(rpma_srq_new(peer, srq_cfg, srq)))
		goto out;
	for (size_t slot = 0; slot < SLOTS; slot++) {
		if (post_receive(*srq, mr, slot) != 0)
			goto out;
	}
	if (FAILED(rpma_conn_cfg_new(cfg)) || FAILED(rpma_conn_cfg_set_srq(*cfg, *srq)))
		goto out;
	ret = 0;
out:
	if (FAILED(rpma_srq_cfg_delete(&srq_cfg)))
		ret = -1;
	return ret;
}

/* waits for the message of a round, verifies it and posts its receive again */
static inline int receive(struct rpma_conn *conn, struct rpma_srq *srq, struct rpma_mr_local *mr,
		struct slots *slots, const char *word, uint32_t round)
{
	struct rpma_cq *rcq = NULL;
	struct ibv_wc wc;

	if (FAILED(rpma_srq_get_rcq(srq, &rcq)))
		return -1;
	if (wait_for_any_completion(conn, rcq, RECV, &wc) != 0)
		return -1;
	if (message_verify(slots->recv[completed_slot(&wc)], &wc, word, round) != 0)
		return -1;
	return post_receive(srq, mr, completed_slot(&wc));
}

static inline int send_message(struct rpma_conn *conn, struct rpma_mr_local *mr, struct slots *slots,
		const char *word, uint32_t round)
{
	struct rpma_cq *cq = NULL;
	struct ibv_wc wc;

	message_write(slots->send, word, round);
	if (FAILED(rpma_conn_get_cq(conn, &cq)) ||
	    FAILED(rpma_send(conn, mr, offsetof(struct slots, send), MESSAGE_SIZE,
			RPMA_F_COMPLETION_ALWAYS, SEND)))
		return -1;
	return wait_for_completion(conn, cq, SEND, &wc);
}

#endif /* SLOTS_H */
