/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The protocol of the ping-pong examples. In round N the client sends "ping N" and the server answers
 * "pong N". The client decides how many rounds there are, and tells the server in its private data.
 *
 * A receive is posted before the other end can send: the first one before the connection exists, the next
 * one before a message is sent that the other end answers. A message that finds no receive waits, or fails.
 */

#ifndef PING_PONG_H
#define PING_PONG_H

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common.h"

#define MESSAGE_SIZE 64
#define DEFAULT_ROUNDS "10"
#define MAX_ROUNDS 1000000

/* enough for one message in each direction at a time */
struct buffers {
	char send[MESSAGE_SIZE];
	char recv[MESSAGE_SIZE];
};

static const char SEND[] = "send of a message";
static const char RECV[] = "receive of a message";

static inline int parse_rounds(const char *word, uint32_t *rounds)
{
	unsigned long number = 0;

	if (parse_number(word, "rounds", 1, MAX_ROUNDS, &number) != 0)
		return -1;
	*rounds = (uint32_t)number;
	return 0;
}

/* the number of rounds in the private data of a client's request */
static inline int requested_rounds(struct rpma_conn_req *req, uint32_t *rounds)
{
	struct rpma_conn_private_data pdata = { NULL, 0 };
	uint32_t rounds_le = 0;

	if (FAILED(rpma_conn_req_get_private_data(req, &pdata)))
		return -1;
	if (pdata.ptr != NULL && pdata.len >= sizeof(rounds_le))
		memcpy(&rounds_le, pdata.ptr, sizeof(rounds_le));
	*rounds = le32toh(rounds_le);
	if (*rounds == 0 || *rounds > MAX_ROUNDS) {
		complain("the client's private data has no valid number of rounds");
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
