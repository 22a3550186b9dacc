/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Serves many clients at the same time in one thread, with epoll. The CQ and the receive CQ of a connection
 * share a completion channel: two file descriptors for each connection instead of three. When CLIENTS of
 * them have been served it ends.
 */

#include <stdlib.h>
#include <unistd.h>

#include "../common/collect.h"
#include "../common/loop.h"

struct server;

struct client {
	struct server *server;
	unsigned long number; /* 0: this place is free */
	struct rpma_conn *conn;
	struct rpma_mr_remote *remote;
	bool established;
	bool served; /* the thanks have arrived */
	struct watch events;
	struct watch completions;
	char *record;  /* a part of the server's memory */
	char *message; /* another one */
};

struct server {
	int epoll_fd;
	struct rpma_mr_local *mr;
	struct rpma_conn_cfg *cfg;
	struct rpma_ep *ep;
	struct watch requests;
	char *memory;
	struct client clients[MAX_CLIENTS];
	unsigned long wanted;
	unsigned long accepted;
	unsigned long ended;
	unsigned long served;
	bool done;
};

/* offsets in the memory region */
static size_t record_offset(const struct client *client)
{
	return (size_t)(client->record - client->server->memory);
}

static size_t message_offset(const struct client *client)
{
	return (size_t)(client->message - client->server->memory);
}

/* a client that fails ends alone: the others go on */
static int client_end(struct client *client)
{
	struct server *server = client->server;

	say("client %lu has %s", client->number, client->served ? "been served" : "failed");
	watch_stop(server->epoll_fd, &client->completions);
	watch_stop(server->epoll_fd, &client->events);
	(void) FAILED(rpma_mr_remote_delete(&client->remote));
	(void) FAILED(rpma_conn_delete(&client->conn));
	if (client->served)
		server->served++;
	client->number = 0;
	server->ended++;
	server->done = server->ended == server->wanted;
	return 0;
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

static int on_completion(struct client *client, const struct ibv_wc *wc)
{
	struct server *server = client->server;
	const char *text;

	if (check_completion(wc) != 0)
		return -1;
	if (wc->wr_id == (uintptr_t)RECV) {
		if (expect_message(client->message, wc, COMPLETE) != 0)
			return -1;
		return FAILED(rpma_read(client->conn, server->mr, record_offset(client), client->remote, 0,
				RECORD_SIZE, RPMA_F_COMPLETION_ALWAYS, READ)) ? -1 : 0;
	}
	if (wc->wr_id == (uintptr_t)READ) {
		text = record_verify(client->record);
		if (text == NULL) {
			complain("the record of client %lu is damaged", client->number);
			return -1;
		}
		say("client %lu has a record that says: %s", client->number, text);
		memcpy(client->message, THANKS, MESSAGE_SIZE);
		return FAILED(rpma_send(client->conn, server->mr, message_offset(client), MESSAGE_SIZE,
				RPMA_F_COMPLETION_ALWAYS, SEND)) ? -1 : 0;
	}
	client->served = true;
	return disconnect_if_done(client);
}

/* takes what is in a queue */
static int drain(struct client *client, struct rpma_cq *cq)
{
	struct ibv_wc wc;
	int ret;

	while ((ret = rpma_cq_get_wc(cq, 1, &wc, NULL)) == 0) {
		if (client->served)
			continue; /* what is flushed by the disconnect */
		if (on_completion(client, &wc) != 0)
			return -1;
	}
	return ret != RPMA_E_NO_COMPLETION && report_failure(ret, "rpma_cq_get_wc") ? -1 : 0;
}

/* takes the event of the shared channel, and then the completions of the queue that it is from */
static int completions_ready(void *arg)
{
	struct client *client = arg;
	struct rpma_cq *cq = NULL;
	int ret = rpma_conn_wait(client->conn, 0, &cq, NULL);

	if (ret == RPMA_E_NO_COMPLETION)
		return 0;
	if (report_failure(ret, "rpma_conn_wait") || drain(client, cq) != 0)
		return client_end(client);
	return 0;
}

static int watch_queues(struct client *client)
{
	int fd = -1;

	if (FAILED(rpma_conn_get_compl_fd(client->conn, &fd)))
		return -1;
	return watch_start(client->server->epoll_fd, &client->completions, fd, completions_ready, client);
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
		say("client %lu has connected", client->number);
		client->established = true;
		return disconnect_if_done(client) != 0 ? client_end(client) : 0;
	}
	if (!client->served)
		complain("client %lu: %s", client->number, rpma_utils_conn_event_2str(event));
	return client_end(client);
}

static int accept_request(struct server *server, struct client *client, struct rpma_conn_req **req)
{
	struct rpma_conn_private_data pdata = { NULL, 0 };
	int fd = -1;

	if (FAILED(rpma_conn_req_get_private_data(*req, &pdata)) ||
	    parse_offer(&pdata, &client->remote, NULL) != 0 ||
	    check_remote_size(client->remote, RECORD_SIZE) != 0)
		return -1;
	/* the receive for the client's message, before the client can send it */
	if (FAILED(rpma_conn_req_recv(*req, server->mr, message_offset(client), MESSAGE_SIZE, RECV)))
		return -1;
	if (FAILED(rpma_conn_req_connect(req, NULL, &client->conn)))
		return -1;
	/* nothing waits here for RPMA_CONN_ESTABLISHED: the other clients would wait as well */
	if (FAILED(rpma_conn_get_event_fd(client->conn, &fd)) ||
	    watch_start(server->epoll_fd, &client->events, fd, event_ready, client) != 0)
		return -1;
	return watch_queues(client);
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

	/* there is a place for each client that is wanted */
	client += server->accepted;
	client->number = ++server->accepted;
	if (accept_request(server, client, &req) != 0) {
		(void) FAILED(rpma_conn_req_delete(&req)); /* rejects it, if it is still there */
		return client_end(client);
	}
	return 0;
}

int main(int argc, char *argv[])
{
	static struct server server = { .epoll_fd = -1 };
	struct rpma_peer *peer = NULL;
	size_t size;
	int fd = -1;
	int status = EXIT_FAILURE;

	if (start("server", argc, argv, 2, 3, "ADDR PORT [CLIENTS]") != 0)
		return EXIT_FAILURE;
	if (parse_number(argc > 3 ? argv[3] : DEFAULT_CLIENTS, "clients", 1, MAX_CLIENTS, &server.wanted) != 0)
		return EXIT_FAILURE;

	/* one memory region for all clients: registering takes time */
	size = server.wanted * (RECORD_SIZE + MESSAGE_SIZE);
	server.memory = alloc_pages(size);
	if (server.memory == NULL || loop_new(&server.epoll_fd) != 0)
		goto out;
	for (size_t i = 0; i < server.wanted; i++) {
		server.clients[i].server = &server;
		server.clients[i].record = server.memory + i * RECORD_SIZE;
		server.clients[i].message = server.memory + server.wanted * RECORD_SIZE + i * MESSAGE_SIZE;
	}

	if (open_peer(argv[1], RPMA_UTIL_IBV_CONTEXT_LOCAL, &peer) != 0)
		goto out;
	if (FAILED(rpma_mr_reg(peer, server.memory, size, RPMA_MR_USAGE_READ_DST | RPMA_MR_USAGE_SEND |
			RPMA_MR_USAGE_RECV, &server.mr)))
		goto out;
	if (collect_cfg(true, &server.cfg) != 0)
		goto out;

	if (start_listening(peer, argv[1], argv[2], &server.ep) != 0)
		goto out;
	if (FAILED(rpma_ep_get_fd(server.ep, &fd)) ||
	    watch_start(server.epoll_fd, &server.requests, fd, request_ready, &server) != 0)
		goto out;

	if (loop_run(server.epoll_fd, &server.done) != 0)
		goto out;
	say("served %lu of %lu clients", server.served, server.wanted);
	if (server.served == server.wanted)
		status = EXIT_SUCCESS;

out:
	for (size_t i = 0; i < server.wanted; i++) {
		if (server.clients[i].number != 0)
			(void) client_end(&server.clients[i]);
	}
	watch_stop(server.epoll_fd, &server.requests);
	/* what was not created is NULL, and deleting that is no error */
	if (FAILED(rpma_ep_shutdown(&server.ep)))
		status = EXIT_FAILURE;
	if (FAILED(rpma_conn_cfg_delete(&server.cfg)))
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
