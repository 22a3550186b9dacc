/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Some threads post on one connection, others collect the completions, and others use the other objects at the
 * same time.
 */
#include <arpa/inet.h>

#include "threads.h"

/*
 * Each thread has a slot of the same place in each region. Client: what it writes and sends, and what
 * it reads back. Server: what it writes to, and where a message arrives, of whichever thread.
 */
#define HALF ((size_t)32768)
#define SLOT (2 * HALF)
/* above 16 KiB, from where on softrdma copies directly between processes of one host */
#define LONG_WRITE ((size_t)20000)
#define LONGEST_MESSAGE ((size_t)200)

/* what a completion is for */
struct op {
	sem_t done;
	struct ibv_wc wc;
};

struct poster {
	struct op op;		/* what the client posted */
	struct op receive;	/* the thread's receive, used by some message */
	sem_t arrived;		/* the thread's message, in some receive */
	uint32_t sent;		/* which is the immediate, and the start of the text */
};

struct crowd {
	struct pair pair;
	struct region client;
	struct region server;
	struct poster posters[TEAM];
	/* the functions of older releases, if they are to be used */
	const struct older_functions *older;
};

static size_t
message_len(uint32_t sent)
{
	return sizeof(sent) + sent % LONGEST_MESSAGE;
}

static uint32_t
message_of(unsigned thread, unsigned round)
{
	return thread << 24 | (round & 0xffffff);
}

/* --- posting --- */

/* of operations that a device may do natively or not */
#define ANY_OPCODE ((enum ibv_wc_opcode)-1)

static bool
completed(struct op *op, enum ibv_wc_opcode opcode)
{
	MUST(take_semaphore(&op->done));
	if (op->wc.status != IBV_WC_SUCCESS)
		return complain(__FILE__, __LINE__, "a completion with status %d (%s)",
				op->wc.status, ibv_wc_status_str(op->wc.status));
	MUST(op->wc.opcode == opcode || opcode == ANY_OPCODE);

	return true;
}

/* writes, flushes, and reads it back */
static bool
write_and_read(struct crowd *crowd, unsigned thread, unsigned round)
{
	struct rpma_conn *conn = crowd->pair.client.conn;
	struct op *op = &crowd->posters[thread].op;
	const size_t at = thread * SLOT;
	const size_t len = round % 4 == 3 ? LONG_WRITE + round : 8 + round % 500;
	char *out = crowd->client.mem + at;
	char *back = out + HALF;
	const char *there = crowd->server.mem + at;

	fill(out, len, message_of(thread, round));
	WORKS(rpma_write(conn, crowd->server.remote, at, crowd->client.mr, at, len, ON_ERROR, op));
	WORKS(rpma_flush(conn, crowd->server.remote, at, len, RPMA_FLUSH_TYPE_VISIBILITY, ALWAYS,
			op));
	if (!completed(op, ANY_OPCODE))
		return false;
	MUST(memcmp(there, out, len) == 0);

	memset(back, 0, len);
	WORKS(rpma_read(conn, crowd->client.mr, at + HALF, crowd->server.remote, at, len, ALWAYS,
			op));
	if (!completed(op, IBV_WC_RDMA_READ))
		return false;
	MUST(memcmp(back, out, len) == 0);

	return true;
}

static bool
write_8_bytes(struct crowd *crowd, unsigned thread, unsigned round)
{
	struct rpma_conn *conn = crowd->pair.client.conn;
	struct op *op = &crowd->posters[thread].op;
	const size_t at = thread * SLOT;
	const uint64_t value = (uint64_t)message_of(thread, round) << 32 | round;
	uint64_t there = 0;

	if (crowd->older && round % 2) {
		memcpy(crowd->client.mem + at, &value, sizeof(value));
		WORKS(crowd->older->write_atomic(conn, crowd->server.remote, at,
				crowd->client.mr, at, ALWAYS, op));
	} else {
		WORKS(rpma_atomic_write(conn, crowd->server.remote, at, (const char *)&value,
				ALWAYS, op));
	}
	if (!completed(op, ANY_OPCODE))
		return false;
	memcpy(&there, crowd->server.mem + at, sizeof(there));
	MUST(there == value);

	return true;
}

/* one receive and one message: which one meets which, the threads' order decides */
static bool
send_and_receive(struct crowd *crowd, unsigned thread, unsigned round)
{
	struct rpma_conn *client = crowd->pair.client.conn;
	struct poster *me = &crowd->posters[thread];
	const size_t at = thread * SLOT;
	const uint32_t sent = message_of(thread, round);
	const size_t len = message_len(sent);
	char *text = crowd->client.mem + at;

	fill(text, len, sent);
	memcpy(text, &sent, sizeof(sent));
	me->sent = sent;
	WORKS(rpma_recv(crowd->pair.server.conn, crowd->server.mr, at + HALF,
			sizeof(sent) + LONGEST_MESSAGE, &me->receive));
	switch (round % 3) {
	case 0:
		WORKS(rpma_send(client, crowd->client.mr, at, len, ALWAYS, &me->op));
		break;
	case 1:
		WORKS(rpma_send_with_imm(client, crowd->client.mr, at, len, ALWAYS, sent, &me->op));
		break;
	default:
		WORKS(rpma_write_with_imm(client, crowd->server.remote, at, crowd->client.mr, at,
				len, ALWAYS, sent, &me->op));
	}
	if (!completed(&me->op, round % 3 == 2 ? IBV_WC_RDMA_WRITE : IBV_WC_SEND))
		return false;
	MUST(take_semaphore(&me->arrived));
	MUST(take_semaphore(&me->receive.done));
	if (round % 3 == 2)
		MUST(memcmp(crowd->server.mem + at, text, len) == 0);

	return true;
}

static bool
posts(void *arg, unsigned thread, unsigned round)
{
	return write_and_read(arg, thread, round) && write_8_bytes(arg, thread, round) &&
			send_and_receive(arg, thread, round);
}

/* --- collecting --- */

/* a receive of the server: what arrived, and which thread waits for it */
static bool
received(struct crowd *crowd, const struct ibv_wc *wc)
{
	struct op *op = (struct op *)(uintptr_t)wc->wr_id;
	const struct poster *receiver = (struct poster *)((char *)op - offsetof(struct poster, receive));
	const size_t index = (size_t)(receiver - crowd->posters);
	const char *text = crowd->server.mem + index * SLOT + HALF;
	char want[sizeof(uint32_t) + LONGEST_MESSAGE];
	uint32_t sent = 0;

	MUST(wc->status == IBV_WC_SUCCESS);
	MUST(index < TEAM);
	if (wc->opcode == IBV_WC_RECV)
		memcpy(&sent, text, sizeof(sent));
	else
		MUST(wc->opcode == IBV_WC_RECV_RDMA_WITH_IMM);
	if (wc->wc_flags & IBV_WC_WITH_IMM)
		sent = ntohl(wc->imm_data);
	MUST(sent >> 24 < TEAM);
	MUST(crowd->posters[sent >> 24].sent == sent);
	MUST(wc->byte_len == message_len(sent));
	if (wc->opcode == IBV_WC_RECV) {
		fill(want, message_len(sent), sent);
		memcpy(want, &sent, sizeof(sent));
		MUST(memcmp(text, want, message_len(sent)) == 0);
	}
	sem_post(&op->done);
	sem_post(&crowd->posters[sent >> 24].arrived);

	return true;
}

static bool
sorted(struct crowd *crowd, bool server, const struct ibv_wc *wc)
{
	struct op *op = (struct op *)(uintptr_t)wc->wr_id;

	if (server)
		return received(crowd, wc);
	op->wc = *wc;
	sem_post(&op->done);

	return true;
}

static bool
drain(struct crowd *crowd, bool server, struct rpma_cq *cq)
{
	struct ibv_wc wc[4];
	int n = 0;
	int ret;

	while ((ret = CALLS(rpma_cq_get_wc(cq, COUNT_OF(wc), wc, &n))) == 0) {
		for (int i = 0; i < n; i++) {
			if (!sorted(crowd, server, &wc[i]))
				return false;
		}
	}
	MUST(ret == RPMA_E_NO_COMPLETION);

	return true;
}

/* how long a collector looks at a descriptor before it looks whether it is still needed */
#define LOOK_MS 20

/* every collector polls once, even if nothing is left */
static bool
is_worth_a_look(int fd, unsigned round)
{
	return round == 0 || readable_within(fd, LOOK_MS);
}

static bool
collect(struct crowd *crowd, bool server, unsigned round)
{
	struct rpma_cq *cq = server ? crowd->pair.server.cq : crowd->pair.client.cq;
	int fd = -1;
	int ret;

	WORKS(rpma_cq_get_fd(cq, &fd));
	if (!is_worth_a_look(fd, round))
		return true;
	ret = CALLS(rpma_cq_wait(cq));
	MUST(ret == 0 || ret == RPMA_E_NO_COMPLETION);

	return drain(crowd, server, cq);
}

static bool
collect_client(void *arg, unsigned thread, unsigned round)
{
	(void)thread;

	return collect(arg, false, round);
}

static bool
collect_server(void *arg, unsigned thread, unsigned round)
{
	(void)thread;

	return collect(arg, true, round);
}

static bool
collect_shared(struct crowd *crowd, bool server, unsigned round)
{
	struct side *side = server ? &crowd->pair.server : &crowd->pair.client;
	struct rpma_cq *cq = NULL;
	bool is_rcq = false;
	int fd = -1;
	int ret;

	WORKS(rpma_conn_get_compl_fd(side->conn, &fd));
	if (!is_worth_a_look(fd, round))
		return true;
	ret = CALLS(rpma_conn_wait(side->conn, 0, &cq, &is_rcq));
	if (ret == RPMA_E_NO_COMPLETION)
		return true;
	MUST(ret == 0);
	MUST(cq == (is_rcq ? side->rcq : side->cq));

	return drain(crowd, server, cq);
}

static bool
collect_shared_client(void *arg, unsigned thread, unsigned round)
{
	(void)thread;

	return collect_shared(arg, false, round);
}

static bool
collect_shared_server(void *arg, unsigned thread, unsigned round)
{
	(void)thread;

	return collect_shared(arg, true, round);
}

/* the functions of 0.9 and 0.10, which have the immediate in the byte order of the host */
static bool
drain_older(const struct older_functions *older, const struct side *side, bool of_cq)
{
	struct rpma_completion completion;
	int ret;

	while ((ret = of_cq ? CALLS(older->cq_get_completion(side->cq, &completion)) :
			CALLS(older->conn_completion_get(side->conn, &completion))) == 0) {
		struct op *op = completion.op_context;

		op->wc.status = completion.op_status;
		op->wc.opcode = completion.op == RPMA_OP_READ ? IBV_WC_RDMA_READ :
				completion.op == RPMA_OP_WRITE ? IBV_WC_RDMA_WRITE : IBV_WC_SEND;
		sem_post(&op->done);
	}
	MUST(ret == RPMA_E_NO_COMPLETION);

	return true;
}

static bool
collect_older(void *arg, unsigned thread, unsigned round)
{
	struct crowd *crowd = arg;
	const struct older_functions *older = crowd->older;
	const struct side *side = &crowd->pair.client;
	const bool of_cq = (thread + round) % 2;
	int fd = -1;
	int ret;

	WORKS(older->conn_get_completion_fd(side->conn, &fd));
	if (!is_worth_a_look(fd, round))
		return true;
	ret = CALLS(older->conn_completion_wait(side->conn));
	MUST(ret == 0 || ret == RPMA_E_NO_COMPLETION);

	return drain_older(older, side, of_cq) && drain_older(older, side, !of_cq);
}

/* --- what goes on meanwhile --- */

static bool
look_around(void *arg, unsigned thread, unsigned round)
{
	const struct crowd *crowd = arg;
	const struct side *side = round % 2 ? &crowd->pair.client : &crowd->pair.server;
	struct rpma_cq *cq = NULL;
	struct rpma_cq *rcq = UNTOUCHED_PTR;
	uint32_t first = 0;
	uint32_t second = 1;
	size_t size = 0;
	int fd = -1;
	int ret;

	(void)thread;
	WORKS(rpma_conn_get_qp_num(side->conn, &first));
	WORKS(rpma_conn_get_qp_num(side->conn, &second));
	MUST(first == second);
	WORKS(rpma_conn_get_cq(side->conn, &cq));
	WORKS(rpma_conn_get_rcq(side->conn, &rcq));
	MUST(cq == side->cq && rcq == side->rcq);
	WORKS(rpma_conn_get_event_fd(side->conn, &fd));
	MUST(fd >= 0);
	WORKS(rpma_ep_get_fd(crowd->pair.ep, &fd));
	MUST(fd >= 0);
	ret = CALLS(rpma_conn_get_compl_fd(side->conn, &fd));
	MUST(ret == 0 || ret == RPMA_E_NOT_SHARED_CHNL);
	WORKS(rpma_mr_remote_get_size(crowd->server.remote, &size));
	MUST(size == TEAM * SLOT);

	return true;
}

/* --- the tests --- */

static void
open_crowd(struct crowd *crowd, bool shared_channel)
{
	struct rpma_conn_cfg *cfg = NULL;

	for (unsigned i = 0; i < TEAM; i++) {
		assert_return_code(sem_init(&crowd->posters[i].op.done, 0, 0), errno);
		assert_return_code(sem_init(&crowd->posters[i].receive.done, 0, 0), errno);
		assert_return_code(sem_init(&crowd->posters[i].arrived, 0, 0), errno);
	}
	/* of each thread two in the send queue at most, and one completion in a completion queue */
	SUCCEED(rpma_conn_cfg_new(&cfg));
	SUCCEED(rpma_conn_cfg_set_sq_size(cfg, 2 * TEAM));
	SUCCEED(rpma_conn_cfg_set_rq_size(cfg, TEAM));
	SUCCEED(rpma_conn_cfg_set_cq_size(cfg, 2 * TEAM));
	if (shared_channel) {
		SUCCEED(rpma_conn_cfg_set_rcq_size(cfg, TEAM));
		SUCCEED(rpma_conn_cfg_set_compl_channel(cfg, true));
	}
	pair_prepare(&crowd->pair);
	crowd->client = open_region(crowd->pair.client.peer, TEAM * SLOT, ALL_USAGES);
	crowd->server = open_region(crowd->pair.server.peer, TEAM * SLOT, ALL_USAGES);
	pair_connect(&crowd->pair, cfg, cfg);
	SUCCEED(rpma_conn_cfg_delete(&cfg));
	for (int server = 0; server < 2; server++) {
		struct side *side = server ? &crowd->pair.server : &crowd->pair.client;
		int fd = -1;

		if (shared_channel)
			SUCCEED(rpma_conn_get_compl_fd(side->conn, &fd));
		else
			SUCCEED(rpma_cq_get_fd(side->cq, &fd));
		set_nonblocking(fd);
	}
}

static void
close_crowd(struct crowd *crowd)
{
	log_release();
	pair_disconnect(&crowd->pair);
	close_region(&crowd->client);
	close_region(&crowd->server);
	pair_release(&crowd->pair);
	for (unsigned i = 0; i < TEAM; i++) {
		sem_destroy(&crowd->posters[i].op.done);
		sem_destroy(&crowd->posters[i].receive.done);
		sem_destroy(&crowd->posters[i].arrived);
	}
	free(crowd);
}

static void
run_crowd(struct crowd *crowd, work *client, work *server, unsigned collectors)
{
	const struct job jobs[] = {
		{posts, crowd, TEAM, false},
		{client, crowd, collectors, true},
		{server, crowd, collectors, true},
		/* many at once, and then few, which leave time to the others */
		{look_around, crowd, TEAM, false},
		{look_around, crowd, 2, true},
		{regions_come_and_go, crowd->pair.client.peer, 2, true},
		{log_changes, NULL, 2, true},
	};

	begin_log_changes();
	run_team(jobs, COUNT_OF(jobs));
}

static struct crowd *
new_crowd(bool shared_channel)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));

	assert_non_null(crowd);
	open_crowd(crowd, shared_channel);

	return crowd;
}

void
posts_and_one_collector(void **unused)
{
	struct crowd *crowd = new_crowd(false);

	(void)unused;
	run_crowd(crowd, collect_client, collect_server, 1);
	close_crowd(crowd);
}

void
posts_and_many_collectors(void **unused)
{
	struct crowd *crowd = new_crowd(false);

	(void)unused;
	run_crowd(crowd, collect_client, collect_server, TEAM);
	close_crowd(crowd);
}

void
posts_on_a_shared_channel(void **unused)
{
	struct crowd *crowd = new_crowd(true);

	(void)unused;
	run_crowd(crowd, collect_shared_client, collect_shared_server, 1);
	close_crowd(crowd);
}

void
posts_and_many_waits_on_a_shared_channel(void **unused)
{
	struct crowd *crowd = new_crowd(true);

	(void)unused;
	run_crowd(crowd, collect_shared_client, collect_shared_server, TEAM);
	close_crowd(crowd);
}

void
posts_and_the_older_interface(void **unused)
{
	const struct older_functions *older = older_functions();
	struct crowd *crowd = new_crowd(false);

	(void)unused;
	crowd->older = older;
	run_crowd(crowd, collect_older, collect_server, TEAM);
	close_crowd(crowd);
}
