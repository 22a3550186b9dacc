/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * A log in persistent memory: a counter, then the entries one after the other, each with its final zero.
 * Bytes beyond the counter are not part of the log. So an entry that is written in part, because the client
 * dies meanwhile, does no harm: the counter is moved when the entry is complete.
 */

#ifndef LOG_H
#define LOG_H

#include <endian.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "../common/common.h"

struct log {
	uint64_t used; /* bytes of entries; little-endian, at a multiple of 8 for the atomic write */
	char entries[4096 - sizeof(uint64_t)];
};

/* what a client appends, and the server expects at the end of the log */
static const char *const log_lines[] = {
	"the pump is running",
	"pressure 2.4 bar",
	"valve 7 opened",
	"pressure 1.9 bar",
	"valve 7 closed, all is well",
};

#define LOG_LINES (sizeof(log_lines) / sizeof(log_lines[0]))

/*
 * Verifies that the log has complete entries only, and calls visit for each of them, unless it is NULL.
 * Returns how many there are, or -1 after a message.
 */
static inline long log_walk(const struct log *log, void (*visit)(const char *entry, void *arg), void *arg)
{
	uint64_t used = le64toh(log->used);
	size_t offset = 0;
	long count = 0;

	if (used > sizeof(log->entries)) {
		complain("the log claims %" PRIu64 " bytes, more than there are", used);
		return -1;
	}
	while (offset < used) {
		const char *entry = log->entries + offset;
		const char *end = memchr(entry, '\0', used - offset);

		if (end == NULL || end == entry) {
			complain("entry %ld of the log is not complete", count + 1);
			return -1;
		}
		if (visit != NULL)
			visit(entry, arg);
		offset += (size_t)(end - entry) + 1;
		count++;
	}
	return count;
}

#endif /* LOG_H */
