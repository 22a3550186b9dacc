/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_conn_req_connect, rpma_conn_req_new, rpma_conn_next_event
 *
 * A client connects and waits until the connection is established.
 */

#include <stdio.h>
#include <librpma.h>

int connect_to_server(struct rpma_peer *peer, const char *addr,
        const char *port, struct rpma_conn **conn_ptr)
{
    struct rpma_conn_req *req = NULL;
    enum rpma_conn_event event = RPMA_CONN_UNDEFINED;
    int ret;

    ret = rpma_conn_req_new(peer, addr, port, NULL, &req);
    if (ret != 0)
        return ret;
    ret = rpma_conn_req_connect(&req, NULL, conn_ptr);
    if (ret != 0)
        return ret;    /* the request is deleted, too */

    ret = rpma_conn_next_event(*conn_ptr, &event);
    if (ret == 0 && event == RPMA_CONN_ESTABLISHED)
        return 0;

    fprintf(stderr, "cannot connect: %s\n", ret != 0 ?
            rpma_err_2str(ret) : rpma_utils_conn_event_2str(event));
    rpma_conn_delete(conn_ptr);
    return ret != 0 ? ret : RPMA_E_UNKNOWN;
}
