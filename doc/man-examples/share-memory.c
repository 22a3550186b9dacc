/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_mr_get_descriptor, rpma_mr_reg, rpma_mr_get_descriptor_size
 *
 * A server registers memory that its client may write and flush, and sends the descriptor as private data when
 * it accepts the connection.
 */

#include <librpma.h>

int share_memory(struct rpma_peer *peer, void *ptr, size_t size,
        struct rpma_conn_req **req_ptr, struct rpma_mr_local **mr_ptr,
        struct rpma_conn **conn_ptr)
{
    unsigned char desc[128];
    size_t desc_size = 0;
    struct rpma_conn_private_data pdata = { desc, 0 };
    int ret;

    ret = rpma_mr_reg(peer, ptr, size, RPMA_MR_USAGE_WRITE_DST |
            RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT, mr_ptr);
    if (ret != 0)
        return ret;
    ret = rpma_mr_get_descriptor_size(*mr_ptr, &desc_size);
    if (ret == 0 && desc_size > sizeof(desc))
        ret = RPMA_E_NOMEM;
    if (ret == 0)
        ret = rpma_mr_get_descriptor(*mr_ptr, desc);
    if (ret == 0) {
        pdata.len = (uint8_t)desc_size;
        ret = rpma_conn_req_connect(req_ptr, &pdata, conn_ptr);
    }
    if (ret != 0)
        rpma_mr_dereg(mr_ptr);
    return ret;
}
