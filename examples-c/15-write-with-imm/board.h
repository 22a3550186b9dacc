/* SPDX-License-Identifier: BSD-3-Clause */

/* The server offers memory for some records. The immediate of a write is the number of the record. */

#ifndef BOARD_H
#define BOARD_H

#include <inttypes.h>
#include <stdio.h>

#include "../common/common.h"

#define RECORDS 4

static const char WRITE[] = "write of a record";
static const char NOTICE[] = "receive of a notice";

static inline void record_text(uint32_t number, char *text, size_t size)
{
	snprintf(text, size, "this is record %" PRIu32, number);
}

#endif /* BOARD_H */
