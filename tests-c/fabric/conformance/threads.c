/* SPDX-License-Identifier: BSD-3-Clause */
/* Several threads of one process. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "conformance.h"

#define THREADS 4
#define OPS 200

struct worker {
	pthread_t thread;
	struct end *end;
	struct remote remote;
	unsigned number;
	unsigned posted;
};

static atomic_uint in_flight;

/* several threads post to one queue pair; the main one polls */
static void *
post_many(void *arg)
{
	struct worker *worker = arg;

	while (worker->posted < OPS) {
		size_t offset = (worker->number * OPS + worker->posted) * 4;
		int ret;

		/* as many as the queue holds */
		if (atomic_fetch_add(&in_flight, 1) >= 14) {
			atomic_fetch_sub(&in_flight, 1);
			sched_yield();
			continue;
		}
		ret = post_op(worker->end, IBV_WR_RDMA_WRITE, worker->number * OPS + worker->posted, offset, 4,
				(struct remote){worker->remote.addr + offset, worker->remote.rkey});
		if (ret) {
			errno = ret;
			broken("post in a thread");
		}
		worker->posted++;
	}

	return NULL;
}

static void
threads_post(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct worker workers[THREADS];
	unsigned next[THREADS] = {0}, good = 0;

	connect_pair(&pair, &setup);
	fill(pair.client.memory, pair.client.length, 5);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.end = &pair.client, .remote = remote_of(&pair.server, 0), .number = i};
		NEED(pthread_create(&workers[i].thread, NULL, post_many, &workers[i]));
	}
	for (unsigned i = 0; i < THREADS * OPS; i++) {
		struct ibv_wc wc;

		need_wc(&pair.client, pair.client.cq, &wc);
		atomic_fetch_sub(&in_flight, 1);
		/* those of one thread in their order */
		if (wc.wr_id < THREADS * OPS && wc.wr_id % OPS == next[wc.wr_id / OPS]) {
			next[wc.wr_id / OPS]++;
			good++;
		}
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	say("writes of 4 threads in the order of each", "%u of %u", good, THREADS * OPS);
	say_filled("data", pair.server.memory, THREADS * OPS * 4, 5);
}

/* one thread posts, several poll: each completion is seen once */
struct poller {
	pthread_t thread;
	struct ibv_cq *cq;
	atomic_uint *taken;
	atomic_uint *seen;
};

static void *
poll_many(void *arg)
{
	struct poller *poller = arg;

	while (atomic_load(poller->taken) < OPS) {
		struct ibv_wc wc;

		if (ibv_poll_cq(poller->cq, 1, &wc) == 1) {
			atomic_fetch_add(&poller->seen[wc.wr_id], wc.status == IBV_WC_SUCCESS ? 1 : 100);
			atomic_fetch_add(poller->taken, 1);
		} else {
			sched_yield();
		}
	}

	return NULL;
}

static void
threads_poll(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct poller pollers[THREADS];
	static atomic_uint taken, seen[OPS];
	unsigned good = 0;

	connect_pair(&pair, &setup);
	for (unsigned i = 0; i < THREADS; i++) {
		pollers[i] = (struct poller){.cq = pair.client.cq, .taken = &taken, .seen = seen};
		NEED(pthread_create(&pollers[i].thread, NULL, poll_many, &pollers[i]));
	}
	for (unsigned i = 0; i < OPS; i++) {
		while (i - atomic_load(&taken) >= 14)
			sched_yield();
		NEED(post_op(&pair.client, IBV_WR_RDMA_WRITE, i, 0, 8, remote_of(&pair.server, 0)));
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(pollers[i].thread, NULL);
	for (unsigned i = 0; i < OPS; i++)
		good += atomic_load(&seen[i]) == 1;
	say("completions seen once by 4 threads", "%u of %u", good, OPS);
}

/* each thread with a connection of its own */
static void *
connect_and_talk(void *arg)
{
	struct setup setup = usual();
	struct pair pair = {0};
	unsigned *good = arg;

	for (unsigned round = 0; round < 3; round++) {
		struct ibv_wc wc;

		memset(&pair, 0, sizeof(pair));
		connect_pair(&pair, &setup);
		for (unsigned i = 0; i < 10; i++) {
			NEED(post_recv(&pair.server, i, 0, 8));
			NEED(post_send(&pair.client, i, 0, 8));
			need_wc(&pair.server, pair.server.cq, &wc);
			need_wc(&pair.client, pair.client.cq, &wc);
			*good += wc.wr_id == i;
		}
		close_pair(&pair);
	}

	return NULL;
}

static void
threads_connect(void)
{
	pthread_t threads[THREADS];
	unsigned good[THREADS] = {0}, total = 0;

	for (unsigned i = 0; i < THREADS; i++)
		NEED(pthread_create(&threads[i], NULL, connect_and_talk, &good[i]));
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		total += good[i];
	}
	say("messages in connections of 4 threads", "%u of %u", total, THREADS * 30);
}

/* one thread waits in the channel, another one makes it happen */
static void *
wait_in_channel(void *arg)
{
	struct end *end = arg;
	struct ibv_cq *cq;
	void *context;

	NEED(ibv_get_cq_event(end->comp, &cq, &context));
	ibv_ack_cq_events(cq, 1);

	return cq;
}

static void *
wait_in_event_channel(void *arg)
{
	struct rdma_cm_event *event;
	enum rdma_cm_event_type type;

	NEED(rdma_get_cm_event(arg, &event));
	type = event->event;
	NEED(rdma_ack_cm_event(event));

	return (void *)(uintptr_t)type;
}

static void
threads_wait(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	pthread_t comp, cm;
	void *result;

	connect_pair(&pair, &setup);
	NEED(ibv_req_notify_cq(pair.server.cq, 0));
	NEED(post_recv(&pair.server, 1, 0, 8));
	NEED(pthread_create(&comp, NULL, wait_in_channel, &pair.server));
	NEED(pthread_create(&cm, NULL, wait_in_event_channel, pair.server.channel));
	NEED(post_send(&pair.client, 2, 0, 8));
	pthread_join(comp, &result);
	say("thread in the completion channel", "%s", result == pair.server.cq ? "woken" : "wrong CQ");
	NEED(rdma_disconnect(pair.client.id));
	pthread_join(cm, &result);
	say("thread in the event channel", "%s", cm_event_name((enum rdma_cm_event_type)(uintptr_t)result));
}

const struct test_case thread_cases[] = {
	{.name = "threads-post", .run = threads_post},
	{.name = "threads-poll", .run = threads_poll},
	{.name = "threads-connect", .run = threads_connect},
	{.name = "threads-wait", .run = threads_wait},
	{0},
};
