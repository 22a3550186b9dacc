/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting for descriptors, and running this program as another process. */
#ifndef TESTS_PROCESS_H
#define TESTS_PROCESS_H

#include <sys/types.h>

#include "common.h"

/* --- waiting --- */
int timeout_ms(void);
bool readable_within(int fd, int ms);
void wait_readable(int fd);
void set_nonblocking(int fd);

/* --- this program as another process --- */
struct helper {
	pid_t pid;
	int out;	/* what it prints */
};

/* runs the topic's helper function with these arguments, up to NULL */
struct helper start_helper(const char *const args[]);
/* runs this program with these arguments; its standard error goes to its output */
struct helper start_itself(const char *const args[]);
/* one line of its output, without the newline */
void helper_line(struct helper *helper, char *line, size_t size);
/* its exit status; kills it first when asked to */
int stop_helper(struct helper *helper, bool kill_it);

#endif
