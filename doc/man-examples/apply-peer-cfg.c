/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_conn_apply_remote_peer_cfg, rpma_peer_cfg_from_descriptor
 *
 * The side that writes applies the peer configuration of the side with the persistent memory, for example from
 * a descriptor in the private data.
 */

#include <librpma.h>

int apply_peer_cfg(struct rpma_conn *conn, const void *desc,
        size_t desc_size)
{
    struct rpma_peer_cfg *pcfg = NULL;
    int ret;

    ret = rpma_peer_cfg_from_descriptor(desc, desc_size, &pcfg);
    if (ret != 0)
        return ret;
    ret = rpma_conn_apply_remote_peer_cfg(conn, pcfg);
    rpma_peer_cfg_delete(&pcfg);
    return ret;
}
