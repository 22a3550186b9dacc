/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Answers numbers with their squares, up to WINDOW at a time.
 * pump() in queues.h waits for completions; ../common/squares.c has the rest.
 */

#include "queues.h"

int main(int argc, char *argv[])
{
	return squares_server(argc, argv, SHARED_CHANNEL, pump);
}
