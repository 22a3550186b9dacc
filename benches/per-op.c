/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What librpma adds to a verb, in instructions.
 *
 * The program is its own RDMA device: it defines the functions of libibverbs and librdmacm that librpma
 * calls, and the device's post and poll functions do next to nothing. So all that is counted is the
 * library, and the count is the same on every run. Under valgrind's callgrind (see run-per-op, which
 * makes a table) it leaves one dump for each operation; without, it prints nanoseconds.
 *
 *   per-op rpma      the operations of librpma, whichever library the loader finds
 *   per-op verbs     the same requests built by hand
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librpma.h>
#include <rdma/rdma_cma.h>
#include <valgrind/callgrind.h>

#define OPS 10000
#define SIZE ((size_t)4096)
#define BATCH 8

/* --- the device -------------------------------------------------------------------------------- */

static int completions;	/* that poll_cq() finds */

static int
stub_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	(void)qp;
	(void)wr;
	(void)bad;
	return 0;
}

static int
stub_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	(void)qp;
	(void)wr;
	(void)bad;
	return 0;
}

static int
stub_post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	(void)srq;
	(void)wr;
	(void)bad;
	return 0;
}

static int
stub_poll_cq(struct ibv_cq *cq, int count, struct ibv_wc *wc)
{
	(void)cq;
	for (int i = 0; i < count && i < completions; i++)
		wc[i].status = IBV_WC_SUCCESS;
	return count < completions ? count : completions;
}

static int
stub_req_notify_cq(struct ibv_cq *cq, int solicited_only)
{
	(void)cq;
	(void)solicited_only;
	return 0;
}

static int
stub_query_device_ex(struct ibv_context *ctx, const struct ibv_query_device_ex_input *input,
		struct ibv_device_attr_ex *attr, size_t size)
{
	(void)ctx;
	(void)input;
	memset(attr, 0, size);
	return 0;
}

static struct ibv_device device = {
	.node_type = IBV_NODE_CA, .transport_type = IBV_TRANSPORT_IB, .name = "stub",
};

static struct verbs_context verbs = {
	.query_device_ex = stub_query_device_ex,
	.sz = sizeof(struct verbs_context),
	.context = {
		.device = &device,
		.ops = {
			.post_send = stub_post_send,
			.post_recv = stub_post_recv,
			.post_srq_recv = stub_post_srq_recv,
			.poll_cq = stub_poll_cq,
			.req_notify_cq = stub_req_notify_cq,
		},
		.abi_compat = __VERBS_ABI_IS_EXTENDED,
	},
};

static void *
made(size_t size)
{
	void *object = calloc(1, size);

	if (!object)
		abort();

	return object;
}

struct ibv_pd *
ibv_alloc_pd(struct ibv_context *ctx)
{
	struct ibv_pd *pd = made(sizeof(*pd));

	pd->context = ctx;
	return pd;
}

#undef ibv_reg_mr
struct ibv_mr *
ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length, int access)
{
	struct ibv_mr *mr = made(sizeof(*mr));

	(void)access;
	*mr = (struct ibv_mr){.context = pd->context, .pd = pd, .addr = addr, .length = length,
			.lkey = 1, .rkey = 2};
	return mr;
}

struct ibv_mr *
ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova, unsigned int access)
{
	(void)iova;
	return ibv_reg_mr(pd, addr, length, (int)access);
}

struct ibv_comp_channel *
ibv_create_comp_channel(struct ibv_context *ctx)
{
	struct ibv_comp_channel *channel = made(sizeof(*channel));

	channel->context = ctx;
	channel->fd = -1;
	return channel;
}

struct ibv_cq *
ibv_create_cq(struct ibv_context *ctx, int cqe, void *cq_context, struct ibv_comp_channel *channel, int vector)
{
	struct ibv_cq *cq = made(sizeof(*cq));

	(void)vector;
	cq->context = ctx;
	cq->channel = channel;
	cq->cq_context = cq_context;
	cq->cqe = cqe;
	return cq;
}

struct ibv_srq *
ibv_create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *attr)
{
	struct ibv_srq *srq = made(sizeof(*srq));

	(void)attr;
	srq->context = pd->context;
	srq->pd = pd;
	return srq;
}

struct rdma_event_channel *
rdma_create_event_channel(void)
{
	return made(sizeof(struct rdma_event_channel));
}

int
rdma_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **id, void *context, enum rdma_port_space ps)
{
	*id = made(sizeof(**id));
	(*id)->channel = channel;
	(*id)->context = context;
	(*id)->ps = ps;
	return 0;
}

int
rdma_resolve_addr(struct rdma_cm_id *id, struct sockaddr *from, struct sockaddr *to, int timeout_ms)
{
	(void)from;
	(void)to;
	(void)timeout_ms;
	id->verbs = &verbs.context;
	return 0;
}

int
rdma_resolve_route(struct rdma_cm_id *id, int timeout_ms)
{
	(void)id;
	(void)timeout_ms;
	return 0;
}

static int
make_qp(struct rdma_cm_id *id, struct ibv_pd *pd)
{
	struct ibv_qp *qp = made(sizeof(struct ibv_qp_ex));

	qp->context = id->verbs;
	qp->pd = pd;
	qp->qp_type = IBV_QPT_RC;
	id->qp = qp;
	return 0;
}

int
rdma_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	(void)attr;
	return make_qp(id, pd);
}

int
rdma_create_qp_ex(struct rdma_cm_id *id, struct ibv_qp_init_attr_ex *attr)
{
	return make_qp(id, attr->pd);
}

int
rdma_migrate_id(struct rdma_cm_id *id, struct rdma_event_channel *channel)
{
	id->channel = channel;
	return 0;
}

int
rdma_connect(struct rdma_cm_id *id, struct rdma_conn_param *param)
{
	(void)id;
	(void)param;
	return 0;
}

int
rdma_getaddrinfo(const char *node, const char *service, const struct rdma_addrinfo *hints,
		struct rdma_addrinfo **info)
{
	(void)node;
	(void)service;
	(void)hints;
	*info = made(sizeof(**info));
	return 0;
}

void
rdma_freeaddrinfo(struct rdma_addrinfo *info)
{
	free(info);
}

/* --- counting ---------------------------------------------------------------------------------- */

static double
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);

	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

#define MEASURE(name, call) \
	do { \
		double start; \
		/* what happens once: the loader binds the functions */ \
		if (call) \
			abort(); \
		start = now_ns(); \
		CALLGRIND_ZERO_STATS; \
		for (int i = 0; i < OPS; i++) \
			if (call) \
				abort(); \
		CALLGRIND_DUMP_STATS_AT(name); \
		if (!RUNNING_ON_VALGRIND) \
			printf("%s\t%.1f\n", name, (now_ns() - start) / OPS); \
	} while (0)

static __attribute__((noinline)) int
nothing(void)
{
	__asm__ volatile("");
	return 0;
}

/* --- librpma ----------------------------------------------------------------------------------- */

#define NEED(call) \
	do { \
		int ret_ = (call); \
		if (ret_) { \
			fprintf(stderr, "per-op: %s: %s\n", #call, rpma_err_2str(ret_)); \
			exit(1); \
		} \
	} while (0)

static uint8_t memory[SIZE];
static const void *op_context = memory;

static void
measure_rpma(void)
{
	const int usage = RPMA_MR_USAGE_READ_SRC | RPMA_MR_USAGE_READ_DST | RPMA_MR_USAGE_WRITE_SRC |
			RPMA_MR_USAGE_WRITE_DST | RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY |
			RPMA_MR_USAGE_SEND | RPMA_MR_USAGE_RECV;
	struct rpma_peer *peer;
	struct rpma_mr_local *local;
	struct rpma_mr_remote *remote;
	struct rpma_conn_req *req;
	struct rpma_conn *conn;
	struct rpma_srq *srq;
	struct rpma_cq *cq;
	struct ibv_wc wc[BATCH];
	uint8_t descriptor[64];
	size_t descriptor_size;
	int got;

	NEED(rpma_peer_new(&verbs.context, &peer));
	NEED(rpma_mr_reg(peer, memory, SIZE, usage, &local));
	NEED(rpma_mr_get_descriptor_size(local, &descriptor_size));
	NEED(rpma_mr_get_descriptor(local, descriptor));
	NEED(rpma_mr_remote_from_descriptor(descriptor, descriptor_size, &remote));
	NEED(rpma_srq_new(peer, NULL, &srq));
	NEED(rpma_conn_req_new(peer, "192.0.2.1", "7204", NULL, &req));
	MEASURE("conn_req_recv", rpma_conn_req_recv(req, local, 0, 64, op_context));
	NEED(rpma_conn_req_connect(&req, NULL, &conn));
	NEED(rpma_conn_get_cq(conn, &cq));

	MEASURE("write", rpma_write(conn, remote, 8, local, 16, 64, RPMA_F_COMPLETION_ALWAYS, op_context));
	MEASURE("write, unsignalled",
			rpma_write(conn, remote, 8, local, 16, 64, RPMA_F_COMPLETION_ON_ERROR, op_context));
	MEASURE("write_with_imm", rpma_write_with_imm(conn, remote, 8, local, 16, 64,
			RPMA_F_COMPLETION_ALWAYS, 7, op_context));
	MEASURE("read", rpma_read(conn, local, 16, remote, 8, 64, RPMA_F_COMPLETION_ALWAYS, op_context));
	MEASURE("atomic_write", rpma_atomic_write(conn, remote, 8, (const char *)memory,
			RPMA_F_COMPLETION_ALWAYS, op_context));
	MEASURE("flush", rpma_flush(conn, remote, 8, 64, RPMA_FLUSH_TYPE_VISIBILITY,
			RPMA_F_COMPLETION_ALWAYS, op_context));
	MEASURE("send", rpma_send(conn, local, 16, 64, RPMA_F_COMPLETION_ALWAYS, op_context));
	MEASURE("send_with_imm", rpma_send_with_imm(conn, local, 16, 64, RPMA_F_COMPLETION_ALWAYS, 7, op_context));
	MEASURE("recv", rpma_recv(conn, local, 16, 64, op_context));
	MEASURE("srq_recv", rpma_srq_recv(srq, local, 16, 64, op_context));
	completions = BATCH;
	MEASURE("cq_get_wc, 1", rpma_cq_get_wc(cq, 1, wc, NULL));
	MEASURE("cq_get_wc, 8", rpma_cq_get_wc(cq, BATCH, wc, &got));
	completions = 0;
	MEASURE("cq_get_wc, none there", rpma_cq_get_wc(cq, 1, wc, NULL) != RPMA_E_NO_COMPLETION);
}

/* --- the verbs --------------------------------------------------------------------------------- */

static struct ibv_mr *local_mr;
static const uint64_t remote_addr = 0x10000;
static const uint32_t remote_key = 2;

static __attribute__((noinline)) int
verbs_rdma(struct ibv_qp *qp, enum ibv_wr_opcode opcode, size_t to, const struct ibv_mr *mr, size_t offset,
		uint32_t length, unsigned flags, uint32_t imm, const void *context)
{
	struct ibv_sge sge = {
		.addr = (uint64_t)(uintptr_t)mr->addr + offset, .length = length, .lkey = mr->lkey,
	};
	struct ibv_send_wr wr = {
		.wr_id = (uint64_t)(uintptr_t)context, .sg_list = &sge, .num_sge = 1, .opcode = opcode,
		.send_flags = flags, .imm_data = htonl(imm),
		.wr.rdma = {.remote_addr = remote_addr + to, .rkey = remote_key},
	};
	struct ibv_send_wr *bad;

	return ibv_post_send(qp, &wr, &bad);
}

static __attribute__((noinline)) int
verbs_inline(struct ibv_qp *qp, size_t to, const void *data, const void *context)
{
	struct ibv_sge sge = {.addr = (uint64_t)(uintptr_t)data, .length = 8};
	struct ibv_send_wr wr = {
		.wr_id = (uint64_t)(uintptr_t)context, .sg_list = &sge, .num_sge = 1,
		.opcode = IBV_WR_RDMA_WRITE,
		.send_flags = IBV_SEND_SIGNALED | IBV_SEND_INLINE | IBV_SEND_FENCE,
		.wr.rdma = {.remote_addr = remote_addr + to, .rkey = remote_key},
	};
	struct ibv_send_wr *bad;

	return ibv_post_send(qp, &wr, &bad);
}

static __attribute__((noinline)) int
verbs_send(struct ibv_qp *qp, enum ibv_wr_opcode opcode, const struct ibv_mr *mr, size_t offset,
		uint32_t length, unsigned flags, uint32_t imm, const void *context)
{
	struct ibv_sge sge = {
		.addr = (uint64_t)(uintptr_t)mr->addr + offset, .length = length, .lkey = mr->lkey,
	};
	struct ibv_send_wr wr = {
		.wr_id = (uint64_t)(uintptr_t)context, .sg_list = &sge, .num_sge = 1, .opcode = opcode,
		.send_flags = flags, .imm_data = htonl(imm),
	};
	struct ibv_send_wr *bad;

	return ibv_post_send(qp, &wr, &bad);
}

static __attribute__((noinline)) int
verbs_recv(struct ibv_qp *qp, const struct ibv_mr *mr, size_t offset, uint32_t length, const void *context)
{
	struct ibv_sge sge = {
		.addr = (uint64_t)(uintptr_t)mr->addr + offset, .length = length, .lkey = mr->lkey,
	};
	struct ibv_recv_wr wr = {.wr_id = (uint64_t)(uintptr_t)context, .sg_list = &sge, .num_sge = 1};
	struct ibv_recv_wr *bad;

	return ibv_post_recv(qp, &wr, &bad);
}

static __attribute__((noinline)) int
verbs_srq_recv(struct ibv_srq *srq, const struct ibv_mr *mr, size_t offset, uint32_t length, const void *context)
{
	struct ibv_sge sge = {
		.addr = (uint64_t)(uintptr_t)mr->addr + offset, .length = length, .lkey = mr->lkey,
	};
	struct ibv_recv_wr wr = {.wr_id = (uint64_t)(uintptr_t)context, .sg_list = &sge, .num_sge = 1};
	struct ibv_recv_wr *bad;

	return ibv_post_srq_recv(srq, &wr, &bad);
}

static __attribute__((noinline)) int
verbs_poll(struct ibv_cq *cq, int count, struct ibv_wc *wc)
{
	return ibv_poll_cq(cq, count, wc);
}

static void
measure_verbs(void)
{
	struct ibv_pd *pd = ibv_alloc_pd(&verbs.context);
	struct rdma_cm_id id = {.verbs = &verbs.context};
	struct ibv_cq *cq = ibv_create_cq(&verbs.context, 16, NULL, NULL, 0);
	struct ibv_srq *srq = ibv_create_srq(pd, NULL);
	struct ibv_wc wc[BATCH];
	struct ibv_qp *qp;

	make_qp(&id, pd);
	qp = id.qp;
	local_mr = ibv_reg_mr(pd, memory, SIZE, 0);

	MEASURE("conn_req_recv", verbs_recv(qp, local_mr, 0, 64, op_context));
	MEASURE("write", verbs_rdma(qp, IBV_WR_RDMA_WRITE, 8, local_mr, 16, 64, IBV_SEND_SIGNALED, 0, op_context));
	MEASURE("write, unsignalled", verbs_rdma(qp, IBV_WR_RDMA_WRITE, 8, local_mr, 16, 64, 0, 0, op_context));
	MEASURE("write_with_imm", verbs_rdma(qp, IBV_WR_RDMA_WRITE_WITH_IMM, 8, local_mr, 16, 64,
			IBV_SEND_SIGNALED, 7, op_context));
	MEASURE("read", verbs_rdma(qp, IBV_WR_RDMA_READ, 8, local_mr, 16, 64, IBV_SEND_SIGNALED, 0, op_context));
	MEASURE("atomic_write", verbs_inline(qp, 8, memory, op_context));
	MEASURE("flush", verbs_rdma(qp, IBV_WR_RDMA_READ, 8, local_mr, 0, 8, IBV_SEND_SIGNALED, 0, op_context));
	MEASURE("send", verbs_send(qp, IBV_WR_SEND, local_mr, 16, 64, IBV_SEND_SIGNALED, 0, op_context));
	MEASURE("send_with_imm", verbs_send(qp, IBV_WR_SEND_WITH_IMM, local_mr, 16, 64, IBV_SEND_SIGNALED, 7,
			op_context));
	MEASURE("recv", verbs_recv(qp, local_mr, 16, 64, op_context));
	MEASURE("srq_recv", verbs_srq_recv(srq, local_mr, 16, 64, op_context));
	completions = BATCH;
	MEASURE("cq_get_wc, 1", verbs_poll(cq, 1, wc) != 1);
	MEASURE("cq_get_wc, 8", verbs_poll(cq, BATCH, wc) != BATCH);
	completions = 0;
	MEASURE("cq_get_wc, none there", verbs_poll(cq, 1, wc) != 0);
}

int
main(int argc, char *argv[])
{
	bool rpma = argc == 2 && strcmp(argv[1], "rpma") == 0;

	if (!rpma && (argc != 2 || strcmp(argv[1], "verbs") != 0)) {
		fprintf(stderr, "usage: per-op rpma|verbs\n");
		return 2;
	}
	/* the loop and its call, which are to be taken off */
	MEASURE("(loop)", nothing());
	if (rpma)
		measure_rpma();
	else
		measure_verbs();

	return 0;
}
