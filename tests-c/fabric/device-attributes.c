/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device-attributes: what the device, its queue pairs and its regions report and take. Both ends of each
 * connection are in this process.
 *
 *   softrdma run -- device-attributes [ADDRESS]
 *
 * ADDRESS is 127.0.0.1 unless given.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "two-processes.h"

#define SIZE ((size_t)4096)
#define CLIENT_TIMEOUT 14
#define SERVER_TIMEOUT 12
#define TYPE_OF_SERVICE 0x28

struct both {
	struct rdma_event_channel *channel;
	struct rdma_cm_id *listener;
	struct link client, server;
};

/* the next event, which must be this one; its id */
static struct rdma_cm_id *
await(struct both *both, enum rdma_cm_event_type wanted, int status)
{
	struct rdma_cm_event *event = next_event(both->channel, wait_ms());
	struct rdma_cm_id *id;

	if (!event || event->event != wanted || event->status != status)
		die("%s (status %d) instead of %s", event_name(event), event ? event->status : 0,
				rdma_event_str(wanted));
	id = event->id;
	CHECK(rdma_ack_cm_event(event) == 0);

	return id;
}

/* a client with its queue pair that has asked, and the server's id */
static struct rdma_cm_id *
request(struct both *both, const char *address)
{
	uint8_t timeout = CLIENT_TIMEOUT, service = TYPE_OF_SERVICE;
	struct rdma_conn_param param = conn_param(NULL, 0);
	struct sockaddr_storage there;
	struct rdma_cm_id *id;
	struct ibv_ece ece;

	both->channel = open_channel();
	both->listener = listen_at(both->channel, address, 0, 2);
	parse_address(&there, address, ntohs(rdma_get_src_port(both->listener)));
	CHECK(rdma_create_id(both->channel, &id, NULL, RDMA_PS_TCP) == 0);
	CHECK(rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, 1) == 0);
	CHECK(rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, &service, 1) == 0);
	timeout = 32;
	CHECK(rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, 1) == -1);
	CHECK(rdma_resolve_addr(id, NULL, (struct sockaddr *)&there, wait_ms()) == 0);
	await(both, RDMA_CM_EVENT_ADDR_RESOLVED, 0);
	CHECK(rdma_resolve_route(id, wait_ms()) == 0);
	await(both, RDMA_CM_EVENT_ROUTE_RESOLVED, 0);
	memset(&ece, 0, sizeof(ece));
	CHECK(rdma_set_local_ece(id, &ece) == 0);
	link_open(&both->client, id, SIZE, 4);
	CHECK(rdma_connect(id, &param) == 0);

	return await(both, RDMA_CM_EVENT_CONNECT_REQUEST, 0);
}

static void
finish_both(struct both *both)
{
	link_close(&both->client);
	CHECK(rdma_destroy_id(both->listener) == 0);
	rdma_destroy_event_channel(both->channel);
}

/* an IPv4 address as it is in a GID, or an IPv6 address */
static void
is_gid_of(const union ibv_gid *gid, const struct sockaddr *address)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (address->sa_family == AF_INET) {
		CHECK(memcmp(gid->raw, mapped, sizeof(mapped)) == 0);
		CHECK(memcmp(&gid->raw[12], &((const struct sockaddr_in *)address)->sin_addr, 4) == 0);
	} else {
		CHECK(memcmp(gid->raw, &((const struct sockaddr_in6 *)address)->sin6_addr, 16) == 0);
	}
}

static void
has_path(struct rdma_cm_id *id, unsigned timeout, unsigned traffic_class)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	CHECK(ibv_query_qp(id->qp, &attr, IBV_QP_AV | IBV_QP_TIMEOUT, &init) == 0);
	CHECK(attr.timeout == timeout);
	CHECK(attr.ah_attr.is_global && attr.ah_attr.port_num == 1);
	CHECK(attr.ah_attr.grh.hop_limit > 1);
	CHECK(attr.ah_attr.grh.traffic_class == traffic_class);
	is_gid_of(&attr.ah_attr.grh.dgid, rdma_get_peer_addr(id));
}

/* what a program is told that moves its queue pair itself */
static void
is_told(struct rdma_cm_id *id)
{
	uint8_t timeout = SERVER_TIMEOUT;
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTR};
	int mask;

	CHECK(rdma_init_qp_attr(id, &attr, &mask) == 0);
	CHECK(mask & IBV_QP_AV && attr.ah_attr.is_global);
	is_gid_of(&attr.ah_attr.grh.dgid, rdma_get_peer_addr(id));
	attr.qp_state = IBV_QPS_RTS;
	CHECK(rdma_init_qp_attr(id, &attr, &mask) == 0);
	CHECK(mask & IBV_QP_TIMEOUT && attr.timeout >= 14 && attr.timeout < 32);
	CHECK(rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, 1) == 0);
	CHECK(rdma_init_qp_attr(id, &attr, &mask) == 0);
	CHECK(attr.timeout == SERVER_TIMEOUT);
}

/* the next completion of the client */
static enum ibv_wc_status
next_status(struct link *link)
{
	struct pollfd readable = {.fd = link->channel->fd, .events = POLLIN};
	struct ibv_wc wc;

	while (drain(link, &wc) == 0)
		CHECK(poll(&readable, 1, wait_ms()) == 1);

	return wc.status;
}

static void
async_event(struct link *link, enum ibv_event_type wanted)
{
	struct pollfd readable = {.fd = link->id->verbs->async_fd, .events = POLLIN};
	struct ibv_async_event event;

	CHECK(poll(&readable, 1, wait_ms()) == 1);
	CHECK(ibv_get_async_event(link->id->verbs, &event) == 0);
	if (event.event_type != wanted)
		die("%s instead of %s", ibv_event_type_str(event.event_type), ibv_event_type_str(wanted));
	CHECK(event.element.qp == link->id->qp);
	CHECK(state_of(link) == IBV_QPS_ERR);
	ibv_ack_async_event(&event);
	CHECK(poll(&readable, 1, 0) == 0);
}

/* a write to a region that has left the domain of the queue pair, and one that the queue pair does not allow */
static void
with_a_connection(const char *address, bool allowed)
{
	struct both both;
	struct link *client = &both.client, *server = &both.server;
	struct rdma_cm_id *id = request(&both, address);
	struct ibv_pd *pd, *other;
	struct ibv_ece ece = {.vendor_id = 1, .options = 2};

	CHECK(rdma_get_remote_ece(id, &ece) == 0 && !ece.vendor_id && !ece.options && !ece.comp_mask);
	is_told(id);
	link_open(server, id, SIZE, 4);
	accept_link(server);
	await(&both, RDMA_CM_EVENT_ESTABLISHED, 0);
	await(&both, RDMA_CM_EVENT_ESTABLISHED, 0);
	has_path(client->id, CLIENT_TIMEOUT, TYPE_OF_SERVICE);
	has_path(id, SERVER_TIMEOUT, 0);
	client->remote = (struct remote){.address = (uintptr_t)server->memory, .key = server->mr->rkey};

	pd = pd_of(id->verbs);
	other = ibv_alloc_pd(id->verbs);
	CHECK(other);
	CHECK(ibv_rereg_mr(server->mr, IBV_REREG_MR_CHANGE_PD, other, NULL, 0, 0) == 0);
	CHECK(server->mr->pd == other);
	CHECK(ibv_dealloc_pd(other) == EBUSY);
	CHECK(ibv_rereg_mr(server->mr, IBV_REREG_MR_CHANGE_PD, NULL, NULL, 0, 0) == IBV_REREG_MR_ERR_INPUT);
	CHECK(ibv_rereg_mr(server->mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0, 1 << 19) ==
			IBV_REREG_MR_ERR_CMD);
	CHECK(ibv_rereg_mr(server->mr, IBV_REREG_MR_CHANGE_PD, pd, NULL, 0, 0) == 0);
	CHECK(server->mr->pd == pd);
	post(client, IBV_WR_RDMA_WRITE, 1, 0, 8, 0);
	complete(client);

	if (allowed) {
		CHECK(ibv_rereg_mr(server->mr, IBV_REREG_MR_CHANGE_PD, other, NULL, 0, 0) == 0);
		post(client, IBV_WR_RDMA_WRITE, 2, 0, 8, 0);
		CHECK(next_status(client) == IBV_WC_REM_ACCESS_ERR);
		async_event(server, IBV_EVENT_QP_ACCESS_ERR);
	} else {
		struct ibv_qp_attr attr = {.qp_access_flags = IBV_ACCESS_REMOTE_READ};

		CHECK(ibv_modify_qp(id->qp, &attr, IBV_QP_ACCESS_FLAGS) == 0);
		post(client, IBV_WR_RDMA_WRITE, 2, 0, 8, 0);
		CHECK(next_status(client) == IBV_WC_REM_INV_REQ_ERR);
		async_event(server, IBV_EVENT_QP_REQ_ERR);
	}
	link_close(server);
	CHECK(ibv_dealloc_pd(other) == 0);
	finish_both(&both);
}

static void
rejected_for_its_options(const char *address)
{
	struct both both;
	struct rdma_cm_id *id = request(&both, address);

	CHECK(rdma_reject_ece(id, "no", 2) == 0);
	CHECK(rdma_destroy_id(id) == 0);
	/* vendor option not supported */
	await(&both, RDMA_CM_EVENT_REJECTED, 35);
	finish_both(&both);
}

static void
extended_queue_pairs(struct ibv_context *context, struct ibv_pd *pd)
{
	struct ibv_cq *cq = ibv_create_cq(context, 4, NULL, NULL, 0);
	struct ibv_qp_init_attr_ex init = {
		.send_cq = cq,
		.recv_cq = cq,
		.cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1},
		.qp_type = IBV_QPT_RC,
		.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_CREATE_FLAGS,
		.pd = pd,
	};
	struct ibv_qp *qp;

	CHECK(cq);
	qp = ibv_create_qp_ex(context, &init);
	CHECK(qp && ibv_destroy_qp(qp) == 0);
	init.create_flags = IBV_QP_CREATE_BLOCK_SELF_MCAST_LB;
	CHECK(!ibv_create_qp_ex(context, &init) && errno == EOPNOTSUPP);
	CHECK(ibv_destroy_cq(cq) == 0);
}

/* asking for what --caps would add is refused with a line that says so */
static void
on_demand(struct ibv_pd *pd)
{
	char memory[64], said[512] = "";
	int file = memfd_create("stderr", MFD_CLOEXEC);
	int before = dup(STDERR_FILENO);

	CHECK(file >= 0 && before >= 0);
	CHECK(dup2(file, STDERR_FILENO) == STDERR_FILENO);
	errno = 0;
	CHECK(!ibv_reg_mr(pd, memory, sizeof(memory), IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_ON_DEMAND) &&
			errno == EINVAL);
	CHECK(dup2(before, STDERR_FILENO) == STDERR_FILENO);
	CHECK(pread(file, said, sizeof(said) - 1, 0) > 0);
	CHECK(strstr(said, "IBV_ACCESS_ON_DEMAND") && strstr(said, "--caps odp"));
	close(file);
	close(before);
}

static void
device(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *context = list && list[0] ? ibv_open_device(list[0]) : NULL;
	struct ibv_gid_entry entries[2];
	struct ibv_device_attr attr;
	struct ibv_pd *pd;

	CHECK(context);
	ibv_free_device_list(list);
	CHECK(ibv_query_device(context, &attr) == 0 && attr.vendor_id != 0);
	CHECK(ibv_query_gid_table(context, entries, 0, 0) == -EINVAL);
	CHECK(ibv_query_gid_table(context, entries, 2, 0) == 1);
	pd = ibv_alloc_pd(context);
	CHECK(pd);
	extended_queue_pairs(context, pd);
	on_demand(pd);
	CHECK(ibv_dealloc_pd(pd) == 0);
	CHECK(ibv_close_device(context) == 0);
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";

	skip_without(address);
	device();
	with_a_connection(address, true);
	with_a_connection(address, false);
	rejected_for_its_options(address);
	release_pd();
	return 0;
}
