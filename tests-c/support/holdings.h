/* SPDX-License-Identifier: BSD-3-Clause */
/* What this process holds. Any program can use it: without cmocka, and without librpma. */
#ifndef TESTS_HOLDINGS_H
#define TESTS_HOLDINGS_H

/* how many open descriptors, without the one that this takes; and how much memory. -1 if that cannot be read */
int open_descriptors(void);
long resident_kib(void);

#endif
