/* SPDX-License-Identifier: BSD-3-Clause */
/* the RDMA device of per-op-device.c, as per-op.c uses it */
#ifndef PER_OP_H
#define PER_OP_H

#include <rdma/rdma_cma.h>
#include <stdbool.h>

extern struct ibv_context *const device_context;

/* how many completions ibv_poll_cq() finds, if it is asked for as many */
extern int completions;

/* whether ibv_post_send() fails with ENOMEM */
void device_queue_full(bool full);

int device_make_qp(struct rdma_cm_id *id, struct ibv_pd *pd);

#endif
