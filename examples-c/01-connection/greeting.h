/* SPDX-License-Identifier: BSD-3-Clause */

/* what the two ends say to each other in their private data: a string with its final zero */

#ifndef GREETING_H
#define GREETING_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "../common/common.h"

#define GREETING_SIZE PRIVATE_DATA_MAX

/*
 * Private data arrives with zeros behind it, and as anything when the other end is not what we think
 * it is: a greeting ends within the received bytes and is not empty.
 */
static inline bool greeting_copy(const struct rpma_conn_private_data *pdata, char to[GREETING_SIZE])
{
	const char *from = pdata->ptr;

	if (from == NULL || from[0] == '\0' || memchr(from, '\0', pdata->len) == NULL ||
	    strlen(from) >= GREETING_SIZE)
		return false;
	strcpy(to, from);
	return true;
}

/* what the server answers to a greeting */
static inline void greeting_answer(const char *greeting, char to[GREETING_SIZE])
{
	snprintf(to, GREETING_SIZE, "%.*s to you too", GREETING_SIZE - 16, greeting);
}

#endif /* GREETING_H */
