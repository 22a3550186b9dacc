/* SPDX-License-Identifier: BSD-3-Clause */
/* Connection manager: requests that nobody answers, or that are refused. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conformance.h"

static void
reject(void)
{
	struct setup setup = usual();
	struct rdma_conn_param param = conn_param(&setup);
	struct listener listener = {0};
	struct end client = {0};
	struct cm_event request, event;

	listen_any_port(&listener);
	resolve(&client, listener.port);
	equip(&client, &setup, ALL_ACCESS);
	post_recvs(&client, 1, 2);
	NEED(rdma_connect(client.id, &param));
	need_event(listener.channel, RDMA_CM_EVENT_CONNECT_REQUEST, &request);
	say_result("reject", rdma_reject(request.id, NULL, 0));
	say_event("client", client.channel, &event);
	say("id of the event", "%s", event.id == client.id ? "the client's" : "another");
	say_result("reject again", rdma_reject(request.id, NULL, 0));
	say_result("accept after that", rdma_accept(request.id, &param));
	say_result("destroy the request's id", rdma_destroy_id(request.id));
	say_state("state of the client's queue pair", client.qp);
	say_wcs("receives that the client had posted", &client, client.cq, 2);
	say_no_event("more for the client", client.channel);
	say_no_event("more for the listener", listener.channel);
	say_result("disconnect the client", rdma_disconnect(client.id));
	say_result("connect the client again", rdma_connect(client.id, &param));
}

static void
reject_by_destroying_the_request(void)
{
	struct setup setup = usual();
	struct listener listener = {0};
	struct end client = {0};
	struct cm_event request;

	listen_any_port(&listener);
	client_start(&client, listener.port, &setup);
	need_event(listener.channel, RDMA_CM_EVENT_CONNECT_REQUEST, &request);
	say_result("destroy the request's id", rdma_destroy_id(request.id));
	say_event("client", client.channel, NULL);
	say_no_event("more for the client", client.channel);
}

static void
reject_by_destroying_the_listener(void)
{
	struct setup setup = usual();
	struct listener listener = {0};
	struct end client = {0};

	listen_any_port(&listener);
	client_start(&client, listener.port, &setup);
	say("request at the listener", "%s", readable(listener.channel->fd, wait_ms) ? "waiting" : "none");
	say_result("destroy the listener", rdma_destroy_id(listener.id));
	say_event("client", client.channel, NULL);
	say_no_event("more for the client", client.channel);
	say_no_event("left at the listener's channel", listener.channel);
}

static void
nobody_listens(void)
{
	struct setup setup = usual();
	struct listener listener = {0};
	struct end client = {0};
	struct cm_event event;

	/* a port that was just free */
	listen_any_port(&listener);
	NEED(rdma_destroy_id(listener.id));
	client_start(&client, listener.port, &setup);
	say_event("client", client.channel, &event);
	say("private data", "%u bytes", event.param.private_data_len);
	say_no_event("more", client.channel);
	say_state("state of the queue pair", client.qp);
	say_result("send after that", post_send(&client, 1, 0, 8));
	say_no_wc("its completion", &client, client.cq);
}

/* the client waits for an answer that does not come: the time-out of the connection manager */
static void
request_not_answered(void)
{
	struct setup setup = usual();
	struct listener listener = {0};
	struct end client = {0};

	wait_ms = 280 * 1000;
	listen_any_port(&listener);
	client_start(&client, listener.port, &setup);
	need_event(listener.channel, RDMA_CM_EVENT_CONNECT_REQUEST, NULL);
	say_event("client", client.channel, NULL);
}

/*
 * The documentation network of RFC 5737: a machine with a real device must have no route to it, not even a
 * default one.
 */
static void
no_route(void)
{
	struct sockaddr_in nowhere = {.sin_family = AF_INET, .sin_port = htons(4711)};
	struct end client = {0};

	nowhere.sin_addr.s_addr = htonl(0xc6336401);
	NEED_POINTER(client.channel, rdma_create_event_channel());
	NEED(rdma_create_id(client.channel, &client.id, NULL, RDMA_PS_TCP));
	say_result("resolve address", rdma_resolve_addr(client.id, NULL, (struct sockaddr *)&nowhere, wait_ms));
	say_no_event("event", client.channel);
	NEED(rdma_destroy_id(client.id));
	NEED(rdma_create_id(NULL, &client.id, NULL, RDMA_PS_TCP));
	say_result("resolve address, synchronous id",
			rdma_resolve_addr(client.id, NULL, (struct sockaddr *)&nowhere, wait_ms));
}

/*
 * An address near the device's that nobody answers at. On the virtual machine's network there is no other host;
 * where the address is the machine's own, as all of 127.0.0.0/8 are, a socket of TCP that accepts nothing is
 * put there for devices whose ports are those of TCP.
 */
static void
silent_address(struct sockaddr_storage *storage)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 v6;
	void *chosen = &v4;
	socklen_t length = sizeof(v4), room = sizeof(*storage);
	int fd;

	device_address(0, storage);
	memcpy(&v6, storage, sizeof(v6));
	if (storage->ss_family == AF_INET)
		memcpy(&v4, storage, sizeof(v4));
	if (storage->ss_family == AF_INET || IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr)) {
		/* of IPv6 a machine has only one address that leads back to it */
		v4.sin_addr.s_addr = htonl(ntohl(v4.sin_addr.s_addr) + 8);
	} else {
		v6.sin6_addr.s6_addr[15] += 8;
		chosen = &v6;
		length = sizeof(v6);
	}
	memcpy(storage, chosen, length);

	fd = socket(storage->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		broken("socket");
	if (bind(fd, (struct sockaddr *)storage, length) == 0) {
		NEED(listen(fd, 4));
		NEED(getsockname(fd, (struct sockaddr *)storage, &room));
	} else {
		v4.sin_port = v6.sin6_port = htons(4711);
		memcpy(storage, chosen, length);
		close(fd);
	}
}

static void
host_never_answers(void)
{
	struct sockaddr_storage storage;
	struct setup setup = usual();
	struct rdma_conn_param param = conn_param(&setup);
	struct end client = {0};
	struct cm_event event = {0};

	/* the kernel takes 102 s to give up */
	wait_ms = 280 * 1000;
	silent_address(&storage);
	NEED_POINTER(client.channel, rdma_create_event_channel());
	NEED(rdma_create_id(client.channel, &client.id, NULL, RDMA_PS_TCP));
	say_result("resolve address", rdma_resolve_addr(client.id, NULL, (struct sockaddr *)&storage, 2000));
	say_event("then", client.channel, NULL);
	say_result("resolve route", rdma_resolve_route(client.id, 2000));
	say_event("after that", client.channel, NULL);
	equip(&client, &setup, ALL_ACCESS);
	say_result("connect", rdma_connect(client.id, &param));
	say_event("client", client.channel, &event);
	say("private data", "%u bytes", event.param.private_data_len);
	say_no_event("more", client.channel);
	say_state("state of the queue pair", client.qp);
	say_result("disconnect", rdma_disconnect(client.id));
	say_state("state then", client.qp);
}

static void
client_gone_before_accept(void)
{
	struct setup setup = usual();
	struct rdma_conn_param param = conn_param(&setup);
	struct listener listener = {0};
	struct end client = {0}, server = {0};

	listen_any_port(&listener);
	client_start(&client, listener.port, &setup);
	server_take(&server, &listener, &setup);
	rdma_destroy_qp(client.id);
	NEED(rdma_destroy_id(client.id));
	say_no_event("server", server.channel);
	say_result("accept", rdma_accept(server.id, &param));
	say_no_event("more for the server", server.channel);
	say_result("reject", rdma_reject(server.id, NULL, 0));
}

static void
client_disconnects_before_accept(void)
{
	struct setup setup = usual();
	struct rdma_conn_param param = conn_param(&setup);
	struct listener listener = {0};
	struct end client = {0}, server = {0};

	listen_any_port(&listener);
	client_start(&client, listener.port, &setup);
	server_take(&server, &listener, &setup);
	say_result("disconnect", rdma_disconnect(client.id));
	say_state("state of the client's queue pair", client.qp);
	say_result("accept", rdma_accept(server.id, &param));
	say_event("client", client.channel, NULL);
	say_event("server", server.channel, NULL);
}

const struct test_case refused_cases[] = {
	{.name = "reject", .run = reject},
	{.name = "reject-destroying-request", .run = reject_by_destroying_the_request},
	{.name = "reject-destroying-listener", .run = reject_by_destroying_the_listener},
	{.name = "nobody-listens", .run = nobody_listens},
	{.name = "request-not-answered", .run = request_not_answered, .limit = 300,
		.optional = "takes minutes; the kernel goes on waiting for more than four"},
	{.name = "no-route", .run = no_route},
	{.name = "host-never-answers", .run = host_never_answers, .limit = 300, .slow = true},
	{.name = "client-gone-before-accept", .run = client_gone_before_accept},
	{.name = "client-disconnects-before-accept", .run = client_disconnects_before_accept},
	{0},
};
