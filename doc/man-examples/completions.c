/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_cq_wait, rpma_cq_get_wc, rpma_conn_get_cq
 *
 * Handles completions as they come, several at a time, until an operation fails.
 */

#include <stdio.h>
#include <librpma.h>

#define BATCH 16

int handle_completions(struct rpma_cq *cq,
        void (*handle)(const struct ibv_wc *wc))
{
    struct ibv_wc wc[BATCH];
    int i, got, ret;

    for (;;) {
        ret = rpma_cq_get_wc(cq, BATCH, wc, &got);
        if (ret == RPMA_E_NO_COMPLETION) {
            ret = rpma_cq_wait(cq);
            if (ret != 0 && ret != RPMA_E_NO_COMPLETION)
                return ret;
            continue;
        }
        if (ret != 0)
            return ret;
        for (i = 0; i < got; i++) {
            if (wc[i].status != IBV_WC_SUCCESS) {
                fprintf(stderr, "operation failed: %s\n",
                        ibv_wc_status_str(wc[i].status));
                return RPMA_E_PROVIDER;
            }
            handle(&wc[i]);
        }
    }
}
