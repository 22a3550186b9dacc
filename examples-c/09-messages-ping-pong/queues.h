/* SPDX-License-Identifier: BSD-3-Clause */

#ifndef QUEUES_H
#define QUEUES_H

#include "../common/common.h"

/*
 * Queues for one send and one receive at a time, with a completion queue for each. So the program can wait
 * for either of them, whichever completes first.
 */
static inline int ping_pong_cfg(struct rpma_conn_cfg **cfg)
{
	if (FAILED(rpma_conn_cfg_new(cfg)))
		return -1;
	if (FAILED(rpma_conn_cfg_set_sq_size(*cfg, 1)) || FAILED(rpma_conn_cfg_set_rq_size(*cfg, 1)) ||
	    FAILED(rpma_conn_cfg_set_cq_size(*cfg, 1)) || FAILED(rpma_conn_cfg_set_rcq_size(*cfg, 1))) {
		(void) rpma_conn_cfg_delete(cfg);
		return -1;
	}
	return 0;
}

#endif /* QUEUES_H */
