/* SPDX-License-Identifier: BSD-3-Clause */
/* Connection manager: connecting, private data, rejecting, listening, ids. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conformance.h"

static const char *
same_address(const struct sockaddr *a, const struct sockaddr *b)
{
	if (a->sa_family != b->sa_family)
		return "another family";
	if (a->sa_family == AF_INET)
		return memcmp(&((const struct sockaddr_in *)a)->sin_addr,
				&((const struct sockaddr_in *)b)->sin_addr, 4) ? "another" : "the same";

	return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
			&((const struct sockaddr_in6 *)b)->sin6_addr, 16) ? "another" : "the same";
}

static void
connect_steps(void)
{
	struct sockaddr_storage storage;
	struct rdma_conn_param param;
	struct listener listener = {0};
	struct end client = {0}, server = {0};
	struct setup setup = usual();
	struct cm_event event;
	int mark;

	NEED_POINTER(listener.channel, rdma_create_event_channel());
	NEED(rdma_create_id(listener.channel, &listener.id, &mark, RDMA_PS_TCP));
	say("device of a new id", "%s", listener.id->verbs ? "yes" : "no");
	say("context of a new id", "%s", listener.id->context == &mark ? "as given" : "lost");
	say_result("bind", rdma_bind_addr(listener.id, device_address(0, &storage)));
	say("device of a bound id", "%s", listener.id->verbs ? "yes" : "no");
	say("port of a bound id", "%s", rdma_get_src_port(listener.id) ? "chosen" : "0");
	say_result("listen", rdma_listen(listener.id, 0));
	listener.port = ntohs(rdma_get_src_port(listener.id));

	NEED_POINTER(client.channel, rdma_create_event_channel());
	NEED(rdma_create_id(client.channel, &client.id, &client, RDMA_PS_TCP));
	say_result("resolve address", rdma_resolve_addr(client.id, NULL,
			device_address(listener.port, &storage), wait_ms));
	say_event("then", client.channel, &event);
	say("its id", "%s", event.id == client.id ? "the client's" : "another");
	say("device of the client", "%s", client.id->verbs ? "yes" : "no");
	say("devices of both ends", "%s", client.id->verbs == listener.id->verbs ? "one context" : "two");
	say("local address", "%s", same_address(rdma_get_local_addr(client.id), (struct sockaddr *)&storage));
	say("peer address", "%s", same_address(rdma_get_peer_addr(client.id), (struct sockaddr *)&storage));
	say("peer port", "%s", ntohs(rdma_get_dst_port(client.id)) == listener.port ? "the listener's" : "another");
	say_result("resolve route", rdma_resolve_route(client.id, wait_ms));
	say_event("after that", client.channel, NULL);

	equip(&client, &setup, ALL_ACCESS);
	say_state("state of the client's new queue pair", client.qp);
	param = conn_param(&setup);
	param.responder_resources = 3;
	param.initiator_depth = 5;
	param.retry_count = 6;
	param.rnr_retry_count = 4;
	say_result("connect", rdma_connect(client.id, &param));

	say_event("listener", listener.channel, &event);
	say("listener of the request", "%s", event.listener == listener.id ? "the one" : "another");
	say("id of the request", "%s", event.id != listener.id ? "a new one" : "the listener");
	server.id = event.id;
	say("channel of the request's id", "%s",
			server.id->channel == listener.channel ? "the listener's" : "another");
	say("context of the request's id", "%s", server.id->context == &mark ? "the listener's" : "another");
	say("device of the request's id", "%s", server.id->verbs == listener.id->verbs ? "the listener's" : "another");
	say("responder resources in the request", "%u", event.param.responder_resources);
	say("initiator depth in the request", "%u", event.param.initiator_depth);
	say("flow control in the request", "%u", event.param.flow_control);
	say("retry count in the request", "%u", event.param.retry_count);
	say("RNR retry count in the request", "%u", event.param.rnr_retry_count);
	say("SRQ in the request", "%u", event.param.srq);
	say("queue pair number in the request", "%s",
			event.param.qp_num == client.qp->qp_num ? "the client's" : "another");
	say("peer address of the request's id", "%s", same_address(rdma_get_peer_addr(server.id),
			rdma_get_local_addr(client.id)));
	say("peer port of the request's id", "%s",
			rdma_get_dst_port(server.id) == rdma_get_src_port(client.id) ? "the client's" : "another");
	say("local port of the request's id", "%s",
			ntohs(rdma_get_src_port(server.id)) == listener.port ? "the listener's" : "another");
	say_no_event("client meanwhile", client.channel);

	server.channel = listener.channel;
	equip(&server, &setup, ALL_ACCESS);
	say_state("state of the server's new queue pair", server.qp);
	param = conn_param(&setup);
	param.responder_resources = 2;
	param.initiator_depth = 1;
	say_result("accept", rdma_accept(server.id, &param));
	say_state("state of the server's queue pair after accept", server.qp);
	say_event("client", client.channel, &event);
	say("responder resources for the client", "%u", event.param.responder_resources);
	say("initiator depth for the client", "%u", event.param.initiator_depth);
	say("queue pair number for the client", "%s",
			event.param.qp_num == server.qp->qp_num ? "the server's" : "another");
	say_event("server", listener.channel, &event);
	say("id of the server's event", "%s", event.id == server.id ? "the request's" : "another");
	say("private data in the server's ESTABLISHED", "%u bytes", event.param.private_data_len);
	say_state("state of the client's queue pair", client.qp);
	say_state("state of the server's queue pair", server.qp);
	say_no_event("client afterwards", client.channel);
	say_no_event("server afterwards", listener.channel);
}

static void
connect_max_resources(void)
{
	struct setup setup = usual();
	struct listener listener = {0};
	struct end client = {0};
	struct ibv_device_attr attr;
	struct cm_event event;

	listen_any_port(&listener);
	client_start(&client, listener.port, &setup);
	NEED(ibv_query_device(client.id->verbs, &attr));
	need_event(listener.channel, RDMA_CM_EVENT_CONNECT_REQUEST, &event);
	say("responder resources in the request", "%s",
			event.param.responder_resources == attr.max_qp_init_rd_atom ?
			"what the device can initiate" : "another number");
	say("initiator depth in the request", "%s",
			event.param.initiator_depth == attr.max_qp_rd_atom ?
			"what the device can answer" : "another number");
}

static void
connect_qp_attributes(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct ibv_qp_attr attr;
	struct ibv_qp_init_attr init;
	struct end *ends[] = {&pair.client, &pair.server};

	connect_pair(&pair, &setup);
	for (int i = 0; i < 2; i++) {
		within(i ? "server" : "client");
		NEED(ibv_query_qp(ends[i]->qp, &attr, IBV_QP_STATE | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
				IBV_QP_DEST_QPN | IBV_QP_CAP | IBV_QP_ACCESS_FLAGS | IBV_QP_PATH_MTU, &init));
		say("retry count", "%u", attr.retry_cnt);
		say("RNR retry count", "%u", attr.rnr_retry);
		say("its peer", "%s", attr.dest_qp_num == ends[!i]->qp->qp_num ? "the other" : "another");
		say("remote read allowed", "%s", attr.qp_access_flags & IBV_ACCESS_REMOTE_READ ? "yes" : "no");
		say("remote write allowed", "%s", attr.qp_access_flags & IBV_ACCESS_REMOTE_WRITE ? "yes" : "no");
		say("type", "%s", init.qp_type == IBV_QPT_RC ? "RC" : "another");
		say("CQs", "%s", init.send_cq == ends[i]->cq && init.recv_cq == ends[i]->rcq ? "as given" : "others");
		say("signal all", "%d", init.sq_sig_all);
		say("send queue", "%s", init.cap.max_send_wr >= setup.sq_size ? "as large as asked" : "smaller");
		say("receive queue", "%s", init.cap.max_recv_wr >= setup.rq_size ? "as large as asked" : "smaller");
	}
}

/* --- private data ------------------------------------------------------------------------------ */

static void
say_private(const char *step, const struct cm_event *event, unsigned given)
{
	unsigned length = event->param.private_data_len;

	for (unsigned i = 0; i < length; i++)
		if (event->private_data[i] != (i < given ? (uint8_t)(i + 1) : 0)) {
			say(step, "%u bytes, wrong at byte %u", length, i);
			return;
		}
	if (!event->param.private_data)
		say(step, "NULL and %u bytes", length);
	else if (length < given)
		say(step, "%u bytes, cut", length);
	else if (length == given)
		say(step, "%u bytes, as given", length);
	else
		say(step, "%u bytes, %u as given, then zero", length, given);
}

static const uint8_t *
private_bytes(void)
{
	static uint8_t bytes[256];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i + 1);

	return bytes;
}

static void
private_data_request(void)
{
	static const uint8_t lengths[] = {0, 1, 55, 56, 57, 255};
	struct setup setup = usual();
	struct listener listener = {0};
	struct cm_event event;

	listen_any_port(&listener);
	for (size_t i = 0; i < COUNT_OF(lengths); i++) {
		struct rdma_conn_param param = conn_param(&setup);
		struct end client = {0};

		within("%u bytes", lengths[i]);
		resolve(&client, listener.port);
		equip(&client, &setup, ALL_ACCESS);
		param.private_data = lengths[i] ? private_bytes() : NULL;
		param.private_data_len = lengths[i];
		if (say_result("connect", rdma_connect(client.id, &param)))
			continue;
		need_event(listener.channel, RDMA_CM_EVENT_CONNECT_REQUEST, &event);
		say_private("seen by the server", &event, lengths[i]);
		NEED(rdma_destroy_id(event.id));
	}
}

static void
private_data_reply(void)
{
	static const uint8_t lengths[] = {0, 1, 195, 196, 197, 255};
	struct setup setup = usual();
	struct listener listener = {0};
	struct cm_event event;

	listen_any_port(&listener);
	for (size_t i = 0; i < COUNT_OF(lengths); i++) {
		struct rdma_conn_param param = conn_param(&setup);
		struct end client = {0}, server = {0};

		within("%u bytes", lengths[i]);
		client_start(&client, listener.port, &setup);
		server_take(&server, &listener, &setup);
		param.private_data = lengths[i] ? private_bytes() : NULL;
		param.private_data_len = lengths[i];
		say_result("accept", rdma_accept(server.id, &param));
		say_event("client", client.channel, &event);
		say_private("seen by the client", &event, event.type == RDMA_CM_EVENT_ESTABLISHED ? lengths[i] : 0);
		if (event.type == RDMA_CM_EVENT_ESTABLISHED) {
			say_event("server", server.channel, &event);
			say("in the server's own event", "%u bytes", event.param.private_data_len);
		}
	}
}

static void
private_data_reject(void)
{
	static const uint8_t lengths[] = {0, 1, 148, 149};
	struct setup setup = usual();
	struct listener listener = {0};
	struct cm_event event;

	listen_any_port(&listener);
	for (size_t i = 0; i < COUNT_OF(lengths); i++) {
		struct end client = {0};

		within("%u bytes", lengths[i]);
		client_start(&client, listener.port, &setup);
		need_event(listener.channel, RDMA_CM_EVENT_CONNECT_REQUEST, &event);
		if (say_result("reject", rdma_reject(event.id, lengths[i] ? private_bytes() : NULL, lengths[i])))
			continue;
		NEED(rdma_destroy_id(event.id));
		if (say_event("client", client.channel, &event))
			say_private("seen by the client", &event, lengths[i]);
	}
}

/* --- no connection ----------------------------------------------------------------------------- */

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

/* the documentation network of RFC 5737: the machine must have no route to it, not even a default one */
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

/* the address after the device's: in the virtual machine its network has no other host */
static void
host_never_answers(void)
{
	struct sockaddr_storage storage;
	struct setup setup = usual();
	struct rdma_conn_param param = conn_param(&setup);
	struct end client = {0};

	wait_ms = 280 * 1000;
	device_address(4711, &storage);
	if (storage.ss_family == AF_INET) {
		struct sockaddr_in *sin = (struct sockaddr_in *)&storage;

		sin->sin_addr.s_addr = htonl(ntohl(sin->sin_addr.s_addr) + 8);
	} else {
		((struct sockaddr_in6 *)&storage)->sin6_addr.s6_addr[15] += 8;
	}
	NEED_POINTER(client.channel, rdma_create_event_channel());
	NEED(rdma_create_id(client.channel, &client.id, NULL, RDMA_PS_TCP));
	say_result("resolve address", rdma_resolve_addr(client.id, NULL, (struct sockaddr *)&storage, 2000));
	say_event("then", client.channel, NULL);
	say_result("resolve route", rdma_resolve_route(client.id, 2000));
	say_event("after that", client.channel, NULL);
	equip(&client, &setup, ALL_ACCESS);
	say_result("connect", rdma_connect(client.id, &param));
	say_event("client", client.channel, NULL);
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

/* --- listening --------------------------------------------------------------------------------- */

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

const struct test_case cm_cases[] = {
	{.name = "connect", .run = connect_steps},
	{.name = "connect-max-resources", .run = connect_max_resources},
	{.name = "connect-qp-attributes", .run = connect_qp_attributes},
	{.name = "private-data-request", .run = private_data_request},
	{.name = "private-data-reply", .run = private_data_reply},
	{.name = "private-data-reject", .run = private_data_reject},
	{.name = "reject", .run = reject},
	{.name = "reject-destroying-request", .run = reject_by_destroying_the_request},
	{.name = "reject-destroying-listener", .run = reject_by_destroying_the_listener},
	{.name = "nobody-listens", .run = nobody_listens},
	{.name = "request-not-answered", .run = request_not_answered, .limit = 300,
		.optional = "takes minutes"},
	{.name = "no-route", .run = no_route, .optional = "needs a machine without a default route"},
	{.name = "host-never-answers", .run = host_never_answers, .limit = 300,
		.optional = "takes minutes, and needs a network without other hosts"},
	{.name = "client-gone-before-accept", .run = client_gone_before_accept},
	{.name = "client-disconnects-before-accept", .run = client_disconnects_before_accept},
	{.name = "listen-conflicts", .run = listen_conflicts},
	{.name = "listen-foreign-address", .run = listen_foreign_address},
	{.name = "listen-wildcard", .run = listen_wildcard},
	{.name = "listen-again", .run = listen_again},
	{.name = "listen-backlog", .run = listen_backlog},
	{.name = "listen-port-of-a-client", .run = listen_port_of_a_client},
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
