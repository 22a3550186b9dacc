/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device-limits: the limits that the device reports are those of network cards or more, an object of each limit
 * can be made, and the room that it has costs no memory before it is used. Needs no second process.
 *
 *   softrdma run -- device-limits
 */
#include <errno.h>

#include "two-processes.h"

static struct ibv_context *
open_device(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *context;

	CHECK(list && list[0]);
	context = ibv_open_device(list[0]);
	CHECK(context);
	ibv_free_device_list(list);
	return context;
}

/* what Mellanox's mlx5 reports */
static void
as_large_as_those_of_a_card(const struct ibv_device_attr *attr)
{
	CHECK(attr->max_qp >= 131072);
	CHECK(attr->max_qp_wr >= 32768);
	CHECK(attr->max_sge >= 30);
	CHECK(attr->max_sge_rd >= 30);
	CHECK(attr->max_cq >= 16777215);
	CHECK(attr->max_cqe >= 4194303);
	CHECK(attr->max_mr >= 16777215);
	CHECK(attr->max_pd >= 8388608);
	CHECK(attr->max_qp_rd_atom >= 16);
	CHECK(attr->max_qp_init_rd_atom >= 16);
	CHECK(attr->max_srq >= 8388608);
	CHECK(attr->max_srq_wr >= 32767);
	CHECK(attr->max_srq_sge >= 31);
}

static void
completion_queues(struct ibv_context *context, const struct ibv_device_attr *attr)
{
	static const int sizes[] = {32767, 32768, 262144, 1 << 20};
	long before = resident();
	struct ibv_cq *cq;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		cq = ibv_create_cq(context, sizes[i], NULL, NULL, 0);
		CHECK(cq && cq->cqe >= sizes[i]);
		CHECK(ibv_destroy_cq(cq) == 0);
	}
	cq = ibv_create_cq(context, 1, NULL, NULL, 0);
	CHECK(cq);
	CHECK(ibv_resize_cq(cq, attr->max_cqe) == 0 && cq->cqe >= attr->max_cqe);
	CHECK(ibv_resize_cq(cq, attr->max_cqe + 1) == EINVAL);
	CHECK(ibv_destroy_cq(cq) == 0);
	cq = ibv_create_cq(context, attr->max_cqe, NULL, NULL, 0);
	CHECK(cq && cq->cqe >= attr->max_cqe);
	CHECK(resident() < before + 16 * 1024);
	CHECK(ibv_destroy_cq(cq) == 0);
	errno = 0;
	CHECK(!ibv_create_cq(context, attr->max_cqe + 1, NULL, NULL, 0) && errno == EINVAL);
}

static void
queue_pairs(struct ibv_context *context, const struct ibv_device_attr *attr)
{
	struct ibv_pd *pd = ibv_alloc_pd(context);
	struct ibv_cq *cq = ibv_create_cq(context, 1, NULL, NULL, 0);
	struct ibv_srq_init_attr srq_init = {
		.attr = {.max_wr = (uint32_t)attr->max_srq_wr, .max_sge = (uint32_t)attr->max_srq_sge},
	};
	struct ibv_qp_init_attr init = {
		.send_cq = cq,
		.recv_cq = cq,
		.cap = {
			.max_send_wr = (uint32_t)attr->max_qp_wr,
			.max_recv_wr = (uint32_t)attr->max_qp_wr,
			.max_send_sge = (uint32_t)attr->max_sge,
			.max_recv_sge = (uint32_t)attr->max_sge,
			.max_inline_data = 1024,
		},
		.qp_type = IBV_QPT_RC,
	};
	long before = resident();
	struct ibv_srq *srq;
	struct ibv_qp *qp;

	CHECK(pd && cq);
	qp = ibv_create_qp(pd, &init);
	CHECK(qp && init.cap.max_inline_data >= 1024);
	CHECK(ibv_destroy_qp(qp) == 0);
	srq = ibv_create_srq(pd, &srq_init);
	CHECK(srq);
	CHECK(ibv_destroy_srq(srq) == 0);
	srq_init.attr.max_sge++;
	CHECK(!ibv_create_srq(pd, &srq_init));
	CHECK(resident() < before + 16 * 1024);
	CHECK(ibv_destroy_cq(cq) == 0);
	CHECK(ibv_dealloc_pd(pd) == 0);
}

int
main(void)
{
	struct ibv_context *context = open_device();
	struct ibv_device_attr attr;

	CHECK(ibv_query_device(context, &attr) == 0);
	as_large_as_those_of_a_card(&attr);
	completion_queues(context, &attr);
	queue_pairs(context, &attr);
	CHECK(ibv_close_device(context) == 0);
	return 0;
}
