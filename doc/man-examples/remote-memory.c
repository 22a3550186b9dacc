/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_mr_remote_from_descriptor, rpma_conn_get_private_data, rpma_mr_remote_get_size
 *
 * A client creates the remote memory region from the private data of an established connection, and checks that
 * the region is large enough.
 */

#include <librpma.h>

int remote_memory(struct rpma_conn *conn, size_t needed,
        struct rpma_mr_remote **mr_ptr)
{
    struct rpma_conn_private_data pdata;
    size_t size = 0;
    int ret;

    ret = rpma_conn_get_private_data(conn, &pdata);
    if (ret != 0)
        return ret;
    ret = rpma_mr_remote_from_descriptor(pdata.ptr, pdata.len,
            mr_ptr);
    if (ret != 0)
        return ret;    /* also if there is no private data */

    ret = rpma_mr_remote_get_size(*mr_ptr, &size);
    if (ret == 0 && size < needed)
        ret = RPMA_E_INVAL;
    if (ret != 0)
        rpma_mr_remote_delete(mr_ptr);
    return ret;
}
