/* SPDX-License-Identifier: BSD-3-Clause */
/* The library that the loader found, and the five functions that only some releases have. */
#ifndef TESTS_LIBRARY_H
#define TESTS_LIBRARY_H

#include "compat.h"

/* true for the original C library, 1.2.0 or 1.3.0 */
bool library_is_original(void);

/*
 * Whether that original is 1.3.0: abi/fetch-original wrote the release to a file beside it. 1.3.0, of Debian 13, was
 * built with native flush and native atomic write; 1.2.0, of Debian 12, was not.
 */
bool original_is_1_3(void);

/* whether the library uses native operations where the device has them */
bool library_is_native(void);

/* the file that it was loaded from */
const char *library_path(void);

struct older_functions {
	int (*conn_completion_get)(struct rpma_conn *, struct rpma_completion *);
	int (*conn_completion_wait)(struct rpma_conn *);
	int (*conn_get_completion_fd)(const struct rpma_conn *, int *);
	int (*cq_get_completion)(struct rpma_cq *, struct rpma_completion *);
	int (*write_atomic)(struct rpma_conn *, struct rpma_mr_remote *, size_t,
			const struct rpma_mr_local *, size_t, int, const void *);
};

/*
 * The five functions. With the original this checks that it has none of them, and skips the running test.
 */
const struct older_functions *older_functions(void);

#endif
