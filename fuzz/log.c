/* SPDX-License-Identifier: BSD-3-Clause */
/* Log functions. They are in C because stable Rust cannot define variadic functions. */
#include <stdarg.h>
#include <stdio.h>

static char texts[2][512];

static void
keep(int whose, const char *format, va_list args)
{
	vsnprintf(texts[whose], sizeof(texts[whose]), format, args);
}

#define LOG_FUNCTION(name, whose) \
void \
name(int level, const char *file, const int line, const char *function, const char *format, ...) \
{ \
	va_list args; \
\
	(void)level, (void)file, (void)line, (void)function; \
	va_start(args, format); \
	keep(whose, format, args); \
	va_end(args); \
}

LOG_FUNCTION(fuzz_keep_ours, 0)
LOG_FUNCTION(fuzz_keep_original, 1)

/* the last message of each library */
char *
fuzz_kept(int whose)
{
	return texts[whose];
}
