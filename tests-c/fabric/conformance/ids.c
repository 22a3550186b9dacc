/* SPDX-License-Identifier: BSD-3-Clause */
/* Connection manager: ids, those with a channel and those that wait themselves; addresses. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <string.h>

#include "conformance.h"

/* --- ids and channels -------------------------------------------------------------------------- */

static void
wrong_order(void)
{
	struct sockaddr_storage storage;
	struct setup setup = usual();
	struct rdma_conn_param param = conn_param(&setup);
	struct ibv_qp_init_attr attr = {.qp_type = IBV_QPT_RC, .cap = {1, 1, 1, 1, 0}};
	struct listener listener = {0};
	struct end client = {0};
	struct rdma_cm_id *id;

	listen_any_port(&listener);
	NEED_POINTER(client.channel, rdma_create_event_channel());
	NEED(rdma_create_id(client.channel, &id, NULL, RDMA_PS_TCP));
	/* what needs a device crashes librdmacm on an id that has none */
	within("new id");
	say_result("reject", rdma_reject(id, NULL, 0));
	say_result("disconnect", rdma_disconnect(id));
	say_result("destroy", rdma_destroy_id(id));

	within("address resolved");
	NEED(rdma_create_id(client.channel, &client.id, NULL, RDMA_PS_TCP));
	NEED(rdma_resolve_addr(client.id, NULL, device_address(listener.port, &storage), wait_ms));
	need_event(client.channel, RDMA_CM_EVENT_ADDR_RESOLVED, NULL);
	say_result("resolve address again", rdma_resolve_addr(client.id, NULL,
			device_address(listener.port, &storage), wait_ms));
	say_result("bind", rdma_bind_addr(client.id, device_address(0, &storage)));
	equip(&client, &setup, ALL_ACCESS);
	say("create a queue pair", "0");
	say_result("create another", rdma_create_qp(client.id, client.pd, &attr));
	say_result("connect", rdma_connect(client.id, &param));
	say_result("listen", rdma_listen(client.id, 0));
	say_no_event("event", client.channel);

	within("route resolved");
	NEED(rdma_resolve_route(client.id, wait_ms));
	need_event(client.channel, RDMA_CM_EVENT_ROUTE_RESOLVED, NULL);
	say_result("resolve route again", rdma_resolve_route(client.id, wait_ms));
	say_result("accept", rdma_accept(client.id, &param));
	say_result("disconnect", rdma_disconnect(client.id));
	say_result("connect", rdma_connect(client.id, &param));
	need_event(listener.channel, RDMA_CM_EVENT_CONNECT_REQUEST, NULL);
	within("connecting");
	say_result("connect again", rdma_connect(client.id, &param));
	say_result("resolve route", rdma_resolve_route(client.id, wait_ms));
	say_no_event("event", client.channel);
	within(NULL);
	say_result("destroy the id of the connecting one", rdma_destroy_id(client.id));
}

static void
resolve_from_own_address(void)
{
	struct sockaddr_storage from, to;
	struct listener listener = {0};
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id;

	listen_any_port(&listener);
	NEED_POINTER(channel, rdma_create_event_channel());
	NEED(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP));
	say_result("resolve with a source", rdma_resolve_addr(id, device_address(0, &from),
			device_address(listener.port, &to), wait_ms));
	say_event("then", channel, NULL);
	say("source port", "%s", rdma_get_src_port(id) ? "chosen" : "0");
	NEED(rdma_destroy_id(id));
	NEED(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP));
	say_result("resolve with the listener's address as the source", rdma_resolve_addr(id,
			device_address(listener.port, &from), device_address(listener.port, &to), wait_ms));
	say_no_event("then nothing", channel);
	NEED(rdma_destroy_id(id));
	NEED(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP));
	NEED(rdma_bind_addr(id, device_address(0, &from)));
	say_result("resolve a bound id", rdma_resolve_addr(id, NULL, device_address(listener.port, &to), wait_ms));
	say_event("its event", channel, NULL);
}

static void
nonblocking_channel(void)
{
	struct setup setup = usual();
	struct listener listener = {0};
	struct end client = {0};
	struct rdma_cm_event *event;

	listen_any_port(&listener);
	nonblocking(listener.channel->fd);
	say("readable at first", "%s", readable(listener.channel->fd, 0) ? "yes" : "no");
	say_result("get an event", rdma_get_cm_event(listener.channel, &event));
	client_start(&client, listener.port, &setup);
	say("readable after a request", "%s", readable(listener.channel->fd, wait_ms) ? "yes" : "no");
	say_result("get the event", rdma_get_cm_event(listener.channel, &event));
	say("it is", "%s", cm_event_name(event->event));
	say("readable before it is acknowledged", "%s", readable(listener.channel->fd, 0) ? "yes" : "no");
	say_result("get one more", rdma_get_cm_event(listener.channel, &(struct rdma_cm_event *){NULL}));
	say_result("acknowledge", rdma_ack_cm_event(event));
	say_result("get one after that", rdma_get_cm_event(listener.channel, &event));
}

/* one channel for all: the events come in the order in which they happened */
static void
one_channel_for_several_ids(void)
{
	struct sockaddr_storage storage;
	struct setup setup = usual();
	struct listener listener = {0};
	struct rdma_cm_id *ids[3];
	struct cm_event event;

	listen_any_port(&listener);
	for (size_t i = 0; i < COUNT_OF(ids); i++) {
		NEED(rdma_create_id(listener.channel, &ids[i], &ids[i], RDMA_PS_TCP));
		NEED(rdma_resolve_addr(ids[i], NULL, device_address(listener.port, &storage), wait_ms));
		/* wait, as the order of what runs at the same time is open */
		say_event("event", listener.channel, &event);
		say("its id and context", "%s", event.id == ids[i] && event.id->context == &ids[i] ? "right" : "wrong");
	}
	for (size_t i = 0; i < COUNT_OF(ids); i++) {
		struct end end = {.id = ids[i], .channel = listener.channel};
		struct rdma_conn_param param = conn_param(&setup);

		NEED(rdma_resolve_route(ids[i], wait_ms));
		need_event(listener.channel, RDMA_CM_EVENT_ROUTE_RESOLVED, &event);
		equip(&end, &setup, ALL_ACCESS);
		NEED(rdma_connect(ids[i], &param));
		say_event("event of a listener in the same channel", listener.channel, &event);
		say("its port", "%s", rdma_get_dst_port(event.id) == rdma_get_src_port(ids[i]) ?
				"that of the one that connects" : "another");
	}
}

static void
migrate(void)
{
	struct sockaddr_storage storage;
	struct setup setup = usual();
	struct rdma_conn_param param = conn_param(&setup);
	struct listener listener = {0};
	struct end client = {0}, server = {0};
	struct rdma_event_channel *other;
	struct cm_event event;

	listen_any_port(&listener);
	NEED(rdma_create_id(NULL, &client.id, NULL, RDMA_PS_TCP));
	say("channel of a synchronous id", "%s", client.id->channel ? "it has one" : "none");
	say_result("resolve address", rdma_resolve_addr(client.id, NULL,
			device_address(listener.port, &storage), wait_ms));
	say_result("resolve route", rdma_resolve_route(client.id, wait_ms));
	equip(&client, &setup, ALL_ACCESS);
	NEED_POINTER(client.channel, rdma_create_event_channel());
	say_result("migrate to a channel", rdma_migrate_id(client.id, client.channel));
	say("channel of the id then", "%s", client.id->channel == client.channel ? "the new one" : "another");
	say_result("connect", rdma_connect(client.id, &param));
	server_take(&server, &listener, &setup);
	server_accept(&server, &setup);
	say_event("client", client.channel, NULL);

	/* what waits in the old channel comes along */
	say("event for the server", "%s", readable(server.channel->fd, wait_ms) ? "waiting" : "none");
	NEED_POINTER(other, rdma_create_event_channel());
	say_result("migrate the server with it", rdma_migrate_id(server.id, other));
	say("left in the old channel", "%s", readable(server.channel->fd, quiet_ms) ? "something" : "nothing");
	say_event("in the new one", other, &event);
	say("id of the event", "%s", event.id == server.id ? "the server's" : "another");
	say_result("migrate to the same channel", rdma_migrate_id(server.id, other));
	NEED(rdma_disconnect(client.id));
	say_event("disconnected", other, NULL);

	say_result("migrate to no channel", rdma_migrate_id(server.id, NULL));
	say("channel of the id at last", "%s", server.id->channel && server.id->channel != other ?
			"one of its own" : "none");
}

/* --- synchronous ids --------------------------------------------------------------------------- */

struct acceptor {
	struct listener listener;
	struct setup setup;
	struct end server;
	bool accepts;
};

static void *
answer(void *arg)
{
	struct acceptor *acceptor = arg;

	server_take(&acceptor->server, &acceptor->listener, &acceptor->setup);
	if (acceptor->accepts) {
		struct rdma_conn_param param = conn_param(&acceptor->setup);

		param.private_data = private_bytes();
		param.private_data_len = 5;
		NEED(rdma_accept(acceptor->server.id, &param));
		established(&acceptor->server);
	} else {
		NEED(rdma_reject(acceptor->server.id, NULL, 0));
	}

	return NULL;
}

static void
synchronous_connect(void)
{
	struct acceptor acceptor = {.setup = usual(), .accepts = true};
	struct rdma_conn_param param = conn_param(&acceptor.setup);
	struct sockaddr_storage storage;
	struct end client = {0};
	struct cm_event event = {0};
	pthread_t thread;

	listen_any_port(&acceptor.listener);
	NEED(rdma_create_id(NULL, &client.id, &client, RDMA_PS_TCP));
	say_result("resolve address", rdma_resolve_addr(client.id, NULL,
			device_address(acceptor.listener.port, &storage), wait_ms));
	say("device", "%s", client.id->verbs ? "yes" : "no");
	say_result("resolve route", rdma_resolve_route(client.id, wait_ms));
	equip(&client, &acceptor.setup, ALL_ACCESS);
	NEED(pthread_create(&thread, NULL, answer, &acceptor));
	say_result("connect", rdma_connect(client.id, &param));
	if (client.id->event) {
		event.param = client.id->event->param.conn;
		if (event.param.private_data)
			memcpy(event.private_data, event.param.private_data, event.param.private_data_len);
		say("event in the id", "%s", cm_event_name(client.id->event->event));
		say_private("private data in it", &event, 5);
	} else {
		say("event in the id", "none");
	}
	NEED(pthread_join(thread, NULL));
	say_state("state of the queue pair", client.qp);
	NEED(post_recv(&acceptor.server, 1, 0, 8));
	NEED(post_send(&client, 2, 0, 8));
	say_wc("send", &client, client.cq);
	NEED(rdma_disconnect(acceptor.server.id));
	say_result("disconnect", rdma_disconnect(client.id));
	rdma_destroy_qp(client.id);
	say_result("destroy", rdma_destroy_id(client.id));
}

static void
synchronous_failures(void)
{
	struct acceptor acceptor = {.setup = usual(), .accepts = false};
	struct rdma_conn_param param = conn_param(&acceptor.setup);
	struct sockaddr_storage storage;
	struct listener gone = {0};
	struct end client = {0};
	pthread_t thread;

	listen_any_port(&gone);
	NEED(rdma_destroy_id(gone.id));
	NEED(rdma_create_id(NULL, &client.id, NULL, RDMA_PS_TCP));
	NEED(rdma_resolve_addr(client.id, NULL, device_address(gone.port, &storage), wait_ms));
	NEED(rdma_resolve_route(client.id, wait_ms));
	equip(&client, &acceptor.setup, ALL_ACCESS);
	say_result("connect when nobody listens", rdma_connect(client.id, &param));
	rdma_destroy_qp(client.id);
	say_result("destroy the id", rdma_destroy_id(client.id));

	memset(&client, 0, sizeof(client));
	listen_any_port(&acceptor.listener);
	NEED(rdma_create_id(NULL, &client.id, NULL, RDMA_PS_TCP));
	NEED(rdma_resolve_addr(client.id, NULL, device_address(acceptor.listener.port, &storage), wait_ms));
	NEED(rdma_resolve_route(client.id, wait_ms));
	equip(&client, &acceptor.setup, ALL_ACCESS);
	NEED(pthread_create(&thread, NULL, answer, &acceptor));
	say_result("connect when rejected", rdma_connect(client.id, &param));
	NEED(pthread_join(thread, NULL));
	rdma_destroy_qp(client.id);
	say_result("destroy that id", rdma_destroy_id(client.id));
}

/* as librpma's rpma_utils_get_ibv_context() does it */
static void
synchronous_bind(void)
{
	struct sockaddr_storage storage;
	struct rdma_cm_id *id;
	struct ibv_context *ctx;
	struct ibv_pd *pd;

	NEED(rdma_create_id(NULL, &id, NULL, RDMA_PS_TCP));
	say_result("bind", rdma_bind_addr(id, device_address(0, &storage)));
	ctx = id->verbs;
	say("device", "%s", ctx ? "yes" : "no");
	say_result("destroy", rdma_destroy_id(id));
	pd = say_pointer("protection domain on the device after that", ibv_alloc_pd(ctx));
	NEED(ibv_dealloc_pd(pd));
	NEED(rdma_create_id(NULL, &id, NULL, RDMA_PS_TCP));
	NEED(rdma_bind_addr(id, device_address(0, &storage)));
	say("device of a second id", "%s", id->verbs == ctx ? "the same context" : "another");
}

/* --- address information ----------------------------------------------------------------------- */

static void
address_information(void)
{
	struct rdma_addrinfo hints = {.ai_port_space = RDMA_PS_TCP, .ai_qp_type = IBV_QPT_RC}, *info = NULL;
	struct sockaddr_storage storage;
	int ret;

	device_address(0, &storage);
	within("active");
	ret = rdma_getaddrinfo(address, "7204", &hints, &info);
	say_result("result", ret);
	if (ret)
		return;
	say("destination", "%s", info->ai_dst_addr ?
			same_address(info->ai_dst_addr, (struct sockaddr *)&storage) : "none");
	say("its length", "%s", info->ai_dst_len == (storage.ss_family == AF_INET ?
			sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)) ? "right" : "wrong");
	say("its port", "%u", info->ai_dst_addr ? ntohs(((struct sockaddr_in *)info->ai_dst_addr)->sin_port) : 0);
	say("family", "%s", info->ai_family == storage.ss_family ? "right" : "wrong");
	say("port space", "%s", info->ai_port_space == RDMA_PS_TCP ? "TCP" : "another");
	say("type", "%s", info->ai_qp_type == IBV_QPT_RC ? "RC" : "another");
	say("connection data", "%zu bytes", info->ai_connect_len);
	rdma_freeaddrinfo(info);

	within("passive");
	hints.ai_flags = RAI_PASSIVE;
	ret = rdma_getaddrinfo(address, "7204", &hints, &info);
	say_result("result", ret);
	say("source", "%s", info->ai_src_addr ?
			same_address(info->ai_src_addr, (struct sockaddr *)&storage) : "none");
	say("destination", "%s", info->ai_dst_addr ? "set" : "none");
	say("flags", "%s", info->ai_flags & RAI_PASSIVE ? "passive" : "none");
	rdma_freeaddrinfo(info);

	within("wrong");
	ret = rdma_getaddrinfo(NULL, NULL, NULL, &info);
	say_result("nothing at all", ret);
	hints.ai_flags = RAI_NUMERICHOST;
	ret = rdma_getaddrinfo("no.address", "7204", &hints, &info);
	if (ret < -1)
		say("a name as a numeric host", "%s", gai_strerror(ret));
	else
		say_result("a name as a numeric host", ret);
	ret = rdma_getaddrinfo(address, "no-such-service", &hints, &info);
	if (ret < -1)
		say("an unknown service", "%s", gai_strerror(ret));
	else
		say_result("an unknown service", ret);
}

const struct test_case id_cases[] = {
	{.name = "wrong-order", .run = wrong_order},
	{.name = "resolve-from-own-address", .run = resolve_from_own_address},
	{.name = "nonblocking-event-channel", .run = nonblocking_channel},
	{.name = "one-channel-for-several-ids", .run = one_channel_for_several_ids},
	{.name = "migrate", .run = migrate},
	{.name = "synchronous-connect", .run = synchronous_connect},
	{.name = "synchronous-failures", .run = synchronous_failures},
	{.name = "synchronous-bind", .run = synchronous_bind},
	{.name = "address-information", .run = address_information},
	{0},
};
