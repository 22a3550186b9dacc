/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A server of one connection that sends each message back, and a client that moves data both ways.
 */
#ifndef ECHO_H
#define ECHO_H

#include "two-processes.h"

/* what is written and read at a time; what a message has */
#define ECHO_SIZE ((size_t)1 << 20)
#define ECHO_MESSAGE ((size_t)64 << 10)

/*
 * Serves one client until it disconnects or the connection ends. Reports "listening PORT". Whenever it reads a line
 * from the parent, it reports "tcp COUNT".
 */
int echo_serve(const char *address);

/* writes, reads and sends that much, and compares; SEED makes the data */
void echo_exchange(struct link *link, uint64_t seed);
bool echo_connect(struct link *link, struct rdma_event_channel *channel, const char *address, unsigned port);
void echo_disconnect(struct link *link);

#endif
