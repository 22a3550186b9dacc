/* SPDX-License-Identifier: BSD-3-Clause */
/* The program with all 84 functions of release 1.2.0, which runs on the original library too. */
#include "walk.h"

int
main(int argc, char *argv[])
{
	struct scenario all[64];
	size_t count = 0;

#define ADD(list) \
	for (size_t i = 0; i < list##_count && count < COUNT_OF(all); i++) \
		all[count++] = list[i]
	ADD(object_scenarios);
	ADD(setup_scenarios);
	ADD(op_scenarios);
	ADD(end_scenarios);

	/* how long a client waits for a server that says nothing: not the minutes that are usual */
	if (argc > 1 && strcmp(argv[1], "no-answer") == 0)
		setenv("SOFTRDMA_CM_TIMEOUT_MS", "500", 1);

	return walk_main(all, count, argc, argv);
}
