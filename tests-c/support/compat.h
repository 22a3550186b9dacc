/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Declarations that the library's header may lack: releases 0.12 and later of the original dropped
 * struct rpma_completion and five functions. The tests call those five through pointers
 * (see library.h), so one binary runs with either library.
 */
#ifndef TESTS_COMPAT_H
#define TESTS_COMPAT_H

#include <librpma.h>

#ifndef HAVE_RPMA_COMPLETION
enum rpma_op {
	RPMA_OP_READ,
	RPMA_OP_WRITE,
	RPMA_OP_FLUSH,
	RPMA_OP_SEND,
	RPMA_OP_RECV,
	RPMA_OP_RECV_RDMA_WITH_IMM,
};

struct rpma_completion {
	void *op_context;
	enum rpma_op op;
	uint32_t byte_len;
	enum ibv_wc_status op_status;
	unsigned flags;
	uint32_t imm;
};
#endif

#endif
