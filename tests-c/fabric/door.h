/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests that play a client of softrdma, and go to the local socket where its server shares memory. */
#ifndef DOOR_H
#define DOOR_H

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "softrdma-wire.h"
#include "two-processes.h"

/* one that has sent a request over TCP, and has been invited */
struct invited {
	int tcp;
	struct sockaddr_un door;
	socklen_t door_length;
	uint8_t knock[WIRE_KNOCK];
};

/* an address of IPv4 */
struct invited get_invited(const char *address, unsigned port);
int connect_to_door(const struct invited *invited);

#define MOST_DESCRIPTORS 200

/* with COUNT copies of a descriptor; the other side may have closed it by now */
void send_with(int to, const void *bytes, size_t size, int descriptor, unsigned count);

/* what two processes share, and what its size is kept by */
#define RINGS (4096 + 2 * (32 << 10))
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

int make_memory(size_t size, unsigned seals);

#endif
