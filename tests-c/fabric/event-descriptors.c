/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * event-descriptors [ADDRESS]: what an event loop sees of the descriptors of completion channels, channels of the
 * connection manager and contexts. They are readable while there are events and never writable; each event is new
 * to edge-triggered epoll; O_NONBLOCK says whether the calls wait; signal handlers interrupt them as they
 * interrupt a read.
 *
 *   softrdma run -- event-descriptors
 *
 * ADDRESS is 127.0.0.1 unless given.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "two-processes.h"

/* more than the largest pipe of an unprivileged user holds by default */
#define MANY 70000
#define RACES 50000
#define ALL (POLLIN | POLLOUT | POLLPRI | POLLRDHUP)

/* a queue pair in the error state: each receive that is posted to it completes at once */
struct source {
	struct rdma_cm_id *id;
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
};

/* of a descriptor at this moment */
static short
seen(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = ALL};

	CHECK(poll(&poll_fd, 1, 0) >= 0);

	return poll_fd.revents;
}

static void
make_non_blocking(int fd, bool non_blocking)
{
	int flags = fcntl(fd, F_GETFL);

	CHECK(flags >= 0);
	flags = non_blocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	CHECK(fcntl(fd, F_SETFL, flags) == 0);
}

static void
resolve(struct rdma_cm_id *id, const char *address)
{
	struct sockaddr_storage there;

	parse_address(&there, address, 9);
	CHECK(rdma_resolve_addr(id, NULL, (struct sockaddr *)&there, wait_ms()) == 0);
}

/* an event of the connection manager, while there is none and while there is one */
static void
cm_channel(struct source *source, struct rdma_event_channel *channel, const char *address)
{
	struct rdma_cm_event *event;

	CHECK(fcntl(channel->fd, F_GETFD) == FD_CLOEXEC);
	CHECK(seen(channel->fd) == 0);
	make_non_blocking(channel->fd, true);
	errno = 0;
	CHECK(rdma_get_cm_event(channel, &event) == -1 && errno == EAGAIN);

	CHECK(rdma_create_id(channel, &source->id, NULL, RDMA_PS_TCP) == 0);
	resolve(source->id, address);
	CHECK((event = next_event(channel, wait_ms())));
	CHECK(event->event == RDMA_CM_EVENT_ADDR_RESOLVED && rdma_ack_cm_event(event) == 0);
	CHECK(seen(channel->fd) == 0);
	CHECK(rdma_resolve_route(source->id, wait_ms()) == 0);
	CHECK(seen(channel->fd) == POLLIN);
	CHECK(rdma_get_cm_event(channel, &event) == 0 && rdma_ack_cm_event(event) == 0);
	CHECK(seen(channel->fd) == 0);
	CHECK(rdma_get_cm_event(channel, &event) == -1 && errno == EAGAIN);
}

static void
open_source(struct source *source)
{
	struct ibv_qp_init_attr init = {
		.cap = {.max_recv_wr = 8, .max_send_wr = 1, .max_recv_sge = 1, .max_send_sge = 1},
		.qp_type = IBV_QPT_RC,
	};
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

	CHECK((source->channel = ibv_create_comp_channel(source->id->verbs)));
	CHECK((source->cq = ibv_create_cq(source->id->verbs, 8, NULL, source->channel, 0)));
	init.send_cq = init.recv_cq = source->cq;
	CHECK(rdma_create_qp(source->id, pd_of(source->id->verbs), &init) == 0);
	CHECK(ibv_modify_qp(source->id->qp, &attr, IBV_QP_STATE) == 0);
}

/* makes an event on the channel, and takes its completion */
static void
make_event(struct source *source)
{
	struct ibv_recv_wr wr = {.wr_id = 1}, *bad;
	struct ibv_wc wc;

	CHECK(ibv_req_notify_cq(source->cq, 0) == 0);
	CHECK(ibv_post_recv(source->id->qp, &wr, &bad) == 0);
	CHECK(ibv_poll_cq(source->cq, 1, &wc) == 1 && wc.status == IBV_WC_WR_FLUSH_ERR);
}

static void
take_event(struct source *source)
{
	struct ibv_cq *cq;
	void *context;

	CHECK(ibv_get_cq_event(source->channel, &cq, &context) == 0 && cq == source->cq);
	ibv_ack_cq_events(cq, 1);
}

static bool
has_no_event(struct source *source)
{
	struct ibv_cq *cq;
	void *context;

	errno = 0;

	return ibv_get_cq_event(source->channel, &cq, &context) == -1 && errno == EAGAIN;
}

static void
completion_channel(struct source *source)
{
	int fd = source->channel->fd;

	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(seen(fd) == 0);
	make_non_blocking(fd, true);
	CHECK(has_no_event(source));
	make_event(source);
	make_event(source);
	CHECK(seen(fd) == POLLIN);
	take_event(source);
	CHECK(seen(fd) == POLLIN);
	take_event(source);
	CHECK(seen(fd) == 0);
	CHECK(has_no_event(source));

	for (int i = 0; i < MANY; i++)
		make_event(source);
	for (int i = 0; i < MANY; i++) {
		CHECK(i % 1000 || seen(fd) == POLLIN);
		take_event(source);
	}
	CHECK(seen(fd) == 0);
	CHECK(has_no_event(source));
	make_event(source);
	CHECK(seen(fd) == POLLIN);
	take_event(source);
}

static void
edge_triggered(struct source *source)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET}, got;
	int set = epoll_create1(EPOLL_CLOEXEC);

	CHECK(set >= 0);
	CHECK(epoll_ctl(set, EPOLL_CTL_ADD, source->channel->fd, &event) == 0);
	CHECK(epoll_wait(set, &got, 1, 0) == 0);
	for (int i = 0; i < 1000; i++) {
		/* also while the events before it have not been taken */
		make_event(source);
		CHECK(epoll_wait(set, &got, 1, wait_ms()) == 1 && got.events == EPOLLIN);
		CHECK(epoll_wait(set, &got, 1, 0) == 0);
	}
	for (int i = 0; i < 1000; i++)
		take_event(source);
	CHECK(epoll_wait(set, &got, 1, 0) == 0);
	close(set);
}

static void *
make_events(void *arg)
{
	for (int i = 0; i < RACES; i++)
		make_event(arg);

	return NULL;
}

/* who finds the descriptor readable finds an event, at any moment */
static void
readable_means_event(struct source *source)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, make_events, source) == 0);
	for (int i = 0; i < RACES; i++) {
		struct pollfd readable = {.fd = source->channel->fd, .events = POLLIN};
		int ready;

		do
			ready = poll(&readable, 1, wait_ms());
		while (ready < 0 && errno == EINTR);
		CHECK(ready == 1);
		take_event(source);
	}
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(has_no_event(source));
}

/* a completion queue that overruns is an event of the device */
static void
context_descriptor(struct source *source)
{
	struct ibv_context *verbs = source->id->verbs;
	struct ibv_recv_wr wr = {.wr_id = 1}, *bad;
	struct ibv_async_event event;
	int most = source->cq->cqe;

	CHECK(fcntl(verbs->async_fd, F_GETFD) == FD_CLOEXEC);
	CHECK(seen(verbs->async_fd) == 0);
	for (int i = 0; i <= most; i++)
		CHECK(ibv_post_recv(source->id->qp, &wr, &bad) == 0);
	CHECK(seen(verbs->async_fd) == POLLIN);
	CHECK(ibv_get_async_event(verbs, &event) == 0 && event.event_type == IBV_EVENT_CQ_ERR);
	ibv_ack_async_event(&event);
	CHECK(seen(verbs->async_fd) == 0);
}

/* --- waiting ------------------------------------------------------------------------------------ */

static atomic_int handled;

static void
handler(int signal)
{
	(void)signal;
	handled++;
}

struct waiter {
	struct source *source;
	atomic_bool is_over;
	int error;
};

static void *
wait_for_event(void *arg)
{
	struct waiter *waiter = arg;
	struct ibv_cq *cq;
	void *context;

	if (ibv_get_cq_event(waiter->source->channel, &cq, &context) == 0)
		ibv_ack_cq_events(cq, 1);
	else
		waiter->error = errno;
	waiter->is_over = true;

	return NULL;
}

static void
waiting(struct source *source)
{
	struct sigaction action = {.sa_handler = handler};
	struct waiter waiter = {.source = source};
	pthread_t thread;

	make_non_blocking(source->channel->fd, false);
	/* the program's reads go on after such a signal */
	action.sa_flags = SA_RESTART;
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	CHECK(pthread_create(&thread, NULL, wait_for_event, &waiter) == 0);
	while (handled < 100) {
		CHECK(!waiter.is_over);
		CHECK(pthread_kill(thread, SIGUSR1) == 0);
		poll(NULL, 0, 1);
	}
	make_event(source);
	CHECK(pthread_join(thread, NULL) == 0 && waiter.error == 0);

	/* and end after this one */
	action.sa_flags = 0;
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	waiter = (struct waiter){.source = source};
	CHECK(pthread_create(&thread, NULL, wait_for_event, &waiter) == 0);
	while (!waiter.is_over) {
		CHECK(pthread_kill(thread, SIGUSR1) == 0);
		poll(NULL, 0, 1);
	}
	CHECK(pthread_join(thread, NULL) == 0 && waiter.error == EINTR);
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	struct rdma_event_channel *channel;
	struct source source = {0};

	skip_without(address);
	CHECK((channel = rdma_create_event_channel()));
	cm_channel(&source, channel, address);
	open_source(&source);
	completion_channel(&source);
	edge_triggered(&source);
	readable_means_event(&source);
	waiting(&source);
	context_descriptor(&source);

	rdma_destroy_qp(source.id);
	CHECK(ibv_destroy_cq(source.cq) == 0);
	CHECK(ibv_destroy_comp_channel(source.channel) == 0);
	CHECK(rdma_destroy_id(source.id) == 0);
	release_pd();
	rdma_destroy_event_channel(channel);
	printf("descriptors of events are readable when there are events, and never writable\n");

	return 0;
}
