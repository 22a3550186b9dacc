/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device or a system that fails or answers in ways that no device has on demand.
 *
 * The functions of libibverbs and libc that stand here come before those of the libraries. They do what a
 * test asks for in `odd`, and are otherwise the libraries' own. The operations of a device are changed in
 * its context.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"

#define ALWAYS RPMA_F_COMPLETION_ALWAYS

#define NEXT(function) \
	__typeof__(function) *next = (__typeof__(function) *)(uintptr_t)dlsym(RTLD_NEXT, #function)

/* what the next call does, instead of what it should */
static struct {
	bool no_memory;			/* until it is reset */
	bool no_page;
	bool no_page_size;
	struct ibv_context *plain;	/* has no mark of an extended one */
} odd;

/* the pages that this thread maps to be shared, as long as they are counted; softrdma has other threads */
static _Thread_local bool count_pages;
static _Thread_local unsigned pages;

/* --- the functions that come before the libraries' --- */

void *
malloc(size_t size)
{
	static void *(*next)(size_t size);

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "malloc");
	if (odd.no_memory) {
		errno = ENOMEM;
		return NULL;
	}

	return next(size);
}

static bool
is_shared_page(size_t length, int flags)
{
	return length == (size_t)sysconf(_SC_PAGESIZE) && (flags & MAP_SHARED) && (flags & MAP_ANONYMOUS);
}

void *
mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	NEXT(mmap);

	/* that page alone: the provider of a device maps its queues */
	if (odd.no_page && is_shared_page(length, flags)) {
		odd.no_page = false;
		errno = ENOMEM;
		return MAP_FAILED;
	}
	if (count_pages && is_shared_page(length, flags))
		pages++;

	return next(addr, length, prot, flags, fd, offset);
}

long
sysconf(int name)
{
	NEXT(sysconf);

	if (odd.no_page_size && name == _SC_PAGESIZE) {
		odd.no_page_size = false;
		errno = EINVAL;
		return -1;
	}

	return next(name);
}

/* a context that is not extended has only this, which is given its mark back here */
int
ibv_query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
	NEXT(ibv_query_device);

	if (odd.plain) {
		odd.plain->abi_compat = (void *)(uintptr_t)UINTPTR_MAX;
		odd.plain = NULL;
	}

	return next(context, attr);
}

/* --- without a device --- */

static void
memory_runs_out(void)
{
	void *(*volatile allocate)(size_t size) = malloc;
	void *memory;

	odd.no_memory = true;
	memory = allocate(1);
	if (memory) {
		odd.no_memory = false;
		free(memory);
		print_message("skipped: malloc is another one's here, such as valgrind's\n");
		skip();
	}
}

static void
no_memory_for_a_handle(void **unused)
{
	const char desc[21] = {[20] = RPMA_MR_USAGE_READ_SRC};
	struct rpma_peer_cfg *pcfg = UNTOUCHED_PTR;
	struct rpma_peer_cfg *parsed = UNTOUCHED_PTR;
	struct rpma_conn_cfg *cfg = UNTOUCHED_PTR;
	struct rpma_srq_cfg *srq_cfg = UNTOUCHED_PTR;
	struct rpma_mr_remote *remote = UNTOUCHED_PTR;
	int ret[5];

	(void)unused;
	memory_runs_out();
	ret[0] = rpma_peer_cfg_new(&pcfg);
	ret[1] = rpma_conn_cfg_new(&cfg);
	ret[2] = rpma_srq_cfg_new(&srq_cfg);
	ret[3] = rpma_mr_remote_from_descriptor(desc, sizeof(desc), &remote);
	ret[4] = rpma_peer_cfg_from_descriptor(desc, 1, &parsed);
	odd.no_memory = false;
	for (size_t i = 0; i < COUNT_OF(ret); i++)
		EXPECT(ret[i], RPMA_E_NOMEM);
	assert_ptr_equal(pcfg, UNTOUCHED_PTR);
	assert_ptr_equal(parsed, UNTOUCHED_PTR);
	assert_ptr_equal(remote, UNTOUCHED_PTR);
}

static void
no_memory_for_a_configuration(void **unused)
{
	struct rpma_conn_cfg *cfg = UNTOUCHED_PTR;
	struct rpma_srq_cfg *srq_cfg = UNTOUCHED_PTR;

	(void)unused;
	BETTER(DIFF_CFG_NOMEM);
	memory_runs_out();
	(void)rpma_conn_cfg_new(&cfg);
	(void)rpma_srq_cfg_new(&srq_cfg);
	odd.no_memory = false;
	assert_ptr_equal(cfg, UNTOUCHED_PTR);
	assert_ptr_equal(srq_cfg, UNTOUCHED_PTR);
}

/* --- with a device --- */

static struct ibv_context *
device_context(void)
{
	struct ibv_context *ctx = NULL;

	SUCCEED(rpma_utils_get_ibv_context(device_addr(), RPMA_UTIL_IBV_CONTEXT_LOCAL, &ctx));

	return ctx;
}

static int
odd_query(struct ibv_context *ctx, const struct ibv_query_device_ex_input *input,
		struct ibv_device_attr_ex *attr, size_t size)
{
	(void)ctx;
	(void)input;
	(void)attr;
	(void)size;

	return EOPNOTSUPP;
}

/* a device without the extended query has no optional feature, and is a device all the same */
static void
device_without_the_extended_query(void **unused)
{
	struct ibv_context *ctx = device_context();
	struct verbs_context *extended = verbs_get_ctx(ctx);
	__typeof__(extended->query_device_ex) query = extended->query_device_ex;
	const size_t size = extended->sz;
	struct rpma_peer *peer = NULL;
	int odp = 1;

	(void)unused;
	extended->query_device_ex = odd_query;
	SUCCEED(rpma_peer_new(ctx, &peer));
	SUCCEED(rpma_peer_delete(&peer));
	SUCCEED(rpma_utils_ibv_context_is_odp_capable(ctx, &odp));
	assert_int_equal(odp, 0);
	extended->query_device_ex = query;

	/* of an older libibverbs: its end, where the operation is, was not there yet */
	extended->sz = sizeof(*extended) - offsetof(struct verbs_context, query_device_ex) - 1;
	SUCCEED(rpma_utils_ibv_context_is_odp_capable(ctx, &odp));
	extended->sz = size;
	assert_int_equal(odp, 0);

	/* not extended at all, until it is asked the plain question */
	odd.plain = ctx;
	ctx->abi_compat = NULL;
	SUCCEED(rpma_utils_ibv_context_is_odp_capable(ctx, &odp));
	assert_null(odd.plain);
	assert_int_equal(odp, 0);
}

static void
device_that_takes_no_advice(void **unused)
{
	struct verbs_context *extended = verbs_get_ctx(device_context());
	__typeof__(extended->advise_mr) advise = extended->advise_mr;
	struct rpma_peer *peer = open_peer(RPMA_UTIL_IBV_CONTEXT_LOCAL);
	struct region region = open_region(peer, MR_SIZE, ALL_USAGES);

	(void)unused;
	extended->advise_mr = NULL;
	EXPECT(rpma_mr_advise(region.mr, 0, MR_SIZE, IBV_ADVISE_MR_ADVICE_PREFETCH, 0), RPMA_E_NOSUPP);
	extended->advise_mr = advise;
	close_region(&region);
	SUCCEED(rpma_peer_delete(&peer));
}

static void
needs_a_page(void)
{
	if (flushes_natively_here()) {
		print_message("skipped: the device flushes natively, without a page\n");
		skip();
	}
}

/* The page is mapped once in a process, so each of these runs in a process of its own. */
static void
try_without_page(struct pair *pair, int code)
{
	struct rpma_conn *conn = UNTOUCHED_PTR;
	struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, NULL);

	EXPECT(rpma_conn_req_connect(&req, NULL, &conn), code);
	assert_null(req);
	assert_ptr_equal(conn, UNTOUCHED_PTR);
}

static void
connect_without_page(struct pair *pair)
{
	/* the second one tries again */
	for (int i = 0; i < 2; i++) {
		odd.no_page = true;
		try_without_page(pair, RPMA_E_NOMEM);
		assert_false(odd.no_page);
	}
}

static void
connect_without_page_size(struct pair *pair)
{
	log_capture(RPMA_LOG_LEVEL_ERROR);
	odd.no_page_size = true;
	try_without_page(pair, RPMA_E_PROVIDER);
	EXPECT_ERRNO(EINVAL);
	assert_false(odd.no_page_size);
	assert_int_equal(logged.count, 1);
	assert_non_null(strstr(logged.text, "sysconf"));
	assert_non_null(strstr(logged.text, strerror(EINVAL)));
	log_release();
}

static void
flush_and_check(struct pair *pair)
{
	const enum rpma_flush_type visible = RPMA_FLUSH_TYPE_VISIBILITY;

	SUCCEED(rpma_flush(pair->client.conn, pair->server.region.remote, 0, 8, visible, ALWAYS, pair));
	EXPECT_WC(pair->client.cq, pair, IBV_WC_SUCCESS);
}

/* several connections at a time, which end one after the other, and another one when they all have ended */
static void
connect_and_flush(struct pair *pair)
{
	struct pair others[3];

	count_pages = true;
	for (size_t i = 0; i < COUNT_OF(others); i++) {
		others[i] = *pair;
		pair_connect(&others[i], NULL, NULL);
		flush_and_check(&others[i]);
	}
	for (size_t i = 0; i < COUNT_OF(others); i++) {
		flush_and_check(&others[i]);
		SUCCEED(rpma_conn_delete(&others[i].client.conn));
		SUCCEED(rpma_conn_delete(&others[i].server.conn));
	}
	pair_connect(pair, NULL, NULL);
	flush_and_check(pair);
	SUCCEED(rpma_conn_delete(&pair->client.conn));
	SUCCEED(rpma_conn_delete(&pair->server.conn));
	count_pages = false;
}

static const struct {
	const char *name;
	void (*first)(struct pair *pair);
} firsts[] = {
	{"no-page", connect_without_page},
	{"no-page-size", connect_without_page_size},
	{"pages", connect_and_flush},
};

/* the first connections of this process are these, and after them everything works */
static int
connect_first(int argc, char *argv[])
{
	struct pair pair = {0};

	for (size_t i = 0; argc > 0 && i < COUNT_OF(firsts); i++) {
		if (strcmp(argv[0], firsts[i].name) != 0)
			continue;
		pair_prepare(&pair);
		firsts[i].first(&pair);
		printf("%u pages\n", pages);
		pair_connect(&pair, NULL, NULL);
		write_and_check(&pair, MR_SIZE, 1);
		flush_and_check(&pair);
		pair_release(&pair);
		return EXIT_SUCCESS;
	}

	return EXIT_FAILURE;
}

static unsigned
pages_of_process(const char *first)
{
	const char *const args[] = {first, NULL};
	struct helper helper;
	char line[64];
	unsigned count = 0;

	helper = start_helper(args);
	helper_line(&helper, line, sizeof(line));
	assert_int_equal(sscanf(line, "%u pages", &count), 1);
	assert_int_equal(stop_helper(&helper, false), 0);

	return count;
}

static void
no_page_for_flushes(void **unused)
{
	(void)unused;
	needs_a_page();
	pages_of_process("no-page");
}

static void
no_page_size_for_flushes(void **unused)
{
	(void)unused;
	needs_a_page();
	pages_of_process("no-page-size");
}

static void
page_for_flushes_is_mapped_once(void **unused)
{
	(void)unused;
	BETTER(DIFF_FLUSH_PAGE);
	needs_a_page();
	assert_int_equal(pages_of_process("pages"), 1);
}

/* native or not */
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

static int
odd_post(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	(void)qp;
	*bad = wr;
	errno = ENOMEM;

	return -1;
}

static void
a_post_fails_the_other_way(void **state)
{
	struct pair *pair = *state;
	struct ibv_context *ctx = device_context();
	__typeof__(ctx->ops.post_send) post = ctx->ops.post_send;

	log_capture(RPMA_LOG_LEVEL_ERROR);
	ctx->ops.post_send = odd_post;
	EXPECT(rpma_write(pair->client.conn, pair->server.region.remote, 0, pair->client.region.mr, 0, 8,
			ALWAYS, NULL), RPMA_E_PROVIDER);
	ctx->ops.post_send = post;
	assert_non_null(strstr(logged.text, "ibv_post_send"));
	log_release();
	write_and_check(pair, MR_SIZE, 1);
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(no_memory_for_a_handle),
	cmocka_unit_test(no_memory_for_a_configuration),
};

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)

static const struct CMUnitTest rdma[] = {
	cmocka_unit_test(device_without_the_extended_query),
	cmocka_unit_test(device_that_takes_no_advice),
	cmocka_unit_test(no_page_for_flushes),
	cmocka_unit_test(no_page_size_for_flushes),
	cmocka_unit_test(page_for_flushes_is_mapped_once),
	WITH_PAIR(atomic_write_for_older_programs),
	WITH_PAIR(a_post_fails_the_other_way),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "no-memory", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
		.rdma = rdma, .rdma_count = COUNT_OF(rdma), .helper = connect_first,
	};

	return topic_main(&topic, argc, argv);
}
