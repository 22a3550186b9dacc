/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Native atomic write and native flush: what the library asks the device for, and what comes of it. Where
 * the device does not have the one or the other, its tests are skipped. softrdma has both with
 * --caps atomic-write,flush.
 */
#include "failing.h"
#include "native.h"

#define ALWAYS RPMA_F_COMPLETION_ALWAYS
#define ON_ERROR RPMA_F_COMPLETION_ON_ERROR
#define VISIBILITY RPMA_FLUSH_TYPE_VISIBILITY
#define PERSISTENT RPMA_FLUSH_TYPE_PERSISTENT

static const void *const context = (void *)0x8123456789abcdef;

static void
needs_atomic_write(void)
{
	if (!writes_natively_here()) {
		print_message("skipped: the device or the library has no native atomic write\n");
		skip();
	}
}

static void
needs_flush(void)
{
	if (!flushes_natively_here()) {
		print_message("skipped: the device or the library has no native flush\n");
		skip();
	}
}

/* there is no difference otherwise */
static void
needs_any_on_the_original(void)
{
	if (library_is_original() && !writes_natively_here() && !flushes_natively_here()) {
		print_message("skipped: the device or the library has no native operations\n");
		skip();
	}
}

static void
allow_persistence(struct rpma_conn *conn)
{
	struct rpma_peer_cfg *pcfg = NULL;

	SUCCEED(rpma_peer_cfg_new(&pcfg));
	SUCCEED(rpma_peer_cfg_set_direct_write_to_pmem(pcfg, true));
	SUCCEED(rpma_conn_apply_remote_peer_cfg(conn, pcfg));
	SUCCEED(rpma_peer_cfg_delete(&pcfg));
}

/* after an error a connection is of no use */
static void
connect_again(struct pair *pair)
{
	SUCCEED(rpma_conn_delete(&pair->client.conn));
	SUCCEED(rpma_conn_delete(&pair->server.conn));
	pair_connect(pair, NULL, NULL);
	allow_persistence(pair->client.conn);
	verbs_reset();
}

/* --- what the library needs for them --- */

static void
queue_pairs_are_made_for_them(void **state)
{
	const bool writes = writes_natively_here(), flushes = flushes_natively_here();
	struct pair *pair = *state;
	uint64_t ops = 0;

	pair_connect(pair, NULL, NULL);
	ops |= writes ? QP_EX_WITH_ATOMIC_WRITE : 0;
	ops |= flushes ? QP_EX_WITH_FLUSH : 0;
	if (writes || flushes) {
		/* no other operation could be posted otherwise; the original relies on devices that let it */
		ops |= library_is_original() ? 0 : IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM |
				IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_SEND_WITH_IMM |
				IBV_QP_EX_WITH_RDMA_READ;
		assert_int_equal(verbs_seen.qp.comp_mask,
				IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS);
		assert_int_equal(verbs_seen.qp.send_ops_flags, ops);
	} else if (original_is_1_3()) {
		/* which is the same */
		assert_int_equal(verbs_seen.qp.comp_mask,
				IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS);
		assert_int_equal(verbs_seen.qp.send_ops_flags, 0);
	} else {
		assert_int_equal(verbs_seen.qp.comp_mask, IBV_QP_INIT_ATTR_PD);
	}
}

/* a write, both types of flush and an atomic write, natively or not */
static void
use_everything(struct pair *pair, bool writes, bool flushes)
{
	struct rpma_mr_remote *remote = pair->server.region.remote;
	struct rpma_conn *conn = pair->client.conn;
	const char word[8] = "1234567";

	allow_persistence(conn);
	verbs_log[0] = '\0';
	write_and_check(pair, 64, 3);
	SUCCEED(rpma_flush(conn, remote, 0, 64, VISIBILITY, ALWAYS, context));
	EXPECT_WC(pair->client.cq, context, IBV_WC_SUCCESS);
	SUCCEED(rpma_flush(conn, remote, 0, 64, PERSISTENT, ALWAYS, context));
	EXPECT_WC(pair->client.cq, context, IBV_WC_SUCCESS);
	SUCCEED(rpma_atomic_write(conn, remote, 0, word, ALWAYS, context));
	EXPECT_WC(pair->client.cq, context, IBV_WC_SUCCESS);
	assert_memory_equal(pair->server.region.mem, word, sizeof(word));
	assert_int_equal(verbs_calls("ibv_wr_flush"), flushes ? 2 : 0);
	assert_int_equal(verbs_calls("ibv_wr_atomic_write"), writes ? 1 : 0);
}

static const uint64_t native_ops[] = {
	QP_EX_WITH_FLUSH, QP_EX_WITH_ATOMIC_WRITE, QP_EX_WITH_FLUSH | QP_EX_WITH_ATOMIC_WRITE,
};

/* the device says that it has them, and an older provider knows neither their bits nor their functions */
static void
operations_that_the_provider_does_not_know(void **state)
{
	struct pair *pair = *state;

	BETTER(DIFF_REFUSED_OPERATIONS);
	needs_any_on_the_original();
	for (size_t i = 0; i < COUNT_OF(native_ops); i++) {
		bool writes = library_is_native() && device_claims_atomic_write();
		bool flushes = library_is_native() && device_claims_flush();
		const uint64_t refused = native_ops[i] |
				(writes_natively_here() ? 0 : QP_EX_WITH_ATOMIC_WRITE) |
				(flushes_natively_here() ? 0 : QP_EX_WITH_FLUSH);
		unsigned refusals = 0;

		/* flush came later: it goes first */
		while ((flushes && refused & QP_EX_WITH_FLUSH) ||
				(writes && refused & QP_EX_WITH_ATOMIC_WRITE)) {
			writes = writes && flushes;
			flushes = false;
			refusals++;
		}
		verbs_reset();
		verbs_refuse_ops(native_ops[i]);
		pair_connect(pair, NULL, NULL);
		/* on both sides */
		assert_int_equal(verbs_seen.refused_qps, 2 * refusals);
		assert_int_equal(verbs_calls("rdma_create_qp_ex"), 2);
		use_everything(pair, writes, flushes);
		pair_disconnect(pair);
	}
}

/* it makes the queue pair all the same */
static void
operations_without_functions(void **state)
{
	struct pair *pair = *state;

	for (size_t i = 0; i < COUNT_OF(native_ops); i++) {
		verbs_reset();
		verbs_hide_ops(native_ops[i]);
		pair_connect(pair, NULL, NULL);
		assert_int_equal(verbs_calls("rdma_create_qp_ex"), 2);
		use_everything(pair, writes_natively_here() && !(native_ops[i] & QP_EX_WITH_ATOMIC_WRITE),
				flushes_natively_here() && !(native_ops[i] & QP_EX_WITH_FLUSH));
		pair_disconnect(pair);
	}
}

static void
only_a_flush_that_is_a_read_needs_a_buffer(void **state)
{
	assert_int_equal(flushes_natively(*state), flushes_natively_here());
}

/* every combination of usages */
static void
access_of_regions(void **state)
{
	struct pair *pair = *state;
	char mem[64];

	BETTER(DIFF_READABLE);
	needs_flush();
	static const struct {
		int usage;
		int access;
	} rights[] = {
		{RPMA_MR_USAGE_READ_SRC, IBV_ACCESS_REMOTE_READ},
		{RPMA_MR_USAGE_READ_DST, IBV_ACCESS_LOCAL_WRITE},
		{RPMA_MR_USAGE_WRITE_SRC, IBV_ACCESS_LOCAL_WRITE},
		{RPMA_MR_USAGE_WRITE_DST, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE},
		/* the remote side may have no native flush: a read takes its place */
		{RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY, ACCESS_FLUSH_GLOBAL | IBV_ACCESS_REMOTE_READ},
		{RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT, ACCESS_FLUSH_PERSISTENT | IBV_ACCESS_REMOTE_READ},
		{RPMA_MR_USAGE_SEND, 0},
		{RPMA_MR_USAGE_RECV, IBV_ACCESS_LOCAL_WRITE},
	};

	for (int usage = 1; usage <= 0xff; usage++) {
		struct rpma_mr_local *mr = NULL;
		int want = 0;

		for (size_t i = 0; i < COUNT_OF(rights); i++)
			want |= usage & rights[i].usage ? rights[i].access : 0;
		SUCCEED(rpma_mr_reg(pair->client.peer, mem, sizeof(mem), usage, &mr));
		assert_int_equal(verbs_seen.access & ~IBV_ACCESS_ON_DEMAND, want);
		SUCCEED(rpma_mr_dereg(&mr));
	}
}

/* --- atomic write --- */

static uint64_t
address_in(const struct region *region, size_t offset)
{
	return (uintptr_t)region->mem + offset;
}

static uint32_t
rkey_of(const struct region *region)
{
	unsigned char desc[DESCRIPTOR_SIZE];

	SUCCEED(rpma_mr_get_descriptor(region->mr, desc));

	return desc[16] | (uint32_t)desc[17] << 8 | (uint32_t)desc[18] << 16 | (uint32_t)desc[19] << 24;
}

static void
check_native(const struct region *there, size_t offset, const char *calls, unsigned flags)
{
	assert_string_equal(verbs_log, calls);
	assert_true(verbs_seen.native.wr_id == (uintptr_t)context);
	assert_int_equal(verbs_seen.native.wr_flags, flags);
	assert_int_equal(verbs_seen.native.rkey, rkey_of(there));
	assert_true(verbs_seen.native.remote_addr == address_in(there, offset));
}

/* that of the original has none: see below */
static unsigned
fence(void)
{
	return library_is_original() ? 0 : IBV_SEND_FENCE;
}

static void
atomic_write(void **state)
{
	struct pair *pair = *state;
	const struct region *there = &pair->server.region;
	static const char calls[] = "ibv_wr_start ibv_wr_atomic_write ibv_wr_complete ";
	struct ibv_wc wc;

	needs_atomic_write();
	for (size_t offset = 0; offset < MR_SIZE; offset += MR_SIZE / 2 - 8) {
		char word[8];

		fill(word, sizeof(word), (unsigned)offset);
		verbs_reset();
		SUCCEED(rpma_atomic_write(pair->client.conn, there->remote, offset, word, ALWAYS, context));
		check_native(there, offset, calls, IBV_SEND_SIGNALED | fence());
		assert_memory_equal(verbs_seen.native.bytes, word, sizeof(word));
		wc = EXPECT_WC(pair->client.cq, context, IBV_WC_SUCCESS);
		assert_int_equal(wc.opcode, WC_ATOMIC_WRITE);
		assert_memory_equal(there->mem + offset, word, sizeof(word));

		verbs_reset();
		SUCCEED(rpma_atomic_write(pair->client.conn, there->remote, offset, word, ON_ERROR,
				context));
		check_native(there, offset, calls, fence());
	}
	write_and_check(pair, 8, 1);
	EXPECT_NO_WC(pair->client.cq);
}

static void
atomic_write_is_fenced(void **state)
{
	struct pair *pair = *state;

	BETTER(DIFF_UNFENCED);
	needs_atomic_write();
	verbs_reset();
	SUCCEED(rpma_atomic_write(pair->client.conn, pair->server.region.remote, 0, "1234567", ALWAYS, context));
	assert_true(verbs_seen.native.wr_flags & IBV_SEND_FENCE);
	EXPECT_WC(pair->client.cq, context, IBV_WC_SUCCESS);
}

/* --- flush --- */

static const enum rpma_flush_type types[] = {VISIBILITY, PERSISTENT};

static void
check_flush(const struct region *there, size_t offset, size_t len, enum rpma_flush_type type,
		unsigned flags)
{
	check_native(there, offset, "ibv_wr_start ibv_wr_flush ibv_wr_complete ", flags);
	assert_int_equal(verbs_seen.native.length, len);
	assert_int_equal(verbs_seen.native.placement,
			type == PERSISTENT ? FLUSH_PLACEMENT_PERSISTENT : FLUSH_PLACEMENT_GLOBAL);
	assert_int_equal(verbs_seen.native.selectivity, FLUSH_SELECTIVITY_RANGE);
}

/* a signalled flush, with what becomes of it */
static void
flush(struct pair *pair, struct rpma_mr_remote *remote, size_t offset, size_t len,
		enum rpma_flush_type type, enum ibv_wc_status status)
{
	struct ibv_wc wc;

	verbs_reset();
	SUCCEED(rpma_flush(pair->client.conn, remote, offset, len, type, ALWAYS, context));
	assert_int_equal(verbs_calls("ibv_wr_flush"), 1);
	wc = EXPECT_WC(pair->client.cq, context, status);
	if (status == IBV_WC_SUCCESS)
		assert_int_equal(wc.opcode, WC_FLUSH);
	if (status != IBV_WC_SUCCESS)
		connect_again(pair);
}

static void
flush_of_ranges(void **state)
{
	struct pair *pair = *state;
	const struct region *there = &pair->server.region;
	static const struct {
		size_t offset;
		size_t len;
	} inside[] = {
		{0, 0}, {17, 0}, {MR_SIZE, 0}, {0, 1}, {1, 8}, {4096, 4000}, {MR_SIZE - 1, 1},
		{1, MR_SIZE - 1}, {0, MR_SIZE},
	}, outside[] = {
		{0, MR_SIZE + 1}, {1, MR_SIZE}, {MR_SIZE - 7, 8}, {MR_SIZE, 1}, {0, UINT32_MAX},
		{(size_t)-8, 8}, {MR_SIZE + 1, 0},
	};

	needs_flush();
	allow_persistence(pair->client.conn);
	for (size_t t = 0; t < COUNT_OF(types); t++) {
		for (size_t i = 0; i < COUNT_OF(inside); i++) {
			fill(pair->client.region.mem, MR_SIZE, (unsigned)(t + i));
			SUCCEED(rpma_write(pair->client.conn, there->remote, 0, pair->client.region.mr, 0,
					MR_SIZE, ON_ERROR, NULL));
			flush(pair, there->remote, inside[i].offset, inside[i].len, types[t],
					IBV_WC_SUCCESS);
			assert_memory_equal(there->mem, pair->client.region.mem, MR_SIZE);
			/* the CQ was looked into since */
			verbs_reset();
			SUCCEED(rpma_flush(pair->client.conn, there->remote, inside[i].offset,
					inside[i].len, types[t], ALWAYS, context));
			check_flush(there, inside[i].offset, inside[i].len, types[t], IBV_SEND_SIGNALED);
			EXPECT_WC(pair->client.cq, context, IBV_WC_SUCCESS);
			/* without asking for its completion */
			verbs_reset();
			SUCCEED(rpma_flush(pair->client.conn, there->remote, inside[i].offset,
					inside[i].len, types[t], ON_ERROR, context));
			check_flush(there, inside[i].offset, inside[i].len, types[t], 0);
			write_and_check(pair, 64, 2);
			EXPECT_NO_WC(pair->client.cq);
		}
		/* of the length too, of which an emulated flush takes no notice */
		for (size_t i = 0; i < COUNT_OF(outside); i++)
			flush(pair, there->remote, outside[i].offset, outside[i].len, types[t],
					IBV_WC_REM_ACCESS_ERR);
	}
}

/* on the wire a flush has 32 bits for it */
static void
flush_of_more_than_4g(void **state)
{
	struct pair *pair = *state;
	static const size_t lens[] = {(size_t)UINT32_MAX + 1, (size_t)UINT32_MAX + 9, SIZE_MAX};

	BETTER(DIFF_LENGTH_4G);
	needs_flush();
	allow_persistence(pair->client.conn);
	for (size_t i = 0; i < COUNT_OF(lens) * COUNT_OF(types); i++) {
		verbs_reset();
		log_capture(RPMA_LOG_LEVEL_ERROR);
		INVALID(rpma_flush(pair->client.conn, pair->server.region.remote, 0, lens[i / 2],
				types[i % 2], ALWAYS, context));
		assert_int_equal(logged.count, 1);
		assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
		assert_string_equal(logged.function, "rpma_flush");
		log_release();
		assert_string_equal(verbs_log, "");
	}
	EXPECT_NO_WC(pair->client.cq);
	flush(pair, pair->server.region.remote, 0, MR_SIZE, VISIBILITY, IBV_WC_SUCCESS);
}

static void
flush_of_what_is_not_there(void **state)
{
	struct pair *pair = *state;
	struct rpma_mr_remote *wrong;
	struct region region;

	needs_flush();
	allow_persistence(pair->client.conn);
	wrong = forge_remote(pair->server.region.mr, 0, 0x00f0f000);
	region = open_region(pair->server.peer, MR_SIZE, ALL_USAGES);
	SUCCEED(rpma_mr_dereg(&region.mr));
	for (size_t t = 0; t < COUNT_OF(types); t++) {
		flush(pair, wrong, 0, 8, types[t], IBV_WC_REM_ACCESS_ERR);
		/* not even of nothing */
		flush(pair, wrong, 0, 0, types[t], IBV_WC_REM_ACCESS_ERR);
		flush(pair, region.remote, 0, 8, types[t], IBV_WC_REM_ACCESS_ERR);
	}
	close_region(&region);
	SUCCEED(rpma_mr_remote_delete(&wrong));
}

/* the descriptor says that the region is for both types, and the device knows better */
static void
flush_without_the_right_to(void **state)
{
	static const struct {
		int usage;
		bool allowed[2];	/* as in `types` */
	} cases[] = {
		{RPMA_MR_USAGE_WRITE_DST | RPMA_MR_USAGE_READ_SRC, {false, false}},
		{RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY, {true, false}},
		{RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT, {false, true}},
		{RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY | RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT, {true, true}},
	};
	struct pair *pair = *state;

	needs_flush();
	allow_persistence(pair->client.conn);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct region region = open_region(pair->server.peer, MR_SIZE, cases[i].usage);
		struct rpma_mr_remote *forged = NULL;
		unsigned char desc[DESCRIPTOR_SIZE];

		put_descriptor(desc, address_in(&region, 0), MR_SIZE, rkey_of(&region), ALL_USAGES);
		SUCCEED(rpma_mr_remote_from_descriptor(desc, sizeof(desc), &forged));
		for (size_t t = 0; t < COUNT_OF(types); t++)
			flush(pair, forged, 0, MR_SIZE, types[t], cases[i].allowed[t] ? IBV_WC_SUCCESS :
					IBV_WC_REM_ACCESS_ERR);
		SUCCEED(rpma_mr_remote_delete(&forged));
		close_region(&region);
	}
}

/* one that was to complete only then, and what was posted behind it */
static void
flush_that_fails(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn *conn = pair->client.conn;
	struct rpma_mr_remote *remote = pair->server.region.remote;
	int contexts[2] = {0};

	needs_flush();
	SUCCEED(rpma_flush(conn, remote, MR_SIZE, 8, VISIBILITY, ON_ERROR, &contexts[0]));
	SUCCEED(rpma_flush(conn, remote, 0, 8, VISIBILITY, ON_ERROR, &contexts[1]));
	EXPECT_WC(pair->client.cq, &contexts[0], IBV_WC_REM_ACCESS_ERR);
	EXPECT_WC(pair->client.cq, &contexts[1], IBV_WC_WR_FLUSH_ERR);
	/* and later */
	SUCCEED(rpma_flush(conn, remote, 0, 8, VISIBILITY, ON_ERROR, &contexts[1]));
	EXPECT_WC(pair->client.cq, &contexts[1], IBV_WC_WR_FLUSH_ERR);
	EXPECT_NO_WC(pair->client.cq);
}

/* --- both, and the others --- */

/*
 * The pattern that they are for: data, flush, and a word that says that the data is there. The word waits for
 * the flush, whichever of the two is native.
 */
static void
word_behind_a_flush(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn *conn = pair->client.conn;
	struct region *here = &pair->client.region, *there = &pair->server.region;

	for (unsigned i = 0; i < 20; i++) {
		char word[8];

		fill(here->mem, MR_SIZE, i);
		fill(word, sizeof(word), i + 100);
		SUCCEED(rpma_write(conn, there->remote, 8, here->mr, 8, MR_SIZE - 8, ON_ERROR, NULL));
		SUCCEED(rpma_flush(conn, there->remote, 8, MR_SIZE - 8, VISIBILITY, ON_ERROR, NULL));
		verbs_reset();
		SUCCEED(rpma_atomic_write(conn, there->remote, 0, word, ALWAYS, context));
		if (verbs_calls("ibv_post_send"))
			assert_true(verbs_seen.send.send_flags & IBV_SEND_FENCE);
		else
			assert_int_equal(verbs_seen.native.wr_flags & IBV_SEND_FENCE, fence());
		EXPECT_WC(pair->client.cq, context, IBV_WC_SUCCESS);
		assert_memory_equal(there->mem, word, sizeof(word));
		assert_memory_equal(there->mem + 8, here->mem + 8, MR_SIZE - 8);
	}
	EXPECT_NO_WC(pair->client.cq);
}

/* a completion for each, in the order of their posting */
static void
all_kinds_in_order(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn *conn = pair->client.conn;
	struct rpma_mr_remote *remote = pair->server.region.remote;
	struct rpma_mr_local *mr = pair->client.region.mr;
	const char word[8] = "1234567";
	char contexts[6];

	allow_persistence(conn);
	SUCCEED(rpma_recv(pair->server.conn, NULL, 0, 0, NULL));
	SUCCEED(rpma_write(conn, remote, 0, mr, 0, 64, ALWAYS, &contexts[0]));
	SUCCEED(rpma_flush(conn, remote, 0, 64, VISIBILITY, ALWAYS, &contexts[1]));
	SUCCEED(rpma_read(conn, mr, 64, remote, 0, 64, ALWAYS, &contexts[2]));
	SUCCEED(rpma_atomic_write(conn, remote, 0, word, ALWAYS, &contexts[3]));
	SUCCEED(rpma_flush(conn, remote, 0, 8, PERSISTENT, ALWAYS, &contexts[4]));
	SUCCEED(rpma_send(conn, NULL, 0, 0, ALWAYS, &contexts[5]));
	for (size_t i = 0; i < COUNT_OF(contexts); i++)
		EXPECT_WC(pair->client.cq, &contexts[i], IBV_WC_SUCCESS);
	EXPECT_NO_WC(pair->client.cq);
	assert_memory_equal(pair->client.region.mem + 64, pair->client.region.mem, 64);
}

static int
post_atomic_write(struct pair *pair)
{
	const char word[8] = "1234567";

	return rpma_atomic_write(pair->client.conn, pair->server.region.remote, 0, word, ALWAYS, context);
}

static int
post_flush(struct pair *pair)
{
	return rpma_flush(pair->client.conn, pair->server.region.remote, 0, 8, VISIBILITY, ALWAYS, context);
}

/* it is not posted, and works when it is tried again */
static void
check_failures(struct pair *pair, int (*post)(struct pair *pair), const char *call)
{
	static const int errors[] = {ENOMEM, EINVAL, EIO};

	for (size_t i = 0; i < COUNT_OF(errors); i++) {
		verbs_reset();
		verbs_fail("ibv_wr_complete", errors[i]);
		log_capture(RPMA_LOG_LEVEL_ERROR);
		errno = 0;
		EXPECT(post(pair), RPMA_E_PROVIDER);
		EXPECT_ERRNO(errors[i]);
		EXPECT_SPOILT();
		assert_failure_logged(call, errors[i]);
		log_release();
		EXPECT_NO_WC(pair->client.cq);
		SUCCEED(post(pair));
		EXPECT_WC(pair->client.cq, context, IBV_WC_SUCCESS);
	}
}

static void
failing_atomic_write(void **state)
{
	needs_atomic_write();
	check_failures(*state, post_atomic_write, "ibv_wr_atomic_write");
}

static void
failing_flush(void **state)
{
	needs_flush();
	check_failures(*state, post_flush, "ibv_wr_flush");
}

/* behind a message that nobody receives yet, until the queue is full, and again when it is not */
static void
full_queue(void **state)
{
	struct pair *pair = *state;
	int posted = 0, ret;

	needs_flush();
	SUCCEED(rpma_send(pair->client.conn, pair->client.region.mr, 0, 8, RPMA_F_COMPLETION_ALWAYS, context));
	log_capture(RPMA_LOG_DISABLED);
	while ((ret = post_flush(pair)) == 0 && ++posted < 1000)
		;
	EXPECT(ret, RPMA_E_PROVIDER);
	assert_int_equal(errno, ENOMEM);
	log_release();
	/* the size that the connection was made with, or more */
	assert_in_range(posted, 9, 999);
	SUCCEED(rpma_recv(pair->server.conn, pair->server.region.mr, 0, 8, NULL));
	for (int i = 0; i < 1 + posted; i++)
		EXPECT_WC(pair->client.cq, context, IBV_WC_SUCCESS);
	SUCCEED(post_flush(pair));
	EXPECT_WC(pair->client.cq, context, IBV_WC_SUCCESS);
}

#define PREPARED(test) cmocka_unit_test_setup_teardown(test, prepare_seen, release_seen)
#define CONNECTED(test) cmocka_unit_test_setup_teardown(test, connect_seen, release_seen)

static const struct CMUnitTest rdma[] = {
	PREPARED(queue_pairs_are_made_for_them),
	PREPARED(operations_that_the_provider_does_not_know),
	PREPARED(operations_without_functions),
	PREPARED(only_a_flush_that_is_a_read_needs_a_buffer),
	PREPARED(access_of_regions),
	CONNECTED(atomic_write),
	CONNECTED(atomic_write_is_fenced),
	CONNECTED(flush_of_ranges),
	CONNECTED(flush_of_more_than_4g),
	CONNECTED(flush_of_what_is_not_there),
	CONNECTED(flush_without_the_right_to),
	CONNECTED(flush_that_fails),
	CONNECTED(word_behind_a_flush),
	CONNECTED(all_kinds_in_order),
	CONNECTED(failing_atomic_write),
	CONNECTED(failing_flush),
	CONNECTED(full_queue),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "native-operations", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
