/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_srq_get_rcq, rpma_conn_get_qp_num, rpma_srq_recv
 *
 * A server takes the messages of all clients from the receive CQ of a shared receive queue, and posts each
 * buffer again after use. The number of the queue pair tells whose message it is.
 */

#include <librpma.h>

#define BUFFER_SIZE 1024

int handle_messages(struct rpma_srq *srq, struct rpma_mr_local *mr,
        void (*handle)(uint32_t qp_num, const char *msg, size_t len))
{
    struct rpma_cq *rcq = NULL;
    struct ibv_wc wc;
    void *buffers = NULL;
    size_t offset;
    int ret;

    ret = rpma_srq_get_rcq(srq, &rcq);
    if (ret == 0)
        ret = rpma_mr_get_ptr(mr, &buffers);
    while (ret == 0) {
        ret = rpma_cq_get_wc(rcq, 1, &wc, NULL);
        if (ret == RPMA_E_NO_COMPLETION) {
            ret = rpma_cq_wait(rcq);
            if (ret == RPMA_E_NO_COMPLETION)
                ret = 0;
            continue;
        }
        if (ret != 0)
            break;
        offset = wc.wr_id * BUFFER_SIZE;
        if (wc.status == IBV_WC_SUCCESS)
            handle(wc.qp_num, (const char *)buffers + offset,
                    wc.byte_len);
        /* a failed receive is used up, too */
        ret = rpma_srq_recv(srq, mr, offset, BUFFER_SIZE,
                (void *)(uintptr_t)wc.wr_id);
    }
    return ret;
}
