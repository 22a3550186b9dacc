/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_conn_wait, rpma_conn_cfg_set_compl_channel, rpma_conn_get_compl_fd
 *
 * Makes a configuration for a CQ and a receive CQ with a shared completion channel, and waits for the
 * completions of both queues.
 */

#include <librpma.h>

int new_cfg(struct rpma_conn_cfg **cfg_ptr)
{
    int ret = rpma_conn_cfg_new(cfg_ptr);

    if (ret != 0)
        return ret;
    ret = rpma_conn_cfg_set_rcq_size(*cfg_ptr, 10);
    if (ret == 0)
        ret = rpma_conn_cfg_set_compl_channel(*cfg_ptr, true);
    if (ret != 0)
        rpma_conn_cfg_delete(cfg_ptr);
    return ret;
}

int handle_both(struct rpma_conn *conn,
        void (*handle)(const struct ibv_wc *wc, bool is_receive))
{
    struct rpma_cq *cq = NULL;
    struct ibv_wc wc;
    bool is_rcq = false;
    int ret;

    do {
        ret = rpma_conn_wait(conn, 0, &cq, &is_rcq);
        while (ret == 0 &&
                (ret = rpma_cq_get_wc(cq, 1, &wc, NULL)) == 0)
            handle(&wc, is_rcq);
    } while (ret == RPMA_E_NO_COMPLETION);
    return ret;
}
