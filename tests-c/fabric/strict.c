/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * strict [ADDRESS]: errors of programs that a device punishes; softrdma finds them in strict mode, with a line for each
 * that names it, and with the error that a device has. Programs that make no error get no line.
 *
 *   softrdma run --strict -- strict
 *
 * ADDRESS is 127.0.0.1 unless given.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "two-processes.h"

#define SIZE ((size_t)4096)
#define DEPTH 3
#define MESSAGE ((size_t)8)
/* where messages arrive, beyond what is written from the other side */
#define ARRIVAL ((size_t)1024)
#define RECEIVE ((size_t)64)

/* --- the lines ---------------------------------------------------------------------------------- */

/* standard error of this process and its children: a file */
static int lines_fd;
static int real_stderr;

static const char *lines(void);

/* a failed test shows what was printed */
static void
show_lines(void)
{
	dprintf(real_stderr, "%s", lines());
}

static void
catch_lines(void)
{
	char name[] = "/tmp/softrdma-strict-XXXXXX";

	real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	CHECK(real_stderr >= 0);
	lines_fd = mkstemp(name);
	CHECK(lines_fd >= 0);
	/* several processes write to it */
	CHECK(fcntl(lines_fd, F_SETFL, O_APPEND) == 0);
	CHECK(unlink(name) == 0);
	CHECK(dup2(lines_fd, STDERR_FILENO) == STDERR_FILENO);
	CHECK(atexit(show_lines) == 0);
}

static const char *
lines(void)
{
	static char text[1 << 16];
	ssize_t length = pread(lines_fd, text, sizeof(text) - 1, 0);

	CHECK(length >= 0);
	text[length] = '\0';

	return text;
}

/* waits until there is a line with this text */
static void
await_line(const char *what, const char *text)
{
	uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;

	while (!strstr(lines(), text)) {
		if (now_ns() > end)
			die("%s: no line with \"%s\"", what, text);
		usleep(1000);
	}
}

/* each of these once, and no other line; then they are forgotten */
static void
check_lines(const char *what, const char *const *wanted)
{
	size_t count = 0;

	for (; wanted[count]; count++)
		await_line(what, wanted[count]);
	for (const char *at = lines(); *at; at = strchr(at, '\n') + 1) {
		if (strncmp(at, "softrdma: strict: ", strlen("softrdma: strict: ")) != 0 || !strchr(at, '\n'))
			die("%s: a line of another form", what);
		if (count-- == 0)
			die("%s: more lines than expected", what);
	}
	CHECK(ftruncate(lines_fd, 0) == 0);
}

/* --- the server --------------------------------------------------------------------------------- */

static void
obey(struct link *link)
{
	volatile char *memory = link->memory;
	char line[256];

	while (listen_to_parent(line, sizeof(line))) {
		if (strcmp(line, "send") == 0) {
			post(link, IBV_WR_SEND, 1, 0, MESSAGE, 0);
			complete(link);
		} else if (strcmp(line, "await") == 0) {
			while (memory[0] == 0)
				sched_yield();
			report("written");
		} else if (strcmp(line, "lkey") == 0) {
			report("lkey %lu", (unsigned long)link->mr->lkey);
		} else {
			die("told %s", line);
		}
	}
}

static int
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 1);
	struct rdma_cm_event *event;
	struct link link;

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	link_open(&link, await_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST), SIZE, DEPTH);
	accept_link(&link);
	obey(&link);
	rdma_disconnect(link.id);
	while ((event = next_event(channel, 0)))
		CHECK(rdma_ack_cm_event(event) == 0);
	link_close(&link);
	close_server(channel, listener);

	return 0;
}

/* --- errors ------------------------------------------------------------------------------------- */

/* posts a request with these changes to an ordinary write of one message */
static int
post_write(struct link *link, const struct ibv_sge *sge, uint32_t rkey, unsigned flags)
{
	struct ibv_sge list = *sge;
	struct ibv_send_wr *bad, wr = {
		.wr_id = 7,
		.sg_list = &list,
		.num_sge = 1,
		.opcode = IBV_WR_RDMA_WRITE,
		.send_flags = flags,
		.wr.rdma = {.remote_addr = link->remote.address, .rkey = rkey},
	};

	return ibv_post_send(link->id->qp, &wr, &bad);
}

static struct ibv_sge
message(const struct link *link)
{
	return (struct ibv_sge){.addr = (uintptr_t)link->memory, .length = MESSAGE, .lkey = link->mr->lkey};
}

/* the next completion, whatever its status; none if nothing comes any more */
static enum ibv_wc_status
status_of_next(struct link *link)
{
	uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_wc wc;
	int count;

	while ((count = ibv_poll_cq(link->cq, 1, &wc)) == 0)
		CHECK(now_ns() < end);
	CHECK(count == 1);

	return wc.status;
}

static void
write_and_await(struct link *link, struct child *server)
{
	link->memory[0] = 1;
	post(link, IBV_WR_RDMA_WRITE, 7, 0, MESSAGE, 0);
	tell(server, "await");
	expect(server, "written");
}

static void
no_error(struct link *link, struct child *server)
{
	write_and_await(link, server);
	complete(link);
	link->memory[0] = 2;
	post(link, IBV_WR_RDMA_READ, 8, 0, MESSAGE, 0);
	complete(link);
	CHECK(link->memory[0] == 1);
	for (int i = 0; i < 2; i++) {
		post_receive(link, 9, ARRIVAL, RECEIVE);
		/* what the buffer held is gone: who reads too early does not find an old message */
		CHECK((unsigned char)link->memory[ARRIVAL] == 0xdb);
		tell(server, "send");
		CHECK(complete(link).byte_len == MESSAGE);
		CHECK((unsigned char)link->memory[ARRIVAL] == 1);
		/* nor who reads more than has come */
		CHECK((unsigned char)link->memory[ARRIVAL + MESSAGE] == 0xdb);
		CHECK((unsigned char)link->memory[ARRIVAL + RECEIVE - 1] == 0xdb);
		CHECK((unsigned char)link->memory[ARRIVAL + RECEIVE] == 0);
		memset(link->memory + ARRIVAL, 0x55, RECEIVE);
	}
	/* the device may change the memory of these itself */
	post(link, IBV_WR_RDMA_READ, 10, 2 * ARRIVAL, MESSAGE, 0);
	post(link, IBV_WR_RDMA_WRITE, 11, 2 * ARRIVAL, MESSAGE, MESSAGE);
	complete(link);
	complete(link);
	/* two receives with one buffer */
	for (int i = 0; i < 2; i++)
		post_receive(link, 12, ARRIVAL, RECEIVE);
	for (int i = 0; i < 2; i++) {
		tell(server, "send");
		complete(link);
	}
}

static void
send_queue(struct link *link, struct child *server)
{
	uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_sge sge = message(link);

	for (int i = 0; i < DEPTH; i++)
		CHECK(post_write(link, &sge, link->remote.key, 0) == 0);
	/* until they are done, softrdma has no room either, and no reason for a line */
	while (!*lines() && now_ns() < end)
		CHECK(post_write(link, &sge, link->remote.key, IBV_SEND_SIGNALED) == ENOMEM);
	(void)server;
}

static void
cq_overrun(struct link *link, struct child *server)
{
	uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_wc wc;

	CHECK(ibv_resize_cq(link->cq, 1) == 0);
	for (int i = 0; i < 2; i++)
		post(link, IBV_WR_RDMA_WRITE, 7, 0, MESSAGE, 0);
	await_line("a completion queue overruns", "it overruns: ");
	CHECK(ibv_poll_cq(link->cq, 1, &wc) == 1);
	while (ibv_poll_cq(link->cq, 1, &wc) >= 0)
		CHECK(now_ns() < end);
	(void)server;
}

static void
receive_touched(struct link *link, struct child *server)
{
	post_receive(link, 7, ARRIVAL, RECEIVE);
	link->memory[ARRIVAL + 20] = 1;
	tell(server, "send");
	complete(link);
}

static void
source_changed(struct link *link, struct child *server)
{
	write_and_await(link, server);
	link->memory[1]++;
	complete(link);
}

static void
unsignaled_source_changed(struct link *link, struct child *server)
{
	struct ibv_sge sge = message(link);

	sge.addr += ARRIVAL;
	CHECK(post_write(link, &sge, link->remote.key, 0) == 0);
	write_and_await(link, server);
	/* its completion would be the one that is not polled yet */
	link->memory[ARRIVAL]++;
	complete(link);
}

static void
rkey_as_lkey(struct link *link, struct child *server)
{
	struct ibv_sge sge = message(link);

	sge.lkey = link->mr->rkey;
	CHECK(post_write(link, &sge, link->remote.key, IBV_SEND_SIGNALED) == 0);
	CHECK(status_of_next(link) == IBV_WC_LOC_PROT_ERR);
	(void)server;
}

static void
lkey_as_rkey(struct link *link, struct child *server)
{
	struct ibv_sge sge = message(link);

	tell(server, "lkey");
	CHECK(post_write(link, &sge, (uint32_t)expect(server, "lkey "), IBV_SEND_SIGNALED) == 0);
	CHECK(status_of_next(link) == IBV_WC_REM_ACCESS_ERR);
}

static void
own_rkey(struct link *link, struct child *server)
{
	struct ibv_sge sge = message(link);

	CHECK(post_write(link, &sge, link->mr->rkey, IBV_SEND_SIGNALED) == 0);
	CHECK(status_of_next(link) == IBV_WC_REM_ACCESS_ERR);
	(void)server;
}

static void
own_lkey_at_peer(struct link *link, struct child *server)
{
	struct ibv_sge sge = message(link);

	CHECK(post_write(link, &sge, link->mr->lkey, IBV_SEND_SIGNALED) == 0);
	CHECK(status_of_next(link) == IBV_WC_REM_ACCESS_ERR);
	(void)server;
}

static void
other_domain(struct link *link, struct child *server)
{
	struct ibv_pd *pd = ibv_alloc_pd(link->id->verbs);
	struct ibv_sge sge = message(link);
	struct ibv_mr *mr;

	CHECK(pd);
	mr = ibv_reg_mr(pd, link->memory, SIZE, IBV_ACCESS_LOCAL_WRITE);
	CHECK(mr);
	sge.lkey = mr->lkey;
	CHECK(post_write(link, &sge, link->remote.key, IBV_SEND_SIGNALED) == 0);
	CHECK(status_of_next(link) == IBV_WC_LOC_PROT_ERR);
	CHECK(ibv_dereg_mr(mr) == 0);
	CHECK(ibv_dealloc_pd(pd) == 0);
	(void)server;
}

/* the memory goes before its region, or the region before its use */
static void
region_gone(struct link *link, bool unmap)
{
	void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ibv_sge sge = {.addr = (uintptr_t)memory, .length = MESSAGE};
	struct ibv_mr *mr;

	CHECK(memory != MAP_FAILED);
	mr = ibv_reg_mr(link->id->pd, memory, SIZE, IBV_ACCESS_LOCAL_WRITE);
	CHECK(mr);
	sge.lkey = mr->lkey;
	CHECK(unmap ? munmap(memory, SIZE) == 0 : ibv_dereg_mr(mr) == 0);
	CHECK(post_write(link, &sge, link->remote.key, IBV_SEND_SIGNALED) == 0);
	CHECK(status_of_next(link) == IBV_WC_LOC_PROT_ERR);
	CHECK(unmap ? ibv_dereg_mr(mr) == 0 : munmap(memory, SIZE) == 0);
}

static void
unmapped(struct link *link, struct child *server)
{
	(void)server;
	region_gone(link, true);
}

static void
deregistered(struct link *link, struct child *server)
{
	(void)server;
	region_gone(link, false);
}

static void
no_reads(struct link *link, struct child *server)
{
	post(link, IBV_WR_RDMA_READ, 7, 0, MESSAGE, 0);
	(void)server;
}

static void
acknowledged_too_often(struct link *link, struct child *server)
{
	ibv_ack_cq_events(link->cq, 1);
	(void)server;
}

static void *
destroy(void *cq)
{
	CHECK(ibv_destroy_cq(cq) == 0);

	return NULL;
}

static void
not_acknowledged(struct link *link, struct child *server)
{
	struct ibv_comp_channel *channel = ibv_create_comp_channel(link->id->verbs);
	struct ibv_cq *cq, *told;
	struct ibv_qp_init_attr attr = {
		.cap = {.max_recv_wr = 1, .max_recv_sge = 1},
		.qp_type = IBV_QPT_RC,
	};
	struct ibv_qp_attr error = {.qp_state = IBV_QPS_ERR}, init = {.qp_state = IBV_QPS_INIT, .port_num = 1};
	struct ibv_recv_wr *bad, wr = {.wr_id = 1};
	struct ibv_qp *qp;
	pthread_t thread;
	void *context;

	CHECK(channel);
	cq = ibv_create_cq(link->id->verbs, 1, NULL, channel, 0);
	CHECK(cq);
	attr.send_cq = attr.recv_cq = cq;
	qp = ibv_create_qp(link->id->pd, &attr);
	CHECK(qp);
	CHECK(ibv_modify_qp(qp, &init, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS) == 0);
	CHECK(ibv_req_notify_cq(cq, 0) == 0);
	CHECK(ibv_post_recv(qp, &wr, &bad) == 0);
	/* a receive that is flushed */
	CHECK(ibv_modify_qp(qp, &error, IBV_QP_STATE) == 0);
	CHECK(ibv_get_cq_event(channel, &told, &context) == 0 && told == cq);
	CHECK(ibv_destroy_qp(qp) == 0);
	CHECK(pthread_create(&thread, NULL, destroy, cq) == 0);
	await_line("an event that is not acknowledged", "not acknowledged");
	ibv_ack_cq_events(cq, 1);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(ibv_destroy_comp_channel(channel) == 0);
	(void)server;
}

static const struct error {
	void (*make)(struct link *link, struct child *server);
	const char *lines[3];
} errors[] = {
	{no_error, {NULL}},
	{send_queue, {"its send queue is full: "}},
	{cq_overrun, {"warning: CQ ", "it overruns: it holds 1 completions"}},
	{receive_touched, {"the memory of the receive with wr_id 0x7 (64 bytes at "}},
	{source_changed, {"the data of the request with wr_id 0x7 (RdmaWrite, 8 bytes at "}},
	{unsignaled_source_changed, {"the data of the request with wr_id 0x7 (RdmaWrite, 8 bytes at "}},
	{rkey_as_lkey, {" of a request is the rkey of the region of 4096 bytes at "}},
	{lkey_as_rkey, {" of a request of the peer is the lkey of the region of 4096 bytes at "}},
	{own_rkey, {" of a request is the rkey of a region of this process (4096 bytes at "}},
	{own_lkey_at_peer, {" of a request is the lkey of a region of this process (4096 bytes at "}},
	{other_domain, {" which is of another protection domain than the queue pair"}},
	{unmapped, {"this memory is no longer mapped, and is still registered"}},
	{deregistered, {" of a request is the lkey of a region that was deregistered"}},
	{no_reads, {"the RDMA read with wr_id 0x7 is not sent"}},
	{acknowledged_too_often, {"ibv_ack_cq_events acknowledges 1 more events than the program has taken"}},
	{not_acknowledged, {"waits for 1 of its events that are not acknowledged"}},
};

static void
make_error(const struct error *error, struct rdma_event_channel *channel, const char *address)
{
	struct child server = start("server", address, 0);
	unsigned port = (unsigned)expect(&server, "listening ");
	struct rdma_cm_event *event;
	struct link link;

	connection_reads = error->make == no_reads ? 0 : RDMA_MAX_INIT_DEPTH;
	if (!connect_link(&link, channel, address, port, SIZE, DEPTH))
		die("refused");
	error->make(&link, &server);
	CHECK(close(server.out) == 0);
	rdma_disconnect(link.id);
	while ((event = next_event(channel, 0)))
		CHECK(rdma_ack_cm_event(event) == 0);
	link_close(&link);
	finish(&server);
	check_lines(error->lines[0] ? error->lines[0] : "no error", error->lines);
}

/* --- other modes -------------------------------------------------------------------------------- */

/* the smallest error that there is */
static int
err(void)
{
	int count;
	struct ibv_context **all = rdma_get_devices(&count);
	struct ibv_cq *cq;

	CHECK(all && count > 0);
	cq = ibv_create_cq(all[0], 1, NULL, NULL, 0);
	CHECK(cq);
	ibv_ack_cq_events(cq, 1);
	CHECK(ibv_destroy_cq(cq) == 0);
	rdma_free_devices(all);

	return 0;
}

/* how a process ends that makes an error in this mode */
static int
ending(const char *mode, const char *address)
{
	struct child child;
	int status;

	CHECK(setenv("SOFTRDMA_STRICT", mode, 1) == 0);
	child = start("err", address, 0);
	CHECK(waitpid(child.pid, &status, 0) == child.pid);
	fclose(child.in);
	close(child.out);

	return status;
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	static const char *const over[] = {"more events than the program has taken", NULL};
	struct rdma_event_channel *channel;
	int status;

	if (argc == 4)
		return strcmp(argv[1], "server") == 0 ? serve(argv[2]) : err();

	skip_without(address);
	catch_lines();
	channel = open_channel();
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		make_error(&errors[i], channel, address);
	release_pd();
	rdma_destroy_event_channel(channel);

	status = ending("abort", address);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	check_lines("abort", over);
	CHECK(ending("report", address) == 0);
	check_lines("report", over);
	CHECK(ending("0", address) == 0);
	check_lines("off", over + 1);
	printf("%zu errors found\n", sizeof(errors) / sizeof(errors[0]) - 1);

	return 0;
}
