/* SPDX-License-Identifier: BSD-3-Clause */

/* Shows the log in FILE: when both programs have ended, or while a client appends to it. */

#define _DEFAULT_SOURCE /* le64toh() */

#include <stdlib.h>

#include "../common/pfile.h"
#include "log.h"

static void print(const char *entry, void *arg)
{
	long *number = arg;

	say("entry %ld: %s", ++*number, entry);
}

int main(int argc, char *argv[])
{
	struct pfile file = { 0 };
	long number = 0;
	long count;

	if (start("log", argc, argv, 1, 1, "FILE") != 0)
		return EXIT_FAILURE;
	if (pfile_map(&file, argv[1], sizeof(struct log)) != 0)
		return EXIT_FAILURE;
	count = log_walk(file.ptr, print, &number);
	if (count >= 0)
		say("%s has %ld complete entries", file.path, count);
	if (pfile_unmap(&file) != 0 || count <= 0)
		return EXIT_FAILURE;
	return EXIT_SUCCESS;
}
