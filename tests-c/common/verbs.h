/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the library asks of libibverbs and librdmacm: a test sees each call, and spoils some.
 *
 * The program defines these functions itself, in front of the real ones, so this works with either
 * library and on every device. Calls that librdmacm makes for its own purposes pass unseen.
 *
 * What programs reach through inline functions (ibv_post_send() and the like) goes through the
 * device's context: watch_context() puts itself in front of that, and of the functions of the extended
 * queue pairs that are made from then on. One that is to fail must be ibv_wr_complete.
 */
#ifndef TESTS_VERBS_H
#define TESTS_VERBS_H

#include <rdma/rdma_cma.h>

#include "common.h"

/* nothing is seen from before, nothing is spoilt any more, no action is left to run */
void verbs_reset(void);
/* of the context that this address belongs to; once is enough */
void watch_context(void);

/*
 * The next call of this name does nothing, and fails with this errno. It is set, or returned, as the
 * call has it: what returns its errno leaves the variable alone. For ibv_poll_cq it is what the call
 * returns.
 */
void verbs_fail(const char *call, int err);
/* the call after so many more of this name */
void verbs_fail_later(const char *call, unsigned more, int err);
/* the next call does its work, and says then that it failed: what was released, is released */
void verbs_claim_failure(const char *call, int err);
/* the next rdma_get_cm_event() gives an event of this type instead of the real one */
void verbs_change_event(enum rdma_cm_event_type type);
/* the next ibv_get_cq_event() is one of a CQ that nobody knows */
void verbs_strange_cq(void);
/* the next poll finds this one completion */
void verbs_give_wc(const struct ibv_wc *wc);
/* from here on, until verbs_reset(), the device says that it can do this on demand */
void verbs_odp(uint64_t general, uint32_t rc);
/* the same for device_cap_flags_ex */
void verbs_caps(uint64_t flags_ex);
/*
 * From here on, until verbs_reset(), no queue pair is made for these operations: EOPNOTSUPP, as from a provider
 * that is older than the device.
 */
void verbs_refuse_ops(uint64_t ops);
/* the same, but it is made, without their functions; for native operations only */
void verbs_hide_ops(uint64_t ops);
/* whether a queue pair can be made for these operations; unseen */
bool verbs_make_qp_for(struct ibv_context *context, uint64_t ops);
/*
 * The next call of this name runs `action` before it does its work, or fails: as if another thread did that
 * while the call blocks. It may call the library, whose calls are seen as well.
 */
void verbs_during(const char *call, void (*action)(void *arg), void *arg);
/* all that was to be spoilt, was, and all actions ran */
#define EXPECT_SPOILT() assert_true(verbs_all_spoilt())
bool verbs_all_spoilt(void);

/*
 * The names of the calls, in their order, each followed by a space; some with an argument. One that was
 * made to fail has a "!" in front.
 */
extern char verbs_log[4096];
/* how often a call of this name was made, without those that were made to fail */
unsigned verbs_calls(const char *call);
/* leaves out registrations that were tried again at once, for on-demand paging */
void verbs_forget_retries(void);

/* the arguments of the last call that had such ones, and three sums */
struct verbs_seen {
	struct rdma_addrinfo hints;
	struct rdma_conn_param param;
	struct ibv_qp_init_attr_ex qp;
	struct ibv_srq_init_attr srq;
	int access;			/* of ibv_reg_mr() */
	size_t length;
	struct ibv_send_wr send;
	struct ibv_sge sge;		/* of either kind of request, when num_sge is 1 */
	struct ibv_recv_wr recv;
	struct verbs_native {		/* what was put between ibv_wr_start() and ibv_wr_complete() */
		uint64_t wr_id;
		unsigned wr_flags;
		uint32_t rkey;
		uint64_t remote_addr;
		char bytes[8];		/* of an atomic write */
		size_t length;		/* of a flush, as are the two below */
		unsigned placement;
		unsigned selectivity;
	} native;
	unsigned refused_qps;		/* EOPNOTSUPP for their operations, really or as told; not in verbs_log */
	unsigned acks;			/* the sum of all that were acknowledged */
	unsigned destroyed_ids;		/* how many there were */
};

extern struct verbs_seen verbs_seen;

#endif
