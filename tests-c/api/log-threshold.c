/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No text is looked up for a message that the threshold does not let pass: not that of an errno, not the name
 * of an event. Code and errno are the same as ever. With a threshold that lets it pass, the message comes.
 *
 * Stand-ins of the functions of the C library, libibverbs and librdmacm that give texts count their calls.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "failing.h"

#define ALWAYS RPMA_F_COMPLETION_ALWAYS

/* --- in front of what gives a text, or takes one --- */

static struct {
	bool on;
	unsigned count;
	char last[32];
} lookups;

static void
note(const char *function)
{
	if (!lookups.on)
		return;
	lookups.count++;
	snprintf(lookups.last, sizeof(lookups.last), "%s", function);
}

static void *
next_of(const char *function)
{
	void *found = dlsym(RTLD_NEXT, function);

	assert_non_null(found);

	return found;
}

#define COUNTED(type, name, params, args) \
	type \
	name params \
	{ \
		static type (*next) params; \
\
		note(#name); \
		if (!next) \
			*(void **)&next = next_of(#name); \
		return next args; \
	}

/* what programs call strerror_r() by the standard's prototype, and by that of GNU */
int __xpg_strerror_r(int err, char *text, size_t size);

COUNTED(char *, strerror, (int err), (err))
COUNTED(char *, strerror_r, (int err, char *text, size_t size), (err, text, size))
COUNTED(int, __xpg_strerror_r, (int err, char *text, size_t size), (err, text, size))
COUNTED(char *, strerror_l, (int err, locale_t locale), (err, locale))
COUNTED(const char *, gai_strerror, (int err), (err))
COUNTED(const char *, rdma_event_str, (enum rdma_cm_event_type event), (event))
COUNTED(const char *, ibv_wc_status_str, (enum ibv_wc_status status), (status))
COUNTED(const char *, ibv_event_type_str, (enum ibv_event_type event), (event))
COUNTED(struct tm *, localtime_r, (const time_t *when, struct tm *local), (when, local))
COUNTED(size_t, strftime, (char *text, size_t size, const char *format, const struct tm *local),
	(text, size, format, local))

/* --- calls that fail --- */

static struct rpma_srq *srq;

static int
full_send(struct pair *pair)
{
	return rpma_send(pair->client.conn, pair->client.region.mr, 0, 8, ALWAYS, NULL);
}

static int
full_send_with_imm(struct pair *pair)
{
	return rpma_send_with_imm(pair->client.conn, pair->client.region.mr, 0, 8, ALWAYS, 1, NULL);
}

static int
full_write(struct pair *pair)
{
	return rpma_write(pair->client.conn, pair->server.region.remote, 0, pair->client.region.mr, 0, 8,
			ALWAYS, NULL);
}

static int
full_write_with_imm(struct pair *pair)
{
	return rpma_write_with_imm(pair->client.conn, pair->server.region.remote, 0,
			pair->client.region.mr, 0, 8, ALWAYS, 1, NULL);
}

static int
full_read(struct pair *pair)
{
	return rpma_read(pair->client.conn, pair->client.region.mr, 0, pair->server.region.remote, 0, 8,
			ALWAYS, NULL);
}

static int
full_recv(struct pair *pair)
{
	return rpma_recv(pair->client.conn, pair->client.region.mr, 0, 8, NULL);
}

static int
full_srq_recv(struct pair *pair)
{
	return rpma_srq_recv(srq, pair->client.region.mr, 0, 8, NULL);
}

static int
poll_cq(struct pair *pair)
{
	struct ibv_wc wc;

	return rpma_cq_get_wc(pair->client.cq, 1, &wc, NULL);
}

static int
wait_cq(struct pair *pair)
{
	SUCCEED(full_write(pair));

	return rpma_cq_wait(pair->client.cq);
}

static int
register_memory(struct pair *pair)
{
	struct rpma_mr_local *mr = NULL;

	return rpma_mr_reg(pair->client.peer, pair->client.region.mem, 64, RPMA_MR_USAGE_SEND, &mr);
}

static int
advise(struct pair *pair)
{
	return rpma_mr_advise(pair->client.region.mr, 0, 64, IBV_ADVISE_MR_ADVICE_PREFETCH, 0);
}

static int
deregister_memory(struct pair *pair)
{
	struct rpma_mr_local *mr = NULL;

	SUCCEED(rpma_mr_reg(pair->client.peer, pair->client.region.mem, 64, RPMA_MR_USAGE_SEND, &mr));

	return rpma_mr_dereg(&mr);
}

static int
new_peer(struct pair *pair)
{
	struct ibv_context *context = device_context();
	struct rpma_peer *peer = NULL;

	(void)pair;

	return rpma_peer_new(context, &peer);
}

static int
new_srq(struct pair *pair)
{
	struct rpma_srq *made = NULL;

	return rpma_srq_new(pair->server.peer, NULL, &made);
}

static int
look_up(struct pair *pair)
{
	struct ibv_context *context = NULL;

	(void)pair;

	return rpma_utils_get_ibv_context(device_addr(), RPMA_UTIL_IBV_CONTEXT_REMOTE, &context);
}

/* the resolver has a text of its own for this */
static int
look_up_no_such_host(struct pair *pair)
{
	struct ibv_context *context = NULL;

	(void)pair;

	return rpma_utils_get_ibv_context("no.such.host.invalid", RPMA_UTIL_IBV_CONTEXT_LOCAL, &context);
}

static int
listen_once_more(struct pair *pair)
{
	struct rpma_ep *ep = NULL;

	return rpma_ep_listen(pair->server.peer, device_addr(), "0", &ep);
}

static int
request(struct pair *pair)
{
	struct rpma_conn_req *req = NULL;

	return rpma_conn_req_new(pair->client.peer, device_addr(), pair->port, NULL, &req);
}

static int
disconnect(struct pair *pair)
{
	return rpma_conn_disconnect(pair->client.conn);
}

static int
next_request(struct pair *pair)
{
	struct rpma_conn_req *req = NULL;

	return rpma_ep_next_conn_req(pair->ep, NULL, &req);
}

static int
short_descriptor(struct pair *pair)
{
	struct rpma_mr_remote *remote = NULL;

	(void)pair;

	return rpma_mr_remote_from_descriptor("short", 5, &remote);
}

static int
shared_channel_with_srq(struct pair *pair)
{
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_conn_req *req = NULL;
	int ret;

	SUCCEED(rpma_conn_cfg_new(&cfg));
	SUCCEED(rpma_conn_cfg_set_compl_channel(cfg, true));
	SUCCEED(rpma_conn_cfg_set_srq(cfg, srq));
	ret = rpma_conn_req_new(pair->client.peer, device_addr(), pair->port, cfg, &req);
	SUCCEED(rpma_conn_cfg_delete(&cfg));

	return ret;
}

static const struct {
	const char *name;
	int (*call)(struct pair *pair);
	const char *fails;	/* this call of verbs, with `err` */
	int err;
	int code;
} failing[] = {
	{"send", full_send, "ibv_post_send", ENOMEM, RPMA_E_PROVIDER},
	{"send_with_imm", full_send_with_imm, "ibv_post_send", ENOMEM, RPMA_E_PROVIDER},
	{"write", full_write, "ibv_post_send", ENOMEM, RPMA_E_PROVIDER},
	{"write_with_imm", full_write_with_imm, "ibv_post_send", ENOMEM, RPMA_E_PROVIDER},
	{"read", full_read, "ibv_post_send", ENOMEM, RPMA_E_PROVIDER},
	{"recv", full_recv, "ibv_post_recv", ENOMEM, RPMA_E_PROVIDER},
	{"srq_recv", full_srq_recv, "ibv_post_srq_recv", ENOMEM, RPMA_E_PROVIDER},
	{"cq_get_wc", poll_cq, "ibv_poll_cq", -1, RPMA_E_PROVIDER},
	{"cq_wait", wait_cq, "ibv_req_notify_cq", EIO, RPMA_E_PROVIDER},
	{"mr_reg", register_memory, "ibv_reg_mr", ENOMEM, RPMA_E_PROVIDER},
	{"mr_advise", advise, "ibv_advise_mr", EPERM, RPMA_E_PROVIDER},
	{"mr_dereg", deregister_memory, "ibv_dereg_mr", EBUSY, RPMA_E_PROVIDER},
	{"peer_new", new_peer, "ibv_alloc_pd", EPERM, RPMA_E_PROVIDER},
	{"srq_new", new_srq, "ibv_create_srq", ENOMEM, RPMA_E_PROVIDER},
	{"get_ibv_context", look_up, "rdma_resolve_addr", ENETUNREACH, RPMA_E_PROVIDER},
	{"get_ibv_context, no such host", look_up_no_such_host, NULL, 0, RPMA_E_PROVIDER},
	{"ep_listen", listen_once_more, "rdma_bind_addr", EADDRINUSE, RPMA_E_PROVIDER},
	{"conn_req_new, address", request, "rdma_resolve_addr", ETIMEDOUT, RPMA_E_PROVIDER},
	{"conn_req_new, route", request, "rdma_resolve_route", ETIMEDOUT, RPMA_E_PROVIDER},
	{"conn_req_new, QP", request, "rdma_create_qp_ex", ENOMEM, RPMA_E_PROVIDER},
	{"conn_req_new, shared channel", shared_channel_with_srq, NULL, 0, RPMA_E_INVAL},
	{"ep_next_conn_req", next_request, "rdma_get_cm_event", EINTR, RPMA_E_PROVIDER},
	{"conn_disconnect", disconnect, "rdma_disconnect", EIO, RPMA_E_PROVIDER},
	{"mr_remote_from_descriptor", short_descriptor, NULL, 0, RPMA_E_INVAL},
};

static void
fail_once(size_t i, struct pair *pair)
{
	int ret;
	int err;

	verbs_reset();
	/* what is to go, goes all the same */
	if (failing[i].call == deregister_memory)
		verbs_claim_failure(failing[i].fails, failing[i].err);
	else if (failing[i].fails)
		verbs_fail(failing[i].fails, failing[i].err);
	memset(&lookups, 0, sizeof(lookups));
	errno = 0;
	lookups.on = true;
	ret = failing[i].call(pair);
	err = errno;
	lookups.on = false;
	expect_code(ret, failing[i].code, failing[i].name, __FILE__, __LINE__);
	EXPECT_SPOILT();
	if (failing[i].err > 0) {
		errno = err;
		EXPECT_ERRNO(failing[i].err);
	}
}

static void
expect_no_lookup(const char *what)
{
	/* the original asks the resolver for its reason in any case */
	if (library_is_original() && strcmp(lookups.last, "gai_strerror") == 0)
		return;
	if (lookups.count > 0)
		fail_msg("%s: a text was looked up that nobody sees, by %s()", what, lookups.last);
}

static void
disabled_threshold_looks_up_no_text(void **state)
{
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_DISABLED));
	/* of what the main threshold has stopped already, the other one says nothing */
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_LEVEL_DEBUG));
	for (size_t i = 0; i < COUNT_OF(failing); i++) {
		fail_once(i, *state);
		expect_no_lookup(failing[i].name);
	}
}

/* the highest one that stops it */
static void
fatal_threshold_looks_up_no_text(void **state)
{
	log_capture(RPMA_LOG_LEVEL_FATAL);
	for (size_t i = 0; i < COUNT_OF(failing); i++) {
		fail_once(i, *state);
		expect_no_lookup(failing[i].name);
		assert_int_equal(logged.count, 0);
	}
}

/* so the counters do count */
static void
error_threshold_lets_failures_pass(void **state)
{
	for (size_t i = 0; i < COUNT_OF(failing); i++) {
		log_capture(RPMA_LOG_LEVEL_ERROR);
		fail_once(i, *state);
		assert_true(logged.count >= 1);
		assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
		if (failing[i].err <= 0)
			continue;
		assert_failure_logged(failing[i].fails, failing[i].err);
		if (lookups.count == 0)
			fail_msg("%s: no text was looked up", failing[i].name);
	}
}

/* --- the names of events --- */

static void
unexpected_event(struct pair *pair)
{
	enum rpma_conn_event event = RPMA_CONN_UNDEFINED;

	SUCCEED(rpma_conn_disconnect(pair->server.conn));
	verbs_reset();
	verbs_change_event(RDMA_CM_EVENT_MULTICAST_ERROR);
	memset(&lookups, 0, sizeof(lookups));
	lookups.on = true;
	EXPECT(rpma_conn_next_event(pair->client.conn, &event), RPMA_E_UNKNOWN);
	lookups.on = false;
	EXPECT_SPOILT();
}

static void
name_of_unexpected_event_below_threshold(void **state)
{
	log_capture(RPMA_LOG_LEVEL_ERROR);
	unexpected_event(*state);
	expect_no_lookup("conn_next_event");
	assert_int_equal(logged.count, 0);
}

static void
name_of_unexpected_event_at_threshold(void **state)
{
	log_capture(RPMA_LOG_LEVEL_WARNING);
	unexpected_event(*state);
	assert_int_equal(logged.count, 1);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_WARNING);
	/* the original names it otherwise (DIFF_UNKNOWN_EVENT) */
	if (!library_is_original())
		assert_string_equal(lookups.last, "rdma_event_str");
}

static void
unexpected_request(struct pair *pair)
{
	struct rpma_conn_req *req = NULL;
	int fd = -1;

	pair->client.conn = connect_request(new_request(pair->client.peer, pair->port, NULL));
	SUCCEED(rpma_ep_get_fd(pair->ep, &fd));
	wait_readable(fd);
	verbs_reset();
	verbs_change_event(RDMA_CM_EVENT_DEVICE_REMOVAL);
	memset(&lookups, 0, sizeof(lookups));
	lookups.on = true;
	INVALID(rpma_ep_next_conn_req(pair->ep, NULL, &req));
	lookups.on = false;
	EXPECT_SPOILT();
}

static void
name_of_unexpected_request_below_threshold(void **state)
{
	log_capture(RPMA_LOG_DISABLED);
	unexpected_request(*state);
	expect_no_lookup("ep_next_conn_req");
	assert_int_equal(logged.count, 0);
}

static void
name_of_unexpected_request_at_threshold(void **state)
{
	log_capture(RPMA_LOG_LEVEL_ERROR);
	unexpected_request(*state);
	assert_int_equal(logged.count, 1);
	assert_string_equal(lookups.last, "rdma_event_str");
}

static void
status_of_failed_completion(void **state)
{
	const struct older_functions *f = older_functions();
	const struct ibv_wc failed = {.wr_id = 1, .status = IBV_WC_RNR_RETRY_EXC_ERR};
	struct pair *pair = *state;
	struct rpma_completion cmpl;

	for (int level = RPMA_LOG_LEVEL_ERROR; level <= RPMA_LOG_LEVEL_WARNING; level++) {
		log_capture((enum rpma_log_level)level);
		verbs_reset();
		verbs_give_wc(&failed);
		memset(&lookups, 0, sizeof(lookups));
		lookups.on = true;
		SUCCEED(f->cq_get_completion(pair->client.cq, &cmpl));
		lookups.on = false;
		assert_int_equal(cmpl.op_status, IBV_WC_RNR_RETRY_EXC_ERR);
		assert_int_equal(logged.count, level == RPMA_LOG_LEVEL_WARNING);
		assert_int_equal(lookups.count > 0, level == RPMA_LOG_LEVEL_WARNING);
	}
}

/* --- a connection's life, as most programs see it --- */

static void
connection_below_threshold(void **state)
{
	struct pair *pair = *state;
	struct ibv_wc wc;

	/* what it is when the library is loaded */
	log_capture(RPMA_LOG_LEVEL_WARNING);
	memset(&lookups, 0, sizeof(lookups));
	lookups.on = true;
	pair_connect(pair, NULL, NULL);
	EXPECT(rpma_cq_get_wc(pair->client.cq, 1, &wc, NULL), RPMA_E_NO_COMPLETION);
	write_and_check(pair, 64, 1);
	pair_disconnect(pair);
	lookups.on = false;
	expect_no_lookup("a connection");
	assert_int_equal(logged.count, 0);
}

static int
prepare(void **state)
{
	const int ret = connect_seen(state);

	SUCCEED(rpma_srq_new(((struct pair *)*state)->client.peer, NULL, &srq));

	return ret;
}

static int
release(void **state)
{
	lookups.on = false;
	log_release();
	SUCCEED(rpma_srq_delete(&srq));

	return release_seen(state);
}

#define WITH_EP(test) cmocka_unit_test_setup_teardown(test, prepare_seen, release_seen)
#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, connect_seen, release_seen)
#define WITH_SRQ(test) cmocka_unit_test_setup_teardown(test, prepare, release)

static const struct CMUnitTest rdma[] = {
	WITH_SRQ(disabled_threshold_looks_up_no_text),
	WITH_SRQ(fatal_threshold_looks_up_no_text),
	WITH_SRQ(error_threshold_lets_failures_pass),
	WITH_PAIR(name_of_unexpected_event_below_threshold),
	WITH_PAIR(name_of_unexpected_event_at_threshold),
	WITH_EP(name_of_unexpected_request_below_threshold),
	WITH_EP(name_of_unexpected_request_at_threshold),
	WITH_PAIR(status_of_failed_completion),
	WITH_EP(connection_below_threshold),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "log-threshold", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
