/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls of libibverbs and librdmacm that fail, one after the other, in what the library does with them. */
#ifndef TESTS_FAILING_H
#define TESTS_FAILING_H

#include "device.h"
#include "verbs.h"

/* cmocka setup and teardown: *state is a struct pair, connected or not, and its calls are seen */
int prepare_seen(void **state);
int connect_seen(void **state);
/* the same, and the CQs of each side share a channel */
int connect_shared_seen(void **state);
int release_seen(void **state);

/* a call that fails, and what comes of it */
struct failing {
	const char *call;
	unsigned more;		/* calls of the same name before that one */
	int err;
	int code;
};

/* everything that was made while the calls were seen is gone again; ids that came in aside */
void assert_undone(void);
/*
 * What is in `logged` is an ERROR. This library has one alone, with the name of the failed call and the
 * text of its errno.
 */
void assert_failure_logged(const char *call, int err);

/* what calls fail in; `call` checks its out-parameters */
struct subject {
	void (*before)(struct pair *pair);
	int (*call)(struct pair *pair);
	void (*after)(struct pair *pair);
};

void run_failing(const struct failing *failing, const struct subject *subject, struct pair *pair);
/* each of these failures, and then none: it still works */
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
