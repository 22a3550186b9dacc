/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * faults-librpma: what a program that uses librpma sees of the faults that softrdma injects (SOFTRDMA_FAULT): the events
 * of rpma_conn_next_event, and the statuses of rpma_cq_get_wc. They are the same with this library and with the original.
 *
 *   softrdma run -- faults-librpma
 *   LD_LIBRARY_PATH=/where/the/original/is softrdma run -- faults-librpma
 *
 * Each case is a process of its own, which has both ends of the connection: the client is the first one that connects,
 * and has the first queue pair. From the environment: PAIR_WAIT_MS (10000: how long anything may take).
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <librpma.h>

#include "two-processes.h"

#define ADDRESS "127.0.0.1"
#define MOST_EVENTS 2
#define MOST_WRITES 3

struct fault_case {
	const char *fault;
	/* of the client, in this order */
	enum rpma_conn_event events[MOST_EVENTS];
	int event_count;
	/* of as many writes of the client, once it is connected and before the last event */
	enum ibv_wc_status statuses[MOST_WRITES];
	int write_count;
};

static const struct fault_case cases[] = {
	{.fault = "event:rejected:1", .events = {RPMA_CONN_REJECTED}, .event_count = 1},
	{.fault = "event:unreachable:1", .events = {RPMA_CONN_UNREACHABLE}, .event_count = 1},
	{.fault = "event:disconnected:1", .events = {RPMA_CONN_ESTABLISHED, RPMA_CONN_CLOSED}, .event_count = 2},
	{.fault = "event:device-removal:1", .events = {RPMA_CONN_ESTABLISHED, RPMA_CONN_LOST}, .event_count = 2,
		.statuses = {IBV_WC_WR_FLUSH_ERR}, .write_count = 1},
	{.fault = "event:timewait-exit:1", .events = {RPMA_CONN_ESTABLISHED, RPMA_CONN_CLOSED}, .event_count = 2},
	{.fault = "completion:qp=1:2:REM_OP_ERR", .events = {RPMA_CONN_ESTABLISHED}, .event_count = 1,
		.statuses = {IBV_WC_SUCCESS, IBV_WC_REM_OP_ERR, IBV_WC_WR_FLUSH_ERR}, .write_count = 3},
	{.fault = "peer-dies:qp=1:1", .events = {RPMA_CONN_ESTABLISHED, RPMA_CONN_CLOSED}, .event_count = 2,
		.statuses = {IBV_WC_SUCCESS, IBV_WC_RETRY_EXC_ERR, IBV_WC_WR_FLUSH_ERR}, .write_count = 3},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

static char memory[4096] __attribute__((aligned(4096)));

static void
wait_readable(int fd)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};

	if (poll(&readable, 1, wait_ms()) != 1)
		die("nothing came in %d ms", wait_ms());
}

static struct rpma_ep *
listen_somewhere(struct rpma_peer *peer, char *port, size_t size)
{
	struct rpma_ep *ep = NULL;
	unsigned number = (unsigned)getpid();

	/* a port of librdmacm is one that nobody can ask librpma for afterwards: one after the other is tried */
	for (int i = 0; i < 64 && !ep; i++) {
		snprintf(port, size, "%u", 20000 + (number + (unsigned)i * 7) % 12000);
		rpma_ep_listen(peer, ADDRESS, port, &ep);
	}
	CHECK(ep);

	return ep;
}

static void
expect_event(struct rpma_conn *conn, enum rpma_conn_event wanted)
{
	enum rpma_conn_event event = RPMA_CONN_UNDEFINED;
	int fd = -1;

	CHECK(rpma_conn_get_event_fd(conn, &fd) == 0);
	wait_readable(fd);
	CHECK(rpma_conn_next_event(conn, &event) == 0);
	if (event != wanted)
		die("%s instead of %s", rpma_utils_conn_event_2str(event), rpma_utils_conn_event_2str(wanted));
}

static void
expect_statuses(struct rpma_conn *conn, struct rpma_mr_local *mr, const struct fault_case *test)
{
	size_t size = 0;
	char descriptor[64];
	struct rpma_mr_remote *remote = NULL;
	struct rpma_cq *cq = NULL;

	CHECK(rpma_mr_get_descriptor_size(mr, &size) == 0 && size <= sizeof(descriptor));
	CHECK(rpma_mr_get_descriptor(mr, descriptor) == 0);
	CHECK(rpma_mr_remote_from_descriptor(descriptor, size, &remote) == 0);
	CHECK(rpma_conn_get_cq(conn, &cq) == 0);
	for (uintptr_t i = 0; i < (uintptr_t)test->write_count; i++)
		CHECK(rpma_write(conn, remote, 0, mr, 64, 8, RPMA_F_COMPLETION_ALWAYS, (const void *)i) == 0);
	for (int i = 0; i < test->write_count; i++) {
		struct ibv_wc wc;
		int ret;

		while ((ret = rpma_cq_get_wc(cq, 1, &wc, NULL)) == RPMA_E_NO_COMPLETION) {
			int fd = -1;

			CHECK(rpma_cq_get_fd(cq, &fd) == 0);
			wait_readable(fd);
			CHECK(rpma_cq_wait(cq) == 0);
		}
		CHECK(ret == 0 && wc.wr_id == (uint64_t)i);
		if (wc.status != test->statuses[i])
			die("write %d: %s instead of %s", i, ibv_wc_status_str(wc.status),
					ibv_wc_status_str(test->statuses[i]));
	}
	CHECK(rpma_mr_remote_delete(&remote) == 0);
}

static void
run_case(const struct fault_case *test)
{
	bool connects = test->events[0] == RPMA_CONN_ESTABLISHED;
	struct ibv_context *context = NULL;
	struct rpma_peer *peer = NULL;
	struct rpma_conn_req *req = NULL;
	struct rpma_conn *client = NULL, *server = NULL;
	struct rpma_mr_local *mr = NULL;
	struct rpma_ep *ep;
	char port[16];
	int fd = -1;

	CHECK(rpma_utils_get_ibv_context(ADDRESS, RPMA_UTIL_IBV_CONTEXT_LOCAL, &context) == 0);
	CHECK(rpma_peer_new(context, &peer) == 0);
	CHECK(rpma_mr_reg(peer, memory, sizeof(memory), RPMA_MR_USAGE_WRITE_SRC | RPMA_MR_USAGE_WRITE_DST, &mr) == 0);
	ep = listen_somewhere(peer, port, sizeof(port));
	CHECK(rpma_conn_req_new(peer, ADDRESS, port, NULL, &req) == 0);
	CHECK(rpma_conn_req_connect(&req, NULL, &client) == 0);
	if (connects) {
		CHECK(rpma_ep_get_fd(ep, &fd) == 0);
		wait_readable(fd);
		CHECK(rpma_ep_next_conn_req(ep, NULL, &req) == 0);
		CHECK(rpma_conn_req_connect(&req, NULL, &server) == 0);
	}
	expect_event(client, test->events[0]);
	if (test->write_count > 0)
		expect_statuses(client, mr, test);
	if (test->event_count > 1)
		expect_event(client, test->events[1]);
	CHECK(rpma_conn_disconnect(client) == 0 || !connects);
	CHECK(rpma_conn_delete(&client) == 0);
	if (connects) {
		/* it was connected, or not quite */
		rpma_conn_disconnect(server);
		CHECK(rpma_conn_delete(&server) == 0);
	}
	CHECK(rpma_ep_shutdown(&ep) == 0);
	CHECK(rpma_mr_dereg(&mr) == 0);
	CHECK(rpma_peer_delete(&peer) == 0);
}

int
main(int argc, char *argv[])
{
	/* as below */
	if (argc == 3 && strcmp(argv[1], "case") == 0) {
		run_case(&cases[atoi(argv[2])]);
		return 0;
	}
	skip_without(ADDRESS);
	for (size_t i = 0; i < CASES; i++) {
		pid_t pid = fork_or_die();

		if (pid == 0) {
			char number[8];

			snprintf(number, sizeof(number), "%zu", i);
			if (setenv("SOFTRDMA_FAULT", cases[i].fault, 1) == 0)
				execl("/proc/self/exe", argv[0], "case", number, (char *)NULL);
			_exit(1);
		}
		printf("%s\n", cases[i].fault);
		fflush(stdout);
		wait_for_exit(pid);
	}

	return 0;
}
