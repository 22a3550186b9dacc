/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Functions of libibverbs in versions that later ones have replaced. Those of IBVERBS_1.0 are for programs of the
 * years before 2007, whose structs are others. They fail, and say so.
 */
#include <stddef.h>

/* prints a line that names the call, and sets errno; EOPNOTSUPP */
int softrdma_unsupported(const char *call);

#define OLDER(name, type, node, result) \
	type softrdma_older_##name(void); \
	type \
	softrdma_older_##name(void) \
	{ \
		return result; \
	} \
	__asm__(".symver softrdma_older_" #name ", " #name "@" node ", remove");

#define CODE(name) OLDER(name, int, "IBVERBS_1.0", softrdma_unsupported(#name "@IBVERBS_1.0"))
#define POINTER(name) OLDER(name, void *, "IBVERBS_1.0", (softrdma_unsupported(#name "@IBVERBS_1.0"), NULL))
#define NUMBER(name) OLDER(name, unsigned long long, "IBVERBS_1.0", \
		(softrdma_unsupported(#name "@IBVERBS_1.0"), 0ULL))

CODE(ibv_ack_async_event)
CODE(ibv_ack_cq_events)
POINTER(ibv_alloc_pd)
CODE(ibv_attach_mcast)
CODE(ibv_close_device)
POINTER(ibv_create_ah)
POINTER(ibv_create_cq)
POINTER(ibv_create_qp)
POINTER(ibv_create_srq)
CODE(ibv_dealloc_pd)
CODE(ibv_dereg_mr)
CODE(ibv_destroy_ah)
CODE(ibv_destroy_cq)
CODE(ibv_destroy_qp)
CODE(ibv_destroy_srq)
CODE(ibv_detach_mcast)
CODE(ibv_free_device_list)
CODE(ibv_get_async_event)
CODE(ibv_get_cq_event)
NUMBER(ibv_get_device_guid)
POINTER(ibv_get_device_list)
POINTER(ibv_get_device_name)
CODE(ibv_modify_qp)
CODE(ibv_modify_srq)
POINTER(ibv_open_device)
CODE(ibv_query_device)
CODE(ibv_query_gid)
CODE(ibv_query_pkey)
CODE(ibv_query_port)
CODE(ibv_query_qp)
CODE(ibv_query_srq)
POINTER(ibv_reg_mr)
CODE(ibv_resize_cq)

/* Drivers of before 2017 register with it when they are loaded: there is nothing to do. */
OLDER(ibv_register_driver, int, "IBVERBS_1.1", 0)
