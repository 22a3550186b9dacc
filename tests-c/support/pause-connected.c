/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Preloaded into an example: stops the program when its connection is established, so that a test can kill it
 * in this state, or send a signal to the other end. Works with either library.
 */

#define _GNU_SOURCE

#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>

int rpma_conn_next_event(void *conn, int *event);

int rpma_conn_next_event(void *conn, int *event)
{
	static const char text[] = "paused\n";
	int (*next_event)(void *, int *) = NULL;
	int ret;

	*(void **)&next_event = dlsym(RTLD_NEXT, "rpma_conn_next_event");
	if (next_event == NULL)
		return -1;
	ret = next_event(conn, event);
	if (ret == 0 && *event == 0) { /* RPMA_CONN_ESTABLISHED */
		if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
			return -1;
		raise(SIGSTOP);
	}
	return ret;
}
