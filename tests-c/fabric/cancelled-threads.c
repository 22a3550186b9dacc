/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cancelled-threads [ADDRESS]: threads are cancelled (pthread_cancel) at random moments: while they post and poll,
 * while they wait for an event, while they connect. Every time the others must go on, no event may be lost, and the
 * queue pairs, queues and channels that the thread used must work as before.
 *
 *   softrdma run -- cancelled-threads
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: CANCEL_ROUNDS (2000), PAIR_WAIT_MS (see
 * two-processes.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "two-processes.h"

#define SIZE ((size_t)64 << 10)
#define DEPTH 64
#define MESSAGE 64
#define WORKERS 3

static const char *address = "127.0.0.1";
static unsigned port;
static struct random chance = {.state = 12345};

/* --- the server: takes every client --- */

static int
serve(void)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 64);
	char line[16];

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	for (;;) {
		struct pollfd fds[] = {
			{.fd = STDIN_FILENO, .events = POLLIN},
			{.fd = channel->fd, .events = POLLIN},
		};
		enum rdma_cm_event_type type;
		struct rdma_cm_event *event;
		struct rdma_cm_id *id;
		struct link *link;

		CHECK(poll(fds, 2, -1) > 0 || errno == EINTR);
		if (fds[0].revents) {
			CHECK(!listen_to_parent(line, sizeof(line)) || strcmp(line, "quit") == 0);
			break;
		}
		if (!fds[1].revents)
			continue;
		CHECK((event = next_event(channel, 0)));
		type = event->event;
		id = event->id;
		CHECK(rdma_ack_cm_event(event) == 0);
		switch (type) {
		case RDMA_CM_EVENT_CONNECT_REQUEST:
			CHECK((link = malloc(sizeof(*link))));
			link_open(link, id, SIZE, DEPTH);
			id->context = link;
			accept_link(link);
			if (!link->ended)
				break;
			link_close(link);
			free(link);
			break;
		case RDMA_CM_EVENT_DISCONNECTED:
		case RDMA_CM_EVENT_REJECTED:
		case RDMA_CM_EVENT_CONNECT_ERROR:
		case RDMA_CM_EVENT_UNREACHABLE:
			link = id->context;
			rdma_disconnect(id);
			link_close(link);
			free(link);
			break;
		default:
			break;
		}
	}

	return 0;
}

/* --- cancelling --- */

/* a moment of up to a hundred microseconds */
static void
random_moment(void)
{
	uint64_t until = now_ns() + next_random(&chance) % 100000;

	while (now_ns() < until)
		;
}

static pthread_t
begin(void *(*body)(void *), void *arg)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, body, arg) == 0);

	return thread;
}

/* it must end in time; whether it was cancelled, instead of having come to its end */
static bool
cancel(pthread_t thread)
{
	struct timespec limit;
	void *result;
	int ret;

	pthread_cancel(thread);
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += wait_ms() / 1000;
	ret = pthread_timedjoin_np(thread, &result, &limit);
	if (ret)
		die("a cancelled thread does not end: %s", strerror(ret));

	return result == PTHREAD_CANCELED;
}

/* --- while threads post and poll --- */

static struct link shared;
static atomic_int outstanding;
static atomic_ulong completed;

static void *
post_and_poll(void *arg)
{
	(void)arg;
	for (;;) {
		struct ibv_wc wc[8];
		int n;

		if (atomic_fetch_add(&outstanding, 1) < DEPTH / 2)
			post(&shared, IBV_WR_RDMA_WRITE, 1, 0, MESSAGE, 0);
		else
			atomic_fetch_sub(&outstanding, 1);
		n = ibv_poll_cq(shared.cq, 8, wc);
		CHECK(n >= 0);
		for (int i = 0; i < n; i++)
			CHECK(wc[i].status == IBV_WC_SUCCESS);
		atomic_fetch_sub(&outstanding, n);
		completed += (unsigned)n;
		pthread_testcancel();
	}

	return NULL;
}

static void
posting_and_polling(unsigned rounds)
{
	struct rdma_event_channel *channel = open_channel();
	pthread_t workers[WORKERS];
	uint64_t limit;

	if (!connect_link(&shared, channel, address, port, SIZE, DEPTH))
		die("refused");
	for (int i = 0; i < WORKERS; i++)
		workers[i] = begin(post_and_poll, NULL);
	for (unsigned round = 0; round < rounds; round++) {
		int which = (int)(next_random(&chance) % WORKERS);

		random_moment();
		CHECK(cancel(workers[which]));
		workers[which] = begin(post_and_poll, NULL);
	}
	for (int i = 0; i < WORKERS; i++)
		CHECK(cancel(workers[i]));
	limit = now_ns() + (uint64_t)wait_ms() * 1000000;
	while (outstanding > 0) {
		struct ibv_wc wc;
		int n = ibv_poll_cq(shared.cq, 1, &wc);

		CHECK(n >= 0 && (n == 0 || wc.status == IBV_WC_SUCCESS));
		outstanding -= n;
		if (now_ns() > limit)
			die("%d requests do not complete", (int)outstanding);
	}
	rdma_disconnect(shared.id);
	link_close(&shared);
	rdma_destroy_event_channel(channel);
}

/* --- while a thread waits for an event --- */

static struct ibv_comp_channel *events;
static atomic_ulong taken;

static void *
take_event(void *arg)
{
	struct ibv_cq *cq;
	void *context;

	(void)arg;
	CHECK(ibv_get_cq_event(events, &cq, &context) == 0);
	ibv_ack_cq_events(cq, 1);
	taken++;

	return NULL;
}

static void
waiting(unsigned rounds)
{
	struct ibv_qp_init_attr init = {
		.cap = {.max_recv_wr = 8, .max_send_wr = 1, .max_recv_sge = 1, .max_send_sge = 1},
		.qp_type = IBV_QPT_RC,
	};
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
	struct rdma_event_channel *channel = open_channel();
	struct ibv_recv_wr wr = {.wr_id = 1}, *bad;
	struct sockaddr_storage there;
	struct rdma_cm_event *event;
	unsigned long made = 0;
	struct rdma_cm_id *id;
	struct ibv_cq *cq;
	struct ibv_wc wc;
	int flags;

	parse_address(&there, address, port);
	CHECK(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) == 0);
	CHECK(rdma_resolve_addr(id, NULL, (struct sockaddr *)&there, wait_ms()) == 0);
	CHECK((event = next_event(channel, wait_ms())) && rdma_ack_cm_event(event) == 0);
	CHECK((events = ibv_create_comp_channel(id->verbs)));
	CHECK((cq = ibv_create_cq(id->verbs, 8, NULL, events, 0)));
	init.send_cq = init.recv_cq = cq;
	CHECK(rdma_create_qp(id, pd_of(id->verbs), &init) == 0);
	CHECK(ibv_modify_qp(id->qp, &attr, IBV_QP_STATE) == 0);
	for (unsigned round = 0; round < rounds; round++) {
		pthread_t waiter = begin(take_event, NULL);

		random_moment();
		if (round % 2) {
			/* at about the moment in which the event comes */
			CHECK(ibv_req_notify_cq(cq, 0) == 0);
			CHECK(ibv_post_recv(id->qp, &wr, &bad) == 0);
			CHECK(ibv_poll_cq(cq, 1, &wc) == 1);
			made++;
		}
		cancel(waiter);
	}
	/* those of cancelled threads are there for others, and to be seen */
	CHECK((flags = fcntl(events->fd, F_GETFL)) >= 0);
	CHECK(fcntl(events->fd, F_SETFL, flags | O_NONBLOCK) == 0);
	while (taken < made) {
		struct pollfd readable = {.fd = events->fd, .events = POLLIN};

		if (poll(&readable, 1, 0) != 1)
			die("%lu of %lu events were lost", made - taken, made);
		take_event(NULL);
	}
	rdma_destroy_qp(id);
	CHECK(ibv_destroy_cq(cq) == 0);
	CHECK(ibv_destroy_comp_channel(events) == 0);
	CHECK(rdma_destroy_id(id) == 0);
	rdma_destroy_event_channel(channel);
}

/* --- while threads connect --- */

/* with calls that wait for their events themselves; an id is destroyed by whoever is cancelled with it */
static void
destroy(void *arg)
{
	struct rdma_cm_id *id = arg;

	if (id->qp)
		rdma_destroy_qp(id);
	CHECK(rdma_destroy_id(id) == 0);
}

static atomic_ulong connected;

static void *
connect_again_and_again(void *arg)
{
	struct rdma_conn_param param = conn_param(NULL, 0);
	struct sockaddr_storage there;

	(void)arg;
	parse_address(&there, address, port);
	for (;;) {
		/* it says afterwards which completion queues were made */
		struct ibv_qp_init_attr init = {
			.cap = {.max_recv_wr = 8, .max_send_wr = 8, .max_recv_sge = 1, .max_send_sge = 1},
			.qp_type = IBV_QPT_RC,
		};
		struct rdma_cm_id *id;

		CHECK(rdma_create_id(NULL, &id, NULL, RDMA_PS_TCP) == 0);
		pthread_cleanup_push(destroy, id);
		CHECK(rdma_resolve_addr(id, NULL, (struct sockaddr *)&there, wait_ms()) == 0);
		CHECK(rdma_resolve_route(id, wait_ms()) == 0);
		CHECK(rdma_create_qp(id, NULL, &init) == 0);
		CHECK(rdma_connect(id, &param) == 0);
		connected++;
		pthread_testcancel();
		rdma_disconnect(id);
		pthread_cleanup_pop(1);
	}

	return NULL;
}

static void
connecting(unsigned rounds)
{
	pthread_t workers[WORKERS];

	for (int i = 0; i < WORKERS; i++)
		workers[i] = begin(connect_again_and_again, NULL);
	for (unsigned round = 0; round < rounds; round++) {
		int which = (int)(next_random(&chance) % WORKERS);

		for (int i = 0; i < 5; i++)
			random_moment();
		CHECK(cancel(workers[which]));
		workers[which] = begin(connect_again_and_again, NULL);
	}
	for (int i = 0; i < WORKERS; i++)
		CHECK(cancel(workers[i]));
}

int
main(int argc, char *argv[])
{
	unsigned rounds = (unsigned)env_number("CANCEL_ROUNDS", 2000);
	unsigned before, after;
	struct child server;

	if (argc > 2) {
		address = argv[2];
		return serve();
	}
	if (argc > 1)
		address = argv[1];
	skip_without(address);
	server = start("server", address, 0);
	port = (unsigned)expect(&server, "listening ");

	/* once: the library keeps some descriptors */
	posting_and_polling(1);
	before = descriptors();
	posting_and_polling(rounds);
	waiting(rounds);
	connecting(rounds / 10);
	posting_and_polling(1);
	/* the library closes those of a connection when it comes to it */
	for (int waited = 0; (after = descriptors()) > before && waited < wait_ms(); waited++)
		usleep(1000);
	if (after > before)
		die("%u descriptors are left over", after - before);
	release_pd();
	tell(&server, "quit");
	finish(&server);
	printf("%u threads were cancelled; %lu requests, %lu events and %lu connections\n",
			2 * rounds + rounds / 10, (unsigned long)completed, (unsigned long)taken,
			(unsigned long)connected);

	return 0;
}
