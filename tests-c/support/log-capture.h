/* SPDX-License-Identifier: BSD-3-Clause */
/* What the library logs: the messages, and what comes to stderr. */
#ifndef TESTS_LOG_CAPTURE_H
#define TESTS_LOG_CAPTURE_H

struct logged {
	int count;
	enum rpma_log_level level;	/* of the last message, like all that follows */
	char file[256];
	int line;
	char function[128];
	char text[4096];
};

extern struct logged logged;

/* from here on messages up to `threshold` go to `logged` instead of the default function */
void log_capture(enum rpma_log_level threshold);
/* the default function and thresholds again */
void log_release(void);

/* from here on what comes to stderr is kept; then all of it, to be freed */
void stderr_capture(void);
char *stderr_release(void);
/* what comes to stderr while `cause` runs, to be freed */
char *stderr_of(void (*cause)(void));

#endif
