/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_log_set_function
 *
 * Writes the messages of the library to standard error, each with its level.
 */

#include <stdarg.h>
#include <stdio.h>
#include <librpma.h>

static void log_to_stderr(enum rpma_log_level level, const char *file,
        const int line, const char *function, const char *format, ...)
{
    char text[1024];
    va_list args;

    (void)file;
    (void)line;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);

    /* one call, so that messages of several threads do not mix */
    fprintf(stderr, "librpma %d %s: %s", (int)level, function, text);
}

void start_logging(void)
{
    rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_LEVEL_INFO);
    rpma_log_set_function(log_to_stderr);
}
