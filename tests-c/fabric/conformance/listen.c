/* SPDX-License-Identifier: BSD-3-Clause */
/* Connection manager: listening. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "conformance.h"

static int
bind_new(struct rdma_event_channel *channel, struct sockaddr *addr, struct rdma_cm_id **id)
{
	NEED(rdma_create_id(channel, id, NULL, RDMA_PS_TCP));

	return rdma_bind_addr(*id, addr);
}

static void
listen_conflicts(void)
{
	struct sockaddr_storage storage;
	struct listener first = {0};
	struct rdma_cm_id *id, *other;

	listen_any_port(&first);
	say_result("bind the address again", bind_new(first.channel, device_address(first.port, &storage), &id));
	NEED(rdma_destroy_id(id));
	say_result("bind the wildcard, same port", bind_new(first.channel, any_address(first.port, &storage), &id));
	NEED(rdma_destroy_id(id));
	say_result("listen again on the same id", rdma_listen(first.id, 0));
	say_result("bind the same id again", rdma_bind_addr(first.id, device_address(0, &storage)));
	say_result("resolve on the listening id", rdma_resolve_addr(first.id, NULL,
			device_address(first.port, &storage), wait_ms));
	say_result("disconnect the listening id", rdma_disconnect(first.id));
	NEED(rdma_destroy_id(first.id));

	say_result("bind after it was destroyed", bind_new(first.channel, device_address(first.port, &storage), &id));
	say_result("bind beside a bound id", bind_new(first.channel, device_address(first.port, &storage), &other));
	NEED(rdma_destroy_id(other));
	say_result("listen", rdma_listen(id, 0));
	NEED(rdma_destroy_id(id));

	say_result("bind the wildcard", bind_new(first.channel, any_address(first.port, &storage), &id));
	say("device of an id bound to the wildcard", "%s", id->verbs ? "yes" : "no");
	say_result("listen on the wildcard", rdma_listen(id, 0));
	say_result("bind the address while the wildcard listens",
			bind_new(first.channel, device_address(first.port, &storage), &other));
	NEED(rdma_destroy_id(other));
	NEED(rdma_destroy_id(id));

	NEED(rdma_create_id(first.channel, &id, NULL, RDMA_PS_TCP));
	say_result("listen without bind", rdma_listen(id, 0));
	say("port then", "%s", rdma_get_src_port(id) ? "chosen" : "0");
	NEED(rdma_destroy_id(id));
	say_no_event("events", first.channel);
}

static void
listen_foreign_address(void)
{
	struct sockaddr_storage storage;
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id;

	NEED_POINTER(channel, rdma_create_event_channel());
	/* the documentation network of RFC 5737, the documentation prefix of RFC 3849 */
	device_address(0, &storage);
	if (storage.ss_family == AF_INET)
		((struct sockaddr_in *)&storage)->sin_addr.s_addr = htonl(0xcb007109);
	else
		inet_pton(AF_INET6, "2001:db8:ffff::9", &((struct sockaddr_in6 *)&storage)->sin6_addr);
	say_result("bind", bind_new(channel, (struct sockaddr *)&storage, &id));
	device_address(0, &storage);
	say_result("bind the same id to the device's address", rdma_bind_addr(id, (struct sockaddr *)&storage));
	NEED(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP));
	storage.ss_family = AF_UNIX;
	say_result("bind an address of another family", rdma_bind_addr(id, (struct sockaddr *)&storage));
}

static void
listen_wildcard(void)
{
	struct sockaddr_storage storage;
	struct setup setup = usual();
	struct listener listener = {0};
	struct end client = {0}, server = {0};
	struct ibv_wc wc;

	NEED_POINTER(listener.channel, rdma_create_event_channel());
	NEED(rdma_create_id(listener.channel, &listener.id, NULL, RDMA_PS_TCP));
	NEED(rdma_bind_addr(listener.id, any_address(0, &storage)));
	listener.port = ntohs(rdma_get_src_port(listener.id));
	say("port after bind", "%s", listener.port ? "chosen" : "0");
	NEED(rdma_listen(listener.id, 0));
	listener.port = ntohs(rdma_get_src_port(listener.id));
	say("port after listen", "%s", listener.port ? "chosen" : "0");
	client_start(&client, listener.port, &setup);
	server_take(&server, &listener, &setup);
	say("local address of the request", "%s", same_address(rdma_get_local_addr(server.id),
			device_address(0, &storage)));
	server_accept(&server, &setup);
	established(&client);
	established(&server);
	NEED(post_recv(&server, 1, 0, 8));
	NEED(post_send(&client, 2, 0, 8));
	need_wc(&server, server.cq, &wc);
	say("send", "received");
}

static void
listen_again(void)
{
	struct sockaddr_storage storage;
	struct setup setup = usual();
	struct pair pair = {0};
	struct rdma_cm_id *id;

	connect_pair(&pair, &setup);
	say_result("destroy the listener of a connection", rdma_destroy_id(pair.listener.id));
	say_no_event("client", pair.client.channel);
	NEED(post_recv(&pair.server, 1, 0, 8));
	NEED(post_send(&pair.client, 2, 0, 8));
	say_wc("receive on the connection", &pair.server, pair.server.cq);
	say_result("bind the port while its connection lives", bind_new(pair.listener.channel,
			device_address(pair.listener.port, &storage), &id));
	say_result("listen", rdma_listen(id, 0));
	pair.listener.id = id;
	memset(&pair.client, 0, sizeof(pair.client));
	memset(&pair.server, 0, sizeof(pair.server));
	connect_pair(&pair, &setup);
	say("second connection", "established");
}

/* more requests than the backlog has room for: they wait until there is room, or are refused */
static void
listen_backlog(void)
{
	struct sockaddr_storage storage;
	struct setup setup = usual();
	struct listener listener = {0};
	struct end clients[2];
	struct cm_event event;

	memset(clients, 0, sizeof(clients));
	NEED_POINTER(listener.channel, rdma_create_event_channel());
	NEED(rdma_create_id(listener.channel, &listener.id, NULL, RDMA_PS_TCP));
	NEED(rdma_bind_addr(listener.id, device_address(0, &storage)));
	say_result("listen with a backlog of 1", rdma_listen(listener.id, 1));
	listener.port = ntohs(rdma_get_src_port(listener.id));
	client_start(&clients[0], listener.port, &setup);
	say("request of the first", "%s", readable(listener.channel->fd, wait_ms) ? "waiting" : "none");
	client_start(&clients[1], listener.port, &setup);
	say_no_event("the second client", clients[1].channel);
	say_no_event("the first client", clients[0].channel);
	say_event("listener", listener.channel, &event);
	/* the kernel drops what there is no room for, and the client asks again after 4 s */
	if (wait_ms < 15000)
		wait_ms = 15000;
	say("it is the request", "%s", rdma_get_dst_port(event.id) == rdma_get_src_port(clients[0].id) ?
			"of the first" : "of the second");
	if (say_event("listener, once there is room", listener.channel, &event))
		say("that is the request", "%s", rdma_get_dst_port(event.id) == rdma_get_src_port(clients[1].id) ?
				"of the second" : "of the first");
	say_no_event("the second client at last", clients[1].channel);
}

static void
listen_port_of_a_client(void)
{
	struct sockaddr_storage storage;
	struct setup setup = usual();
	struct pair pair = {0};
	struct rdma_cm_id *id;
	uint16_t port;

	connect_pair(&pair, &setup);
	port = ntohs(rdma_get_src_port(pair.client.id));
	say("port of the client", "%s", port ? "chosen" : "0");
	say_result("bind it", bind_new(pair.listener.channel, device_address(port, &storage), &id));
}

const struct test_case listen_cases[] = {
	{.name = "listen-conflicts", .run = listen_conflicts},
	{.name = "listen-foreign-address", .run = listen_foreign_address},
	{.name = "listen-wildcard", .run = listen_wildcard},
	{.name = "listen-again", .run = listen_again},
	{.name = "listen-backlog", .run = listen_backlog},
	{.name = "listen-port-of-a-client", .run = listen_port_of_a_client},
	{0},
};
