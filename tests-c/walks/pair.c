/* SPDX-License-Identifier: BSD-3-Clause */
/* Both ends of a connection: establishing, using and closing it. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "walk.h"

#define ALL_USAGES (RPMA_MR_USAGE_READ_SRC | RPMA_MR_USAGE_READ_DST | RPMA_MR_USAGE_WRITE_SRC | \
	RPMA_MR_USAGE_WRITE_DST | RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY | \
	RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT | RPMA_MR_USAGE_SEND | RPMA_MR_USAGE_RECV)

#define DESCRIPTOR_SIZE 21

bool
open_side(struct side *side, const char *who, enum rpma_util_ibv_context_type type)
{
	struct ibv_context *ctx = NULL;

	memset(side, 0, sizeof(*side));
	side->who = who;
	if (STEP(who, rpma_utils_get_ibv_context(own_addr(), type, &ctx)))
		return false;
	if (STEP(who, rpma_peer_new(ctx, &side->peer)))
		return false;
	side->mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (side->mem == MAP_FAILED) {
		side->mem = NULL;
		return false;
	}

	return STEP(who, rpma_mr_reg(side->peer, side->mem, MEM_SIZE, ALL_USAGES, &side->mr)) == 0;
}

void
close_side(struct side *side)
{
	if (side->who == NULL)
		return;
	DELETE(side->who, rpma_mr_remote_delete, side->remote);
	DELETE(side->who, rpma_mr_dereg, side->mr);
	DELETE(side->who, rpma_peer_delete, side->peer);
	if (side->mem)
		munmap(side->mem, MEM_SIZE);
	side->mem = NULL;
}

/* descriptors, which a program would send to its peer */
static bool
know_memory(struct side *side, const struct side *of)
{
	unsigned char desc[DESCRIPTOR_SIZE];
	size_t size = 0;

	if (STEP(of->who, rpma_mr_get_descriptor_size(of->mr, &size)))
		return false;
	say(of->who, "%zu", size);
	if (size > sizeof(desc) || STEP(of->who, rpma_mr_get_descriptor(of->mr, desc)))
		return false;

	return STEP(side->who, rpma_mr_remote_from_descriptor(desc, size, &side->remote)) == 0;
}

bool
pair_prepare(struct pair *pair)
{
	memset(pair, 0, sizeof(*pair));

	return open_side(&pair->server, "server", RPMA_UTIL_IBV_CONTEXT_LOCAL) &&
		open_side(&pair->client, "client", RPMA_UTIL_IBV_CONTEXT_REMOTE) &&
		know_memory(&pair->server, &pair->client) &&
		know_memory(&pair->client, &pair->server) &&
		STEP("server", rpma_ep_listen(pair->server.peer, own_addr(), own_port(),
				&pair->ep)) == 0;
}

static int
connect_request(struct side *side, struct rpma_conn_req *req, const char *text)
{
	struct rpma_conn_private_data data = {.ptr = (void *)(uintptr_t)text};

	if (text)
		data.len = (uint8_t)(strlen(text) + 1);

	return STEP(side->who, rpma_conn_req_connect(&req, text ? &data : NULL, &side->conn));
}

static void
say_private_data(const char *who, const struct rpma_conn_private_data *data)
{
	say(who, "%u bytes: %.*s", data->len, data->len, data->ptr ? (char *)data->ptr : "");
}

bool
pair_request(struct pair *pair, const struct plan *plan)
{
	struct side *client = &pair->client;
	struct rpma_conn_req *req = NULL;

	if (STEP("client", rpma_conn_req_new(client->peer, own_addr(), own_port(), plan->client_cfg,
			&req)))
		return false;

	return connect_request(client, req, plan->request_data) == 0;
}

static bool
accept_request(struct pair *pair, const struct plan *plan)
{
	struct side *server = &pair->server;
	struct rpma_conn_req *req = NULL;
	struct rpma_conn_private_data data;
	int fd;

	if (STEP("server", rpma_ep_get_fd(pair->ep, &fd)) || !readable("server", fd))
		return false;
	if (STEP("server", rpma_ep_next_conn_req(pair->ep, plan->server_cfg, &req)))
		return false;
	if (plan->request_data) {
		if (STEP("server", rpma_conn_req_get_private_data(req, &data)) == 0)
			say_private_data("server", &data);
	}
	if (plan->early_recv)
		STEP("server", rpma_conn_req_recv(req, server->mr, 0, 64, (void *)1));

	return connect_request(server, req, plan->reply_data) == 0;
}

enum rpma_conn_event
next_event(struct side *side)
{
	enum rpma_conn_event event = RPMA_CONN_UNDEFINED;
	int fd;

	if (STEP(side->who, rpma_conn_get_event_fd(side->conn, &fd)) || !readable(side->who, fd))
		return event;
	if (STEP(side->who, rpma_conn_next_event(side->conn, &event)) == 0)
		say(side->who, "%s", rpma_utils_conn_event_2str(event));

	return event;
}

static void
get_queues(struct side *side)
{
	STEP(side->who, rpma_conn_get_cq(side->conn, &side->cq));
	if (STEP(side->who, rpma_conn_get_rcq(side->conn, &side->rcq)) == 0)
		say(side->who, "%s RCQ", side->rcq ? "an" : "no");
}

bool
pair_answer(struct pair *pair, const struct plan *plan)
{
	struct rpma_conn_private_data data;
	const bool accepted = accept_request(pair, plan);
	const bool client_up = next_event(&pair->client) == RPMA_CONN_ESTABLISHED;

	if (!accepted || !client_up)
		return false;
	if (plan->reply_data && STEP("client",
			rpma_conn_get_private_data(pair->client.conn, &data)) == 0)
		say_private_data("client", &data);
	if (next_event(&pair->server) != RPMA_CONN_ESTABLISHED)
		return false;
	pair->up = true;
	get_queues(&pair->client);
	get_queues(&pair->server);

	return pair->client.cq && pair->server.cq;
}

void
pair_disconnect(struct pair *pair)
{
	if (pair->client.conn)
		STEP("client", rpma_conn_disconnect(pair->client.conn));
	if (!pair->up)
		return;
	if (next_event(&pair->server) == RPMA_CONN_CLOSED)
		STEP("server", rpma_conn_disconnect(pair->server.conn));
	next_event(&pair->client);
	pair->up = false;
}

void
pair_release(struct pair *pair)
{
	DELETE("client", rpma_conn_delete, pair->client.conn);
	DELETE("server", rpma_conn_delete, pair->server.conn);
	DELETE("server", rpma_ep_shutdown, pair->ep);
	close_side(&pair->client);
	close_side(&pair->server);
}

void
say_wc(const char *who, const struct ibv_wc *wc)
{
	if (wc->status != IBV_WC_SUCCESS) {
		say(who, "%d: %s", (int)wc->wr_id, ibv_wc_status_str(wc->status));
		return;
	}
	say(who, "%d: opcode %d, %u bytes%s", (int)wc->wr_id, wc->opcode, wc->byte_len,
			wc->wc_flags & IBV_WC_WITH_IMM ? ", an immediate" : "");
	if (wc->wc_flags & IBV_WC_WITH_IMM)
		say(who, "%#x", be32toh(wc->imm_data));
}

bool
completion(const char *who, struct rpma_cq *cq)
{
	struct ibv_wc wc = {0};
	int fd;

	if (STEP(who, rpma_cq_get_fd(cq, &fd)) || !readable(who, fd))
		return false;
	if (STEP(who, rpma_cq_wait(cq)) || STEP(who, rpma_cq_get_wc(cq, 1, &wc, NULL)))
		return false;
	say_wc(who, &wc);

	return wc.status == IBV_WC_SUCCESS;
}
