/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server part of a process: a thread that takes requests, and one for each connection. Clients read a pattern
 * from the first half of a connection's memory, and write to the second half.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "soak.h"

static struct {
	struct rpma_peer *peer;
	struct rpma_ep *ep;
	struct random random;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned connections;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void
connections_change(int by)
{
	pthread_mutex_lock(&server.lock);
	server.connections += (unsigned)by;
	pthread_cond_broadcast(&server.changed);
	pthread_mutex_unlock(&server.lock);
}

void
serve_idle(void)
{
	pthread_mutex_lock(&server.lock);
	while (server.connections > 0)
		pthread_cond_wait(&server.changed, &server.lock);
	pthread_mutex_unlock(&server.lock);
}

/* --- one connection ---------------------------------------------------------------------------- */

/* sends the message back with its bits inverted, and its immediate too */
static void
send_back(struct session *session, const struct ibv_wc *wc)
{
	const unsigned slot = (unsigned)wc->wr_id;
	const char *in = session->memory + slot_in(session, slot);
	char *out = session->memory + slot_out(session, slot);
	struct farewell farewell;

	for (uint32_t i = 0; i < wc->byte_len; i++)
		out[i] = (char)~in[i];
	if (wc->byte_len == sizeof(farewell)) {
		memcpy(&farewell, in, sizeof(farewell));
		session->farewell = farewell.word == FAREWELL;
		session->disconnects = session->farewell && farewell.server_disconnects;
	}
	session_receive(session, slot);
	if (wc->wc_flags & IBV_WC_WITH_IMM) {
		GOOD(rpma_send_with_imm(session->conn, session->mr, slot_out(session, slot), wc->byte_len,
				RPMA_F_COMPLETION_ALWAYS, ~ntohl(wc->imm_data), NULL));
	} else {
		GOOD(rpma_send(session->conn, session->mr, slot_out(session, slot), wc->byte_len,
				RPMA_F_COMPLETION_ALWAYS, NULL));
	}
	session->answers++;
}

/* a client has written, and the immediate says what must be there */
static void
check_written(struct session *session, const struct ibv_wc *wc)
{
	const unsigned slot = (unsigned)wc->wr_id;
	const uint32_t imm = ntohl(wc->imm_data);
	const size_t length = immediate_length(session, imm);
	char *expected = malloc(length + 1);

	CHECK(expected);
	fill(expected, length, imm);
	if (memcmp(session->memory + session->size / 2, expected, length) != 0)
		die("what came with immediate %#x is not what was written", imm);
	free(expected);
	session_receive(session, slot);
	memcpy(session->memory + slot_out(session, slot), &imm, sizeof(imm));
	GOOD(rpma_send(session->conn, session->mr, slot_out(session, slot), sizeof(imm),
			RPMA_F_COMPLETION_ALWAYS, NULL));
	session->answers++;
}

/* false if the connection ended */
static bool
answer_is_sent(struct session *session)
{
	session->answers--;
	if (session->answers > 0 || !session->disconnects)
		return true;
	/* the kernel tells the peer nothing of a connection that is not established on this side */
	while (!session->established) {
		if (!session_event(session))
			return false;
	}
	GOOD(rpma_conn_disconnect(session->conn));

	return true;
}

static void *
serve_connection(void *argument)
{
	static _Atomic bool told;
	struct session *session = argument;
	struct ibv_wc wc;

	session->doing = "serving";
	while (session_next(session, &wc)) {
		if (wc.opcode == IBV_WC_RECV)
			send_back(session, &wc);
		else if (wc.opcode == IBV_WC_RECV_RDMA_WITH_IMM)
			check_written(session, &wc);
		else if (wc.opcode != IBV_WC_SEND)
			die("a completion of %d", wc.opcode);
		else if (!answer_is_sent(session))
			break;
	}
	if (!session->farewell) {
		if (!is_keeper)
			die("the connection broke: %s", rpma_utils_conn_event_2str(session->ended_by));
		count(COUNT_KEEPER_SERVER_BROKEN, 1);
	} else if (!is_keeper && !atomic_exchange(&told, true)) {
		report("working");
	}
	rpma_conn_disconnect(session->conn);
	session_close(session);
	free(session);
	connections_change(-1);

	return NULL;
}

/* --- requests ---------------------------------------------------------------------------------- */

static void
check_hello(struct rpma_conn_req *req, struct hello *hello)
{
	struct rpma_conn_private_data data;
	char expected[REQUEST_DATA];

	GOOD(rpma_conn_req_get_private_data(req, &data));
	CHECK(data.len >= sizeof(*hello));
	memcpy(hello, data.ptr, sizeof(*hello));
	CHECK(hello->length <= data.len && hello->length <= REQUEST_DATA);
	fill(expected, REQUEST_DATA, hello->seed);
	if (memcmp((char *)data.ptr + sizeof(*hello), expected + sizeof(*hello),
			hello->length - sizeof(*hello)) != 0)
		die("the private data of a request is not what was sent");
}

static void
make_reply(struct session *session, char data[REPLY_DATA])
{
	struct reply reply = {0};
	struct rpma_peer_cfg *cfg;
	size_t size;

	GOOD(rpma_mr_get_descriptor_size(session->mr, &size));
	CHECK(size <= sizeof(reply.region));
	reply.region_length = (uint8_t)size;
	GOOD(rpma_mr_get_descriptor(session->mr, reply.region));
	GOOD(rpma_peer_cfg_new(&cfg));
	GOOD(rpma_peer_cfg_set_direct_write_to_pmem(cfg, true));
	GOOD(rpma_peer_cfg_get_descriptor_size(cfg, &size));
	CHECK(size <= sizeof(reply.peer_cfg));
	reply.peer_cfg_length = (uint8_t)size;
	reply.inode = session_inode(session);
	GOOD(rpma_peer_cfg_get_descriptor(cfg, reply.peer_cfg));
	GOOD(rpma_peer_cfg_delete(&cfg));
	reply.length = (uint8_t)(sizeof(reply) + next_random(&server.random) %
			(REPLY_DATA - sizeof(reply) + 1));
	fill(data, REPLY_DATA, ~session->seed);
	memcpy(data, &reply, sizeof(reply));
}

/* a request that does not become a connection; its client may be dead */
static void
give_up(struct session *session, int ret, enum counter if_well)
{
	if (ret && !is_keeper)
		die("a request could not be answered: %s", rpma_err_2str(ret));
	count(ret ? COUNT_FAILED_ACCEPT : if_well, 1);
	session_close(session);
	free(session);
}

static void
take_request(void)
{
	struct session *session = calloc(1, sizeof(*session));
	struct rpma_conn_private_data data;
	char bytes[REPLY_DATA];
	struct rpma_conn_req *req;
	struct hello hello;
	pthread_t thread;
	int ret;

	CHECK(session);
	session_configure(session, server.peer, &server.random, true);
	ret = rpma_ep_next_conn_req(server.ep, session->cfg, &req);
	if (ret) {
		give_up(session, ret, COUNT_ACCEPTED);
		return;
	}
	check_hello(req, &hello);
	if (hello.reject) {
		give_up(session, rpma_conn_req_delete(&req), COUNT_REJECTED);
		return;
	}
	session->seed = hello.seed;
	session_memory(session, server.peer, &server.random, hello.size);
	fill(session->memory, hello.size / 2, hello.seed);
	for (unsigned i = 0; i < MESSAGES; i++) {
		if (session->srq)
			session_receive(session, i);
		else
			GOOD(rpma_conn_req_recv(req, session->mr, slot_in(session, i), MESSAGE,
					(const void *)(uintptr_t)i));
	}
	make_reply(session, bytes);
	data = (struct rpma_conn_private_data){bytes, ((struct reply *)bytes)->length};
	ret = rpma_conn_req_connect(&req, &data, &session->conn);
	if (ret) {
		give_up(session, ret, COUNT_ACCEPTED);
		return;
	}
	count(COUNT_ACCEPTED, 1);
	session_start(session);
	connections_change(1);
	CHECK(pthread_create(&thread, NULL, serve_connection, session) == 0);
	pthread_detach(thread);
}

static void *
take_requests(void *unused)
{
	struct pollfd fd = {.events = POLLIN};

	(void)unused;
	GOOD(rpma_ep_get_fd(server.ep, &fd.fd));
	for (;;) {
		if (poll(&fd, 1, -1) > 0)
			take_request();
	}

	return NULL;
}

void
serve(struct rpma_peer *peer, const char *address, unsigned port, uint64_t seed)
{
	const bool any = port == 0;
	char text[16];
	pthread_t thread;
	int ret = -1;

	server.peer = peer;
	server.random.state = seed;
	for (int i = 0; i < 64 && ret; i++) {
		if (any)
			port = 20000 + (unsigned)(next_random(&server.random) % 12000);
		snprintf(text, sizeof(text), "%u", port);
		ret = rpma_ep_listen(peer, address, text, &server.ep);
	}
	GOOD(ret);
	report("listening %u", port);
	CHECK(pthread_create(&thread, NULL, take_requests, NULL) == 0);
	pthread_detach(thread);
}
