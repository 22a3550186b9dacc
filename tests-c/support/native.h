/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Native atomic write and native flush. The library supports them whatever headers it was built with, and the
 * installed headers may be too old. So the tests have their own declarations; the numbers are those of the ABI.
 */
#ifndef TESTS_NATIVE_H
#define TESTS_NATIVE_H

#include <infiniband/verbs.h>

/* bits of device_cap_flags_ex */
#define DEVICE_FLUSH_GLOBAL (1ULL << 38)
#define DEVICE_FLUSH_PERSISTENT (1ULL << 39)
#define DEVICE_FLUSH (DEVICE_FLUSH_GLOBAL | DEVICE_FLUSH_PERSISTENT)
#define DEVICE_ATOMIC_WRITE (1ULL << 40)

enum {
	/* of enum ibv_access_flags */
	ACCESS_FLUSH_GLOBAL = 1 << 8,
	ACCESS_FLUSH_PERSISTENT = 1 << 9,
	/* of enum ibv_qp_create_send_ops_flags */
	QP_EX_WITH_FLUSH = 1 << 11,
	QP_EX_WITH_ATOMIC_WRITE = 1 << 12,
	/* of enum ibv_wc_opcode */
	WC_FLUSH = 8,
	WC_ATOMIC_WRITE = 9,
	/* enum ibv_placement_type */
	FLUSH_PLACEMENT_GLOBAL = 1 << 0,
	FLUSH_PLACEMENT_PERSISTENT = 1 << 1,
	/* of enum ibv_selectivity_level */
	FLUSH_SELECTIVITY_RANGE = 0,
};

/* the members of struct ibv_qp_ex after wr_abort */
struct native_functions {
	void (*wr_atomic_write)(struct ibv_qp_ex *qp, uint32_t rkey, uint64_t remote_addr,
			const void *bytes);
	void (*wr_flush)(struct ibv_qp_ex *qp, uint32_t rkey, uint64_t remote_addr, size_t len,
			uint8_t placement, uint8_t selectivity);
};

/* a queue pair that was not created for the operation may not even have the member */
static inline struct native_functions *
native_functions(struct ibv_qp_ex *qp)
{
	return (struct native_functions *)(&qp->wr_abort + 1);
}

#endif
