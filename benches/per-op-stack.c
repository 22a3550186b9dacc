/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Measures how many bytes of stack a call needs that fails and logs its failure: the call runs on a stack filled with
 * a pattern, and the lowest changed byte counts. The stack that the C library needs for the same message is
 * measured in the same way, with its functions called directly. syslog() is replaced by a function that does
 * nothing, on both sides, so nothing is written to the machine's log.
 */
#define _GNU_SOURCE
#include "per-op.h"

#include <errno.h>
#include <librpma.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STACK_SIZE ((size_t)256 * 1024)
#define PAINT 0xa5

static struct stack_call {
	void (*call)(void *);
	void *arg;
	unsigned char *stack;
	size_t used;
} current;

void
syslog(int priority, const char *format, ...)
{
	(void)priority;
	(void)format;
}

void
__syslog_chk(int priority, int flag, const char *format, ...)
{
	(void)priority;
	(void)flag;
	(void)format;
}

static __attribute__((noinline)) void
paint(unsigned char *stack)
{
	/* the stack below this function's own frame and red zone */
	const unsigned char *end = (const unsigned char *)__builtin_frame_address(0) - 256;

	for (volatile unsigned char *at = stack; (const unsigned char *)at < end; at++)
		*at = PAINT;
}

static void *
run(void *unused)
{
	const unsigned char *lowest;

	(void)unused;
	/* the loader binds the functions, the C library reads its tables */
	current.call(current.arg);
	paint(current.stack);
	current.call(current.arg);
	for (lowest = current.stack; *lowest == PAINT; lowest++)
		;
	current.used = (size_t)((const unsigned char *)__builtin_frame_address(0) - lowest);
	return NULL;
}

static size_t
stack_of(void (*call)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;

	current = (struct stack_call){.call = call, .arg = arg, .stack = aligned_alloc(4096, STACK_SIZE)};
	if (!current.stack || pthread_attr_init(&attr) ||
			pthread_attr_setstack(&attr, current.stack, STACK_SIZE) ||
			pthread_create(&thread, &attr, run, NULL) || pthread_join(thread, NULL))
		abort();
	pthread_attr_destroy(&attr);
	free(current.stack);
	return current.used;
}

/* --- the C library ----------------------------------------------------------------------------- */

static char text[1024];

static void
call_strerror(void *unused)
{
	(void)unused;
	if (!strerror_r(ENOMEM, text, sizeof(text)))
		abort();
}

static void
call_time(void *unused)
{
	time_t now = time(NULL);
	struct tm local;

	(void)unused;
	if (!localtime_r(&now, &local) || !strftime(text, sizeof(text), "%b %d %H:%M:%S", &local))
		abort();
}

static void
call_stderr(void *unused)
{
	(void)unused;
	fputs("a line of a log\n", stderr);
}

/* --- the library ------------------------------------------------------------------------------- */

static void
expect(int code, int expected)
{
	if (code != expected)
		abort();
}

static void
invalid_argument(void *objects)
{
	struct objects *o = objects;

	expect(rpma_send(o->conn, o->local, 0, 8, 0, NULL), RPMA_E_INVAL);
}

static void
failed_post(void *objects)
{
	struct objects *o = objects;

	expect(rpma_send(o->conn, o->local, 0, 8, RPMA_F_COMPLETION_ALWAYS, NULL), RPMA_E_PROVIDER);
}

static void
failed_registration(void *objects)
{
	struct objects *o = objects;
	struct rpma_mr_local *mr;

	expect(rpma_mr_reg(o->peer, text, sizeof(text), RPMA_MR_USAGE_SEND, &mr), RPMA_E_PROVIDER);
}

static int messages;

static void
count_message(enum rpma_log_level level, const char *file, const int line, const char *function, const char *format, ...)
{
	(void)level;
	(void)file;
	(void)line;
	(void)function;
	(void)format;
	messages++;
}

static size_t
larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

void
measure_stack(struct objects *o)
{
	const struct {
		const char *name;
		void (*call)(void *);
	} errors[] = {
		{"invalid argument", invalid_argument},
		{"failed post", failed_post},
		{"failed registration", failed_registration},
	};
	size_t errno_text = stack_of(call_strerror, NULL);
	size_t stderr_line = larger(errno_text, larger(stack_of(call_time, NULL), stack_of(call_stderr, NULL)));

	device_fails(true);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		size_t used;

		/* with a function of the program only */
		expect(rpma_log_set_function(count_message), 0);
		messages = 0;
		used = stack_of(errors[i].call, o);
		/* the original does not log some errors */
		if (messages == 0)
			continue;
		printf("%s, own log function\t%zu\t%zu\n", errors[i].name, used, errno_text);
		/* with the default function, to standard error too */
		expect(rpma_log_set_function(RPMA_LOG_USE_DEFAULT_FUNCTION), 0);
		expect(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_LEVEL_DEBUG), 0);
		used = stack_of(errors[i].call, o);
		expect(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_DISABLED), 0);
		printf("%s, syslog and stderr\t%zu\t%zu\n", errors[i].name, used, stderr_line);
	}
	device_fails(false);
}
