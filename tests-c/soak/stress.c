/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many times over, and nothing left behind: no descriptor, no memory, no object in the kernel.
 *
 * RPMA_TEST_CONNECTIONS says how many connections (1000 by default).
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <poll.h>

#include "device.h"
#include "holdings.h"
#include "verbs.h"

#define ALWAYS RPMA_F_COMPLETION_ALWAYS

static unsigned
connections(void)
{
	const char *n = getenv("RPMA_TEST_CONNECTIONS");

	return n && atoi(n) > 0 ? (unsigned)atoi(n) : 1000;
}

/* --- what this process and the kernel hold --- */

static long
allocated(void)
{
	return (long)mallinfo2().uordblks;
}

#define KINDS 6

struct kernel_objects {
	bool known;
	long count[KINDS];
};

static const char *const kinds[KINDS] = {"pd", "cq", "qp", "cm_id", "mr", "srq"};

/* "0: rxe0: pd 1 cq 0 qp 1 cm_id 0 mr 0 ctx 0 srq 0", a line for each device */
static struct kernel_objects
kernel_objects(void)
{
	struct kernel_objects objects = {0};
	FILE *out = popen("PATH=$PATH:/usr/sbin:/sbin rdma resource show 2>/dev/null", "r");
	char line[512];

	assert_non_null(out);
	while (fgets(line, sizeof(line), out)) {
		char *rest = line;
		char *word;
		char *number;

		while ((word = strtok_r(rest, " \n", &rest)) != NULL) {
			for (int i = 0; i < KINDS; i++) {
				if (strcmp(word, kinds[i]) == 0 &&
				    (number = strtok_r(rest, " \n", &rest)) != NULL) {
					objects.count[i] += atol(number);
					objects.known = true;
					break;
				}
			}
		}
	}
	pclose(out);

	return objects;
}

struct holdings {
	int descriptors;
	struct kernel_objects kernel;
};

static struct holdings
holdings(void)
{
	const struct holdings now = {open_descriptors(), kernel_objects()};

	assert_return_code(now.descriptors, errno);

	return now;
}

static void
assert_nothing_left(const struct holdings *before)
{
	struct kernel_objects now;
	int waited = 0;

	/*
	 * A device may hold descriptors of its own for connections that have ended before, and close them in between:
	 * softrdma does, for the pair of processes. What each object would leave is more than these few.
	 */
	assert_in_range(open_descriptors(), 0, before->descriptors);

	if (!before->kernel.known) {
		print_message("kernel objects not compared: no output of \"rdma resource show\" "
				"(package iproute2)\n");
		return;
	}

	/* the kernel lets go of some a moment later, and nothing tells when: look again */
	for (;;) {
		now = kernel_objects();
		if (memcmp(now.count, before->kernel.count, sizeof(now.count)) == 0 ||
		    waited >= timeout_ms())
			break;
		poll(NULL, 0, 50);
		waited += 50;
	}
	for (int i = 0; i < KINDS; i++) {
		if (now.count[i] != before->kernel.count[i])
			fail_msg("%s: %ld before, %ld after", kinds[i], before->kernel.count[i],
					now.count[i]);
	}
}

/* after a warm-up, to see only what grows on and on */
struct memory {
	long resident_kib;
	long allocated;
};

static struct memory
memory(void)
{
	const struct memory now = {resident_kib(), allocated()};

	assert_true(now.resident_kib > 0);

	return now;
}

/* a sanitizer keeps what is freed for a while, and looks for leaks itself */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED
#endif

static void
assert_no_growth(const struct memory *warm)
{
	const struct memory now = memory();

#ifdef SANITIZED
	print_message("memory not compared: this is a sanitizer's\n");
	return;
#endif

	print_message("memory: %ld to %ld KiB resident, %ld to %ld bytes allocated\n",
			warm->resident_kib, now.resident_kib, warm->allocated, now.allocated);
	assert_true(now.resident_kib - warm->resident_kib <= 1024);
	assert_true(now.allocated - warm->allocated <= 16 * 1024);
}

/* --- the tests --- */

static void
one_connection(struct pair *pair, unsigned i)
{
	struct region region;
	const size_t len = 1 + i % MR_SIZE;

	pair_connect(pair, NULL, NULL);
	region = open_region(pair->server.peer, MR_SIZE, ALL_USAGES);
	fill(pair->client.region.mem, len, i);
	SUCCEED(rpma_write(pair->client.conn, region.remote, 0, pair->client.region.mr, 0, len,
			RPMA_F_COMPLETION_ON_ERROR, NULL));
	SUCCEED(rpma_flush(pair->client.conn, region.remote, 0, len, RPMA_FLUSH_TYPE_VISIBILITY,
			ALWAYS, &region));
	EXPECT_WC(pair->client.cq, &region, IBV_WC_SUCCESS);
	assert_memory_equal(region.mem, pair->client.region.mem, len);
	pair_disconnect(pair);
	close_region(&region);
}

static void
connections_leave_nothing(void **unused)
{
	const unsigned n = connections();
	const unsigned warm_up = n / 5;
	struct memory warm = {0};
	struct holdings first;
	struct holdings open;
	struct pair pair;

	(void)unused;
	/* opens what is opened once in a process */
	pair_prepare(&pair);
	one_connection(&pair, 0);
	pair_release(&pair);

	first = holdings();
	pair_prepare(&pair);
	open = holdings();
	for (unsigned i = 0; i < n; i++) {
		if (i == warm_up)
			warm = memory();
		one_connection(&pair, i);
		if ((i + 1) % (n < 10 ? 1 : n / 10) == 0)
			print_message("%u of %u connections\n", i + 1, n);
	}
	assert_no_growth(&warm);
	assert_nothing_left(&open);
	pair_release(&pair);
	assert_nothing_left(&first);
}

static void
rejections_leave_nothing(void **unused)
{
	const unsigned n = connections() / 10 + 10;
	struct memory warm = {0};
	struct holdings before;
	struct pair pair;

	(void)unused;
	BETTER(DIFF_REJECTED_REQUEST);
	pair_prepare(&pair);
	before = holdings();
	verbs_reset();
	for (unsigned i = 0; i < n; i++) {
		struct rpma_conn_req *req;

		if (i == n / 5)
			warm = memory();
		pair.client.conn = connect_request(new_request(pair.client.peer, pair.port, NULL));
		req = take_request(pair.ep, NULL);
		SUCCEED(rpma_conn_req_delete(&req));
		EXPECT_EVENT(pair.client.conn, RPMA_CONN_REJECTED);
		SUCCEED(rpma_conn_delete(&pair.client.conn));
	}
	/* the client's, and that of its request */
	assert_int_equal(verbs_seen.destroyed_ids, 2 * n);
	assert_no_growth(&warm);
	assert_nothing_left(&before);
	pair_release(&pair);
}

static void
failed_accepts_leave_nothing(void **unused)
{
	char data[255] = {1};
	const struct rpma_conn_private_data too_long = {data, sizeof(data)};
	const unsigned n = connections() / 10 + 10;
	struct memory warm = {0};
	struct holdings before;
	struct pair pair;

	(void)unused;
	BETTER(DIFF_REJECTED_REQUEST);
	pair_prepare(&pair);
	before = holdings();
	verbs_reset();
	for (unsigned i = 0; i < n; i++) {
		struct rpma_conn *conn = NULL;
		struct rpma_conn_req *req;

		if (i == n / 5)
			warm = memory();
		pair.client.conn = connect_request(new_request(pair.client.peer, pair.port, NULL));
		req = take_request(pair.ep, NULL);
		EXPECT(rpma_conn_req_connect(&req, &too_long, &conn), RPMA_E_PROVIDER);
		EXPECT_EVENT(pair.client.conn, RPMA_CONN_REJECTED);
		SUCCEED(rpma_conn_delete(&pair.client.conn));
	}
	/* the client's, and that of its request */
	assert_int_equal(verbs_seen.destroyed_ids, 2 * n);
	assert_no_growth(&warm);
	assert_nothing_left(&before);
	pair_release(&pair);
}

/* everything else that can be made and deleted, and every way to fail that needs no help */
static void
objects_leave_nothing(void **unused)
{
	const unsigned n = connections() / 10 + 10;
	struct memory warm = {0};
	struct holdings before;
	struct pair pair;

	(void)unused;
	pair_prepare(&pair);
	before = holdings();
	for (unsigned i = 0; i < n; i++) {
		char data[255] = {1};
		const struct rpma_conn_private_data too_long = {data, sizeof(data)};
		struct rpma_peer *peer = open_peer(RPMA_UTIL_IBV_CONTEXT_REMOTE);
		struct region region = open_region(peer, MR_SIZE, ALL_USAGES);
		struct rpma_conn_req *req = NULL;
		struct rpma_conn *conn = NULL;
		struct rpma_conn_cfg *cfg = NULL;
		struct rpma_srq *srq = NULL;
		struct rpma_ep *ep;
		char port[PORT_LEN];

		if (i == n / 5)
			warm = memory();
		ep = listen_somewhere(peer, port);
		SUCCEED(rpma_srq_new(peer, NULL, &srq));
		SUCCEED(rpma_conn_cfg_new(&cfg));
		SUCCEED(rpma_conn_cfg_set_srq(cfg, srq));

		/* requests that were never sent, and one that could not be */
		req = new_request(peer, port, cfg);
		SUCCEED(rpma_conn_req_delete(&req));
		SUCCEED(rpma_conn_cfg_set_compl_channel(cfg, true));
		INVALID(rpma_conn_req_new(peer, device_addr(), port, cfg, &req));
		SUCCEED(rpma_conn_cfg_set_sq_size(cfg, UINT32_MAX));
		SUCCEED(rpma_conn_cfg_set_compl_channel(cfg, false));
		EXPECT(rpma_conn_req_new(peer, device_addr(), port, cfg, &req), RPMA_E_PROVIDER);
		EXPECT(rpma_conn_req_new(peer, "203.0.113.1", port, NULL, &req), RPMA_E_PROVIDER);
		req = new_request(peer, port, NULL);
		EXPECT(rpma_conn_req_connect(&req, &too_long, &conn), RPMA_E_PROVIDER);
		struct rpma_ep *second = NULL;

		EXPECT(rpma_ep_listen(peer, device_addr(), port, &second), RPMA_E_PROVIDER);
		SUCCEED(rpma_ep_shutdown(&ep));

		/* and one that nobody took */
		conn = connect_request(new_request(peer, port, NULL));
		EXPECT_EVENT(conn, RPMA_CONN_REJECTED);
		SUCCEED(rpma_conn_delete(&conn));

		SUCCEED(rpma_conn_cfg_delete(&cfg));
		SUCCEED(rpma_srq_delete(&srq));
		close_region(&region);
		SUCCEED(rpma_peer_delete(&peer));
	}
	assert_no_growth(&warm);
	assert_nothing_left(&before);
	pair_release(&pair);
}

static const struct CMUnitTest rdma[] = {
	cmocka_unit_test(connections_leave_nothing),
	cmocka_unit_test(rejections_leave_nothing),
	cmocka_unit_test(failed_accepts_leave_nothing),
	cmocka_unit_test(objects_leave_nothing),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "stress", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
