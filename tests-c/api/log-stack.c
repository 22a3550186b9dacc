/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How much stack a failed call takes: little when its message is not logged, and when it is, at most 2 KiB
 * above what the C library needs. A program may give its threads small stacks.
 *
 * A thread paints its stack below its own frame, makes the call, and looks how far down the paint is gone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <sys/mman.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "device.h"

#define STACK_SIZE ((size_t)256 * 1024)
#define PAINT 0x5b
/* of measure() itself */
#define FRAME 256

/* of the library alone; the original needs a few bytes more to look up a name */
#define MOST_WHEN_LOGGED (library_is_original() ? 2304 : 2048)
#define MOST_WHEN_NOT_LOGGED 512

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED true
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

/* --- measuring --- */

struct measured {
	void (*action)(void *arg);
	void *arg;
	char *stack;
	size_t used;
};

static void *
measure(void *arg)
{
	struct measured *measured = arg;
	char *top = (char *)__builtin_frame_address(0) - FRAME;
	char *low = measured->stack;

	memset(low, PAINT, (size_t)(top - low));
	measured->action(measured->arg);
	while (low < top && *low == PAINT)
		low++;
	measured->used = (size_t)(top - low);

	return NULL;
}

/* bytes of stack, beyond the first FRAME */
static size_t
stack_of(void (*action)(void *arg), void *arg)
{
	struct measured measured = {.action = action, .arg = arg};
	pthread_attr_t attr;
	pthread_t thread;

	/* the first time, more is done than later: names are bound, files are read */
	action(arg);
	measured.stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(measured.stack, MAP_FAILED);
	assert_int_equal(pthread_attr_init(&attr), 0);
	assert_int_equal(pthread_attr_setstack(&attr, measured.stack, STACK_SIZE), 0);
	assert_int_equal(pthread_create(&thread, &attr, measure, &measured), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attr);
	munmap(measured.stack, STACK_SIZE);

	return measured.used;
}

static void
skip_where_frames_differ(void)
{
	const char *preloaded = getenv("LD_PRELOAD");

	if (SANITIZED || (preloaded && strstr(preloaded, "vgpreload"))) {
		print_message("skipped: frames are others under a sanitizer or valgrind\n");
		skip();
	}
}

/* --- what the C library needs, for a line like those of the library --- */

static char line[1024] = "*ERROR* somewhere.rs: 123: rpma_send: ibv_post_send() failed: Cannot allocate memory\n";

static void
find_error_text(void *unused)
{
	static char buffer[256];
	const char *found = strerror_r(ENOMEM, buffer, sizeof(buffer));

	(void)unused;
	assert_non_null(found);
}

static void
write_syslog(void *unused)
{
	(void)unused;
	syslog(LOG_ERR, "%s", line);
}

static void
write_stderr(void *unused)
{
	static char when[64];
	const time_t now = time(NULL);
	struct tm tm;

	(void)unused;
	localtime_r(&now, &tm);
	strftime(when, sizeof(when), "%b %d %H:%M:%S", &tm);
	/* on a stream without a buffer, the formatting functions make one on the stack */
	if (library_is_original())
		fprintf(stderr, "%s%s", when, line);
	else
		fputs(line, stderr);
}

static size_t
larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

static size_t
needed_for_text(void)
{
	return stack_of(find_error_text, NULL);
}

static size_t
needed_for_syslog(void)
{
	return larger(needed_for_text(), stack_of(write_syslog, NULL));
}

static size_t
needed_for_stderr(void)
{
	return larger(needed_for_syslog(), stack_of(write_stderr, NULL));
}

/* --- calls that fail, all of them in the library itself or in a function that stands here --- */

static struct pair *pair_in_use;
static bool no_lookup;

int
rdma_getaddrinfo(const char *node, const char *service, const struct rdma_addrinfo *hints,
		struct rdma_addrinfo **res)
{
	__typeof__(rdma_getaddrinfo) *next;

	if (no_lookup) {
		errno = ENETUNREACH;
		return -1;
	}
	next = (__typeof__(rdma_getaddrinfo) *)(uintptr_t)dlsym(RTLD_NEXT, "rdma_getaddrinfo");

	return next(node, service, hints, res);
}

static int
full_queue(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	(void)qp;
	*bad = wr;

	return ENOMEM;
}

static void
send_to_full_queue(void *ret)
{
	const struct side *side = &pair_in_use->client;

	*(int *)ret = rpma_send(side->conn, side->region.mr, 0, 8, RPMA_F_COMPLETION_ALWAYS, NULL);
}

static void
send_without_connection(void *ret)
{
	*(int *)ret = rpma_send(NULL, NULL, 0, 0, RPMA_F_COMPLETION_ALWAYS, NULL);
}

static void
look_up_name(void *ret)
{
	struct ibv_context *context = NULL;

	*(int *)ret = rpma_utils_get_ibv_context("host.invalid", RPMA_UTIL_IBV_CONTEXT_LOCAL, &context);
}

static const struct {
	const char *name;
	void (*call)(void *ret);
	int code;
} failing[] = {
	{"full queue", send_to_full_queue, RPMA_E_PROVIDER},
	{"invalid argument", send_without_connection, RPMA_E_INVAL},
	{"failed lookup", look_up_name, RPMA_E_PROVIDER},
};

static size_t used[COUNT_OF(failing)];
static int returned[COUNT_OF(failing)];

static void
measure_each(void)
{
	struct ibv_context *context = device_context();
	__typeof__(context->ops.post_send) post;

	post = context->ops.post_send;
	context->ops.post_send = full_queue;
	no_lookup = true;
	for (size_t i = 0; i < COUNT_OF(failing); i++)
		used[i] = stack_of(failing[i].call, &returned[i]);
	no_lookup = false;
	context->ops.post_send = post;
}

static void
expect_at_most(size_t limit)
{
	bool within = true;

	for (size_t i = 0; i < COUNT_OF(failing); i++) {
		EXPECT(returned[i], failing[i].code);
		/* what the original takes depends on its release and on how it was built */
		if (library_is_original() || used[i] <= limit)
			continue;
		print_error("%s: %zu bytes of stack, above %zu\n", failing[i].name, used[i], limit);
		within = false;
	}
	assert_true(within);
}

/* --- tests --- */

static unsigned heard;

static void
count_messages(enum rpma_log_level level, const char *file_name, const int line_no,
		const char *function_name, const char *message_format, ...)
{
	(void)level;
	(void)file_name;
	(void)line_no;
	(void)function_name;
	(void)message_format;
	heard++;
}

static void
failed_call_that_is_not_logged(void **unused)
{
	(void)unused;
	skip_where_frames_differ();
	heard = 0;
	SUCCEED(rpma_log_set_function(count_messages));
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_DISABLED));
	measure_each();
	expect_at_most(MOST_WHEN_NOT_LOGGED);
	assert_int_equal(heard, 0);
}

static void
failed_call_logged_by_a_function(void **unused)
{
	(void)unused;
	skip_where_frames_differ();
	heard = 0;
	SUCCEED(rpma_log_set_function(count_messages));
	measure_each();
	expect_at_most(needed_for_text() + MOST_WHEN_LOGGED);
	assert_true(heard > 0);
}

static void
failed_call_logged_to_syslog(void **unused)
{
	(void)unused;
	skip_where_frames_differ();
	measure_each();
	expect_at_most(needed_for_syslog() + MOST_WHEN_LOGGED);
}

static size_t needed;

static void
measure_stderr(void)
{
	needed = needed_for_stderr();
	measure_each();
}

static void
failed_call_logged_to_stderr(void **unused)
{
	char *written;

	(void)unused;
	skip_where_frames_differ();
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_LEVEL_ERROR));
	written = stderr_of(measure_stderr);
	assert_non_null(strstr(written, strerror(ENETUNREACH)));
	free(written);
	expect_at_most(needed + MOST_WHEN_LOGGED);
}

static int
connect_once(void **state)
{
	const int ret = open_pair(state);

	pair_in_use = *state;

	return ret;
}

static int
release(void **state)
{
	log_release();

	return close_pair(state);
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, connect_once, release)

static const struct CMUnitTest rdma[] = {
	WITH_PAIR(failed_call_that_is_not_logged),
	WITH_PAIR(failed_call_logged_by_a_function),
	WITH_PAIR(failed_call_logged_to_syslog),
	WITH_PAIR(failed_call_logged_to_stderr),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "log-stack", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
