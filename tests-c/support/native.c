/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether the library uses native operations here. It is a file of its own, since it needs the stand-ins of
 * verbs.c, which a program may have of its own.
 */
#include "native.h"
#include "device.h"
#include "verbs.h"

static bool
makes_queue_pairs_for(uint64_t ops)
{
	return verbs_make_qp_for(device_context(), ops);
}

bool
writes_natively_here(void)
{
	return library_is_native() && device_claims_atomic_write() &&
			makes_queue_pairs_for(QP_EX_WITH_ATOMIC_WRITE);
}

bool
flushes_natively_here(void)
{
	return library_is_native() && device_claims_flush() && makes_queue_pairs_for(QP_EX_WITH_FLUSH);
}
