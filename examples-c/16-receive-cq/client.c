/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Sends numbers, up to WINDOW at a time, and verifies the squares that the server answers with.
 * pump() in queues.h waits for completions; ../common/squares.c has the rest.
 */

#include "queues.h"

int main(int argc, char *argv[])
{
	return squares_client(argc, argv, SHARED_CHANNEL, pump);
}
