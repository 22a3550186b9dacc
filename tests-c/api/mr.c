/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory regions: registration, descriptors, and the protection they give. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"

/* --- without a device --- */

static void
local_regions_refuse_null(void **unused)
{
	struct rpma_mr_local *mr = UNTOUCHED_PTR;
	struct rpma_mr_local *none = NULL;
	struct rpma_peer *peer = untouchable();
	unsigned char desc[DESCRIPTOR_SIZE];
	void *ptr = UNTOUCHED_PTR;
	size_t size = 77;
	char mem[64];

	(void)unused;
	INVALID(rpma_mr_reg(NULL, mem, sizeof(mem), ALL_USAGES, &mr));
	INVALID(rpma_mr_reg(peer, NULL, sizeof(mem), ALL_USAGES, &mr));
	INVALID(rpma_mr_reg(peer, mem, 0, ALL_USAGES, &mr));
	INVALID(rpma_mr_reg(peer, mem, sizeof(mem), ALL_USAGES, NULL));
	INVALID(rpma_mr_reg(peer, mem, sizeof(mem), 0, &mr));
	INVALID(rpma_mr_reg(peer, mem, sizeof(mem), 0x100, &mr));
	INVALID(rpma_mr_reg(peer, mem, sizeof(mem), ALL_USAGES | 0x100, &mr));
	INVALID(rpma_mr_reg(peer, mem, sizeof(mem), -1, &mr));
	INVALID(rpma_mr_reg(peer, mem, sizeof(mem), INT32_MIN, &mr));
	assert_ptr_equal(mr, UNTOUCHED_PTR);

	INVALID(rpma_mr_dereg(NULL));
	SUCCEED(rpma_mr_dereg(&none));
	assert_null(none);

	memset(desc, 0x5a, sizeof(desc));
	INVALID(rpma_mr_get_descriptor(NULL, desc));
	INVALID(rpma_mr_get_descriptor(untouchable(), NULL));
	for (size_t i = 0; i < sizeof(desc); i++)
		assert_int_equal(desc[i], 0x5a);
	INVALID(rpma_mr_get_descriptor_size(NULL, &size));
	INVALID(rpma_mr_get_descriptor_size(untouchable(), NULL));
	INVALID(rpma_mr_get_ptr(NULL, &ptr));
	INVALID(rpma_mr_get_ptr(untouchable(), NULL));
	INVALID(rpma_mr_get_size(NULL, &size));
	INVALID(rpma_mr_get_size(untouchable(), NULL));
	assert_int_equal(size, 77);
	assert_ptr_equal(ptr, UNTOUCHED_PTR);
}

static void
advise_without_a_region(void **unused)
{
	(void)unused;
	BETTER(DIFF_MR_ADVISE_NULL);
	INVALID(rpma_mr_advise(NULL, 0, 1, IBV_ADVISE_MR_ADVICE_PREFETCH, 0));
}

static void
remote_from_descriptor_refuses(void **unused)
{
	struct rpma_mr_remote *remote = UNTOUCHED_PTR;
	struct rpma_mr_remote *none = NULL;
	unsigned char desc[DESCRIPTOR_SIZE];
	size_t size = 77;
	int flush_type = UNTOUCHED_INT;

	(void)unused;
	put_descriptor(desc, 0x1000, 0x2000, 3, ALL_USAGES);
	INVALID(rpma_mr_remote_from_descriptor(NULL, sizeof(desc), &remote));
	INVALID(rpma_mr_remote_from_descriptor(desc, sizeof(desc), NULL));

	for (size_t i = 0; i < DESCRIPTOR_SIZE; i++) {
		log_capture(RPMA_LOG_LEVEL_ERROR);
		INVALID(rpma_mr_remote_from_descriptor(desc, i, &remote));
		assert_int_equal(logged.count, 1);
		assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
		assert_string_equal(logged.function, "rpma_mr_remote_from_descriptor");
		log_release();
	}

	put_descriptor(desc, 0x1000, 0x2000, 3, 0);
	log_capture(RPMA_LOG_LEVEL_ERROR);
	INVALID(rpma_mr_remote_from_descriptor(desc, sizeof(desc), &remote));
	assert_int_equal(logged.count, 1);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
	log_release();
	assert_ptr_equal(remote, UNTOUCHED_PTR);

	INVALID(rpma_mr_remote_get_size(NULL, &size));
	INVALID(rpma_mr_remote_get_size(untouchable(), NULL));
	INVALID(rpma_mr_remote_get_flush_type(NULL, &flush_type));
	INVALID(rpma_mr_remote_get_flush_type(untouchable(), NULL));
	assert_int_equal(size, 77);
	assert_int_equal(flush_type, UNTOUCHED_INT);
	INVALID(rpma_mr_remote_delete(NULL));
	SUCCEED(rpma_mr_remote_delete(&none));
	assert_null(none);
}

static void
remote_from_descriptor(void **unused)
{
	static const struct {
		uint64_t len;
		uint8_t usage;
		int flush_type;
	} cases[] = {
		{0x0102030405060708, RPMA_MR_USAGE_WRITE_DST, 0},
		{1, RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY, RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY},
		{0, RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT, RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT},
		{UINT64_MAX, ALL_USAGES, RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT |
				RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY},
	};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		/* what follows the 21 bytes does not matter */
		unsigned char desc[DESCRIPTOR_SIZE + 11];

		memset(desc, 0xff, sizeof(desc));
		put_descriptor(desc, 0x1122334455667788, cases[i].len, 0x99aabbcc, cases[i].usage);

		for (size_t extra = 0; extra <= 11; extra += 11) {
			struct rpma_mr_remote *remote = NULL;
			size_t size = 77;
			int flush_type = -1;

			SUCCEED(rpma_mr_remote_from_descriptor(desc, DESCRIPTOR_SIZE + extra, &remote));
			assert_non_null(remote);
			SUCCEED(rpma_mr_remote_get_size(remote, &size));
			assert_true(size == cases[i].len);
			SUCCEED(rpma_mr_remote_get_flush_type(remote, &flush_type));
			assert_int_equal(flush_type, cases[i].flush_type);
			SUCCEED(rpma_mr_remote_delete(&remote));
			assert_null(remote);
		}
	}
}

static void
remote_from_an_unaligned_descriptor(void **unused)
{
	unsigned char buffer[DESCRIPTOR_SIZE + 8];

	(void)unused;
	for (size_t shift = 0; shift < 8; shift++) {
		struct rpma_mr_remote *remote = NULL;
		size_t size = 0;

		put_descriptor(buffer + shift, 0x1122334455667788, 0xabcdef, 5, ALL_USAGES);
		SUCCEED(rpma_mr_remote_from_descriptor(buffer + shift, DESCRIPTOR_SIZE, &remote));
		SUCCEED(rpma_mr_remote_get_size(remote, &size));
		assert_int_equal(size, 0xabcdef);
		SUCCEED(rpma_mr_remote_delete(&remote));
	}
}

/* --- with a device: registration --- */

static int
new_peer(void **state)
{
	*state = open_peer(RPMA_UTIL_IBV_CONTEXT_LOCAL);

	return 0;
}

static int
delete_peer(void **state)
{
	struct rpma_peer *peer = *state;

	SUCCEED(rpma_peer_delete(&peer));

	return 0;
}

static void
getters_and_descriptor(void **state)
{
	for (int usage = 1; usage <= ALL_USAGES; usage++) {
		struct region region = open_region(*state, MR_SIZE, usage);
		unsigned char desc[DESCRIPTOR_SIZE + 4];
		unsigned char want[DESCRIPTOR_SIZE];
		void *ptr = NULL;
		size_t size = 0;
		int flush_type = -1;
		uint32_t rkey;

		SUCCEED(rpma_mr_get_ptr(region.mr, &ptr));
		assert_ptr_equal(ptr, region.mem);
		SUCCEED(rpma_mr_get_size(region.mr, &size));
		assert_int_equal(size, MR_SIZE);
		SUCCEED(rpma_mr_get_descriptor_size(region.mr, &size));
		assert_int_equal(size, DESCRIPTOR_SIZE);

		memset(desc, 0x5a, sizeof(desc));
		SUCCEED(rpma_mr_get_descriptor(region.mr, desc));
		rkey = desc[16] | (uint32_t)desc[17] << 8 | (uint32_t)desc[18] << 16 |
				(uint32_t)desc[19] << 24;
		put_descriptor(want, (uintptr_t)region.mem, MR_SIZE, rkey, (uint8_t)usage);
		assert_memory_equal(desc, want, DESCRIPTOR_SIZE);
		assert_memory_equal(desc + DESCRIPTOR_SIZE, "ZZZZ", 4);

		SUCCEED(rpma_mr_remote_get_size(region.remote, &size));
		assert_int_equal(size, MR_SIZE);
		SUCCEED(rpma_mr_remote_get_flush_type(region.remote, &flush_type));
		assert_int_equal(flush_type, usage & (RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY |
				RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT));

		INVALID(rpma_mr_get_ptr(region.mr, NULL));
		INVALID(rpma_mr_get_size(region.mr, NULL));
		INVALID(rpma_mr_get_descriptor(region.mr, NULL));
		INVALID(rpma_mr_get_descriptor_size(region.mr, NULL));
		close_region(&region);
	}
}

static void
bad_registrations(void **state)
{
	struct rpma_mr_local *mr = UNTOUCHED_PTR;
	char mem[64];

	INVALID(rpma_mr_reg(*state, NULL, sizeof(mem), ALL_USAGES, &mr));
	INVALID(rpma_mr_reg(*state, mem, 0, ALL_USAGES, &mr));
	INVALID(rpma_mr_reg(*state, mem, sizeof(mem), 0, &mr));
	INVALID(rpma_mr_reg(*state, mem, sizeof(mem), 0x100, &mr));
	INVALID(rpma_mr_reg(*state, mem, sizeof(mem), -1, &mr));
	INVALID(rpma_mr_reg(*state, mem, sizeof(mem), ALL_USAGES, NULL));
	assert_ptr_equal(mr, UNTOUCHED_PTR);

	/* unaligned is fine */
	SUCCEED(rpma_mr_reg(*state, mem + 1, 3, ALL_USAGES, &mr));
	SUCCEED(rpma_mr_dereg(&mr));
	assert_null(mr);
}

static void *
map_pages(int protection)
{
	void *mem = mmap(NULL, MR_SIZE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(mem, MAP_FAILED);

	return mem;
}

static void
registration_of_an_unmapped_range(void **state)
{
	struct rpma_mr_local *mr = UNTOUCHED_PTR;
	void *mem = map_pages(PROT_READ | PROT_WRITE);

	munmap(mem, MR_SIZE);
	log_capture(RPMA_LOG_LEVEL_ERROR);
	errno = 0;
	EXPECT(rpma_mr_reg(*state, mem, MR_SIZE, ALL_USAGES, &mr), RPMA_E_PROVIDER);
	EXPECT_ERRNO(EFAULT);
	assert_ptr_equal(mr, UNTOUCHED_PTR);
	assert_int_equal(logged.count, 1);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
	assert_non_null(strstr(logged.text, "ibv_reg_mr"));
	assert_non_null(strstr(logged.text, "Bad address"));
	log_release();
}

static void
registration_of_read_only_pages(void **state)
{
	struct rpma_mr_local *mr = UNTOUCHED_PTR;
	void *mem = map_pages(PROT_READ);

	EXPECT(rpma_mr_reg(*state, mem, MR_SIZE, RPMA_MR_USAGE_READ_DST, &mr), RPMA_E_PROVIDER);
	EXPECT(rpma_mr_reg(*state, mem, MR_SIZE, RPMA_MR_USAGE_WRITE_DST, &mr), RPMA_E_PROVIDER);
	EXPECT(rpma_mr_reg(*state, mem, MR_SIZE, RPMA_MR_USAGE_RECV, &mr), RPMA_E_PROVIDER);
	assert_ptr_equal(mr, UNTOUCHED_PTR);
	munmap(mem, MR_SIZE);
}

static void
advise(void **state)
{
	struct region region = open_region(*state, MR_SIZE, ALL_USAGES);
	struct ibv_context *ctx = device_context();
	int odp = 0;

	SUCCEED(rpma_utils_ibv_context_is_odp_capable(ctx, &odp));
	log_capture(RPMA_LOG_LEVEL_ERROR);
	if (odp) {
		SUCCEED(rpma_mr_advise(region.mr, 0, MR_SIZE, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
				IBV_ADVISE_MR_FLAG_FLUSH));
	} else {
		EXPECT(rpma_mr_advise(region.mr, 0, MR_SIZE, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
				IBV_ADVISE_MR_FLAG_FLUSH), RPMA_E_NOSUPP);
		assert_int_equal(logged.count, 1);
		assert_non_null(strstr(logged.text, "ibv_advise_mr"));
	}
	log_release();
	close_region(&region);
}

static void
advise_on_more_than_4g(void **state)
{
	struct region region;

	BETTER(DIFF_MR_ADVISE_4G);
	region = open_region(*state, MR_SIZE, ALL_USAGES);
	log_capture(RPMA_LOG_LEVEL_ERROR);
	INVALID(rpma_mr_advise(region.mr, 0, (size_t)UINT32_MAX + 1, IBV_ADVISE_MR_ADVICE_PREFETCH, 0));
	assert_int_equal(logged.count, 1);
	log_release();
	close_region(&region);
}

/* --- with a device: protection --- */

/* after an error a connection is of no use, so the pair gets a new one, and that one works */
static void
still_healthy(struct pair *pair)
{
	SUCCEED(rpma_conn_delete(&pair->client.conn));
	SUCCEED(rpma_conn_delete(&pair->server.conn));
	pair_connect(pair, NULL, NULL);
	write_and_check(pair, MR_SIZE, 3);
}

#define ALWAYS RPMA_F_COMPLETION_ALWAYS

static void
write_beyond_the_region(void **state)
{
	struct pair *pair = *state;
	struct rpma_mr_remote *longer = forge_remote(pair->server.region.mr, MR_SIZE, 0);

	SUCCEED(rpma_write(pair->client.conn, longer, MR_SIZE - 4, pair->client.region.mr, 0, 8,
			ALWAYS, longer));
	EXPECT_WC(pair->client.cq, longer, IBV_WC_REM_ACCESS_ERR);
	SUCCEED(rpma_mr_remote_delete(&longer));
	still_healthy(pair);
}

static void
write_beyond_what_the_descriptor_says(void **state)
{
	struct pair *pair = *state;

	/* the library does not check: the device that owns the memory does */
	SUCCEED(rpma_write(pair->client.conn, pair->server.region.remote, MR_SIZE,
			pair->client.region.mr, 0, 8, ALWAYS, state));
	EXPECT_WC(pair->client.cq, state, IBV_WC_REM_ACCESS_ERR);
	still_healthy(pair);
}

static void
read_beyond_the_region(void **state)
{
	struct pair *pair = *state;

	SUCCEED(rpma_read(pair->client.conn, pair->client.region.mr, 0,
			pair->server.region.remote, MR_SIZE - 4, 8, ALWAYS, state));
	EXPECT_WC(pair->client.cq, state, IBV_WC_REM_ACCESS_ERR);
	still_healthy(pair);
}

static void
wrong_key(void **state)
{
	struct pair *pair = *state;
	struct rpma_mr_remote *wrong = forge_remote(pair->server.region.mr, 0, 0x00f0f000);

	SUCCEED(rpma_write(pair->client.conn, wrong, 0, pair->client.region.mr, 0, 8, ALWAYS,
			wrong));
	EXPECT_WC(pair->client.cq, wrong, IBV_WC_REM_ACCESS_ERR);
	SUCCEED(rpma_mr_remote_delete(&wrong));
	still_healthy(pair);
}

static void
deregistered(void **state)
{
	struct pair *pair = *state;
	struct region region = open_region(pair->server.peer, MR_SIZE, ALL_USAGES);

	SUCCEED(rpma_mr_dereg(&region.mr));
	SUCCEED(rpma_write(pair->client.conn, region.remote, 0, pair->client.region.mr, 0, 8,
			ALWAYS, state));
	EXPECT_WC(pair->client.cq, state, IBV_WC_REM_ACCESS_ERR);
	close_region(&region);
	still_healthy(pair);
}

/* what each usage alone lets the other end do */
static void
remote_access(void **state)
{
	const bool native_original = library_is_original() && flushes_natively_here();
	struct pair *pair = *state;

	for (int bit = 0; bit < 8; bit++) {
		struct region region = open_region(pair->server.peer, MR_SIZE, 1 << bit);
		const bool writable = 1 << bit == RPMA_MR_USAGE_WRITE_DST;
		/* a flush may be a read, whatever this device can do; not so with the original */
		const bool readable = (1 << bit) & (RPMA_MR_USAGE_READ_SRC | (native_original ? 0 :
				RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY |
				RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT));

		SUCCEED(rpma_write(pair->client.conn, region.remote, 0, pair->client.region.mr, 0, 8,
				ALWAYS, &region));
		EXPECT_WC(pair->client.cq, &region, writable ? IBV_WC_SUCCESS :
				IBV_WC_REM_ACCESS_ERR);
		if (!writable)
			still_healthy(pair);
		SUCCEED(rpma_read(pair->client.conn, pair->client.region.mr, 0, region.remote, 0, 8,
				ALWAYS, &region));
		EXPECT_WC(pair->client.cq, &region, readable ? IBV_WC_SUCCESS :
				IBV_WC_REM_ACCESS_ERR);
		if (!readable)
			still_healthy(pair);
		close_region(&region);
	}
}

/* what each usage alone lets this end do: the destination of a read must be writable here */
static void
local_access(void **state)
{
	struct pair *pair = *state;
	const int writable_usages = RPMA_MR_USAGE_READ_DST | RPMA_MR_USAGE_WRITE_SRC |
			RPMA_MR_USAGE_WRITE_DST | RPMA_MR_USAGE_RECV;

	for (int bit = 0; bit < 8; bit++) {
		struct region region = open_region(pair->client.peer, MR_SIZE, 1 << bit);
		const bool writable = (1 << bit) & writable_usages;

		fill(pair->server.region.mem, 8, (unsigned)bit);
		SUCCEED(rpma_read(pair->client.conn, region.mr, 0, pair->server.region.remote, 0, 8,
				ALWAYS, &region));
		EXPECT_WC(pair->client.cq, &region, writable ? IBV_WC_SUCCESS : IBV_WC_LOC_PROT_ERR);
		if (writable)
			assert_memory_equal(region.mem, pair->server.region.mem, 8);
		else
			still_healthy(pair);
		close_region(&region);
	}
}

static void
beyond_the_local_region(void **state)
{
	struct pair *pair = *state;

	SUCCEED(rpma_write(pair->client.conn, pair->server.region.remote, 0,
			pair->client.region.mr, MR_SIZE - 4, 8, ALWAYS, state));
	EXPECT_WC(pair->client.cq, state, IBV_WC_LOC_PROT_ERR);
	still_healthy(pair);
}

static void
the_rest_is_flushed_after_an_error(void **state)
{
	struct pair *pair = *state;
	int contexts[3] = {0};

	SUCCEED(rpma_recv(pair->client.conn, pair->client.region.mr, 0, 8, &contexts[0]));
	SUCCEED(rpma_write(pair->client.conn, pair->server.region.remote, MR_SIZE,
			pair->client.region.mr, 0, 8, RPMA_F_COMPLETION_ON_ERROR, &contexts[1]));
	/* a request that failed has a completion, asked for or not */
	EXPECT_WC(pair->client.cq, &contexts[1], IBV_WC_REM_ACCESS_ERR);
	EXPECT_WC(pair->client.cq, &contexts[0], IBV_WC_WR_FLUSH_ERR);

	/* posting goes on to succeed, and everything comes back */
	SUCCEED(rpma_write(pair->client.conn, pair->server.region.remote, 0,
			pair->client.region.mr, 0, 8, ALWAYS, &contexts[2]));
	EXPECT_WC(pair->client.cq, &contexts[2], IBV_WC_WR_FLUSH_ERR);
	still_healthy(pair);
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(local_regions_refuse_null),
	cmocka_unit_test(advise_without_a_region),
	cmocka_unit_test(remote_from_descriptor_refuses),
	cmocka_unit_test(remote_from_descriptor),
	cmocka_unit_test(remote_from_an_unaligned_descriptor),
};

#define WITH_PEER(test) cmocka_unit_test_setup_teardown(test, new_peer, delete_peer)
#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)

static const struct CMUnitTest rdma[] = {
	WITH_PEER(getters_and_descriptor),
	WITH_PEER(bad_registrations),
	WITH_PEER(registration_of_an_unmapped_range),
	WITH_PEER(registration_of_read_only_pages),
	WITH_PEER(advise),
	WITH_PEER(advise_on_more_than_4g),
	WITH_PAIR(write_beyond_the_region),
	WITH_PAIR(write_beyond_what_the_descriptor_says),
	WITH_PAIR(read_beyond_the_region),
	WITH_PAIR(wrong_key),
	WITH_PAIR(deregistered),
	WITH_PAIR(remote_access),
	WITH_PAIR(local_access),
	WITH_PAIR(beyond_the_local_region),
	WITH_PAIR(the_rest_is_flushed_after_an_error),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "mr", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
		.rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
