/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_write_with_imm, rpma_send_with_imm
 *
 * One side writes an entry and notifies the other side of its index. The other side reads the index from the
 * completion of the receive that it has posted.
 */

#include <arpa/inet.h>
#include <librpma.h>

int write_entry(struct rpma_conn *conn, struct rpma_mr_remote *table,
        uint32_t index, const struct rpma_mr_local *entry, size_t len)
{
    return rpma_write_with_imm(conn, table, index * len, entry, 0,
            len, RPMA_F_COMPLETION_ALWAYS, index, NULL);
}

/* after rpma_recv(conn, NULL, 0, 0, NULL) */
int index_of_entry(const struct ibv_wc *wc, uint32_t *index)
{
    if (wc->status != IBV_WC_SUCCESS)
        return RPMA_E_PROVIDER;
    if (wc->opcode != IBV_WC_RECV_RDMA_WITH_IMM)
        return RPMA_E_NO_COMPLETION;
    *index = ntohl(wc->imm_data);
    return 0;
}
