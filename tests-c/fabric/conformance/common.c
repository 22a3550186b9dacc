/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "conformance.h"
#include "names.h"

int wait_ms = 10000;
int quiet_ms = 300;
const char *address;
const char *case_name = "?";

/* --- saying ------------------------------------------------------------------------------------ */

static char prefix[64];

void
within(const char *format, ...)
{
	va_list args;

	prefix[0] = '\0';
	if (!format)
		return;
	va_start(args, format);
	vsnprintf(prefix, sizeof(prefix) - 2, format, args);
	va_end(args);
	strcat(prefix, ", ");
}

void
say(const char *step, const char *format, ...)
{
	char result[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(result, sizeof(result), format, args);
	va_end(args);
	/* one write: other processes of the case may speak too */
	printf("%s: %s%s = %s\n", case_name, prefix, step, result);
	fflush(stdout);
}

static const char *
name_of(const struct name *names, size_t count, int value, const char *kind)
{
	static char unknown[48];

	for (size_t i = 0; i < count; i++)
		if (names[i].value == value)
			return names[i].text;
	snprintf(unknown, sizeof(unknown), "%s %d", kind, value);

	return unknown;
}

const char *
errno_name(int error)
{
	return name_of(errno_names, COUNT_OF(errno_names), error, "errno");
}

const char *
cm_event_name(enum rdma_cm_event_type type)
{
	return name_of(event_names, COUNT_OF(event_names), (int)type, "CM event");
}

const char *
status_name(enum ibv_wc_status status)
{
	return name_of(status_names, COUNT_OF(status_names), (int)status, "status");
}

const char *
qp_state_name(enum ibv_qp_state state)
{
	return name_of(state_names, COUNT_OF(state_names), (int)state, "state");
}

const char *
opcode_name(enum ibv_wc_opcode opcode)
{
	return name_of(opcode_names, COUNT_OF(opcode_names), (int)opcode, "opcode");
}

const char *
async_event_name(enum ibv_event_type type)
{
	return name_of(async_names, COUNT_OF(async_names), (int)type, "event");
}

int
say_result(const char *step, int result)
{
	int error = errno;

	if (result == 0)
		say(step, "0");
	else if (result == -1)
		say(step, "-1 and %s", errno_name(error));
	else
		say(step, "%s", errno_name(result));

	return result;
}

void *
say_pointer(const char *step, void *result)
{
	int error = errno;

	if (result)
		say(step, "made");
	else
		say(step, "NULL and %s", errno_name(error));

	return result;
}

void
broken(const char *what)
{
	int error = errno;

	say("broken off", "%s: %s", what, errno_name(error));
	exit(1);
}

/* --- waiting ----------------------------------------------------------------------------------- */

int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);

	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool
readable(int fd, int ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	int ret;

	do {
		ret = poll(&poll_fd, 1, ms);
	} while (ret < 0 && errno == EINTR);

	return ret > 0;
}

void
nonblocking(int fd)
{
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK))
		broken("fcntl");
}

/* --- connection manager ------------------------------------------------------------------------ */

bool
take_event(struct rdma_event_channel *channel, struct cm_event *event, int ms)
{
	struct rdma_cm_event *cm;

	memset(event, 0, sizeof(*event));
	if (!readable(channel->fd, ms))
		return false;
	NEED(rdma_get_cm_event(channel, &cm));
	event->type = cm->event;
	event->status = cm->status;
	event->id = cm->id;
	event->listener = cm->listen_id;
	event->param = cm->param.conn;
	if (cm->param.conn.private_data && cm->param.conn.private_data_len)
		memcpy(event->private_data, cm->param.conn.private_data, cm->param.conn.private_data_len);
	NEED(rdma_ack_cm_event(cm));

	return true;
}

static void
describe_event(const char *step, const struct cm_event *event)
{
	if (event->status)
		say(step, "%s, status %d", cm_event_name(event->type), event->status);
	else
		say(step, "%s", cm_event_name(event->type));
}

bool
say_event(const char *step, struct rdma_event_channel *channel, struct cm_event *event)
{
	struct cm_event own;

	if (!event)
		event = &own;
	if (!take_event(channel, event, wait_ms)) {
		say(step, "nothing came");
		return false;
	}
	describe_event(step, event);

	return true;
}

void
say_no_event(const char *step, struct rdma_event_channel *channel)
{
	struct cm_event event;

	if (take_event(channel, &event, quiet_ms))
		describe_event(step, &event);
	else
		say(step, "none");
}

void
need_event(struct rdma_event_channel *channel, enum rdma_cm_event_type type, struct cm_event *event)
{
	struct cm_event own;

	if (!event)
		event = &own;
	if (!take_event(channel, event, wait_ms)) {
		errno = ETIMEDOUT;
		broken(cm_event_name(type));
	}
	if (event->type != type) {
		char what[128];

		snprintf(what, sizeof(what), "%s instead of", cm_event_name(event->type));
		strcat(strcat(what, " "), cm_event_name(type));
		errno = 0;
		broken(what);
	}
}

struct sockaddr *
device_address(uint16_t port, struct sockaddr_storage *storage)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST}, *info;

	if (getaddrinfo(address, NULL, &hints, &info))
		broken("getaddrinfo");
	memset(storage, 0, sizeof(*storage));
	memcpy(storage, info->ai_addr, info->ai_addrlen);
	freeaddrinfo(info);
	if (storage->ss_family == AF_INET)
		((struct sockaddr_in *)storage)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *)storage)->sin6_port = htons(port);

	return (struct sockaddr *)storage;
}

struct sockaddr *
any_address(uint16_t port, struct sockaddr_storage *storage)
{
	device_address(port, storage);
	if (storage->ss_family == AF_INET)
		((struct sockaddr_in *)storage)->sin_addr.s_addr = htonl(INADDR_ANY);
	else
		((struct sockaddr_in6 *)storage)->sin6_addr = in6addr_any;

	return (struct sockaddr *)storage;
}

const char *
same_address(const struct sockaddr *a, const struct sockaddr *b)
{
	if (a->sa_family != b->sa_family)
		return "another family";
	if (a->sa_family == AF_INET)
		return memcmp(&((const struct sockaddr_in *)a)->sin_addr,
				&((const struct sockaddr_in *)b)->sin_addr, 4) ? "another" : "the same";

	return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
			&((const struct sockaddr_in6 *)b)->sin6_addr, 16) ? "another" : "the same";
}

void
say_private(const char *step, const struct cm_event *event, unsigned given)
{
	unsigned length = event->param.private_data_len;

	for (unsigned i = 0; i < length; i++)
		if (event->private_data[i] != (i < given ? (uint8_t)(i + 1) : 0)) {
			say(step, "%u bytes, wrong at byte %u", length, i);
			return;
		}
	if (!event->param.private_data)
		say(step, "NULL and %u bytes", length);
	else if (length < given)
		say(step, "%u bytes, cut", length);
	else if (length == given)
		say(step, "%u bytes, as given", length);
	else
		say(step, "%u bytes, %u as given, then zero", length, given);
}

const uint8_t *
private_bytes(void)
{
	static uint8_t bytes[256];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i + 1);

	return bytes;
}

/* --- one end of a connection ------------------------------------------------------------------- */

struct setup
usual(void)
{
	return (struct setup){
		.cq_size = 64, .sq_size = 15, .rq_size = 15, .sges = 1, .length = 8192,
		.client_access = ALL_ACCESS, .server_access = ALL_ACCESS, .rnr_retry = 7,
	};
}

void
listen_any_port(struct listener *listener)
{
	struct sockaddr_storage storage;

	NEED_POINTER(listener->channel, rdma_create_event_channel());
	NEED(rdma_create_id(listener->channel, &listener->id, NULL, RDMA_PS_TCP));
	NEED(rdma_bind_addr(listener->id, device_address(0, &storage)));
	NEED(rdma_listen(listener->id, 0));
	listener->port = ntohs(rdma_get_src_port(listener->id));
}

void
resolve(struct end *end, uint16_t port)
{
	struct sockaddr_storage storage;

	if (!end->channel)
		NEED_POINTER(end->channel, rdma_create_event_channel());
	NEED(rdma_create_id(end->channel, &end->id, NULL, RDMA_PS_TCP));
	NEED(rdma_resolve_addr(end->id, NULL, device_address(port, &storage), wait_ms));
	need_event(end->channel, RDMA_CM_EVENT_ADDR_RESOLVED, NULL);
	NEED(rdma_resolve_route(end->id, wait_ms));
	need_event(end->channel, RDMA_CM_EVENT_ROUTE_RESOLVED, NULL);
}

void
equip(struct end *end, const struct setup *setup, int access)
{
	struct ibv_context *ctx = end->id->verbs;
	struct ibv_qp_init_attr attr = {
		.cap = {
			.max_send_wr = setup->sq_size,
			.max_recv_wr = setup->rq_size,
			.max_send_sge = setup->sges,
			.max_recv_sge = setup->sges,
			.max_inline_data = setup->inline_size,
		},
		.qp_type = IBV_QPT_RC,
		.sq_sig_all = setup->signal_all,
	};

	if (!end->pd)
		NEED_POINTER(end->pd, ibv_alloc_pd(ctx));
	if (!end->comp)
		NEED_POINTER(end->comp, ibv_create_comp_channel(ctx));
	if (!end->cq) {
		NEED_POINTER(end->cq, ibv_create_cq(ctx, setup->cq_size, end, end->comp, 0));
		end->rcq = end->cq;
		if (setup->split_cq)
			NEED_POINTER(end->rcq, ibv_create_cq(ctx, setup->cq_size, NULL, end->comp, 0));
	}
	if (setup->use_srq && !end->srq) {
		struct ibv_srq_init_attr srq_attr = {
			.attr = {.max_wr = setup->rq_size, .max_sge = setup->sges},
		};

		NEED_POINTER(end->srq, ibv_create_srq(end->pd, &srq_attr));
	}
	attr.send_cq = end->cq;
	attr.recv_cq = end->rcq;
	attr.srq = end->srq;
	NEED(rdma_create_qp(end->id, end->pd, &attr));
	end->qp = end->id->qp;

	if (!end->memory) {
		end->length = setup->length;
		end->memory = mmap(NULL, end->length, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (end->memory == MAP_FAILED)
			broken("mmap");
		NEED_POINTER(end->mr, ibv_reg_mr(end->pd, end->memory, end->length, access));
	}
}

struct rdma_conn_param
conn_param(const struct setup *setup)
{
	return (struct rdma_conn_param){
		.responder_resources = RDMA_MAX_RESP_RES,
		.initiator_depth = RDMA_MAX_INIT_DEPTH,
		.flow_control = 1,
		.retry_count = 7,
		.rnr_retry_count = setup->rnr_retry,
	};
}

void
client_start(struct end *client, uint16_t port, const struct setup *setup)
{
	struct rdma_conn_param param = conn_param(setup);

	resolve(client, port);
	equip(client, setup, setup->client_access);
	NEED(rdma_connect(client->id, &param));
}

void
server_take(struct end *server, struct listener *listener, const struct setup *setup)
{
	struct cm_event event;

	need_event(listener->channel, RDMA_CM_EVENT_CONNECT_REQUEST, &event);
	server->id = event.id;
	if (!server->channel)
		NEED_POINTER(server->channel, rdma_create_event_channel());
	NEED(rdma_migrate_id(server->id, server->channel));
	equip(server, setup, setup->server_access);
}

void
server_accept(struct end *server, const struct setup *setup)
{
	struct rdma_conn_param param = conn_param(setup);

	NEED(rdma_accept(server->id, &param));
}

void
established(struct end *end)
{
	need_event(end->channel, RDMA_CM_EVENT_ESTABLISHED, NULL);
}

void
connect_pair(struct pair *pair, const struct setup *setup)
{
	if (!pair->listener.id)
		listen_any_port(&pair->listener);
	client_start(&pair->client, pair->listener.port, setup);
	server_take(&pair->server, &pair->listener, setup);
	server_accept(&pair->server, setup);
	established(&pair->client);
	established(&pair->server);
}

void
close_end(struct end *end)
{
	if (end->mr)
		NEED(ibv_dereg_mr(end->mr));
	if (end->memory)
		munmap(end->memory, end->length);
	if (end->id && end->id->qp)
		rdma_destroy_qp(end->id);
	if (end->srq)
		NEED(ibv_destroy_srq(end->srq));
	if (end->rcq && end->rcq != end->cq)
		NEED(ibv_destroy_cq(end->rcq));
	if (end->cq)
		NEED(ibv_destroy_cq(end->cq));
	if (end->comp)
		NEED(ibv_destroy_comp_channel(end->comp));
	if (end->id)
		NEED(rdma_destroy_id(end->id));
	if (end->pd)
		NEED(ibv_dealloc_pd(end->pd));
	if (end->channel)
		rdma_destroy_event_channel(end->channel);
	memset(end, 0, sizeof(*end));
}

void
close_pair(struct pair *pair)
{
	rdma_disconnect(pair->client.id);
	rdma_disconnect(pair->server.id);
	close_end(&pair->client);
	close_end(&pair->server);
	NEED(rdma_destroy_id(pair->listener.id));
	rdma_destroy_event_channel(pair->listener.channel);
}

/* --- other processes --------------------------------------------------------------------------- */

struct process
start_process(void (*run)(int fd))
{
	struct process process;
	int fds[2];

	fflush(stdout);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		broken("socketpair");
	process.pid = fork();
	if (process.pid < 0)
		broken("fork");
	if (process.pid == 0) {
		/* it must not outlive the case */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fds[0]);
		run(fds[1]);
		exit(0);
	}
	close(fds[1]);
	process.fd = fds[0];

	return process;
}

void
tell(int fd, const void *data, size_t length)
{
	if (send(fd, data, length, MSG_NOSIGNAL) != (ssize_t)length)
		broken("telling the other process");
}

void
hear(int fd, void *data, size_t length)
{
	errno = 0;
	if (recv(fd, data, length, MSG_WAITALL) != (ssize_t)length)
		broken("hearing from the other process");
}

void
join_process(struct process *process)
{
	int status;

	close(process->fd);
	while (waitpid(process->pid, &status, 0) < 0)
		if (errno != EINTR)
			broken("waitpid");
	if (WIFSIGNALED(status))
		say("the other process", "ended by signal %d", WTERMSIG(status));
	else
		say("the other process", "ended with %d", WEXITSTATUS(status));
}
