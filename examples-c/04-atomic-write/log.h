/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * A log in the server's memory: a counter, then the entries one behind the other, each with its final
 * zero. Bytes beyond the counter are not part of the log. So an entry that was written in part, by a
 * client that died meanwhile, does no harm: the counter is moved when the entry is complete.
 */

#ifndef LOG_H
#define LOG_H

#include <stdint.h>

struct log {
	uint64_t used; /* bytes of entries; little-endian, at a multiple of 8 for the atomic write */
	char entries[4096 - sizeof(uint64_t)];
};

/* what the client appends, and the server expects */
static const char *const log_lines[] = {
	"the pump is running",
	"pressure 2.4 bar",
	"valve 7 opened",
	"pressure 1.9 bar",
	"valve 7 closed, all is well",
};

#define LOG_LINES (sizeof(log_lines) / sizeof(log_lines[0]))

#endif /* LOG_H */
