/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The log with a function of the program's own: here it counts the messages by level and prints them its own
 * way. The client makes a call that fails on purpose, and verifies that its log function got the message.
 */

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/common.h"

static const char *const level_names[] = { "fatal", "error", "warning", "notice", "info", "debug" };

#define LEVELS (sizeof(level_names) / sizeof(level_names[0]))

static atomic_int counts[LEVELS];

/* may be called from several threads at the same time; it must not call the library, except for thresholds */
static void log_message(enum rpma_log_level level, const char *file, const int line, const char *function,
		const char *format, ...)
{
	char text[256];
	va_list args;

	if (level < RPMA_LOG_LEVEL_FATAL || (size_t)level >= LEVELS)
		return;
	atomic_fetch_add(&counts[level], 1);

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	text[strcspn(text, "\n")] = '\0'; /* most messages end with a newline */

	/* some messages come without a place in the source */
	if (file == NULL)
		say("[%s] %s", level_names[level], text);
	else
		say("[%s] %s: %s (line %d)", level_names[level], function, text, line);
}

int main(int argc, char *argv[])
{
	struct rpma_peer *peer = NULL;
	struct rpma_conn *conn = NULL;
	struct rpma_mr_local *mr = NULL;
	int status = EXIT_FAILURE;
	int before;

	if (start("client", argc, argv, 2, 2, "ADDR PORT") != 0)
		return EXIT_FAILURE;

	/* what passes this threshold goes to the function; the other threshold is for the default function */
	if (FAILED(rpma_log_set_function(log_message)) ||
	    FAILED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_LEVEL_NOTICE)))
		return EXIT_FAILURE;

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_REMOTE, &peer) != 0)
		goto out;
	if (connect_to_server(peer, argv[1], argv[2], &conn) != 0)
		goto out;
	if (atomic_load(&counts[RPMA_LOG_LEVEL_NOTICE]) == 0) {
		complain("the log function has not got the message about the new connection");
		goto out;
	}

	/* an address where there is no memory: the call fails, and the log tells why */
	before = atomic_load(&counts[RPMA_LOG_LEVEL_ERROR]);
	if (rpma_mr_reg(peer, (void *)8, 4096, RPMA_MR_USAGE_READ_SRC, &mr) == 0) {
		complain("memory that is not there was registered");
		goto out;
	}
	if (atomic_load(&counts[RPMA_LOG_LEVEL_ERROR]) == before) {
		complain("the log function has not got the message about the failed call");
		goto out;
	}

	/* nothing at all passes */
	if (FAILED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_DISABLED)))
		goto out;
	before = atomic_load(&counts[RPMA_LOG_LEVEL_ERROR]);
	if (rpma_mr_reg(peer, (void *)8, 4096, RPMA_MR_USAGE_READ_SRC, &mr) == 0 ||
	    atomic_load(&counts[RPMA_LOG_LEVEL_ERROR]) != before) {
		complain("a disabled log has got a message");
		goto out;
	}
	if (FAILED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_LEVEL_NOTICE)))
		goto out;

	if (close_connection(conn) != 0)
		goto out;
	for (size_t i = 0; i < LEVELS; i++)
		say("messages of level %s: %d", level_names[i], atomic_load(&counts[i]));
	status = EXIT_SUCCESS;

out:
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_mr_dereg(&mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_delete(&conn)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	return status;
}
