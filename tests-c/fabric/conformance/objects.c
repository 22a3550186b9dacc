/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices, protection domains, regions, queue pairs: making and destroying them. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conformance.h"

/* an id with a device and nothing else */
static struct ibv_context *
device(struct end *end)
{
	static struct listener listener;

	listen_any_port(&listener);
	resolve(end, listener.port);

	return end->id->verbs;
}

static void
destroy_in_use(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *client = &pair.client;
	struct ibv_srq_init_attr srq_attr = {.attr = {.max_wr = 4, .max_sge = 1}};
	struct ibv_srq *srq;
	struct ibv_pd *pd;

	connect_pair(&pair, &setup);
	say_result("PD with a queue pair and a region", ibv_dealloc_pd(client->pd));
	say_result("CQ with a queue pair", ibv_destroy_cq(client->cq));
	say_result("channel with a CQ", ibv_destroy_comp_channel(client->comp));
	NEED(post_op(client, IBV_WR_RDMA_WRITE, 1, 0, 8, remote_of(&pair.server, 0)));
	say_wc("write after that", client, client->cq);

	rdma_destroy_qp(client->id);
	say_result("PD with a region", ibv_dealloc_pd(client->pd));
	say_result("region", ibv_dereg_mr(client->mr));
	say_result("CQ", ibv_destroy_cq(client->cq));
	say_result("channel", ibv_destroy_comp_channel(client->comp));
	say_result("PD", ibv_dealloc_pd(client->pd));
	say_result("id", rdma_destroy_id(client->id));

	NEED_POINTER(pd, ibv_alloc_pd(pair.server.id->verbs));
	NEED_POINTER(srq, ibv_create_srq(pd, &srq_attr));
	say_result("PD with an SRQ", ibv_dealloc_pd(pd));
	NEED(ibv_destroy_srq(srq));
	say_result("PD without it", ibv_dealloc_pd(pd));
}

static void
try_reg(const char *step, struct ibv_pd *pd, void *addr, size_t length, int access)
{
	struct ibv_mr *mr = say_pointer(step, ibv_reg_mr(pd, addr, length, access));

	if (!mr)
		return;
	if (mr->addr != addr || mr->length != length || mr->pd != pd || mr->context != pd->context)
		say("its fields", "wrong");
	if (ibv_dereg_mr(mr))
		say("deregistration", "failed");
}

static void
registration(void)
{
	struct end end = {0};
	struct ibv_context *ctx = device(&end);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct ibv_pd *pd;
	uint8_t *memory, *reserved, *fixed;

	NEED_POINTER(pd, ibv_alloc_pd(ctx));
	memory = mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fixed = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reserved = mmap(NULL, 4 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || fixed == MAP_FAILED || reserved == MAP_FAILED)
		broken("mmap");

	try_reg("a page", pd, memory, page, ALL_ACCESS);
	try_reg("unaligned", pd, memory + 3, 21, ALL_ACCESS);
	try_reg("one byte", pd, memory + page - 1, 1, ALL_ACCESS);
	try_reg("no access", pd, memory, page, 0);
	try_reg("local write", pd, memory, page, IBV_ACCESS_LOCAL_WRITE);
	try_reg("remote read", pd, memory, page, IBV_ACCESS_REMOTE_READ);
	try_reg("remote write without local write", pd, memory, page, IBV_ACCESS_REMOTE_WRITE);
	try_reg("remote atomic without local write", pd, memory, page, IBV_ACCESS_REMOTE_ATOMIC);
	try_reg("remote atomic", pd, memory, page, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_ATOMIC);
	try_reg("relaxed ordering", pd, memory, page, ALL_ACCESS | IBV_ACCESS_RELAXED_ORDERING);
	try_reg("on demand", pd, memory, page, ALL_ACCESS | IBV_ACCESS_ON_DEMAND);
	try_reg("unknown access", pd, memory, page, 1 << 18);
	try_reg("native flush access", pd, memory, page, ALL_ACCESS | 1 << 8 | 1 << 9);
	try_reg("length 0", pd, memory, 0, ALL_ACCESS);
	try_reg("NULL, length 0", pd, NULL, 0, ALL_ACCESS);
	try_reg("NULL", pd, NULL, page, ALL_ACCESS);
	try_reg("beyond the address space", pd, (void *)(uintptr_t)-page, 2 * page, ALL_ACCESS);
	try_reg("longer than the address space", pd, memory, SIZE_MAX, ALL_ACCESS);
	try_reg("PROT_NONE", pd, reserved, page, IBV_ACCESS_REMOTE_READ);
	try_reg("read-only pages, read", pd, fixed, page, IBV_ACCESS_REMOTE_READ);
	try_reg("read-only pages, local write", pd, fixed, page, IBV_ACCESS_LOCAL_WRITE);
	try_reg("this program, read", pd, (void *)((uintptr_t)registration & ~(page - 1)), page,
			IBV_ACCESS_REMOTE_READ);
	munmap(reserved, 4 * page);
	munmap(memory + 4 * page, 4 * page);
	try_reg("partly unmapped", pd, memory, 8 * page, ALL_ACCESS);
	try_reg("unmapped", pd, memory + 4 * page, page, ALL_ACCESS);
}

static void
registration_fields(void)
{
	struct end end = {0};
	struct ibv_pd *pd;
	struct ibv_mr *mr, *other;
	uint8_t *memory;

	NEED_POINTER(pd, ibv_alloc_pd(device(&end)));
	NEED_POINTER(memory, malloc(4096));
	NEED_POINTER(mr, ibv_reg_mr(pd, memory, 4096, ALL_ACCESS));
	say("key of a region with remote access", "%s", mr->rkey ? "not 0" : "0");
	NEED_POINTER(other, ibv_reg_mr(pd, memory, 4096, 0));
	say("keys of two regions", "%s", mr->lkey != other->lkey ? "two" : "the same");
	NEED(ibv_dereg_mr(mr));
	NEED(ibv_dereg_mr(other));
}

static void
advice(void)
{
	struct end end = {0};
	struct ibv_sge sge = {.length = 4096};
	struct ibv_pd *pd;
	struct ibv_mr *mr;
	uint8_t *memory;

	NEED_POINTER(pd, ibv_alloc_pd(device(&end)));
	NEED_POINTER(memory, malloc(4096));
	NEED_POINTER(mr, ibv_reg_mr(pd, memory, 4096, ALL_ACCESS));
	sge.addr = (uint64_t)(uintptr_t)memory;
	sge.lkey = mr->lkey;
	say_result("prefetch", ibv_advise_mr(pd, IBV_ADVISE_MR_ADVICE_PREFETCH, IBV_ADVISE_MR_FLAG_FLUSH, &sge, 1));
	say_result("prefetch for writing", ibv_advise_mr(pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, 0, &sge, 1));
	say_result("unknown advice", ibv_advise_mr(pd, (enum ibv_advise_mr_advice)77, 0, &sge, 1));
}

static void
try_qp(const char *step, struct end *end, struct ibv_qp_init_attr attr, bool keep)
{
	if (say_result(step, rdma_create_qp(end->id, end->pd, &attr)) == 0 && !keep)
		rdma_destroy_qp(end->id);
}

static void
queue_pairs(void)
{
	struct end end = {0};
	struct ibv_context *ctx = device(&end);
	struct ibv_qp_init_attr good, attr;
	struct ibv_device_attr limits;
	struct ibv_cq *cq;

	NEED(ibv_query_device(ctx, &limits));
	NEED_POINTER(end.pd, ibv_alloc_pd(ctx));
	NEED_POINTER(cq, ibv_create_cq(ctx, 16, NULL, NULL, 0));
	good = (struct ibv_qp_init_attr){
		.send_cq = cq, .recv_cq = cq, .cap = {8, 8, 1, 1, 0}, .qp_type = IBV_QPT_RC,
	};
	try_qp("usual", &end, good, false);
	say("queue pair in the id after it was destroyed", "%s", end.id->qp ? "still there" : "NULL");
	attr = good;
	attr.cap.max_send_wr = (uint32_t)limits.max_qp_wr;
	try_qp("the longest send queue", &end, attr, false);
	attr.cap.max_send_wr++;
	try_qp("a longer one", &end, attr, false);
	attr = good;
	attr.cap.max_recv_wr = (uint32_t)limits.max_qp_wr + 1;
	try_qp("too long a receive queue", &end, attr, false);
	attr = good;
	attr.cap.max_send_sge = (uint32_t)limits.max_sge + 1;
	try_qp("too many SGEs in a send", &end, attr, false);
	attr = good;
	attr.cap.max_recv_sge = (uint32_t)limits.max_sge + 1;
	try_qp("too many SGEs in a receive", &end, attr, false);
	attr = good;
	attr.cap.max_inline_data = 1000000;
	try_qp("too much inline data", &end, attr, false);
	attr = good;
	attr.cap = (struct ibv_qp_cap){0, 0, 0, 0, 0};
	try_qp("nothing in its queues", &end, attr, false);
	attr = good;
	attr.qp_type = IBV_QPT_UD;
	try_qp("another type than the id's", &end, attr, false);

	attr = good;
	say_result("without a protection domain", rdma_create_qp(end.id, NULL, &attr));
	say("protection domain of the queue pair", "%s", !end.id->qp ? "none" :
			end.id->qp->pd == end.pd ? "the other" : "one of the device's");
	say("queue pair in the id", "%s", end.id->qp ? "yes" : "no");
	if (end.id->qp)
		rdma_destroy_qp(end.id);
	try_qp("a second time", &end, good, true);
	try_qp("while it has one", &end, good, true);
	say("fields of the queue pair", "%s", end.id->qp->pd == end.pd && end.id->qp->send_cq == cq &&
			end.id->qp->context == ctx && end.id->qp->qp_type == IBV_QPT_RC ? "right" : "wrong");
}

/* posting before there is any connection */
static void
post_unconnected(void)
{
	struct setup setup = usual();
	struct end end = {0};

	device(&end);
	equip(&end, &setup, ALL_ACCESS);
	say_state("state", end.qp);
	say_result("receive", post_recv(&end, 1, 0, 8));
	say_result("send", post_send(&end, 2, 0, 8));
	say_no_wc("completion", &end, end.cq);
	say_result("disconnect", rdma_disconnect(end.id));
	say_wcs("completions", &end, end.cq, 0);
}

static void
device_queries(void)
{
	struct end end = {0};
	struct ibv_context *ctx = device(&end);
	struct ibv_device_attr attr;
	struct ibv_device_attr_ex extended;
	struct ibv_port_attr port;

	say_result("device", ibv_query_device(ctx, &attr));
	say("ports", "%u", attr.phys_port_cnt);
	say("SGEs", "%s", attr.max_sge >= 1 ? "1 or more" : "none");
	say("SRQs", "%s", attr.max_srq >= 1 ? "1 or more" : "none");
	say("largest CQ", "%d", attr.max_cqe);
	say("largest region", "%s", attr.max_mr_size >= (uint64_t)1 << 40 ? "1 TiB or more" : "less than 1 TiB");
	say_result("device, extended", ibv_query_device_ex(ctx, NULL, &extended));
	say("on-demand paging", "%s", extended.odp_caps.general_caps & IBV_ODP_SUPPORT ? "yes" : "no");
	say_result("port", ibv_query_port(ctx, 1, &port));
	say("state of the port", "%s", port.state == IBV_PORT_ACTIVE ? "active" : "another");
	say("link layer", "%s", port.link_layer == IBV_LINK_LAYER_ETHERNET ? "Ethernet" : "another");
	say("largest message", "%s", port.max_msg_sz >= 1u << 23 ? "8 MiB or more" : "less");
	say_result("port 9", ibv_query_port(ctx, 9, &port));
	say("transport", "%s", ctx->device->transport_type == IBV_TRANSPORT_IB ? "InfiniBand" : "another");
	say("node type", "%s", ctx->device->node_type == IBV_NODE_CA ? "channel adapter" : "another");
	say("port of the id", "%u", end.id->port_num);
}

/* the same things again and again: nothing is used up */
static void
again_and_again(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct ibv_context *ctx;
	unsigned count;

	connect_pair(&pair, &setup);
	ctx = pair.client.id->verbs;
	for (count = 0; count < 500; count++) {
		struct ibv_pd *pd = ibv_alloc_pd(ctx);
		struct ibv_comp_channel *comp = ibv_create_comp_channel(ctx);
		struct ibv_cq *cq = comp ? ibv_create_cq(ctx, 4, NULL, comp, 0) : NULL;
		struct ibv_mr *mr = pd ? ibv_reg_mr(pd, pair.client.memory, 8, ALL_ACCESS) : NULL;

		if (!cq || !mr || ibv_dereg_mr(mr) || ibv_destroy_cq(cq) || ibv_destroy_comp_channel(comp) ||
				ibv_dealloc_pd(pd))
			break;
	}
	say("domains, channels, CQs and regions made and destroyed", "%u", count);
	for (count = 0; count < 200; count++) {
		struct rdma_event_channel *channel = rdma_create_event_channel();
		struct rdma_cm_id *id;

		if (!channel || rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) || rdma_destroy_id(id))
			break;
		rdma_destroy_event_channel(channel);
	}
	say("channels and ids made and destroyed", "%u", count);
	NEED(post_op(&pair.client, IBV_WR_RDMA_WRITE, 1, 0, 8, remote_of(&pair.server, 0)));
	say_wc("write after that", &pair.client, pair.client.cq);
}

const struct test_case object_cases[] = {
	{.name = "destroy-in-use", .run = destroy_in_use},
	{.name = "registration", .run = registration},
	{.name = "registration-fields", .run = registration_fields},
	{.name = "advice", .run = advice},
	{.name = "queue-pairs", .run = queue_pairs},
	{.name = "post-unconnected", .run = post_unconnected},
	{.name = "device-queries", .run = device_queries},
	{.name = "again-and-again", .run = again_and_again},
	{0},
};
