/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "device.h"
#include "extended.h"
#include "verbs.h"

char verbs_log[4096];
struct verbs_seen verbs_seen;

/* --- what is to be spoilt --- */

enum kind { NOTHING, FAIL, CLAIM, CHANGE };

struct plan {
	enum kind kind;
	const char *call;
	unsigned more;
	int value;
};

static struct plan plans[16];

static void
add_plan(struct plan plan)
{
	for (size_t i = 0; i < COUNT_OF(plans); i++) {
		if (plans[i].kind == NOTHING) {
			plans[i] = plan;
			return;
		}
	}
	fail_msg("too many calls to spoil");
}

void
verbs_fail(const char *call, int err)
{
	add_plan((struct plan){FAIL, call, 0, err});
}

void
verbs_fail_later(const char *call, unsigned more, int err)
{
	add_plan((struct plan){FAIL, call, more, err});
}

void
verbs_claim_failure(const char *call, int err)
{
	add_plan((struct plan){CLAIM, call, 0, err});
}

void
verbs_change_event(enum rdma_cm_event_type type)
{
	add_plan((struct plan){CHANGE, "rdma_get_cm_event", 0, (int)type});
}

void
verbs_strange_cq(void)
{
	add_plan((struct plan){CHANGE, "ibv_get_cq_event", 0, 0});
}

struct meanwhile {
	const char *call;	/* or NULL */
	void (*action)(void *arg);
	void *arg;
};

static struct meanwhile meanwhile[4];

void
verbs_during(const char *call, void (*action)(void *arg), void *arg)
{
	for (size_t i = 0; i < COUNT_OF(meanwhile); i++) {
		if (meanwhile[i].call == NULL) {
			meanwhile[i] = (struct meanwhile){call, action, arg};
			return;
		}
	}
	fail_msg("too many calls to act in");
}

static void
act_during(const char *call)
{
	for (size_t i = 0; i < COUNT_OF(meanwhile); i++) {
		const struct meanwhile now = meanwhile[i];

		if (now.call == NULL || strcmp(now.call, call) != 0)
			continue;
		/* once: the action may make the same call */
		meanwhile[i].call = NULL;
		now.action(now.arg);
		return;
	}
}

static struct ibv_wc given_wc;
static struct ibv_odp_caps given_odp;
static bool odp_is_given;
static uint64_t given_caps;
static bool caps_are_given;
static uint64_t refused_ops;
static uint64_t hidden_ops;
static bool context_is_watched;

void
verbs_give_wc(const struct ibv_wc *wc)
{
	given_wc = *wc;
	add_plan((struct plan){CHANGE, "ibv_poll_cq", 0, 0});
}

void
verbs_odp(uint64_t general, uint32_t rc)
{
	memset(&given_odp, 0, sizeof(given_odp));
	given_odp.general_caps = general;
	given_odp.per_transport_caps.rc_odp_caps = rc;
	odp_is_given = true;
}

void
verbs_caps(uint64_t flags_ex)
{
	given_caps = flags_ex;
	caps_are_given = true;
}

void
verbs_refuse_ops(uint64_t ops)
{
	refused_ops = ops;
}

void
verbs_hide_ops(uint64_t ops)
{
	hidden_ops = ops;
}

/* of a request that the library was not shown as one */
static struct rdma_cm_id *orphan;

static void release_orphan(void);

bool
verbs_all_spoilt(void)
{
	for (size_t i = 0; i < COUNT_OF(plans); i++) {
		if (plans[i].kind != NOTHING) {
			print_error("%s was not called\n", plans[i].call);
			return false;
		}
	}
	for (size_t i = 0; i < COUNT_OF(meanwhile); i++) {
		if (meanwhile[i].call != NULL) {
			print_error("%s was not called\n", meanwhile[i].call);
			return false;
		}
	}

	return true;
}

void
verbs_reset(void)
{
	release_orphan();
	memset(plans, 0, sizeof(plans));
	memset(meanwhile, 0, sizeof(meanwhile));
	odp_is_given = false;
	caps_are_given = false;
	refused_ops = 0;
	hidden_ops = 0;
	memset(&verbs_seen, 0, sizeof(verbs_seen));
	verbs_log[0] = '\0';
}

unsigned
verbs_calls(const char *call)
{
	const size_t len = strlen(call);
	unsigned count = 0;

	for (const char *at = verbs_log; (at = strstr(at, call)) != NULL; at += len) {
		if ((at == verbs_log || at[-1] == ' ') && (at[len] == ' ' || at[len] == '('))
			count++;
	}

	return count;
}

void
verbs_forget_retries(void)
{
	static const char twice[] = "ibv_reg_mr ibv_reg_mr ";
	const size_t once = strlen("ibv_reg_mr ");
	char *at = verbs_log;

	while ((at = strstr(at, twice)) != NULL)
		memmove(at, at + once, strlen(at + once) + 1);
}

/* --- a call --- */

/* above 0 in what a real function calls for its own purposes */
static _Thread_local int depth;

static void
write_down(const char *call, long argument, bool fails)
{
	const size_t len = strlen(verbs_log);
	char text[64];

	if (argument < 0)
		snprintf(text, sizeof(text), "%s%s ", fails ? "!" : "", call);
	else
		snprintf(text, sizeof(text), "%s%s(%ld) ", fails ? "!" : "", call, argument);
	if (len + strlen(text) < sizeof(verbs_log))
		strcpy(verbs_log + len, text);
}

/* notes a call, and says what is planned for it */
static struct plan
enter(const char *call, long argument)
{
	struct plan found = {0};

	for (size_t i = 0; i < COUNT_OF(plans); i++) {
		struct plan plan = plans[i];

		if (plan.kind == NOTHING || strcmp(plan.call, call) != 0)
			continue;
		if (plan.more > 0) {
			plans[i].more--;
			continue;
		}
		plans[i].kind = NOTHING;
		found = plan;
		break;
	}
	write_down(call, argument, found.kind == FAIL);
	act_during(call);

	return found;
}

int
verbs_enter(const char *call)
{
	const struct plan plan = enter(call, -1);

	return plan.kind == FAIL ? plan.value : 0;
}

static void *
next_of(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (found == NULL) {
		fprintf(stderr, "%s: %s\n", name, dlerror());
		abort();
	}

	return found;
}

/* the real function; dlsym() hands out an object pointer */
#define REAL(name) (*(__typeof__(name) **)&(void *){next_of(#name)})

/*
 * A function of the same name, in front of the real one. `note` looks at the arguments; `argument`
 * is what stands in the log, when it is not negative; `failure` is what the function returns when it
 * fails with `err`.
 */
#define IN_FRONT(type, name, params, args, argument, note, failure) \
type \
name params \
{ \
	struct plan plan; \
	type result; \
\
	if (depth > 0) \
		return REAL(name) args; \
	plan = enter(#name, (argument)); \
	note; \
	const int err = plan.value; \
\
	(void)err; \
	if (plan.kind == FAIL) \
		return (failure); \
	depth++; \
	result = REAL(name) args; \
	depth--; \
\
	return plan.kind == CLAIM ? (failure) : result; \
}

#define ERRNO (err)
#define MINUS_ONE (errno = err, -1)
#define NOTHING_MADE (errno = err, NULL)
#define PLAIN(type, name, params, args, failure) \
	IN_FRONT(type, name, params, args, -1, (void)0, failure)

/* --- libibverbs --- */

#undef ibv_reg_mr

PLAIN(struct ibv_pd *, ibv_alloc_pd, (struct ibv_context *context), (context), NOTHING_MADE)
PLAIN(int, ibv_dealloc_pd, (struct ibv_pd *pd), (pd), ERRNO)
IN_FRONT(struct ibv_mr *, ibv_reg_mr,
	(struct ibv_pd *pd, void *addr, size_t length, int access), (pd, addr, length, access), -1,
	(verbs_seen.access = access, verbs_seen.length = length), NOTHING_MADE)
PLAIN(int, ibv_dereg_mr, (struct ibv_mr *mr), (mr), ERRNO)
PLAIN(struct ibv_comp_channel *, ibv_create_comp_channel, (struct ibv_context *context), (context),
	NOTHING_MADE)
PLAIN(int, ibv_destroy_comp_channel, (struct ibv_comp_channel *channel), (channel), ERRNO)
IN_FRONT(struct ibv_cq *, ibv_create_cq,
	(struct ibv_context *context, int cqe, void *cq_context, struct ibv_comp_channel *channel,
		int comp_vector),
	(context, cqe, cq_context, channel, comp_vector), cqe, (void)0, NOTHING_MADE)
PLAIN(int, ibv_destroy_cq, (struct ibv_cq *cq), (cq), ERRNO)
IN_FRONT(struct ibv_srq *, ibv_create_srq, (struct ibv_pd *pd, struct ibv_srq_init_attr *attr),
	(pd, attr), (long)attr->attr.max_wr, verbs_seen.srq = *attr, NOTHING_MADE)
PLAIN(int, ibv_destroy_srq, (struct ibv_srq *srq), (srq), ERRNO)

void
ibv_ack_cq_events(struct ibv_cq *cq, unsigned int nevents)
{
	if (depth == 0) {
		enter("ibv_ack_cq_events", nevents);
		verbs_seen.acks += nevents;
	}
	depth++;
	REAL(ibv_ack_cq_events)(cq, nevents);
	depth--;
}

int
ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **cq_context)
{
	static struct ibv_cq nobody_knows;
	struct plan plan;
	int ret;

	if (depth > 0)
		return REAL(ibv_get_cq_event)(channel, cq, cq_context);
	plan = enter("ibv_get_cq_event", -1);
	if (plan.kind == FAIL) {
		errno = plan.value;
		return -1;
	}
	ret = REAL(ibv_get_cq_event)(channel, cq, cq_context);
	if (ret == 0 && plan.kind == CHANGE) {
		REAL(ibv_ack_cq_events)(*cq, 1);
		*cq = &nobody_knows;
	}

	return ret;
}

/* --- librdmacm --- */

IN_FRONT(int, rdma_getaddrinfo,
	(const char *node, const char *service, const struct rdma_addrinfo *hints,
		struct rdma_addrinfo **res), (node, service, hints, res), -1,
	(verbs_seen.hints = hints ? *hints : verbs_seen.hints), MINUS_ONE)
PLAIN(struct rdma_event_channel *, rdma_create_event_channel, (void), (), NOTHING_MADE)
PLAIN(int, rdma_create_id,
	(struct rdma_event_channel *channel, struct rdma_cm_id **id, void *context,
		enum rdma_port_space ps), (channel, id, context, ps), MINUS_ONE)
IN_FRONT(int, rdma_destroy_id, (struct rdma_cm_id *id), (id), -1, verbs_seen.destroyed_ids++,
	MINUS_ONE)
PLAIN(int, rdma_bind_addr, (struct rdma_cm_id *id, struct sockaddr *addr), (id, addr), MINUS_ONE)
IN_FRONT(int, rdma_listen, (struct rdma_cm_id *id, int backlog), (id, backlog), backlog, (void)0,
	MINUS_ONE)
IN_FRONT(int, rdma_resolve_addr,
	(struct rdma_cm_id *id, struct sockaddr *from, struct sockaddr *to, int timeout_ms),
	(id, from, to, timeout_ms), timeout_ms, (void)0, MINUS_ONE)
IN_FRONT(int, rdma_resolve_route, (struct rdma_cm_id *id, int timeout_ms), (id, timeout_ms),
	timeout_ms, (void)0, MINUS_ONE)

bool
verbs_make_qp_for(struct ibv_context *context, uint64_t ops)
{
	struct ibv_qp_init_attr_ex attr = {
		.qp_type = IBV_QPT_RC,
		.cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1},
		.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.send_ops_flags = ops,
	};
	struct ibv_qp *qp;

	depth++;
	attr.pd = ibv_alloc_pd(context);
	attr.send_cq = attr.recv_cq = ibv_create_cq(context, 1, NULL, NULL, 0);
	assert_non_null(attr.pd);
	assert_non_null(attr.send_cq);
	qp = ibv_create_qp_ex(context, &attr);
	if (qp)
		assert_int_equal(ibv_destroy_qp(qp), 0);
	assert_int_equal(ibv_destroy_cq(attr.send_cq), 0);
	assert_int_equal(ibv_dealloc_pd(attr.pd), 0);
	depth--;

	return qp != NULL;
}

int
rdma_create_qp_ex(struct rdma_cm_id *id, struct ibv_qp_init_attr_ex *attr)
{
	const bool has_ops = attr->comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
	size_t noted;
	struct plan plan;
	int ret;

	if (depth > 0)
		return REAL(rdma_create_qp_ex)(id, attr);
	noted = strlen(verbs_log);
	plan = enter("rdma_create_qp_ex", -1);
	verbs_seen.qp = *attr;
	if (plan.kind == FAIL) {
		errno = plan.value;
		return -1;
	}
	if (has_ops && attr->send_ops_flags & refused_ops) {
		errno = EOPNOTSUPP;
		ret = -1;
	} else {
		depth++;
		ret = REAL(rdma_create_qp_ex)(id, attr);
		depth--;
	}
	/* how often depends on how old libibverbs is */
	if (ret != 0 && has_ops && errno == EOPNOTSUPP) {
		verbs_log[noted] = '\0';
		verbs_seen.refused_qps++;
	}
	/* without watch_context() there may be threads, for which this is not made */
	if (ret == 0 && context_is_watched)
		watch_extended(id->qp, attr, hidden_ops);

	return ret;
}

PLAIN(int, rdma_migrate_id, (struct rdma_cm_id *id, struct rdma_event_channel *channel),
	(id, channel), MINUS_ONE)
IN_FRONT(int, rdma_connect, (struct rdma_cm_id *id, struct rdma_conn_param *param), (id, param), -1,
	verbs_seen.param = *param, MINUS_ONE)
IN_FRONT(int, rdma_accept, (struct rdma_cm_id *id, struct rdma_conn_param *param), (id, param), -1,
	verbs_seen.param = *param, MINUS_ONE)
PLAIN(int, rdma_reject, (struct rdma_cm_id *id, const void *data, uint8_t len), (id, data, len),
	MINUS_ONE)
PLAIN(int, rdma_disconnect, (struct rdma_cm_id *id), (id), MINUS_ONE)
PLAIN(int, rdma_ack_cm_event, (struct rdma_cm_event *event), (event), MINUS_ONE)

int
rdma_get_cm_event(struct rdma_event_channel *channel, struct rdma_cm_event **event)
{
	struct plan plan;
	int ret;

	if (depth > 0)
		return REAL(rdma_get_cm_event)(channel, event);
	plan = enter("rdma_get_cm_event", -1);
	if (plan.kind == FAIL) {
		errno = plan.value;
		return -1;
	}
	depth++;
	ret = REAL(rdma_get_cm_event)(channel, event);
	depth--;
	if (ret == 0 && plan.kind == CHANGE) {
		if ((*event)->event == RDMA_CM_EVENT_CONNECT_REQUEST)
			orphan = (*event)->id;
		(*event)->event = (enum rdma_cm_event_type)plan.value;
	}

	return ret;
}

static void
release_orphan(void)
{
	if (orphan)
		REAL(rdma_destroy_id)(orphan);
	orphan = NULL;
}

void
rdma_destroy_qp(struct rdma_cm_id *id)
{
	if (depth == 0)
		enter("rdma_destroy_qp", -1);
	depth++;
	REAL(rdma_destroy_qp)(id);
	depth--;
}

void
rdma_destroy_event_channel(struct rdma_event_channel *channel)
{
	if (depth == 0)
		enter("rdma_destroy_event_channel", -1);
	depth++;
	REAL(rdma_destroy_event_channel)(channel);
	depth--;
}

/* --- what goes through the context --- */

static struct ibv_context_ops real_ops;
static __typeof__(((struct verbs_context *)NULL)->advise_mr) real_advise_mr;
static __typeof__(((struct verbs_context *)NULL)->query_device_ex) real_query_device_ex;

static int
watched_poll_cq(struct ibv_cq *cq, int num_entries, struct ibv_wc *wc)
{
	const struct plan plan = enter("ibv_poll_cq", -1);

	if (plan.kind == CHANGE) {
		*wc = given_wc;
		return 1;
	}

	return plan.kind == FAIL ? plan.value : real_ops.poll_cq(cq, num_entries, wc);
}

static int
watched_req_notify_cq(struct ibv_cq *cq, int solicited_only)
{
	const struct plan plan = enter("ibv_req_notify_cq", solicited_only);

	return plan.kind == FAIL ? plan.value : real_ops.req_notify_cq(cq, solicited_only);
}

static int
watched_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	const struct plan plan = enter("ibv_post_send", -1);

	verbs_seen.send = *wr;
	if (wr->num_sge == 1)
		verbs_seen.sge = wr->sg_list[0];

	return plan.kind == FAIL ? plan.value : real_ops.post_send(qp, wr, bad);
}

static void
see_receive(const struct ibv_recv_wr *wr)
{
	verbs_seen.recv = *wr;
	if (wr->num_sge == 1)
		verbs_seen.sge = wr->sg_list[0];
}

static int
watched_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	const struct plan plan = enter("ibv_post_recv", -1);

	see_receive(wr);

	return plan.kind == FAIL ? plan.value : real_ops.post_recv(qp, wr, bad);
}

static int
watched_post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	const struct plan plan = enter("ibv_post_srq_recv", -1);

	see_receive(wr);

	return plan.kind == FAIL ? plan.value : real_ops.post_srq_recv(srq, wr, bad);
}

static int
watched_advise_mr(struct ibv_pd *pd, enum ibv_advise_mr_advice advice, uint32_t flags,
		struct ibv_sge *list, uint32_t count)
{
	const struct plan plan = enter("ibv_advise_mr", (long)advice);

	verbs_seen.sge = list[0];
	if (plan.kind == FAIL)
		return plan.value;

	return real_advise_mr ? real_advise_mr(pd, advice, flags, list, count) : EOPNOTSUPP;
}

static int
watched_query_device_ex(struct ibv_context *context, const struct ibv_query_device_ex_input *input,
		struct ibv_device_attr_ex *attr, size_t size)
{
	const struct plan plan = enter("ibv_query_device_ex", -1);

	int ret;

	if (plan.kind == FAIL)
		return plan.value;
	ret = real_query_device_ex(context, input, attr, size);
	if (ret == 0 && odp_is_given)
		attr->odp_caps = given_odp;
	if (ret == 0 && caps_are_given)
		attr->device_cap_flags_ex = given_caps;

	return ret;
}

void
watch_context(void)
{
	struct ibv_context *context = device_context();
	struct verbs_context *extended;

	if (context->ops.poll_cq == watched_poll_cq)
		return;

	context_is_watched = true;
	real_ops = context->ops;
	context->ops.poll_cq = watched_poll_cq;
	context->ops.req_notify_cq = watched_req_notify_cq;
	context->ops.post_send = watched_post_send;
	context->ops.post_recv = watched_post_recv;
	context->ops.post_srq_recv = watched_post_srq_recv;

	extended = verbs_get_ctx(context);
	assert_non_null(extended);
	real_advise_mr = extended->advise_mr;
	real_query_device_ex = extended->query_device_ex;
	extended->advise_mr = watched_advise_mr;
	extended->query_device_ex = watched_query_device_ex;
}
