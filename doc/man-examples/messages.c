/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_send, rpma_recv
 *
 * A client sends a request and waits for the answer. The receive for the answer is posted before the request is
 * sent, so that the answer never has to wait. mr is registered with RPMA_MR_USAGE_SEND and RPMA_MR_USAGE_RECV.
 */

#include <librpma.h>

#define ANSWER_OFFSET 1024
#define ANSWER_SIZE 1024

int ask(struct rpma_conn *conn, struct rpma_mr_local *mr,
        size_t request_len, uint32_t *answer_len)
{
    struct rpma_cq *cq = NULL;
    struct ibv_wc wc;
    int ret;

    ret = rpma_conn_get_cq(conn, &cq);
    if (ret == 0)
        ret = rpma_recv(conn, mr, ANSWER_OFFSET, ANSWER_SIZE, NULL);
    if (ret == 0)
        ret = rpma_send(conn, mr, 0, request_len,
                RPMA_F_COMPLETION_ALWAYS, NULL);

    while (ret == 0) {
        ret = rpma_cq_get_wc(cq, 1, &wc, NULL);
        if (ret == RPMA_E_NO_COMPLETION) {
            ret = rpma_cq_wait(cq);
            if (ret == RPMA_E_NO_COMPLETION)
                ret = 0;
            continue;
        }
        if (ret == 0 && wc.status != IBV_WC_SUCCESS)
            ret = RPMA_E_PROVIDER;
        if (ret == 0 && wc.opcode == IBV_WC_RECV) {
            *answer_len = wc.byte_len;
            break;
        }
    }
    return ret;
}
