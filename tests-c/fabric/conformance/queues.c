/* SPDX-License-Identifier: BSD-3-Clause */
/* Queues: how much they hold, what happens when they are full, SRQs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conformance.h"

/* sends that nothing receives stay in the queue */
static void
send_queue_full(void)
{
	static const uint32_t queue_sizes[] = {1, 2, 10, 16, 31, 100};

	for (size_t i = 0; i < COUNT_OF(queue_sizes); i++) {
		struct setup setup = usual();
		struct pair pair = {0};
		unsigned count = 0;
		int ret;

		setup.sq_size = queue_sizes[i];
		setup.cq_size = 512;
		connect_pair(&pair, &setup);
		within("size %u", queue_sizes[i]);
		while ((ret = post_send(&pair.client, count, 0, 8)) == 0)
			count++;
		say("sends that fit", "%u", count);
		say_result("one more", ret);
		/* a place is free once a completion was taken */
		NEED(post_recv(&pair.server, 0, 0, 8));
		say_wc("first send, received", &pair.client, pair.client.cq);
		say_result("one more then", post_send(&pair.client, count, 0, 8));
		say_result("and another", post_send(&pair.client, count, 0, 8));
	}
}

/* until it has this value: for what nothing else tells */
static void
wait_for_byte(const struct end *end, size_t offset, uint8_t value)
{
	const volatile uint8_t *byte = end->memory + offset;

	for (int turn = 0; turn < wait_ms && *byte != value; turn++)
		readable(end->channel->fd, 1);
	errno = ETIMEDOUT;
	if (*byte != value)
		broken("a byte of the memory");
}

/* hardware frees the places of unsignalled requests with the next signalled completion only */
static void
send_queue_unsignalled(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct request request;
	unsigned count;

	connect_pair(&pair, &setup);
	for (count = 0; count < 100; count++) {
		*(volatile uint64_t *)pair.client.memory = count + 1;
		prepare(&request, &pair.client, IBV_WR_RDMA_WRITE, count, 0, 8, remote_of(&pair.server, 0));
		request.wr.send_flags = 0;
		if (post(&pair.client, &request))
			break;
		wait_for_byte(&pair.server, 0, (uint8_t)(count + 1));
	}
	say("unsignalled writes that fit in a queue of 15", "%s", count < 15 ? "fewer" : count == 15 ? "15" : "more");
}

static void
receive_queue_full(void)
{
	static const uint32_t queue_sizes[] = {0, 1, 2, 10, 16, 100};

	for (size_t i = 0; i < COUNT_OF(queue_sizes); i++) {
		struct setup setup = usual();
		struct pair pair = {0};
		unsigned count = 0;
		int ret;

		setup.rq_size = queue_sizes[i];
		connect_pair(&pair, &setup);
		within("size %u", queue_sizes[i]);
		while ((ret = post_recv(&pair.server, count, 0, 8)) == 0)
			count++;
		say("receives that fit", "%u", count);
		say_result("one more", ret);
		if (count == 0)
			continue;
		NEED(post_send(&pair.client, 0, 0, 8));
		say_wc("first receive", &pair.server, pair.server.cq);
		say_result("one more then", post_recv(&pair.server, count, 0, 8));
		say_result("and another", post_recv(&pair.server, count, 0, 8));
	}
}

static void
send_queue_of_none(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *client = &pair.client;

	listen_any_port(&pair.listener);
	resolve(client, pair.listener.port);
	setup.sq_size = 0;
	equip(client, &setup, ALL_ACCESS);
	say("queue pair with a send queue of 0", "made");
	say_result("send", post_send(client, 1, 0, 8));
}

static void
cq_sizes(void)
{
	static const int queue_sizes[] = {-1, 0, 1, 2, 10, 64, 32767, 32768, 1000000000};
	struct listener listener = {0};
	struct end client = {0};

	listen_any_port(&listener);
	resolve(&client, listener.port);
	for (size_t i = 0; i < COUNT_OF(queue_sizes); i++) {
		struct ibv_cq *cq;

		within("size %d", queue_sizes[i]);
		cq = say_pointer("CQ", ibv_create_cq(client.id->verbs, queue_sizes[i], NULL, NULL, 0));
		if (cq) {
			say("its size", "%d", cq->cqe);
			say_result("destroy", ibv_destroy_cq(cq));
		}
	}
	within(NULL);
	say_pointer("CQ on completion vector -1", ibv_create_cq(client.id->verbs, 1, NULL, NULL, -1));
	say_pointer("CQ on completion vector 1000000", ibv_create_cq(client.id->verbs, 1, NULL, NULL, 1000000));
}

/* more completions than a CQ holds */
static void
cq_overflow(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct ibv_cq *small;
	struct ibv_qp_init_attr attr;
	struct rdma_conn_param param = conn_param(&setup);
	struct end *client = &pair.client;
	struct ibv_wc wc[16];

	listen_any_port(&pair.listener);
	resolve(client, pair.listener.port);
	NEED_POINTER(client->pd, ibv_alloc_pd(client->id->verbs));
	NEED_POINTER(client->comp, ibv_create_comp_channel(client->id->verbs));
	NEED_POINTER(small, ibv_create_cq(client->id->verbs, 3, NULL, client->comp, 0));
	client->cq = client->rcq = small;
	attr = (struct ibv_qp_init_attr){.send_cq = small, .recv_cq = small, .cap = {15, 15, 1, 1, 0},
			.qp_type = IBV_QPT_RC};
	NEED(rdma_create_qp(client->id, client->pd, &attr));
	client->qp = client->id->qp;
	client->length = 4096;
	NEED_POINTER(client->memory, calloc(1, 4096));
	NEED_POINTER(client->mr, ibv_reg_mr(client->pd, client->memory, 4096, ALL_ACCESS));
	NEED(rdma_connect(client->id, &param));
	server_take(&pair.server, &pair.listener, &setup);
	server_accept(&pair.server, &setup);
	established(client);
	established(&pair.server);

	say("size", "%d", small->cqe);
	for (unsigned i = 0; i < 8; i++) {
		if (post_op(client, IBV_WR_RDMA_WRITE, i, 0, 1, remote_of(&pair.server, i))) {
			say("posts", "%u of 8", i);
			break;
		}
	}
	say_async("asynchronous event", client->id->verbs);
	say("poll", "%d", ibv_poll_cq(small, 16, wc));
	say_state("state of the queue pair", client->qp);
	say_result("write after that", post_op(client, IBV_WR_RDMA_WRITE, 100, 0, 1, remote_of(&pair.server, 0)));
	say_no_event("CM event of the other end", pair.server.channel);
	say("poll after that", "%d", ibv_poll_cq(small, 16, wc));
}

/* --- no receive posted ------------------------------------------------------------------------- */

static void
send_before_receive(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *client = &pair.client, *server = &pair.server;

	connect_pair(&pair, &setup);
	memset(server->memory, 0xee, setup.length);
	fill(client->memory, setup.length, 1);
	NEED(post_send(client, 1, 0, 8));
	NEED(post_op(client, IBV_WR_RDMA_WRITE, 2, 0, 8, remote_of(server, 4096)));
	NEED(post_op(client, IBV_WR_RDMA_READ, 3, 2048, 8, remote_of(server, 4096)));
	say_no_wc("completion at the client", client, client->cq);
	say_no_wc("completion at the server", server, server->cq);
	say_untouched("memory", server->memory, setup.length, 0xee);
	/* the other direction goes on */
	NEED(post_op(server, IBV_WR_RDMA_READ, 10, 1024, 8, remote_of(client, 0)));
	say_wc("a read by the server meanwhile", server, server->cq);
	NEED(post_recv(server, 11, 0, 8));
	say_wc("receive", server, server->cq);
	say_wcs("completions at the client then", client, client->cq, 3);
	say_filled("data of the send", server->memory, 8, 1);
	say_filled("data of the write", server->memory + 4096, 8, 1);
	say_filled("data of the read", client->memory + 2048, 8, 1);
}

static void
write_with_imm_before_receive(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct end *client = &pair.client, *server = &pair.server;

	connect_pair(&pair, &setup);
	memset(server->memory, 0xee, setup.length);
	fill(client->memory, setup.length, 1);
	NEED(post_op(client, IBV_WR_RDMA_WRITE_WITH_IMM, 1, 0, 64, remote_of(server, 64)));
	say_no_wc("completion", client, client->cq);
	say_untouched("memory", server->memory, setup.length, 0xee);
	NEED(post_recv(server, 2, 0, 8));
	say_wc("receive", server, server->cq);
	say_wc("completion then", client, client->cq);
	say_filled("data", server->memory + 64, 64, 1);
}

/* disconnecting ends the wait */
static void
disconnect_while_waiting(void)
{
	struct setup setup = usual();
	struct pair pair = {0};

	connect_pair(&pair, &setup);
	NEED(post_send(&pair.client, 1, 0, 8));
	NEED(post_send(&pair.client, 2, 0, 8));
	say_no_wc("completion", &pair.client, pair.client.cq);
	say_result("client disconnects", rdma_disconnect(pair.client.id));
	say_wcs("completions", &pair.client, pair.client.cq, 2);
	say_no_wc("completion at the server", &pair.server, pair.server.cq);
}

/* a client that does not want to wait at all */
static void
no_rnr_retry(void)
{
	struct setup setup = usual();
	struct pair pair = {0};

	/* the server's own count is what its sends go by, and the client's what the client's */
	setup.rnr_retry = 0;
	connect_pair(&pair, &setup);
	post_recvs(&pair.client, 11, 2);
	NEED(post_send(&pair.client, 1, 0, 8));
	NEED(post_send(&pair.client, 2, 0, 8));
	say_wcs("sends without a receive", &pair.client, pair.client.cq, 4);
	say_state("state of the sender", pair.client.qp);
	say_state("state of the receiver", pair.server.qp);
}

/* --- SRQ --------------------------------------------------------------------------------------- */

static void
srq_shared(void)
{
	struct setup setup = usual();
	struct pair first = {0}, second = {0};
	struct ibv_recv_wr wr = {.wr_id = 1}, *bad;
	struct ibv_srq_attr attr = {0};

	setup.use_srq = true;
	connect_pair(&first, &setup);
	second.listener = first.listener;
	second.server = first.server;
	second.server.id = NULL;
	second.server.channel = NULL;
	connect_pair(&second, &setup);

	say_result("receive posted to a queue pair with an SRQ", ibv_post_recv(first.server.qp, &wr, &bad));
	post_recvs(&first.server, 1, 4);
	NEED(post_send(&first.client, 11, 0, 8));
	say_wc("send on the first", &first.server, first.server.cq);
	NEED(post_send(&second.client, 12, 0, 8));
	say_wc("send on the second", &second.server, second.server.cq);
	NEED(post_op(&second.client, IBV_WR_RDMA_WRITE_WITH_IMM, 13, 0, 8, remote_of(&first.server, 0)));
	say_wc("write with immediate on the second", &second.server, second.server.cq);
	NEED(post_send(&first.client, 14, 0, 8));
	say_wc("send on the first again", &first.server, first.server.cq);

	NEED(post_send(&first.client, 15, 0, 8));
	say_no_wc("send to the empty SRQ", &first.server, first.server.cq);
	NEED(post_recv(&first.server, 5, 0, 8));
	say_wc("once it has a receive", &first.server, first.server.cq);

	say_result("query the SRQ", ibv_query_srq(first.server.srq, &attr));
	say("its receives", "%s", attr.max_wr >= setup.rq_size ? "at least as many as asked" : "fewer");
	say_result("destroy the SRQ in use", ibv_destroy_srq(first.server.srq));
	rdma_destroy_qp(second.server.id);
	say_result("destroy it, one queue pair left", ibv_destroy_srq(first.server.srq));
	rdma_destroy_qp(first.server.id);
	say_result("destroy it, none left", ibv_destroy_srq(first.server.srq));
}

static void
srq_full(void)
{
	static const uint32_t queue_sizes[] = {0, 1, 2, 10, 100, 1000000000};
	struct listener listener = {0};
	struct end end = {0};

	listen_any_port(&listener);
	resolve(&end, listener.port);
	NEED_POINTER(end.pd, ibv_alloc_pd(end.id->verbs));
	NEED_POINTER(end.memory, calloc(1, 4096));
	NEED_POINTER(end.mr, ibv_reg_mr(end.pd, end.memory, 4096, ALL_ACCESS));
	for (size_t i = 0; i < COUNT_OF(queue_sizes); i++) {
		struct ibv_srq_init_attr attr = {.attr = {.max_wr = queue_sizes[i], .max_sge = 1}};
		unsigned count = 0;
		int ret;

		within("size %u", queue_sizes[i]);
		end.srq = say_pointer("SRQ", ibv_create_srq(end.pd, &attr));
		if (!end.srq)
			continue;
		while ((ret = post_recv(&end, count, 0, 8)) == 0 && count < 5000)
			count++;
		say("receives that fit", "%u", count);
		say_result("one more", ret);
		say_result("destroy it with what it holds", ibv_destroy_srq(end.srq));
	}
}

/* an error of one queue pair leaves the SRQ and the other one alone */
static void
srq_and_error(void)
{
	struct setup setup = usual();
	struct pair first = {0}, second = {0};

	setup.use_srq = true;
	connect_pair(&first, &setup);
	second.listener = first.listener;
	second.server = first.server;
	second.server.id = NULL;
	second.server.channel = NULL;
	connect_pair(&second, &setup);
	NEED(post_recv(&first.server, 1, 0, 4));
	NEED(post_recv(&first.server, 2, 0, 64));
	NEED(post_recv(&first.server, 3, 0, 64));
	NEED(post_send(&first.client, 11, 0, 8));
	say_wcs("too long for the receive: sender", &first.client, first.client.cq, 1);
	say_wcs("receiver", &first.server, first.server.cq, 1);
	say_state("state of the receiver", first.server.qp);
	NEED(post_send(&second.client, 12, 0, 8));
	say_wc("send on the other connection", &second.server, second.server.cq);
}

const struct test_case queue_cases[] = {
	{.name = "send-queue-full", .run = send_queue_full},
	{.name = "send-queue-unsignalled", .run = send_queue_unsignalled},
	{.name = "send-queue-of-none", .run = send_queue_of_none},
	{.name = "receive-queue-full", .run = receive_queue_full},
	{.name = "cq-sizes", .run = cq_sizes},
	{.name = "cq-overflow", .run = cq_overflow},
	{.name = "send-before-receive", .run = send_before_receive},
	{.name = "write-with-immediate-before-receive", .run = write_with_imm_before_receive},
	{.name = "disconnect-while-waiting", .run = disconnect_while_waiting},
	{.name = "no-rnr-retry", .run = no_rnr_retry},
	{.name = "srq-shared", .run = srq_shared},
	{.name = "srq-full", .run = srq_full},
	{.name = "srq-and-error", .run = srq_and_error},
	{0},
};
