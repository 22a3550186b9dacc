/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * A small event loop with epoll: it calls a function for each file descriptor that is readable. It ends with
 * a message at SIGINT and SIGTERM, as the other waits of the examples do.
 *
 * Functions return 0, or -1 after they have said why on stderr.
 */

#ifndef EXAMPLES_LOOP_H
#define EXAMPLES_LOOP_H

#include <stdbool.h>

struct watch {
	int fd;
	int (*ready)(void *arg); /* not 0 ends the loop */
	void *arg;
};

int loop_new(int *epoll_fd);

/*
 * Makes fd non-blocking, so that the call that takes its event never blocks, and calls ready(arg) when fd is
 * readable. The watch has to stay where it is until watch_stop(), which must come before fd is closed.
 */
int watch_start(int epoll_fd, struct watch *watch, int fd, int (*ready)(void *arg), void *arg);

/* also when it was not started: a watch of zeros */
void watch_stop(int epoll_fd, struct watch *watch);

/* until *done is true */
int loop_run(int epoll_fd, const bool *done);

#endif /* EXAMPLES_LOOP_H */
