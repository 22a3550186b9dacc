/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Measures the instructions that librpma adds to a verb.
 *
 * The program contains its own RDMA device (per-op-device.c), whose post and poll functions do almost nothing. So
 * only the library is counted, and the count is the same on every run. Under valgrind's callgrind (run-per-op
 * runs it and prints a table) it writes one dump for each operation; otherwise it prints nanoseconds.
 *
 *   per-op rpma [ROW]     the operations of librpma, whichever library the loader finds, or one of them
 *   per-op verbs [ROW]    the same requests built by hand
 *   per-op stack          the stack that a logged error of librpma takes (per-op-stack.c)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librpma.h>
#include <valgrind/callgrind.h>

#include "per-op.h"

#define OPS 1000
#define SIZE ((size_t)4096)
#define BATCH 16

/* --- counting ---------------------------------------------------------------------------------- */

static double
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);

	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* the row to measure; NULL: all of them */
static const char *only;

#define MEASURE(name, call) \
	do { \
		double start; \
		if (only && strcmp(only, name) != 0) \
			break; \
		/* not measured, as it happens once: the loader binds the functions */ \
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

static __attribute__((noinline)) int
rpma_region(struct rpma_peer *peer, int usage)
{
	struct rpma_mr_local *mr;

	return rpma_mr_reg(peer, memory, SIZE, usage, &mr) || rpma_mr_dereg(&mr);
}

/* a connection's whole life */
static __attribute__((noinline)) int
rpma_connection(struct rpma_peer *peer)
{
	enum rpma_conn_event event;
	struct rpma_conn_req *req;
	struct rpma_conn *conn;

	return rpma_conn_req_new(peer, "192.0.2.1", "7204", NULL, &req) ||
			rpma_conn_req_connect(&req, NULL, &conn) ||
			rpma_conn_next_event(conn, &event) || event != RPMA_CONN_ESTABLISHED ||
			rpma_conn_disconnect(conn) ||
			rpma_conn_next_event(conn, &event) || event != RPMA_CONN_CLOSED ||
			rpma_conn_delete(&conn);
}

static void
measure_rpma(bool stack)
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

	NEED(rpma_peer_new(device_context, &peer));
	NEED(rpma_mr_reg(peer, memory, SIZE, usage, &local));
	NEED(rpma_mr_get_descriptor_size(local, &descriptor_size));
	NEED(rpma_mr_get_descriptor(local, descriptor));
	NEED(rpma_mr_remote_from_descriptor(descriptor, descriptor_size, &remote));
	NEED(rpma_srq_new(peer, NULL, &srq));
	NEED(rpma_conn_req_new(peer, "192.0.2.1", "7204", NULL, &req));
	MEASURE("conn_req_recv", rpma_conn_req_recv(req, local, 0, 64, op_context));
	NEED(rpma_conn_req_connect(&req, NULL, &conn));
	NEED(rpma_conn_get_cq(conn, &cq));
	if (stack) {
		measure_stack(&(struct objects){.peer = peer, .conn = conn, .local = local});
		return;
	}

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
	MEASURE("cq_get_wc, 16", rpma_cq_get_wc(cq, BATCH, wc, &got));
	completions = 0;
	MEASURE("cq_get_wc, none", rpma_cq_get_wc(cq, 1, wc, NULL) != RPMA_E_NO_COMPLETION);
	MEASURE("cq_wait", rpma_cq_wait(cq));
	NEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_DISABLED));
	device_fails(true);
	MEASURE("send, queue full", rpma_send(conn, local, 16, 64, RPMA_F_COMPLETION_ALWAYS, op_context) !=
			RPMA_E_PROVIDER);
	device_fails(false);
	NEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_LEVEL_WARNING));
	MEASURE("mr_reg and mr_dereg", rpma_region(peer, usage));
	MEASURE("connection", rpma_connection(peer));
}

/* --- the verbs --------------------------------------------------------------------------------- */

static struct ibv_mr *local_mr;
static const uint64_t remote_addr = 0x10000;
static const uint32_t remote_key = 2;

/* As in a program that uses verbs itself: inlined, with only the fields that the verb reads, without checks. */

static inline int
verbs_rdma(struct ibv_qp *qp, enum ibv_wr_opcode opcode, size_t to, const struct ibv_mr *mr, size_t offset,
		uint32_t length, unsigned flags, const void *context)
{
	struct ibv_send_wr wr, *bad;
	struct ibv_sge sge;

	sge.addr = (uint64_t)(uintptr_t)mr->addr + offset;
	sge.length = length;
	sge.lkey = mr->lkey;
	wr.wr_id = (uint64_t)(uintptr_t)context;
	wr.next = NULL;
	wr.sg_list = &sge;
	wr.num_sge = 1;
	wr.opcode = opcode;
	wr.send_flags = flags;
	wr.wr.rdma.remote_addr = remote_addr + to;
	wr.wr.rdma.rkey = remote_key;

	return ibv_post_send(qp, &wr, &bad);
}

static inline int
verbs_rdma_imm(struct ibv_qp *qp, size_t to, const struct ibv_mr *mr, size_t offset, uint32_t length,
		unsigned flags, uint32_t imm, const void *context)
{
	struct ibv_send_wr wr, *bad;
	struct ibv_sge sge;

	sge.addr = (uint64_t)(uintptr_t)mr->addr + offset;
	sge.length = length;
	sge.lkey = mr->lkey;
	wr.wr_id = (uint64_t)(uintptr_t)context;
	wr.next = NULL;
	wr.sg_list = &sge;
	wr.num_sge = 1;
	wr.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
	wr.send_flags = flags;
	wr.imm_data = htonl(imm);
	wr.wr.rdma.remote_addr = remote_addr + to;
	wr.wr.rdma.rkey = remote_key;

	return ibv_post_send(qp, &wr, &bad);
}

static inline int
verbs_inline(struct ibv_qp *qp, size_t to, const void *data, const void *context)
{
	struct ibv_send_wr wr, *bad;
	struct ibv_sge sge;

	sge.addr = (uint64_t)(uintptr_t)data;
	sge.length = 8;
	wr.wr_id = (uint64_t)(uintptr_t)context;
	wr.next = NULL;
	wr.sg_list = &sge;
	wr.num_sge = 1;
	wr.opcode = IBV_WR_RDMA_WRITE;
	wr.send_flags = IBV_SEND_SIGNALED | IBV_SEND_INLINE | IBV_SEND_FENCE;
	wr.wr.rdma.remote_addr = remote_addr + to;
	wr.wr.rdma.rkey = remote_key;

	return ibv_post_send(qp, &wr, &bad);
}

static inline int
verbs_send(struct ibv_qp *qp, const struct ibv_mr *mr, size_t offset, uint32_t length, unsigned flags,
		const void *context)
{
	struct ibv_send_wr wr, *bad;
	struct ibv_sge sge;

	sge.addr = (uint64_t)(uintptr_t)mr->addr + offset;
	sge.length = length;
	sge.lkey = mr->lkey;
	wr.wr_id = (uint64_t)(uintptr_t)context;
	wr.next = NULL;
	wr.sg_list = &sge;
	wr.num_sge = 1;
	wr.opcode = IBV_WR_SEND;
	wr.send_flags = flags;

	return ibv_post_send(qp, &wr, &bad);
}

static inline int
verbs_send_imm(struct ibv_qp *qp, const struct ibv_mr *mr, size_t offset, uint32_t length, unsigned flags,
		uint32_t imm, const void *context)
{
	struct ibv_send_wr wr, *bad;
	struct ibv_sge sge;

	sge.addr = (uint64_t)(uintptr_t)mr->addr + offset;
	sge.length = length;
	sge.lkey = mr->lkey;
	wr.wr_id = (uint64_t)(uintptr_t)context;
	wr.next = NULL;
	wr.sg_list = &sge;
	wr.num_sge = 1;
	wr.opcode = IBV_WR_SEND_WITH_IMM;
	wr.send_flags = flags;
	wr.imm_data = htonl(imm);

	return ibv_post_send(qp, &wr, &bad);
}

static inline int
verbs_recv(struct ibv_qp *qp, const struct ibv_mr *mr, size_t offset, uint32_t length, const void *context)
{
	struct ibv_recv_wr wr, *bad;
	struct ibv_sge sge;

	sge.addr = (uint64_t)(uintptr_t)mr->addr + offset;
	sge.length = length;
	sge.lkey = mr->lkey;
	wr.wr_id = (uint64_t)(uintptr_t)context;
	wr.next = NULL;
	wr.sg_list = &sge;
	wr.num_sge = 1;

	return ibv_post_recv(qp, &wr, &bad);
}

static inline int
verbs_srq_recv(struct ibv_srq *srq, const struct ibv_mr *mr, size_t offset, uint32_t length, const void *context)
{
	struct ibv_recv_wr wr, *bad;
	struct ibv_sge sge;

	sge.addr = (uint64_t)(uintptr_t)mr->addr + offset;
	sge.length = length;
	sge.lkey = mr->lkey;
	wr.wr_id = (uint64_t)(uintptr_t)context;
	wr.next = NULL;
	wr.sg_list = &sge;
	wr.num_sge = 1;

	return ibv_post_srq_recv(srq, &wr, &bad);
}

static inline int
verbs_poll(struct ibv_cq *cq, int count, struct ibv_wc *wc)
{
	return ibv_poll_cq(cq, count, wc);
}

static __attribute__((noinline)) int
verbs_wait(struct ibv_comp_channel *channel)
{
	struct ibv_cq *cq;
	void *context;

	if (ibv_get_cq_event(channel, &cq, &context))
		return -1;
	ibv_ack_cq_events(cq, 1);
	return ibv_req_notify_cq(cq, 0);
}

static __attribute__((noinline)) int
verbs_region(struct ibv_pd *pd, int access)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, memory, SIZE, access);

	return !mr || ibv_dereg_mr(mr);
}

static __attribute__((noinline)) int
verbs_event(struct rdma_event_channel *channel, enum rdma_cm_event_type expected)
{
	struct rdma_cm_event *event;

	if (rdma_get_cm_event(channel, &event))
		return -1;
	return event->event != expected || rdma_ack_cm_event(event);
}

/* the calls of verbs and of the connection manager that a connection of librpma makes */
static __attribute__((noinline)) int
verbs_connection(struct ibv_pd *pd)
{
	struct rdma_addrinfo hints = {.ai_qp_type = IBV_QPT_RC, .ai_port_space = RDMA_PS_TCP};
	struct rdma_conn_param param = {
		.responder_resources = RDMA_MAX_RESP_RES, .initiator_depth = RDMA_MAX_INIT_DEPTH,
		.flow_control = 1, .retry_count = 7, .rnr_retry_count = 7,
	};
	struct ibv_qp_init_attr_ex init = {
		.cap = {.max_send_wr = 10, .max_recv_wr = 10, .max_send_sge = 1, .max_recv_sge = 1, .max_inline_data = 8},
		.qp_type = IBV_QPT_RC, .comp_mask = IBV_QP_INIT_ATTR_PD, .pd = pd,
	};
	struct rdma_event_channel *events;
	struct ibv_comp_channel *channel;
	struct rdma_addrinfo *info;
	struct rdma_cm_id *id;
	struct ibv_mr *mr;
	struct ibv_cq *cq;
	int failed;

	if (rdma_getaddrinfo("192.0.2.1", "7204", &hints, &info) || rdma_create_id(NULL, &id, NULL, RDMA_PS_TCP) ||
			rdma_resolve_addr(id, info->ai_src_addr, info->ai_dst_addr, 1000) ||
			rdma_resolve_route(id, 1000))
		return -1;
	channel = ibv_create_comp_channel(id->verbs);
	cq = ibv_create_cq(id->verbs, 10, NULL, channel, 0);
	init.send_cq = cq;
	init.recv_cq = cq;
	if (ibv_req_notify_cq(cq, 0) || rdma_create_qp_ex(id, &init))
		return -1;
	rdma_freeaddrinfo(info);
	events = rdma_create_event_channel();
	if (rdma_migrate_id(id, events))
		return -1;
	mr = ibv_reg_mr(pd, memory, 8, IBV_ACCESS_LOCAL_WRITE);
	failed = rdma_connect(id, &param) || verbs_event(events, RDMA_CM_EVENT_ESTABLISHED) ||
			rdma_disconnect(id) || verbs_event(events, RDMA_CM_EVENT_DISCONNECTED) ||
			ibv_dereg_mr(mr);
	rdma_destroy_qp(id);
	failed |= ibv_destroy_cq(cq) || rdma_destroy_id(id) || ibv_destroy_comp_channel(channel);
	rdma_destroy_event_channel(events);
	return failed;
}

static void
measure_verbs(void)
{
	struct ibv_pd *pd = ibv_alloc_pd(device_context);
	struct rdma_cm_id id = {.verbs = device_context};
	struct ibv_comp_channel *channel = ibv_create_comp_channel(device_context);
	struct ibv_cq *cq = ibv_create_cq(device_context, BATCH, NULL, channel, 0);
	struct ibv_srq *srq = ibv_create_srq(pd, NULL);
	struct ibv_wc wc[BATCH];
	struct ibv_qp *qp;

	device_make_qp(&id, pd);
	qp = id.qp;
	local_mr = ibv_reg_mr(pd, memory, SIZE, 0);

	MEASURE("write", verbs_rdma(qp, IBV_WR_RDMA_WRITE, 8, local_mr, 16, 64, IBV_SEND_SIGNALED, op_context));
	MEASURE("write, unsignalled", verbs_rdma(qp, IBV_WR_RDMA_WRITE, 8, local_mr, 16, 64, 0, op_context));
	MEASURE("write_with_imm", verbs_rdma_imm(qp, 8, local_mr, 16, 64, IBV_SEND_SIGNALED, 7, op_context));
	MEASURE("read", verbs_rdma(qp, IBV_WR_RDMA_READ, 8, local_mr, 16, 64, IBV_SEND_SIGNALED, op_context));
	MEASURE("atomic_write", verbs_inline(qp, 8, memory, op_context));
	MEASURE("flush", verbs_rdma(qp, IBV_WR_RDMA_READ, 8, local_mr, 0, 8, IBV_SEND_SIGNALED, op_context));
	MEASURE("send", verbs_send(qp, local_mr, 16, 64, IBV_SEND_SIGNALED, op_context));
	MEASURE("send_with_imm", verbs_send_imm(qp, local_mr, 16, 64, IBV_SEND_SIGNALED, 7, op_context));
	device_fails(true);
	MEASURE("send, queue full", !verbs_send(qp, local_mr, 16, 64, IBV_SEND_SIGNALED, op_context));
	device_fails(false);
	MEASURE("recv", verbs_recv(qp, local_mr, 16, 64, op_context));
	MEASURE("srq_recv", verbs_srq_recv(srq, local_mr, 16, 64, op_context));
	MEASURE("conn_req_recv", verbs_recv(qp, local_mr, 0, 64, op_context));
	completions = BATCH;
	MEASURE("cq_get_wc, 1", verbs_poll(cq, 1, wc) != 1);
	MEASURE("cq_get_wc, 16", verbs_poll(cq, BATCH, wc) != BATCH);
	completions = 0;
	MEASURE("cq_get_wc, none", verbs_poll(cq, 1, wc) != 0);
	MEASURE("cq_wait", verbs_wait(channel));
	MEASURE("mr_reg and mr_dereg", verbs_region(pd, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
			IBV_ACCESS_REMOTE_READ));
	MEASURE("connection", verbs_connection(pd));
}

int
main(int argc, char *argv[])
{
	const char *what = argc < 2 ? "" : argv[1];

	only = argc > 2 ? argv[2] : NULL;
	if (strcmp(what, "stack") == 0) {
		only = "";
		measure_rpma(true);
		return 0;
	}
	/* the loop with a function that returns at once: included in every count */
	MEASURE("(loop)", nothing());
	if (strcmp(what, "rpma") == 0) {
		measure_rpma(false);
	} else if (strcmp(what, "verbs") == 0) {
		measure_verbs();
	} else {
		fprintf(stderr, "usage: per-op rpma|verbs [ROW]\n       per-op stack\n");
		return 2;
	}

	return 0;
}
