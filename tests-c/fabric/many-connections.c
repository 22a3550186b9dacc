/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * many-connections [ADDRESS]: many connections between two processes, all at once. Prints how long that
 * took and what each connection costs. Then uses each of them, closes them all, and looks whether
 * anything is left. Connections that share memory must cost no descriptor, and no more shared memory than a page as
 * long as they are idle.
 *
 *   softrdma run -- many-connections
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: MANY_CONNECTIONS (1000), PAIR_WAIT_MS (10000:
 * how long anything may take).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "two-processes.h"

#define SLOT ((size_t)64)
/* what a connection is given: for each direction */
#define DEPTH 4
/* the descriptors that a process needs, however many connections it has */
#define OF_PROCESS 24

struct many {
	struct rdma_event_channel *channel;
	unsigned count;
	struct rdma_cm_id **ids;
	unsigned established;
	unsigned disconnected;
	/* shared by all: what is measured is the connection itself */
	struct ibv_cq *cq;
	struct ibv_mr *mr;
	char *memory;
	size_t size;
	struct remote remote;
};

static void
many_init(struct many *many)
{
	memset(many, 0, sizeof(*many));
	raise_descriptor_limit();
	many->count = (unsigned)env_number("MANY_CONNECTIONS", 1000);
	many->channel = open_channel();
	many->ids = calloc(many->count, sizeof(*many->ids));
	/* slots for what is sent, for what is received, and for what the other end writes */
	many->size = many->count * SLOT * 3;
	many->memory = calloc(1, many->size);
	CHECK(many->ids && many->memory);
}

static void
make_qp(struct many *many, struct rdma_cm_id *id)
{
	struct ibv_qp_init_attr attr = {
		.cap = {
			.max_send_wr = DEPTH,
			.max_recv_wr = DEPTH,
			.max_send_sge = 1,
			.max_recv_sge = 1,
		},
		.qp_type = IBV_QPT_RC,
	};

	if (!many->cq) {
		struct ibv_device_attr device;
		unsigned depth = many->count * 2 * DEPTH;

		CHECK(ibv_query_device(id->verbs, &device) == 0);
		if (depth > (unsigned)device.max_cqe)
			depth = (unsigned)device.max_cqe;
		many->cq = ibv_create_cq(id->verbs, (int)depth, NULL, NULL, 0);
		CHECK(many->cq);
		many->mr = ibv_reg_mr(pd_of(id->verbs), many->memory, many->size,
				IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
		CHECK(many->mr);
	}
	attr.send_cq = attr.recv_cq = many->cq;
	CHECK(rdma_create_qp(id, pd_of(id->verbs), &attr) == 0);
}

enum which { SENT, RECEIVED, WRITTEN };

static char *
slot_of(struct many *many, unsigned index, enum which which)
{
	return many->memory + (which * many->count + index) * SLOT;
}

static void
many_receive(struct many *many, unsigned index)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)slot_of(many, index, RECEIVED),
		.length = SLOT,
		.lkey = many->mr->lkey,
	};
	struct ibv_recv_wr wr = {.wr_id = index, .sg_list = &sge, .num_sge = 1};
	struct ibv_recv_wr *bad;

	CHECK(ibv_post_recv(many->ids[index]->qp, &wr, &bad) == 0);
}

static void
many_send(struct many *many, unsigned index, enum ibv_wr_opcode opcode)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)slot_of(many, index, SENT),
		.length = SLOT,
		.lkey = many->mr->lkey,
	};
	struct ibv_send_wr wr = {
		.wr_id = index,
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = opcode,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {
			.remote_addr = many->remote.address + (WRITTEN * many->count + index) * SLOT,
			.rkey = many->remote.key,
		},
	};
	struct ibv_send_wr *bad;

	CHECK(ibv_post_send(many->ids[index]->qp, &wr, &bad) == 0);
}

/* the next completion, which must be a success */
static struct ibv_wc
many_complete(struct many *many)
{
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_wc wc;
	int ret;

	while ((ret = ibv_poll_cq(many->cq, 1, &wc)) == 0) {
		if (now_ns() > limit)
			die("no completion in %d ms", wait_ms());
		sched_yield();
	}
	CHECK(ret == 1);
	if (wc.status != IBV_WC_SUCCESS)
		die("connection %u: %s", (unsigned)wc.wr_id, ibv_wc_status_str(wc.status));

	return wc;
}

static void
many_close(struct many *many)
{
	for (unsigned i = 0; i < many->count; i++) {
		rdma_disconnect(many->ids[i]);
		rdma_destroy_qp(many->ids[i]);
		CHECK(rdma_destroy_id(many->ids[i]) == 0);
	}
	CHECK(ibv_dereg_mr(many->mr) == 0);
	CHECK(ibv_destroy_cq(many->cq) == 0);
	release_pd();
	free(many->ids);
	free(many->memory);
}

static void
report_use(const char *when)
{
	report("%s %u %ld %ld", when, descriptors(), resident(), resident_shared());
}

/* all connections leave TCP, which closes their sockets */
static void
leave_tcp(unsigned before)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;

	if (getenv("SOFTRDMA_SOCKET_ONLY"))
		return;
	while (descriptors() > before + OF_PROCESS) {
		if (now_ns() > limit)
			die("%u descriptors, and %u before there were connections", descriptors(), before);
		nanosleep(&moment, NULL);
	}
}

/* --- the server -------------------------------------------------------------------------------- */

static void
server_event(struct many *many)
{
	struct rdma_cm_event *event = next_event(many->channel, wait_ms());
	struct rdma_conn_param param;
	enum rdma_cm_event_type type;
	struct remote own;
	struct rdma_cm_id *id;
	uint32_t index = UINT32_MAX;

	if (!event)
		die("%u connections established, and no event in %d ms", many->established, wait_ms());
	type = event->event;
	id = event->id;
	if (type == RDMA_CM_EVENT_CONNECT_REQUEST && event->param.conn.private_data_len >= sizeof(index))
		memcpy(&index, event->param.conn.private_data, sizeof(index));
	CHECK(rdma_ack_cm_event(event) == 0);

	switch (type) {
	case RDMA_CM_EVENT_CONNECT_REQUEST:
		CHECK(index < many->count && !many->ids[index]);
		many->ids[index] = id;
		make_qp(many, id);
		own = (struct remote){(uintptr_t)many->memory, many->mr->rkey, (uint32_t)many->size};
		many_receive(many, index);
		param = conn_param(&own, sizeof(own));
		CHECK(rdma_accept(id, &param) == 0);
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		many->established++;
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
		many->disconnected++;
		break;
	case RDMA_CM_EVENT_TIMEWAIT_EXIT:
		break;
	default:
		die("event %s", rdma_event_str(type));
	}
}

static int
serve(const char *address)
{
	struct many many;
	struct rdma_cm_id *listener;
	unsigned received = 0, sent = 0, before;

	many_init(&many);
	listener = listen_at(many.channel, address, 0, (int)many.count);
	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	report_use("before");
	before = descriptors();
	while (many.established < many.count)
		server_event(&many);
	leave_tcp(before);
	report_use("connected");

	/* every message goes back */
	while (sent < many.count) {
		struct ibv_wc wc = many_complete(&many);
		unsigned index = (unsigned)wc.wr_id;

		if (wc.opcode == IBV_WC_RECV) {
			CHECK(++received <= many.count && wc.byte_len == SLOT);
			/* what was written before the message is there when the message is */
			if (memcmp(slot_of(&many, index, WRITTEN), slot_of(&many, index, RECEIVED), SLOT) != 0)
				die("connection %u: the message is here, and what was written is not", index);
			memcpy(slot_of(&many, index, SENT), slot_of(&many, index, RECEIVED), SLOT);
			many_send(&many, index, IBV_WR_SEND);
		} else {
			sent++;
		}
	}
	report("served");
	while (many.disconnected < many.count)
		server_event(&many);
	many_close(&many);
	report_use("closed");
	CHECK(rdma_destroy_id(listener) == 0);
	rdma_destroy_event_channel(many.channel);

	return 0;
}

/* --- the client -------------------------------------------------------------------------------- */

static void
client_event(struct many *many)
{
	struct rdma_cm_event *event = next_event(many->channel, wait_ms());
	struct rdma_conn_param param;
	enum rdma_cm_event_type type;
	struct rdma_cm_id *id;
	uint32_t index;

	if (!event)
		die("%u connections established, and no event in %d ms", many->established, wait_ms());
	type = event->event;
	id = event->id;
	if (type == RDMA_CM_EVENT_ESTABLISHED) {
		CHECK(event->param.conn.private_data_len >= sizeof(many->remote));
		memcpy(&many->remote, event->param.conn.private_data, sizeof(many->remote));
	}
	CHECK(rdma_ack_cm_event(event) == 0);

	switch (type) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		CHECK(rdma_resolve_route(id, wait_ms()) == 0);
		break;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		make_qp(many, id);
		index = (uint32_t)(uintptr_t)id->context;
		many_receive(many, index);
		param = conn_param(&index, sizeof(index));
		CHECK(rdma_connect(id, &param) == 0);
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		many->established++;
		break;
	default:
		die("event %s", rdma_event_str(type));
	}
}

/* a write and a message on each connection, on all at once; the messages come back */
static void
use_all(struct many *many)
{
	unsigned due = many->count * 3;

	for (unsigned i = 0; i < many->count; i++) {
		fill(slot_of(many, i, SENT), SLOT, i + 1);
		many_send(many, i, IBV_WR_RDMA_WRITE);
		many_send(many, i, IBV_WR_SEND);
	}
	while (due-- > 0)
		many_complete(many);
	for (unsigned i = 0; i < many->count; i++) {
		if (memcmp(slot_of(many, i, SENT), slot_of(many, i, RECEIVED), SLOT) != 0)
			die("connection %u: the message came back as another one", i);
	}
}

static int
work(const char *address, unsigned port)
{
	struct sockaddr_storage parsed;
	struct many many;
	uint64_t started;
	unsigned before;

	many_init(&many);
	parse_address(&parsed, address, port);
	report_use("before");
	before = descriptors();
	started = now_ns();
	for (unsigned i = 0; i < many.count; i++) {
		CHECK(rdma_create_id(many.channel, &many.ids[i], (void *)(uintptr_t)i, RDMA_PS_TCP) == 0);
		CHECK(rdma_resolve_addr(many.ids[i], NULL, (struct sockaddr *)&parsed, wait_ms()) == 0);
	}
	while (many.established < many.count)
		client_event(&many);
	report("microseconds %lu", (unsigned long)((now_ns() - started) / 1000));
	leave_tcp(before);
	report_use("connected");
	/* not before the server has looked, too */
	listen_to_parent((char[16]){0}, 16);

	started = now_ns();
	use_all(&many);
	report("microseconds %lu", (unsigned long)((now_ns() - started) / 1000));
	started = now_ns();
	many_close(&many);
	report("microseconds %lu", (unsigned long)((now_ns() - started) / 1000));
	report_use("closed");
	rdma_destroy_event_channel(many.channel);

	return 0;
}

/* --- the parent -------------------------------------------------------------------------------- */

struct use {
	unsigned descriptors;
	long kib;
	long shared;
};

static struct use
use_of(struct child *child, const char *when)
{
	char *line = hear(child);
	char name[32];
	struct use use;

	if (!line || sscanf(line, "%31s %u %ld %ld", name, &use.descriptors, &use.kib, &use.shared) != 4 ||
			strcmp(name, when) != 0)
		die("\"%s\" instead of \"%s\"", line ? line : "nothing", when);

	return use;
}

static void
show(const char *who, struct use before, struct use connected, struct use closed, unsigned count)
{
	printf("%s: %.2f descriptors and %.1f KiB for each connection, of which %.1f KiB are shared; afterwards "
			"%d descriptors and %ld KiB more than before\n", who,
			(double)(connected.descriptors - before.descriptors) / count,
			(double)(connected.kib - before.kib) / count,
			(double)(connected.shared - before.shared) / count,
			(int)(closed.descriptors - before.descriptors), closed.kib - before.kib);
	/* a page each, and half of one for what processes have besides */
	if ((connected.shared - before.shared) * 2 > (long)count * 3 * sysconf(_SC_PAGESIZE) / 1024)
		die("an idle connection has %.1f KiB of shared memory", (double)(connected.shared - before.shared) / count);
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	unsigned count = (unsigned)env_number("MANY_CONNECTIONS", 1000);
	struct use server_use[3], client_use[3];
	struct child server, client;
	unsigned long microseconds;
	struct rlimit limit;

	if (argc == 4) {
		return strcmp(argv[1], "server") == 0 ? serve(argv[2]) :
				work(argv[2], (unsigned)atoi(argv[3]));
	}

	skip_without(address);
	/* one for each, as long as it is on TCP, and some for everything else */
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < count + 64) {
		printf("skipped: %lu descriptors are allowed, too few for %u connections\n",
				(unsigned long)limit.rlim_max, count);
		return 77;
	}

	server = start("server", address, 0);
	client = start("client", address, (unsigned)expect(&server, "listening "));
	server_use[0] = use_of(&server, "before");
	client_use[0] = use_of(&client, "before");

	microseconds = expect(&client, "microseconds ");
	printf("%u connections in %.3f s: %.0f a second\n", count, (double)microseconds / 1e6,
			count * 1e6 / (double)microseconds);
	client_use[1] = use_of(&client, "connected");
	server_use[1] = use_of(&server, "connected");
	tell(&client, "go on");

	microseconds = expect(&client, "microseconds ");
	printf("a write and a message to and fro on all of them: %.3f s\n", (double)microseconds / 1e6);
	expect(&server, "served");
	microseconds = expect(&client, "microseconds ");
	printf("closed in %.3f s\n", (double)microseconds / 1e6);
	client_use[2] = use_of(&client, "closed");
	server_use[2] = use_of(&server, "closed");
	finish(&client);
	finish(&server);

	show("server", server_use[0], server_use[1], server_use[2], count);
	show("client", client_use[0], client_use[1], client_use[2], count);
	if (server_use[2].descriptors > server_use[0].descriptors + OF_PROCESS ||
			client_use[2].descriptors > client_use[0].descriptors + OF_PROCESS)
		die("descriptors are left over");

	return 0;
}
