/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The five functions that later releases of the original dropped, and struct rpma_completion.
 *
 * One symbol serves programs that were built with either size of the struct: 24 bytes in 0.9.0, 32
 * since 0.10.0. So nothing beyond its first 24 bytes may be written unless there is an immediate.
 */
#include "failing.h"

#define ALWAYS RPMA_F_COMPLETION_ALWAYS
#define GUARD 0xa5

_Static_assert(sizeof(struct rpma_completion) == 32, "struct rpma_completion");
_Static_assert(offsetof(struct rpma_completion, op) == 8, "op");
_Static_assert(offsetof(struct rpma_completion, byte_len) == 12, "byte_len");
_Static_assert(offsetof(struct rpma_completion, op_status) == 16, "op_status");
_Static_assert(offsetof(struct rpma_completion, flags) == 20, "flags");
_Static_assert(offsetof(struct rpma_completion, imm) == 24, "imm");

/* a completion with guard bytes in all of its members and behind it */
union guarded {
	struct rpma_completion cmpl;
	unsigned char bytes[sizeof(struct rpma_completion) + 16];
};

static void
guard(union guarded *g)
{
	memset(g->bytes, GUARD, sizeof(g->bytes));
}

static void
assert_guarded(const union guarded *g, size_t from)
{
	for (size_t i = from; i < sizeof(g->bytes); i++) {
		if (g->bytes[i] != GUARD)
			fail_msg("the byte at offset %zu was written", i);
	}
}

/* --- bad arguments --- */

static void
check_arguments(const struct older_functions *f, struct rpma_conn *conn, struct rpma_cq *cq,
		struct rpma_mr_remote *remote, struct rpma_mr_local *local)
{
	union guarded g;
	int fd = UNTOUCHED_INT;

	guard(&g);
	INVALID(f->conn_completion_get(NULL, &g.cmpl));
	INVALID(f->conn_completion_get(conn, NULL));
	INVALID(f->conn_completion_wait(NULL));
	INVALID(f->conn_get_completion_fd(NULL, &fd));
	INVALID(f->conn_get_completion_fd(conn, NULL));
	INVALID(f->cq_get_completion(NULL, &g.cmpl));
	INVALID(f->cq_get_completion(cq, NULL));
	INVALID(f->write_atomic(NULL, remote, 0, local, 0, ALWAYS, NULL));
	INVALID(f->write_atomic(conn, NULL, 0, local, 0, ALWAYS, NULL));
	INVALID(f->write_atomic(conn, remote, 0, NULL, 0, ALWAYS, NULL));
	INVALID(f->write_atomic(conn, remote, 0, local, 0, 0, NULL));
	for (size_t offset = 1; offset < RPMA_ATOMIC_WRITE_ALIGNMENT; offset++)
		INVALID(f->write_atomic(conn, remote, offset, local, 0, ALWAYS, NULL));
	assert_guarded(&g, 0);
	assert_int_equal(fd, UNTOUCHED_INT);
}

static void
older_functions_refuse(void **unused)
{
	(void)unused;
	check_arguments(older_functions(), untouchable(), untouchable(), untouchable(),
			untouchable());
}

static void
older_functions_refuse_on_a_real_connection(void **state)
{
	struct pair *pair = *state;
	const struct older_functions *f = older_functions();

	check_arguments(f, pair->client.conn, pair->client.cq, pair->server.region.remote,
			pair->client.region.mr);
	EXPECT_NO_WC(pair->client.cq);
}

/* --- completions --- */

/* both getters fetch from the same queue: take turns */
static int
get_completion(struct side *side, struct rpma_completion *cmpl)
{
	static bool by_queue;
	const struct older_functions *f = older_functions();

	by_queue = !by_queue;

	return by_queue ? f->cq_get_completion(side->cq, cmpl) :
			f->conn_completion_get(side->conn, cmpl);
}

/* waits for a completion with the older functions alone */
static void
wait_completion(struct side *side, union guarded *g)
{
	const struct older_functions *f = older_functions();
	int fd = -1;
	int ret;

	guard(g);
	SUCCEED(f->conn_get_completion_fd(side->conn, &fd));
	while ((ret = get_completion(side, &g->cmpl)) == RPMA_E_NO_COMPLETION) {
		assert_guarded(g, 0);
		wait_readable(fd);
		SUCCEED(f->conn_completion_wait(side->conn));
	}
	EXPECT(ret, 0);
}

static void
expect_completion(struct side *side, enum rpma_op op, const void *op_context)
{
	union guarded g;

	wait_completion(side, &g);
	assert_int_equal(g.cmpl.op_status, IBV_WC_SUCCESS);
	assert_ptr_equal(g.cmpl.op_context, op_context);
	assert_int_equal(g.cmpl.op, op);
	if (op == RPMA_OP_READ || op == RPMA_OP_RECV)
		assert_int_equal(g.cmpl.byte_len, 8);
	assert_false(g.cmpl.flags & IBV_WC_WITH_IMM);
	assert_guarded(&g, offsetof(struct rpma_completion, imm));
}

static void
operations(void **state)
{
	struct pair *pair = *state;
	const struct older_functions *f = older_functions();
	struct rpma_conn *conn = pair->client.conn;
	struct rpma_mr_remote *remote = pair->server.region.remote;
	struct rpma_mr_local *mr = pair->client.region.mr;
	const char word[8] = "1234567";
	int contexts[8] = {0};
	union guarded g;

	/* once for each getter */
	for (int i = 0; i < 2; i++) {
		SUCCEED(rpma_write(conn, remote, 0, mr, 0, 8, ALWAYS, &contexts[0]));
		expect_completion(&pair->client, RPMA_OP_WRITE, &contexts[0]);
		SUCCEED(rpma_read(conn, mr, 0, remote, 0, 8, ALWAYS, &contexts[1]));
		expect_completion(&pair->client, RPMA_OP_READ, &contexts[1]);
		SUCCEED(rpma_recv(pair->server.conn, pair->server.region.mr, 0, 8, &contexts[2]));
		SUCCEED(rpma_send(conn, mr, 0, 8, ALWAYS, &contexts[3]));
		expect_completion(&pair->client, RPMA_OP_SEND, &contexts[3]);
		expect_completion(&pair->server, RPMA_OP_RECV, &contexts[2]);
		SUCCEED(f->write_atomic(conn, remote, 8, mr, 0, ALWAYS, &contexts[4]));
		expect_completion(&pair->client, RPMA_OP_WRITE, &contexts[4]);
		/* native or not */
		SUCCEED(rpma_atomic_write(conn, remote, 8, word, ALWAYS, &contexts[6]));
		expect_completion(&pair->client, RPMA_OP_WRITE, &contexts[6]);
		SUCCEED(rpma_flush(conn, remote, 0, 8, RPMA_FLUSH_TYPE_VISIBILITY, ALWAYS, &contexts[7]));
		/* where it is native there is no say about its byte_len */
		wait_completion(&pair->client, &g);
		assert_int_equal(g.cmpl.op_status, IBV_WC_SUCCESS);
		assert_ptr_equal(g.cmpl.op_context, &contexts[7]);
		assert_int_equal(g.cmpl.op, RPMA_OP_READ);
		/* for an odd number of completions in all, so that the getters swap places */
		SUCCEED(rpma_write(conn, remote, 0, mr, 0, 8, ALWAYS, &contexts[5]));
		expect_completion(&pair->client, RPMA_OP_WRITE, &contexts[5]);
	}
}

static void
immediates(void **state)
{
	struct pair *pair = *state;
	static const uint32_t imms[] = {0x12345678, 0x9abcdef0, 0, UINT32_MAX};

	older_functions();
	for (size_t i = 0; i < COUNT_OF(imms); i++) {
		union guarded g;

		SUCCEED(rpma_recv(pair->server.conn, pair->server.region.mr, 0, 8, pair));
		SUCCEED(rpma_send_with_imm(pair->client.conn, pair->client.region.mr, 0, 8,
				RPMA_F_COMPLETION_ON_ERROR, imms[i], NULL));
		wait_completion(&pair->server, &g);
		assert_int_equal(g.cmpl.op, RPMA_OP_RECV);
		assert_int_equal(g.cmpl.byte_len, 8);
		assert_true(g.cmpl.flags & IBV_WC_WITH_IMM);
		assert_int_equal(g.cmpl.imm, imms[i]);
		assert_guarded(&g, sizeof(struct rpma_completion));

		SUCCEED(rpma_recv(pair->server.conn, NULL, 0, 0, pair));
		SUCCEED(rpma_write_with_imm(pair->client.conn, pair->server.region.remote, 0,
				pair->client.region.mr, 0, 24, RPMA_F_COMPLETION_ON_ERROR, imms[i],
				NULL));
		wait_completion(&pair->server, &g);
		assert_ptr_equal(g.cmpl.op_context, pair);
		assert_int_equal(g.cmpl.op, RPMA_OP_RECV_RDMA_WITH_IMM);
		assert_int_equal(g.cmpl.op_status, IBV_WC_SUCCESS);
		assert_int_equal(g.cmpl.byte_len, 24);
		assert_true(g.cmpl.flags & IBV_WC_WITH_IMM);
		assert_int_equal(g.cmpl.imm, imms[i]);
		assert_guarded(&g, sizeof(struct rpma_completion));
	}
}

static void
errors(void **state)
{
	struct pair *pair = *state;

	older_functions();
	for (int i = 0; i < 2; i++) {
		struct rpma_completion *cmpl;
		union guarded g;

		SUCCEED(rpma_write(pair->client.conn, pair->server.region.remote, MR_SIZE,
				pair->client.region.mr, 0, 8, ALWAYS, pair));
		log_capture(RPMA_LOG_LEVEL_WARNING);
		wait_completion(&pair->client, &g);
		assert_int_equal(logged.count, 1);
		assert_int_equal(logged.level, RPMA_LOG_LEVEL_WARNING);
		log_release();

		/* the context and the status, nothing else */
		cmpl = &g.cmpl;
		assert_int_equal(cmpl->op_status, IBV_WC_REM_ACCESS_ERR);
		assert_ptr_equal(cmpl->op_context, pair);
		memset(&cmpl->op_context, GUARD, sizeof(cmpl->op_context));
		memset(&cmpl->op_status, GUARD, sizeof(cmpl->op_status));
		assert_guarded(&g, 0);

		SUCCEED(rpma_conn_delete(&pair->client.conn));
		SUCCEED(rpma_conn_delete(&pair->server.conn));
		pair_connect(pair, NULL, NULL);
		/* the other getter's turn */
		assert_int_equal(get_completion(&pair->client, cmpl), RPMA_E_NO_COMPLETION);
	}
}

/* --- completions of every kind, which no device here has --- */

static void
get_given(const struct older_functions *f, struct pair *pair, const struct ibv_wc *wc, int want,
		int by_queue, union guarded *g)
{
	guard(g);
	verbs_give_wc(wc);
	log_capture(RPMA_LOG_LEVEL_WARNING);
	if (by_queue)
		EXPECT(f->cq_get_completion(pair->client.cq, &g->cmpl), want);
	else
		EXPECT(f->conn_completion_get(pair->client.conn, &g->cmpl), want);
	EXPECT_SPOILT();
}

static void
every_opcode(void **state)
{
	const struct older_functions *f = older_functions();
	static const struct {
		int opcode;
		int op;		/* -1: none of the interface's */
	} cases[] = {
		{IBV_WC_RDMA_READ, RPMA_OP_READ}, {IBV_WC_RDMA_WRITE, RPMA_OP_WRITE},
		{IBV_WC_SEND, RPMA_OP_SEND}, {IBV_WC_RECV, RPMA_OP_RECV},
		{IBV_WC_RECV_RDMA_WITH_IMM, RPMA_OP_RECV_RDMA_WITH_IMM},
		{IBV_WC_COMP_SWAP, -1}, {IBV_WC_FETCH_ADD, -1}, {IBV_WC_BIND_MW, -1},
		{IBV_WC_LOCAL_INV, -1}, {IBV_WC_TSO, -1}, {IBV_WC_TM_ADD, -1}, {77, -1}, {-1, -1},
	};

	for (size_t i = 0; i < 2 * COUNT_OF(cases); i++) {
		const int op = cases[i / 2].op;
		const struct ibv_wc wc = {
			.wr_id = 0x8123456789abcdef, .opcode = (enum ibv_wc_opcode)cases[i / 2].opcode,
			.byte_len = 0x9abcdef0, .wc_flags = IBV_WC_GRH, .imm_data = 0x12345678,
		};
		union guarded g;

		get_given(f, *state, &wc, op < 0 ? RPMA_E_NOSUPP : 0, i % 2, &g);
		assert_true((uintptr_t)g.cmpl.op_context == wc.wr_id);
		assert_int_equal(g.cmpl.op_status, IBV_WC_SUCCESS);
		assert_guarded(&g, offsetof(struct rpma_completion, imm));
		if (op < 0) {
			assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
			continue;
		}
		assert_int_equal(logged.count, 0);
		assert_int_equal(g.cmpl.op, op);
		assert_int_equal(g.cmpl.byte_len, 0x9abcdef0);
		assert_int_equal(g.cmpl.flags, IBV_WC_GRH);
	}
}

static void
every_status(void **state)
{
	const struct older_functions *f = older_functions();

	for (int status = IBV_WC_LOC_LEN_ERR; status <= IBV_WC_TM_RNDV_INCOMPLETE; status++) {
		for (int by_queue = 0; by_queue < 2; by_queue++) {
			const struct ibv_wc wc = {
				.wr_id = 0x8123456789abcdef, .status = (enum ibv_wc_status)status,
				.opcode = IBV_WC_RECV, .byte_len = 8, .wc_flags = IBV_WC_WITH_IMM,
			};
			union guarded g;

			get_given(f, *state, &wc, 0, by_queue, &g);
			assert_int_equal(logged.count, 1);
			assert_int_equal(logged.level, RPMA_LOG_LEVEL_WARNING);
			assert_non_null(strstr(logged.text, ibv_wc_status_str(wc.status)));
			assert_true((uintptr_t)g.cmpl.op_context == wc.wr_id);
			assert_int_equal(g.cmpl.op_status, status);
			memset(&g.cmpl.op_context, GUARD, sizeof(g.cmpl.op_context));
			memset(&g.cmpl.op_status, GUARD, sizeof(g.cmpl.op_status));
			assert_guarded(&g, 0);
		}
	}
}

static void
descriptor_and_wait(void **state)
{
	struct pair *pair = *state;
	const struct older_functions *f = older_functions();
	int of_conn = -1;
	int of_cq = -2;

	SUCCEED(f->conn_get_completion_fd(pair->client.conn, &of_conn));
	SUCCEED(rpma_cq_get_fd(pair->client.cq, &of_cq));
	assert_int_equal(of_conn, of_cq);
	set_nonblocking(of_conn);
	EXPECT(f->conn_completion_wait(pair->client.conn), RPMA_E_NO_COMPLETION);
	write_signalled(pair, pair);
	wait_readable(of_conn);
	SUCCEED(f->conn_completion_wait(pair->client.conn));
	expect_completion(&pair->client, RPMA_OP_WRITE, pair);
}

static void
wait_on_a_shared_channel(void **state)
{
	struct pair *pair = *state;
	const struct older_functions *f = older_functions();
	struct rpma_conn_cfg *cfg = NULL;
	int of_conn = -1;
	int shared = -2;

	pair_disconnect(pair);
	SUCCEED(rpma_conn_cfg_new(&cfg));
	SUCCEED(rpma_conn_cfg_set_compl_channel(cfg, true));
	pair_connect(pair, cfg, NULL);
	SUCCEED(rpma_conn_cfg_delete(&cfg));
	EXPECT(f->conn_completion_wait(pair->client.conn), RPMA_E_SHARED_CHANNEL);
	SUCCEED(f->conn_get_completion_fd(pair->client.conn, &of_conn));
	SUCCEED(rpma_conn_get_compl_fd(pair->client.conn, &shared));
	assert_int_equal(of_conn, shared);
}

static void
write_atomic(void **state)
{
	struct pair *pair = *state;
	const struct older_functions *f = older_functions();
	static const size_t to[] = {0, 8, MR_SIZE - 8};
	/* the source need not be aligned */
	static const size_t from[] = {0, 3, MR_SIZE - 8};

	for (size_t i = 0; i < COUNT_OF(to); i++) {
		char want[MR_SIZE];

		fill(pair->client.region.mem, MR_SIZE, (unsigned)i);
		fill(pair->server.region.mem, MR_SIZE, (unsigned)i + 9);
		memcpy(want, pair->server.region.mem, MR_SIZE);
		memcpy(want + to[i], pair->client.region.mem + from[i], 8);
		SUCCEED(f->write_atomic(pair->client.conn, pair->server.region.remote, to[i],
				pair->client.region.mr, from[i], ALWAYS, &to[i]));
		EXPECT_WC(pair->client.cq, &to[i], IBV_WC_SUCCESS);
		assert_memory_equal(pair->server.region.mem, want, MR_SIZE);
	}

	/* unsignalled, of bytes that the next write leaves alone: nothing tells when this one is done */
	SUCCEED(f->write_atomic(pair->client.conn, pair->server.region.remote, MR_SIZE - 8,
			pair->client.region.mr, MR_SIZE - 8, RPMA_F_COMPLETION_ON_ERROR, NULL));
	write_and_check(pair, 64, 1);
	EXPECT_NO_WC(pair->client.cq);
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(older_functions_refuse),
};

/* native or not: a write */
static void
atomic_write_for_older_programs(void **state)
{
	const struct older_functions *f = older_functions();
	struct pair *pair = *state;
	struct rpma_completion cmpl = {.op = RPMA_OP_FLUSH};
	int context = 0;

	SUCCEED(rpma_atomic_write(pair->client.conn, pair->server.region.remote, 0, "12345678", ALWAYS,
			&context));
	SUCCEED(rpma_cq_wait(pair->client.cq));
	SUCCEED(f->cq_get_completion(pair->client.cq, &cmpl));
	assert_int_equal(cmpl.op, RPMA_OP_WRITE);
	assert_ptr_equal(cmpl.op_context, &context);
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)

#define WITH_SEEN(test) cmocka_unit_test_setup_teardown(test, connect_seen, release_seen)

static const struct CMUnitTest rdma[] = {
	WITH_PAIR(older_functions_refuse_on_a_real_connection),
	WITH_PAIR(operations),
	WITH_PAIR(immediates),
	WITH_PAIR(errors),
	WITH_SEEN(every_opcode),
	WITH_SEEN(every_status),
	WITH_PAIR(descriptor_and_wait),
	WITH_PAIR(wait_on_a_shared_channel),
	WITH_PAIR(write_atomic),
	WITH_PAIR(atomic_write_for_older_programs),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "older-functions", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
		.rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
