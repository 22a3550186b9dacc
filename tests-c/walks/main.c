/* SPDX-License-Identifier: BSD-3-Clause */
/* The program that uses all 84 functions of release 1.2.0. It also runs with the original library. */
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

	return walk_main(all, count, argc, argv);
}
