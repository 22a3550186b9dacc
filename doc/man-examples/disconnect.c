/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_conn_disconnect, rpma_conn_delete
 *
 * Disconnects, and waits until the remote side has disconnected, too. If this side has already taken
 * RPMA_CONN_CLOSED, it disconnects and deletes the connection without waiting.
 */

#include <librpma.h>

int end_connection(struct rpma_conn **conn_ptr)
{
    enum rpma_conn_event event = RPMA_CONN_UNDEFINED;
    int ret, deleted;

    ret = rpma_conn_disconnect(*conn_ptr);
    while (ret == 0 && event != RPMA_CONN_CLOSED &&
            event != RPMA_CONN_LOST)
        ret = rpma_conn_next_event(*conn_ptr, &event);

    deleted = rpma_conn_delete(conn_ptr);
    return ret != 0 ? ret : deleted;
}
