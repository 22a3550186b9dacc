/* SPDX-License-Identifier: BSD-3-Clause */
/* Options of ids, what may be left out of a connection's parameters, and hints of the program. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "conformance.h"

/* --- rdma_set_option --------------------------------------------------------------------------- */

static void
set(const char *name, struct rdma_cm_id *id, int level, int option, size_t length)
{
	uint8_t value[16] = {1};
	char step[64];

	snprintf(step, sizeof(step), "%s, %zu bytes", name, length);
	say_result(step, rdma_set_option(id, level, option, value, length));
}

static void
set_all(struct rdma_cm_id *id)
{
	set("type of service", id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, 1);
	set("reuse of addresses", id, RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR, 4);
	set("IPv6 only", id, RDMA_OPTION_ID, RDMA_OPTION_ID_AFONLY, 4);
	set("acknowledge time-out", id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, 1);
}

static void
set_option(void)
{
	static const size_t lengths[] = {0, 1, 2, 4, 8};
	struct sockaddr_storage storage;
	struct listener listener = {0};
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id;
	struct end end = {0};
	struct setup setup = usual();
	int one = 1, zero = 0;

	NEED_POINTER(channel, rdma_create_event_channel());
	NEED(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP));
	within("new id");
	for (size_t i = 0; i < COUNT_OF(lengths); i++) {
		set("type of service", id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, lengths[i]);
		set("reuse of addresses", id, RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR, lengths[i]);
		set("IPv6 only", id, RDMA_OPTION_ID, RDMA_OPTION_ID_AFONLY, lengths[i]);
		set("acknowledge time-out", id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, lengths[i]);
		set("unknown option", id, RDMA_OPTION_ID, 77, lengths[i]);
		set("path", id, RDMA_OPTION_IB, RDMA_OPTION_IB_PATH, lengths[i]);
		set("unknown option of InfiniBand", id, RDMA_OPTION_IB, 77, lengths[i]);
		set("unknown level", id, 77, RDMA_OPTION_ID_TOS, lengths[i]);
	}
	say_result("NULL, 4 bytes", rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR, NULL, 4));
	say_result("NULL, no bytes", rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, NULL, 0));
	say_result("reuse of addresses off", rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR,
			&zero, sizeof(zero)));
	NEED(rdma_destroy_id(id));

	NEED(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP));
	NEED(rdma_bind_addr(id, device_address(0, &storage)));
	within("bound");
	set_all(id);
	say_result("reuse of addresses off", rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR,
			&zero, sizeof(zero)));
	NEED(rdma_destroy_id(id));

	listen_any_port(&listener);
	within("listening");
	set_all(listener.id);
	resolve(&end, listener.port);
	within("route resolved");
	set_all(end.id);
	equip(&end, &setup, ALL_ACCESS);
	within("with a queue pair");
	set_all(end.id);
	within(NULL);
	NEED(rdma_create_id(NULL, &id, NULL, RDMA_PS_TCP));
	say_result("IPv6 only, synchronous id", rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_AFONLY,
			&one, sizeof(one)));
}

/* --- rdma_notify ------------------------------------------------------------------------------- */

static void
notify(void)
{
	struct sockaddr_storage storage;
	struct setup setup = usual();
	struct pair pair = {0};
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id;

	NEED_POINTER(channel, rdma_create_event_channel());
	NEED(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP));
	say_result("new id", rdma_notify(id, IBV_EVENT_COMM_EST));
	NEED(rdma_bind_addr(id, device_address(0, &storage)));
	say_result("bound", rdma_notify(id, IBV_EVENT_COMM_EST));
	NEED(rdma_destroy_id(id));

	listen_any_port(&pair.listener);
	say_result("listening", rdma_notify(pair.listener.id, IBV_EVENT_COMM_EST));
	resolve(&pair.client, pair.listener.port);
	say_result("route resolved", rdma_notify(pair.client.id, IBV_EVENT_COMM_EST));
	memset(&pair.client, 0, sizeof(pair.client));

	client_start(&pair.client, pair.listener.port, &setup);
	say_result("client that waits", rdma_notify(pair.client.id, IBV_EVENT_COMM_EST));
	server_take(&pair.server, &pair.listener, &setup);
	say_result("server that was asked", rdma_notify(pair.server.id, IBV_EVENT_COMM_EST));
	server_accept(&pair.server, &setup);
	say("answer for the client", "%s", readable(pair.client.channel->fd, wait_ms) ? "waiting" : "none");
	say_no_event("server, after accept", pair.server.channel);
	say_result("client that was answered", rdma_notify(pair.client.id, IBV_EVENT_COMM_EST));
	say_result("server, another event", rdma_notify(pair.server.id, IBV_EVENT_QP_FATAL));
	say_result("server, unknown event", rdma_notify(pair.server.id, (enum ibv_event_type)77));
	say_result("server that has answered", rdma_notify(pair.server.id, IBV_EVENT_COMM_EST));
	say_event("server", pair.server.channel, NULL);
	say_result("server, once more", rdma_notify(pair.server.id, IBV_EVENT_COMM_EST));
	say_event("client", pair.client.channel, NULL);
	say_no_event("more for the server", pair.server.channel);
	say_result("client", rdma_notify(pair.client.id, IBV_EVENT_COMM_EST));
	say_result("client, another event", rdma_notify(pair.client.id, IBV_EVENT_QP_FATAL));
	NEED(post_recv(&pair.server, 1, 0, 8));
	NEED(post_send(&pair.client, 2, 0, 8));
	say_wc("receive", &pair.server, pair.server.cq);
	NEED(rdma_disconnect(pair.client.id));
	say_event("server at the end", pair.server.channel, NULL);
	say_result("client that has disconnected", rdma_notify(pair.client.id, IBV_EVENT_COMM_EST));
	say_result("server that was disconnected", rdma_notify(pair.server.id, IBV_EVENT_COMM_EST));
}

/* the server says that the client is there, and the client is not any more */
static void
notify_and_gone(void)
{
	struct setup setup = usual();
	struct pair pair = {0};

	listen_any_port(&pair.listener);
	client_start(&pair.client, pair.listener.port, &setup);
	server_take(&pair.server, &pair.listener, &setup);
	server_accept(&pair.server, &setup);
	say("answer for the client", "%s", readable(pair.client.channel->fd, wait_ms) ? "waiting" : "none");
	say_result("server", rdma_notify(pair.server.id, IBV_EVENT_COMM_EST));
	say_event("its event", pair.server.channel, NULL);
	rdma_destroy_qp(pair.client.id);
	NEED(rdma_destroy_id(pair.client.id));
	say_event("once the client is gone", pair.server.channel, NULL);
}

/* --- reads that may be under way --------------------------------------------------------------- */

struct depths {
	const char *name;
	bool given;
	uint8_t responder_resources, initiator_depth;
};

#define NONE {"none given", false, 0, 0}
#define MOST {"the most", true, RDMA_MAX_RESP_RES, RDMA_MAX_INIT_DEPTH}
#define GIVEN(resources, depth) {#resources " and " #depth, true, resources, depth}

/* what the client gives, and the server */
static const struct depths depths[][2] = {
	{NONE, NONE}, {NONE, GIVEN(1, 1)}, {NONE, GIVEN(3, 5)}, {NONE, GIVEN(0, 0)}, {NONE, MOST},
	{GIVEN(1, 1), NONE}, {GIVEN(1, 1), MOST}, {GIVEN(1, 1), GIVEN(4, 8)},
	{GIVEN(3, 5), NONE}, {GIVEN(3, 5), GIVEN(2, 1)},
	{GIVEN(0, 0), NONE}, {GIVEN(0, 0), GIVEN(1, 1)},
	{MOST, NONE}, {MOST, MOST},
	{NONE, GIVEN(129, 1)}, {NONE, GIVEN(1, 129)}, {GIVEN(129, 1), NONE}, {GIVEN(1, 129), NONE},
};

static struct rdma_conn_param *
param_of(const struct depths *given, struct rdma_conn_param *param)
{
	struct setup setup = usual();

	*param = conn_param(&setup);
	param->responder_resources = given->responder_resources;
	param->initiator_depth = given->initiator_depth;

	return given->given ? param : NULL;
}

static void
say_depths(const char *step, struct ibv_qp *qp)
{
	struct ibv_qp_attr attr;
	struct ibv_qp_init_attr init;

	NEED(ibv_query_qp(qp, &attr, IBV_QP_MAX_QP_RD_ATOMIC | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_RETRY_CNT |
			IBV_QP_RNR_RETRY | IBV_QP_ACCESS_FLAGS, &init));
	say(step, "%u to ask for, %u to answer, retry count %u, RNR retry count %u, access %#x",
			attr.max_rd_atomic, attr.max_dest_rd_atomic, attr.retry_cnt, attr.rnr_retry,
			attr.qp_access_flags);
}

static void
try_depths(struct listener *listener, const struct depths given[2])
{
	struct setup setup = usual();
	struct end client = {0}, server = {0};
	struct rdma_conn_param param;
	struct cm_event event;

	within("client %s, server %s", given[0].name, given[1].name);
	resolve(&client, listener->port);
	equip(&client, &setup, ALL_ACCESS);
	say_depths("client before", client.qp);
	if (say_result("connect", rdma_connect(client.id, param_of(&given[0], &param)))) {
		close_end(&client);
		return;
	}
	need_event(listener->channel, RDMA_CM_EVENT_CONNECT_REQUEST, &event);
	say("in the request", "%u and %u, retry count %u, RNR retry count %u, flow control %u",
			event.param.responder_resources, event.param.initiator_depth,
			event.param.retry_count, event.param.rnr_retry_count, event.param.flow_control);
	server.id = event.id;
	NEED_POINTER(server.channel, rdma_create_event_channel());
	NEED(rdma_migrate_id(server.id, server.channel));
	equip(&server, &setup, ALL_ACCESS);
	say_depths("server before", server.qp);
	if (say_result("accept", rdma_accept(server.id, param_of(&given[1], &param)))) {
		say_no_event("client's event", client.channel);
		say_state("server's state", server.qp);
	} else {
		need_event(client.channel, RDMA_CM_EVENT_ESTABLISHED, &event);
		say("in the reply", "%u and %u", event.param.responder_resources, event.param.initiator_depth);
		established(&server);
		say_depths("client", client.qp);
		say_depths("server", server.qp);
		rdma_disconnect(client.id);
		rdma_disconnect(server.id);
	}
	close_end(&client);
	close_end(&server);
}

static void
read_depths(void)
{
	struct listener listener = {0};

	listen_any_port(&listener);
	for (size_t i = 0; i < COUNT_OF(depths); i++)
		try_depths(&listener, depths[i]);
}

/* the ids of a program that takes what there is: connecting and reading without any parameters */
static void
read_without_parameters(void)
{
	struct setup setup = usual();
	struct pair pair = {0};

	listen_any_port(&pair.listener);
	resolve(&pair.client, pair.listener.port);
	equip(&pair.client, &setup, ALL_ACCESS);
	NEED(rdma_connect(pair.client.id, NULL));
	server_take(&pair.server, &pair.listener, &setup);
	NEED(rdma_accept(pair.server.id, NULL));
	established(&pair.client);
	established(&pair.server);
	NEED(post_op(&pair.client, IBV_WR_RDMA_READ, 1, 0, 8, remote_of(&pair.server, 0)));
	say_wc("read of the client", &pair.client, pair.client.cq);
	NEED(post_op(&pair.server, IBV_WR_RDMA_READ, 2, 0, 8, remote_of(&pair.client, 0)));
	say_wc("read of the server", &pair.server, pair.server.cq);
}

/* the client answers no reads, and the server may ask for some */
static void
read_that_is_not_answered(void)
{
	struct setup setup = usual();
	struct rdma_conn_param param = conn_param(&setup);
	struct pair pair = {0};

	param.responder_resources = 1;
	param.initiator_depth = 0;
	listen_any_port(&pair.listener);
	resolve(&pair.client, pair.listener.port);
	equip(&pair.client, &setup, ALL_ACCESS);
	NEED(rdma_connect(pair.client.id, &param));
	server_take(&pair.server, &pair.listener, &setup);
	/* as the client has it, the server answers none */
	param.initiator_depth = 1;
	NEED(rdma_accept(pair.server.id, &param));
	established(&pair.client);
	established(&pair.server);
	NEED(post_op(&pair.server, IBV_WR_RDMA_READ, 1, 0, 8, remote_of(&pair.client, 0)));
	say_wc("read of the server", &pair.server, pair.server.cq);
	NEED(post_op(&pair.client, IBV_WR_RDMA_READ, 2, 0, 8, remote_of(&pair.server, 0)));
	say_wc("read of the client", &pair.client, pair.client.cq);
	say_state("state of the client", pair.client.qp);
	say_state("state of the server", pair.server.qp);
	say_wcs("completions of the server", &pair.server, pair.server.cq, 0);
}

/* neither side may ask for any read, or answer one */
static void
read_with_depth_0(void)
{
	struct setup setup = usual();
	struct rdma_conn_param param = conn_param(&setup);
	struct pair pair = {0};

	param.responder_resources = 0;
	param.initiator_depth = 0;
	listen_any_port(&pair.listener);
	resolve(&pair.client, pair.listener.port);
	equip(&pair.client, &setup, ALL_ACCESS);
	NEED(rdma_connect(pair.client.id, &param));
	server_take(&pair.server, &pair.listener, &setup);
	NEED(rdma_accept(pair.server.id, &param));
	established(&pair.client);
	established(&pair.server);
	say_result("post a read", post_op(&pair.client, IBV_WR_RDMA_READ, 1, 0, 8, remote_of(&pair.server, 0)));
	say_no_wc("its completion", &pair.client, pair.client.cq);
	NEED(post_op(&pair.server, IBV_WR_RDMA_WRITE, 2, 0, 8, remote_of(&pair.client, 0)));
	say_wc("write of the server", &pair.server, pair.server.cq);
}

const struct test_case option_cases[] = {
	{.name = "set-option", .run = set_option},
	{.name = "notify", .run = notify},
	{.name = "notify-and-gone", .run = notify_and_gone},
	{.name = "read-depths", .run = read_depths},
	{.name = "read-without-parameters", .run = read_without_parameters},
	{.name = "read-that-is-not-answered", .run = read_that_is_not_answered},
	{.name = "read-with-depth-0", .run = read_with_depth_0},
	{0},
};
