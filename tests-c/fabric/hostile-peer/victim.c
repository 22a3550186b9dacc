/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The victim: it gives the peer what it asks for in the private data of its request, or as a client what the parent
 * says, and is told by the parent when it is to look what became of its memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hostile.h"
#include "two-processes.h"

#define LOCAL IBV_ACCESS_LOCAL_WRITE

/* a page, the region, a page: no byte of the pages ever changes */
static char *memory;
static char *copy;

struct victim {
	struct rdma_cm_id *id;
	struct ibv_pd *pd, *other_pd;
	struct ibv_cq *cq;
	struct ibv_mr *mr, *local_only, *read_only, *in_other_pd, *inbox_mr;
	char inbox[INBOX];
	unsigned gone_key;
	unsigned posted;
	bool ended;
};

void
fill_memory(char *to)
{
	fill(to, REGION + 2 * PAGE, 7);
}

static void
prepare_memory(void)
{
	memory = mmap(NULL, REGION + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	copy = malloc(REGION + 2 * PAGE);
	CHECK(copy);
	fill_memory(memory);
	memcpy(copy, memory, REGION + 2 * PAGE);
}

static struct ibv_mr *
region(struct ibv_pd *pd, int access)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, memory + PAGE, REGION, access);

	CHECK(mr);

	return mr;
}

static void
post_to_peer(struct victim *victim)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)victim->inbox,
		.length = 8,
		.lkey = victim->inbox_mr->lkey,
	};
	static const enum ibv_wr_opcode opcodes[] = {IBV_WR_SEND, IBV_WR_RDMA_READ, IBV_WR_RDMA_WRITE};

	for (size_t i = 0; i < 3; i++) {
		struct ibv_send_wr wr = {
			.sg_list = &sge,
			.num_sge = 1,
			.opcode = opcodes[i],
			.send_flags = IBV_SEND_SIGNALED,
			.wr.rdma = {.remote_addr = 4096, .rkey = 7},
		};
		struct ibv_send_wr *bad;

		CHECK(ibv_post_send(victim->id->qp, &wr, &bad) == 0);
		victim->posted++;
	}
}

static struct victim *
prepare(struct rdma_cm_id *id, const struct wish *wish)
{
	struct ibv_qp_init_attr init = {
		.cap = {.max_send_wr = DEPTH, .max_recv_wr = DEPTH, .max_send_sge = 1, .max_recv_sge = 1},
		.qp_type = IBV_QPT_RC,
	};
	struct victim *victim = calloc(1, sizeof(*victim));
	struct ibv_mr *gone;

	CHECK(victim);
	victim->id = id;
	id->context = victim;
	victim->pd = ibv_alloc_pd(id->verbs);
	victim->other_pd = ibv_alloc_pd(id->verbs);
	victim->cq = ibv_create_cq(id->verbs, 4 * DEPTH, NULL, NULL, 0);
	CHECK(victim->pd && victim->other_pd && victim->cq);
	init.send_cq = init.recv_cq = victim->cq;
	if (wish->state != MISSING)
		CHECK(rdma_create_qp(id, victim->pd, &init) == 0);
	victim->mr = region(victim->pd, LOCAL | READ_ACCESS | WRITE_ACCESS |
			(getenv("HOSTILE_FLUSH") ? GLOBAL_ACCESS | PERSISTENT_ACCESS : 0));
	victim->local_only = region(victim->pd, LOCAL);
	victim->read_only = region(victim->pd, READ_ACCESS);
	victim->in_other_pd = region(victim->other_pd, LOCAL | READ_ACCESS | WRITE_ACCESS);
	gone = region(victim->pd, LOCAL | READ_ACCESS | WRITE_ACCESS);
	victim->gone_key = gone->rkey;
	CHECK(ibv_dereg_mr(gone) == 0);
	victim->inbox_mr = ibv_reg_mr(victim->pd, victim->inbox, INBOX, LOCAL);
	CHECK(victim->inbox_mr);
	for (unsigned i = 0; i < wish->receives; i++) {
		struct ibv_sge sge = {
			.addr = (uintptr_t)victim->inbox,
			.length = INBOX,
			.lkey = victim->inbox_mr->lkey,
		};
		struct ibv_recv_wr wr = {.sg_list = &sge, .num_sge = 1};
		struct ibv_recv_wr *bad;

		CHECK(ibv_post_recv(id->qp, &wr, &bad) == 0);
		victim->posted++;
	}

	return victim;
}

/* everything that was posted completes, once; then nothing keeps anything from being released */
static void
part(struct victim *victim)
{
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_wc wc;

	rdma_disconnect(victim->id);
	while (victim->posted > 0) {
		int count = ibv_poll_cq(victim->cq, 1, &wc);

		CHECK(count >= 0);
		victim->posted -= (unsigned)count;
		if (now_ns() > limit)
			die("%u work requests never completed", victim->posted);
	}
	CHECK(ibv_poll_cq(victim->cq, 1, &wc) == 0);
	if (victim->id->qp)
		rdma_destroy_qp(victim->id);
	CHECK(ibv_dereg_mr(victim->mr) == 0);
	CHECK(ibv_dereg_mr(victim->local_only) == 0);
	CHECK(ibv_dereg_mr(victim->read_only) == 0);
	CHECK(ibv_dereg_mr(victim->in_other_pd) == 0);
	CHECK(ibv_dereg_mr(victim->inbox_mr) == 0);
	CHECK(ibv_destroy_cq(victim->cq) == 0);
	CHECK(ibv_dealloc_pd(victim->pd) == 0);
	CHECK(ibv_dealloc_pd(victim->other_pd) == 0);
	CHECK(rdma_destroy_id(victim->id) == 0);
	free(victim);
}

/* tells the peer what it cannot know otherwise: it does nothing before that */
static void
get_ready(struct victim *victim, const struct wish *wish)
{
	struct ibv_qp_attr attr = {.qp_access_flags = wish->access};

	if (wish->state != MISSING)
		CHECK(ibv_modify_qp(victim->id->qp, &attr, IBV_QP_ACCESS_FLAGS) == 0);
	if (wish->posts)
		post_to_peer(victim);
	switch (wish->state) {
	case FAILED:
		attr.qp_state = IBV_QPS_ERR;
		CHECK(ibv_modify_qp(victim->id->qp, &attr, IBV_QP_STATE) == 0);
		break;
	case WAS_RESET:
		attr.qp_state = IBV_QPS_RESET;
		CHECK(ibv_modify_qp(victim->id->qp, &attr, IBV_QP_STATE) == 0);
		break;
	case DESTROYED:
		rdma_destroy_qp(victim->id);
		break;
	default:
		break;
	}
	/* what was posted to it is gone */
	if (wish->state == WAS_RESET || wish->state == DESTROYED)
		victim->posted = 0;
	report("ready %llx %x %x %x %x %x %x", (unsigned long long)(uintptr_t)(memory + PAGE), victim->mr->rkey,
			victim->mr->lkey, victim->local_only->rkey, victim->read_only->rkey,
			victim->in_other_pd->rkey, victim->gone_key);
}

static struct victim *
meet(struct rdma_cm_id *id, const struct wish *wish)
{
	struct rdma_conn_param param = conn_param(NULL, 0);
	struct victim *victim = prepare(id, wish);

	CHECK(rdma_accept(id, &param) == 0);
	get_ready(victim, wish);

	return victim;
}

/* the next event, which is one of a client's that connects */
static enum rdma_cm_event_type
next_type(struct rdma_event_channel *channel)
{
	struct rdma_cm_event *event = next_event(channel, wait_ms());
	enum rdma_cm_event_type type;

	if (!event)
		die("no event");
	type = event->event;
	CHECK(rdma_ack_cm_event(event) == 0);

	return type;
}

/* connects to a peer that is hostile; its victim if there is a connection */
static struct victim *
go_to(struct rdma_event_channel *channel, const char *address, unsigned port, const struct wish *wish)
{
	struct rdma_conn_param param = conn_param(NULL, 0);
	struct sockaddr_storage parsed;
	struct victim *victim;
	struct rdma_cm_id *id;

	parse_address(&parsed, address, port);
	CHECK(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) == 0);
	CHECK(rdma_resolve_addr(id, NULL, (struct sockaddr *)&parsed, wait_ms()) == 0);
	CHECK(next_type(channel) == RDMA_CM_EVENT_ADDR_RESOLVED);
	CHECK(rdma_resolve_route(id, wait_ms()) == 0);
	CHECK(next_type(channel) == RDMA_CM_EVENT_ROUTE_RESOLVED);
	victim = prepare(id, wish);
	CHECK(rdma_connect(id, &param) == 0);
	if (next_type(channel) == RDMA_CM_EVENT_ESTABLISHED) {
		get_ready(victim, wish);
		return victim;
	}
	report("turned away");
	part(victim);

	return NULL;
}


/* says whether the region was written, and how many descriptors and KiB the process has */
static void
check_memory(void)
{
	bool same = memcmp(memory + PAGE, copy + PAGE, REGION) == 0;

	CHECK(memcmp(memory, copy, PAGE) == 0);
	CHECK(memcmp(memory + PAGE + REGION, copy + PAGE + REGION, PAGE) == 0);
	memcpy(memory, copy, REGION + 2 * PAGE);
	report("%s %u %ld", same ? "same" : "written", descriptors(), resident());
}

int
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 8);
	struct victim *victim = NULL;
	struct link *honest = NULL;
	char line[32];
	bool is_asked = false, quit = false;

	prepare_memory();
	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	while (!quit || honest) {
		struct pollfd fds[] = {
			{.fd = channel->fd, .events = POLLIN},
			{.fd = quit ? -1 : STDIN_FILENO, .events = POLLIN},
		};
		struct rdma_cm_event *event;
		enum rdma_cm_event_type type;
		struct rdma_cm_id *id;
		struct wish wish = {0};

		if (is_asked && (!victim || victim->ended)) {
			if (victim)
				part(victim);
			victim = NULL;
			is_asked = false;
			check_memory();
		}
		CHECK(poll(fds, 2, wait_ms()) >= 0 || errno == EINTR);
		if (is_asked && !fds[0].revents)
			die("the connection to the hostile peer has not ended");
		if (fds[1].revents) {
			unsigned to;

			if (!listen_to_parent(line, sizeof(line)) || strcmp(line, "quit") == 0) {
				quit = true;
			} else if (sscanf(line, "connect %u %hu %hhu %hhu %hhu", &to, &wish.access,
					&wish.receives, &wish.posts, &wish.state) == 5) {
				CHECK(!victim);
				victim = go_to(channel, address, to, &wish);
				continue;
			} else {
				is_asked = true;
			}
		}
		if (!fds[0].revents)
			continue;
		event = next_event(channel, 0);
		CHECK(event);
		type = event->event;
		id = event->id;
		if (type == RDMA_CM_EVENT_CONNECT_REQUEST && event->param.conn.private_data_len >= sizeof(wish))
			memcpy(&wish, event->param.conn.private_data, sizeof(wish));
		CHECK(rdma_ack_cm_event(event) == 0);
		if (type == RDMA_CM_EVENT_CONNECT_REQUEST && wish.hostile) {
			CHECK(!victim);
			victim = meet(id, &wish);
		} else if (type == RDMA_CM_EVENT_CONNECT_REQUEST) {
			CHECK(!honest);
			honest = malloc(sizeof(*honest));
			CHECK(honest);
			link_open(honest, id, PAGE, DEPTH);
			accept_link(honest);
		} else if (type == RDMA_CM_EVENT_DISCONNECTED && honest && id == honest->id) {
			CHECK(quit);
			rdma_disconnect(id);
			link_close(honest);
			free(honest);
			honest = NULL;
		} else if (type == RDMA_CM_EVENT_DISCONNECTED ||
				type == RDMA_CM_EVENT_REJECTED || type == RDMA_CM_EVENT_UNREACHABLE) {
			/* the latter two: of a client that has not said that it uses the connection */
			CHECK(victim && id == victim->id);
			victim->ended = true;
		}
	}
	CHECK(rdma_destroy_id(listener) == 0);
	release_pd();
	rdma_destroy_event_channel(channel);

	return 0;
}
