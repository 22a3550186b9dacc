/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection's life: its events, its end (orderly or not), and what it tells about itself. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"

#define ALWAYS RPMA_F_COMPLETION_ALWAYS

/* --- without a device, and the same with a real connection --- */

static void
check_arguments(struct rpma_conn *conn)
{
	struct rpma_conn_private_data pdata = {UNTOUCHED_PTR, 0x5a};
	enum rpma_conn_event event = UNTOUCHED_INT;
	struct rpma_cq *cq = UNTOUCHED_PTR;
	struct rpma_peer_cfg *pcfg = NULL;
	uint32_t qp_num = UNTOUCHED_INT;
	int fd = UNTOUCHED_INT;

	INVALID(rpma_conn_get_event_fd(NULL, &fd));
	INVALID(rpma_conn_get_event_fd(conn, NULL));
	INVALID(rpma_conn_next_event(NULL, &event));
	INVALID(rpma_conn_next_event(conn, NULL));
	INVALID(rpma_conn_get_private_data(NULL, &pdata));
	INVALID(rpma_conn_get_private_data(conn, NULL));
	INVALID(rpma_conn_get_qp_num(NULL, &qp_num));
	INVALID(rpma_conn_get_qp_num(conn, NULL));
	INVALID(rpma_conn_get_cq(NULL, &cq));
	INVALID(rpma_conn_get_cq(conn, NULL));
	INVALID(rpma_conn_get_rcq(NULL, &cq));
	INVALID(rpma_conn_get_rcq(conn, NULL));
	SUCCEED(rpma_peer_cfg_new(&pcfg));
	INVALID(rpma_conn_apply_remote_peer_cfg(NULL, pcfg));
	INVALID(rpma_conn_apply_remote_peer_cfg(conn, NULL));
	SUCCEED(rpma_peer_cfg_delete(&pcfg));
	INVALID(rpma_conn_disconnect(NULL));
	INVALID(rpma_conn_delete(NULL));

	assert_int_equal(fd, UNTOUCHED_INT);
	assert_int_equal(event, UNTOUCHED_INT);
	assert_ptr_equal(pdata.ptr, UNTOUCHED_PTR);
	assert_int_equal(pdata.len, 0x5a);
	assert_int_equal(qp_num, UNTOUCHED_INT);
	assert_ptr_equal(cq, UNTOUCHED_PTR);
}

static void
connections_refuse_null(void **unused)
{
	struct rpma_conn *none = NULL;

	(void)unused;
	check_arguments(untouchable());
	SUCCEED(rpma_conn_delete(&none));
	assert_null(none);
}

static void
arguments_of_a_real_connection(void **state)
{
	struct pair *pair = *state;

	check_arguments(pair->client.conn);
	check_arguments(pair->server.conn);
	write_and_check(pair, 64, 1);
}

/* --- what it tells --- */

static void
queue_pair_number(void **state)
{
	struct pair *pair = *state;
	uint32_t client = 0;
	uint32_t server = 0;

	SUCCEED(rpma_conn_get_qp_num(pair->client.conn, &client));
	SUCCEED(rpma_conn_get_qp_num(pair->server.conn, &server));
	assert_int_not_equal(client, server);

	SUCCEED(rpma_recv(pair->server.conn, NULL, 0, 0, NULL));
	SUCCEED(rpma_send(pair->client.conn, NULL, 0, 0, ALWAYS, NULL));
	struct ibv_wc wc = EXPECT_WC(pair->client.cq, NULL, IBV_WC_SUCCESS);

	assert_int_equal(wc.qp_num, client);
	wc = EXPECT_WC(pair->server.cq, NULL, IBV_WC_SUCCESS);
	assert_int_equal(wc.qp_num, server);
}

static void
handles_stay_the_same(void **state)
{
	struct pair *pair = *state;
	int fds[2] = {-1, -1};

	assert_ptr_equal(cq_of(pair->client.conn), pair->client.cq);
	assert_ptr_equal(rcq_of(pair->client.conn), NULL);
	SUCCEED(rpma_conn_get_event_fd(pair->client.conn, &fds[0]));
	SUCCEED(rpma_conn_get_event_fd(pair->client.conn, &fds[1]));
	assert_true(fds[0] >= 0);
	assert_int_equal(fds[0], fds[1]);
}

/* Programs tell handles apart by their addresses, in the data of an epoll event for example. */
static void
handles_have_different_addresses(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_cfg *cfg = NULL;

	assert_ptr_not_equal(cq_of(pair->client.conn), pair->client.conn);
	assert_ptr_not_equal(cq_of(pair->server.conn), pair->server.conn);

	pair_disconnect(pair);
	SUCCEED(rpma_conn_cfg_new(&cfg));
	SUCCEED(rpma_conn_cfg_set_rcq_size(cfg, 8));
	pair_connect(pair, cfg, cfg);
	SUCCEED(rpma_conn_cfg_delete(&cfg));
	assert_ptr_not_equal(cq_of(pair->client.conn), pair->client.conn);
	assert_non_null(rcq_of(pair->client.conn));
	assert_ptr_not_equal(rcq_of(pair->client.conn), pair->client.conn);
	assert_ptr_not_equal(rcq_of(pair->client.conn), cq_of(pair->client.conn));
}

/* --- events --- */

static void
next_event_when_there_is_none(void **state)
{
	struct pair *pair = *state;
	enum rpma_conn_event event = UNTOUCHED_INT;
	int fd = -1;

	BETTER(DIFF_NO_EVENT);
	SUCCEED(rpma_conn_get_event_fd(pair->client.conn, &fd));
	set_nonblocking(fd);
	log_capture(RPMA_LOG_LEVEL_DEBUG);
	EXPECT(rpma_conn_next_event(pair->client.conn, &event), RPMA_E_NO_EVENT);
	assert_int_equal(logged.count, 0);
	log_release();
	assert_int_equal(event, UNTOUCHED_INT);

	/* and it goes on to work */
	SUCCEED(rpma_conn_disconnect(pair->server.conn));
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_CLOSED);
	EXPECT(rpma_conn_next_event(pair->client.conn, &event), RPMA_E_NO_EVENT);
}

static void
disconnected_by_the_client(void **state)
{
	struct pair *pair = *state;

	pair_disconnect(pair);
	pair_connect(pair, NULL, NULL);
	write_and_check(pair, 64, 2);
}

static void
disconnected_by_the_server(void **state)
{
	struct pair *pair = *state;

	SUCCEED(rpma_conn_disconnect(pair->server.conn));
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_CLOSED);
	SUCCEED(rpma_conn_disconnect(pair->client.conn));
	EXPECT_EVENT(pair->server.conn, RPMA_CONN_CLOSED);

	/* once more does no harm */
	SUCCEED(rpma_conn_disconnect(pair->server.conn));
	SUCCEED(rpma_conn_disconnect(pair->client.conn));
}

static void
deleted_without_disconnecting(void **state)
{
	struct pair *pair = *state;

	SUCCEED(rpma_conn_delete(&pair->client.conn));
	assert_null(pair->client.conn);
	EXPECT_EVENT(pair->server.conn, RPMA_CONN_CLOSED);
}

static void
deleted_with_an_event_not_taken(void **state)
{
	struct pair *pair = *state;
	int fd = -1;

	SUCCEED(rpma_conn_get_event_fd(pair->server.conn, &fd));
	SUCCEED(rpma_conn_disconnect(pair->client.conn));
	wait_readable(fd);
	SUCCEED(rpma_conn_delete(&pair->server.conn));
	assert_null(pair->server.conn);
}

static void
time_wait_is_closed_too(void **state)
{
	struct pair *pair = *state;

	SUCCEED(rpma_conn_disconnect(pair->client.conn));
	EXPECT_EVENT(pair->server.conn, RPMA_CONN_CLOSED);
	SUCCEED(rpma_conn_disconnect(pair->server.conn));
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_CLOSED);
	/* some seconds later the connection manager lets go of it */
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_CLOSED);
	EXPECT_EVENT(pair->server.conn, RPMA_CONN_CLOSED);
}

static void
ones_own_disconnect_flushes(void **state)
{
	struct pair *pair = *state;
	int contexts[2] = {0};

	SUCCEED(rpma_recv(pair->client.conn, pair->client.region.mr, 0, 8, &contexts[0]));
	SUCCEED(rpma_recv(pair->client.conn, pair->client.region.mr, 8, 8, &contexts[1]));
	EXPECT_NO_WC(pair->client.cq);
	SUCCEED(rpma_conn_disconnect(pair->client.conn));
	EXPECT_WC(pair->client.cq, &contexts[0], IBV_WC_WR_FLUSH_ERR);
	EXPECT_WC(pair->client.cq, &contexts[1], IBV_WC_WR_FLUSH_ERR);
}

static void
survives_its_endpoint(void **state)
{
	struct pair *pair = *state;

	SUCCEED(rpma_ep_shutdown(&pair->ep));
	write_and_check(pair, MR_SIZE, 5);
	pair_disconnect(pair);
}

static void
many_at_once(void **state)
{
	struct pair *pair = *state;
	struct pair more[16];

	for (unsigned i = 0; i < COUNT_OF(more); i++) {
		more[i] = *pair;
		pair_connect(&more[i], NULL, NULL);
	}
	for (unsigned i = 0; i < COUNT_OF(more); i++)
		write_and_check(&more[i], 128, i);
	/* each end alone ends its own connection */
	for (unsigned i = 0; i < COUNT_OF(more); i += 2)
		pair_disconnect(&more[i]);
	for (unsigned i = 1; i < COUNT_OF(more); i += 2)
		write_and_check(&more[i], 128, i + 100);
	for (unsigned i = 1; i < COUNT_OF(more); i += 2)
		pair_disconnect(&more[i]);
	write_and_check(pair, 128, 200);
}

/* --- the other process dies --- */

/* a server: prints its port, accepts one connection, says so, and waits to be killed */
static int
serve(int argc, char *argv[])
{
	struct rpma_peer *peer;
	struct rpma_conn *conn;
	struct rpma_ep *ep;
	char port[PORT_LEN];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	peer = open_peer(RPMA_UTIL_IBV_CONTEXT_LOCAL);
	ep = listen_somewhere(peer, port);
	printf("%s\n", port);

	if (argc > 0 && strcmp(argv[0], "silent") == 0) {
		int fd = -1;

		/* the request has come, and gets no answer */
		SUCCEED(rpma_ep_get_fd(ep, &fd));
		wait_readable(fd);
		printf("requested\n");
	} else {
		conn = connect_request(take_request(ep, NULL));
		EXPECT_EVENT(conn, RPMA_CONN_ESTABLISHED);
		printf("established\n");
		if (argc > 0 && strcmp(argv[0], "exit") == 0)
			return EXIT_SUCCESS;
	}

	for (;;)
		pause();
}

/* a client here, and a server in a process of its own: connected, or with the request unanswered */
static void
connect_to_helper(struct pair *pair, struct helper *helper, const char *how)
{
	const char *const args[] = {how, NULL};
	const bool answers = strcmp(how, "silent") != 0;
	char line[64];

	*helper = start_helper(args);
	helper_line(helper, line, sizeof(line));
	pair->client.conn = connect_request(new_request(pair->client.peer, line, NULL));
	if (answers)
		EXPECT_EVENT(pair->client.conn, RPMA_CONN_ESTABLISHED);
	helper_line(helper, line, sizeof(line));
	assert_string_equal(line, answers ? "established" : "requested");
}

static void
server_killed(void **state)
{
	struct pair *pair = *state;
	struct helper helper;

	connect_to_helper(pair, &helper, "serve");
	stop_helper(&helper, true);
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_CLOSED);
	SUCCEED(rpma_conn_disconnect(pair->client.conn));
	SUCCEED(rpma_conn_delete(&pair->client.conn));

	/* nothing is left that would disturb the next connection */
	pair_connect(pair, NULL, NULL);
	write_and_check(pair, 64, 6);
}

static void
server_exited(void **state)
{
	struct pair *pair = *state;
	struct helper helper;

	connect_to_helper(pair, &helper, "exit");
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_CLOSED);
	assert_int_equal(stop_helper(&helper, false), 0);
}

static void
server_killed_with_the_request_unanswered(void **state)
{
	struct pair *pair = *state;
	struct helper helper;

	connect_to_helper(pair, &helper, "silent");
	stop_helper(&helper, true);
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_REJECTED);
}

static void
server_killed_with_operations_under_way(void **state)
{
	struct pair *pair = *state;
	struct helper helper;
	int contexts[4] = {0};

	connect_to_helper(pair, &helper, "serve");
	/* it has posted no receive, so these wait */
	for (int i = 0; i < 4; i++)
		SUCCEED(rpma_send(pair->client.conn, pair->client.region.mr, 0, 8, ALWAYS,
				&contexts[i]));
	stop_helper(&helper, true);
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_CLOSED);
	SUCCEED(rpma_conn_disconnect(pair->client.conn));

	for (int i = 0; i < 4; i++) {
		const struct ibv_wc wc = wait_wc(cq_of(pair->client.conn));

		assert_int_not_equal(wc.status, IBV_WC_SUCCESS);
		assert_true(wc.wr_id == (uintptr_t)&contexts[i]);
	}
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(connections_refuse_null),
};

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)
#define WITH_EP(test) cmocka_unit_test_setup_teardown(test, prepare_pair, close_pair)

static const struct CMUnitTest rdma[] = {
	WITH_PAIR(arguments_of_a_real_connection),
	WITH_PAIR(queue_pair_number),
	WITH_PAIR(handles_stay_the_same),
	WITH_PAIR(handles_have_different_addresses),
	WITH_PAIR(next_event_when_there_is_none),
	WITH_PAIR(disconnected_by_the_client),
	WITH_PAIR(disconnected_by_the_server),
	WITH_PAIR(deleted_without_disconnecting),
	WITH_PAIR(deleted_with_an_event_not_taken),
	WITH_PAIR(time_wait_is_closed_too),
	WITH_PAIR(ones_own_disconnect_flushes),
	WITH_PAIR(survives_its_endpoint),
	WITH_PAIR(many_at_once),
	WITH_EP(server_killed),
	WITH_EP(server_exited),
	WITH_EP(server_killed_with_the_request_unanswered),
	WITH_EP(server_killed_with_operations_under_way),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "conn", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
		.rdma = rdma, .rdma_count = COUNT_OF(rdma), .helper = serve,
	};

	return topic_main(&topic, argc, argv);
}
