/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * same-results [ADDRESS]: random lists of requests, right and wrong ones, have the same results for each process that may
 * execute them: the initiator, the owner of the memory on the same host, and the owner at the other end of a TCP connection.
 * Compared are the completions of both sides in their order, the states of the queue pairs, and all bytes.
 *
 *   softrdma run -- same-results
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: RESULTS_ROUNDS (100), RESULTS_FIRST (1: the first list),
 * RESULTS_NATIVE (1: with atomic writes and flushes, on a device that has them), RESULTS_SHOWN (1: the requests are
 * printed), PAIR_WAIT_MS (10000: how long anything may take).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "native.h"
#include "two-processes.h"

#define MIB ((size_t)1 << 20)
#define WORD ((size_t)8)
#define DEPTH 16
#define MOST 10
/* what is sent and written is in the first part of the client's memory, what is read comes into the second one */
#define PART (18 * MIB)
#define RECEIVE ((size_t)64)
/* before the list, so that the region is mapped if it can be */
#define ENOUGH 60

static const size_t region_sizes[] = {4096, 5000, 70000, 300000, 1200000, 17 * MIB};
static const size_t lengths[] = {0, 1, 3, 8, 64, 4096, 4097, 16384, 32768, 65536, 262144, 262145, 300000, MIB,
		16 * MIB + 1};
#define N_SIZES (sizeof(region_sizes) / sizeof(region_sizes[0]))
#define N_LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

static const char *address;

/* what the server says of its memory, in that of the link */
struct regions {
	struct remote region;
	uint32_t local_key;
	uint32_t deregistered;
	uint32_t of_another_domain;
};

/* how both sides begin, by the number of the list */
struct setup {
	struct random random;
	size_t size;
	bool is_file;
	bool is_used_before;
	int access;
	int queue_pair_access;
};

static unsigned
below(struct random *random, unsigned limit)
{
	return (unsigned)(next_random(random) >> 33) % limit;
}

static int
some_access(struct random *random)
{
	const int all = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ |
		(native_operations ? ACCESS_FLUSH_GLOBAL | ACCESS_FLUSH_PERSISTENT : 0);

	if (below(random, 6) > 0)
		return all;

	return IBV_ACCESS_LOCAL_WRITE | (all & (int)next_random(random));
}

static struct setup
setup_of(uint64_t number)
{
	struct setup setup = {.random = {number * 0x9e3779b97f4a7c15u + 1}};

	for (int i = 0; i < 4; i++)
		next_random(&setup.random);
	setup.size = region_sizes[below(&setup.random, N_SIZES)];
	setup.is_file = below(&setup.random, 2) > 0;
	setup.is_used_before = below(&setup.random, 2) > 0;
	setup.access = some_access(&setup.random);
	setup.queue_pair_access = some_access(&setup.random);

	return setup;
}

static uint64_t
first_list(void)
{
	return env_number("RESULTS_FIRST", 1);
}

static uint64_t
lists(void)
{
	return env_number("RESULTS_ROUNDS", 100);
}

static uint64_t
sum_up(uint64_t sum, const void *memory, size_t size)
{
	const unsigned char *bytes = memory;

	for (size_t i = 0; i + WORD <= size; i += WORD) {
		uint64_t word;

		memcpy(&word, bytes + i, WORD);
		sum = (sum ^ word) * 1099511628211u;
		sum ^= sum >> 29;
	}

	return sum;
}

/* --- the server ---------------------------------------------------------------------------------- */

static char *
map_region(const struct setup *setup, size_t size)
{
	const int file = setup->is_file ? memfd_create("same-results", MFD_CLOEXEC) : -1;
	char *memory;

	CHECK(!setup->is_file || (file >= 0 && ftruncate(file, (off_t)size) == 0));
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, setup->is_file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS,
			file, 0);
	CHECK(memory != MAP_FAILED);
	if (file >= 0)
		close(file);

	return memory;
}

/* what came, and the bytes as they are now */
static void
report_results(struct link *link, const char *memory, size_t size)
{
	char statuses[MOST * 4 + 1] = "";
	size_t length = 0;
	uint64_t sum = 0;
	struct ibv_wc wc;

	while (drain(link, &wc) > 0) {
		length += (size_t)snprintf(statuses + length, sizeof(statuses) - length, " %d", (int)wc.status);
		if (wc.status == IBV_WC_SUCCESS) {
			const uint32_t seen[] = {(uint32_t)wc.wr_id, wc.opcode, wc.byte_len, wc.wc_flags,
				wc.wc_flags & IBV_WC_WITH_IMM ? wc.imm_data : 0, 0};

			sum = sum_up(sum, seen, sizeof(seen));
		}
	}
	report("received%s sum %llx state %d bytes %llx", statuses, (unsigned long long)sum, (int)state_of(link),
			(unsigned long long)sum_up(sum_up(0, memory, size), link->memory + sizeof(struct regions), RECEIVE));
}

static void
serve_list(struct rdma_event_channel *channel, uint64_t number)
{
	const int all = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;
	const struct setup setup = setup_of(number);
	/* there is memory behind the region */
	const size_t size = (setup.size + 8192) / 4096 * 4096;
	struct ibv_qp_attr attr = {.qp_access_flags = (unsigned)setup.queue_pair_access};
	struct ibv_mr *mr, *other, *foreign;
	struct regions *regions;
	struct ibv_pd *domain;
	struct link link;
	char *memory;

	link_open(&link, await_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST), 4096, DEPTH);
	memory = map_region(&setup, size);
	memset(memory, 0x11, size);
	domain = ibv_alloc_pd(link.id->verbs);
	CHECK(domain);
	mr = ibv_reg_mr(pd_of(link.id->verbs), memory, setup.size, setup.access);
	other = ibv_reg_mr(pd_of(link.id->verbs), memory, setup.size, all);
	foreign = ibv_reg_mr(domain, memory, setup.size, all);
	CHECK(mr && other && foreign);
	regions = (struct regions *)link.memory;
	*regions = (struct regions){
		.region = {(uintptr_t)memory, mr->rkey, (uint32_t)setup.size},
		.local_key = mr->lkey,
		.deregistered = other->rkey,
		.of_another_domain = foreign->rkey,
	};
	CHECK(ibv_dereg_mr(other) == 0);
	for (unsigned i = 0; i < MOST; i++)
		post_receive(&link, i, sizeof(*regions), RECEIVE);
	accept_link(&link);
	await_event(channel, RDMA_CM_EVENT_ESTABLISHED);
	report("accepted");
	/* the client has read what is above */
	CHECK(listen_to_parent((char[16]){0}, 16));
	CHECK(ibv_modify_qp(link.id->qp, &attr, IBV_QP_ACCESS_FLAGS) == 0);
	report("ready");
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	report_results(&link, memory, size);
	rdma_disconnect(link.id);
	CHECK(ibv_dereg_mr(mr) == 0 && ibv_dereg_mr(foreign) == 0 && ibv_dealloc_pd(domain) == 0);
	link_close(&link);
	CHECK(munmap(memory, size) == 0);
}

static void
serve(void)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 4);

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	for (uint64_t i = 0; i < lists(); i++)
		serve_list(channel, first_list() + i);
	close_server(channel, listener);
}

/* --- the client ---------------------------------------------------------------------------------- */

static void
show(const char *format, ...)
{
	va_list args;

	if (!env_number("RESULTS_SHOWN", 0))
		return;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
}

/* a request; `at` is where in the region */
struct request {
	unsigned operation;
	size_t length;
	size_t at;
	size_t local;
	uint32_t key;
	uint32_t local_key;
	unsigned flags;
};
enum {WRITE, READ, WRITE_WITH_IMM, SEND, OPERATIONS, ATOMIC_WRITE = OPERATIONS, FLUSH, NATIVE_OPERATIONS};
static const char *const names[] = {"write", "read", "write with immediate", "send", "atomic write", "flush"};

static void
make_wrong(struct request *request, struct random *random, const struct setup *setup, const struct regions *regions)
{
	switch (below(random, 9)) {
	case 0:
		request->at = setup->size - request->length + 1;
		break;
	case 1:
		request->at = (size_t)0 - 1;
		break;
	case 2:
		request->key ^= 0x1000;
		break;
	case 3:
		request->key = regions->local_key;
		break;
	case 4:
		request->key = regions->deregistered;
		break;
	case 5:
		request->key = regions->of_another_domain;
		break;
	case 6:
		request->key = 0;
		break;
	case 7:
		request->local_key ^= 0x40;
		break;
	default:
		request->local = 2 * PART - request->length + 1;
	}
}

static struct request
make_request(struct random *random, const struct setup *setup, const struct link *link, const struct regions *regions)
{
	struct request request = {
		.operation = below(random, native_operations ? NATIVE_OPERATIONS : OPERATIONS),
		.length = lengths[below(random, N_LENGTHS)],
		.key = regions->region.key,
		.local_key = link->mr->lkey,
		.flags = below(random, 4) > 0 ? 0 : IBV_SEND_SOLICITED,
	};

	if (request.length > setup->size)
		request.length = setup->size;
	if (request.operation == SEND && below(random, 4) > 0 && request.length > RECEIVE)
		request.length = RECEIVE;
	if (request.operation == ATOMIC_WRITE)
		request.length = WORD;
	request.at = below(random, 3) > 0 ? below(random, (unsigned)(setup->size - request.length + 1)) :
		setup->size - request.length;
	if (request.operation == ATOMIC_WRITE)
		request.at = request.at / WORD * WORD;
	request.local = below(random, (unsigned)(PART - request.length + 1));
	if (request.operation == READ)
		request.local += PART;
	if (below(random, 2) > 0)
		request.flags |= IBV_SEND_SIGNALED;
	if (below(random, 10) == 0)
		make_wrong(&request, random, setup, regions);

	return request;
}

static void
post_request(struct link *link, const struct request *request, unsigned wr_id)
{
	static const enum ibv_wr_opcode opcodes[] = {IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ, IBV_WR_RDMA_WRITE_WITH_IMM,
		IBV_WR_SEND};
	struct ibv_sge sge = {(uintptr_t)link->memory + request->local, (uint32_t)request->length, request->local_key};
	struct ibv_send_wr wr = {
		.wr_id = wr_id,
		.sg_list = &sge,
		.num_sge = 1,
		.send_flags = request->flags,
		.wr.rdma = {link->remote.address + request->at, request->key},
	}, *bad;
	struct ibv_qp_ex *native;

	if (request->operation < OPERATIONS) {
		wr.opcode = opcodes[request->operation];
		wr.imm_data = htonl(0x500 + wr_id);
		CHECK(ibv_post_send(link->id->qp, &wr, &bad) == 0);
		return;
	}
	native = ibv_qp_to_qp_ex(link->id->qp);
	ibv_wr_start(native);
	native->wr_id = wr_id;
	native->wr_flags = request->flags & (unsigned)~IBV_SEND_SOLICITED;
	if (request->operation == ATOMIC_WRITE)
		native_functions(native)->wr_atomic_write(native, request->key, wr.wr.rdma.remote_addr,
				link->memory + request->local % PART / WORD * WORD);
	else
		native_functions(native)->wr_flush(native, request->key, wr.wr.rdma.remote_addr, request->length,
				FLUSH_PLACEMENT_GLOBAL, FLUSH_SELECTIVITY_RANGE);
	CHECK(ibv_wr_complete(native) == 0);
}

/* The last one is signalled; what completes with an error is seen, too. */
static void
report_completions(struct link *link, unsigned last)
{
	const char *separator = "completed ";
	struct ibv_wc wc;

	do {
		if (!comes_within(link, wait_ms(), &wc))
			die("no completion");
		if (wc.status == IBV_WC_SUCCESS)
			printf("%s%u:%d/%x", separator, (unsigned)wc.wr_id, (int)wc.opcode, wc.wc_flags & IBV_WC_WITH_IMM);
		else
			printf("%s%u!%d", separator, (unsigned)wc.wr_id, (int)wc.status);
		separator = " ";
	} while (wc.wr_id != last);
	report(" state %d bytes %llx", (int)state_of(link),
			(unsigned long long)sum_up(0, link->memory, 2 * PART));
}

static void
read_regions(struct link *link, struct regions *regions)
{
	post(link, IBV_WR_RDMA_READ, 0, PART, sizeof(*regions), 0);
	complete(link);
	memcpy(regions, link->memory + PART, sizeof(*regions));
	link->remote = regions->region;
}

/* until the region is mapped, where it can be */
static void
use_before(struct link *link)
{
	for (int i = 0; i < ENOUGH; i++) {
		post(link, IBV_WR_RDMA_WRITE, 0, 0, WORD, 0);
		complete(link);
	}
}

static void
work_through_list(struct rdma_event_channel *channel, unsigned port, uint64_t number)
{
	struct setup setup = setup_of(number);
	const unsigned count = 1 + below(&setup.random, MOST);
	struct regions regions;
	bool has_read = false;
	struct link link;

	CHECK(connect_link(&link, channel, address, port, 2 * PART, DEPTH));
	read_regions(&link, &regions);
	fill(link.memory, 2 * PART, number);
	if (setup.is_used_before && setup.access & IBV_ACCESS_REMOTE_WRITE)
		use_before(&link);
	report("connected");
	CHECK(listen_to_parent((char[16]){0}, 16));
	for (unsigned i = 0; i < count; i++) {
		struct request request = make_request(&setup.random, &setup, &link, &regions);

		if (i == count - 1)
			request.flags |= IBV_SEND_SIGNALED;
		/* otherwise a read may see what comes behind it */
		if (has_read)
			request.flags |= IBV_SEND_FENCE;
		has_read |= request.operation == READ;
		show("%llu: %u: %s, %zu bytes at %zd of %zu, flags %x%s%s\n", (unsigned long long)number, i,
				names[request.operation], request.length, (ssize_t)request.at, setup.size, request.flags,
				request.key != regions.region.key ? ", wrong key" : "",
				request.local_key != link.mr->lkey ? ", wrong local key" : "");
		post_request(&link, &request, i);
	}
	report_completions(&link, count - 1);
	rdma_disconnect(link.id);
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	link_close(&link);
}

static void
work(const char *role, unsigned port)
{
	struct rdma_event_channel *channel = open_channel();

	(void)role;
	for (uint64_t i = 0; i < lists(); i++)
		work_through_list(channel, port, first_list() + i);
	release_pd();
	rdma_destroy_event_channel(channel);
}

/* --- the comparison ------------------------------------------------------------------------------ */

/* the processes of one way to execute requests */
struct way {
	const char *name;
	const char *variable;
	const char *value;
	struct child server;
	struct child client;
};

static void
hear_into(char *line, size_t size, struct child *child)
{
	const char *heard = hear(child);

	if (!heard)
		die("nothing was said");
	snprintf(line, size, "%s", heard);
}

/* the results of both sides, as one line */
static void
run_list(struct way *way, char *line, size_t size)
{
	char of_client[256], of_server[256];

	expect(&way->server, "accepted");
	expect(&way->client, "connected");
	tell(&way->server, "go on");
	expect(&way->server, "ready");
	tell(&way->client, "go on");
	hear_into(of_client, sizeof(of_client), &way->client);
	hear_into(of_server, sizeof(of_server), &way->server);
	snprintf(line, size, "%s; %s", of_client, of_server);
}

int
main(int argc, char *argv[])
{
	struct way ways[] = {
		{.name = "the initiator"},
		{.name = "the owner", .variable = "SOFTRDMA_DIRECT", .value = "0"},
		{.name = "the owner, on TCP", .variable = "SOFTRDMA_SOCKET_ONLY", .value = "1"},
	};
	const size_t count = sizeof(ways) / sizeof(ways[0]);
	char wanted[600], line[600];

	address = argc == 4 ? argv[2] : argc > 1 ? argv[1] : "127.0.0.1";
	native_operations = env_number("RESULTS_NATIVE", 0) ? QP_EX_WITH_ATOMIC_WRITE | QP_EX_WITH_FLUSH : 0;
	if (play_role(argc, argv, address, serve, work))
		return 0;
	skip_without(address);
	for (size_t i = 0; i < count; i++) {
		if (ways[i].variable)
			setenv(ways[i].variable, ways[i].value, 1);
		ways[i].server = start("server", address, 0);
		ways[i].client = start("client", address, (unsigned)expect(&ways[i].server, "listening "));
		if (ways[i].variable)
			unsetenv(ways[i].variable);
	}
	for (uint64_t number = first_list(); number < first_list() + lists(); number++) {
		run_list(&ways[0], wanted, sizeof(wanted));
		for (size_t i = 1; i < count; i++) {
			run_list(&ways[i], line, sizeof(line));
			if (strcmp(line, wanted) != 0)
				die("list %llu:\n%s: %s\n%s: %s", (unsigned long long)number, ways[0].name, wanted, ways[i].name,
						line);
		}
	}
	for (size_t i = 0; i < count; i++) {
		finish(&ways[i].client);
		finish(&ways[i].server);
	}
	printf("%llu lists of requests had the same results in %zu ways\n", (unsigned long long)lists(), count);

	return 0;
}
