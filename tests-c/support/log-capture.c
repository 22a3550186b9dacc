/* SPDX-License-Identifier: BSD-3-Clause */
#include <unistd.h>

#include "common.h"

struct logged logged;

static void
log_to_memory(enum rpma_log_level level, const char *file_name, const int line_no,
		const char *function_name, const char *message_format, ...)
{
	va_list args;

	logged.count++;
	logged.level = level;
	logged.line = line_no;
	snprintf(logged.file, sizeof(logged.file), "%s", file_name ? file_name : "");
	snprintf(logged.function, sizeof(logged.function), "%s",
			function_name ? function_name : "");
	va_start(args, message_format);
	vsnprintf(logged.text, sizeof(logged.text), message_format, args);
	va_end(args);
}

void
log_capture(enum rpma_log_level threshold)
{
	memset(&logged, 0, sizeof(logged));
	SUCCEED(rpma_log_set_function(log_to_memory));
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, threshold));
}

void
log_release(void)
{
	SUCCEED(rpma_log_set_function(RPMA_LOG_USE_DEFAULT_FUNCTION));
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_LEVEL_WARNING));
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_DISABLED));
}

/* --- stderr --- */

static FILE *kept;
static int real_stderr = -1;

void
stderr_capture(void)
{
	assert_null(kept);
	kept = tmpfile();
	assert_non_null(kept);
	real_stderr = dup(STDERR_FILENO);
	assert_return_code(real_stderr, errno);
	fflush(stderr);
	assert_return_code(dup2(fileno(kept), STDERR_FILENO), errno);
}

char *
stderr_release(void)
{
	char *text;
	long size;

	fflush(stderr);
	assert_return_code(dup2(real_stderr, STDERR_FILENO), errno);
	close(real_stderr);

	assert_int_equal(fseek(kept, 0, SEEK_END), 0);
	size = ftell(kept);
	assert_true(size >= 0);
	rewind(kept);
	text = calloc(1, (size_t)size + 1);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, (size_t)size, kept), size);
	fclose(kept);
	kept = NULL;

	return text;
}

char *
stderr_of(void (*cause)(void))
{
	stderr_capture();
	cause();

	return stderr_release();
}
