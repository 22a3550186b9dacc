/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * listens-late [ADDRESS]: clients that ask before the server listens. They are connected if it listens soon, as
 * programs expect that tell their client to come just before they listen; and rejected if nobody does.
 *
 *   softrdma run -- listens-late
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: PAIR_WAIT_MS (see two-processes.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "two-processes.h"

#define SIZE 4096
#define DEPTH 4
/* for so long a client tries at least */
#define PERIOD_NS ((uint64_t)250 * 1000000)
/* so late the server listens */
#define LATE_MS 50
/* on a loaded machine it may become too late */
#define ROUNDS 50

static const char *address = "127.0.0.1";

/* has a port, and does not listen yet */
static struct rdma_cm_id *
bind_only(struct rdma_event_channel *channel, unsigned *port)
{
	struct sockaddr_storage parsed;
	struct rdma_cm_id *id;

	parse_address(&parsed, address, 0);
	CHECK(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) == 0);
	CHECK(rdma_bind_addr(id, (struct sockaddr *)&parsed) == 0);
	*port = ntohs(rdma_get_src_port(id));

	return id;
}

/* a client that could connect */
static void
prepare(struct link *link, struct rdma_event_channel *channel, unsigned port)
{
	struct sockaddr_storage parsed;
	struct rdma_cm_id *id;

	parse_address(&parsed, address, port);
	CHECK(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) == 0);
	CHECK(rdma_resolve_addr(id, NULL, (struct sockaddr *)&parsed, wait_ms()) == 0);
	if (channel)
		await_event(channel, RDMA_CM_EVENT_ADDR_RESOLVED);
	CHECK(rdma_resolve_route(id, wait_ms()) == 0);
	if (channel)
		await_event(channel, RDMA_CM_EVENT_ROUTE_RESOLVED);
	link_open(link, id, SIZE, DEPTH);
}

/* takes the request of the client that comes */
static void
serve(struct link *link, struct rdma_event_channel *channel)
{
	struct rdma_cm_event *event = next_event(channel, wait_ms());

	if (!event || event->event != RDMA_CM_EVENT_CONNECT_REQUEST)
		die("the listener has %s", event_name(event));
	link_open(link, event->id, SIZE, DEPTH);
	CHECK(rdma_ack_cm_event(event) == 0);
	accept_link(link);
}

/* is it a fair round: has the server listened in time? */
static bool
in_time(uint64_t started)
{
	return now_ns() - started < PERIOD_NS;
}

static void
with_events(void)
{
	struct rdma_event_channel *channel = open_channel(), *server = open_channel();
	struct rdma_conn_param param = conn_param(NULL, 0);
	bool fair = false;

	for (int round = 0; round < ROUNDS && !fair; round++) {
		struct link client, served;
		struct rdma_cm_event *event;
		struct rdma_cm_id *listener;
		uint64_t started;
		unsigned port;

		listener = bind_only(server, &port);
		prepare(&client, channel, port);
		started = now_ns();
		CHECK(rdma_connect(client.id, &param) == 0);
		event = next_event(channel, LATE_MS);
		if (event && in_time(started))
			die("%s after %llu ms, before the server listens", event_name(event),
					(unsigned long long)((now_ns() - started) / 1000000));
		CHECK(rdma_listen(listener, 1) == 0);
		fair = in_time(started);
		if (event) {
			CHECK(rdma_ack_cm_event(event) == 0);
		} else if (fair) {
			serve(&served, server);
			await_event(channel, RDMA_CM_EVENT_ESTABLISHED);
			await_event(server, RDMA_CM_EVENT_ESTABLISHED);
			CHECK(rdma_get_dst_port(client.id) == htons((uint16_t)port));
			CHECK(rdma_get_src_port(client.id) == rdma_get_dst_port(served.id));
			rdma_disconnect(client.id);
			await_event(server, RDMA_CM_EVENT_DISCONNECTED);
			link_close(&served);
		}
		link_close(&client);
		CHECK(rdma_destroy_id(listener) == 0);
	}
	rdma_destroy_event_channel(channel);
	rdma_destroy_event_channel(server);
	if (!fair)
		printf("with events: this machine was too slow to listen in time\n");
}

struct synchronous {
	struct link link;
	unsigned port;
	uint64_t started;
	pthread_barrier_t begins;
};

static void *
connect_synchronously(void *argument)
{
	struct synchronous *client = argument;
	struct rdma_conn_param param = conn_param(NULL, 0);

	prepare(&client->link, NULL, client->port);
	client->started = now_ns();
	pthread_barrier_wait(&client->begins);
	if (rdma_connect(client->link.id, &param))
		return strerror(errno);

	return NULL;
}

static void
without_events(void)
{
	struct rdma_event_channel *server = open_channel();
	bool fair = false;

	for (int round = 0; round < ROUNDS && !fair; round++) {
		struct synchronous client = {.started = 0};
		struct rdma_cm_id *listener;
		struct rdma_cm_event *event;
		struct link served;
		pthread_t thread;
		void *error;

		CHECK(pthread_barrier_init(&client.begins, NULL, 2) == 0);
		listener = bind_only(server, &client.port);
		CHECK(pthread_create(&thread, NULL, connect_synchronously, &client) == 0);
		pthread_barrier_wait(&client.begins);
		/* the later, the more often it has been refused */
		poll(NULL, 0, LATE_MS);
		CHECK(rdma_listen(listener, 1) == 0);
		fair = in_time(client.started);
		if (fair) {
			event = next_event(server, wait_ms());
			if (!event || event->event != RDMA_CM_EVENT_CONNECT_REQUEST)
				die("the synchronous client did not come: %s", event_name(event));
			link_open(&served, event->id, SIZE, DEPTH);
			CHECK(rdma_ack_cm_event(event) == 0);
			accept_link(&served);
			CHECK(pthread_join(thread, &error) == 0);
			if (error)
				die("rdma_connect: %s", (char *)error);
			await_event(server, RDMA_CM_EVENT_ESTABLISHED);
			/* the synchronous one waits for the other */
			CHECK(rdma_disconnect(served.id) == 0);
			CHECK(rdma_disconnect(client.link.id) == 0);
			await_event(server, RDMA_CM_EVENT_DISCONNECTED);
			link_close(&served);
		} else {
			/* whether it comes or not: without the listener it does not wait */
			CHECK(rdma_destroy_id(listener) == 0);
			listener = NULL;
			CHECK(pthread_join(thread, &error) == 0);
		}
		link_close(&client.link);
		CHECK(!listener || rdma_destroy_id(listener) == 0);
		CHECK(pthread_barrier_destroy(&client.begins) == 0);
	}
	rdma_destroy_event_channel(server);
	if (!fair)
		printf("without events: this machine was too slow to listen in time\n");
}

static void
nobody_listens(void)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_conn_param param = conn_param(NULL, 0);
	struct rdma_cm_event *event;
	struct rdma_cm_id *bound;
	struct link client;
	uint64_t started;
	unsigned port;

	bound = bind_only(channel, &port);
	prepare(&client, channel, port);
	started = now_ns();
	CHECK(rdma_connect(client.id, &param) == 0);
	event = next_event(channel, wait_ms());
	if (!event || event->event != RDMA_CM_EVENT_REJECTED)
		die("nobody listens: %s", event_name(event));
	CHECK(event->status == 8);
	CHECK(rdma_ack_cm_event(event) == 0);
	if (now_ns() - started < PERIOD_NS)
		die("rejected after %llu ms", (unsigned long long)((now_ns() - started) / 1000000));
	CHECK(!next_event(channel, 100));
	link_close(&client);
	CHECK(rdma_destroy_id(bound) == 0);
	rdma_destroy_event_channel(channel);
}

/* a client that gives up meanwhile does not ask any more, and leaves nothing behind */
static void
gives_up(bool disconnects)
{
	struct rdma_event_channel *channel = open_channel(), *server = open_channel();
	struct rdma_conn_param param = conn_param(NULL, 0);
	struct rdma_cm_id *listener;
	unsigned before, port;
	struct link client;

	listener = bind_only(server, &port);
	before = descriptors();
	prepare(&client, channel, port);
	CHECK(rdma_connect(client.id, &param) == 0);
	poll(NULL, 0, 20);
	if (disconnects)
		CHECK(rdma_disconnect(client.id) == 0);
	link_close(&client);
	if (descriptors() != before)
		die("%u descriptors, and %u before", descriptors(), before);
	CHECK(rdma_listen(listener, 1) == 0);
	CHECK(!next_event(server, 100));
	CHECK(!next_event(channel, 0));
	CHECK(rdma_destroy_id(listener) == 0);
	rdma_destroy_event_channel(channel);
	rdma_destroy_event_channel(server);
}

int
main(int argc, char *argv[])
{
	if (argc > 1)
		address = argv[1];
	skip_without(address);
	with_events();
	without_events();
	nobody_listens();
	gives_up(false);
	gives_up(true);
	release_pd();

	return 0;
}
