/* SPDX-License-Identifier: BSD-3-Clause */
/* A server that takes clients, and says how many descriptors it has whenever its parent asks. */
#ifndef COUNTING_SERVER_H
#define COUNTING_SERVER_H

#include "two-processes.h"

/* the server, until its parent says "quit" and all clients are gone; the status to end with */
int count_descriptors(const char *address, size_t size, unsigned depth);
/* asked by the parent */
unsigned descriptors_of(struct child *server);

#endif
