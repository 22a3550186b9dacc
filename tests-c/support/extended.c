/* SPDX-License-Identifier: BSD-3-Clause */
#include "extended.h"
#include "native.h"
#include "verbs.h"

/* all queue pairs of a device have the same functions */
static struct ibv_qp_ex real_ex;
static struct native_functions real_native;

static void
watched_wr_start(struct ibv_qp_ex *qp)
{
	verbs_enter("ibv_wr_start");
	real_ex.wr_start(qp);
}

static int
watched_wr_complete(struct ibv_qp_ex *qp)
{
	const int err = verbs_enter("ibv_wr_complete");

	if (err != 0) {
		real_ex.wr_abort(qp);
		return err;
	}

	return real_ex.wr_complete(qp);
}

static void
see_native(const struct ibv_qp_ex *qp, uint32_t rkey, uint64_t remote_addr)
{
	verbs_seen.native = (struct verbs_native){
		.wr_id = qp->wr_id, .wr_flags = qp->wr_flags, .rkey = rkey, .remote_addr = remote_addr,
	};
}

static void
watched_wr_atomic_write(struct ibv_qp_ex *qp, uint32_t rkey, uint64_t remote_addr, const void *bytes)
{
	verbs_enter("ibv_wr_atomic_write");
	see_native(qp, rkey, remote_addr);
	memcpy(verbs_seen.native.bytes, bytes, sizeof(verbs_seen.native.bytes));
	real_native.wr_atomic_write(qp, rkey, remote_addr, bytes);
}

static void
watched_wr_flush(struct ibv_qp_ex *qp, uint32_t rkey, uint64_t remote_addr, size_t len, uint8_t type,
		uint8_t level)
{
	verbs_enter("ibv_wr_flush");
	see_native(qp, rkey, remote_addr);
	verbs_seen.native.length = len;
	verbs_seen.native.placement = type;
	verbs_seen.native.selectivity = level;
	real_native.wr_flush(qp, rkey, remote_addr, len, type, level);
}

void
watch_extended(struct ibv_qp *qp, const struct ibv_qp_init_attr_ex *attr, uint64_t hidden)
{
	struct ibv_qp_ex *extended = ibv_qp_to_qp_ex(qp);
	struct native_functions *native;

	if (!extended || !(attr->comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS))
		return;
	real_ex.wr_start = extended->wr_start;
	real_ex.wr_complete = extended->wr_complete;
	real_ex.wr_abort = extended->wr_abort;
	extended->wr_start = watched_wr_start;
	extended->wr_complete = watched_wr_complete;
	native = native_functions(extended);
	if (attr->send_ops_flags & QP_EX_WITH_ATOMIC_WRITE) {
		real_native.wr_atomic_write = native->wr_atomic_write;
		native->wr_atomic_write = hidden & QP_EX_WITH_ATOMIC_WRITE ? NULL : watched_wr_atomic_write;
	}
	if (attr->send_ops_flags & QP_EX_WITH_FLUSH) {
		real_native.wr_flush = native->wr_flush;
		native->wr_flush = hidden & QP_EX_WITH_FLUSH ? NULL : watched_wr_flush;
	}
}
