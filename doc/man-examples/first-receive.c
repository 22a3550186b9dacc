/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_conn_req_recv
 *
 * A server posts the receive for the first message of a client before it accepts the connection. dst is
 * registered with RPMA_MR_USAGE_RECV.
 */

#include <librpma.h>

int accept_and_receive(struct rpma_conn_req **req_ptr,
        struct rpma_mr_local *dst, size_t len,
        struct rpma_conn **conn_ptr)
{
    int ret = rpma_conn_req_recv(*req_ptr, dst, 0, len, NULL);

    if (ret != 0) {
        rpma_conn_req_delete(req_ptr);
        return ret;
    }
    return rpma_conn_req_connect(req_ptr, NULL, conn_ptr);
}
