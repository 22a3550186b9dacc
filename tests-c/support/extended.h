/* SPDX-License-Identifier: BSD-3-Clause */
/* For verbs.c: records calls of the functions of an extended queue pair. */
#ifndef TESTS_EXTENDED_H
#define TESTS_EXTENDED_H

#include <infiniband/verbs.h>

/* records a call; returns the errno to fail with, or 0 */
int verbs_enter(const char *call);
/*
 * Starts recording, if the queue pair has this interface. The functions of the operations in `hidden` are removed from
 * it.
 */
void watch_extended(struct ibv_qp *qp, const struct ibv_qp_init_attr_ex *attr, uint64_t hidden);

#endif
