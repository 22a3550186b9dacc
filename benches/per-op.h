/* SPDX-License-Identifier: BSD-3-Clause */
/* the interface of per-op-device.c */
#ifndef PER_OP_H
#define PER_OP_H

#include <rdma/rdma_cma.h>
#include <stdbool.h>

extern struct ibv_context *const device_context;

/* how many completions ibv_poll_cq() finds, if it is asked for as many */
extern int completions;

/* whether ibv_post_send() and ibv_reg_mr() fail with ENOMEM */
void device_fails(bool fail);

int device_make_qp(struct rdma_cm_id *id, struct ibv_pd *pd);

/* the objects that the rows of librpma use */
struct objects {
	struct rpma_peer *peer;
	struct rpma_conn *conn;
	struct rpma_mr_local *local;
};

/* prints for each error: its name, its bytes of stack, and how many of these the C library needs */
void measure_stack(struct objects *o);

#endif
