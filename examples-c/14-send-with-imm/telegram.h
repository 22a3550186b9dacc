/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * An immediate is a 32-bit number that travels with a message, outside its buffer. Here it is the number of
 * the message; an empty message with a number of its own ends the conversation.
 */

#ifndef TELEGRAM_H
#define TELEGRAM_H

#include <inttypes.h>
#include <string.h>

#include "../common/common.h"

#define TELEGRAM_SIZE 64
#define THE_END UINT32_C(0xffffffff)

static const char *const telegrams[] = { "leaving today", "arriving tomorrow at noon", "bring an umbrella" };

#define TELEGRAMS (sizeof(telegrams) / sizeof(telegrams[0]))

static const char SEND[] = "send of a telegram";
static const char RECV[] = "receive of a telegram";

#endif /* TELEGRAM_H */
