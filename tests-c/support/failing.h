/* SPDX-License-Identifier: BSD-3-Clause */
/* Makes each call of libibverbs and librdmacm in a function of the library fail, one after the other. */
#ifndef TESTS_FAILING_H
#define TESTS_FAILING_H

#include "device.h"
#include "verbs.h"

/* cmocka setup and teardown: *state is a struct pair, connected or not, and its calls are recorded */
int prepare_seen(void **state);
int connect_seen(void **state);
/* the same, and the CQs of each side share a channel */
int connect_shared_seen(void **state);
int release_seen(void **state);

/* a call that fails, and the expected result */
struct failing {
	const char *call;
	unsigned more;		/* calls of the same name before that one */
	int err;
	int code;
};

/* checks that everything created while calls were recorded is destroyed, except for ids of incoming requests */
void assert_undone(void);
/*
 * Checks that `logged` has an ERROR. This library logs exactly one, with the name of the failed call and the text of
 * its errno.
 */
void assert_failure_logged(const char *call, int err);

/* the function of the library under test; `call` checks its out-parameters */
struct subject {
	void (*before)(struct pair *pair);
	int (*call)(struct pair *pair);
	void (*after)(struct pair *pair);
};

void run_failing(const struct failing *failing, const struct subject *subject, struct pair *pair);
/* each of these failures in turn, and then none: the function still works */
void run_all(const struct failing *failing, size_t count, const struct subject *subject,
		struct pair *pair);
#define EACH_FAILS(failing, what, pair) \
	run_all((failing), COUNT_OF(failing), &(const struct subject){.call = (what)}, (pair))
#define EACH_FAILS_IN(failing, subject, pair) \
	run_all((failing), COUNT_OF(failing), (subject), (pair))

/* whether this library flushes natively on this device: then a connection has no buffer for it */
bool flushes_natively(struct pair *pair);
/* with a receive CQ, and perhaps a shared channel */
struct rpma_conn_cfg *full_cfg(bool shared);

#endif
