/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A signal while a call waits, and a fork. The signal may end the call; neither takes anything away.
 */
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "failing.h"

/* --- signals --- */

static volatile sig_atomic_t signals;

static void
count_signal(int number)
{
	(void)number;
	signals++;
}

/* again and again: the first one may come before the call waits */
static void
start_signals(void)
{
	const struct sigaction action = {.sa_handler = count_signal};
	const struct itimerval interval = {{0, 20000}, {0, 20000}};

	signals = 0;
	assert_return_code(sigaction(SIGALRM, &action, NULL), errno);
	assert_return_code(setitimer(ITIMER_REAL, &interval, NULL), errno);
}

static void
stop_signals(void)
{
	const struct itimerval never = {{0, 0}, {0, 0}};

	assert_return_code(setitimer(ITIMER_REAL, &never, NULL), errno);
	assert_true(signals > 0);
}

static void
signal_while_waiting_for_a_completion(void **state)
{
	struct pair *pair = *state;
	int ret;

	start_signals();
	ret = rpma_cq_wait(pair->client.cq);
	stop_signals();
	EXPECT(ret, RPMA_E_NO_COMPLETION);
	write_and_check(pair, 64, 1);
}

static void
signal_while_waiting_on_a_shared_channel(void **state)
{
	struct pair *pair = *state;
	struct rpma_cq *cq = UNTOUCHED_PTR;
	bool is_rcq = true;
	int ret;

	start_signals();
	ret = rpma_conn_wait(pair->client.conn, 0, &cq, &is_rcq);
	stop_signals();
	EXPECT(ret, RPMA_E_NO_COMPLETION);
	assert_ptr_equal(cq, UNTOUCHED_PTR);
	assert_true(is_rcq);

	/* no bit of the flags means anything */
	write_signalled(pair, pair);
	SUCCEED(rpma_conn_wait(pair->client.conn, -1, &cq, &is_rcq));
	assert_ptr_equal(cq, pair->client.cq);
	assert_false(is_rcq);
}

static void
signal_while_waiting_for_an_event(void **state)
{
	struct pair *pair = *state;
	enum rpma_conn_event event = UNTOUCHED_INT;
	struct rpma_conn_req *req = UNTOUCHED_PTR;
	int ret;

	start_signals();
	log_capture(RPMA_LOG_LEVEL_WARNING);
	ret = rpma_conn_next_event(pair->client.conn, &event);
	stop_signals();
	EXPECT(ret, RPMA_E_PROVIDER);
	assert_failure_logged("rdma_get_cm_event", EINTR);
	assert_int_equal(event, UNTOUCHED_INT);

	start_signals();
	log_capture(RPMA_LOG_LEVEL_WARNING);
	ret = rpma_ep_next_conn_req(pair->ep, NULL, &req);
	stop_signals();
	EXPECT(ret, RPMA_E_PROVIDER);
	assert_failure_logged("rdma_get_cm_event", EINTR);
	assert_ptr_equal(req, UNTOUCHED_PTR);
	log_release();

	SUCCEED(rpma_conn_disconnect(pair->server.conn));
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_CLOSED);
}

/* --- fork --- */

static void
fork_and_exit(void **state)
{
	struct pair *pair = *state;
	int status = 0;
	pid_t child;

	fflush(NULL);
	child = fork();
	assert_return_code(child, errno);
	if (child == 0) {
		/* what needs no device works there */
		unsigned char desc[DESCRIPTOR_SIZE] = {0};
		struct rpma_mr_remote *remote = NULL;
		struct rpma_conn_cfg *cfg = NULL;
		const bool fine = rpma_conn_cfg_new(&cfg) == 0 && rpma_conn_cfg_delete(&cfg) == 0 &&
				rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_DISABLED) == 0 &&
				rpma_mr_remote_from_descriptor(desc, 20, &remote) == RPMA_E_INVAL;

		_exit(fine ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);

	/* its end is not that of the connection */
	write_and_check(pair, MR_SIZE, 2);
	pair_disconnect(pair);
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, connect_seen, release_seen)
#define SHARED(test) cmocka_unit_test_setup_teardown(test, connect_shared_seen, release_seen)

static const struct CMUnitTest rdma[] = {
	WITH_PAIR(signal_while_waiting_for_a_completion),
	SHARED(signal_while_waiting_on_a_shared_channel),
	WITH_PAIR(signal_while_waiting_for_an_event),
	WITH_PAIR(fork_and_exit),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "signals-and-fork", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
