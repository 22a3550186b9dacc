/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_ep_next_conn_req, rpma_ep_listen
 *
 * A server listens, accepts one connection and stops listening.
 */

#include <librpma.h>

int accept_one_client(struct rpma_peer *peer, const char *addr,
        const char *port, struct rpma_conn **conn_ptr)
{
    struct rpma_ep *ep = NULL;
    struct rpma_conn_req *req = NULL;
    enum rpma_conn_event event = RPMA_CONN_UNDEFINED;
    int ret;

    ret = rpma_ep_listen(peer, addr, port, &ep);
    if (ret != 0)
        return ret;
    ret = rpma_ep_next_conn_req(ep, NULL, &req);
    if (ret == 0)
        ret = rpma_conn_req_connect(&req, NULL, conn_ptr);
    rpma_ep_shutdown(&ep);
    if (ret != 0)
        return ret;

    ret = rpma_conn_next_event(*conn_ptr, &event);
    if (ret == 0 && event != RPMA_CONN_ESTABLISHED)
        ret = RPMA_E_UNKNOWN;
    if (ret != 0)
        rpma_conn_delete(conn_ptr);
    return ret;
}
