/* SPDX-License-Identifier: BSD-3-Clause */
/* Endpoints (rdma_create_ep). */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#include <rdma/rdma_verbs.h>

#include "conformance.h"

static struct rdma_addrinfo *
look_up(uint16_t port, int flags)
{
	struct rdma_addrinfo hints = {.ai_flags = flags | RAI_NUMERICHOST, .ai_port_space = RDMA_PS_TCP};
	struct rdma_addrinfo *info;
	char text[8];

	snprintf(text, sizeof(text), "%u", port);
	NEED(rdma_getaddrinfo(address, text, &hints, &info));

	return info;
}

static struct ibv_qp_init_attr
endpoint_attr(void)
{
	/* of what kind it is, the address information says */
	return (struct ibv_qp_init_attr){
		.cap = {.max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 1, .max_recv_sge = 1},
		.sq_sig_all = 1,
	};
}

static void
endpoint_client(int fd)
{
	struct ibv_qp_init_attr attr = endpoint_attr();
	struct rdma_addrinfo *info;
	struct rdma_cm_id *id;
	uint16_t port;
	char byte;

	hear(fd, &port, sizeof(port));
	info = look_up(port, 0);
	within("client");
	say_result("endpoint", rdma_create_ep(&id, info, NULL, &attr));
	rdma_freeaddrinfo(info);
	say("its queue pair", "%s", id->qp ? "made" : "not there");
	say("CQs of its own", "%s", id->send_cq && id->recv_cq && id->send_cq != id->recv_cq ? "two" : "not two");
	say_state("state", id->qp);
	say_result("connect", rdma_connect(id, NULL));
	say_state("state then", id->qp);
	hear(fd, &byte, 1);
	say_result("disconnect", rdma_disconnect(id));
	say("event kept", "%s", id->event ? cm_event_name(id->event->event) : "none");
	rdma_destroy_ep(id);
	say("endpoint then", "destroyed");
}

static void
endpoints(void)
{
	struct process process = start_process(endpoint_client);
	struct rdma_addrinfo *info = look_up(0, RAI_PASSIVE);
	struct ibv_qp_init_attr attr = endpoint_attr();
	struct rdma_cm_id *listener, *id;
	uint16_t port;
	char byte = 0;

	say_result("listening endpoint", rdma_create_ep(&listener, info, NULL, &attr));
	rdma_freeaddrinfo(info);
	say("its queue pair", "%s", listener->qp ? "made" : "not there");
	say_result("listen", rdma_listen(listener, 1));
	port = ntohs(rdma_get_src_port(listener));
	tell(process.fd, &port, sizeof(port));
	say_result("request", rdma_get_request(listener, &id));
	within("server");
	say("queue pair", "%s", id->qp ? "made" : "not there");
	say("event kept", "%s", id->event ? cm_event_name(id->event->event) : "none");
	say_result("accept", rdma_accept(id, NULL));
	say("event kept then", "%s", id->event ? cm_event_name(id->event->event) : "none");
	tell(process.fd, &byte, 1);
	/* each waits for the other one's */
	say_result("disconnect", rdma_disconnect(id));
	join_process(&process);
	rdma_destroy_ep(id);
	rdma_destroy_ep(listener);
	say("endpoints", "destroyed");
}

/* what was made on an endpoint goes with it */
static void
endpoint_with_srq(void)
{
	struct ibv_srq_init_attr srq_attr = {.attr = {.max_wr = 4, .max_sge = 1}};
	struct ibv_qp_init_attr attr = endpoint_attr();
	struct rdma_addrinfo *info;
	struct listener listener;
	struct rdma_cm_id *id;
	struct ibv_pd *pd;

	listen_any_port(&listener);
	info = look_up(listener.port, 0);
	say_result("endpoint", rdma_create_ep(&id, info, NULL, NULL));
	rdma_freeaddrinfo(info);
	NEED_POINTER(pd, ibv_alloc_pd(id->verbs));
	say_result("SRQ", rdma_create_srq(id, pd, &srq_attr));
	attr.qp_type = IBV_QPT_RC;
	say_result("queue pair", rdma_create_qp(id, pd, &attr));
	say("SRQ of the queue pair", "%s", id->qp && id->qp->srq == id->srq ? "the endpoint's" : "another");
	rdma_destroy_ep(id);
	say_result("protection domain destroyed", ibv_dealloc_pd(pd));
}

const struct test_case endpoint_cases[] = {
	{.name = "endpoints", .run = endpoints},
	{.name = "endpoint-with-srq", .run = endpoint_with_srq},
	{0},
};
