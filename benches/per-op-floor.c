/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The floor: a librpma.so.0 in C with only the functions that per-op.c calls. They take the same arguments, make
 * the same checks and the same calls of verbs as this library, and nothing else: handles hold the values that
 * the operations need, failures are handled out of line, one page of the process serves all emulated flushes. So
 * a count near the floor is near the lowest possible count for this interface.
 *
 * A failure returns the right code and logs nothing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <librpma.h>
#include <rdma/rdma_cma.h>

#define ACK_BATCH 128
#define DESCRIPTOR_SIZE 21
#define FLUSH_SIZE 8
#define QUEUE_SIZE 10
#define TIMEOUT_MS 1000

#define unlikely(condition) __builtin_expect(!!(condition), 0)

struct rpma_peer {
	struct ibv_pd *pd;
	bool native_flush, native_atomic_write;
};

struct rpma_mr_local {
	uint64_t addr;
	uint32_t lkey;
	int usage;
	struct ibv_mr *mr;
};

struct rpma_mr_remote {
	uint64_t addr, size;
	uint32_t rkey;
	uint8_t usage;
};

struct rpma_cq {
	struct ibv_cq *cq;
	struct ibv_comp_channel *channel;
	atomic_uint events;
};

struct rpma_srq {
	struct ibv_srq *srq;
};

struct rpma_conn {
	struct ibv_qp *qp;
	bool native_flush, native_atomic_write, direct_write_to_pmem;
	struct ibv_sge flush_into;
	struct ibv_mr *flush_mr;
	struct rpma_cq cq;
	struct rdma_cm_id *id;
	struct rdma_event_channel *events;
	uint8_t private_data[UINT8_MAX];
	uint8_t private_data_len;
};

struct rpma_conn_req {
	struct rpma_peer *peer;
	struct rpma_conn *conn;
};

static int main_threshold = RPMA_LOG_LEVEL_WARNING;
static void *_Atomic flush_page;

/* --- out of line ------------------------------------------------------------------------------- */

static __attribute__((cold, noinline)) int
invalid(void)
{
	return RPMA_E_INVAL;
}

static __attribute__((cold, noinline)) int
unsupported(void)
{
	return RPMA_E_NOSUPP;
}

static __attribute__((cold, noinline)) int
call_failed(int error)
{
	errno = error;
	return RPMA_E_PROVIDER;
}

static __attribute__((cold, noinline)) int
log_message(int code)
{
	return code;
}

static inline int
posted(int error)
{
	return unlikely(error) ? call_failed(error) : 0;
}

/* --- the operations ---------------------------------------------------------------------------- */

/* IBV_SEND_SIGNALED is the bit of RPMA_F_COMPLETION_ALWAYS that requests a completion on success too. */
static inline unsigned
send_flags(int flags)
{
	_Static_assert((RPMA_F_COMPLETION_ALWAYS & ~RPMA_F_COMPLETION_ON_ERROR) == (int)IBV_SEND_SIGNALED,
			"the bit has to be moved");
	return (unsigned)flags & IBV_SEND_SIGNALED;
}

static inline void
fill(struct ibv_send_wr *wr, enum ibv_wr_opcode opcode, unsigned flags, const void *op_context)
{
	wr->wr_id = (uint64_t)(uintptr_t)op_context;
	wr->next = NULL;
	wr->opcode = opcode;
	wr->send_flags = flags;
}

/* the data of a one-sided operation: nothing, or len bytes in both regions */
static inline bool
fill_ranges(struct ibv_send_wr *wr, struct ibv_sge *sge, const struct rpma_mr_local *local, size_t offset,
		const struct rpma_mr_remote *remote, size_t remote_offset, size_t len)
{
	if (unlikely(!local || !remote)) {
		if (local || remote || offset || remote_offset || len)
			return false;
		wr->sg_list = NULL;
		wr->num_sge = 0;
		wr->wr.rdma.remote_addr = 0;
		wr->wr.rdma.rkey = 0;
		return true;
	}
	if (unlikely(len > UINT32_MAX))
		return false;
	sge->addr = local->addr + offset;
	sge->length = (uint32_t)len;
	sge->lkey = local->lkey;
	wr->sg_list = sge;
	wr->num_sge = 1;
	wr->wr.rdma.remote_addr = remote->addr + remote_offset;
	wr->wr.rdma.rkey = remote->rkey;
	return true;
}

/* the data of a message: nothing, or len bytes of the region */
static inline bool
fill_message(struct ibv_sge **list, int *count, struct ibv_sge *sge, const struct rpma_mr_local *mr, size_t offset,
		size_t len)
{
	if (unlikely(!mr)) {
		*list = NULL;
		*count = 0;
		return !offset && !len;
	}
	if (unlikely(len > UINT32_MAX))
		return false;
	sge->addr = mr->addr + offset;
	sge->length = (uint32_t)len;
	sge->lkey = mr->lkey;
	*list = sge;
	*count = 1;
	return true;
}

int
rpma_read(struct rpma_conn *conn, struct rpma_mr_local *dst, size_t dst_offset, const struct rpma_mr_remote *src,
		size_t src_offset, size_t len, int flags, const void *op_context)
{
	struct ibv_send_wr wr, *bad;
	struct ibv_sge sge;

	if (unlikely(!conn || !flags || !fill_ranges(&wr, &sge, dst, dst_offset, src, src_offset, len)))
		return invalid();
	fill(&wr, IBV_WR_RDMA_READ, send_flags(flags), op_context);
	return posted(ibv_post_send(conn->qp, &wr, &bad));
}

int
rpma_write(struct rpma_conn *conn, struct rpma_mr_remote *dst, size_t dst_offset, const struct rpma_mr_local *src,
		size_t src_offset, size_t len, int flags, const void *op_context)
{
	struct ibv_send_wr wr, *bad;
	struct ibv_sge sge;

	if (unlikely(!conn || !flags || !fill_ranges(&wr, &sge, src, src_offset, dst, dst_offset, len)))
		return invalid();
	fill(&wr, IBV_WR_RDMA_WRITE, send_flags(flags), op_context);
	return posted(ibv_post_send(conn->qp, &wr, &bad));
}

int
rpma_write_with_imm(struct rpma_conn *conn, struct rpma_mr_remote *dst, size_t dst_offset,
		const struct rpma_mr_local *src, size_t src_offset, size_t len, int flags, uint32_t imm,
		const void *op_context)
{
	struct ibv_send_wr wr, *bad;
	struct ibv_sge sge;

	if (unlikely(!conn || !flags || !fill_ranges(&wr, &sge, src, src_offset, dst, dst_offset, len)))
		return invalid();
	fill(&wr, IBV_WR_RDMA_WRITE_WITH_IMM, send_flags(flags), op_context);
	wr.imm_data = htonl(imm);
	return posted(ibv_post_send(conn->qp, &wr, &bad));
}

int
rpma_atomic_write(struct rpma_conn *conn, struct rpma_mr_remote *dst, size_t dst_offset, const char *src, int flags,
		const void *op_context)
{
	struct ibv_send_wr wr, *bad;
	struct ibv_sge sge;

	if (unlikely(!conn || !dst || !src || !flags || dst_offset % RPMA_ATOMIC_WRITE_ALIGNMENT))
		return invalid();
	if (unlikely(conn->native_atomic_write))
		return unsupported();
	sge.addr = (uint64_t)(uintptr_t)src;
	sge.length = RPMA_ATOMIC_WRITE_ALIGNMENT;
	sge.lkey = 0;
	fill(&wr, IBV_WR_RDMA_WRITE, send_flags(flags) | IBV_SEND_INLINE | IBV_SEND_FENCE, op_context);
	wr.sg_list = &sge;
	wr.num_sge = 1;
	wr.wr.rdma.remote_addr = dst->addr + dst_offset;
	wr.wr.rdma.rkey = dst->rkey;
	return posted(ibv_post_send(conn->qp, &wr, &bad));
}

int
rpma_flush(struct rpma_conn *conn, struct rpma_mr_remote *dst, size_t dst_offset, size_t len,
		enum rpma_flush_type type, int flags, const void *op_context)
{
	struct ibv_send_wr wr, *bad;
	int needed;

	(void)len;
	if (unlikely(!conn || !dst || !flags))
		return invalid();
	if (type == RPMA_FLUSH_TYPE_VISIBILITY)
		needed = RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY;
	else if (type != RPMA_FLUSH_TYPE_PERSISTENT)
		return invalid();
	else if (!conn->direct_write_to_pmem)
		return unsupported();
	else
		needed = RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT;
	if (unlikely(!(dst->usage & needed) || conn->native_flush))
		return unsupported();
	fill(&wr, IBV_WR_RDMA_READ, send_flags(flags), op_context);
	wr.sg_list = &conn->flush_into;
	wr.num_sge = 1;
	wr.wr.rdma.remote_addr = dst->addr + dst_offset;
	wr.wr.rdma.rkey = dst->rkey;
	return posted(ibv_post_send(conn->qp, &wr, &bad));
}

int
rpma_send(struct rpma_conn *conn, const struct rpma_mr_local *src, size_t offset, size_t len, int flags,
		const void *op_context)
{
	struct ibv_send_wr wr, *bad;
	struct ibv_sge sge;

	if (unlikely(!conn || !flags || !fill_message(&wr.sg_list, &wr.num_sge, &sge, src, offset, len)))
		return invalid();
	fill(&wr, IBV_WR_SEND, send_flags(flags), op_context);
	return posted(ibv_post_send(conn->qp, &wr, &bad));
}

int
rpma_send_with_imm(struct rpma_conn *conn, const struct rpma_mr_local *src, size_t offset, size_t len, int flags,
		uint32_t imm, const void *op_context)
{
	struct ibv_send_wr wr, *bad;
	struct ibv_sge sge;

	if (unlikely(!conn || !flags || !fill_message(&wr.sg_list, &wr.num_sge, &sge, src, offset, len)))
		return invalid();
	fill(&wr, IBV_WR_SEND_WITH_IMM, send_flags(flags), op_context);
	wr.imm_data = htonl(imm);
	return posted(ibv_post_send(conn->qp, &wr, &bad));
}

static inline int
post_recv(struct ibv_qp *qp, struct rpma_mr_local *dst, size_t offset, size_t len, const void *op_context)
{
	struct ibv_recv_wr wr, *bad;
	struct ibv_sge sge;

	if (unlikely(!fill_message(&wr.sg_list, &wr.num_sge, &sge, dst, offset, len)))
		return invalid();
	wr.wr_id = (uint64_t)(uintptr_t)op_context;
	wr.next = NULL;
	return posted(ibv_post_recv(qp, &wr, &bad));
}

int
rpma_recv(struct rpma_conn *conn, struct rpma_mr_local *dst, size_t offset, size_t len, const void *op_context)
{
	return unlikely(!conn) ? invalid() : post_recv(conn->qp, dst, offset, len, op_context);
}

int
rpma_conn_req_recv(struct rpma_conn_req *req, struct rpma_mr_local *dst, size_t offset, size_t len,
		const void *op_context)
{
	return unlikely(!req || !dst) ? invalid() : post_recv(req->conn->qp, dst, offset, len, op_context);
}

int
rpma_srq_recv(struct rpma_srq *srq, struct rpma_mr_local *dst, size_t offset, size_t len, const void *op_context)
{
	struct ibv_recv_wr wr, *bad;
	struct ibv_sge sge;

	if (unlikely(!srq || !fill_message(&wr.sg_list, &wr.num_sge, &sge, dst, offset, len)))
		return invalid();
	wr.wr_id = (uint64_t)(uintptr_t)op_context;
	wr.next = NULL;
	return posted(ibv_post_srq_recv(srq->srq, &wr, &bad));
}

int
rpma_cq_get_wc(struct rpma_cq *cq, int num_entries, struct ibv_wc *wc, int *num_entries_got)
{
	int got;

	if (unlikely(!cq || !wc || (num_entries != 1 && (num_entries < 1 || !num_entries_got))))
		return invalid();
	got = ibv_poll_cq(cq->cq, num_entries, wc);
	if (got == 0)
		return unlikely(main_threshold >= RPMA_LOG_LEVEL_DEBUG) ? log_message(RPMA_E_NO_COMPLETION) :
				RPMA_E_NO_COMPLETION;
	if (unlikely(got < 0))
		return call_failed(0);
	if (unlikely(got > num_entries))
		return log_message(RPMA_E_UNKNOWN);
	if (num_entries_got)
		*num_entries_got = got;
	return 0;
}

int
rpma_cq_wait(struct rpma_cq *cq)
{
	struct ibv_cq *event_of;
	void *context;

	if (unlikely(!cq))
		return invalid();
	if (unlikely(!cq->channel))
		return RPMA_E_SHARED_CHANNEL;
	if (unlikely(ibv_get_cq_event(cq->channel, &event_of, &context)))
		return RPMA_E_NO_COMPLETION;
	if (unlikely((atomic_fetch_add_explicit(&cq->events, 1, memory_order_relaxed) + 1) % ACK_BATCH == 0))
		ibv_ack_cq_events(cq->cq, ACK_BATCH);
	return posted(ibv_req_notify_cq(cq->cq, 0));
}

/* --- the objects ------------------------------------------------------------------------------- */

const char *
rpma_err_2str(int ret)
{
	(void)ret;
	return "a failure of the floor";
}

int
rpma_log_set_threshold(enum rpma_log_threshold threshold, enum rpma_log_level level)
{
	if (threshold == RPMA_LOG_THRESHOLD)
		main_threshold = level;
	return 0;
}

int
rpma_peer_new(struct ibv_context *ctx, struct rpma_peer **peer_ptr)
{
	struct rpma_peer *peer;

	if (!ctx || !peer_ptr)
		return invalid();
	peer = calloc(1, sizeof(*peer));
	if (!peer)
		return RPMA_E_NOMEM;
	peer->pd = ibv_alloc_pd(ctx);
	if (!peer->pd) {
		free(peer);
		return call_failed(errno);
	}
	*peer_ptr = peer;
	return 0;
}

static int
access_flags(const struct rpma_peer *peer, int usage)
{
	int access = 0;

	if (usage & (RPMA_MR_USAGE_READ_SRC | RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY |
			RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT))
		access |= IBV_ACCESS_REMOTE_READ;
	if (usage & RPMA_MR_USAGE_READ_DST) {
		access |= IBV_ACCESS_LOCAL_WRITE;
		if (peer->pd->context->device->transport_type == IBV_TRANSPORT_IWARP)
			access |= IBV_ACCESS_REMOTE_WRITE;
	}
	if (usage & (RPMA_MR_USAGE_WRITE_SRC | RPMA_MR_USAGE_RECV))
		access |= IBV_ACCESS_LOCAL_WRITE;
	if (usage & RPMA_MR_USAGE_WRITE_DST)
		access |= IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_LOCAL_WRITE;
	return access;
}

#undef ibv_reg_mr
int
rpma_mr_reg(struct rpma_peer *peer, void *ptr, size_t size, int usage, struct rpma_mr_local **mr_ptr)
{
	struct rpma_mr_local *mr;

	if (!peer || !ptr || !size || !usage || usage & ~UINT8_MAX || !mr_ptr)
		return invalid();
	mr = malloc(sizeof(*mr));
	if (!mr)
		return RPMA_E_NOMEM;
	mr->mr = ibv_reg_mr(peer->pd, ptr, size, access_flags(peer, usage));
	if (!mr->mr) {
		free(mr);
		return call_failed(errno);
	}
	mr->addr = (uint64_t)(uintptr_t)mr->mr->addr;
	mr->lkey = mr->mr->lkey;
	mr->usage = usage;
	*mr_ptr = mr;
	return 0;
}

int
rpma_mr_dereg(struct rpma_mr_local **mr_ptr)
{
	struct rpma_mr_local *mr;
	int error;

	if (!mr_ptr)
		return invalid();
	mr = *mr_ptr;
	if (!mr)
		return 0;
	*mr_ptr = NULL;
	error = ibv_dereg_mr(mr->mr);
	free(mr);
	return posted(error);
}

int
rpma_mr_get_descriptor_size(const struct rpma_mr_local *mr, size_t *size)
{
	if (!mr || !size)
		return invalid();
	*size = DESCRIPTOR_SIZE;
	return 0;
}

int
rpma_mr_get_descriptor(const struct rpma_mr_local *mr, void *desc)
{
	uint64_t size = mr->mr->length;
	uint8_t *to = desc;

	memcpy(to, &mr->addr, 8);
	memcpy(to + 8, &size, 8);
	memcpy(to + 16, &mr->mr->rkey, 4);
	to[20] = (uint8_t)mr->usage;
	return 0;
}

int
rpma_mr_remote_from_descriptor(const void *desc, size_t desc_size, struct rpma_mr_remote **mr_ptr)
{
	struct rpma_mr_remote *mr = malloc(sizeof(*mr));
	const uint8_t *from = desc;

	if (!mr)
		return RPMA_E_NOMEM;
	if (desc_size < DESCRIPTOR_SIZE) {
		free(mr);
		return invalid();
	}
	memcpy(&mr->addr, from, 8);
	memcpy(&mr->size, from + 8, 8);
	memcpy(&mr->rkey, from + 16, 4);
	mr->usage = from[20];
	*mr_ptr = mr;
	return 0;
}

int
rpma_srq_new(struct rpma_peer *peer, struct rpma_srq_cfg *cfg, struct rpma_srq **srq_ptr)
{
	struct ibv_srq_init_attr attr = {.attr = {.max_wr = 100, .max_sge = 1}};
	struct rpma_srq *srq = malloc(sizeof(*srq));

	(void)cfg;
	if (!srq)
		return RPMA_E_NOMEM;
	srq->srq = ibv_create_srq(peer->pd, &attr);
	*srq_ptr = srq;
	return 0;
}

/* Failures here are not measured, so nothing is released: the process ends anyway. */
int
rpma_conn_req_new(struct rpma_peer *peer, const char *addr, const char *port, const struct rpma_conn_cfg *cfg,
		struct rpma_conn_req **req_ptr)
{
	struct rdma_addrinfo hints = {.ai_qp_type = IBV_QPT_RC, .ai_port_space = RDMA_PS_TCP};
	struct ibv_qp_init_attr_ex init = {
		.cap = {.max_send_wr = QUEUE_SIZE, .max_recv_wr = QUEUE_SIZE, .max_send_sge = 1,
				.max_recv_sge = 1, .max_inline_data = RPMA_ATOMIC_WRITE_ALIGNMENT},
		.qp_type = IBV_QPT_RC, .comp_mask = IBV_QP_INIT_ATTR_PD,
	};
	struct rdma_addrinfo *info;
	struct rpma_conn_req *req;
	struct rpma_conn *conn;
	struct rdma_cm_id *id;

	(void)cfg;
	if (!peer || !addr || !port || !req_ptr)
		return invalid();
	req = malloc(sizeof(*req));
	conn = malloc(sizeof(*conn));
	if (!req || !conn)
		return RPMA_E_NOMEM;
	if (rdma_getaddrinfo(addr, port, &hints, &info) || rdma_create_id(NULL, &id, NULL, RDMA_PS_TCP) ||
			rdma_resolve_addr(id, info->ai_src_addr, info->ai_dst_addr, TIMEOUT_MS) ||
			rdma_resolve_route(id, TIMEOUT_MS))
		return call_failed(errno);
	conn->cq.channel = ibv_create_comp_channel(id->verbs);
	if (!conn->cq.channel)
		return call_failed(errno);
	conn->cq.cq = ibv_create_cq(id->verbs, QUEUE_SIZE, NULL, conn->cq.channel, 0);
	if (!conn->cq.cq || ibv_req_notify_cq(conn->cq.cq, 0))
		return call_failed(errno);
	atomic_init(&conn->cq.events, 0);
	init.pd = peer->pd;
	init.send_cq = conn->cq.cq;
	init.recv_cq = conn->cq.cq;
	if (rdma_create_qp_ex(id, &init))
		return call_failed(errno);
	conn->qp = id->qp;
	conn->id = id;
	conn->native_flush = peer->native_flush;
	conn->native_atomic_write = peer->native_atomic_write;
	conn->direct_write_to_pmem = false;
	conn->private_data_len = 0;
	if (main_threshold >= RPMA_LOG_LEVEL_NOTICE)
		log_message(0);
	rdma_freeaddrinfo(info);
	req->peer = peer;
	req->conn = conn;
	*req_ptr = req;
	return 0;
}

/* the page is mapped once and never unmapped */
static void *
page(void)
{
	void *made = atomic_load_explicit(&flush_page, memory_order_acquire);

	if (made)
		return made;
	made = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (made == MAP_FAILED)
		return NULL;
	atomic_store_explicit(&flush_page, made, memory_order_release);
	return made;
}

int
rpma_conn_req_connect(struct rpma_conn_req **req_ptr, const struct rpma_conn_private_data *pdata,
		struct rpma_conn **conn_ptr)
{
	struct rdma_conn_param param = {
		.responder_resources = RDMA_MAX_RESP_RES, .initiator_depth = RDMA_MAX_INIT_DEPTH,
		.flow_control = 1, .retry_count = 7, .rnr_retry_count = 7,
	};
	struct rpma_conn_req *req;
	struct rpma_conn *conn;

	if (!req_ptr || !*req_ptr || !conn_ptr)
		return invalid();
	req = *req_ptr;
	*req_ptr = NULL;
	conn = req->conn;
	if (pdata && pdata->len) {
		param.private_data = pdata->ptr;
		param.private_data_len = pdata->len;
	}
	conn->events = rdma_create_event_channel();
	if (!conn->events || rdma_migrate_id(conn->id, conn->events))
		return call_failed(errno);
	if (!page())
		return RPMA_E_NOMEM;
	conn->flush_mr = ibv_reg_mr(req->peer->pd, page(), FLUSH_SIZE, access_flags(req->peer, RPMA_MR_USAGE_READ_DST));
	if (!conn->flush_mr)
		return call_failed(errno);
	conn->flush_into = (struct ibv_sge){
		.addr = (uint64_t)(uintptr_t)conn->flush_mr->addr, .length = FLUSH_SIZE, .lkey = conn->flush_mr->lkey,
	};
	if (rdma_connect(conn->id, &param))
		return call_failed(errno);
	free(req);
	*conn_ptr = conn;
	return 0;
}

int
rpma_conn_get_cq(const struct rpma_conn *conn, struct rpma_cq **cq_ptr)
{
	if (!conn || !cq_ptr)
		return invalid();
	*cq_ptr = (struct rpma_cq *)&conn->cq;
	return 0;
}

int
rpma_conn_next_event(struct rpma_conn *conn, enum rpma_conn_event *event)
{
	struct rdma_cm_event *from;
	enum rdma_cm_event_type type;

	if (!conn || !event)
		return invalid();
	if (rdma_get_cm_event(conn->events, &from))
		return errno == ENODATA || errno == EAGAIN ? RPMA_E_NO_EVENT : call_failed(errno);
	type = from->event;
	if (type == RDMA_CM_EVENT_ESTABLISHED && from->param.conn.private_data && !conn->private_data_len) {
		conn->private_data_len = from->param.conn.private_data_len;
		memcpy(conn->private_data, from->param.conn.private_data, conn->private_data_len);
	}
	if (rdma_ack_cm_event(from))
		return call_failed(errno);
	switch (type) {
	case RDMA_CM_EVENT_ESTABLISHED:
		*event = RPMA_CONN_ESTABLISHED;
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_TIMEWAIT_EXIT:
		*event = RPMA_CONN_CLOSED;
		break;
	default:
		return log_message(RPMA_E_UNKNOWN);
	}
	return main_threshold >= RPMA_LOG_LEVEL_NOTICE ? log_message(0) : 0;
}

int
rpma_conn_disconnect(struct rpma_conn *conn)
{
	if (!conn)
		return invalid();
	if (rdma_disconnect(conn->id))
		return call_failed(errno);
	return main_threshold >= RPMA_LOG_LEVEL_NOTICE ? log_message(0) : 0;
}

int
rpma_conn_delete(struct rpma_conn **conn_ptr)
{
	struct rpma_conn *conn;
	unsigned rest;
	int error;

	if (!conn_ptr)
		return invalid();
	conn = *conn_ptr;
	if (!conn)
		return 0;
	*conn_ptr = NULL;
	error = ibv_dereg_mr(conn->flush_mr);
	rdma_destroy_qp(conn->id);
	rest = atomic_load_explicit(&conn->cq.events, memory_order_relaxed) % ACK_BATCH;
	if (rest)
		ibv_ack_cq_events(conn->cq.cq, rest);
	error |= ibv_destroy_cq(conn->cq.cq);
	error |= ibv_destroy_comp_channel(conn->cq.channel);
	error |= rdma_destroy_id(conn->id);
	rdma_destroy_event_channel(conn->events);
	free(conn);
	return posted(error);
}
