/* SPDX-License-Identifier: BSD-3-Clause */
/* What verbs.c needs, to see what goes through the functions of an extended queue pair. */
#ifndef TESTS_EXTENDED_H
#define TESTS_EXTENDED_H

#include <infiniband/verbs.h>

/* notes a call; returns the errno that it is to fail with, or 0 */
int verbs_enter(const char *call);
/*
 * From here on, if the queue pair was made with this interface. It loses the functions of the operations in
 * `hidden`.
 */
void watch_extended(struct ibv_qp *qp, const struct ibv_qp_init_attr_ex *attr, uint64_t hidden);

#endif
