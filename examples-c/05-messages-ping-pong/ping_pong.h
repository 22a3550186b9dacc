/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What the two ends agree on. In round N the client sends "ping N" and the server answers "pong N".
 * The client decides how many rounds there are, and says so in its private data.
 *
 * Each end has one buffer to send from and one to receive into. That is enough, as each end has its
 * receive posted before the other can send: the first one before they connect, the next one before it
 * gives the other a reason to send. A message that finds no receive waits, or fails.
 */

#ifndef PING_PONG_H
#define PING_PONG_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../common/common.h"

#define MESSAGE_SIZE 64
#define MAX_ROUNDS UINT32_C(1000000)

struct buffers {
	char send[MESSAGE_SIZE];
	char recv[MESSAGE_SIZE];
};

static const char SEND[] = "send of a message";
static const char RECV[] = "receive of a message";

/*
 * Room for the one send and the one receive that are under way, with a completion queue for each. So the
 * two can be waited for in any order, although either may complete first.
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

static inline void message_write(char message[MESSAGE_SIZE], const char *word, uint32_t round)
{
	memset(message, 0, MESSAGE_SIZE);
	snprintf(message, MESSAGE_SIZE, "%s %" PRIu32, word, round);
}

/* the completion says how long the message is that was received */
static inline int message_verify(const char message[MESSAGE_SIZE], const struct ibv_wc *wc,
		const char *word, uint32_t round)
{
	char expected[MESSAGE_SIZE];

	message_write(expected, word, round);
	if (wc->byte_len == MESSAGE_SIZE && memcmp(message, expected, MESSAGE_SIZE) == 0)
		return 0;
	complain("a message of %" PRIu32 " bytes is not '%s'", wc->byte_len, expected);
	return -1;
}

#endif /* PING_PONG_H */
