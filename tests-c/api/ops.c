/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations on a connection: read, write, atomic write, flush, send and receive. */
#include <arpa/inet.h>

#include "device.h"

#define ALWAYS RPMA_F_COMPLETION_ALWAYS
#define ON_ERROR RPMA_F_COMPLETION_ON_ERROR

/* --- bad arguments, with handles that must not be touched and with real ones --- */

static void
check_arguments(struct rpma_conn *c, struct rpma_mr_local *l, struct rpma_mr_remote *r)
{
	const char word[8] = {0};
	const enum rpma_flush_type visibility = RPMA_FLUSH_TYPE_VISIBILITY;

	INVALID(rpma_read(NULL, l, 0, r, 0, 8, ALWAYS, NULL));
	INVALID(rpma_read(c, l, 0, r, 0, 8, 0, NULL));
	INVALID(rpma_read(c, NULL, 0, r, 0, 8, ALWAYS, NULL));
	INVALID(rpma_read(c, l, 0, NULL, 0, 8, ALWAYS, NULL));
	INVALID(rpma_read(c, NULL, 0, r, 0, 0, ALWAYS, NULL));
	INVALID(rpma_read(c, l, 0, NULL, 0, 0, ALWAYS, NULL));
	INVALID(rpma_read(c, NULL, 0, NULL, 0, 8, ALWAYS, NULL));
	INVALID(rpma_read(c, NULL, 8, NULL, 0, 0, ALWAYS, NULL));
	INVALID(rpma_read(c, NULL, 0, NULL, 8, 0, ALWAYS, NULL));
	INVALID(rpma_read(c, NULL, 0, NULL, 0, 0, 0, NULL));
	INVALID(rpma_read(NULL, NULL, 0, NULL, 0, 0, ALWAYS, NULL));

	INVALID(rpma_write(NULL, r, 0, l, 0, 8, ALWAYS, NULL));
	INVALID(rpma_write(c, r, 0, l, 0, 8, 0, NULL));
	INVALID(rpma_write(c, NULL, 0, l, 0, 8, ALWAYS, NULL));
	INVALID(rpma_write(c, r, 0, NULL, 0, 8, ALWAYS, NULL));
	INVALID(rpma_write(c, NULL, 0, l, 0, 0, ALWAYS, NULL));
	INVALID(rpma_write(c, r, 0, NULL, 0, 0, ALWAYS, NULL));
	INVALID(rpma_write(c, NULL, 0, NULL, 0, 8, ALWAYS, NULL));
	INVALID(rpma_write(c, NULL, 8, NULL, 0, 0, ALWAYS, NULL));
	INVALID(rpma_write(c, NULL, 0, NULL, 8, 0, ALWAYS, NULL));
	INVALID(rpma_write(c, NULL, 0, NULL, 0, 0, 0, NULL));
	INVALID(rpma_write(NULL, NULL, 0, NULL, 0, 0, ALWAYS, NULL));

	INVALID(rpma_write_with_imm(NULL, r, 0, l, 0, 8, ALWAYS, 1, NULL));
	INVALID(rpma_write_with_imm(c, r, 0, l, 0, 8, 0, 1, NULL));
	INVALID(rpma_write_with_imm(c, NULL, 0, l, 0, 8, ALWAYS, 1, NULL));
	INVALID(rpma_write_with_imm(c, r, 0, NULL, 0, 8, ALWAYS, 1, NULL));
	INVALID(rpma_write_with_imm(c, NULL, 0, NULL, 0, 8, ALWAYS, 1, NULL));
	INVALID(rpma_write_with_imm(c, NULL, 8, NULL, 0, 0, ALWAYS, 1, NULL));
	INVALID(rpma_write_with_imm(c, NULL, 0, NULL, 8, 0, ALWAYS, 1, NULL));
	INVALID(rpma_write_with_imm(c, NULL, 0, NULL, 0, 0, 0, 1, NULL));

	INVALID(rpma_atomic_write(NULL, r, 0, word, ALWAYS, NULL));
	INVALID(rpma_atomic_write(c, NULL, 0, word, ALWAYS, NULL));
	INVALID(rpma_atomic_write(c, r, 0, NULL, ALWAYS, NULL));
	INVALID(rpma_atomic_write(c, r, 0, word, 0, NULL));
	for (size_t offset = 1; offset < RPMA_ATOMIC_WRITE_ALIGNMENT; offset++) {
		INVALID(rpma_atomic_write(c, r, offset, word, ALWAYS, NULL));
		INVALID(rpma_atomic_write(c, r, 64 + offset, word, ALWAYS, NULL));
	}

	INVALID(rpma_flush(NULL, r, 0, 8, visibility, ALWAYS, NULL));
	INVALID(rpma_flush(c, NULL, 0, 8, visibility, ALWAYS, NULL));
	INVALID(rpma_flush(c, r, 0, 8, visibility, 0, NULL));
	INVALID(rpma_flush(c, r, 0, 8, RPMA_FLUSH_TYPE_PERSISTENT, 0, NULL));

	INVALID(rpma_send(NULL, l, 0, 8, ALWAYS, NULL));
	INVALID(rpma_send(c, l, 0, 8, 0, NULL));
	INVALID(rpma_send(c, NULL, 8, 0, ALWAYS, NULL));
	INVALID(rpma_send(c, NULL, 0, 8, ALWAYS, NULL));
	INVALID(rpma_send(c, NULL, 0, 0, 0, NULL));

	INVALID(rpma_send_with_imm(NULL, l, 0, 8, ALWAYS, 1, NULL));
	INVALID(rpma_send_with_imm(c, l, 0, 8, 0, 1, NULL));
	INVALID(rpma_send_with_imm(c, NULL, 8, 0, ALWAYS, 1, NULL));
	INVALID(rpma_send_with_imm(c, NULL, 0, 8, ALWAYS, 1, NULL));
	INVALID(rpma_send_with_imm(c, NULL, 0, 0, 0, 1, NULL));

	INVALID(rpma_recv(NULL, l, 0, 8, NULL));
	INVALID(rpma_recv(NULL, NULL, 0, 0, NULL));
	INVALID(rpma_recv(c, NULL, 8, 0, NULL));
	INVALID(rpma_recv(c, NULL, 0, 8, NULL));
}

static void
operations_refuse(void **unused)
{
	(void)unused;
	check_arguments(untouchable(), untouchable(), untouchable());
}

static void
operations_refuse_on_a_real_connection(void **state)
{
	struct pair *pair = *state;

	check_arguments(pair->client.conn, pair->client.region.mr, pair->server.region.remote);
	/* nothing of that was posted */
	EXPECT_NO_WC(pair->client.cq);
	write_and_check(pair, 64, 1);
}

/* --- one-sided operations --- */

static void
read_and_write_anywhere(void **state)
{
	struct pair *pair = *state;
	static const struct {
		size_t to;
		size_t from;
		size_t len;
	} cases[] = {
		{0, 0, 1}, {0, 0, MR_SIZE}, {1, 2, 3}, {MR_SIZE - 1, 0, 1}, {0, MR_SIZE - 1, 1},
		{4000, 100, 200}, {100, 4000, 4096},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct region *here = &pair->client.region;
		struct region *there = &pair->server.region;
		char want[MR_SIZE];

		fill(here->mem, MR_SIZE, (unsigned)i);
		fill(there->mem, MR_SIZE, (unsigned)i + 100);
		memcpy(want, there->mem, MR_SIZE);
		memcpy(want + cases[i].to, here->mem + cases[i].from, cases[i].len);
		SUCCEED(rpma_write(pair->client.conn, there->remote, cases[i].to, here->mr,
				cases[i].from, cases[i].len, ALWAYS, &cases[i]));
		struct ibv_wc wc = EXPECT_WC(pair->client.cq, &cases[i], IBV_WC_SUCCESS);

		assert_int_equal(wc.opcode, IBV_WC_RDMA_WRITE);
		assert_memory_equal(there->mem, want, MR_SIZE);

		memcpy(want, here->mem, MR_SIZE);
		memcpy(want + cases[i].to, there->mem + cases[i].from, cases[i].len);
		SUCCEED(rpma_read(pair->client.conn, here->mr, cases[i].to, there->remote,
				cases[i].from, cases[i].len, ALWAYS, &cases[i]));
		wc = EXPECT_WC(pair->client.cq, &cases[i], IBV_WC_SUCCESS);
		assert_int_equal(wc.opcode, IBV_WC_RDMA_READ);
		assert_memory_equal(here->mem, want, MR_SIZE);
	}

	/* the other end learned nothing of it */
	EXPECT_NO_WC(pair->server.cq);
}

static void
the_server_may_start_too(void **state)
{
	struct pair *pair = *state;

	fill(pair->server.region.mem, 100, 7);
	SUCCEED(rpma_write(pair->server.conn, pair->client.region.remote, 0,
			pair->server.region.mr, 0, 100, ALWAYS, pair));
	EXPECT_WC(pair->server.cq, pair, IBV_WC_SUCCESS);
	assert_memory_equal(pair->client.region.mem, pair->server.region.mem, 100);
}

static void
large_transfers(void **state)
{
	struct pair *pair = *state;
	const size_t size = 1 << 20;
	struct region here = open_region(pair->client.peer, size, ALL_USAGES);
	struct region there = open_region(pair->server.peer, size, ALL_USAGES);

	fill(here.mem, size, 8);
	SUCCEED(rpma_write(pair->client.conn, there.remote, 0, here.mr, 0, size, ALWAYS, &here));
	EXPECT_WC(pair->client.cq, &here, IBV_WC_SUCCESS);
	assert_memory_equal(there.mem, here.mem, size);
	fill(there.mem, size, 9);
	SUCCEED(rpma_read(pair->client.conn, here.mr, 0, there.remote, 0, size, ALWAYS, &there));
	EXPECT_WC(pair->client.cq, &there, IBV_WC_SUCCESS);
	assert_memory_equal(there.mem, here.mem, size);
	close_region(&here);
	close_region(&there);
}

static void
zero_length(void **state)
{
	struct pair *pair = *state;
	int contexts[5] = {0};

	SUCCEED(rpma_read(pair->client.conn, NULL, 0, NULL, 0, 0, ALWAYS, &contexts[0]));
	EXPECT_WC(pair->client.cq, &contexts[0], IBV_WC_SUCCESS);
	SUCCEED(rpma_write(pair->client.conn, NULL, 0, NULL, 0, 0, ALWAYS, &contexts[1]));
	EXPECT_WC(pair->client.cq, &contexts[1], IBV_WC_SUCCESS);

	for (int i = 0; i < 3; i++)
		SUCCEED(rpma_recv(pair->server.conn, NULL, 0, 0, &contexts[i]));
	SUCCEED(rpma_send(pair->client.conn, NULL, 0, 0, ALWAYS, &contexts[2]));
	SUCCEED(rpma_send_with_imm(pair->client.conn, NULL, 0, 0, ALWAYS, 7, &contexts[3]));
	SUCCEED(rpma_write_with_imm(pair->client.conn, NULL, 0, NULL, 0, 0, ALWAYS, 8,
			&contexts[4]));
	for (int i = 2; i < 5; i++)
		EXPECT_WC(pair->client.cq, &contexts[i], IBV_WC_SUCCESS);

	struct ibv_wc wc = EXPECT_WC(pair->server.cq, &contexts[0], IBV_WC_SUCCESS);

	assert_int_equal(wc.opcode, IBV_WC_RECV);
	assert_int_equal(wc.byte_len, 0);
	assert_false(wc.wc_flags & IBV_WC_WITH_IMM);
	wc = EXPECT_WC(pair->server.cq, &contexts[1], IBV_WC_SUCCESS);
	assert_int_equal(wc.opcode, IBV_WC_RECV);
	assert_true(wc.wc_flags & IBV_WC_WITH_IMM);
	assert_int_equal(ntohl(wc.imm_data), 7);
	wc = EXPECT_WC(pair->server.cq, &contexts[2], IBV_WC_SUCCESS);
	assert_int_equal(wc.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
	assert_int_equal(ntohl(wc.imm_data), 8);
}

static void
write_with_imm(void **state)
{
	struct pair *pair = *state;
	static const uint32_t imms[] = {0x12345678, 0, UINT32_MAX};
	int contexts[2] = {0};

	for (size_t i = 0; i < COUNT_OF(imms); i++) {
		SUCCEED(rpma_recv(pair->server.conn, NULL, 0, 0, &contexts[0]));
		fill(pair->client.region.mem, 300, (unsigned)i);
		SUCCEED(rpma_write_with_imm(pair->client.conn, pair->server.region.remote, 10,
				pair->client.region.mr, 20, 200, ALWAYS, imms[i], &contexts[1]));
		struct ibv_wc wc = EXPECT_WC(pair->client.cq, &contexts[1], IBV_WC_SUCCESS);

		assert_int_equal(wc.opcode, IBV_WC_RDMA_WRITE);
		wc = EXPECT_WC(pair->server.cq, &contexts[0], IBV_WC_SUCCESS);
		assert_int_equal(wc.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
		assert_true(wc.wc_flags & IBV_WC_WITH_IMM);
		assert_int_equal(wc.imm_data, htonl(imms[i]));
		assert_int_equal(wc.byte_len, 200);
		assert_memory_equal(pair->server.region.mem + 10, pair->client.region.mem + 20, 200);
	}
}

static void
atomic_write(void **state)
{
	struct pair *pair = *state;
	static const size_t offsets[] = {0, 8, 64, MR_SIZE - 8};

	for (size_t i = 0; i < COUNT_OF(offsets); i++) {
		char want[MR_SIZE];
		char word[8];

		fill(word, sizeof(word), (unsigned)i + 50);
		fill(pair->server.region.mem, MR_SIZE, (unsigned)i);
		memcpy(want, pair->server.region.mem, MR_SIZE);
		memcpy(want + offsets[i], word, 8);
		SUCCEED(rpma_atomic_write(pair->client.conn, pair->server.region.remote, offsets[i],
				word, ALWAYS, word));
		/* it was taken before the call returned */
		memset(word, 0xff, sizeof(word));
		EXPECT_WC(pair->client.cq, word, IBV_WC_SUCCESS);
		assert_memory_equal(pair->server.region.mem, want, MR_SIZE);
	}

	/* beyond the region */
	const char word[8] = {0};

	SUCCEED(rpma_atomic_write(pair->client.conn, pair->server.region.remote, MR_SIZE, word,
			ALWAYS, word));
	EXPECT_WC(pair->client.cq, word, IBV_WC_REM_ACCESS_ERR);
}

/* --- flush --- */

static void
flush_to_visibility(void **state)
{
	struct pair *pair = *state;
	static const size_t offsets[] = {0, 1, 4096, MR_SIZE - 8};

	for (size_t i = 0; i < COUNT_OF(offsets); i++) {
		fill(pair->client.region.mem, MR_SIZE, (unsigned)i);
		SUCCEED(rpma_write(pair->client.conn, pair->server.region.remote, 0,
				pair->client.region.mr, 0, MR_SIZE, ON_ERROR, NULL));
		SUCCEED(rpma_flush(pair->client.conn, pair->server.region.remote, offsets[i], 8,
				RPMA_FLUSH_TYPE_VISIBILITY, ALWAYS, &offsets[i]));
		EXPECT_WC(pair->client.cq, &offsets[i], IBV_WC_SUCCESS);
		assert_memory_equal(pair->server.region.mem, pair->client.region.mem, MR_SIZE);
	}
	EXPECT_NO_WC(pair->client.cq);

	/* without asking for its completion; what follows, elsewhere, completes after it */
	SUCCEED(rpma_flush(pair->client.conn, pair->server.region.remote, 4096, MR_SIZE - 4096,
			RPMA_FLUSH_TYPE_VISIBILITY, ON_ERROR, &offsets[0]));
	write_and_check(pair, 64, 2);
	EXPECT_NO_WC(pair->client.cq);
}

static void
flush_beyond_the_region(void **state)
{
	struct pair *pair = *state;

	SUCCEED(rpma_flush(pair->client.conn, pair->server.region.remote, MR_SIZE, 8,
			RPMA_FLUSH_TYPE_VISIBILITY, ALWAYS, pair));
	EXPECT_WC(pair->client.cq, pair, IBV_WC_REM_ACCESS_ERR);
}

static void
expect_flush_not_supported(struct pair *pair, struct rpma_mr_remote *remote,
		enum rpma_flush_type type, const char *why)
{
	log_capture(RPMA_LOG_LEVEL_ERROR);
	EXPECT(rpma_flush(pair->client.conn, remote, 0, 8, type, ALWAYS, NULL), RPMA_E_NOSUPP);
	assert_int_equal(logged.count, 1);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
	assert_string_equal(logged.function, "rpma_flush");
	if (!library_is_original())
		assert_non_null(strstr(logged.text, why));
	log_release();
	EXPECT_NO_WC(pair->client.cq);
}

#define PEER "the remote peer has not declared direct write to PMem"
#define REGION "the remote region is not registered for this type of flush"

static void
flush_to_persistency(void **state)
{
	struct pair *pair = *state;
	struct rpma_mr_remote *remote = pair->server.region.remote;
	struct rpma_peer_cfg *pcfg = NULL;

	/* nothing is known of the other end's memory, then it says no, then yes, then no again */
	expect_flush_not_supported(pair, remote, RPMA_FLUSH_TYPE_PERSISTENT, PEER);
	SUCCEED(rpma_peer_cfg_new(&pcfg));
	SUCCEED(rpma_conn_apply_remote_peer_cfg(pair->client.conn, pcfg));
	expect_flush_not_supported(pair, remote, RPMA_FLUSH_TYPE_PERSISTENT, PEER);

	SUCCEED(rpma_peer_cfg_set_direct_write_to_pmem(pcfg, true));
	expect_flush_not_supported(pair, remote, RPMA_FLUSH_TYPE_PERSISTENT, PEER);
	SUCCEED(rpma_conn_apply_remote_peer_cfg(pair->client.conn, pcfg));
	SUCCEED(rpma_flush(pair->client.conn, remote, 0, 8, RPMA_FLUSH_TYPE_PERSISTENT, ALWAYS,
			pcfg));
	EXPECT_WC(pair->client.cq, pcfg, IBV_WC_SUCCESS);

	SUCCEED(rpma_peer_cfg_set_direct_write_to_pmem(pcfg, false));
	SUCCEED(rpma_conn_apply_remote_peer_cfg(pair->client.conn, pcfg));
	expect_flush_not_supported(pair, remote, RPMA_FLUSH_TYPE_PERSISTENT, PEER);
	SUCCEED(rpma_peer_cfg_delete(&pcfg));
}

static void
flush_of_a_region_that_lacks_the_type(void **state)
{
	struct pair *pair = *state;
	struct region none = open_region(pair->server.peer, MR_SIZE, RPMA_MR_USAGE_WRITE_DST |
			RPMA_MR_USAGE_READ_SRC);
	struct region visible = open_region(pair->server.peer, MR_SIZE,
			RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY);
	struct region persistent = open_region(pair->server.peer, MR_SIZE,
			RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT);
	struct rpma_peer_cfg *pcfg = NULL;

	/* what the other end has not declared comes first */
	expect_flush_not_supported(pair, none.remote, RPMA_FLUSH_TYPE_PERSISTENT, PEER);
	SUCCEED(rpma_peer_cfg_new(&pcfg));
	SUCCEED(rpma_peer_cfg_set_direct_write_to_pmem(pcfg, true));
	SUCCEED(rpma_conn_apply_remote_peer_cfg(pair->client.conn, pcfg));
	SUCCEED(rpma_peer_cfg_delete(&pcfg));

	expect_flush_not_supported(pair, none.remote, RPMA_FLUSH_TYPE_VISIBILITY, REGION);
	expect_flush_not_supported(pair, none.remote, RPMA_FLUSH_TYPE_PERSISTENT, REGION);
	expect_flush_not_supported(pair, visible.remote, RPMA_FLUSH_TYPE_PERSISTENT, REGION);
	expect_flush_not_supported(pair, persistent.remote, RPMA_FLUSH_TYPE_VISIBILITY, REGION);

	SUCCEED(rpma_flush(pair->client.conn, visible.remote, 0, 8, RPMA_FLUSH_TYPE_VISIBILITY,
			ALWAYS, &visible));
	EXPECT_WC(pair->client.cq, &visible, IBV_WC_SUCCESS);
	SUCCEED(rpma_flush(pair->client.conn, persistent.remote, 0, 8, RPMA_FLUSH_TYPE_PERSISTENT,
			ALWAYS, &persistent));
	EXPECT_WC(pair->client.cq, &persistent, IBV_WC_SUCCESS);

	close_region(&none);
	close_region(&visible);
	close_region(&persistent);
}

static void
flush_of_an_unknown_type(void **state)
{
	struct pair *pair = *state;
	static const int wrong[] = {2, -1, 100};

	BETTER(DIFF_FLUSH_TYPE);
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		INVALID(rpma_flush(pair->client.conn, pair->server.region.remote, 0, 8,
				(enum rpma_flush_type)wrong[i], ALWAYS, NULL));
	EXPECT_NO_WC(pair->client.cq);
}

/* --- messages --- */

static void
send_and_receive(void **state)
{
	struct pair *pair = *state;
	int contexts[2] = {0};

	for (int i = 0; i < 2; i++) {
		struct side *from = i ? &pair->server : &pair->client;
		struct side *to = i ? &pair->client : &pair->server;

		fill(from->region.mem, MR_SIZE, (unsigned)i);
		memset(to->region.mem, 0, MR_SIZE);
		SUCCEED(rpma_recv(to->conn, to->region.mr, 1000, 500, &contexts[0]));
		SUCCEED(rpma_send(from->conn, from->region.mr, 30, 400, ALWAYS, &contexts[1]));
		struct ibv_wc wc = EXPECT_WC(from->cq, &contexts[1], IBV_WC_SUCCESS);

		assert_int_equal(wc.opcode, IBV_WC_SEND);
		wc = EXPECT_WC(to->cq, &contexts[0], IBV_WC_SUCCESS);
		assert_int_equal(wc.opcode, IBV_WC_RECV);
		assert_int_equal(wc.byte_len, 400);
		assert_false(wc.wc_flags & IBV_WC_WITH_IMM);
		assert_memory_equal(to->region.mem + 1000, from->region.mem + 30, 400);
		assert_int_equal(to->region.mem[999], 0);
		assert_int_equal(to->region.mem[1500], 0);
	}
}

static void
send_with_imm(void **state)
{
	struct pair *pair = *state;
	static const uint32_t imms[] = {0x12345678, 0, UINT32_MAX};

	for (size_t i = 0; i < COUNT_OF(imms); i++) {
		fill(pair->client.region.mem, 16, (unsigned)i);
		SUCCEED(rpma_recv(pair->server.conn, pair->server.region.mr, 0, 16, pair));
		SUCCEED(rpma_send_with_imm(pair->client.conn, pair->client.region.mr, 0, 16, ALWAYS,
				imms[i], pair));
		EXPECT_WC(pair->client.cq, pair, IBV_WC_SUCCESS);
		const struct ibv_wc wc = EXPECT_WC(pair->server.cq, pair, IBV_WC_SUCCESS);

		assert_int_equal(wc.opcode, IBV_WC_RECV);
		assert_true(wc.wc_flags & IBV_WC_WITH_IMM);
		assert_int_equal(wc.imm_data, htonl(imms[i]));
		assert_memory_equal(pair->server.region.mem, pair->client.region.mem, 16);
	}
}

static void
messages_arrive_in_order(void **state)
{
	struct pair *pair = *state;
	int contexts[8] = {0};

	for (int round = 0; round < 5; round++) {
		for (size_t i = 0; i < COUNT_OF(contexts); i++)
			SUCCEED(rpma_recv(pair->server.conn, pair->server.region.mr, i * 64, 64,
					&contexts[i]));
		for (size_t i = 0; i < COUNT_OF(contexts); i++) {
			fill(pair->client.region.mem + i * 64, 64, (unsigned)i);
			SUCCEED(rpma_send(pair->client.conn, pair->client.region.mr, i * 64, i + 1,
					ALWAYS, &contexts[i]));
		}
		for (size_t i = 0; i < COUNT_OF(contexts); i++) {
			EXPECT_WC(pair->client.cq, &contexts[i], IBV_WC_SUCCESS);
			const struct ibv_wc wc = EXPECT_WC(pair->server.cq, &contexts[i],
					IBV_WC_SUCCESS);

			assert_int_equal(wc.byte_len, i + 1);
			assert_memory_equal(pair->server.region.mem + i * 64,
					pair->client.region.mem + i * 64, i + 1);
		}
	}
}

static void
receive_too_small(void **state)
{
	struct pair *pair = *state;

	SUCCEED(rpma_recv(pair->server.conn, pair->server.region.mr, 0, 8, pair));
	SUCCEED(rpma_send(pair->client.conn, pair->client.region.mr, 0, 16, ALWAYS, pair));

	/* rxe has its own statuses for this; the specification's come second */
	struct ibv_wc wc = wait_wc(pair->client.cq);

	assert_true(wc.status == IBV_WC_REM_OP_ERR || wc.status == IBV_WC_REM_INV_REQ_ERR);
	assert_true(wc.wr_id == (uintptr_t)pair);
	wc = wait_wc(pair->server.cq);
	assert_true(wc.status == IBV_WC_LOC_QP_OP_ERR || wc.status == IBV_WC_LOC_LEN_ERR);
	assert_true(wc.wr_id == (uintptr_t)pair);
}

/* --- completions asked for, contexts, limits --- */

static void
unsignalled(void **state)
{
	struct pair *pair = *state;
	const char word[8] = {0};
	struct rpma_conn *conn = pair->client.conn;
	struct rpma_mr_remote *remote = pair->server.region.remote;
	struct rpma_mr_local *mr = pair->client.region.mr;

	SUCCEED(rpma_recv(pair->server.conn, pair->server.region.mr, 0, 64, NULL));
	SUCCEED(rpma_recv(pair->server.conn, pair->server.region.mr, 0, 64, NULL));
	SUCCEED(rpma_recv(pair->server.conn, pair->server.region.mr, 0, 64, NULL));
	SUCCEED(rpma_write(conn, remote, 0, mr, 0, 8, ON_ERROR, NULL));
	SUCCEED(rpma_read(conn, mr, 0, remote, 0, 8, ON_ERROR, NULL));
	SUCCEED(rpma_atomic_write(conn, remote, 0, word, ON_ERROR, NULL));
	SUCCEED(rpma_flush(conn, remote, 0, 8, RPMA_FLUSH_TYPE_VISIBILITY, ON_ERROR, NULL));
	SUCCEED(rpma_send(conn, mr, 0, 8, ON_ERROR, NULL));
	SUCCEED(rpma_send_with_imm(conn, mr, 0, 8, ON_ERROR, 1, NULL));
	SUCCEED(rpma_write_with_imm(conn, remote, 0, mr, 0, 8, ON_ERROR, 1, NULL));
	/* the last one alone has a completion */
	SUCCEED(rpma_write(conn, remote, 0, mr, 0, 8, ALWAYS, pair));
	EXPECT_WC(pair->client.cq, pair, IBV_WC_SUCCESS);
	EXPECT_NO_WC(pair->client.cq);
}

static void
context_comes_back(void **state)
{
	struct pair *pair = *state;
	const void *const contexts[] = {
		NULL, (void *)1, pair, (void *)UINTPTR_MAX, (void *)0x8000000000000000,
	};

	for (size_t i = 0; i < COUNT_OF(contexts); i++) {
		SUCCEED(rpma_recv(pair->server.conn, pair->server.region.mr, 0, 8, contexts[i]));
		SUCCEED(rpma_send(pair->client.conn, pair->client.region.mr, 0, 8, ALWAYS,
				contexts[i]));
		EXPECT_WC(pair->client.cq, contexts[i], IBV_WC_SUCCESS);
		EXPECT_WC(pair->server.cq, contexts[i], IBV_WC_SUCCESS);
	}
}

/* sends that nobody receives until the queue is full: at least as many as were asked for */
static int
fill_send_queue(struct pair *pair)
{
	int posted = 0;
	int ret;

	while ((ret = rpma_send(pair->client.conn, pair->client.region.mr, 0, 8, ALWAYS,
			pair)) == 0 && posted < 10000)
		posted++;
	EXPECT(ret, RPMA_E_PROVIDER);

	return posted;
}

static void
send_queue_full(void **state)
{
	struct pair *pair = *state;
	const char word[8] = {0};
	struct rpma_conn *conn = pair->client.conn;
	struct rpma_mr_remote *remote = pair->server.region.remote;
	struct rpma_mr_local *mr = pair->client.region.mr;

	assert_in_range(fill_send_queue(pair), 10, 100);

	log_capture(RPMA_LOG_LEVEL_ERROR);
	errno = 0;
	EXPECT(rpma_write(conn, remote, 0, mr, 0, 8, ALWAYS, NULL), RPMA_E_PROVIDER);
	EXPECT_ERRNO(ENOMEM);
	assert_int_equal(logged.count, 1);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
	assert_non_null(strstr(logged.text, "ibv_post_send"));
	assert_non_null(strstr(logged.text, "Cannot allocate memory"));
	log_release();

	EXPECT(rpma_read(conn, mr, 0, remote, 0, 8, ALWAYS, NULL), RPMA_E_PROVIDER);
	EXPECT(rpma_write_with_imm(conn, remote, 0, mr, 0, 8, ALWAYS, 1, NULL), RPMA_E_PROVIDER);
	EXPECT(rpma_send_with_imm(conn, mr, 0, 8, ALWAYS, 1, NULL), RPMA_E_PROVIDER);
	EXPECT(rpma_atomic_write(conn, remote, 0, word, ALWAYS, NULL), RPMA_E_PROVIDER);
	EXPECT(rpma_flush(conn, remote, 0, 8, RPMA_FLUSH_TYPE_VISIBILITY, ALWAYS, NULL),
			RPMA_E_PROVIDER);
}

static void
receive_queue_full(void **state)
{
	struct pair *pair = *state;
	int posted = 0;
	int ret;

	while ((ret = rpma_recv(pair->client.conn, pair->client.region.mr, 0, 8, NULL)) == 0 &&
			posted < 10000)
		posted++;
	EXPECT(ret, RPMA_E_PROVIDER);
	assert_in_range(posted, 10, 100);
}

static void
queue_sizes_of_the_configuration(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_cfg *cfg = NULL;

	SUCCEED(rpma_conn_delete(&pair->client.conn));
	SUCCEED(rpma_conn_delete(&pair->server.conn));
	SUCCEED(rpma_conn_cfg_new(&cfg));
	SUCCEED(rpma_conn_cfg_set_sq_size(cfg, 200));
	SUCCEED(rpma_conn_cfg_set_rq_size(cfg, 300));
	SUCCEED(rpma_conn_cfg_set_cq_size(cfg, 600));
	pair_connect(pair, cfg, cfg);
	SUCCEED(rpma_conn_cfg_delete(&cfg));

	for (int i = 0; i < 300; i++)
		SUCCEED(rpma_recv(pair->client.conn, NULL, 0, 0, NULL));
	assert_in_range(fill_send_queue(pair), 200, 600);
}

static void
length_above_4g(void **state)
{
	struct pair *pair = *state;
	static const size_t lens[] = {(size_t)UINT32_MAX + 1, ((size_t)UINT32_MAX + 1) * 8 + 8, SIZE_MAX};
	struct rpma_conn *conn = pair->client.conn;
	struct rpma_mr_remote *remote = pair->server.region.remote;
	struct rpma_mr_local *mr = pair->client.region.mr;

	BETTER(DIFF_LENGTH_4G);
	for (size_t i = 0; i < COUNT_OF(lens); i++) {
		log_capture(RPMA_LOG_LEVEL_ERROR);
		INVALID(rpma_read(conn, mr, 0, remote, 0, lens[i], ALWAYS, NULL));
		INVALID(rpma_write(conn, remote, 0, mr, 0, lens[i], ALWAYS, NULL));
		INVALID(rpma_write_with_imm(conn, remote, 0, mr, 0, lens[i], ALWAYS, 1, NULL));
		INVALID(rpma_send(conn, mr, 0, lens[i], ALWAYS, NULL));
		INVALID(rpma_send_with_imm(conn, mr, 0, lens[i], ALWAYS, 1, NULL));
		INVALID(rpma_recv(conn, mr, 0, lens[i], NULL));
		assert_int_equal(logged.count, 6);
		assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
		log_release();
	}
	EXPECT_NO_WC(pair->client.cq);
	write_and_check(pair, 64, 3);
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(operations_refuse),
};

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)

static const struct CMUnitTest rdma[] = {
	WITH_PAIR(operations_refuse_on_a_real_connection),
	WITH_PAIR(read_and_write_anywhere),
	WITH_PAIR(the_server_may_start_too),
	WITH_PAIR(large_transfers),
	WITH_PAIR(zero_length),
	WITH_PAIR(write_with_imm),
	WITH_PAIR(atomic_write),
	WITH_PAIR(flush_to_visibility),
	WITH_PAIR(flush_beyond_the_region),
	WITH_PAIR(flush_to_persistency),
	WITH_PAIR(flush_of_a_region_that_lacks_the_type),
	WITH_PAIR(flush_of_an_unknown_type),
	WITH_PAIR(send_and_receive),
	WITH_PAIR(send_with_imm),
	WITH_PAIR(messages_arrive_in_order),
	WITH_PAIR(receive_too_small),
	WITH_PAIR(unsignalled),
	WITH_PAIR(context_comes_back),
	WITH_PAIR(send_queue_full),
	WITH_PAIR(receive_queue_full),
	WITH_PAIR(queue_sizes_of_the_configuration),
	WITH_PAIR(length_above_4g),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "ops", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
		.rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
