/* SPDX-License-Identifier: BSD-3-Clause */
#include "extended.h"
#include "verbs.h"

/* all queue pairs of a device have the same functions */
static struct ibv_qp_ex real_ex;

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

#if defined(HAVE_NATIVE_ATOMIC_WRITE) || defined(HAVE_NATIVE_FLUSH)
static void
see_native(const struct ibv_qp_ex *qp, uint32_t rkey, uint64_t remote_addr)
{
	verbs_seen.native = (struct verbs_native){
		.wr_id = qp->wr_id, .wr_flags = qp->wr_flags, .rkey = rkey, .remote_addr = remote_addr,
	};
}
#endif

#ifdef HAVE_NATIVE_ATOMIC_WRITE
static void
watched_wr_atomic_write(struct ibv_qp_ex *qp, uint32_t rkey, uint64_t remote_addr, const void *bytes)
{
	verbs_enter("ibv_wr_atomic_write");
	see_native(qp, rkey, remote_addr);
	memcpy(verbs_seen.native.bytes, bytes, sizeof(verbs_seen.native.bytes));
	real_ex.wr_atomic_write(qp, rkey, remote_addr, bytes);
}
#endif

#ifdef HAVE_NATIVE_FLUSH
static void
watched_wr_flush(struct ibv_qp_ex *qp, uint32_t rkey, uint64_t remote_addr, size_t len, uint8_t type,
		uint8_t level)
{
	verbs_enter("ibv_wr_flush");
	see_native(qp, rkey, remote_addr);
	verbs_seen.native.length = len;
	verbs_seen.native.placement = type;
	verbs_seen.native.selectivity = level;
	real_ex.wr_flush(qp, rkey, remote_addr, len, type, level);
}
#endif

void
watch_extended(struct ibv_qp *qp, const struct ibv_qp_init_attr_ex *attr)
{
	struct ibv_qp_ex *extended = ibv_qp_to_qp_ex(qp);

	if (!extended || !(attr->comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS))
		return;
	real_ex.wr_start = extended->wr_start;
	real_ex.wr_complete = extended->wr_complete;
	real_ex.wr_abort = extended->wr_abort;
	extended->wr_start = watched_wr_start;
	extended->wr_complete = watched_wr_complete;
	/* a member that the queue pair was not made with may not even be there */
#ifdef HAVE_NATIVE_ATOMIC_WRITE
	if (attr->send_ops_flags & IBV_QP_EX_WITH_ATOMIC_WRITE) {
		real_ex.wr_atomic_write = extended->wr_atomic_write;
		extended->wr_atomic_write = watched_wr_atomic_write;
	}
#endif
#ifdef HAVE_NATIVE_FLUSH
	if (attr->send_ops_flags & IBV_QP_EX_WITH_FLUSH) {
		real_ex.wr_flush = extended->wr_flush;
		extended->wr_flush = watched_wr_flush;
	}
#endif
}
