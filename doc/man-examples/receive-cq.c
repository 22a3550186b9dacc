/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_conn_get_rcq, rpma_conn_cfg_set_rcq_size
 *
 * Makes a configuration for connections with a receive CQ, and waits there for a message, whatever completes in
 * the CQ meanwhile.
 */

#include <librpma.h>

int new_rcq_cfg(uint32_t receives, struct rpma_conn_cfg **cfg_ptr)
{
    int ret = rpma_conn_cfg_new(cfg_ptr);

    if (ret != 0)
        return ret;
    ret = rpma_conn_cfg_set_rq_size(*cfg_ptr, receives);
    if (ret == 0)
        ret = rpma_conn_cfg_set_rcq_size(*cfg_ptr, receives);
    if (ret != 0)
        rpma_conn_cfg_delete(cfg_ptr);
    return ret;
}

int wait_for_message(struct rpma_conn *conn, struct ibv_wc *wc)
{
    struct rpma_cq *rcq = NULL;
    int ret;

    ret = rpma_conn_get_rcq(conn, &rcq);
    if (ret == 0 && rcq == NULL)
        ret = RPMA_E_NOSUPP;    /* made without a receive CQ */
    while (ret == 0) {
        ret = rpma_cq_get_wc(rcq, 1, wc, NULL);
        if (ret != RPMA_E_NO_COMPLETION)
            break;
        ret = rpma_cq_wait(rcq);
        if (ret == RPMA_E_NO_COMPLETION)
            ret = 0;    /* a signal */
    }
    return ret;
}
