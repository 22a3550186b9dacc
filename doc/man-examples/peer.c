/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_peer_new, rpma_utils_get_ibv_context
 *
 * Creates a peer on the device through which the machine at an address is reached.
 */

#include <librpma.h>

int new_peer(const char *addr, struct rpma_peer **peer_ptr)
{
    struct ibv_context *ctx = NULL;
    int ret;

    ret = rpma_utils_get_ibv_context(addr,
            RPMA_UTIL_IBV_CONTEXT_REMOTE, &ctx);
    if (ret != 0)
        return ret;
    return rpma_peer_new(ctx, peer_ptr);
}
