/* SPDX-License-Identifier: BSD-3-Clause */
/* Completion queues: polling, waiting, one channel each or a shared one, a receive CQ of its own. */
#include <pthread.h>
#include <sched.h>

#include "device.h"

#define ALWAYS RPMA_F_COMPLETION_ALWAYS

/* --- without a device --- */

static void
queues_refuse_null(void **unused)
{
	struct rpma_cq *cq = untouchable();
	struct rpma_cq *out = UNTOUCHED_PTR;
	struct ibv_wc wc[2];
	bool is_rcq = true;
	int fd = UNTOUCHED_INT;
	int got = UNTOUCHED_INT;

	(void)unused;
	INVALID(rpma_cq_get_fd(NULL, &fd));
	INVALID(rpma_cq_get_fd(cq, NULL));
	INVALID(rpma_cq_wait(NULL));
	INVALID(rpma_cq_get_wc(NULL, 1, wc, &got));
	INVALID(rpma_cq_get_wc(cq, 0, wc, &got));
	INVALID(rpma_cq_get_wc(cq, -1, wc, &got));
	INVALID(rpma_cq_get_wc(cq, INT32_MIN, wc, &got));
	INVALID(rpma_cq_get_wc(cq, 1, NULL, &got));
	INVALID(rpma_cq_get_wc(cq, 1, NULL, NULL));
	INVALID(rpma_cq_get_wc(cq, 2, wc, NULL));
	INVALID(rpma_conn_get_compl_fd(NULL, &fd));
	INVALID(rpma_conn_get_compl_fd(untouchable(), NULL));
	INVALID(rpma_conn_wait(NULL, 0, &out, &is_rcq));
	INVALID(rpma_conn_wait(untouchable(), 0, NULL, &is_rcq));
	INVALID(rpma_conn_wait(untouchable(), RPMA_W_WAIT_FOR_COMPLETION, NULL, NULL));
	assert_int_equal(fd, UNTOUCHED_INT);
	assert_int_equal(got, UNTOUCHED_INT);
	assert_ptr_equal(out, UNTOUCHED_PTR);
	assert_true(is_rcq);
}

/* --- with a device --- */

static void
arguments_of_a_real_queue(void **state)
{
	struct pair *pair = *state;
	struct rpma_cq *cq = pair->client.cq;
	struct ibv_wc wc[2];
	int fd = UNTOUCHED_INT;
	int got = UNTOUCHED_INT;

	INVALID(rpma_cq_get_fd(cq, NULL));
	INVALID(rpma_cq_get_wc(cq, 0, wc, &got));
	INVALID(rpma_cq_get_wc(cq, -1, wc, &got));
	INVALID(rpma_cq_get_wc(cq, 1, NULL, &got));
	INVALID(rpma_cq_get_wc(cq, 2, wc, NULL));
	EXPECT(rpma_cq_get_wc(cq, 1, wc, &got), RPMA_E_NO_COMPLETION);
	EXPECT(rpma_cq_get_wc(cq, 1, wc, NULL), RPMA_E_NO_COMPLETION);
	EXPECT(rpma_cq_get_wc(cq, 2, wc, &got), RPMA_E_NO_COMPLETION);
	assert_int_equal(got, UNTOUCHED_INT);
	SUCCEED(rpma_cq_get_fd(cq, &fd));
	assert_true(fd >= 0);

	/* one at a time: how many is known, and the place for it may be missing */
	write_signalled(pair, pair);
	wait_readable(fd);
	SUCCEED(rpma_cq_wait(cq));
	SUCCEED(rpma_cq_get_wc(cq, 1, wc, &got));
	assert_int_equal(got, 1);
	assert_true(wc[0].wr_id == (uintptr_t)pair);
}

static void
nothing_in_the_queue_is_a_debug_message(void **state)
{
	struct pair *pair = *state;

	log_capture(RPMA_LOG_LEVEL_INFO);
	EXPECT_NO_WC(pair->client.cq);
	assert_int_equal(logged.count, 0);
	log_capture(RPMA_LOG_LEVEL_DEBUG);
	EXPECT_NO_WC(pair->client.cq);
	assert_int_equal(logged.count, 1);
	assert_string_equal(logged.function, "rpma_cq_get_wc");
	log_release();
}

static void
batches(void **state)
{
	struct pair *pair = *state;
	struct ibv_wc wc[16];
	int contexts[8] = {0};
	int seen = 0;
	int fd = -1;

	/* the message comes after them, so when it has arrived they have all completed */
	for (int i = 0; i < 8; i++)
		write_signalled(pair, &contexts[i]);
	SUCCEED(rpma_cq_get_fd(pair->client.cq, &fd));
	SUCCEED(rpma_recv(pair->server.conn, NULL, 0, 0, NULL));
	SUCCEED(rpma_send(pair->client.conn, NULL, 0, 0, RPMA_F_COMPLETION_ON_ERROR, NULL));
	EXPECT_WC(pair->server.cq, NULL, IBV_WC_SUCCESS);

	while (seen < 8) {
		int got = 0;
		const int ret = rpma_cq_get_wc(pair->client.cq, 3, wc, &got);

		if (ret == RPMA_E_NO_COMPLETION) {
			wait_readable(fd);
			SUCCEED(rpma_cq_wait(pair->client.cq));
			continue;
		}
		EXPECT(ret, 0);
		assert_in_range(got, 1, 3);
		for (int i = 0; i < got; i++, seen++) {
			assert_int_equal(wc[i].status, IBV_WC_SUCCESS);
			assert_true(wc[i].wr_id == (uintptr_t)&contexts[seen]);
		}
	}
	EXPECT_NO_WC(pair->client.cq);

	/* asking for more than there is */
	write_signalled(pair, &contexts[0]);
	int got = 0;
	int ret;

	/* the event may still be that of the completions above */
	while ((ret = rpma_cq_get_wc(pair->client.cq, 16, wc, &got)) == RPMA_E_NO_COMPLETION) {
		wait_readable(fd);
		SUCCEED(rpma_cq_wait(pair->client.cq));
	}
	EXPECT(ret, 0);
	assert_int_equal(got, 1);
}

static void
wait_for_a_completion(void **state)
{
	struct pair *pair = *state;
	int fd = -1;

	SUCCEED(rpma_cq_get_fd(pair->client.cq, &fd));
	assert_false(readable_within(fd, 0));
	write_signalled(pair, pair);
	/* it blocks until there is one */
	SUCCEED(rpma_cq_wait(pair->client.cq));
	EXPECT_WC(pair->client.cq, pair, IBV_WC_SUCCESS);
	assert_false(readable_within(fd, 0));

	/* it was armed again */
	write_signalled(pair, state);
	wait_readable(fd);
	SUCCEED(rpma_cq_wait(pair->client.cq));
	EXPECT_WC(pair->client.cq, state, IBV_WC_SUCCESS);
}

static void
wait_when_there_is_none(void **state)
{
	struct pair *pair = *state;
	int fd = -1;

	SUCCEED(rpma_cq_get_fd(pair->client.cq, &fd));
	set_nonblocking(fd);
	EXPECT(rpma_cq_wait(pair->client.cq), RPMA_E_NO_COMPLETION);
	write_signalled(pair, pair);
	EXPECT_WC(pair->client.cq, pair, IBV_WC_SUCCESS);
	EXPECT_NO_WC(pair->client.cq);
}

static void
channel_is_not_shared(void **state)
{
	struct pair *pair = *state;
	struct rpma_cq *cq = UNTOUCHED_PTR;
	bool is_rcq = true;
	int fd = UNTOUCHED_INT;

	INVALID(rpma_conn_get_compl_fd(pair->client.conn, NULL));
	INVALID(rpma_conn_wait(pair->client.conn, 0, NULL, &is_rcq));
	EXPECT(rpma_conn_get_compl_fd(pair->client.conn, &fd), RPMA_E_NOT_SHARED_CHNL);
	EXPECT(rpma_conn_wait(pair->client.conn, 0, &cq, &is_rcq), RPMA_E_NOT_SHARED_CHNL);
	EXPECT(rpma_conn_wait(pair->client.conn, 0, &cq, NULL), RPMA_E_NOT_SHARED_CHNL);
	assert_int_equal(fd, UNTOUCHED_INT);
	assert_ptr_equal(cq, UNTOUCHED_PTR);
	assert_true(is_rcq);
}

/* each function has its own kind of channel to wait on; the original does not say which */
static void
the_wrong_channel_is_logged(void **state)
{
	struct pair *pair = *state;
	struct rpma_cq *cq;
	int fd;

	BETTER(DIFF_LOGGED);
	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(rpma_cq_wait(pair->server.cq), RPMA_E_SHARED_CHANNEL);
	assert_int_equal(logged.count, 1);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
	assert_string_equal(logged.text,
			"the completion channel is shared: wait on the connection\n");
	EXPECT(rpma_conn_wait(pair->client.conn, 0, &cq, NULL), RPMA_E_NOT_SHARED_CHNL);
	assert_int_equal(logged.count, 2);
	assert_string_equal(logged.text, "the completion channel is not shared: wait on the CQ\n");
	EXPECT(rpma_conn_get_compl_fd(pair->client.conn, &fd), RPMA_E_NOT_SHARED_CHNL);
	assert_int_equal(logged.count, 3);
	log_release();
}

/* --- other configurations --- */

/* a pair whose connections have a receive CQ of this size and perhaps a shared channel */
static struct pair *
configured_pair(uint32_t rcq_size, bool shared)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	struct rpma_conn_cfg *cfg = NULL;

	assert_non_null(pair);
	pair_prepare(pair);
	SUCCEED(rpma_conn_cfg_new(&cfg));
	SUCCEED(rpma_conn_cfg_set_rcq_size(cfg, rcq_size));
	SUCCEED(rpma_conn_cfg_set_compl_channel(cfg, shared));
	pair_connect(pair, cfg, cfg);
	SUCCEED(rpma_conn_cfg_delete(&cfg));

	return pair;
}

static int
open_with_rcq(void **state)
{
	*state = configured_pair(10, false);

	return 0;
}

static int
open_shared(void **state)
{
	*state = configured_pair(0, true);

	return 0;
}

static int
open_shared_with_rcq(void **state)
{
	*state = configured_pair(10, true);

	return 0;
}

/* only the server's channel is shared */
static int
open_half_shared(void **state)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	struct rpma_conn_cfg *cfg = NULL;

	assert_non_null(pair);
	*state = pair;
	pair_prepare(pair);
	SUCCEED(rpma_conn_cfg_new(&cfg));
	SUCCEED(rpma_conn_cfg_set_compl_channel(cfg, true));
	pair_connect(pair, NULL, cfg);
	SUCCEED(rpma_conn_cfg_delete(&cfg));

	return 0;
}

static void
send_one(struct pair *pair, const void *op_context)
{
	SUCCEED(rpma_recv(pair->server.conn, pair->server.region.mr, 0, 8, op_context));
	SUCCEED(rpma_send(pair->client.conn, pair->client.region.mr, 0, 8, ALWAYS, op_context));
}

static void
receives_go_to_the_receive_queue(void **state)
{
	struct pair *pair = *state;
	int cq_fd = -1;
	int rcq_fd = -1;

	assert_non_null(pair->server.rcq);
	assert_ptr_not_equal(pair->server.rcq, pair->server.cq);
	SUCCEED(rpma_cq_get_fd(pair->server.cq, &cq_fd));
	SUCCEED(rpma_cq_get_fd(pair->server.rcq, &rcq_fd));
	assert_int_not_equal(cq_fd, rcq_fd);

	for (int i = 0; i < 3; i++) {
		send_one(pair, &pair[i]);
		EXPECT_WC(pair->client.cq, &pair[i], IBV_WC_SUCCESS);
		EXPECT_NO_WC(pair->client.rcq);
		EXPECT_WC(pair->server.rcq, &pair[i], IBV_WC_SUCCESS);
		EXPECT_NO_WC(pair->server.cq);
	}
	assert_false(readable_within(cq_fd, 0));
}

static void
shared_channel(void **state)
{
	struct pair *pair = *state;
	struct rpma_cq *cq = NULL;
	bool is_rcq = true;
	int conn_fd = -1;
	int cq_fd = -1;

	SUCCEED(rpma_conn_get_compl_fd(pair->client.conn, &conn_fd));
	SUCCEED(rpma_cq_get_fd(pair->client.cq, &cq_fd));
	assert_int_equal(conn_fd, cq_fd);
	assert_null(pair->client.rcq);
	EXPECT(rpma_cq_wait(pair->client.cq), RPMA_E_SHARED_CHANNEL);
	INVALID(rpma_conn_wait(pair->client.conn, 0, NULL, &is_rcq));
	INVALID(rpma_conn_wait(NULL, 0, &cq, &is_rcq));
	INVALID(rpma_conn_get_compl_fd(pair->client.conn, NULL));

	send_one(pair, pair);
	struct ibv_wc wc = wait_shared_wc(pair->client.conn, &cq, &is_rcq);

	assert_ptr_equal(cq, pair->client.cq);
	assert_false(is_rcq);
	assert_true(wc.wr_id == (uintptr_t)pair);

	/* receives have no queue of their own; whether it is one may be of no interest */
	wc = wait_shared_wc(pair->server.conn, &cq, NULL);
	assert_ptr_equal(cq, pair->server.cq);
	assert_int_equal(wc.opcode, IBV_WC_RECV);
}

static void
shared_channel_with_a_receive_queue(void **state)
{
	struct pair *pair = *state;
	struct rpma_cq *cq = NULL;
	bool is_rcq = true;
	int fds[3] = {-1, -2, -3};

	SUCCEED(rpma_conn_get_compl_fd(pair->server.conn, &fds[0]));
	SUCCEED(rpma_cq_get_fd(pair->server.cq, &fds[1]));
	SUCCEED(rpma_cq_get_fd(pair->server.rcq, &fds[2]));
	assert_int_equal(fds[0], fds[1]);
	assert_int_equal(fds[0], fds[2]);
	EXPECT(rpma_cq_wait(pair->server.cq), RPMA_E_SHARED_CHANNEL);
	EXPECT(rpma_cq_wait(pair->server.rcq), RPMA_E_SHARED_CHANNEL);

	for (int i = 0; i < 3; i++) {
		send_one(pair, &pair[i]);
		struct ibv_wc wc = wait_shared_wc(pair->client.conn, &cq, &is_rcq);

		assert_ptr_equal(cq, pair->client.cq);
		assert_false(is_rcq);
		assert_true(wc.wr_id == (uintptr_t)&pair[i]);

		wc = wait_shared_wc(pair->server.conn, &cq, &is_rcq);
		assert_ptr_equal(cq, pair->server.rcq);
		assert_true(is_rcq);
		assert_true(wc.wr_id == (uintptr_t)&pair[i]);
		is_rcq = true;
	}

	/* without the place for is_rcq */
	send_one(pair, state);
	wait_shared_wc(pair->server.conn, &cq, NULL);
	assert_ptr_equal(cq, pair->server.rcq);
}

static void
shared_channel_with_nothing_in_it(void **state)
{
	struct pair *pair = *state;
	struct rpma_cq *cq = UNTOUCHED_PTR;
	bool is_rcq = true;
	int fd = -1;

	SUCCEED(rpma_conn_get_compl_fd(pair->client.conn, &fd));
	set_nonblocking(fd);
	EXPECT(rpma_conn_wait(pair->client.conn, 0, &cq, &is_rcq), RPMA_E_NO_COMPLETION);
	assert_ptr_equal(cq, UNTOUCHED_PTR);
	assert_true(is_rcq);
}

/* --- acknowledging events --- */

static void
many_events_then_delete(void **state)
{
	struct pair *pair = *state;

	/*
	 * A device waits for the acknowledgement of every event before it lets go of a queue; so many
	 * take more than one where they are acknowledged in batches.
	 */
	for (int i = 0; i < 300; i++) {
		write_signalled(pair, &pair[i]);
		SUCCEED(rpma_cq_wait(pair->client.cq));
		EXPECT_WC(pair->client.cq, &pair[i], IBV_WC_SUCCESS);
	}
	pair_disconnect(pair);
}

static void
event_not_taken_then_delete(void **state)
{
	struct pair *pair = *state;
	int fd = -1;

	SUCCEED(rpma_cq_get_fd(pair->client.cq, &fd));
	write_signalled(pair, pair);
	wait_readable(fd);
	pair_disconnect(pair);
}

struct waiter {
	struct rpma_cq *cq;
	bool stop;
	int events;
	int wrong;
};

static void *
take_events(void *arg)
{
	struct waiter *waiter = arg;
	int fd = -1;

	rpma_cq_get_fd(waiter->cq, &fd);
	while (!__atomic_load_n(&waiter->stop, __ATOMIC_RELAXED)) {
		readable_within(fd, 5);
		const int ret = rpma_cq_wait(waiter->cq);

		if (ret == 0)
			__atomic_add_fetch(&waiter->events, 1, __ATOMIC_RELAXED);
		else if (ret != RPMA_E_NO_COMPLETION)
			__atomic_add_fetch(&waiter->wrong, 1, __ATOMIC_RELAXED);
	}

	return NULL;
}

static void
events_taken_by_many_threads(void **state)
{
	struct pair *pair = *state;
	struct waiter waiter = {.cq = pair->client.cq};
	pthread_t threads[4];
	int seen = 0;
	int fd = -1;

	SUCCEED(rpma_cq_get_fd(pair->client.cq, &fd));
	set_nonblocking(fd);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_events, &waiter), 0);

	for (int i = 0; i < 200; i++) {
		struct ibv_wc wc;
		int ret;

		write_signalled(pair, &pair[i]);
		/* the events are taken elsewhere, so there is nothing to wait on but the queue */
		while ((ret = rpma_cq_get_wc(pair->client.cq, 1, &wc, NULL)) ==
				RPMA_E_NO_COMPLETION)
			;
		EXPECT(ret, 0);
		seen += wc.wr_id == (uintptr_t)&pair[i];
	}

	/* there was an event, and all may be complete before any of the threads has run */
	while (__atomic_load_n(&waiter.events, __ATOMIC_RELAXED) == 0 && readable_within(fd, timeout_ms()))
		sched_yield();
	__atomic_store_n(&waiter.stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(seen, 200);
	assert_int_equal(waiter.wrong, 0);
	assert_true(waiter.events > 0);
	pair_disconnect(pair);
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(queues_refuse_null),
};

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)

static const struct CMUnitTest rdma[] = {
	WITH_PAIR(arguments_of_a_real_queue),
	WITH_PAIR(nothing_in_the_queue_is_a_debug_message),
	WITH_PAIR(batches),
	WITH_PAIR(wait_for_a_completion),
	WITH_PAIR(wait_when_there_is_none),
	WITH_PAIR(channel_is_not_shared),
	cmocka_unit_test_setup_teardown(the_wrong_channel_is_logged, open_half_shared, close_pair),
	cmocka_unit_test_setup_teardown(receives_go_to_the_receive_queue, open_with_rcq,
			close_pair),
	cmocka_unit_test_setup_teardown(shared_channel, open_shared, close_pair),
	cmocka_unit_test_setup_teardown(shared_channel_with_a_receive_queue, open_shared_with_rcq,
			close_pair),
	cmocka_unit_test_setup_teardown(shared_channel_with_nothing_in_it, open_shared_with_rcq,
			close_pair),
	WITH_PAIR(many_events_then_delete),
	WITH_PAIR(event_not_taken_then_delete),
	WITH_PAIR(events_taken_by_many_threads),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "cq", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
		.rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
