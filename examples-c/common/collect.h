/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The protocol of the multiple connections examples. Each client describes its record in the private data of
 * its request, fills it when it is connected, and says by message that it is complete. The server reads
 * the record, verifies it, thanks by message and disconnects.
 */

#ifndef COLLECT_H
#define COLLECT_H

#include <string.h>

#include "common.h"

#define MESSAGE_SIZE 16
#define MAX_CLIENTS 64
#define DEFAULT_CLIENTS "3"

static const char COMPLETE[MESSAGE_SIZE] = "complete";
static const char THANKS[MESSAGE_SIZE] = "thanks";

static const char RECV[] = "receive of a message";
static const char READ[] = "read of a record";
static const char SEND[] = "send of a message";

/* a CQ and a receive CQ, with a channel for each or a shared one */
static inline int collect_cfg(bool shared_channel, struct rpma_conn_cfg **cfg)
{
	if (FAILED(rpma_conn_cfg_new(cfg)))
		return -1;
	if (FAILED(rpma_conn_cfg_set_rcq_size(*cfg, 1)) ||
	    FAILED(rpma_conn_cfg_set_compl_channel(*cfg, shared_channel))) {
		(void) rpma_conn_cfg_delete(cfg);
		return -1;
	}
	return 0;
}

/* is this message in the buffer? */
static inline int expect_message(const char *buffer, const struct ibv_wc *wc, const char *expected)
{
	if (wc->byte_len == MESSAGE_SIZE && memcmp(buffer, expected, MESSAGE_SIZE) == 0)
		return 0;
	complain("a message is not '%s'", expected);
	return -1;
}

#endif /* COLLECT_H */
