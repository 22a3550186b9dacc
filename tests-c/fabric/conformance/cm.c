/* SPDX-License-Identifier: BSD-3-Clause */
/* Connection manager: connecting, private data. */
#include <arpa/inet.h>
#include <errno.h>

#include "conformance.h"

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
				IBV_QP_DEST_QPN | IBV_QP_CAP | IBV_QP_ACCESS_FLAGS | IBV_QP_PATH_MTU |
				IBV_QP_MAX_QP_RD_ATOMIC | IBV_QP_MAX_DEST_RD_ATOMIC, &init));
		say("retry count", "%u", attr.retry_cnt);
		say("RNR retry count", "%u", attr.rnr_retry);
		say("its peer", "%s", attr.dest_qp_num == ends[!i]->qp->qp_num ? "the other" : "another");
		say("reads to ask for", "%u", attr.max_rd_atomic);
		say("reads to answer", "%u", attr.max_dest_rd_atomic);
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

const struct test_case cm_cases[] = {
	{.name = "connect", .run = connect_steps},
	{.name = "connect-max-resources", .run = connect_max_resources},
	{.name = "connect-qp-attributes", .run = connect_qp_attributes},
	{.name = "private-data-request", .run = private_data_request},
	{.name = "private-data-reply", .run = private_data_reply},
	{.name = "private-data-reject", .run = private_data_reject},
	{0},
};
