/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * faults [CASE...]: softrdma is told to inject a fault of the device, of a connection or of the peer
 * (SOFTRDMA_FAULT), into a client or into its server, and the program must see it as it would on a device: the
 * completions with their statuses, the events, the states. The other side has no faults, and must get over it.
 *
 *   softrdma run -- faults
 *
 * From the environment: PAIR_WAIT_MS (10000: how long anything may take).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "two-processes.h"

#define ADDRESS "127.0.0.1"
#define MESSAGE ((size_t)64)
#define RECEIVES 8
#define SIZE (RECEIVES * MESSAGE)
#define DEPTH 16
#define LINKS 4

/* --- what all cases need ----------------------------------------------------------------------- */

/* there is no event for some time */
static void
await_nothing(struct rdma_event_channel *channel)
{
	struct rdma_cm_event *event = next_event(channel, 50);

	if (event)
		die("%s, which nobody expected", event_name(event));
}

/* the next completion, which must have this status and, unless it is that of a receive, this number */
static void
await_status(struct link *link, uint64_t wr_id, enum ibv_wc_status wanted)
{
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct pollfd readable = {.fd = link->channel->fd, .events = POLLIN};
	struct ibv_wc wc;
	int n;

	/* one at a time: drain() takes all that there is */
	while ((n = ibv_poll_cq(link->cq, 1, &wc)) == 0) {
		struct ibv_cq *cq;
		void *context;

		if (now_ns() > limit)
			die("no completion, %s is due", ibv_wc_status_str(wanted));
		CHECK(ibv_req_notify_cq(link->cq, 0) == 0);
		n = ibv_poll_cq(link->cq, 1, &wc);
		if (n != 0)
			break;
		if (poll(&readable, 1, wait_ms()) > 0 && ibv_get_cq_event(link->channel, &cq, &context) == 0)
			ibv_ack_cq_events(cq, 1);
	}
	CHECK(n == 1);
	link->posted--;
	if (wc.status != wanted || wc.wr_id != wr_id)
		die("request %lu: %s instead of request %lu: %s", (unsigned long)wc.wr_id,
				ibv_wc_status_str(wc.status), (unsigned long)wr_id, ibv_wc_status_str(wanted));
	CHECK(wc.qp_num == link->id->qp->qp_num);
}

static void
write_some(struct link *link, uint64_t first, uint64_t last)
{
	for (uint64_t wr_id = first; wr_id <= last; wr_id++)
		post(link, IBV_WR_RDMA_WRITE, wr_id, 0, MESSAGE, 0);
}

/* what is posted to a queue pair in the error state is flushed */
static void
expect_error_state(struct link *link)
{
	CHECK(state_of(link) == IBV_QPS_ERR);
	write_some(link, 99, 99);
	await_status(link, 99, IBV_WC_WR_FLUSH_ERR);
}

/* after this, everything that was posted is flushed */
static void
end(struct link *link, uint64_t first, uint64_t last)
{
	CHECK(rdma_disconnect(link->id) == 0);
	for (uint64_t wr_id = first; wr_id <= last; wr_id++)
		await_status(link, wr_id, IBV_WC_WR_FLUSH_ERR);
	link_close(link);
}

struct client {
	struct rdma_event_channel *channel;
	struct link link;
	unsigned port;
};

static void
connect_client(struct client *client)
{
	CHECK(connect_link(&client->link, client->channel, ADDRESS, client->port, SIZE, DEPTH));
}

/* nothing is left of a fault: another connection works */
static void
expect_recovery(struct client *client)
{
	connect_client(client);
	write_some(&client->link, 1, 1);
	await_status(&client->link, 1, IBV_WC_SUCCESS);
	end(&client->link, 1, 0);
}

/* --- cases of a client ------------------------------------------------------------------------- */

static void
nth_completion(struct client *client)
{
	connect_client(client);
	write_some(&client->link, 1, 4);
	await_status(&client->link, 1, IBV_WC_SUCCESS);
	await_status(&client->link, 2, IBV_WC_REM_ACCESS_ERR);
	await_status(&client->link, 3, IBV_WC_WR_FLUSH_ERR);
	await_status(&client->link, 4, IBV_WC_WR_FLUSH_ERR);
	expect_error_state(&client->link);
	end(&client->link, 1, 0);
	expect_recovery(client);
}

/* what has no completion is not counted */
static void
unsignalled(struct client *client)
{
	struct link *link = &client->link;
	struct ibv_sge sge;
	struct ibv_send_wr wr = {.wr_id = 7, .opcode = IBV_WR_RDMA_WRITE, .sg_list = &sge, .num_sge = 1}, *bad;

	connect_client(client);
	sge = (struct ibv_sge){.addr = (uintptr_t)link->memory, .length = MESSAGE, .lkey = link->mr->lkey};
	wr.wr.rdma.remote_addr = link->remote.address;
	wr.wr.rdma.rkey = link->remote.key;
	for (int i = 0; i < 3; i++)
		CHECK(ibv_post_send(link->id->qp, &wr, &bad) == 0);
	write_some(link, 1, 2);
	await_status(link, 1, IBV_WC_SUCCESS);
	await_status(link, 2, IBV_WC_GENERAL_ERR);
	expect_error_state(link);
	end(link, 1, 0);
}

static void
completion_of_second_queue_pair(struct client *client)
{
	struct client second = {.channel = open_channel(), .port = client->port};

	connect_client(client);
	connect_client(&second);
	write_some(&client->link, 1, 3);
	for (uint64_t wr_id = 1; wr_id <= 3; wr_id++)
		await_status(&client->link, wr_id, IBV_WC_SUCCESS);
	write_some(&second.link, 1, 2);
	await_status(&second.link, 1, IBV_WC_SUCCESS);
	await_status(&second.link, 2, IBV_WC_RNR_RETRY_EXC_ERR);
	expect_error_state(&second.link);
	write_some(&client->link, 4, 4);
	await_status(&client->link, 4, IBV_WC_SUCCESS);
	end(&second.link, 1, 0);
	end(&client->link, 1, 0);
	rdma_destroy_event_channel(second.channel);
}

/* a receive, of the echo of a message; the receive behind it is flushed */
static void
completion_of_receive(struct client *client)
{
	connect_client(client);
	post_receive(&client->link, 10, 0, MESSAGE);
	post_receive(&client->link, 11, MESSAGE, MESSAGE);
	post(&client->link, IBV_WR_SEND, 1, 0, MESSAGE, 0);
	await_status(&client->link, 1, IBV_WC_SUCCESS);
	await_status(&client->link, 10, IBV_WC_LOC_PROT_ERR);
	await_status(&client->link, 11, IBV_WC_WR_FLUSH_ERR);
	expect_error_state(&client->link);
	end(&client->link, 1, 0);
}

static struct rdma_cm_id *
ask_for_connection(struct client *client)
{
	struct rdma_conn_param param = conn_param(NULL, 0);
	struct sockaddr_storage parsed;
	struct rdma_cm_id *id;

	parse_address(&parsed, ADDRESS, client->port);
	CHECK(rdma_create_id(client->channel, &id, NULL, RDMA_PS_TCP) == 0);
	CHECK(rdma_resolve_addr(id, NULL, (struct sockaddr *)&parsed, wait_ms()) == 0);
	await_event(client->channel, RDMA_CM_EVENT_ADDR_RESOLVED);
	CHECK(rdma_resolve_route(id, wait_ms()) == 0);
	await_event(client->channel, RDMA_CM_EVENT_ROUTE_RESOLVED);
	link_open(&client->link, id, SIZE, DEPTH);
	CHECK(rdma_connect(id, &param) == 0);

	return id;
}

static void
rejected(struct client *client)
{
	ask_for_connection(client);
	await_event(client->channel, RDMA_CM_EVENT_REJECTED);
	link_close(&client->link);
	expect_recovery(client);
}

static void
second_unreachable(struct client *client)
{
	connect_client(client);
	end(&client->link, 1, 0);
	ask_for_connection(client);
	await_event(client->channel, RDMA_CM_EVENT_UNREACHABLE);
	link_close(&client->link);
	expect_recovery(client);
}

/* the peer does not answer any more: what was posted waits for one's own end */
static void
disconnected(struct client *client)
{
	connect_client(client);
	await_event(client->channel, RDMA_CM_EVENT_DISCONNECTED);
	write_some(&client->link, 1, 2);
	await_nothing(client->channel);
	CHECK(ibv_poll_cq(client->link.cq, 1, &(struct ibv_wc){0}) == 0);
	end(&client->link, 1, 2);
	expect_recovery(client);
}

static void
device_removal(struct client *client)
{
	connect_client(client);
	await_event(client->channel, RDMA_CM_EVENT_DEVICE_REMOVAL);
	expect_error_state(&client->link);
	await_nothing(client->channel);
	end(&client->link, 1, 0);
	expect_recovery(client);
}

static void
timewait_exit(struct client *client)
{
	connect_client(client);
	await_event(client->channel, RDMA_CM_EVENT_TIMEWAIT_EXIT);
	await_nothing(client->channel);
	end(&client->link, 1, 0);
	expect_recovery(client);
}

static void
await_async(struct link *link, enum ibv_event_type wanted)
{
	struct pollfd readable = {.fd = link->id->verbs->async_fd, .events = POLLIN};
	struct ibv_async_event event;

	if (poll(&readable, 1, wait_ms()) != 1)
		die("no asynchronous event, %s is due", ibv_event_type_str(wanted));
	CHECK(ibv_get_async_event(link->id->verbs, &event) == 0);
	if (event.event_type != wanted)
		die("%s instead of %s", ibv_event_type_str(event.event_type), ibv_event_type_str(wanted));
	if (wanted == IBV_EVENT_PORT_ERR || wanted == IBV_EVENT_PORT_ACTIVE)
		CHECK(event.element.port_num == 1);
	else if (wanted != IBV_EVENT_DEVICE_FATAL)
		CHECK(event.element.qp == link->id->qp);
	ibv_ack_async_event(&event);
}

/* first the port fails, and is back with the second connection */
static void
port_events(struct client *client)
{
	connect_client(client);
	await_async(&client->link, IBV_EVENT_PORT_ERR);
	write_some(&client->link, 1, 1);
	await_status(&client->link, 1, IBV_WC_SUCCESS);
	end(&client->link, 1, 0);
	connect_client(client);
	await_async(&client->link, IBV_EVENT_PORT_ACTIVE);
	end(&client->link, 1, 0);
}

static void
fatal_event(struct client *client, enum ibv_event_type event)
{
	connect_client(client);
	await_async(&client->link, event);
	expect_error_state(&client->link);
	end(&client->link, 1, 0);
	expect_recovery(client);
}

static void
qp_fatal(struct client *client)
{
	fatal_event(client, IBV_EVENT_QP_FATAL);
}

static void
qp_access_err(struct client *client)
{
	fatal_event(client, IBV_EVENT_QP_ACCESS_ERR);
}

static void
device_fatal(struct client *client)
{
	fatal_event(client, IBV_EVENT_DEVICE_FATAL);
}

static void
peer_dies(struct client *client)
{
	connect_client(client);
	write_some(&client->link, 1, 5);
	await_status(&client->link, 1, IBV_WC_SUCCESS);
	await_status(&client->link, 2, IBV_WC_SUCCESS);
	await_status(&client->link, 3, IBV_WC_RETRY_EXC_ERR);
	await_status(&client->link, 4, IBV_WC_WR_FLUSH_ERR);
	await_status(&client->link, 5, IBV_WC_WR_FLUSH_ERR);
	await_event(client->channel, RDMA_CM_EVENT_DISCONNECTED);
	expect_error_state(&client->link);
	end(&client->link, 1, 0);
	expect_recovery(client);
}

/* with nothing under way: the next one that is posted fails */
static void
idle_peer_dies(struct client *client)
{
	connect_client(client);
	write_some(&client->link, 1, 1);
	await_status(&client->link, 1, IBV_WC_SUCCESS);
	await_event(client->channel, RDMA_CM_EVENT_DISCONNECTED);
	write_some(&client->link, 2, 3);
	await_status(&client->link, 2, IBV_WC_RETRY_EXC_ERR);
	await_status(&client->link, 3, IBV_WC_WR_FLUSH_ERR);
	end(&client->link, 1, 0);
}

/* a message waits for a receive, and the write behind it waits for the message */
static void
no_receive_for_a_while(struct client *client)
{
	const uint64_t pause = 300000000;
	uint64_t begun;

	connect_client(client);
	write_some(&client->link, 1, 1);
	await_status(&client->link, 1, IBV_WC_SUCCESS);
	begun = now_ns();
	post(&client->link, IBV_WR_SEND, 2, 0, MESSAGE, 0);
	write_some(&client->link, 3, 3);
	await_status(&client->link, 2, IBV_WC_SUCCESS);
	CHECK(now_ns() - begun >= pause);
	await_status(&client->link, 3, IBV_WC_SUCCESS);
	/* the second message has a receive */
	post(&client->link, IBV_WR_SEND, 4, 0, MESSAGE, 0);
	await_status(&client->link, 4, IBV_WC_SUCCESS);
	end(&client->link, 1, 0);
}

/* the server has said that it is to be tried no more than once */
static void
no_receive_for_long(struct client *client)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	connect_client(client);
	CHECK(ibv_query_qp(client->link.id->qp, &attr, IBV_QP_RNR_RETRY, &init) == 0);
	CHECK(attr.rnr_retry == 1);
	write_some(&client->link, 1, 1);
	post(&client->link, IBV_WR_SEND, 2, 0, MESSAGE, 0);
	write_some(&client->link, 3, 3);
	await_status(&client->link, 1, IBV_WC_SUCCESS);
	await_status(&client->link, 2, IBV_WC_RNR_RETRY_EXC_ERR);
	await_status(&client->link, 3, IBV_WC_WR_FLUSH_ERR);
	expect_error_state(&client->link);
	end(&client->link, 1, 0);
}

/* says which of many writes fails; each on a connection of its own, since the first one ends that */
static void
random_completion(struct client *client)
{
	connect_client(client);
	for (unsigned i = 1; i <= 1000; i++) {
		struct ibv_wc wc = {0};

		write_some(&client->link, i, i);
		while (ibv_poll_cq(client->link.cq, 1, &wc) == 0)
			;
		client->link.posted--;
		if (wc.status == IBV_WC_SUCCESS)
			continue;
		CHECK(wc.status == IBV_WC_RETRY_EXC_ERR);
		report("failed %u", i);
		end(&client->link, 1, 0);
		return;
	}
	die("none of 1000 completions failed");
}

/* --- the server -------------------------------------------------------------------------------- */

static struct link links[LINKS];

/* the parent wants to hear of as much as this */
static void
report_first(const char *what)
{
	static unsigned long reported;

	if (reported++ < env_number("FAULTS_REPORTS", 0))
		report("%s", what);
}

static struct link *
free_link(void)
{
	for (int i = 0; i < LINKS; i++) {
		if (!links[i].id)
			return &links[i];
	}
	die("more than %d connections", LINKS);
}

static void
take_request(struct rdma_cm_id *id)
{
	struct link *link = free_link();
	struct remote own;
	struct rdma_conn_param param;

	link_open(link, id, SIZE, DEPTH);
	for (uint64_t i = 0; i < RECEIVES / 2; i++)
		post_receive(link, i, i * MESSAGE, MESSAGE);
	own = (struct remote){
		.address = (uintptr_t)link->memory,
		.key = link->mr->rkey,
		.size = (uint32_t)link->size,
	};
	param = conn_param(&own, sizeof(own));
	param.rnr_retry_count = (uint8_t)env_number("FAULTS_RNR_RETRY", 7);
	if (rdma_accept(id, &param) != 0)
		link->ended = true;
}

/* sends messages back */
static void
serve_link(struct link *link)
{
	struct ibv_wc wc;
	struct ibv_cq *cq;
	void *context;

	if (ibv_get_cq_event(link->channel, &cq, &context) == 0)
		ibv_ack_cq_events(cq, 1);
	CHECK(ibv_req_notify_cq(link->cq, 0) == 0);
	while (ibv_poll_cq(link->cq, 1, &wc) > 0) {
		link->posted--;
		if (wc.status != IBV_WC_SUCCESS && wc.status != IBV_WC_WR_FLUSH_ERR)
			report_first(ibv_wc_status_str(wc.status));
		if (wc.status == IBV_WC_SUCCESS && wc.opcode == IBV_WC_RECV)
			post(link, IBV_WR_SEND, wc.wr_id, wc.wr_id * MESSAGE, wc.byte_len, 0);
	}
}

static void
serve_event(struct rdma_event_channel *channel)
{
	struct rdma_cm_event *event = next_event(channel, 0);
	enum rdma_cm_event_type type;
	struct rdma_cm_id *id;

	if (!event)
		return;
	type = event->event;
	id = event->id;
	CHECK(rdma_ack_cm_event(event) == 0);
	if (type == RDMA_CM_EVENT_CONNECT_REQUEST) {
		take_request(id);
		return;
	}
	if (type != RDMA_CM_EVENT_ESTABLISHED && type != RDMA_CM_EVENT_TIMEWAIT_EXIT) {
		/* what came before the end, which this process may see at the same time */
		serve_link(id->context);
		((struct link *)id->context)->ended = true;
	}
	report_first(rdma_event_str(type));
}

static void
end_link(struct link *link)
{
	struct ibv_wc wc;

	rdma_disconnect(link->id);
	while (link->posted > 0)
		link->posted -= (unsigned)ibv_poll_cq(link->cq, 1, &wc);
	link_close(link);
}

static void
serve(void)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, ADDRESS, 0, 8);
	char line[16];

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	for (;;) {
		struct pollfd fds[LINKS + 2] = {
			{.fd = STDIN_FILENO, .events = POLLIN},
			{.fd = channel->fd, .events = POLLIN},
		};

		for (int i = 0; i < LINKS; i++) {
			if (links[i].id && links[i].ended)
				end_link(&links[i]);
			fds[i + 2] = (struct pollfd){
				.fd = links[i].id ? links[i].channel->fd : -1, .events = POLLIN};
		}
		CHECK(poll(fds, LINKS + 2, -1) >= 0 || errno == EINTR);
		/* first that a connection is established, then what comes on it */
		if (fds[1].revents)
			serve_event(channel);
		for (int i = 0; i < LINKS; i++) {
			if (fds[i + 2].revents)
				serve_link(&links[i]);
		}
		if (fds[0].revents && !listen_to_parent(line, sizeof(line)))
			break;
	}
	for (int i = 0; i < LINKS; i++) {
		if (links[i].id)
			end_link(&links[i]);
	}
	close_server(channel, listener);
}

/* --- cases of a server, as its client sees them ------------------------------------------------- */

static void
server_refuses(struct client *client)
{
	ask_for_connection(client);
	await_event(client->channel, RDMA_CM_EVENT_REJECTED);
	link_close(&client->link);
	expect_recovery(client);
}

static void
server_is_cut_off(struct client *client)
{
	connect_client(client);
	await_event(client->channel, RDMA_CM_EVENT_DISCONNECTED);
	write_some(&client->link, 1, 2);
	await_status(&client->link, 1, IBV_WC_RETRY_EXC_ERR);
	await_status(&client->link, 2, IBV_WC_WR_FLUSH_ERR);
	end(&client->link, 1, 0);
	expect_recovery(client);
}

/* the receive of the server fails after the message was acknowledged, and with it the queue pair */
static void
server_receive_fails(struct client *client)
{
	connect_client(client);
	post(&client->link, IBV_WR_SEND, 1, 0, MESSAGE, 0);
	await_status(&client->link, 1, IBV_WC_SUCCESS);
	post(&client->link, IBV_WR_SEND, 2, 0, MESSAGE, 0);
	await_status(&client->link, 2, IBV_WC_RETRY_EXC_ERR);
	end(&client->link, 1, 0);
	expect_recovery(client);
}

/* after the third write */
static void
server_loses_client(struct client *client)
{
	connect_client(client);
	write_some(&client->link, 1, 2);
	await_status(&client->link, 1, IBV_WC_SUCCESS);
	await_status(&client->link, 2, IBV_WC_SUCCESS);
	write_some(&client->link, 3, 3);
	await_event(client->channel, RDMA_CM_EVENT_DISCONNECTED);
	end(&client->link, 3, 2);
}

/* --- the table ---------------------------------------------------------------------------------- */

static const struct fault_case {
	const char *name;
	const char *fault;
	void (*client)(struct client *);
	/* the fault is the server's, and what it has to report first */
	const char *server[3];
} cases[] = {
	{"nth-completion", "completion:2:REM_ACCESS_ERR", nth_completion, {0}},
	{"unsignalled", "completion:2:GENERAL_ERR", unsignalled, {0}},
	{"second-queue-pair", "completion:qp=2:2:RNR_RETRY_EXC_ERR", completion_of_second_queue_pair, {0}},
	{"receive", "completion:2:LOC_PROT_ERR", completion_of_receive, {0}},
	{"rejected", "event:rejected:1", rejected, {0}},
	{"second-unreachable", "event:unreachable:2", second_unreachable, {0}},
	{"disconnected", "event:disconnected", disconnected, {0}},
	{"device-removal", "event:device-removal:1", device_removal, {0}},
	{"timewait-exit", "event:timewait-exit:1", timewait_exit, {0}},
	{"port", "async:port-err,async:port-active:2", port_events, {0}},
	{"qp-fatal", "async:qp-fatal:1", qp_fatal, {0}},
	{"qp-access-err", "async:qp-access-err:1", qp_access_err, {0}},
	{"device-fatal", "async:device-fatal:1", device_fatal, {0}},
	{"peer-dies", "peer-dies:2", peer_dies, {0}},
	{"idle-peer-dies", "peer-dies:qp=1:1", idle_peer_dies, {0}},
	{"no-receive", "rnr:1:300ms", no_receive_for_a_while, {0}},
	{"no-receive-for-long", "rnr:1:60s", no_receive_for_long, {0}},
	{"server-rejected", "event:rejected:1", server_refuses, {"RDMA_CM_EVENT_REJECTED"}},
	{"server-unreachable", "event:unreachable:1", server_refuses, {"RDMA_CM_EVENT_UNREACHABLE"}},
	{"server-disconnected", "event:disconnected:1", server_is_cut_off,
		{"RDMA_CM_EVENT_ESTABLISHED", "RDMA_CM_EVENT_DISCONNECTED"}},
	{"server-device-removal", "event:device-removal:1", server_is_cut_off,
		{"RDMA_CM_EVENT_ESTABLISHED", "RDMA_CM_EVENT_DEVICE_REMOVAL"}},
	{"server-receive", "completion:1:REM_OP_ERR", server_receive_fails,
		{"RDMA_CM_EVENT_ESTABLISHED", "remote operation error"}},
	{"server-loses-client", "peer-dies:3", server_loses_client,
		{"RDMA_CM_EVENT_ESTABLISHED", "RDMA_CM_EVENT_DISCONNECTED"}},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

static void
run_client(const char *name, unsigned port)
{
	struct client client = {.channel = open_channel(), .port = port};

	if (strcmp(name, "random") == 0)
		random_completion(&client);
	for (size_t i = 0; i < CASES; i++) {
		if (strcmp(cases[i].name, name) == 0)
			cases[i].client(&client);
	}
	release_pd();
	rdma_destroy_event_channel(client.channel);
}

/* a process of its own with these faults, or none */
static struct child
start_with(const char *role, unsigned port, const char *fault, const char *seed)
{
	struct child child;

	CHECK(setenv("SOFTRDMA_FAULT", fault, 1) == 0 && setenv("SOFTRDMA_SEED", seed, 1) == 0);
	child = start(role, ADDRESS, port);
	CHECK(unsetenv("SOFTRDMA_FAULT") == 0 && unsetenv("SOFTRDMA_SEED") == 0);

	return child;
}

static void
run_case(const struct fault_case *test)
{
	bool of_server = test->server[0] != NULL;
	struct child server, client;
	size_t reports = 0;
	char number[16];
	unsigned port;

	while (reports < sizeof(test->server) / sizeof(test->server[0]) && test->server[reports])
		reports++;
	snprintf(number, sizeof(number), "%zu", reports);
	CHECK(setenv("FAULTS_REPORTS", number, 1) == 0);
	CHECK(setenv("FAULTS_RNR_RETRY", strcmp(test->name, "no-receive-for-long") == 0 ? "1" : "7", 1) == 0);
	server = start_with("server", 0, of_server ? test->fault : "", "");
	port = (unsigned)expect(&server, "listening");
	client = start_with(test->name, port, of_server ? "" : test->fault, "");
	for (size_t i = 0; i < reports; i++)
		expect(&server, test->server[i]);
	finish(&client);
	close(server.out);
	finish(&server);
	printf("%-24s %s\n", test->name, test->fault);
}

/* which completion fails depends on the seed, and on nothing else */
static void
run_random(void)
{
	static const char *const seeds[] = {"1", "1", "2", "3"};
	unsigned long failed[4];

	CHECK(unsetenv("FAULTS_REPORTS") == 0);

	for (int i = 0; i < 4; i++) {
		struct child server = start_with("server", 0, "", "");
		unsigned port = (unsigned)expect(&server, "listening");
		struct child client = start_with("random", port, "completion:random:1/50:RETRY_EXC_ERR", seeds[i]);

		failed[i] = expect(&client, "failed");
		finish(&client);
		close(server.out);
		finish(&server);
	}
	CHECK(failed[0] == failed[1]);
	CHECK(failed[0] != failed[2] || failed[0] != failed[3]);
	printf("%-24s completions %lu, %lu, %lu\n", "random", failed[0], failed[2], failed[3]);
}

static bool
is_wanted(const char *name, int argc, char *argv[])
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], name) == 0)
			return true;
	}

	return argc == 1;
}

int
main(int argc, char *argv[])
{
	if (play_role(argc, argv, ADDRESS, serve, run_client))
		return 0;
	skip_without(ADDRESS);
	for (size_t i = 0; i < CASES; i++) {
		if (is_wanted(cases[i].name, argc, argv))
			run_case(&cases[i]);
	}
	if (is_wanted("random", argc, argv))
		run_random();

	return 0;
}
