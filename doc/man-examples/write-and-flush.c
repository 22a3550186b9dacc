/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_flush, rpma_write
 *
 * Writes data to remote persistent memory and waits until it is persistent. The peer configuration of the
 * remote side must have been applied to the connection (rpma_conn_apply_remote_peer_cfg). The region goes on for
 * at least 8 bytes from dst_offset, which an emulated flush reads.
 */

#include <librpma.h>

int write_persistently(struct rpma_conn *conn,
        struct rpma_mr_remote *dst, size_t dst_offset,
        const struct rpma_mr_local *src, size_t len)
{
    struct rpma_cq *cq = NULL;
    struct ibv_wc wc;
    int ret;

    ret = rpma_conn_get_cq(conn, &cq);
    if (ret != 0)
        return ret;

    /* the completion of the flush also stands for the write */
    ret = rpma_write(conn, dst, dst_offset, src, 0, len,
            RPMA_F_COMPLETION_ON_ERROR, NULL);
    if (ret == 0)
        ret = rpma_flush(conn, dst, dst_offset, len,
                RPMA_FLUSH_TYPE_PERSISTENT,
                RPMA_F_COMPLETION_ALWAYS, NULL);
    if (ret != 0)
        return ret;

    while ((ret = rpma_cq_get_wc(cq, 1, &wc, NULL)) ==
            RPMA_E_NO_COMPLETION) {
        ret = rpma_cq_wait(cq);
        if (ret != 0 && ret != RPMA_E_NO_COMPLETION)
            return ret;
    }
    if (ret == 0 && wc.status != IBV_WC_SUCCESS)
        ret = RPMA_E_PROVIDER;
    return ret;
}
