/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The page that emulated flushes read into: it cannot be mapped, its size is not known; and how many there are.
 *
 * The functions of the C library that stand here come before its own, for all of the process. They do once what a
 * test asks for, to a page such as that one alone: the provider of a device maps its queues, and softrdma has
 * threads that map memory of their own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "failing.h"
#include "process.h"

#define ALWAYS RPMA_F_COMPLETION_ALWAYS

#define NEXT(function) \
	__typeof__(function) *next = (__typeof__(function) *)(uintptr_t)dlsym(RTLD_NEXT, #function)

static bool no_page;
static bool no_page_size;
static _Thread_local bool no_unmap;

/* what this thread has mapped */
static _Thread_local void *shared_pages[64];
static _Thread_local unsigned shared_page_count;

void *
mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	const bool is_shared_page = length == getauxval(AT_PAGESZ) && (flags & MAP_SHARED) &&
			(flags & MAP_ANONYMOUS);
	void *ret;

	if (no_page && is_shared_page) {
		no_page = false;
		errno = ENOMEM;
		return MAP_FAILED;
	}
	ret = (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);
	if (ret != MAP_FAILED && is_shared_page)
		shared_pages[shared_page_count++ % COUNT_OF(shared_pages)] = ret;

	return ret;
}

static bool
is_shared_page(const void *addr)
{
	for (size_t i = 0; i < COUNT_OF(shared_pages); i++) {
		if (addr && shared_pages[i] == addr)
			return true;
	}

	return false;
}

int
munmap(void *addr, size_t length)
{
	const long ret = syscall(SYS_munmap, addr, length);

	if (no_unmap && is_shared_page(addr)) {
		no_unmap = false;
		errno = EINVAL;
		return -1;
	}

	return (int)ret;
}

long
sysconf(int name)
{
	NEXT(sysconf);

	if (no_page_size && name == _SC_PAGESIZE) {
		no_page_size = false;
		errno = EINVAL;
		return -1;
	}

	return next(name);
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
		no_page = true;
		try_without_page(pair, RPMA_E_NOMEM);
		assert_false(no_page);
	}
}

static void
connect_without_page_size(struct pair *pair)
{
	log_capture(RPMA_LOG_LEVEL_ERROR);
	no_page_size = true;
	try_without_page(pair, RPMA_E_PROVIDER);
	EXPECT_ERRNO(EINVAL);
	assert_false(no_page_size);
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

	shared_page_count = 0;
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
		printf("%u pages\n", shared_page_count);
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

/* all that is called when a closed connection is deleted, which succeeds, to be freed */
static char *
calls_of_deletion(struct pair *pair)
{
	struct rpma_conn_cfg *cfg = full_cfg(false);
	char *calls;

	pair_connect(pair, cfg, cfg);
	SUCCEED(rpma_conn_cfg_delete(&cfg));
	SUCCEED(rpma_conn_disconnect(pair->server.conn));
	SUCCEED(rpma_conn_delete(&pair->server.conn));
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_CLOSED);

	verbs_reset();
	log_capture(RPMA_LOG_LEVEL_WARNING);
	SUCCEED(rpma_conn_delete(&pair->client.conn));
	log_release();
	assert_null(pair->client.conn);
	assert_int_equal(logged.count, 0);
	calls = strdup(verbs_log);
	assert_non_null(calls);

	return calls;
}

/* it is the same for all connections of the process, and stays */
static void
page_for_flushes_stays_mapped(void **state)
{
	struct pair *pair = *state;
	char *clean;
	char *calls;

	BETTER(DIFF_FLUSH_PAGE);
	needs_a_page();
	clean = calls_of_deletion(pair);
	no_unmap = true;
	calls = calls_of_deletion(pair);
	/* a page that was unmapped has reset it */
	assert_true(no_unmap);
	no_unmap = false;
	assert_string_equal(calls, clean);
	free(calls);
	free(clean);
}

#define WITH_EP(test) cmocka_unit_test_setup_teardown(test, prepare_seen, release_seen)

static const struct CMUnitTest rdma[] = {
	cmocka_unit_test(no_page_for_flushes),
	cmocka_unit_test(no_page_size_for_flushes),
	cmocka_unit_test(page_for_flushes_is_mapped_once),
	WITH_EP(page_for_flushes_stays_mapped),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "page-for-flushes", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
		.helper = connect_first,
	};

	return topic_main(&topic, argc, argv);
}
