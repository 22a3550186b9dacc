/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An RDMA device that does nothing, for per-op.c: it implements the functions of libibverbs and librdmacm that librpma
 * calls. The program exports them, so the measured library uses them instead of the real ones. Objects are
 * allocated and freed as libibverbs and librdmacm do; a call to the device returns at once.
 */
#define _GNU_SOURCE
#include "per-op.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

int completions;
/* the queue that was created last: ibv_get_cq_event() returns it */
static struct ibv_cq *last_cq;

/* the event of rdma_get_cm_event(): established after a request for a connection, closed after a disconnect */
static enum rdma_cm_event_type device_next_event;

static int
stub_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	(void)qp;
	(void)wr;
	(void)bad;
	return 0;
}

static int
full_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	(void)qp;
	*bad = wr;
	return ENOMEM;
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
	int got = count < completions ? count : completions;

	(void)cq;
	for (int i = 0; i < got; i++) {
		wc[i].wr_id = (uint64_t)i;
		wc[i].status = IBV_WC_SUCCESS;
		wc[i].opcode = IBV_WC_RDMA_WRITE;
		wc[i].vendor_err = 0;
		wc[i].byte_len = 64;
		wc[i].qp_num = 1;
		wc[i].wc_flags = 0;
	}
	return got;
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

static struct verbs_context verbs_context = {
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

struct ibv_context *const device_context = &verbs_context.context;

static bool registration_fails;

void
device_fails(bool fail)
{
	device_context->ops.post_send = fail ? full_post_send : stub_post_send;
	registration_fails = fail;
}

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
	struct ibv_mr *mr;

	(void)access;
	if (registration_fails) {
		errno = ENOMEM;
		return NULL;
	}
	mr = made(sizeof(*mr));
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

int
ibv_dereg_mr(struct ibv_mr *mr)
{
	free(mr);
	return 0;
}

struct ibv_comp_channel *
ibv_create_comp_channel(struct ibv_context *ctx)
{
	struct ibv_comp_channel *channel = made(sizeof(*channel));

	channel->context = ctx;
	channel->fd = -1;
	return channel;
}

int
ibv_destroy_comp_channel(struct ibv_comp_channel *channel)
{
	free(channel);
	return 0;
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
	pthread_mutex_init(&cq->mutex, NULL);
	pthread_cond_init(&cq->cond, NULL);
	last_cq = cq;
	return cq;
}

/* as in libibverbs, except that there is always an event */
int
ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **cq_context)
{
	*cq = last_cq;
	*cq_context = (*cq)->cq_context;
	return channel ? 0 : -1;
}

/* as in libibverbs: under the mutex of the queue, which waits for all its events when it is destroyed */
void
ibv_ack_cq_events(struct ibv_cq *cq, unsigned count)
{
	pthread_mutex_lock(&cq->mutex);
	cq->comp_events_completed += count;
	pthread_cond_signal(&cq->cond);
	pthread_mutex_unlock(&cq->mutex);
}

int
ibv_destroy_cq(struct ibv_cq *cq)
{
	free(cq);
	return 0;
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

void
rdma_destroy_event_channel(struct rdma_event_channel *channel)
{
	free(channel);
}

/* one allocation for each event, as librdmacm makes it */
int
rdma_get_cm_event(struct rdma_event_channel *channel, struct rdma_cm_event **event)
{
	(void)channel;
	*event = made(sizeof(**event));
	(*event)->event = device_next_event;
	return 0;
}

int
rdma_ack_cm_event(struct rdma_cm_event *event)
{
	free(event);
	return 0;
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
rdma_destroy_id(struct rdma_cm_id *id)
{
	free(id);
	return 0;
}

int
rdma_resolve_addr(struct rdma_cm_id *id, struct sockaddr *from, struct sockaddr *to, int timeout_ms)
{
	(void)from;
	(void)to;
	(void)timeout_ms;
	id->verbs = device_context;
	return 0;
}

int
rdma_resolve_route(struct rdma_cm_id *id, int timeout_ms)
{
	(void)id;
	(void)timeout_ms;
	return 0;
}

int
device_make_qp(struct rdma_cm_id *id, struct ibv_pd *pd)
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
	return device_make_qp(id, pd);
}

int
rdma_create_qp_ex(struct rdma_cm_id *id, struct ibv_qp_init_attr_ex *attr)
{
	return device_make_qp(id, attr->pd);
}

void
rdma_destroy_qp(struct rdma_cm_id *id)
{
	free(id->qp);
	id->qp = NULL;
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
	device_next_event = RDMA_CM_EVENT_ESTABLISHED;
	return 0;
}

int
rdma_disconnect(struct rdma_cm_id *id)
{
	(void)id;
	device_next_event = RDMA_CM_EVENT_DISCONNECTED;
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
	(*info)->ai_src_addr = made(sizeof(struct sockaddr_in));
	(*info)->ai_dst_addr = made(sizeof(struct sockaddr_in));
	return 0;
}

void
rdma_freeaddrinfo(struct rdma_addrinfo *info)
{
	free(info->ai_src_addr);
	free(info->ai_dst_addr);
	free(info);
}
