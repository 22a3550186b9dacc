/* SPDX-License-Identifier: BSD-3-Clause */
/* The states of a queue pair that the program modifies itself (ibv_modify_qp). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "conformance.h"

struct attribute {
	int bit;
	const char *name;
};

#define ATTRIBUTE(suffix) {IBV_QP_##suffix, #suffix}
static const struct attribute attributes[] = {
	ATTRIBUTE(CUR_STATE), ATTRIBUTE(EN_SQD_ASYNC_NOTIFY), ATTRIBUTE(ACCESS_FLAGS), ATTRIBUTE(PKEY_INDEX),
	ATTRIBUTE(PORT), ATTRIBUTE(QKEY), ATTRIBUTE(AV), ATTRIBUTE(PATH_MTU), ATTRIBUTE(TIMEOUT),
	ATTRIBUTE(RETRY_CNT), ATTRIBUTE(RNR_RETRY), ATTRIBUTE(RQ_PSN), ATTRIBUTE(MAX_QP_RD_ATOMIC),
	ATTRIBUTE(ALT_PATH), ATTRIBUTE(MIN_RNR_TIMER), ATTRIBUTE(SQ_PSN), ATTRIBUTE(MAX_DEST_RD_ATOMIC),
	ATTRIBUTE(PATH_MIG_STATE), ATTRIBUTE(CAP), ATTRIBUTE(DEST_QPN), ATTRIBUTE(RATE_LIMIT),
};

/*
 * A server that creates its queue pair itself and has the request of a client: then the connection manager knows the
 * attributes that the queue pair needs.
 */
struct moved {
	struct listener listener;
	struct end client, server;
	struct ibv_qp *qp;
};

static enum ibv_qp_state
state_of(struct ibv_qp *qp)
{
	struct ibv_qp_attr attr;
	struct ibv_qp_init_attr init;

	NEED(ibv_query_qp(qp, &attr, IBV_QP_STATE, &init));

	return attr.qp_state;
}

/* prints the result, and the state if it has changed */
static int
modify(const char *step, struct ibv_qp *qp, struct ibv_qp_attr attr, int mask)
{
	enum ibv_qp_state before = state_of(qp), after;
	int ret = ibv_modify_qp(qp, &attr, mask);

	after = state_of(qp);
	if (after == before)
		say(step, "%s", ret ? errno_name(ret) : "0");
	else
		say(step, "%s, state %s", ret ? errno_name(ret) : "0", qp_state_name(after));

	return ret;
}

static struct ibv_qp *
new_qp(struct end *end)
{
	struct ibv_qp_init_attr init = {
		.cap = {.max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 1, .max_recv_sge = 1},
		.qp_type = IBV_QPT_RC,
	};
	struct ibv_qp *qp;

	if (!end->pd) {
		NEED_POINTER(end->pd, ibv_alloc_pd(end->id->verbs));
		NEED_POINTER(end->cq, ibv_create_cq(end->id->verbs, 16, NULL, NULL, 0));
	}
	init.send_cq = init.recv_cq = end->cq;
	NEED_POINTER(qp, ibv_create_qp(end->pd, &init));

	return qp;
}

static void
with_request(struct moved *moved)
{
	struct setup setup = usual();
	struct cm_event event;

	memset(moved, 0, sizeof(*moved));
	listen_any_port(&moved->listener);
	client_start(&moved->client, moved->listener.port, &setup);
	need_event(moved->listener.channel, RDMA_CM_EVENT_CONNECT_REQUEST, &event);
	moved->server.id = event.id;
	moved->server.channel = moved->listener.channel;
	moved->qp = new_qp(&moved->server);
}

/* the attributes that the connection manager gives for a state */
static struct ibv_qp_attr
wanted(struct moved *moved, enum ibv_qp_state state, int *mask)
{
	struct ibv_qp_attr attr = {.qp_state = state};

	NEED(rdma_init_qp_attr(moved->server.id, &attr, mask));
	attr.qp_state = state;
	*mask |= IBV_QP_STATE;

	return attr;
}

static void
move_to(struct moved *moved, enum ibv_qp_state state)
{
	int mask;
	struct ibv_qp_attr attr = wanted(moved, state, &mask);

	NEED(ibv_modify_qp(moved->qp, &attr, mask));
}

static void
say_mask(const char *step, int mask)
{
	char text[512] = "";

	for (size_t i = 0; i < COUNT_OF(attributes); i++)
		if (mask & attributes[i].bit) {
			if (text[0])
				strcat(text, " ");
			strcat(text, attributes[i].name);
		}
	say(step, "%s", text[0] ? text : "none");
}

/* each of the attributes left out in turn, and each other one added */
static void
less_and_more(struct ibv_qp *qp, struct ibv_qp_attr attr, int mask)
{
	char step[64];

	for (size_t i = 0; i < COUNT_OF(attributes); i++) {
		int bit = attributes[i].bit;

		/* a complete set would change the state, and belongs to another step */
		if (mask & bit || !(bit & (IBV_QP_CUR_STATE | IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX |
				IBV_QP_MIN_RNR_TIMER | IBV_QP_ALT_PATH | IBV_QP_PATH_MIG_STATE))) {
			snprintf(step, sizeof(step), "%s %s", mask & bit ? "without" : "with", attributes[i].name);
			modify(step, qp, attr, mask ^ bit);
		}
	}
	modify("the state alone", qp, attr, IBV_QP_STATE);
	modify("with an unknown attribute", qp, attr, mask | 1 << 27);
	modify("nothing at all", qp, attr, 0);
}

/* invalid values, and values that look invalid */
static void
wrong_states(struct ibv_qp *qp, const enum ibv_qp_state *states, size_t count)
{
	char step[64];

	for (size_t i = 0; i < count; i++) {
		struct ibv_qp_attr attr = {.qp_state = states[i]};

		snprintf(step, sizeof(step), "to %s", qp_state_name(states[i]));
		modify(step, qp, attr, IBV_QP_STATE);
	}
	modify("to an unknown state", qp, (struct ibv_qp_attr){.qp_state = 77}, IBV_QP_STATE);
	modify("to IBV_QPS_UNKNOWN", qp, (struct ibv_qp_attr){.qp_state = IBV_QPS_UNKNOWN}, IBV_QP_STATE);
}

static void
modify_reset(void)
{
	static const enum ibv_qp_state states[] = {IBV_QPS_RTR, IBV_QPS_RTS, IBV_QPS_SQD, IBV_QPS_SQE};
	struct moved moved;
	struct ibv_qp_attr attr, other;
	int mask;

	with_request(&moved);
	attr = wanted(&moved, IBV_QPS_INIT, &mask);
	say_mask("attributes wanted", mask);
	say("port wanted", "%u", attr.port_num);
	less_and_more(moved.qp, attr, mask);
	wrong_states(moved.qp, states, COUNT_OF(states));
	other = attr;
	other.port_num = 2;
	modify("port 2", moved.qp, other, mask);
	other.port_num = 0;
	modify("port 0", moved.qp, other, mask);
	other = attr;
	other.cur_qp_state = IBV_QPS_RESET;
	modify("with the right current state", moved.qp, other, mask | IBV_QP_CUR_STATE);
	other = attr;
	other.qp_state = IBV_QPS_RTR;
	modify("to RTR with the attributes for INIT", moved.qp, other, mask);
	modify("to RESET", moved.qp, (struct ibv_qp_attr){.qp_state = IBV_QPS_RESET}, IBV_QP_STATE);
	modify("to RESET, with a port", moved.qp,
			(struct ibv_qp_attr){.qp_state = IBV_QPS_RESET, .port_num = 1}, IBV_QP_STATE | IBV_QP_PORT);
	modify("to INIT", moved.qp, attr, mask);
}

static void
modify_init(void)
{
	static const enum ibv_qp_state states[] = {IBV_QPS_RTS, IBV_QPS_SQD, IBV_QPS_SQE};
	struct moved moved;
	struct ibv_qp_attr attr, other;
	int mask;

	with_request(&moved);
	move_to(&moved, IBV_QPS_INIT);
	attr = wanted(&moved, IBV_QPS_RTR, &mask);
	say_mask("attributes wanted", mask);
	less_and_more(moved.qp, attr, mask);
	wrong_states(moved.qp, states, COUNT_OF(states));
	other = attr;
	other.path_mtu = (enum ibv_mtu)(IBV_MTU_4096 + 1);
	modify("MTU too large", moved.qp, other, mask);
	other = attr;
	other.ah_attr.port_num = 2;
	modify("port 2 in the address", moved.qp, other, mask);

	other = (struct ibv_qp_attr){.qp_state = IBV_QPS_INIT, .port_num = 1, .qp_access_flags = 0};
	modify("to INIT, the state alone", moved.qp, other, IBV_QP_STATE);
	modify("to INIT, with a port", moved.qp, other, IBV_QP_STATE | IBV_QP_PORT);
	modify("to INIT, with access", moved.qp, other, IBV_QP_STATE | IBV_QP_ACCESS_FLAGS);
	other.port_num = 2;
	modify("to INIT, with port 2", moved.qp, other, IBV_QP_STATE | IBV_QP_PORT);
	modify("to INIT, with an MTU", moved.qp, other, IBV_QP_STATE | IBV_QP_PATH_MTU);
	modify("a port without a state", moved.qp, (struct ibv_qp_attr){.port_num = 1}, IBV_QP_PORT);
	modify("an MTU without a state", moved.qp, attr, IBV_QP_PATH_MTU);

	/* more reads than the device supports: this is accepted */
	other = attr;
	other.max_dest_rd_atomic = 200;
	modify("to RTR with access, and 200 reads to answer", moved.qp, other,
			mask | IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX);
}

static void
modify_rtr(void)
{
	static const enum ibv_qp_state states[] = {IBV_QPS_INIT, IBV_QPS_RTR, IBV_QPS_SQD, IBV_QPS_SQE};
	struct moved moved;
	struct ibv_qp_attr attr, other;
	int mask;

	with_request(&moved);
	move_to(&moved, IBV_QPS_INIT);
	move_to(&moved, IBV_QPS_RTR);
	attr = wanted(&moved, IBV_QPS_RTS, &mask);
	say_mask("attributes wanted", mask);
	less_and_more(moved.qp, attr, mask);
	wrong_states(moved.qp, states, COUNT_OF(states));
	other = attr;
	other.max_rd_atomic = 200;
	modify("200 reads to ask for", moved.qp, other, mask);
	other = attr;
	other.timeout = 32;
	modify("time-out 32", moved.qp, other, mask);
	other = attr;
	other.cur_qp_state = IBV_QPS_RESET;
	modify("with RESET as the current state", moved.qp, other, mask | IBV_QP_CUR_STATE);
	other.cur_qp_state = (enum ibv_qp_state)77;
	modify("with an unknown current state", moved.qp, other, mask | IBV_QP_CUR_STATE);
	other.cur_qp_state = IBV_QPS_RTR;
	other.min_rnr_timer = 12;
	modify("with the current state", moved.qp, other, mask | IBV_QP_CUR_STATE | IBV_QP_MIN_RNR_TIMER);
}

static void
modify_rts(void)
{
	static const enum ibv_qp_state states[] = {IBV_QPS_INIT, IBV_QPS_RTR, IBV_QPS_SQE};
	struct moved moved;
	struct rdma_conn_param param;
	struct setup setup = usual();
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS, .cur_qp_state = IBV_QPS_RTS, .port_num = 1};

	with_request(&moved);
	move_to(&moved, IBV_QPS_INIT);
	move_to(&moved, IBV_QPS_RTR);
	move_to(&moved, IBV_QPS_RTS);
	wrong_states(moved.qp, states, COUNT_OF(states));
	modify("to RTS", moved.qp, attr, IBV_QP_STATE);
	modify("to RTS, with the current state", moved.qp, attr, IBV_QP_STATE | IBV_QP_CUR_STATE);
	modify("to RTS, with access", moved.qp, attr, IBV_QP_STATE | IBV_QP_ACCESS_FLAGS);
	modify("to RTS, with a RNR timer", moved.qp, attr, IBV_QP_STATE | IBV_QP_MIN_RNR_TIMER);
	modify("to RTS, with a time-out", moved.qp, attr, IBV_QP_STATE | IBV_QP_TIMEOUT);
	modify("to RTS, with a retry count", moved.qp, attr, IBV_QP_STATE | IBV_QP_RETRY_CNT);
	modify("to RTS, with a port", moved.qp, attr, IBV_QP_STATE | IBV_QP_PORT);
	modify("access without a state", moved.qp, attr, IBV_QP_ACCESS_FLAGS);
	modify("a port without a state", moved.qp, attr, IBV_QP_PORT);
	attr.qp_state = IBV_QPS_SQD;
	modify("to SQD, with a port", moved.qp, attr, IBV_QP_STATE | IBV_QP_PORT);

	param = conn_param(&setup);
	param.qp_num = moved.qp->qp_num;
	say_result("accept", rdma_accept(moved.server.id, &param));
	say_event("client", moved.client.channel, NULL);

	attr.qp_state = IBV_QPS_ERR;
	modify("to ERR, with a port", moved.qp, attr, IBV_QP_STATE | IBV_QP_PORT);
	modify("to ERR", moved.qp, attr, IBV_QP_STATE);
}

static void
modify_err(void)
{
	static const enum ibv_qp_state states[] = {IBV_QPS_INIT, IBV_QPS_RTR, IBV_QPS_RTS, IBV_QPS_SQD,
		IBV_QPS_SQE, IBV_QPS_ERR};
	struct moved moved;
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR, .port_num = 1};
	int mask;

	with_request(&moved);
	modify("RESET to ERR", moved.qp, attr, IBV_QP_STATE);
	move_to(&moved, IBV_QPS_INIT);
	modify("INIT to ERR", moved.qp, attr, IBV_QP_STATE);
	modify("nothing at all", moved.qp, attr, 0);
	wrong_states(moved.qp, states, COUNT_OF(states));
	attr = wanted(&moved, IBV_QPS_INIT, &mask);
	modify("to INIT with what that wants", moved.qp, attr, mask);
	attr.qp_state = IBV_QPS_RESET;
	modify("to RESET, with access", moved.qp, attr, IBV_QP_STATE | IBV_QP_ACCESS_FLAGS);
	modify("to RESET", moved.qp, attr, IBV_QP_STATE);
	attr.qp_state = IBV_QPS_INIT;
	modify("to INIT then", moved.qp, attr, mask);
	attr.qp_state = IBV_QPS_ERR;
	modify("to ERR", moved.qp, attr, IBV_QP_STATE);
}

/* ibv_query_qp returns the attributes that were set */
static void
modify_and_query(void)
{
	struct moved moved;
	struct ibv_qp_attr attr, seen;
	struct ibv_qp_init_attr init;
	int mask;

	with_request(&moved);
	NEED(ibv_query_qp(moved.qp, &seen, IBV_QP_STATE | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS, &init));
	within("RESET");
	say("port", "%u", seen.port_num);
	say("access", "%#x", seen.qp_access_flags);

	within("INIT");
	attr = wanted(&moved, IBV_QPS_INIT, &mask);
	say("access wanted", "%#x", attr.qp_access_flags);
	attr.qp_access_flags = IBV_ACCESS_REMOTE_READ;
	NEED(ibv_modify_qp(moved.qp, &attr, mask));
	NEED(ibv_query_qp(moved.qp, &seen, mask, &init));
	say("port", "%u", seen.port_num);
	say("access", "%#x", seen.qp_access_flags);

	within("RTR");
	attr = wanted(&moved, IBV_QPS_RTR, &mask);
	say("reads to answer wanted", "%u", attr.max_dest_rd_atomic);
	attr.max_dest_rd_atomic = 3;
	attr.min_rnr_timer = 14;
	attr.path_mtu = IBV_MTU_512;
	attr.rq_psn = 77;
	NEED(ibv_modify_qp(moved.qp, &attr, mask));
	NEED(ibv_query_qp(moved.qp, &seen, mask, &init));
	say("reads to answer (3 asked for)", "%u", seen.max_dest_rd_atomic);
	say("RNR timer", "%u", seen.min_rnr_timer);
	say("MTU", "%u", 128u << seen.path_mtu);
	say("PSN", "%u", seen.rq_psn);
	say("peer", "%s", seen.dest_qp_num == moved.client.qp->qp_num ? "the client" : "another");

	within("RTS");
	attr = wanted(&moved, IBV_QPS_RTS, &mask);
	say("reads to ask for wanted", "%u", attr.max_rd_atomic);
	attr.max_rd_atomic = 5;
	attr.timeout = 13;
	attr.retry_cnt = 2;
	attr.rnr_retry = 3;
	NEED(ibv_modify_qp(moved.qp, &attr, mask));
	NEED(ibv_query_qp(moved.qp, &seen, mask, &init));
	say("reads to ask for (5 asked for)", "%u", seen.max_rd_atomic);
	say("time-out", "%u", seen.timeout);
	say("retry count", "%u", seen.retry_cnt);
	say("RNR retry count", "%u", seen.rnr_retry);
}

/* what the queue pair does not allow, whatever the memory region does */
static void
try_access(const char *name, int access)
{
	struct setup setup = usual();
	struct rdma_conn_param param;
	struct moved moved;
	struct ibv_qp_attr attr;
	struct ibv_mr *mr;
	uint8_t memory[8] = {0};
	int mask;

	with_request(&moved);
	attr = wanted(&moved, IBV_QPS_INIT, &mask);
	attr.qp_access_flags = (unsigned)access;
	NEED(ibv_modify_qp(moved.qp, &attr, mask));
	move_to(&moved, IBV_QPS_RTR);
	move_to(&moved, IBV_QPS_RTS);
	param = conn_param(&setup);
	param.qp_num = moved.qp->qp_num;
	NEED(rdma_accept(moved.server.id, &param));
	established(&moved.client);
	established(&moved.server);
	NEED_POINTER(mr, ibv_reg_mr(moved.server.pd, memory, sizeof(memory), ALL_ACCESS));

	within("%s", name);
	for (int op = 0; op < 2; op++) {
		struct remote remote = {.addr = (uint64_t)(uintptr_t)memory, .rkey = mr->rkey};

		NEED(post_op(&moved.client, op ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE, 1, 0, 8, remote));
		say_wc(op ? "read" : "write", &moved.client, moved.client.cq);
	}
	say_state("state of the client", moved.client.qp);
	say_state("state of the server", moved.qp);
	NEED(rdma_disconnect(moved.client.id));
}

static void
modify_access(void)
{
	try_access("all", IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
	try_access("no reads", IBV_ACCESS_REMOTE_WRITE);
	try_access("no writes", IBV_ACCESS_REMOTE_READ);
}

const struct test_case modify_cases[] = {
	{.name = "modify-reset", .run = modify_reset},
	{.name = "modify-init", .run = modify_init},
	{.name = "modify-rtr", .run = modify_rtr},
	{.name = "modify-rts", .run = modify_rts},
	{.name = "modify-err", .run = modify_err},
	{.name = "modify-and-query", .run = modify_and_query},
	{.name = "modify-access", .run = modify_access},
	{0},
};
