/* SPDX-License-Identifier: BSD-3-Clause */
/* What this process holds. Any program can use it: without cmocka, and without librpma. */
#ifndef TESTS_HOLDINGS_H
#define TESTS_HOLDINGS_H

/* how many open descriptors, without the one that this takes; how much memory, and how much of it is shared. -1 if that
 * cannot be read */
int open_descriptors(void);
long resident_kib(void);
long resident_shared_kib(void);

#endif
