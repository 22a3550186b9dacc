/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "holdings.h"
#include "two-processes.h"

static const char *role = "parent";

unsigned long
env_number(const char *name, unsigned long otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoul(value, NULL, 0) : otherwise;
}

int
wait_ms(void)
{
	return (int)env_number("PAIR_WAIT_MS", 10000);
}

uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);

	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void
die(const char *format, ...)
{
	int error = errno;
	char text[512];
	va_list args;

	va_start(args, format);
	errno = error;
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "%s (%d): %s\n", role, (int)getpid(), text);
	exit(1);
}

/* --- processes --------------------------------------------------------------------------------- */

struct child
start(const char *child_role, const char *address, unsigned port)
{
	struct child child;
	char program[4096], number[16];
	int in[2], out[2];
	/* by its name: behind the link, a checker such as valgrind has itself */
	ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);

	CHECK(length > 0);
	program[length] = '\0';
	snprintf(number, sizeof(number), "%u", port);
	CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
	child.pid = fork();
	CHECK(child.pid >= 0);
	if (child.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out[0], STDIN_FILENO);
		dup2(in[1], STDOUT_FILENO);
		execl(program, child_role, child_role, address, number, (char *)NULL);
		_exit(1);
	}
	close(in[1]);
	close(out[0]);
	child.in = fdopen(in[0], "r");
	child.out = out[1];
	CHECK(child.in);
	/* so that poll() tells whether there is something to read */
	setvbuf(child.in, NULL, _IONBF, 0);

	return child;
}

bool
play_role(int argc, char *argv[], const char *address, void (*server)(void),
		void (*client)(const char *role, unsigned port))
{
	if (argc != 4 || strcmp(argv[2], address) != 0)
		return false;
	if (strcmp(argv[1], "server") == 0)
		server();
	else
		client(argv[1], (unsigned)atoi(argv[3]));

	return true;
}

void
run_cases(const char *const cases[], size_t count, const char *address)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t started = now_ns();
		struct child child = start(cases[i], address, 0);

		finish(&child);
		printf("%-28s %6.2f s\n", cases[i], (double)(now_ns() - started) / 1e9);
		fflush(stdout);
	}
}

char *
hear(struct child *child)
{
	static char line[256];
	struct pollfd readable = {.fd = fileno(child->in), .events = POLLIN};
	int ret;

	do {
		ret = poll(&readable, 1, wait_ms());
	} while (ret < 0 && errno == EINTR);
	if (ret <= 0 || !fgets(line, sizeof(line), child->in))
		return NULL;
	line[strcspn(line, "\n")] = '\0';

	return line;
}

unsigned long
expect(struct child *child, const char *wanted)
{
	char *line = hear(child);
	size_t length = strlen(wanted);

	if (!line)
		die("waited for \"%s\" in vain", wanted);
	if (strncmp(line, wanted, length) != 0)
		die("\"%s\" instead of \"%s\"", line, wanted);

	return strtoul(line + length, NULL, 10);
}

void
tell(struct child *child, const char *line)
{
	CHECK(dprintf(child->out, "%s\n", line) > 0);
}

static int
wait_for(struct child *child)
{
	int status;

	while (waitpid(child->pid, &status, 0) < 0)
		CHECK(errno == EINTR);
	fclose(child->in);
	close(child->out);

	return status;
}

void
finish(struct child *child)
{
	char *line = hear(child);
	int status;

	if (line)
		die("\"%s\" instead of the end", line);
	if (!feof(child->in)) {
		kill(child->pid, SIGKILL);
		die("it did not end");
	}
	status = wait_for(child);
	if (status != 0)
		die("it ended with status %#x", (unsigned)status);
}

void
kill_child(struct child *child)
{
	int status;

	kill(child->pid, SIGKILL);
	status = wait_for(child);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		die("it was not there to be killed: status %#x", (unsigned)status);
}

void
wait_for_exit(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		die("the child ended with %#x", status);
}

void
stop_process(pid_t pid)
{
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
	char path[64], state = 'R';

	CHECK(kill(pid, SIGSTOP) == 0);
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	while (state != 'T') {
		FILE *stat = fopen(path, "r");

		CHECK(stat && fscanf(stat, "%*d %*s %c", &state) == 1 && now_ns() < end);
		fclose(stat);
	}
}

void
pause_for(long us)
{
	const struct timespec moment = {.tv_nsec = us * 1000};

	nanosleep(&moment, NULL);
}

pid_t
fork_or_die(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);

	return pid;
}

void
report(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

bool
listen_to_parent(char *line, size_t size)
{
	size_t length = 0;

	while (length + 1 < size) {
		ssize_t ret = read(STDIN_FILENO, line + length, 1);

		if (ret < 0 && errno == EINTR)
			continue;
		if (ret <= 0)
			return false;
		if (line[length] == '\n')
			break;
		length++;
	}
	line[length] = '\0';

	return true;
}

unsigned
descriptors(void)
{
	const int count = open_descriptors();

	CHECK(count >= 0);

	return (unsigned)count;
}

long
resident(void)
{
	const long kib = resident_kib();

	CHECK(kib > 0);

	return kib;
}

long
resident_shared(void)
{
	const long kib = resident_shared_kib();

	CHECK(kib >= 0);

	return kib;
}

unsigned
tcp_connections(void)
{
	struct rlimit limit;
	unsigned count = 0;

	/* not by /proc/self/fd, which a process that is not dumpable may be unable to open */
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	for (rlim_t fd = 0; fd < limit.rlim_cur && fd < 1 << 20; fd++) {
		struct sockaddr_storage peer;
		socklen_t length = sizeof(peer);

		if (getpeername((int)fd, (struct sockaddr *)&peer, &length) == 0 &&
				(peer.ss_family == AF_INET || peer.ss_family == AF_INET6))
			count++;
	}

	return count;
}

void
raise_descriptor_limit(void)
{
	struct rlimit limit;

	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

void
skip_because(const char *what)
{
	printf("skipped: %s: %s\n", what, strerror(errno));
	exit(77);
}

void
skip_without(const char *address)
{
	struct sockaddr_storage parsed;
	int fd;

	parse_address(&parsed, address, 0);
	fd = socket(parsed.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&parsed, sizeof(parsed))) {
		printf("skipped: this machine has no %s: %s\n", address, strerror(errno));
		exit(77);
	}
	close(fd);
}

/* --- the connection manager -------------------------------------------------------------------- */

struct rdma_event_channel *
open_channel(void)
{
	struct rdma_event_channel *channel = rdma_create_event_channel();

	CHECK(channel);

	return channel;
}

struct rdma_cm_event *
next_event(struct rdma_event_channel *channel, int ms)
{
	struct pollfd readable = {.fd = channel->fd, .events = POLLIN};
	struct rdma_cm_event *event;
	int ret;

	do {
		ret = poll(&readable, 1, ms);
	} while (ret < 0 && errno == EINTR);
	if (ret <= 0)
		return NULL;
	CHECK(rdma_get_cm_event(channel, &event) == 0);

	return event;
}

const char *
event_name(const struct rdma_cm_event *event)
{
	return event ? rdma_event_str(event->event) : "nothing";
}

struct rdma_cm_event *
expected_event(struct rdma_event_channel *channel, enum rdma_cm_event_type wanted)
{
	struct rdma_cm_event *event = next_event(channel, wait_ms());

	if (!event || event->event != wanted)
		die("%s instead of %s", event_name(event), rdma_event_str(wanted));

	return event;
}

struct rdma_cm_id *
await_event(struct rdma_event_channel *channel, enum rdma_cm_event_type wanted)
{
	struct rdma_cm_event *event = expected_event(channel, wanted);
	struct rdma_cm_id *id = event->id;

	CHECK(rdma_ack_cm_event(event) == 0);

	return id;
}

void
parse_address(struct sockaddr_storage *parsed, const char *address, unsigned port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)parsed;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)parsed;

	memset(parsed, 0, sizeof(*parsed));
	if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
	} else if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
	} else {
		die("%s is not an address", address);
	}
}

struct rdma_cm_id *
listen_at(struct rdma_event_channel *channel, const char *address, unsigned port, int backlog)
{
	struct sockaddr_storage parsed;
	struct rdma_cm_id *id;

	parse_address(&parsed, address, port);
	CHECK(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) == 0);
	CHECK(rdma_bind_addr(id, (struct sockaddr *)&parsed) == 0);
	CHECK(rdma_listen(id, backlog) == 0);

	return id;
}

void
close_server(struct rdma_event_channel *channel, struct rdma_cm_id *listener)
{
	CHECK(rdma_destroy_id(listener) == 0);
	release_pd();
	rdma_destroy_event_channel(channel);
}

uint8_t connection_retries = 7;
uint8_t connection_reads = RDMA_MAX_INIT_DEPTH;
uint64_t native_operations;

struct rdma_conn_param
conn_param(const void *data, size_t size)
{
	struct rdma_conn_param param = {
		.private_data = data,
		.private_data_len = (uint8_t)size,
		.responder_resources = RDMA_MAX_RESP_RES,
		.initiator_depth = connection_reads,
		.retry_count = connection_retries,
		.rnr_retry_count = 7,
	};

	return param;
}

/* --- links ------------------------------------------------------------------------------------- */

static struct ibv_pd *pd;

struct ibv_pd *
pd_of(struct ibv_context *verbs)
{
	if (!pd)
		pd = ibv_alloc_pd(verbs);
	CHECK(pd && pd->context == verbs);

	return pd;
}

void
release_pd(void)
{
	CHECK(!pd || ibv_dealloc_pd(pd) == 0);
	pd = NULL;
}

static void
create_qp(struct rdma_cm_id *id, struct ibv_qp_init_attr *attr)
{
	if (native_operations == 0) {
		CHECK(rdma_create_qp(id, pd_of(id->verbs), attr) == 0);
	} else {
		struct ibv_qp_init_attr_ex attr_ex = {
			.send_cq = attr->send_cq,
			.recv_cq = attr->recv_cq,
			.cap = attr->cap,
			.qp_type = attr->qp_type,
			.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
			.pd = pd_of(id->verbs),
			.send_ops_flags = native_operations | IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_RDMA_READ,
		};

		CHECK(rdma_create_qp_ex(id, &attr_ex) == 0);
	}
}

void
link_open(struct link *link, struct rdma_cm_id *id, size_t size, unsigned depth)
{
	struct ibv_qp_init_attr attr = {
		.cap = {
			.max_send_wr = depth,
			.max_recv_wr = depth,
			.max_send_sge = 1,
			.max_recv_sge = 1,
		},
		.qp_type = IBV_QPT_RC,
	};

	memset(link, 0, sizeof(*link));
	link->id = id;
	link->channel = ibv_create_comp_channel(id->verbs);
	CHECK(link->channel);
	CHECK(fcntl(link->channel->fd, F_SETFL, O_NONBLOCK) == 0);
	link->cq = ibv_create_cq(id->verbs, (int)depth * 2, NULL, link->channel, 0);
	CHECK(link->cq);
	attr.send_cq = attr.recv_cq = link->cq;
	create_qp(id, &attr);
	CHECK(ibv_req_notify_cq(link->cq, 0) == 0);

	link->size = size;
	link->memory = calloc(1, size);
	CHECK(link->memory);
	link->mr = ibv_reg_mr(pd, link->memory, size, IBV_ACCESS_LOCAL_WRITE |
			IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
	CHECK(link->mr);
	id->context = link;
}

void
link_close(struct link *link)
{
	rdma_destroy_qp(link->id);
	CHECK(ibv_dereg_mr(link->mr) == 0);
	CHECK(ibv_destroy_cq(link->cq) == 0);
	CHECK(ibv_destroy_comp_channel(link->channel) == 0);
	CHECK(rdma_destroy_id(link->id) == 0);
	free(link->memory);
	memset(link, 0, sizeof(*link));
}

enum ibv_qp_state
state_of(const struct link *link)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	CHECK(ibv_query_qp(link->id->qp, &attr, IBV_QP_STATE, &init) == 0);

	return attr.qp_state;
}

void
post(struct link *link, enum ibv_wr_opcode opcode, uint64_t wr_id, size_t offset, size_t length,
		size_t remote_offset)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)link->memory + offset,
		.length = (uint32_t)length,
		.lkey = link->mr->lkey,
	};
	struct ibv_send_wr wr = {
		.wr_id = wr_id,
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = opcode,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {
			.remote_addr = link->remote.address + remote_offset,
			.rkey = link->remote.key,
		},
	};
	struct ibv_send_wr *bad;
	int ret = ibv_post_send(link->id->qp, &wr, &bad);

	if (ret)
		die("ibv_post_send: %s", strerror(ret));
	link->posted++;
}

void
post_receive(struct link *link, uint64_t wr_id, size_t offset, size_t length)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)link->memory + offset,
		.length = (uint32_t)length,
		.lkey = link->mr->lkey,
	};
	struct ibv_recv_wr wr = {.wr_id = wr_id, .sg_list = &sge, .num_sge = 1};
	struct ibv_recv_wr *bad;
	int ret = ibv_post_recv(link->id->qp, &wr, &bad);

	if (ret)
		die("ibv_post_recv: %s", strerror(ret));
	link->posted++;
}

static int
poll_one(struct link *link, struct ibv_wc *wc)
{
	int ret = ibv_poll_cq(link->cq, 1, wc);

	CHECK(ret >= 0);
	link->posted -= (unsigned)ret;

	return ret;
}

int
drain(struct link *link, struct ibv_wc *wc)
{
	struct ibv_wc another;
	struct ibv_cq *cq;
	void *context;
	unsigned events = 0;
	int count = 0;

	while (ibv_get_cq_event(link->channel, &cq, &context) == 0)
		events++;
	if (events > 0) {
		ibv_ack_cq_events(link->cq, events);
		CHECK(ibv_req_notify_cq(link->cq, 0) == 0);
	}
	while (count == 0 && poll_one(link, &another) > 0) {
		count++;
		if (wc)
			*wc = another;
	}

	return count;
}

bool
comes_within(struct link *link, int ms, struct ibv_wc *wc)
{
	const uint64_t end = now_ns() + (uint64_t)ms * 1000000;

	while (drain(link, wc) == 0) {
		if (now_ns() > end)
			return false;
	}

	return true;
}

struct ibv_wc
complete(struct link *link)
{
	uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct pollfd readable = {.fd = link->channel->fd, .events = POLLIN};
	struct ibv_wc wc;

	while (drain(link, &wc) == 0) {
		if (now_ns() > end)
			die("no completion in %d ms, and %u are due", wait_ms(), link->posted);
		poll(&readable, 1, wait_ms());
	}
	if (wc.status != IBV_WC_SUCCESS)
		die("work request %llx: %s", (unsigned long long)wc.wr_id, ibv_wc_status_str(wc.status));

	return wc;
}

void
accept_link(struct link *link)
{
	struct remote own = {
		.address = (uintptr_t)link->memory,
		.key = link->mr->rkey,
		.size = (uint32_t)link->size,
	};
	struct rdma_conn_param param = conn_param(&own, sizeof(own));

	/* it fails if the client is not there any more: then there is no connection to wait for */
	if (rdma_accept(link->id, &param) != 0)
		link->ended = true;
}

/* waits for an event of an id that has no other; anything else is the end of it */
static bool
step(struct rdma_event_channel *channel, enum rdma_cm_event_type wanted, struct remote *remote)
{
	struct rdma_cm_event *event = next_event(channel, wait_ms());
	bool reached;

	if (!event)
		die("no event in %d ms, %s is due", wait_ms(), rdma_event_str(wanted));
	reached = event->event == wanted;
	if (!reached && event->event != RDMA_CM_EVENT_REJECTED &&
			event->event != RDMA_CM_EVENT_UNREACHABLE &&
			event->event != RDMA_CM_EVENT_CONNECT_ERROR &&
			event->event != RDMA_CM_EVENT_DISCONNECTED)
		die("%s instead of %s", event_name(event), rdma_event_str(wanted));
	if (reached && remote) {
		CHECK(event->param.conn.private_data_len >= sizeof(*remote));
		memcpy(remote, event->param.conn.private_data, sizeof(*remote));
	}
	CHECK(rdma_ack_cm_event(event) == 0);

	return reached;
}

bool
connect_link(struct link *link, struct rdma_event_channel *channel, const char *address, unsigned port,
		size_t size, unsigned depth)
{
	struct rdma_conn_param param = conn_param(NULL, 0);
	struct sockaddr_storage parsed;
	struct rdma_cm_id *id;
	struct remote remote;

	parse_address(&parsed, address, port);
	CHECK(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) == 0);
	CHECK(rdma_resolve_addr(id, NULL, (struct sockaddr *)&parsed, wait_ms()) == 0);
	CHECK(step(channel, RDMA_CM_EVENT_ADDR_RESOLVED, NULL));
	CHECK(rdma_resolve_route(id, wait_ms()) == 0);
	CHECK(step(channel, RDMA_CM_EVENT_ROUTE_RESOLVED, NULL));
	link_open(link, id, size, depth);
	if (rdma_connect(id, &param) != 0 || !step(channel, RDMA_CM_EVENT_ESTABLISHED, &remote)) {
		link_close(link);
		return false;
	}
	link->remote = remote;

	return true;
}

/* --- data -------------------------------------------------------------------------------------- */

uint64_t
next_random(struct random *random)
{
	/* xorshift64*; a state of zero would stay */
	uint64_t x = random->state ? random->state : 88172645463325252u;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	random->state = x;

	return x * 2685821657736338717u;
}

void
fill(char *memory, size_t size, uint64_t seed)
{
	struct random random = {seed};

	for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
		uint64_t value = next_random(&random);

		memcpy(memory + i, &value, size - i < sizeof(value) ? size - i : sizeof(value));
	}
}

/* set before main, as die() and others use it */
__attribute__((constructor)) static void
set_role(int argc, char *argv[])
{
	if (argc > 3)
		role = argv[1];
	signal(SIGPIPE, SIG_IGN);
}
