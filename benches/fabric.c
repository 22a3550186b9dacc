/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fabric ADDRESS [brief | private | flush | cycles COUNT]: measures the speed of the RDMA device with this address, between two
 * processes of this machine, and prints samples (bench.h) for run-fabric.
 *
 * In each round stand the device's operations and their yardsticks: memcpy, process_vm_writev(2), two
 * processes that wake each other through eventfds, TCP. Only the ratios are meaningful on a machine that others
 * use too.
 *
 * With `brief`, only what two devices are compared by is measured, with `private` all of a device but files in memory
 * and stopped owners, and with `flush` flushes. With `cycles`, only COUNT connections are made, used and ended, for
 * run-fabric to count their system calls.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../tests-c/support/native.h"
#include "bench.h"

#define ROUND_NS 3e7
#define LONG_ROUND_NS 6e7	/* of what takes a millisecond */
#define DEPTH 8
#define REGION (2 * MIB)
#define CYCLES 10
#define TCP_MIB 32	/* in each round */
/* how long an operation may take before it counts as one that waits for the owner of the memory */
#define STOPPED_NS 3e8
#define FOR_EVER 6e10

enum command { POLLED, WAITED, EVENTFD, TCP_CONNECTIONS, TCP_POLLED, TCP_WAITED, TCP_WRITES, CONNECTIONS, END };

struct order {
	enum command command;
	unsigned count;
};

/* memory of the server: private, and a file in memory that both processes have mapped */
enum kind { PRIVATE, SHARED, KINDS };
static const char *const kind_names[KINDS] = {"private", "file"};

/* what the server sends to the client */
struct server {
	uint16_t port;
	struct remote regions[KINDS];
};

struct client {
	int fd;
	pid_t pid;
	uint16_t port;
	struct end end;
	struct remote regions[KINDS];
	struct sockaddr_storage tcp_address;
	int tcp;
	struct ibv_qp_ex *flushing;	/* NULL: without native flushes */
};

static int file;
static uint8_t *mapped;	/* of the file */

static void
give_order(struct client *client, enum command command, unsigned count)
{
	struct order order = {command, count};

	tell(client->fd, &order, sizeof(order));
}

static struct setup
bench_setup(void)
{
	struct setup setup = usual();

	/* send completions are polled from time to time, the program may wait for receive completions */
	setup.split_cq = true;
	setup.length = REGION;

	return setup;
}

/* --- messages ---------------------------------------------------------------------------------- */

static void
next_receive(struct end *end, bool waited)
{
	struct ibv_wc wc;

	while (ibv_poll_cq(end->rcq, 1, &wc) == 0) {
		struct ibv_cq *cq;
		void *context;

		if (!waited) {
			/* there may be fewer processors than threads */
			sched_yield();
			continue;
		}
		NEED(ibv_get_cq_event(end->comp, &cq, &context));
		ibv_ack_cq_events(cq, 1);
		NEED(ibv_req_notify_cq(cq, 0));
	}
	if (wc.status != IBV_WC_SUCCESS)
		broken(status_name(wc.status));
}

/* returns how many earlier sends have completed */
static int
send_message(struct end *end)
{
	struct ibv_wc wc;
	int done = 0;

	NEED(post_send(end, 1, 0, MESSAGE));
	while (ibv_poll_cq(end->cq, 1, &wc) == 1) {
		if (wc.status != IBV_WC_SUCCESS)
			broken(status_name(wc.status));
		done++;
	}

	return done;
}

/* answers messages until the last one, whose first byte is 1 */
static void
answer_messages(struct end *end, bool waited)
{
	bool last;

	if (waited)
		NEED(ibv_req_notify_cq(end->rcq, 0));
	do {
		next_receive(end, waited);
		last = end->memory[MESSAGE] == 1;
		NEED(post_recv(end, 0, MESSAGE, MESSAGE));
		send_message(end);
	} while (!last);
}

static double
message_round(struct client *client, bool waited)
{
	struct end *end = &client->end;
	struct timer timer;
	bool last = false;
	int outstanding = 0;

	give_order(client, waited ? WAITED : POLLED, 0);
	if (waited)
		NEED(ibv_req_notify_cq(end->rcq, 0));
	timer = timer_start(ROUND_NS, BATCH);
	do {
		end->memory[0] = last;
		outstanding += 1 - send_message(end);
		next_receive(end, waited);
		NEED(post_recv(end, 0, MESSAGE, MESSAGE));
		if (last)
			break;
		last = !timer_goes_on(&timer);
	} while (true);
	/* none of these completions may be taken for one of what follows */
	for (; outstanding > 0; outstanding--)
		if (!poll_one(end->cq, FOR_EVER))
			broken("a send");

	return timer_median(&timer);
}

/* --- one-sided operations ---------------------------------------------------------------------- */

/* with `depth` outstanding requests; NAN if one takes longer than timeout_ns, and then they are still outstanding */
static double
rdma_round(struct end *end, enum ibv_wr_opcode opcode, struct remote remote, size_t length, unsigned depth,
		double timeout_ns)
{
	struct timer timer = length < MIB ? timer_start(ROUND_NS, BATCH) : timer_start(LONG_ROUND_NS, depth);
	unsigned outstanding = 0;

	timer.fixed = depth > 1;
	do {
		for (; outstanding < depth; outstanding++)
			NEED(post_op(end, opcode, 1, 0, length, remote));
		if (!poll_one(end->cq, timeout_ns))
			return NAN;
		outstanding--;
	} while (timer_goes_on(&timer));
	for (; outstanding > 0; outstanding--)
		if (!poll_one(end->cq, timeout_ns))
			return NAN;

	return timer_median(&timer);
}

static void
post_flush(struct client *client, struct remote remote)
{
	struct ibv_qp_ex *qp = client->flushing;

	if (!qp) {
		/* as librpma flushes: a read of what was written last, or of anything else */
		NEED(post_op(&client->end, IBV_WR_RDMA_READ, 2, 8, 8, remote));
		return;
	}
	ibv_wr_start(qp);
	qp->wr_id = 2;
	qp->wr_flags = IBV_SEND_SIGNALED;
	native_functions(qp)->wr_flush(qp, remote.rkey, remote.addr, 8, FLUSH_PLACEMENT_GLOBAL,
			FLUSH_SELECTIVITY_RANGE);
	NEED(ibv_wr_complete(qp));
}

static double
flush_round(struct client *client, struct remote remote)
{
	struct timer timer = timer_start(ROUND_NS, BATCH);
	struct request request;

	do {
		prepare(&request, &client->end, IBV_WR_RDMA_WRITE, 1, 0, 8, remote);
		request.wr.send_flags = 0;
		NEED(post(&client->end, &request));
		post_flush(client, remote);
		if (!poll_one(client->end.cq, FOR_EVER))
			broken("flush");
	} while (timer_goes_on(&timer));

	return timer_median(&timer);
}

/* 8-byte writes while the process that owns the memory is stopped */
static double
stopped_round(struct client *client, struct remote remote)
{
	double ns;
	int status;

	NEED(kill(client->pid, SIGSTOP));
	if (waitpid(client->pid, &status, WUNTRACED) != client->pid || !WIFSTOPPED(status))
		broken("SIGSTOP");
	ns = rdma_round(&client->end, IBV_WR_RDMA_WRITE, remote, 8, 1, STOPPED_NS);
	NEED(kill(client->pid, SIGCONT));
	if (isnan(ns) && !poll_one(client->end.cq, FOR_EVER))
		broken("a write after SIGCONT");

	return ns;
}

/* --- connections ------------------------------------------------------------------------------- */

/* an end with its own channels, CQ and queue pair, as with librpma; memory and PD are those of the first one */
static struct end
small_end(const struct end *first)
{
	return (struct end){.pd = first->pd, .memory = first->memory, .length = first->length, .mr = first->mr};
}

static struct setup
small_setup(void)
{
	struct setup setup = usual();

	setup.cq_size = 10;
	setup.sq_size = setup.rq_size = 10;

	return setup;
}

static void
close_small(struct end *end)
{
	rdma_disconnect(end->id);
	need_event(end->channel, RDMA_CM_EVENT_DISCONNECTED, NULL);
	end->pd = NULL;
	end->mr = NULL;
	end->memory = NULL;
	close_end(end);
}

static void
serve_connections(struct listener *listener, const struct end *first, unsigned count)
{
	struct setup setup = small_setup();

	for (unsigned i = 0; i < count; i++) {
		struct end end = small_end(first);

		server_take(&end, listener, &setup);
		server_accept(&end, &setup);
		established(&end);
		need_event(end.channel, RDMA_CM_EVENT_DISCONNECTED, NULL);
		rdma_disconnect(end.id);
		end.pd = NULL;
		end.mr = NULL;
		end.memory = NULL;
		close_end(&end);
	}
}

/* connects, writes 8 bytes, disconnects and destroys everything, so many times */
static double
cycles(struct client *client, unsigned count)
{
	struct setup setup = small_setup();
	struct timer timer;

	give_order(client, CONNECTIONS, count);
	timer = timer_start(FOR_EVER, 1);
	for (unsigned i = 0; i < count; i++) {
		struct end end = small_end(&client->end);

		client_start(&end, client->port, &setup);
		established(&end);
		NEED(post_op(&end, IBV_WR_RDMA_WRITE, 1, 0, 8, client->regions[PRIVATE]));
		if (!poll_one(end.cq, FOR_EVER))
			broken("the first write");
		close_small(&end);
		timer_goes_on(&timer);
	}

	return timer_median(&timer);
}

/* --- both processes ---------------------------------------------------------------------------- */

static struct remote
region(struct ibv_pd *pd, uint8_t *memory, int access)
{
	struct ibv_mr *mr;

	NEED_POINTER(mr, ibv_reg_mr(pd, memory, REGION, access));

	return (struct remote){(uintptr_t)memory, mr->rkey};
}

static bool
has_native_flush(struct ibv_context *context)
{
	struct ibv_device_attr_ex attr = {0};

	return ibv_query_device_ex(context, NULL, &attr) == 0 && (attr.device_cap_flags_ex & DEVICE_FLUSH_GLOBAL);
}

static void
server(int fd)
{
	struct setup setup = bench_setup();
	struct listener listener = {0};
	struct end end = {0};
	struct server self = {0};
	struct order order;
	uint8_t *memory;
	int access = ALL_ACCESS;
	int tcp_listener, tcp;

	listen_any_port(&listener);
	self.port = listener.port;
	tell(fd, &self, sizeof(self));
	server_take(&end, &listener, &setup);
	for (unsigned i = 0; i < 4; i++)
		NEED(post_recv(&end, 0, MESSAGE, MESSAGE));
	/* within whole huge pages in each run, as most of a region of many MiB is anyway */
	memory = mmap(NULL, 2 * REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		broken("mmap");
	memory += -(uintptr_t)memory % REGION;
	if (has_native_flush(end.id->verbs))
		access |= ACCESS_FLUSH_GLOBAL;
	self.regions[PRIVATE] = region(end.pd, memory, access);
	self.regions[SHARED] = region(end.pd, mapped, access);
	server_accept(&end, &setup);
	established(&end);
	tell(fd, &self, sizeof(self));
	tcp_listener = tcp_listen(fd);
	tcp = tcp_accept(tcp_listener);

	for (;;) {
		hear(fd, &order, sizeof(order));
		switch (order.command) {
		case POLLED:
		case WAITED:
			answer_messages(&end, order.command == WAITED);
			break;
		case EVENTFD:
			eventfd_answer();
			break;
		case TCP_CONNECTIONS:
			tcp_serve(tcp_listener, order.count);
			break;
		case TCP_POLLED:
		case TCP_WAITED:
			tcp_answer(tcp, order.command == TCP_WAITED);
			break;
		case TCP_WRITES:
			tcp_take(tcp, end.memory, order.count);
			break;
		case CONNECTIONS:
			serve_connections(&listener, &end, order.count);
			break;
		default:
			return;
		}
	}
}

/* a queue pair that can flush natively takes the place of the usual one */
static void
equip_for_flushes(struct client *client, const struct setup *setup)
{
	struct end *end = &client->end;
	struct ibv_qp_init_attr_ex attr = {
		.send_cq = end->cq,
		.recv_cq = end->rcq,
		.cap = {setup->sq_size, setup->rq_size, setup->sges, setup->sges, setup->inline_size},
		.qp_type = IBV_QPT_RC,
		.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.pd = end->pd,
		.send_ops_flags = IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_RDMA_READ | IBV_QP_EX_WITH_SEND |
			QP_EX_WITH_FLUSH,
	};

	rdma_destroy_qp(end->id);
	NEED(rdma_create_qp_ex(end->id, &attr));
	end->qp = end->id->qp;
	client->flushing = ibv_qp_to_qp_ex(end->qp);
}

static void
start(struct client *client)
{
	struct setup setup = bench_setup();
	struct rdma_conn_param param = conn_param(&setup);
	struct end *end = &client->end;
	struct process process;
	struct server peer;

	eventfd_create();
	file = memfd_create("fabric", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, REGION))
		broken("memfd_create");
	mapped = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (mapped == MAP_FAILED)
		broken("mmap");
	process = start_process(server);
	client->fd = process.fd;
	client->pid = process.pid;
	hear(client->fd, &peer, sizeof(peer));
	client->port = peer.port;
	resolve(end, peer.port);
	equip(end, &setup, setup.client_access);
	if (has_native_flush(end->id->verbs))
		equip_for_flushes(client, &setup);
	NEED(rdma_connect(end->id, &param));
	for (unsigned i = 0; i < 4; i++)
		NEED(post_recv(end, 0, MESSAGE, MESSAGE));
	established(end);
	hear(client->fd, &peer, sizeof(peer));
	memcpy(client->regions, peer.regions, sizeof(client->regions));
	hear(client->fd, &client->tcp_address, sizeof(client->tcp_address));
	client->tcp = tcp_connect(&client->tcp_address);
	/* so that all pages are allocated */
	memset(end->memory, 0, end->length);
}

static double
eventfds(struct client *client)
{
	give_order(client, EVENTFD, 0);

	return eventfd_round(ROUND_NS);
}

static const struct operation {
	const char *name;
	enum ibv_wr_opcode opcode;
	size_t length;
	unsigned depth;
} operations[] = {
	{"write of 8 B", IBV_WR_RDMA_WRITE, 8, 1},
	{"read of 8 B", IBV_WR_RDMA_READ, 8, 1},
	{"write of 4 KiB", IBV_WR_RDMA_WRITE, 4096, 1},
	{"write of 64 KiB", IBV_WR_RDMA_WRITE, 65536, 1},
	{"write of 1 MiB", IBV_WR_RDMA_WRITE, MIB, 1},
	{"read of 1 MiB", IBV_WR_RDMA_READ, MIB, 1},
	{"8 writes of 1 MiB", IBV_WR_RDMA_WRITE, MIB, DEPTH},
	{"8 reads of 1 MiB", IBV_WR_RDMA_READ, MIB, DEPTH},
};

static void
measure_copies(struct client *client)
{
	static const struct {
		size_t length;
		const char *name;
	} lengths[] = {{8, "8 B"}, {4096, "4 KiB"}, {65536, "64 KiB"}, {MIB, "1 MiB"}};
	const struct end *end = &client->end;

	for (unsigned i = 0; i < COUNT_OF(lengths); i++) {
		const size_t length = lengths[i].length;

		add(writev_round(client->pid, client->regions[PRIVATE].addr, end->memory, length, ROUND_NS),
				"process_vm_writev of %s", lengths[i].name);
		if (length > MESSAGE)
			add(memcpy_round(length < MIB ? mapped : end->memory + MIB, end->memory, length, ROUND_NS),
					"memcpy of %s", lengths[i].name);
	}
}

static void
measure_operation(struct client *client, const struct operation *op, enum kind kind)
{
	add(rdma_round(&client->end, op->opcode, client->regions[kind], op->length, op->depth, FOR_EVER), "%s, %s",
			op->name, kind_names[kind]);
}

static void
measure_flush(struct client *client, enum kind kind)
{
	add(flush_round(client, client->regions[kind]), "write of 8 B and %s, %s",
			client->flushing ? "native flush" : "flush", kind_names[kind]);
}

static void
measure_operations(struct client *client, bool stopped[KINDS])
{
	for (unsigned i = 0; i < COUNT_OF(operations); i++)
		for (enum kind kind = 0; kind < KINDS; kind++)
			measure_operation(client, &operations[i], kind);
	for (enum kind kind = 0; kind < KINDS; kind++)
		measure_flush(client, kind);
	/* a device that waits for the owner costs a timeout: that is found out once */
	for (enum kind kind = 0; kind < KINDS; kind++) {
		double ns = stopped[kind] ? NAN : stopped_round(client, client->regions[kind]);

		stopped[kind] = isnan(ns);
		add(ns, "write of 8 B, owner stopped, %s", kind_names[kind]);
	}
}

static void
measure_connections(struct client *client)
{
	give_order(client, TCP_CONNECTIONS, CYCLES);
	add(tcp_connections(&client->tcp_address, CYCLES), "TCP connection");
	add(cycles(client, CYCLES), "connect, write, disconnect");
}

static void
measure_all(struct client *client, bool stopped[KINDS])
{
	double before = eventfds(client);

	measure_copies(client);
	measure_operations(client, stopped);
	add(message_round(client, false), "message and back, polled");
	add(message_round(client, true), "message and back, waited");
	add((before + eventfds(client)) / 2, "eventfd round trip");
	give_order(client, TCP_POLLED, 0);
	add(tcp_message_round(client->tcp, false, ROUND_NS), "TCP message and back, polled");
	give_order(client, TCP_WAITED, 0);
	add(tcp_message_round(client->tcp, true, ROUND_NS), "TCP message and back, waited");
	give_order(client, TCP_WRITES, TCP_MIB);
	add(tcp_write_round(client->tcp, client->end.memory, TCP_MIB, DEPTH), "TCP, 1 MiB");
	measure_connections(client);
}

static void
measure_brief(struct client *client)
{
	for (unsigned i = 0; i < COUNT_OF(operations); i++)
		if (operations[i].depth > 1)
			measure_operation(client, &operations[i], PRIVATE);
	measure_flush(client, PRIVATE);
	add(message_round(client, false), "message and back, polled");
	measure_connections(client);
}

static void
measure_private(struct client *client)
{
	for (unsigned i = 0; i < COUNT_OF(operations); i++)
		measure_operation(client, &operations[i], PRIVATE);
	measure_flush(client, PRIVATE);
	add(message_round(client, false), "message and back, polled");
	add(message_round(client, true), "message and back, waited");
	measure_connections(client);
}

static void
measure_flushes(struct client *client)
{
	for (enum kind kind = 0; kind < KINDS; kind++)
		measure_flush(client, kind);
	add(eventfds(client), "eventfd round trip");
}

static void
measure(struct client *client, const char *what)
{
	bool stopped[KINDS] = {false, false};

	for (enum kind kind = 0; kind < KINDS; kind++)
		rdma_round(&client->end, IBV_WR_RDMA_WRITE, client->regions[kind], MIB, DEPTH, FOR_EVER);
	for (unsigned round = 0; round < ROUNDS; round++) {
		if (strcmp(what, "brief") == 0)
			measure_brief(client);
		else if (strcmp(what, "private") == 0)
			measure_private(client);
		else if (strcmp(what, "flush") == 0)
			measure_flushes(client);
		else
			measure_all(client, stopped);
	}
	print_samples();
}

static bool
is_part(const char *what)
{
	return strcmp(what, "brief") == 0 || strcmp(what, "private") == 0 || strcmp(what, "flush") == 0;
}

int
main(int argc, char *argv[])
{
	static struct client client;
	const char *what = argc > 2 ? argv[2] : "all";

	case_name = "fabric";
	address = argc > 1 ? argv[1] : NULL;
	if (argc == 4 && strcmp(what, "cycles") == 0) {
		start(&client);
		cycles(&client, (unsigned)atoi(argv[3]));
	} else if (argc == 2 || (argc == 3 && is_part(what))) {
		start(&client);
		measure(&client, what);
	} else {
		fprintf(stderr, "usage: fabric ADDRESS [brief | private | flush | cycles COUNT]\n");
		return 2;
	}
	give_order(&client, END, 0);
	wait_for_end(client.pid);

	return 0;
}
