/* SPDX-License-Identifier: BSD-3-Clause */
/* Bounds, keys, access flags, protection domains: what fails, how, and what it does to both ends. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "conformance.h"

/*
 * The client's one bad request, already prepared, and what happens to both ends afterwards. `memory`
 * is what must not have changed: it holds 0xee. The server has three receives, the client two.
 */
static void
violate(struct pair *pair, struct request *request, const uint8_t *memory, size_t length)
{
	struct end *client = &pair->client, *server = &pair->server;

	post_recvs(server, 101, 3);
	post_recvs(client, 201, 2);
	/* what goes before is done all the same, what follows is flushed */
	NEED(post_op(client, IBV_WR_RDMA_WRITE, 1, 0, 0, (struct remote){0, 0}));
	if (say_result("post", post(client, request)))
		return;
	say_wcs("completions of the initiator", client, client->cq, 4);
	say_state("state of the initiator", client->qp);
	say_result("post after that", post_op(client, IBV_WR_RDMA_WRITE, 3, 0, 0, (struct remote){0, 0}));
	say_wcs("its completion", client, client->cq, 1);
	say_untouched("memory", memory, length, 0xee);
}

/* ... when the violation is one that the responder finds */
static void
responder_finds(struct pair *pair)
{
	say_wcs("completions of the responder", &pair->server, pair->server.cq, 3);
	say_state("state of the responder", pair->server.qp);
	say_async("asynchronous event", pair->server.id->verbs);
	say_no_event("CM event of the initiator", pair->client.channel);
	say_no_event("CM event of the responder", pair->server.channel);
}

/* ... when it is one that the initiator finds: the responder does not notice */
static void
initiator_finds(struct pair *pair)
{
	say_wcs("completions of the responder", &pair->server, pair->server.cq, 0);
	say_state("state of the responder", pair->server.qp);
	say_async("asynchronous event", pair->server.id->verbs);
	say_no_event("CM event of the initiator", pair->client.channel);
	say_no_event("CM event of the responder", pair->server.channel);
}

enum wrong {
	BEYOND_THE_END,
	WHOLLY_BEYOND,
	BEFORE_THE_START,
	WRONG_KEY,
	OTHER_DOMAIN,
	DEREGISTERED,
	TOO_LONG_BY_A_BYTE,
};

/* a request of `length` bytes whose remote side is wrong */
static void
wrong_remote(enum ibv_wr_opcode opcode, enum wrong wrong, size_t length)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct request request;
	struct remote remote;
	struct ibv_mr *part;
	struct ibv_pd *pd;
	uint8_t *region;

	setup.length = 3 * MIB;
	connect_pair(&pair, &setup);
	memset(pair.client.memory, opcode == IBV_WR_RDMA_READ ? 0xee : 0x11, setup.length);
	memset(pair.server.memory, opcode == IBV_WR_RDMA_READ ? 0x11 : 0xee, setup.length);

	/* 64 KiB in the middle */
	region = pair.server.memory + MIB;
	NEED_POINTER(part, ibv_reg_mr(pair.server.pd, region, 65536, ALL_ACCESS));
	remote = (struct remote){(uint64_t)(uintptr_t)region, part->rkey};
	switch (wrong) {
	case BEYOND_THE_END:
		remote.addr += 65536 - length / 2;
		break;
	case WHOLLY_BEYOND:
		remote.addr += 65536;
		break;
	case BEFORE_THE_START:
		remote.addr -= 1;
		break;
	case WRONG_KEY:
		remote.rkey ^= 0x55;
		break;
	case OTHER_DOMAIN:
		NEED_POINTER(pd, ibv_alloc_pd(pair.server.id->verbs));
		NEED_POINTER(part, ibv_reg_mr(pd, region, 65536, ALL_ACCESS));
		remote.rkey = part->rkey;
		break;
	case DEREGISTERED:
		NEED(ibv_dereg_mr(part));
		break;
	case TOO_LONG_BY_A_BYTE:
		length = 65537;
		break;
	}
	prepare(&request, &pair.client, opcode, 2, 0, length, remote);
	if (opcode == IBV_WR_RDMA_READ)
		violate(&pair, &request, pair.client.memory, length);
	else
		violate(&pair, &request, pair.server.memory, setup.length);
	responder_finds(&pair);
}

#define WRONG_REMOTE(name, opcode, wrong, length) \
	static void \
	name(void) \
	{ \
		wrong_remote(opcode, wrong, length); \
	}

WRONG_REMOTE(write_beyond, IBV_WR_RDMA_WRITE, BEYOND_THE_END, 64)
WRONG_REMOTE(write_far_beyond, IBV_WR_RDMA_WRITE, WHOLLY_BEYOND, 8)
WRONG_REMOTE(write_before, IBV_WR_RDMA_WRITE, BEFORE_THE_START, 8)
WRONG_REMOTE(write_large_beyond, IBV_WR_RDMA_WRITE, TOO_LONG_BY_A_BYTE, 0)
WRONG_REMOTE(write_wrong_key, IBV_WR_RDMA_WRITE, WRONG_KEY, 8)
WRONG_REMOTE(write_other_domain, IBV_WR_RDMA_WRITE, OTHER_DOMAIN, 8)
WRONG_REMOTE(write_deregistered, IBV_WR_RDMA_WRITE, DEREGISTERED, 8)
WRONG_REMOTE(write_imm_beyond, IBV_WR_RDMA_WRITE_WITH_IMM, BEYOND_THE_END, 64)
WRONG_REMOTE(write_imm_wrong_key, IBV_WR_RDMA_WRITE_WITH_IMM, WRONG_KEY, 8)
WRONG_REMOTE(read_beyond, IBV_WR_RDMA_READ, BEYOND_THE_END, 64)
WRONG_REMOTE(read_before, IBV_WR_RDMA_READ, BEFORE_THE_START, 8)
WRONG_REMOTE(read_large_beyond, IBV_WR_RDMA_READ, TOO_LONG_BY_A_BYTE, 0)
WRONG_REMOTE(read_wrong_key, IBV_WR_RDMA_READ, WRONG_KEY, 8)
WRONG_REMOTE(read_other_domain, IBV_WR_RDMA_READ, OTHER_DOMAIN, 8)
WRONG_REMOTE(read_deregistered, IBV_WR_RDMA_READ, DEREGISTERED, 8)

static void
missing_remote_access(enum ibv_wr_opcode opcode, int access)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct request request;
	struct ibv_mr *mr;

	connect_pair(&pair, &setup);
	memset(pair.client.memory, opcode == IBV_WR_RDMA_READ ? 0xee : 0x11, setup.length);
	memset(pair.server.memory, opcode == IBV_WR_RDMA_READ ? 0x11 : 0xee, setup.length);
	/* the receives are in memory of another region */
	NEED_POINTER(mr, ibv_reg_mr(pair.server.pd, pair.server.memory, setup.length, access));
	prepare(&request, &pair.client, opcode, 2, 0, 8, (struct remote){
			(uint64_t)(uintptr_t)pair.server.memory, mr->rkey});
	violate(&pair, &request, opcode == IBV_WR_RDMA_READ ? pair.client.memory : pair.server.memory,
			setup.length);
	responder_finds(&pair);
}

static void
write_not_allowed(void)
{
	missing_remote_access(IBV_WR_RDMA_WRITE, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);
}

static void
write_imm_not_allowed(void)
{
	missing_remote_access(IBV_WR_RDMA_WRITE_WITH_IMM, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);
}

static void
read_not_allowed(void)
{
	missing_remote_access(IBV_WR_RDMA_READ, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
}

/* a key with nothing behind it, but no byte either */
static void
empty_with_wrong_key(void)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ, IBV_WR_RDMA_WRITE_WITH_IMM,
	};
	static const char *const names[] = {"write", "read", "write with immediate"};
	struct setup setup = usual();

	for (size_t i = 0; i < COUNT_OF(opcodes); i++) {
		struct pair pair = {0};

		connect_pair(&pair, &setup);
		within("%s", names[i]);
		NEED(post_recv(&pair.server, 1, 0, 8));
		say_result("post", post_op(&pair.client, opcodes[i], 2, 0, 0, (struct remote){0xdead0000, 0xdead}));
		say_wc("completion", &pair.client, pair.client.cq);
		if (i == 2)
			say_wc("receive", &pair.server, pair.server.cq);
	}
}

enum wrong_local {
	LOCAL_BEYOND,
	LOCAL_KEY,
	LOCAL_DOMAIN,
	LOCAL_DEREGISTERED,
	LOCAL_WRITE_MISSING,
};

static void
wrong_local(enum ibv_wr_opcode opcode, enum wrong_local wrong)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct request request;
	struct ibv_mr *mr;
	struct ibv_pd *pd;

	connect_pair(&pair, &setup);
	memset(pair.client.memory, opcode == IBV_WR_RDMA_READ ? 0xee : 0x11, setup.length);
	memset(pair.server.memory, opcode == IBV_WR_RDMA_READ ? 0x11 : 0xee, setup.length);
	prepare(&request, &pair.client, opcode, 2, 0, 64, remote_of(&pair.server, 0));
	switch (wrong) {
	case LOCAL_BEYOND:
		NEED_POINTER(mr, ibv_reg_mr(pair.client.pd, pair.client.memory, 63, ALL_ACCESS));
		request.sge[0].lkey = mr->lkey;
		break;
	case LOCAL_KEY:
		request.sge[0].lkey ^= 0x55;
		break;
	case LOCAL_DOMAIN:
		NEED_POINTER(pd, ibv_alloc_pd(pair.client.id->verbs));
		NEED_POINTER(mr, ibv_reg_mr(pd, pair.client.memory, setup.length, ALL_ACCESS));
		request.sge[0].lkey = mr->lkey;
		break;
	case LOCAL_DEREGISTERED:
		NEED_POINTER(mr, ibv_reg_mr(pair.client.pd, pair.client.memory, setup.length, ALL_ACCESS));
		request.sge[0].lkey = mr->lkey;
		NEED(ibv_dereg_mr(mr));
		break;
	case LOCAL_WRITE_MISSING:
		NEED_POINTER(mr, ibv_reg_mr(pair.client.pd, pair.client.memory, setup.length,
				IBV_ACCESS_REMOTE_READ));
		request.sge[0].lkey = mr->lkey;
		break;
	}
	if (opcode == IBV_WR_RDMA_READ)
		violate(&pair, &request, pair.client.memory, setup.length);
	else
		violate(&pair, &request, pair.server.memory, setup.length);
	initiator_finds(&pair);
}

#define WRONG_LOCAL(name, opcode, wrong) \
	static void \
	name(void) \
	{ \
		wrong_local(opcode, wrong); \
	}

WRONG_LOCAL(send_local_beyond, IBV_WR_SEND, LOCAL_BEYOND)
WRONG_LOCAL(write_local_beyond, IBV_WR_RDMA_WRITE, LOCAL_BEYOND)
WRONG_LOCAL(read_local_beyond, IBV_WR_RDMA_READ, LOCAL_BEYOND)
WRONG_LOCAL(send_local_key, IBV_WR_SEND, LOCAL_KEY)
WRONG_LOCAL(write_local_key, IBV_WR_RDMA_WRITE, LOCAL_KEY)
WRONG_LOCAL(read_local_key, IBV_WR_RDMA_READ, LOCAL_KEY)
WRONG_LOCAL(write_local_domain, IBV_WR_RDMA_WRITE, LOCAL_DOMAIN)
WRONG_LOCAL(write_local_deregistered, IBV_WR_RDMA_WRITE, LOCAL_DEREGISTERED)
WRONG_LOCAL(read_local_not_writable, IBV_WR_RDMA_READ, LOCAL_WRITE_MISSING)

/* sources need no access at all */
static void
sources_without_access(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct request request;
	struct ibv_mr *mr;

	connect_pair(&pair, &setup);
	fill(pair.client.memory, 64, 2);
	NEED_POINTER(mr, ibv_reg_mr(pair.client.pd, pair.client.memory, setup.length, 0));
	prepare(&request, &pair.client, IBV_WR_RDMA_WRITE, 1, 0, 64, remote_of(&pair.server, 0));
	request.sge[0].lkey = mr->lkey;
	say_result("write", post(&pair.client, &request));
	say_wc("its completion", &pair.client, pair.client.cq);
	say_filled("data", pair.server.memory, 64, 2);
	NEED(post_recv(&pair.server, 2, 64, 64));
	request.wr.opcode = IBV_WR_SEND;
	say_result("send", post(&pair.client, &request));
	say_wc("its completion", &pair.client, pair.client.cq);
	say_wc("its receive", &pair.server, pair.server.cq);
}

/* the receive's memory is wrong, and a send arrives */
static void
bad_receive(enum wrong_local wrong)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct ibv_recv_wr wr, *bad;
	struct ibv_sge sge;
	struct ibv_mr *mr;

	connect_pair(&pair, &setup);
	memset(pair.server.memory, 0xee, setup.length);
	sge = (struct ibv_sge){.addr = (uint64_t)(uintptr_t)pair.server.memory, .length = 64};
	wr = (struct ibv_recv_wr){.wr_id = 1 | RECEIVE, .sg_list = &sge, .num_sge = 1};
	switch (wrong) {
	case LOCAL_BEYOND:
		NEED_POINTER(mr, ibv_reg_mr(pair.server.pd, pair.server.memory, 63, ALL_ACCESS));
		sge.lkey = mr->lkey;
		break;
	case LOCAL_KEY:
		sge.lkey = pair.server.mr->lkey ^ 0x55;
		break;
	case LOCAL_DEREGISTERED:
		NEED_POINTER(mr, ibv_reg_mr(pair.server.pd, pair.server.memory, 64, ALL_ACCESS));
		sge.lkey = mr->lkey;
		NEED(ibv_dereg_mr(mr));
		break;
	default:
		NEED_POINTER(mr, ibv_reg_mr(pair.server.pd, pair.server.memory, 64, IBV_ACCESS_REMOTE_READ));
		sge.lkey = mr->lkey;
	}
	say_result("post the receive", ibv_post_recv(pair.server.qp, &wr, &bad));
	post_recvs(&pair.server, 2, 2);
	NEED(post_send(&pair.client, 11, 0, 64));
	NEED(post_send(&pair.client, 12, 0, 64));
	say_wcs("completions of the sender", &pair.client, pair.client.cq, 2);
	say_wcs("completions of the receiver", &pair.server, pair.server.cq, 3);
	say_state("state of the sender", pair.client.qp);
	say_state("state of the receiver", pair.server.qp);
	say_async("asynchronous event", pair.server.id->verbs);
	say_untouched("memory", pair.server.memory, setup.length, 0xee);
}

static void
recv_beyond(void)
{
	bad_receive(LOCAL_BEYOND);
}

static void
recv_key(void)
{
	bad_receive(LOCAL_KEY);
}

static void
recv_deregistered(void)
{
	bad_receive(LOCAL_DEREGISTERED);
}

static void
recv_not_writable(void)
{
	bad_receive(LOCAL_WRITE_MISSING);
}

static void
recv_too_small(void)
{
	static const size_t sends[] = {64, 8192};
	struct setup setup = usual();

	for (size_t i = 0; i < COUNT_OF(sends); i++) {
		struct pair pair = {0};

		connect_pair(&pair, &setup);
		within("%zu bytes sent", sends[i]);
		memset(pair.server.memory, 0xee, setup.length);
		NEED(post_recv(&pair.server, 1, 0, sends[i] - 1));
		post_recvs(&pair.server, 2, 2);
		NEED(post_send(&pair.client, 11, 0, sends[i]));
		NEED(post_send(&pair.client, 12, 0, 8));
		say_wcs("completions of the sender", &pair.client, pair.client.cq, 2);
		say_wcs("completions of the receiver", &pair.server, pair.server.cq, 3);
		say_state("state of the sender", pair.client.qp);
		say_state("state of the receiver", pair.server.qp);
		say_async("asynchronous event", pair.server.id->verbs);
		say_no_event("CM event of the sender", pair.client.channel);
		say_no_event("CM event of the receiver", pair.server.channel);
		say_untouched("memory beyond the receive", pair.server.memory + sends[i] - 1,
				setup.length - sends[i] + 1, 0xee);
	}
}

static void
recv_exact(void)
{
	struct setup setup = usual();
	struct pair pair = {0};

	connect_pair(&pair, &setup);
	NEED(post_recv(&pair.server, 1, 0, 64));
	NEED(post_send(&pair.client, 2, 0, 64));
	say_wc("receive of just the size", &pair.server, pair.server.cq);
	NEED(post_recv(&pair.server, 3, 0, 64));
	NEED(post_send(&pair.client, 4, 0, 0));
	say_wc("empty send", &pair.server, pair.server.cq);
}

/* unsignalled requests complete when they fail, and the ones before them do not */
static void
unsignalled_failure(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct request request;

	connect_pair(&pair, &setup);
	for (unsigned i = 1; i <= 4; i++) {
		prepare(&request, &pair.client, IBV_WR_RDMA_WRITE, i, 0, 8, remote_of(&pair.server, 0));
		request.wr.send_flags = 0;
		if (i == 3)
			request.wr.wr.rdma.rkey ^= 0x55;
		NEED(post(&pair.client, &request));
	}
	say_wcs("completions", &pair.client, pair.client.cq, 2);
}

/* an error in one connection leaves another one of the same processes alone */
static void
other_connection_lives(void)
{
	struct setup setup = usual();
	struct pair first = {0}, second = {0};
	struct remote wrong;

	connect_pair(&first, &setup);
	second.listener = first.listener;
	connect_pair(&second, &setup);
	wrong = remote_of(&first.server, 0);
	wrong.rkey ^= 0x55;
	NEED(post_op(&first.client, IBV_WR_RDMA_WRITE, 1, 0, 8, wrong));
	say_wc("the bad one", &first.client, first.client.cq);
	NEED(post_op(&second.client, IBV_WR_RDMA_WRITE, 2, 0, 8, remote_of(&second.server, 0)));
	say_wc("the other one", &second.client, second.client.cq);
}

/* both ends fall out; what then ends the connection */
static void
disconnect_after_error(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct remote wrong;

	connect_pair(&pair, &setup);
	wrong = remote_of(&pair.server, 0);
	wrong.rkey ^= 0x55;
	NEED(post_op(&pair.client, IBV_WR_RDMA_WRITE, 1, 0, 8, wrong));
	say_wc("the bad one", &pair.client, pair.client.cq);
	say_result("client disconnects", rdma_disconnect(pair.client.id));
	say_event("server", pair.server.channel, NULL);
	say_result("server disconnects", rdma_disconnect(pair.server.id));
	say_event("client", pair.client.channel, NULL);
}

/* one region goes, while another one of the same memory stays */
static void
deregister_one_of_two(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct ibv_mr *mr;

	connect_pair(&pair, &setup);
	NEED_POINTER(mr, ibv_reg_mr(pair.server.pd, pair.server.memory, setup.length, ALL_ACCESS));
	say("keys of two regions of one memory", "%s", mr->rkey == pair.server.mr->rkey ? "the same" : "two");
	say_result("deregister one", ibv_dereg_mr(mr));
	NEED(post_op(&pair.client, IBV_WR_RDMA_WRITE, 1, 0, 8, remote_of(&pair.server, 0)));
	say_wc("write through the other", &pair.client, pair.client.cq);
}

const struct test_case protection_cases[] = {
	{.name = "write-beyond", .run = write_beyond},
	{.name = "write-far-beyond", .run = write_far_beyond},
	{.name = "write-before", .run = write_before},
	{.name = "write-large-beyond", .run = write_large_beyond},
	{.name = "write-wrong-key", .run = write_wrong_key},
	{.name = "write-other-domain", .run = write_other_domain},
	{.name = "write-deregistered", .run = write_deregistered},
	{.name = "write-not-allowed", .run = write_not_allowed},
	{.name = "write-with-immediate-beyond", .run = write_imm_beyond},
	{.name = "write-with-immediate-wrong-key", .run = write_imm_wrong_key},
	{.name = "write-with-immediate-not-allowed", .run = write_imm_not_allowed},
	{.name = "read-beyond", .run = read_beyond},
	{.name = "read-before", .run = read_before},
	{.name = "read-large-beyond", .run = read_large_beyond},
	{.name = "read-wrong-key", .run = read_wrong_key},
	{.name = "read-other-domain", .run = read_other_domain},
	{.name = "read-deregistered", .run = read_deregistered},
	{.name = "read-not-allowed", .run = read_not_allowed},
	{.name = "empty-with-wrong-key", .run = empty_with_wrong_key},
	{.name = "send-local-beyond", .run = send_local_beyond},
	{.name = "send-local-wrong-key", .run = send_local_key},
	{.name = "write-local-beyond", .run = write_local_beyond},
	{.name = "write-local-wrong-key", .run = write_local_key},
	{.name = "write-local-other-domain", .run = write_local_domain},
	{.name = "write-local-deregistered", .run = write_local_deregistered},
	{.name = "read-local-beyond", .run = read_local_beyond},
	{.name = "read-local-wrong-key", .run = read_local_key},
	{.name = "read-local-not-writable", .run = read_local_not_writable},
	{.name = "sources-without-access", .run = sources_without_access},
	{.name = "receive-beyond", .run = recv_beyond},
	{.name = "receive-wrong-key", .run = recv_key},
	{.name = "receive-deregistered", .run = recv_deregistered},
	{.name = "receive-not-writable", .run = recv_not_writable},
	{.name = "receive-too-small", .run = recv_too_small},
	{.name = "receive-exact", .run = recv_exact},
	{.name = "unsignalled-failure", .run = unsignalled_failure},
	{.name = "other-connection-lives", .run = other_connection_lives},
	{.name = "disconnect-after-error", .run = disconnect_after_error},
	{.name = "deregister-one-of-two", .run = deregister_one_of_two},
	{0},
};
