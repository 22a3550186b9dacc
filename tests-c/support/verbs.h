/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Records the calls that the library makes to libibverbs and librdmacm, and makes some of them fail.
 *
 * The program defines these functions itself, in front of the real ones, so this works with either
 * library and on every device. Calls that librdmacm makes internally are not recorded.
 *
 * Inline functions (ibv_post_send() and the like) call through the device's context: watch_context()
 * replaces the functions there, and those of the extended queue pairs that are created afterwards. Of the
 * latter only ibv_wr_complete can be made to fail.
 */
#ifndef TESTS_VERBS_H
#define TESTS_VERBS_H

#include <rdma/rdma_cma.h>

#include "common.h"

/* forgets all recorded calls, injected failures and actions */
void verbs_reset(void);
/* for the context of the device with the test's address; needed once */
void watch_context(void);

/*
 * The next call of this name does nothing, and fails with this errno. Depending on the function it is set or
 * returned; a function that returns its error does not set errno. For ibv_poll_cq it is the return value.
 */
void verbs_fail(const char *call, int err);
/* the same for a later call of this name, after `more` other ones */
void verbs_fail_later(const char *call, unsigned more, int err);
/* the next call does its work and then returns a failure: a released object is released */
void verbs_claim_failure(const char *call, int err);
/* the next rdma_get_cm_event() gives an event of this type instead of the real one */
void verbs_change_event(enum rdma_cm_event_type type);
/* the next ibv_get_cq_event() returns the event of an unknown CQ */
void verbs_strange_cq(void);
/* the next poll returns this completion */
void verbs_give_wc(const struct ibv_wc *wc);
/* until verbs_reset(), the device reports these capabilities of on-demand paging */
void verbs_odp(uint64_t general, uint32_t rc);
/* the same for device_cap_flags_ex */
void verbs_caps(uint64_t flags_ex);
/*
 * Until verbs_reset(), creating a queue pair for these operations fails with EOPNOTSUPP, as with a provider that is
 * older than the device.
 */
void verbs_refuse_ops(uint64_t ops);
/* the same, but the queue pair is created, without these functions; for native operations only */
void verbs_hide_ops(uint64_t ops);
/* whether a queue pair can be created for these operations; this is not recorded */
bool verbs_make_qp_for(struct ibv_context *context, uint64_t ops);
/*
 * The next call of this name runs `action` before it does its work or fails, as if another thread did so while the
 * call blocks. The action may call the library; the calls that this makes are recorded as well.
 */
void verbs_during(const char *call, void (*action)(void *arg), void *arg);
/* checks that all injected failures have happened and all actions have run */
#define EXPECT_SPOILT() assert_true(verbs_all_spoilt())
bool verbs_all_spoilt(void);

/*
 * The names of the recorded calls in order, each followed by a space; some with an argument. A call that was made
 * to fail has a "!" before its name.
 */
extern char verbs_log[4096];
/* the number of calls of this name, without those that were made to fail */
unsigned verbs_calls(const char *call);
/* removes failed registrations that the library repeated at once for on-demand paging */
void verbs_forget_retries(void);

/* the arguments of the last call that has them, and three sums */
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
