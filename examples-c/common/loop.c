/* SPDX-License-Identifier: BSD-3-Clause */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>

#include "common.h"
#include "loop.h"

int loop_new(int *epoll_fd)
{
	/* no watch: the signals */
	struct epoll_event event = { .events = EPOLLIN, .data = { .ptr = NULL } };

	*epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (*epoll_fd < 0) {
		complain("epoll_create1: %s", strerror(errno));
		return -1;
	}
	if (epoll_ctl(*epoll_fd, EPOLL_CTL_ADD, stop_fd(), &event) != 0) {
		complain("epoll_ctl: %s", strerror(errno));
		return -1;
	}
	return 0;
}

int watch_start(int epoll_fd, struct watch *watch, int fd, int (*ready)(void *arg), void *arg)
{
	struct epoll_event event = { .events = EPOLLIN, .data = { .ptr = watch } };
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		complain("fcntl: %s", strerror(errno));
		return -1;
	}
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
		complain("epoll_ctl: %s", strerror(errno));
		return -1;
	}
	watch->fd = fd;
	watch->ready = ready;
	watch->arg = arg;
	return 0;
}

void watch_stop(int epoll_fd, struct watch *watch)
{
	if (watch->ready == NULL)
		return;
	(void) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	watch->ready = NULL;
}

int loop_run(int epoll_fd, const bool *done)
{
	while (!*done) {
		struct epoll_event event;
		struct watch *watch;
		/* one at a time: a function may stop other watches, whose events must not be called then */
		int count = epoll_wait(epoll_fd, &event, 1, -1);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0) {
			complain("epoll_wait: %s", strerror(errno));
			return -1;
		}
		watch = event.data.ptr;
		if (watch == NULL) {
			report_stop();
			return -1;
		}
		if (watch->ready(watch->arg) != 0)
			return -1;
	}
	return 0;
}
