/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a program may change while a function of the library blocks in libibverbs or librdmacm: settings of a
 * configuration, the shared receive queue in it, bytes that were passed, other objects. The stand-in of the
 * blocking call makes the change, so a test needs no second thread and has no race.
 *
 * Handles and memory that were passed must stay valid until the function returns. The exception is a
 * configuration when the call fails before queues are made: nothing reads it then, so it may be deleted.
 */
#include "failing.h"

#define ALWAYS RPMA_F_COMPLETION_ALWAYS

/* in the order in which rpma_conn_req_new() makes them */
static const char *const resolution[] = {
	"rdma_getaddrinfo", "rdma_create_id", "rdma_resolve_addr", "rdma_resolve_route",
};

/* --- configurations --- */

static struct rpma_conn_cfg *
new_cfg(void)
{
	struct rpma_conn_cfg *cfg = NULL;

	SUCCEED(rpma_conn_cfg_new(&cfg));

	return cfg;
}

static void
change_sizes(void *arg)
{
	struct rpma_conn_cfg *cfg = arg;

	SUCCEED(rpma_conn_cfg_set_cq_size(cfg, 27));
	SUCCEED(rpma_conn_cfg_set_rcq_size(cfg, 26));
	SUCCEED(rpma_conn_cfg_set_sq_size(cfg, 25));
	SUCCEED(rpma_conn_cfg_set_rq_size(cfg, 24));
	SUCCEED(rpma_conn_cfg_set_compl_channel(cfg, true));
}

static void
expect_changed_sizes(void)
{
	EXPECT_SPOILT();
	/* one channel for both queues */
	assert_int_equal(verbs_calls("ibv_create_comp_channel"), 1);
	assert_non_null(strstr(verbs_log, "ibv_create_cq(27) "));
	assert_non_null(strstr(verbs_log, "ibv_create_cq(26) "));
	assert_int_equal(verbs_seen.qp.cap.max_send_wr, 25);
	assert_int_equal(verbs_seen.qp.cap.max_recv_wr, 24);
	assert_ptr_not_equal(verbs_seen.qp.send_cq, verbs_seen.qp.recv_cq);
}

static void
delete_cfg(void *arg)
{
	struct rpma_conn_cfg **cfg = arg;

	SUCCEED(rpma_conn_cfg_delete(cfg));
}

/* --- the shared receive queue of a configuration --- */

struct srq_in_cfg {
	struct rpma_peer *peer;
	struct rpma_conn_cfg *cfg;
	struct rpma_srq *srq;
};

static struct srq_in_cfg
new_cfg_with_srq(struct rpma_peer *peer)
{
	struct srq_in_cfg in = {.peer = peer, .cfg = new_cfg()};

	SUCCEED(rpma_srq_new(peer, NULL, &in.srq));
	SUCCEED(rpma_conn_cfg_set_srq(in.cfg, in.srq));

	return in;
}

static void
delete_cfg_with_srq(struct srq_in_cfg *in)
{
	SUCCEED(rpma_conn_cfg_delete(&in->cfg));
	SUCCEED(rpma_srq_delete(&in->srq));
}

/* nothing was made with the one that goes */
static void
replace_srq(void *arg)
{
	struct srq_in_cfg *in = arg;
	struct rpma_srq *old = in->srq;

	SUCCEED(rpma_srq_new(in->peer, NULL, &in->srq));
	SUCCEED(rpma_conn_cfg_set_srq(in->cfg, in->srq));
	SUCCEED(rpma_srq_delete(&old));
}

static void
set_srq(void *arg)
{
	struct srq_in_cfg *in = arg;

	SUCCEED(rpma_srq_new(in->peer, NULL, &in->srq));
	SUCCEED(rpma_conn_cfg_set_srq(in->cfg, in->srq));
}

static struct rpma_cq *
rcq_of_srq(const struct rpma_srq *srq)
{
	struct rpma_cq *rcq = NULL;

	SUCCEED(rpma_srq_get_rcq(srq, &rcq));
	assert_non_null(rcq);

	return rcq;
}

/* the last queue pair gives its receives to this queue's CQ */
static void
expect_srq(const struct rpma_srq *srq)
{
	int fd = -1;

	EXPECT_SPOILT();
	SUCCEED(rpma_cq_get_fd(rcq_of_srq(srq), &fd));
	assert_non_null(verbs_seen.qp.srq);
	assert_int_equal(verbs_seen.qp.recv_cq->channel->fd, fd);
}

/* --- rpma_conn_req_new() --- */

static void
conn_req_new_uses_sizes_set_during_resolution(void **state)
{
	struct pair *pair = *state;

	for (size_t i = 0; i < COUNT_OF(resolution); i++) {
		struct rpma_conn_cfg *cfg = new_cfg();
		struct rpma_conn_req *req;

		verbs_reset();
		verbs_during(resolution[i], change_sizes, cfg);
		req = new_request(pair->client.peer, pair->port, cfg);
		expect_changed_sizes();
		SUCCEED(rpma_conn_req_delete(&req));
		SUCCEED(rpma_conn_cfg_delete(&cfg));
	}
}

static void
change_timeout(void *arg)
{
	SUCCEED(rpma_conn_cfg_set_timeout(arg, 4321));
}

/* alone among the settings: it is read at once */
static void
conn_req_new_keeps_its_timeout_during_resolution(void **state)
{
	struct pair *pair = *state;

	for (size_t i = 0; i < COUNT_OF(resolution); i++) {
		struct rpma_conn_cfg *cfg = new_cfg();
		struct rpma_conn_req *req;

		SUCCEED(rpma_conn_cfg_set_timeout(cfg, 1234));
		verbs_reset();
		verbs_during(resolution[i], change_timeout, cfg);
		req = new_request(pair->client.peer, pair->port, cfg);
		EXPECT_SPOILT();
		assert_non_null(strstr(verbs_log, "rdma_resolve_addr(1234) "));
		assert_non_null(strstr(verbs_log, "rdma_resolve_route(1234) "));
		SUCCEED(rpma_conn_req_delete(&req));
		SUCCEED(rpma_conn_cfg_delete(&cfg));
	}
}

static void
conn_req_new_uses_srq_set_during_resolution(void **state)
{
	struct pair *pair = *state;

	for (size_t i = 0; i < COUNT_OF(resolution); i++) {
		struct srq_in_cfg in = new_cfg_with_srq(pair->client.peer);
		struct rpma_conn_req *req;

		verbs_reset();
		verbs_during(resolution[i], replace_srq, &in);
		req = new_request(pair->client.peer, pair->port, in.cfg);
		expect_srq(in.srq);
		SUCCEED(rpma_conn_req_delete(&req));
		delete_cfg_with_srq(&in);
	}
}

/* both at once are refused when the queues are to be made, not before */
static void
conn_req_new_refuses_srq_set_during_resolution(void **state)
{
	struct pair *pair = *state;

	for (size_t i = 0; i < COUNT_OF(resolution); i++) {
		struct srq_in_cfg in = {.peer = pair->client.peer, .cfg = new_cfg()};
		struct rpma_conn_req *req = UNTOUCHED_PTR;

		SUCCEED(rpma_conn_cfg_set_compl_channel(in.cfg, true));
		verbs_reset();
		verbs_during(resolution[i], set_srq, &in);
		INVALID(rpma_conn_req_new(in.peer, device_addr(), pair->port, in.cfg, &req));
		EXPECT_SPOILT();
		assert_ptr_equal(req, UNTOUCHED_PTR);
		assert_int_equal(verbs_calls("rdma_resolve_route"), 1);
		assert_int_equal(verbs_calls("rdma_create_qp_ex"), 0);
		assert_int_equal(verbs_calls("rdma_destroy_id"), 1);
		delete_cfg_with_srq(&in);
	}
}

/* what it reads beyond that, AddressSanitizer and valgrind see */
static void
conn_req_new_leaves_cfg_alone_after_failed_resolution(void **state)
{
	struct pair *pair = *state;

	for (size_t i = 0; i < COUNT_OF(resolution); i++) {
		struct rpma_conn_cfg *cfg = new_cfg();
		struct rpma_conn_req *req = UNTOUCHED_PTR;

		verbs_reset();
		verbs_during(resolution[i], delete_cfg, &cfg);
		verbs_fail(resolution[i], ETIMEDOUT);
		log_capture(RPMA_LOG_LEVEL_WARNING);
		EXPECT(rpma_conn_req_new(pair->client.peer, device_addr(), pair->port, cfg, &req),
				RPMA_E_PROVIDER);
		EXPECT_ERRNO(ETIMEDOUT);
		EXPECT_SPOILT();
		assert_failure_logged(resolution[i], ETIMEDOUT);
		assert_ptr_equal(req, UNTOUCHED_PTR);
		assert_null(cfg);
	}
}

/* --- rpma_ep_next_conn_req() --- */

/* the connection that has come of the last request, with what `cfg` says after it was changed meanwhile */
static void
accept_while_changing(struct pair *pair, const struct rpma_conn_cfg *cfg, void (*change)(void *arg),
		void *arg)
{
	struct rpma_conn_req *req;

	pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	verbs_reset();
	verbs_during("rdma_get_cm_event", change, arg);
	req = take_request(pair->ep, cfg);
	EXPECT_SPOILT();
	pair->server.conn = connect_request(req);
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_ESTABLISHED);
	EXPECT_EVENT(pair->server.conn, RPMA_CONN_ESTABLISHED);
	pair->client.cq = cq_of(pair->client.conn);
	pair->server.cq = cq_of(pair->server.conn);
	pair->server.rcq = rcq_of(pair->server.conn);
}

static void
next_conn_req_uses_sizes_set_while_waiting(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_cfg *cfg = new_cfg();

	accept_while_changing(pair, cfg, change_sizes, cfg);
	expect_changed_sizes();
	assert_non_null(pair->server.rcq);
	SUCCEED(rpma_conn_cfg_delete(&cfg));
}

static void
next_conn_req_uses_srq_set_while_waiting(void **state)
{
	struct pair *pair = *state;
	struct srq_in_cfg in = new_cfg_with_srq(pair->server.peer);

	accept_while_changing(pair, in.cfg, replace_srq, &in);
	expect_srq(in.srq);
	SUCCEED(rpma_srq_recv(in.srq, pair->server.region.mr, 0, 8, &in));
	SUCCEED(rpma_send(pair->client.conn, pair->client.region.mr, 0, 8, ALWAYS, pair));
	EXPECT_WC(pair->client.cq, pair, IBV_WC_SUCCESS);
	EXPECT_WC(rcq_of_srq(in.srq), &in, IBV_WC_SUCCESS);
	SUCCEED(rpma_conn_delete(&pair->server.conn));
	delete_cfg_with_srq(&in);
}

static void
next_conn_req_refuses_srq_set_while_waiting(void **state)
{
	struct pair *pair = *state;
	struct srq_in_cfg in = {.peer = pair->server.peer, .cfg = new_cfg()};
	struct rpma_conn_req *req = UNTOUCHED_PTR;
	int fd = -1;

	SUCCEED(rpma_conn_cfg_set_compl_channel(in.cfg, true));
	pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	SUCCEED(rpma_ep_get_fd(pair->ep, &fd));
	wait_readable(fd);
	verbs_reset();
	verbs_during("rdma_get_cm_event", set_srq, &in);
	INVALID(rpma_ep_next_conn_req(pair->ep, in.cfg, &req));
	EXPECT_SPOILT();
	assert_ptr_equal(req, UNTOUCHED_PTR);
	assert_int_equal(verbs_calls("rdma_ack_cm_event"), 1);
	delete_cfg_with_srq(&in);
}

/* how servers end: the configuration goes, and then a signal ends the wait */
static void
next_conn_req_leaves_cfg_alone_without_request(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_cfg *cfg = new_cfg();
	struct rpma_conn_req *req = UNTOUCHED_PTR;

	verbs_reset();
	verbs_during("rdma_get_cm_event", delete_cfg, &cfg);
	verbs_fail("rdma_get_cm_event", EINTR);
	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(rpma_ep_next_conn_req(pair->ep, cfg, &req), RPMA_E_PROVIDER);
	EXPECT_ERRNO(EINTR);
	EXPECT_SPOILT();
	assert_failure_logged("rdma_get_cm_event", EINTR);
	assert_ptr_equal(req, UNTOUCHED_PTR);

	cfg = new_cfg();
	pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	verbs_reset();
	verbs_during("rdma_get_cm_event", delete_cfg, &cfg);
	verbs_change_event(RDMA_CM_EVENT_DEVICE_REMOVAL);
	INVALID(rpma_ep_next_conn_req(pair->ep, cfg, &req));
	EXPECT_SPOILT();
	assert_ptr_equal(req, UNTOUCHED_PTR);
	assert_null(cfg);
}

/* a configuration that does not exist any more when the call begins, or never did */
static void
next_conn_req_reads_cfg_after_its_event(void **state)
{
	struct pair *pair = *state;
	const struct rpma_conn_cfg *no_cfg = (const struct rpma_conn_cfg *)(uintptr_t)64;
	struct rpma_conn_req *req = UNTOUCHED_PTR;

	verbs_reset();
	verbs_fail("rdma_get_cm_event", ENODATA);
	EXPECT(rpma_ep_next_conn_req(pair->ep, no_cfg, &req), RPMA_E_NO_EVENT);
	EXPECT_SPOILT();
	assert_ptr_equal(req, UNTOUCHED_PTR);
}

/* --- names: what is logged at the end is what they are then --- */

struct name {
	char addr[64];
	char port[64];
};

static void
change_name(void *arg)
{
	struct name *name = arg;

	strcpy(name->addr, "x");
	strcpy(name->port, "yz");
}

static struct name
longer_name(const char *port)
{
	struct name name;

	snprintf(name.addr, sizeof(name.addr), "%s", device_addr());
	snprintf(name.port, sizeof(name.port), "%s", port);

	return name;
}

static void
expect_changed_name(void)
{
	EXPECT_SPOILT();
	assert_int_equal(logged.count, 1);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_NOTICE);
	assert_non_null(strstr(logged.text, " x:yz\n"));
	log_release();
}

static void
conn_req_new_logs_name_changed_during_resolution(void **state)
{
	struct pair *pair = *state;

	for (size_t i = 1; i < COUNT_OF(resolution); i++) {
		struct name name = longer_name(pair->port);
		struct rpma_conn_req *req = NULL;

		verbs_reset();
		verbs_during(resolution[i], change_name, &name);
		log_capture(RPMA_LOG_LEVEL_NOTICE);
		SUCCEED(rpma_conn_req_new(pair->client.peer, name.addr, name.port, NULL, &req));
		expect_changed_name();
		SUCCEED(rpma_conn_req_delete(&req));
	}
}

static void
ep_listen_logs_name_changed_while_binding(void **state)
{
	static const char *const binding[] = {"rdma_bind_addr", "rdma_listen"};
	struct pair *pair = *state;

	for (size_t i = 0; i < COUNT_OF(binding); i++) {
		struct name name = longer_name("0");
		struct rpma_ep *ep = NULL;

		verbs_reset();
		verbs_during(binding[i], change_name, &name);
		log_capture(RPMA_LOG_LEVEL_NOTICE);
		SUCCEED(rpma_ep_listen(pair->server.peer, name.addr, name.port, &ep));
		expect_changed_name();
		SUCCEED(rpma_ep_shutdown(&ep));
	}
}

/* it says nothing of the name, and does not need it any more */
static void
get_ibv_context_ignores_name_changed_during_resolution(void **state)
{
	static const struct {
		enum rpma_util_ibv_context_type type;
		const char *call;
	} cases[] = {
		{RPMA_UTIL_IBV_CONTEXT_LOCAL, "rdma_bind_addr"},
		{RPMA_UTIL_IBV_CONTEXT_REMOTE, "rdma_resolve_addr"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct name name = longer_name("");
		struct ibv_context *context = NULL;

		verbs_reset();
		verbs_during(cases[i].call, change_name, &name);
		log_capture(RPMA_LOG_LEVEL_NOTICE);
		SUCCEED(rpma_utils_get_ibv_context(name.addr, cases[i].type, &context));
		EXPECT_SPOILT();
		assert_non_null(context);
		assert_int_equal(logged.count, 0);
		log_release();
	}
}

/* --- rpma_conn_req_connect() --- */

static char words[8];
static struct rpma_conn_private_data pdata;

/* where and how long they are is read at once, the bytes when they are sent */
static void
change_private_data(void *unused)
{
	(void)unused;
	memcpy(words, "changed", sizeof(words));
	pdata.ptr = NULL;
	pdata.len = 0;
}

static void
set_private_data(void)
{
	memcpy(words, "before!", sizeof(words));
	pdata.ptr = words;
	pdata.len = sizeof(words);
}

static void
req_connect_sends_bytes_changed_while_migrating(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, NULL);
	struct rpma_conn_private_data came = {NULL, 0};

	set_private_data();
	verbs_reset();
	verbs_during("rdma_migrate_id", change_private_data, NULL);
	SUCCEED(rpma_conn_req_connect(&req, &pdata, &pair->client.conn));
	EXPECT_SPOILT();
	assert_int_equal(verbs_seen.param.private_data_len, sizeof(words));
	assert_ptr_equal(verbs_seen.param.private_data, words);

	req = take_request(pair->ep, NULL);
	SUCCEED(rpma_conn_req_get_private_data(req, &came));
	assert_true(came.len >= sizeof(words));
	assert_string_equal(came.ptr, "changed");

	/* an accept comes first, and the bytes are not needed after that */
	set_private_data();
	verbs_reset();
	verbs_during("rdma_migrate_id", change_private_data, NULL);
	SUCCEED(rpma_conn_req_connect(&req, &pdata, &pair->server.conn));
	EXPECT_SPOILT();
	assert_int_equal(verbs_seen.param.private_data_len, sizeof(words));
	assert_ptr_equal(verbs_seen.param.private_data, words);
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_ESTABLISHED);
	EXPECT_EVENT(pair->server.conn, RPMA_CONN_ESTABLISHED);
	SUCCEED(rpma_conn_get_private_data(pair->client.conn, &came));
	assert_true(came.len >= sizeof(words));
	assert_string_equal(came.ptr, "before!");
}

/* --- waits: the connection is used meanwhile, by others --- */

static void
disconnect(void *arg)
{
	struct pair *pair = arg;
	struct rpma_peer_cfg *pcfg = NULL;

	SUCCEED(rpma_peer_cfg_new(&pcfg));
	SUCCEED(rpma_conn_apply_remote_peer_cfg(pair->client.conn, pcfg));
	SUCCEED(rpma_peer_cfg_delete(&pcfg));
	write_and_check(pair, 64, 1);
	SUCCEED(rpma_mr_dereg(&pair->client.region.mr));
	SUCCEED(rpma_conn_disconnect(pair->client.conn));
	/* what the waiting side is told, it is told when the other one has answered */
	EXPECT_EVENT(pair->server.conn, RPMA_CONN_CLOSED);
	SUCCEED(rpma_conn_disconnect(pair->server.conn));
}

static void
next_event_while_disconnecting(void **state)
{
	struct pair *pair = *state;
	enum rpma_conn_event event = RPMA_CONN_UNDEFINED;

	verbs_during("rdma_get_cm_event", disconnect, pair);
	SUCCEED(rpma_conn_next_event(pair->client.conn, &event));
	EXPECT_SPOILT();
	assert_int_equal(event, RPMA_CONN_CLOSED);
}

static void
post_write(void *arg)
{
	struct pair *pair = arg;

	write_signalled(pair, pair);
}

static void
cq_wait_while_posting(void **state)
{
	struct pair *pair = *state;

	verbs_during("ibv_get_cq_event", post_write, pair);
	SUCCEED(rpma_cq_wait(pair->client.cq));
	EXPECT_SPOILT();
	EXPECT_WC(pair->client.cq, pair, IBV_WC_SUCCESS);
}

static void
conn_wait_while_posting(void **state)
{
	struct pair *pair = *state;
	struct rpma_cq *cq = NULL;
	bool is_rcq = true;

	verbs_during("ibv_get_cq_event", post_write, pair);
	SUCCEED(rpma_conn_wait(pair->client.conn, 0, &cq, &is_rcq));
	EXPECT_SPOILT();
	assert_ptr_equal(cq, pair->client.cq);
	assert_false(is_rcq);
}

static void
completion_wait_while_posting(void **state)
{
	const struct older_functions *f = older_functions();
	struct pair *pair = *state;
	struct rpma_completion cmpl = {.op = RPMA_OP_READ};

	verbs_during("ibv_get_cq_event", post_write, pair);
	SUCCEED(f->conn_completion_wait(pair->client.conn));
	EXPECT_SPOILT();
	SUCCEED(f->conn_completion_get(pair->client.conn, &cmpl));
	assert_int_equal(cmpl.op, RPMA_OP_WRITE);
	assert_ptr_equal(cmpl.op_context, pair);
}

/* --- regions, and shared receive queues --- */

struct other {
	struct rpma_peer *peer;
	char *mem;
	unsigned seed;
};

/* the same memory may be written, and be another region as well */
static void
use_memory(void *arg)
{
	struct other *other = arg;
	struct rpma_mr_local *mr = NULL;

	fill(other->mem, MR_SIZE, other->seed);
	SUCCEED(rpma_mr_reg(other->peer, other->mem, MR_SIZE, RPMA_MR_USAGE_SEND, &mr));
	SUCCEED(rpma_mr_dereg(&mr));
}

static void
mr_reg_while_memory_is_written(void **state)
{
	struct pair *pair = *state;
	char *mem = pair->client.region.mem;
	struct other other = {pair->client.peer, mem, 7};
	struct rpma_mr_local *mr = NULL;
	size_t size = 0;
	void *ptr = NULL;
	char *want = malloc(MR_SIZE);

	assert_non_null(want);
	fill(want, MR_SIZE, other.seed);
	verbs_during("ibv_reg_mr", use_memory, &other);
	SUCCEED(rpma_mr_reg(pair->client.peer, mem, MR_SIZE, ALL_USAGES, &mr));
	EXPECT_SPOILT();
	SUCCEED(rpma_mr_get_ptr(mr, &ptr));
	SUCCEED(rpma_mr_get_size(mr, &size));
	assert_ptr_equal(ptr, mem);
	assert_int_equal(size, MR_SIZE);
	assert_memory_equal(mem, want, MR_SIZE);
	SUCCEED(rpma_mr_dereg(&mr));
	free(want);
}

static void
change_srq_sizes(void *arg)
{
	SUCCEED(rpma_srq_cfg_set_rq_size(arg, 33));
	SUCCEED(rpma_srq_cfg_set_rcq_size(arg, 34));
}

static void
srq_new_uses_rcq_size_set_while_creating(void **state)
{
	struct pair *pair = *state;
	struct rpma_srq_cfg *cfg = NULL;
	struct rpma_srq *srq = NULL;

	SUCCEED(rpma_srq_cfg_new(&cfg));
	verbs_during("ibv_create_srq", change_srq_sizes, cfg);
	SUCCEED(rpma_srq_new(pair->server.peer, cfg, &srq));
	EXPECT_SPOILT();
	assert_non_null(strstr(verbs_log, "ibv_create_srq(20) "));
	assert_non_null(strstr(verbs_log, "ibv_create_cq(34) "));
	SUCCEED(rpma_srq_delete(&srq));
	SUCCEED(rpma_srq_cfg_delete(&cfg));
}

/* --- an end: other objects come and go meanwhile --- */

static void
connect_and_delete_another(void *arg)
{
	struct pair another = *(struct pair *)arg;
	struct rpma_conn_cfg *cfg = full_cfg(false);

	another.client.conn = NULL;
	another.server.conn = NULL;
	pair_connect(&another, cfg, cfg);
	SUCCEED(rpma_conn_cfg_delete(&cfg));
	write_and_check(&another, 64, 3);
	SUCCEED(rpma_conn_delete(&another.client.conn));
	SUCCEED(rpma_conn_delete(&another.server.conn));
}

static void
others_come_and_go_while_connection_ends(void **state)
{
	static const char *const calls[] = {
		"rdma_disconnect", "ibv_dereg_mr", "rdma_destroy_qp", "ibv_destroy_cq",
		"ibv_destroy_comp_channel", "rdma_destroy_id", "rdma_destroy_event_channel",
	};
	struct pair *pair = *state;

	for (size_t i = 0; i < COUNT_OF(calls); i++) {
		struct pair one = *pair;

		one.client.conn = NULL;
		one.server.conn = NULL;
		pair_connect(&one, NULL, NULL);
		verbs_reset();
		/* with native flush, a connection has no region of its own */
		if (strcmp(calls[i], "ibv_dereg_mr") != 0 || !flushes_natively_here())
			verbs_during(calls[i], connect_and_delete_another, pair);
		SUCCEED(rpma_conn_disconnect(one.client.conn));
		SUCCEED(rpma_conn_delete(&one.client.conn));
		EXPECT_SPOILT();
		assert_null(one.client.conn);
		SUCCEED(rpma_conn_delete(&one.server.conn));
	}
}

static void
others_come_and_go_while_request_ends(void **state)
{
	static const char *const calls[] = {"rdma_destroy_qp", "ibv_destroy_cq", "rdma_destroy_id"};
	struct pair *pair = *state;

	for (size_t i = 0; i < COUNT_OF(calls); i++) {
		struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, NULL);

		verbs_reset();
		verbs_during(calls[i], connect_and_delete_another, pair);
		SUCCEED(rpma_conn_req_delete(&req));
		EXPECT_SPOILT();
	}
}

#define WITH_EP(test) cmocka_unit_test_setup_teardown(test, prepare_seen, release_seen)
#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, connect_seen, release_seen)
#define SHARED(test) cmocka_unit_test_setup_teardown(test, connect_shared_seen, release_seen)

static const struct CMUnitTest rdma[] = {
	WITH_EP(conn_req_new_uses_sizes_set_during_resolution),
	WITH_EP(conn_req_new_keeps_its_timeout_during_resolution),
	WITH_EP(conn_req_new_uses_srq_set_during_resolution),
	WITH_EP(conn_req_new_refuses_srq_set_during_resolution),
	WITH_EP(conn_req_new_leaves_cfg_alone_after_failed_resolution),
	WITH_EP(next_conn_req_uses_sizes_set_while_waiting),
	WITH_EP(next_conn_req_uses_srq_set_while_waiting),
	WITH_EP(next_conn_req_refuses_srq_set_while_waiting),
	WITH_EP(next_conn_req_leaves_cfg_alone_without_request),
	WITH_EP(next_conn_req_reads_cfg_after_its_event),
	WITH_EP(conn_req_new_logs_name_changed_during_resolution),
	WITH_EP(ep_listen_logs_name_changed_while_binding),
	WITH_EP(get_ibv_context_ignores_name_changed_during_resolution),
	WITH_EP(req_connect_sends_bytes_changed_while_migrating),
	WITH_PAIR(next_event_while_disconnecting),
	WITH_PAIR(cq_wait_while_posting),
	SHARED(conn_wait_while_posting),
	WITH_PAIR(completion_wait_while_posting),
	WITH_EP(mr_reg_while_memory_is_written),
	WITH_EP(srq_new_uses_rcq_size_set_while_creating),
	WITH_EP(others_come_and_go_while_connection_ends),
	WITH_EP(others_come_and_go_while_request_ends),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "changes-during-calls", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
