/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_srq_new, rpma_srq_recv, rpma_conn_cfg_set_srq
 *
 * A server makes a shared receive queue with 64 buffers of 1024 bytes, and a configuration for the connections
 * that use it. mr is registered with RPMA_MR_USAGE_RECV and has room for all buffers.
 */

#include <librpma.h>

#define BUFFERS 64
#define BUFFER_SIZE 1024

int new_srq(struct rpma_peer *peer, struct rpma_mr_local *mr,
        struct rpma_srq **srq_ptr, struct rpma_conn_cfg **cfg_ptr)
{
    struct rpma_srq_cfg *srq_cfg = NULL;
    uintptr_t i;
    int ret;

    ret = rpma_srq_cfg_new(&srq_cfg);
    if (ret != 0)
        return ret;
    ret = rpma_srq_cfg_set_rq_size(srq_cfg, BUFFERS);
    if (ret == 0)
        ret = rpma_srq_cfg_set_rcq_size(srq_cfg, BUFFERS);
    if (ret == 0)
        ret = rpma_srq_new(peer, srq_cfg, srq_ptr);
    rpma_srq_cfg_delete(&srq_cfg);
    if (ret != 0)
        return ret;

    /* the number of the buffer is the wr_id of its completion */
    for (i = 0; ret == 0 && i < BUFFERS; i++)
        ret = rpma_srq_recv(*srq_ptr, mr, i * BUFFER_SIZE,
                BUFFER_SIZE, (void *)i);
    if (ret == 0)
        ret = rpma_conn_cfg_new(cfg_ptr);
    if (ret == 0) {
        ret = rpma_conn_cfg_set_srq(*cfg_ptr, *srq_ptr);
        if (ret != 0)
            rpma_conn_cfg_delete(cfg_ptr);
    }
    if (ret != 0)
        rpma_srq_delete(srq_ptr);
    return ret;
}
