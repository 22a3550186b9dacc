/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The five functions that release 1.2.0 no longer has, implemented with the functions that replaced them: a
 * program compiled with this header makes the same calls of verbs with the original.
 */
#ifndef WALK_OLDER_H
#define WALK_OLDER_H

#include "walk.h"

static inline struct rpma_cq *
modern_cq(const struct rpma_conn *conn)
{
	struct rpma_cq *cq = NULL;

	return rpma_conn_get_cq(conn, &cq) ? NULL : cq;
}

static inline enum rpma_op
modern_op(enum ibv_wc_opcode opcode)
{
	switch (opcode) {
	case IBV_WC_RDMA_READ:
		return RPMA_OP_READ;
	case IBV_WC_SEND:
		return RPMA_OP_SEND;
	case IBV_WC_RECV:
		return RPMA_OP_RECV;
	case IBV_WC_RECV_RDMA_WITH_IMM:
		return RPMA_OP_RECV_RDMA_WITH_IMM;
	default:
		return RPMA_OP_WRITE;
	}
}

static inline int
modern_get_completion(struct rpma_cq *cq, struct rpma_completion *cmpl)
{
	struct ibv_wc wc = {0};
	const int ret = rpma_cq_get_wc(cq, 1, &wc, NULL);

	if (ret)
		return ret;
	cmpl->op_context = (void *)(uintptr_t)wc.wr_id;
	cmpl->op = modern_op(wc.opcode);
	cmpl->byte_len = wc.byte_len;
	cmpl->op_status = wc.status;

	return 0;
}

#define rpma_conn_get_completion_fd(conn, fd) rpma_cq_get_fd(modern_cq(conn), (fd))
#define rpma_conn_completion_wait(conn) rpma_cq_wait(modern_cq(conn))
#define rpma_conn_completion_get(conn, cmpl) modern_get_completion(modern_cq(conn), (cmpl))
#define rpma_cq_get_completion(cq, cmpl) modern_get_completion((cq), (cmpl))
/* It posts with a fence; of the others only rpma_atomic_write does. */
#define rpma_write_atomic(conn, dst, dst_offset, src, src_offset, flags, op_context) \
	rpma_write((conn), (dst), (dst_offset), (src), (src_offset), 8, (flags), (op_context))

#endif
