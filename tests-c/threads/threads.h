/* SPDX-License-Identifier: BSD-3-Clause */
/* The topic "threads" in its parts. */
#ifndef TESTS_THREADS_H
#define TESTS_THREADS_H

#include "device.h"
#include "team.h"

#define ALWAYS RPMA_F_COMPLETION_ALWAYS
#define ON_ERROR RPMA_F_COMPLETION_ON_ERROR

/* threads.c: regions and their descriptors come and go; `arg` is a struct rpma_peer */
work regions_come_and_go;
/* log functions and thresholds change, and something is logged; begin_log_changes() comes before */
work log_changes;
void begin_log_changes(void);

/* posting.c */
void posts_and_one_collector(void **state);
void posts_and_many_collectors(void **state);
void posts_on_a_shared_channel(void **state);
void posts_and_many_waits_on_a_shared_channel(void **state);
void posts_and_the_older_interface(void **state);

/* connections.c */
void connections_in_parallel(void **state);
void receives_of_a_request(void **state);
void receives_of_a_shared_queue(void **state);

/* callers.c: whether the tests before it have called all that they are to call, in either group */
void functions_without_a_device(void **state);
void functions_on_a_device(void **state);

#endif
