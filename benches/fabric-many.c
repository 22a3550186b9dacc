/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fabric-many ADDRESS idle COUNT              what a connection that has moved no data costs, in memory and descriptors
 * fabric-many ADDRESS connections COUNT...    connect, post and completion, while there are so many connections
 * fabric-many ADDRESS regions COUNT...        register, write to one of them, deregister, while there are so many
 * fabric-many ADDRESS private COUNT...        the same in private memory, instead of a file that is mapped shared
 *
 * The device with this address, between two processes of this machine; prints samples (bench.h) for run-fabric. The
 * numbers have to increase. All connections of a process share one event channel, completion queue and region, so that
 * only what a connection itself costs counts. A line "stopped<tab>NUMBER<tab>REASON" says where no more of them
 * were possible.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define ROUND_NS 2e7
#define EXTRA 5	/* connections or regions that are made and ended again in each round */
#define FIRST 16	/* connections that are made before the memory of more of them is measured */
#define SLOT 64	/* the size of a region */
#define MOST_REGIONS 100000
#define CONNECT_MS 5000
#define WRITE_NS 1e10

enum command { EVENTFD, TCP, USAGE, REGIONS, REGISTER, END };

struct order {
	enum command command;
	unsigned count;
};

struct usage {
	double private_bytes;
	double shared_bytes;
	double descriptors;
};

/* one of the two processes */
struct side {
	struct rdma_event_channel *channel;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_mr *mr;
	uint8_t *memory;
	unsigned live;	/* at the server: connections that are established and not ended */
};

struct client {
	struct side side;
	struct process process;
	uint16_t port;
	struct remote remote;
	struct sockaddr_storage tcp_address;
	struct rdma_cm_id **ids;
	unsigned count;
	const char *failed;
	uint64_t random;
};

static uint8_t *mapped;	/* a file in memory, or private memory of the server, which the regions are in */

static unsigned
next_random(uint64_t *state, unsigned below)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;

	return (unsigned)((*state >> 33) % below);
}

static void
raise_descriptor_limit(void)
{
	struct rlimit limit;

	NEED(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	NEED(setrlimit(RLIMIT_NOFILE, &limit));
}

/* --- what the process uses --------------------------------------------------------------------- */

/* a file that is mapped shared, with what the file system has allocated for it */
struct shared {
	unsigned long inode;
	double bytes;
};

static int
by_inode(const void *a, const void *b)
{
	unsigned long x = ((const struct shared *)a)->inode, y = ((const struct shared *)b)->inode;

	return x < y ? -1 : x > y;
}

/* the memory of all files that the process has mapped shared; NAN where it may not be known */
static double
shared_bytes(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	struct shared *files = NULL;
	unsigned count = 0;
	char line[512], place[80];
	double bytes = 0;

	if (!maps)
		broken("/proc/self/maps");
	while (fgets(line, sizeof(line), maps)) {
		char range[48], permissions[8];
		struct stat stat_of;

		if (sscanf(line, "%47s %7s", range, permissions) != 2 || permissions[3] != 's')
			continue;
		snprintf(place, sizeof(place), "/proc/self/map_files/%s", range);
		if (stat(place, &stat_of)) {
			bytes = NAN;
			break;
		}
		NEED_POINTER(files, realloc(files, (count + 1) * sizeof(*files)));
		files[count++] = (struct shared){stat_of.st_ino, (double)stat_of.st_blocks * 512};
	}
	if (count)
		qsort(files, count, sizeof(*files), by_inode);
	for (unsigned i = 0; i < count; i++)
		if (i == 0 || files[i].inode != files[i - 1].inode)
			bytes += files[i].bytes;
	free(files);
	fclose(maps);

	return bytes;
}

static struct usage
usage_now(void)
{
	struct usage usage = {0, 0, 0};
	char line[512];
	unsigned long kib;
	FILE *status = fopen("/proc/self/status", "r");
	DIR *fds = opendir("/proc/self/fd");

	if (!status || !fds)
		broken("/proc/self");
	usage.shared_bytes = shared_bytes();
	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "RssAnon: %lu", &kib) == 1)
			usage.private_bytes = (double)kib * 1024;
	while (readdir(fds))
		usage.descriptors++;
	fclose(status);
	closedir(fds);

	return usage;
}

/* --- connections ------------------------------------------------------------------------------- */

static bool
make_qp(struct side *side, struct rdma_cm_id *id)
{
	struct ibv_qp_init_attr attr = {
		.cap = {.max_send_wr = 2, .max_recv_wr = 2, .max_send_sge = 1, .max_recv_sge = 1},
		.qp_type = IBV_QPT_RC,
	};

	if (!side->pd) {
		NEED_POINTER(side->pd, ibv_alloc_pd(id->verbs));
		NEED_POINTER(side->cq, ibv_create_cq(id->verbs, 16, NULL, NULL, 0));
		side->memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (side->memory == MAP_FAILED)
			broken("mmap");
		NEED_POINTER(side->mr, ibv_reg_mr(side->pd, side->memory, 4096, ALL_ACCESS));
	}
	attr.send_cq = attr.recv_cq = side->cq;

	return rdma_create_qp(id, side->pd, &attr) == 0;
}

static struct rdma_conn_param
param(void)
{
	struct setup setup = usual();

	return conn_param(&setup);
}

static void
end_id(struct rdma_cm_id *id)
{
	if (id->qp)
		rdma_destroy_qp(id);
	NEED(rdma_destroy_id(id));
}

/* waits for this event of the connection; events of others are of no interest */
static bool
expect(struct side *side, const struct rdma_cm_id *id, enum rdma_cm_event_type type)
{
	struct cm_event event;

	do {
		if (!take_event(side->channel, &event, CONNECT_MS)) {
			errno = ETIMEDOUT;
			return false;
		}
	} while (event.id != id);
	if (event.type != type)
		errno = 0;

	return event.type == type;
}

/* NULL if one more is not possible: client->failed says which call it was, or event */
static struct rdma_cm_id *
connect_one(struct client *client)
{
	struct side *side = &client->side;
	struct sockaddr_storage storage;
	struct rdma_conn_param conn = param();
	struct rdma_cm_id *id;

#define TRY(name, call) \
	if (client->failed = name, !(call)) \
		goto failed
	client->failed = "rdma_create_id";
	if (rdma_create_id(side->channel, &id, NULL, RDMA_PS_TCP))
		return NULL;
	TRY("rdma_resolve_addr", rdma_resolve_addr(id, NULL, device_address(client->port, &storage), CONNECT_MS) == 0);
	TRY("ADDR_RESOLVED", expect(side, id, RDMA_CM_EVENT_ADDR_RESOLVED));
	TRY("rdma_resolve_route", rdma_resolve_route(id, CONNECT_MS) == 0);
	TRY("ROUTE_RESOLVED", expect(side, id, RDMA_CM_EVENT_ROUTE_RESOLVED));
	TRY("rdma_create_qp", make_qp(side, id));
	TRY("rdma_connect", rdma_connect(id, &conn) == 0);
	TRY("ESTABLISHED", expect(side, id, RDMA_CM_EVENT_ESTABLISHED));
#undef TRY
	client->failed = NULL;

	return id;
failed:
	end_id(id);

	return NULL;
}

static void
disconnect_one(struct client *client, struct rdma_cm_id *id)
{
	NEED(rdma_disconnect(id));
	if (!expect(&client->side, id, RDMA_CM_EVENT_DISCONNECTED))
		broken("DISCONNECTED");
	end_id(id);
}

static void
say_stopped(const struct client *client)
{
	struct rlimit limit;
	const char *why = errno ? strerror(errno) : "another event";

	NEED(getrlimit(RLIMIT_NOFILE, &limit));
	printf("stopped\t%u\t%s: %s (the limit is %lu descriptors)\n", client->count, client->failed, why,
			(unsigned long)limit.rlim_cur);
}

/* more connections, until there are so many; false if that is not possible */
static bool
connect_until(struct client *client, unsigned count)
{
	while (client->count < count) {
		struct rdma_cm_id *id = connect_one(client);

		if (!id) {
			say_stopped(client);
			return false;
		}
		client->ids[client->count++] = id;
	}

	return true;
}

static void
serve_event(struct side *side)
{
	struct rdma_conn_param conn = param();
	struct cm_event event;

	if (!take_event(side->channel, &event, 0))
		return;
	switch (event.type) {
	case RDMA_CM_EVENT_CONNECT_REQUEST:
		if (!make_qp(side, event.id) || rdma_accept(event.id, &conn)) {
			rdma_reject(event.id, NULL, 0);
			end_id(event.id);
		}
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		side->live++;
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
		side->live--;
		/* fallthrough */
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_REJECTED:
		end_id(event.id);
		break;
	default:
		break;
	}
}

/* --- the server -------------------------------------------------------------------------------- */

/* registered regions, one behind the other in the mapped file */
struct regions {
	struct ibv_mr *mrs[MOST_REGIONS + EXTRA];
	unsigned count;
};

static struct ibv_mr *
register_one(struct side *side, unsigned index)
{
	struct ibv_mr *mr;

	NEED_POINTER(mr, ibv_reg_mr(side->pd, mapped + (size_t)index * SLOT, SLOT, ALL_ACCESS));

	return mr;
}

/* registers until there are so many; tells the keys */
static void
register_until(struct side *side, struct regions *regions, unsigned count, int fd)
{
	for (; regions->count < count; regions->count++) {
		uint32_t rkey;

		regions->mrs[regions->count] = register_one(side, regions->count);
		rkey = regions->mrs[regions->count]->rkey;
		tell(fd, &rkey, sizeof(rkey));
	}
}

/* the time in which a few more are registered, and deregistered again */
static void
register_round(struct side *side, struct regions *regions, int fd)
{
	double each[2][EXTRA], result[2];

	for (unsigned i = 0; i < EXTRA; i++) {
		double start = now_ns();

		regions->mrs[regions->count + i] = register_one(side, regions->count + i);
		each[0][i] = now_ns() - start;
	}
	for (unsigned i = 0; i < EXTRA; i++) {
		double start = now_ns();

		NEED(ibv_dereg_mr(regions->mrs[regions->count + i]));
		each[1][i] = now_ns() - start;
	}
	result[0] = median(each[0], EXTRA);
	result[1] = median(each[1], EXTRA);
	tell(fd, result, sizeof(result));
}

static void
server(int fd)
{
	static struct regions regions;
	struct side side = {0};
	struct listener listener = {0};
	struct order order;
	struct usage usage;
	int tcp;

	raise_descriptor_limit();
	listen_any_port(&listener);
	side.channel = listener.channel;
	tell(fd, &listener.port, sizeof(listener.port));
	tcp = tcp_listen(fd);
	while (!side.live)
		if (readable(side.channel->fd, -1))
			serve_event(&side);
	tell(fd, &(struct remote){(uintptr_t)side.memory, side.mr->rkey}, sizeof(struct remote));
	for (;;) {
		struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = side.channel->fd, .events = POLLIN}};

		if (poll(fds, 2, -1) < 0)
			broken("poll");
		if (fds[1].revents) {
			serve_event(&side);
			continue;
		}
		hear(fd, &order, sizeof(order));
		switch (order.command) {
		case EVENTFD:
			eventfd_answer();
			break;
		case TCP:
			tcp_serve(tcp, order.count);
			break;
		case USAGE:
			while (side.live < order.count)
				if (readable(side.channel->fd, -1))
					serve_event(&side);
			usage = usage_now();
			tell(fd, &usage, sizeof(usage));
			break;
		case REGIONS:
			register_until(&side, &regions, order.count, fd);
			break;
		case REGISTER:
			register_round(&side, &regions, fd);
			break;
		case END:
			return;
		}
	}
}

/* --- the client -------------------------------------------------------------------------------- */

static void
give_order(struct client *client, enum command command, unsigned count)
{
	struct order order = {command, count};

	tell(client->process.fd, &order, sizeof(order));
}

static void
start(struct client *client, unsigned most, bool is_private)
{
	const size_t size = (size_t)(MOST_REGIONS + EXTRA) * SLOT;
	int file = memfd_create("fabric-many", MFD_CLOEXEC);

	eventfd_create();
	if (file < 0 || ftruncate(file, (off_t)size))
		broken("memfd_create");
	/* the server has private memory at the same address */
	mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, is_private ? MAP_PRIVATE : MAP_SHARED, file, 0);
	if (mapped == MAP_FAILED)
		broken("mmap");
	/* a page that is allocated at the time of its registration would count */
	memset(mapped, 0, size);
	client->process = start_process(server);
	raise_descriptor_limit();
	NEED_POINTER(client->ids, calloc(most, sizeof(struct rdma_cm_id *)));
	hear(client->process.fd, &client->port, sizeof(client->port));
	hear(client->process.fd, &client->tcp_address, sizeof(client->tcp_address));
	NEED_POINTER(client->side.channel, rdma_create_event_channel());
	if (!connect_until(client, 1))
		exit(1);
	hear(client->process.fd, &client->remote, sizeof(client->remote));
}

static void
idle(struct client *client, unsigned count)
{
	struct usage before[2], after[2];

	/* what two processes share only once does not count; some of it is there a moment after the first connection */
	if (!connect_until(client, FIRST))
		return;
	give_order(client, USAGE, FIRST);
	hear(client->process.fd, &before[1], sizeof(before[1]));
	before[0] = usage_now();
	if (!connect_until(client, FIRST + count))
		return;
	give_order(client, USAGE, FIRST + count);
	hear(client->process.fd, &after[1], sizeof(after[1]));
	after[0] = usage_now();
	for (unsigned i = 0; i < 2; i++) {
		const char *side = i ? "server" : "client";

		add((after[i].private_bytes - before[i].private_bytes) / count, "idle, private bytes, %s", side);
		add((after[i].shared_bytes - before[i].shared_bytes) / count, "idle, shared bytes, %s", side);
		add((after[i].descriptors - before[i].descriptors) / count, "idle, descriptors, %s", side);
	}
	print_samples();
}

static void
post_write(struct client *client, struct rdma_cm_id *id, struct remote remote)
{
	struct ibv_sge sge = {(uintptr_t)client->side.memory, MESSAGE, client->side.mr->lkey};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = IBV_WR_RDMA_WRITE,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {remote.addr, remote.rkey},
	};
	struct ibv_send_wr *bad;

	NEED(ibv_post_send(id->qp, &wr, &bad));
}

static void
complete(struct client *client)
{
	if (!poll_one(client->side.cq, WRITE_NS))
		broken("a completion");
}

/* writes of 8 bytes on connections in random order: the call that posts, and the time until the completion is there */
static void
write_round(struct client *client)
{
	static double post[4096], completion[4096];
	double begin = now_ns(), clock;
	unsigned done = 0;

	do {
		struct rdma_cm_id *id = client->ids[next_random(&client->random, client->count)];
		double start = now_ns(), posted;

		post_write(client, id, client->remote);
		posted = now_ns();
		complete(client);
		completion[done] = now_ns() - posted;
		post[done++] = posted - start;
	} while (now_ns() - begin < ROUND_NS && done < COUNT_OF(post));
	clock = now_ns();
	clock = now_ns() - clock;
	add(fmax(median(post, done) - clock, 1), "post, %u connections", client->count);
	add(fmax(median(completion, done) - clock, 1), "completion, %u connections", client->count);
}

/* connecting, while there are so many others */
static bool
connect_round(struct client *client)
{
	double each[EXTRA];
	struct rdma_cm_id *id;

	for (unsigned i = 0; i < EXTRA; i++) {
		double start = now_ns();

		id = connect_one(client);
		if (!id) {
			say_stopped(client);
			return false;
		}
		each[i] = now_ns() - start;
		disconnect_one(client, id);
	}
	add(median(each, EXTRA), "connect, %u connections", client->count);

	return true;
}

static void
yardsticks(struct client *client, unsigned count)
{
	give_order(client, EVENTFD, 0);
	add(eventfd_round(ROUND_NS), "eventfd round trip, %u", count);
	give_order(client, TCP, EXTRA);
	add(tcp_connections(&client->tcp_address, EXTRA), "TCP connection, %u", count);
}

static void
connections(struct client *client, unsigned count)
{
	if (!connect_until(client, count))
		return;
	/* what is made at the first use of a connection does not count here */
	for (unsigned i = 0; i < count; i++) {
		post_write(client, client->ids[i], client->remote);
		complete(client);
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		yardsticks(client, count);
		write_round(client);
		if (!connect_round(client))
			break;
	}
	print_samples();
}

static void
regions(struct client *client, unsigned count)
{
	static uint32_t rkeys[MOST_REGIONS];
	static double each[4096];
	static unsigned known;

	give_order(client, REGIONS, count);
	for (; known < count; known++)
		hear(client->process.fd, &rkeys[known], sizeof(rkeys[known]));
	for (unsigned round = 0; round < ROUNDS; round++) {
		double begin = now_ns(), registration[2];
		unsigned done = 0;

		do {
			unsigned index = next_random(&client->random, count);
			double start = now_ns();

			post_write(client, client->ids[0],
					(struct remote){(uintptr_t)(mapped + (size_t)index * SLOT), rkeys[index]});
			complete(client);
			each[done++] = now_ns() - start;
		} while (now_ns() - begin < ROUND_NS && done < COUNT_OF(each));
		add(median(each, done), "write, %u regions", count);
		give_order(client, REGISTER, 0);
		hear(client->process.fd, registration, sizeof(registration));
		add(registration[0], "register, %u regions", count);
		add(registration[1], "deregister, %u regions", count);
		yardsticks(client, count);
	}
	print_samples();
}

int
main(int argc, char *argv[])
{
	static const struct {
		const char *name;
		void (*run)(struct client *client, unsigned count);
		unsigned most;
	} modes[] = {{"idle", idle, 100000}, {"connections", connections, 100000}, {"regions", regions, MOST_REGIONS},
			{"private", regions, MOST_REGIONS}};
	static struct client client;
	unsigned mode = 0, last = 0;

	case_name = "fabric-many";
	while (argc > 3 && mode < COUNT_OF(modes) && strcmp(argv[2], modes[mode].name) != 0)
		mode++;
	for (int i = 3; i < argc && mode < COUNT_OF(modes); i++) {
		unsigned count = (unsigned)atoi(argv[i]);

		if (count <= last || count > modes[mode].most)
			mode = COUNT_OF(modes);
		last = count;
	}
	if (argc < 4 || mode == COUNT_OF(modes)) {
		fprintf(stderr, "usage: fabric-many ADDRESS idle|connections|regions|private COUNT...\n");
		return 2;
	}
	address = argv[1];
	start(&client, last + FIRST, strcmp(argv[2], "private") == 0);
	for (int i = 3; i < argc && !client.failed; i++)
		modes[mode].run(&client, (unsigned)atoi(argv[i]));
	give_order(&client, END, 0);
	wait_for_end(client.process.pid);

	return 0;
}
