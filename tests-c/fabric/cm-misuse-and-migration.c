/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cm-misuse-and-migration: what only softrdma is asked for, since a device's libraries crash, or do it otherwise.
 * Calls without what they need are refused; a connect request goes along with a listener that moves to another
 * channel, and so does what belongs to it later.
 *
 *   softrdma run -- cm-misuse-and-migration
 */
#include <errno.h>
#include <poll.h>

#include <rdma/rdma_verbs.h>

#include "two-processes.h"

#define REFUSED(call, error) do { \
	errno = 0; \
	CHECK((call) == -1 && errno == (error)); \
} while (0)

static void
without_an_id(void)
{
	struct rdma_addrinfo info = {.ai_port_space = RDMA_PS_UDP};
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT};
	struct rdma_cm_id *id;
	int mask;

	rdma_destroy_ep(NULL);
	rdma_destroy_qp(NULL);
	rdma_destroy_srq(NULL);
	rdma_destroy_event_channel(NULL);
	REFUSED(rdma_destroy_id(NULL), EINVAL);
	REFUSED(rdma_create_ep(&id, NULL, NULL, NULL), EINVAL);
	REFUSED(rdma_create_ep(NULL, &info, NULL, NULL), EINVAL);
	REFUSED(rdma_create_ep(&id, &info, NULL, NULL), EOPNOTSUPP);
	REFUSED(rdma_create_srq(NULL, NULL, NULL), EINVAL);
	REFUSED(rdma_get_request(NULL, &id), EINVAL);
	REFUSED(rdma_init_qp_attr(NULL, &attr, &mask), EINVAL);
}

/* a queue pair that nobody has asked to be connected */
static void
without_a_connection(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 1);
	struct rdma_conn_param param = conn_param(NULL, 0);
	struct ibv_qp_init_attr init = {
		.cap = {.max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 1, .max_recv_sge = 1},
		.qp_type = IBV_QPT_RC,
	};
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT};
	struct sockaddr_storage there;
	struct rdma_cm_event *event;
	struct rdma_cm_id *id, *request;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	int mask = 0;

	parse_address(&there, address, ntohs(rdma_get_src_port(listener)));
	CHECK(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) == 0);
	REFUSED(rdma_init_qp_attr(id, &attr, &mask), EINVAL);
	CHECK(rdma_resolve_addr(id, NULL, (struct sockaddr *)&there, wait_ms()) == 0);
	CHECK((event = next_event(channel, wait_ms())) && rdma_ack_cm_event(event) == 0);
	CHECK(rdma_resolve_route(id, wait_ms()) == 0);
	CHECK((event = next_event(channel, wait_ms())) && rdma_ack_cm_event(event) == 0);
	CHECK((pd = ibv_alloc_pd(id->verbs)));
	CHECK((cq = ibv_create_cq(id->verbs, 8, NULL, NULL, 0)));
	init.send_cq = init.recv_cq = cq;
	CHECK((qp = ibv_create_qp(pd, &init)));

	CHECK(rdma_init_qp_attr(id, &attr, &mask) == 0 && mask & IBV_QP_PORT);
	CHECK(ibv_modify_qp(qp, &attr, mask) == 0);
	/* there is no peer yet */
	attr.qp_state = IBV_QPS_RTR;
	REFUSED(rdma_init_qp_attr(id, &attr, &mask), EINVAL);
	attr.dest_qp_num = 1000;
	attr.path_mtu = IBV_MTU_1024;
	attr.ah_attr.port_num = 1;
	CHECK(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
			IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER) == EOPNOTSUPP);
	CHECK(qp->state == IBV_QPS_INIT);
	attr.qp_state = IBV_QPS_SQD;
	REFUSED(rdma_init_qp_attr(id, &attr, &mask), EINVAL);

	/* one that is not ready to receive cannot be connected, but may be afterwards */
	CHECK(rdma_connect(id, &param) == 0);
	CHECK((event = next_event(channel, wait_ms())) && event->event == RDMA_CM_EVENT_CONNECT_REQUEST);
	request = event->id;
	CHECK(rdma_ack_cm_event(event) == 0);
	param.qp_num = qp->qp_num;
	REFUSED(rdma_accept(request, &param), EINVAL);
	attr.qp_state = IBV_QPS_RTR;
	CHECK(rdma_init_qp_attr(request, &attr, &mask) == 0 && mask & IBV_QP_DEST_QPN);
	CHECK(ibv_modify_qp(qp, &attr, mask) == 0);
	attr.qp_state = IBV_QPS_RTS;
	CHECK(rdma_init_qp_attr(request, &attr, &mask) == 0 && ibv_modify_qp(qp, &attr, mask) == 0);
	/* a device can drain the send queue */
	attr.qp_state = IBV_QPS_SQD;
	CHECK(ibv_modify_qp(qp, &attr, IBV_QP_STATE) == EOPNOTSUPP && qp->state == IBV_QPS_RTS);
	CHECK(rdma_accept(request, &param) == 0);
	/* the client has no queue pair on its id: it says itself that it is connected */
	CHECK((event = next_event(channel, wait_ms())) && event->event == RDMA_CM_EVENT_CONNECT_RESPONSE);
	CHECK(event->param.conn.qp_num == qp->qp_num && rdma_ack_cm_event(event) == 0);
	CHECK(rdma_establish(id) == 0);
	REFUSED(rdma_establish(id), EINVAL);
	CHECK((event = next_event(channel, wait_ms())) && event->event == RDMA_CM_EVENT_ESTABLISHED);
	CHECK(event->id == request && rdma_ack_cm_event(event) == 0);

	CHECK(rdma_destroy_id(request) == 0);
	CHECK(ibv_destroy_qp(qp) == 0);
	CHECK(ibv_destroy_cq(cq) == 0);
	CHECK(ibv_dealloc_pd(pd) == 0);
	CHECK(rdma_destroy_id(id) == 0);
	CHECK(rdma_destroy_id(listener) == 0);
	rdma_destroy_event_channel(channel);
}

static void
listener_that_moves(const char *address)
{
	struct rdma_event_channel *old = open_channel(), *new = open_channel(), *own = open_channel();
	struct rdma_cm_id *listener = listen_at(old, address, 0, 1);
	struct rdma_conn_param param = conn_param(NULL, 0);
	struct pollfd waiting = {.fd = old->fd, .events = POLLIN};
	struct link client, server;
	struct sockaddr_storage there;
	struct rdma_cm_id *id;

	parse_address(&there, address, ntohs(rdma_get_src_port(listener)));
	CHECK(rdma_create_id(own, &id, NULL, RDMA_PS_TCP) == 0);
	CHECK(rdma_resolve_addr(id, NULL, (struct sockaddr *)&there, wait_ms()) == 0);
	await_event(own, RDMA_CM_EVENT_ADDR_RESOLVED);
	CHECK(rdma_resolve_route(id, wait_ms()) == 0);
	await_event(own, RDMA_CM_EVENT_ROUTE_RESOLVED);
	link_open(&client, id, 64, 4);
	CHECK(rdma_connect(id, &param) == 0);
	CHECK(poll(&waiting, 1, wait_ms()) == 1);
	CHECK(rdma_migrate_id(listener, new) == 0);
	CHECK(poll(&waiting, 1, 0) == 0);
	rdma_destroy_event_channel(old);

	id = await_event(new, RDMA_CM_EVENT_CONNECT_REQUEST);
	CHECK(id->channel == new);
	link_open(&server, id, 64, 4);
	accept_link(&server);
	await_event(own, RDMA_CM_EVENT_ESTABLISHED);
	CHECK(await_event(new, RDMA_CM_EVENT_ESTABLISHED) == id);
	CHECK(rdma_disconnect(client.id) == 0);
	CHECK(await_event(new, RDMA_CM_EVENT_DISCONNECTED) == id);
	link_close(&client);
	link_close(&server);
	CHECK(rdma_destroy_id(listener) == 0);
	release_pd();
	rdma_destroy_event_channel(own);
	rdma_destroy_event_channel(new);
}

int
main(void)
{
	without_an_id();
	without_a_connection("127.0.0.1");
	listener_that_moves("127.0.0.1");
	printf("as it should be\n");

	return 0;
}
