/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Plays ping-pong with many clients at the same time. All connections take their receives from one shared
 * receive queue (SRQ), whose completions are in one receive CQ: qp_num tells which connection a message is
 * from. So the number of receive buffers depends on the traffic and not on the number of connections.
 */

#define _DEFAULT_SOURCE /* le32toh() */

#include <stdlib.h>
#include <unistd.h>

#include "../common/loop.h"
#include "../common/ping_pong.h"

#define MAX_CLIENTS 64
#define DEFAULT_CLIENTS "3"
#define RECEIVES (2 * MAX_CLIENTS)

/* registered for messages */
struct memory {
	char recv[RECEIVES][MESSAGE_SIZE];
	char send[MAX_CLIENTS][MESSAGE_SIZE];
};

struct server;

struct client {
	struct server *server;
	unsigned long number; /* 0: none, or not any more */
	struct rpma_conn *conn;
	struct rpma_cq *cq; /* of what is sent */
	uint32_t qp_num;
	uint32_t rounds;
	uint32_t round; /* the last one that was answered */
	bool sending;
	bool pending; /* a ping has come, and its pong waits until the one before it has completed */
	bool established;
	bool served; /* the last pong has arrived */
	struct watch events;
	struct watch sends;
};

struct server {
	int epoll_fd;
	struct rpma_mr_local *mr;
	struct rpma_srq *srq;
	struct rpma_cq *rcq;
	struct rpma_conn_cfg *cfg;
	struct rpma_ep *ep;
	struct watch requests;
	struct watch receives;
	struct memory *memory;
	struct client clients[MAX_CLIENTS];
	unsigned long wanted;
	unsigned long accepted;
	unsigned long ended;
	unsigned long served;
	bool done;
};

/* a client that fails ends alone: the others go on */
static int client_end(struct client *client)
{
	struct server *server = client->server;

	say("client %lu has %s", client->number, client->served ? "been served" : "failed");
	watch_stop(server->epoll_fd, &client->sends);
	watch_stop(server->epoll_fd, &client->events);
	(void) FAILED(rpma_conn_delete(&client->conn));
	if (client->served)
		server->served++;
	client->number = 0;
	server->ended++;
	server->done = server->ended == server->wanted;
	return 0;
}

/* the op_context of a receive is the address of its buffer */
static int post_receive(struct server *server, char *buffer)
{
	size_t offset = (size_t)(buffer - server->memory->recv[0]) + offsetof(struct memory, recv);

	return FAILED(rpma_srq_recv(server->srq, server->mr, offset, MESSAGE_SIZE, buffer)) ? -1 : 0;
}

static int send_pong(struct client *client)
{
	struct server *server = client->server;
	size_t index = (size_t)(client - server->clients);

	client->pending = false;
	client->sending = true;
	message_write(server->memory->send[index], "pong", client->round);
	return FAILED(rpma_send(client->conn, server->mr, offsetof(struct memory, send) + index * MESSAGE_SIZE,
			MESSAGE_SIZE, RPMA_F_COMPLETION_ALWAYS, SEND)) ? -1 : 0;
}

static int ping_received(struct client *client, const char *buffer, const struct ibv_wc *wc)
{
	if (client->round == client->rounds || client->pending) {
		complain("client %lu sends more than it has announced", client->number);
		return -1;
	}
	client->round++;
	if (message_verify(buffer, wc, "ping", client->round) != 0)
		return -1;
	/* the client has the last pong, but the completion of that may not have been taken yet */
	client->pending = true;
	return client->sending ? 0 : send_pong(client);
}

static struct client *find_client(struct server *server, uint32_t qp_num)
{
	for (size_t i = 0; i < server->accepted; i++) {
		if (server->clients[i].number != 0 && server->clients[i].qp_num == qp_num)
			return &server->clients[i];
	}
	return NULL;
}

static int receives_ready(void *arg)
{
	struct server *server = arg;
	struct ibv_wc wc;
	int ret = rpma_cq_wait(server->rcq);

	if (ret == RPMA_E_NO_COMPLETION)
		return 0;
	if (report_failure(ret, "rpma_cq_wait"))
		return -1;

	while ((ret = rpma_cq_get_wc(server->rcq, 1, &wc, NULL)) == 0) {
		struct client *client = find_client(server, wc.qp_num);
		char *buffer = (char *)(uintptr_t)wc.wr_id;

		/* a receive that a connection had taken may be flushed when the connection ends */
		if (client != NULL && wc.status == IBV_WC_SUCCESS && ping_received(client, buffer, &wc) != 0)
			(void) client_end(client);
		/* the buffer can be used again, whichever client the message was for */
		if (post_receive(server, buffer) != 0)
			return -1;
	}
	return ret != RPMA_E_NO_COMPLETION && report_failure(ret, "rpma_cq_get_wc") ? -1 : 0;
}

/*
 * This end, which has sent the last message, disconnects first; but not before it has taken
 * RPMA_CONN_ESTABLISHED, which messages can outrun: until then the client would not be told.
 */
static int disconnect_if_done(struct client *client)
{
	if (!client->served || !client->established)
		return 0;
	return FAILED(rpma_conn_disconnect(client->conn)) ? -1 : 0;
}

static int sends_ready(void *arg)
{
	struct client *client = arg;
	struct ibv_wc wc;
	int ret = rpma_cq_wait(client->cq);

	if (ret == RPMA_E_NO_COMPLETION)
		return 0;
	if (report_failure(ret, "rpma_cq_wait"))
		return client_end(client);

	while ((ret = rpma_cq_get_wc(client->cq, 1, &wc, NULL)) == 0) {
		if (check_completion(&wc) != 0)
			return client_end(client);
		client->sending = false;
		if (client->pending && send_pong(client) != 0)
			return client_end(client);
		if (!client->sending && client->round == client->rounds) {
			client->served = true;
			return disconnect_if_done(client) != 0 ? client_end(client) : 0;
		}
	}
	return ret != RPMA_E_NO_COMPLETION && report_failure(ret, "rpma_cq_get_wc") ? client_end(client) : 0;
}

static int event_ready(void *arg)
{
	struct client *client = arg;
	enum rpma_conn_event event = RPMA_CONN_UNDEFINED;
	int ret = rpma_conn_next_event(client->conn, &event);

	if (ret == RPMA_E_NO_EVENT)
		return 0;
	if (report_failure(ret, "rpma_conn_next_event"))
		return client_end(client);
	if (event == RPMA_CONN_ESTABLISHED) {
		say("client %lu wants to play %" PRIu32 " rounds", client->number, client->rounds);
		client->established = true;
		return disconnect_if_done(client) != 0 ? client_end(client) : 0;
	}
	if (!client->served)
		complain("client %lu: %s", client->number, rpma_utils_conn_event_2str(event));
	return client_end(client);
}

static int accept_request(struct server *server, struct client *client, struct rpma_conn_req **req)
{
	int event_fd = -1;
	int fd = -1;

	if (requested_rounds(*req, &client->rounds) != 0)
		return -1;
	if (FAILED(rpma_conn_req_connect(req, NULL, &client->conn)))
		return -1;
	if (FAILED(rpma_conn_get_qp_num(client->conn, &client->qp_num)) ||
	    FAILED(rpma_conn_get_cq(client->conn, &client->cq)) || FAILED(rpma_cq_get_fd(client->cq, &fd)) ||
	    FAILED(rpma_conn_get_event_fd(client->conn, &event_fd)))
		return -1;
	if (watch_start(server->epoll_fd, &client->events, event_fd, event_ready, client) != 0)
		return -1;
	return watch_start(server->epoll_fd, &client->sends, fd, sends_ready, client);
}

static int request_ready(void *arg)
{
	struct server *server = arg;
	struct rpma_conn_req *req = NULL;
	struct client *client = server->clients;
	int ret = rpma_ep_next_conn_req(server->ep, server->cfg, &req);

	if (ret == RPMA_E_NO_EVENT)
		return 0;
	if (report_failure(ret, "rpma_ep_next_conn_req"))
		return -1;
	if (server->accepted == server->wanted) {
		say("one client too many is rejected");
		return FAILED(rpma_conn_req_delete(&req)) ? -1 : 0;
	}

	client += server->accepted;
	client->server = server;
	client->number = ++server->accepted;
	if (accept_request(server, client, &req) != 0) {
		(void) FAILED(rpma_conn_req_delete(&req)); /* rejects it, if it is still there */
		return client_end(client);
	}
	return 0;
}

/* the queue with all its receives, and the configuration of the connections that use it */
static int make_srq(struct server *server, struct rpma_peer *peer)
{
	struct rpma_srq_cfg *srq_cfg = NULL;
	int ret = -1;

	if (FAILED(rpma_srq_cfg_new(&srq_cfg)))
		return -1;
	if (FAILED(rpma_srq_cfg_set_rq_size(srq_cfg, RECEIVES)) ||
	    FAILED(rpma_srq_cfg_set_rcq_size(srq_cfg, RECEIVES)) ||
	    FAILED(rpma_srq_new(peer, srq_cfg, &server->srq)) ||
	    FAILED(rpma_srq_get_rcq(server->srq, &server->rcq)))
		goto out;
	for (size_t i = 0; i < RECEIVES; i++) {
		if (post_receive(server, server->memory->recv[i]) != 0)
			goto out;
	}
	if (FAILED(rpma_conn_cfg_new(&server->cfg)) || FAILED(rpma_conn_cfg_set_srq(server->cfg, server->srq)))
		goto out;
	ret = 0;
out:
	if (FAILED(rpma_srq_cfg_delete(&srq_cfg)))
		ret = -1;
	return ret;
}

int main(int argc, char *argv[])
{
	static struct server server = { .epoll_fd = -1 };
	struct rpma_peer *peer = NULL;
	int receive_fd = -1;
	int fd = -1;
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 2, 3, "ADDR PORT [CLIENTS]") != 0)
		return EXIT_FAILURE;
	if (parse_number(argc > 3 ? argv[3] : DEFAULT_CLIENTS, "clients", 1, MAX_CLIENTS, &server.wanted) != 0)
		return EXIT_FAILURE;

	server.memory = alloc_pages(sizeof(*server.memory));
	if (server.memory == NULL || loop_new(&server.epoll_fd) != 0)
		goto out;
	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, server.memory, sizeof(*server.memory), RPMA_MR_USAGE_SEND |
			RPMA_MR_USAGE_RECV, &server.mr)))
		goto out;
	if (make_srq(&server, peer) != 0)
		goto out;

	if (start_listening(peer, argv[1], argv[2], &server.ep) != 0)
		goto out;
	if (FAILED(rpma_ep_get_fd(server.ep, &fd)) || FAILED(rpma_cq_get_fd(server.rcq, &receive_fd)) ||
	    watch_start(server.epoll_fd, &server.requests, fd, request_ready, &server) != 0 ||
	    watch_start(server.epoll_fd, &server.receives, receive_fd, receives_ready, &server) != 0)
		goto out;

	if (loop_run(server.epoll_fd, &server.done) != 0)
		goto out;
	say("served %lu of %lu clients", server.served, server.wanted);
	if (server.served == server.wanted)
		status = EXIT_SUCCESS;

out:
	for (size_t i = 0; i < server.accepted; i++) {
		if (server.clients[i].number != 0)
			(void) client_end(&server.clients[i]);
	}
	watch_stop(server.epoll_fd, &server.receives);
	watch_stop(server.epoll_fd, &server.requests);
	/* what was not created is NULL, and deleting that is no error; the SRQ goes after its connections */
	if (FAILED(rpma_ep_shutdown(&server.ep)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_cfg_delete(&server.cfg)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_srq_delete(&server.srq)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_mr_dereg(&server.mr)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_peer_delete(&peer)))
		status = EXIT_FAILURE;
	if (server.epoll_fd >= 0)
		(void) close(server.epoll_fd);
	free(server.memory);
	return status;
}
