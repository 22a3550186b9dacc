/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_peer_cfg_get_descriptor, rpma_peer_cfg_new, rpma_peer_cfg_set_direct_write_to_pmem
 *
 * The side with the persistent memory makes the descriptor of its peer configuration. Whether direct write is
 * possible comes from the administrator of the machine.
 */

#include <librpma.h>

int peer_cfg_descriptor(bool direct_write, void *desc,
        size_t max_size, size_t *size)
{
    struct rpma_peer_cfg *pcfg = NULL;
    int ret;

    ret = rpma_peer_cfg_new(&pcfg);
    if (ret != 0)
        return ret;
    ret = rpma_peer_cfg_set_direct_write_to_pmem(pcfg, direct_write);
    if (ret == 0)
        ret = rpma_peer_cfg_get_descriptor_size(pcfg, size);
    if (ret == 0 && *size > max_size)
        ret = RPMA_E_NOMEM;
    if (ret == 0)
        ret = rpma_peer_cfg_get_descriptor(pcfg, desc);
    rpma_peer_cfg_delete(&pcfg);
    return ret;
}
