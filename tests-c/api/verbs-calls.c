/* SPDX-License-Identifier: BSD-3-Clause */
/* What the library asks of the device: which calls, in which order, with which arguments. */
#include <arpa/inet.h>

#include "failing.h"

#define ALWAYS RPMA_F_COMPLETION_ALWAYS
#define ON_ERROR RPMA_F_COMPLETION_ON_ERROR

#define EXPECT_CALLS(want) expect_calls((want), __FILE__, __LINE__)

static void
expect_calls(const char *want, const char *file, int line)
{
	verbs_forget_retries();
	if (strcmp(verbs_log, want) != 0) {
		print_error("calls:    %s\nexpected: %s\n", verbs_log, want);
		_fail(file, line);
	}
	verbs_reset();
}

/* --- addresses --- */

static void
contexts(void **unused)
{
	struct ibv_context *context = NULL;

	(void)unused;
	verbs_reset();
	SUCCEED(rpma_utils_get_ibv_context(device_addr(), RPMA_UTIL_IBV_CONTEXT_LOCAL, &context));
	assert_int_equal(verbs_seen.hints.ai_flags, RAI_PASSIVE);
	assert_int_equal(verbs_seen.hints.ai_port_space, RDMA_PS_TCP);
	EXPECT_CALLS("rdma_getaddrinfo rdma_create_id rdma_bind_addr rdma_destroy_id ");

	SUCCEED(rpma_utils_get_ibv_context(device_addr(), RPMA_UTIL_IBV_CONTEXT_REMOTE, &context));
	assert_int_equal(verbs_seen.hints.ai_flags, 0);
	assert_int_equal(verbs_seen.hints.ai_port_space, RDMA_PS_TCP);
	EXPECT_CALLS("rdma_getaddrinfo rdma_create_id rdma_resolve_addr(1000) rdma_destroy_id ");
}

static void
endpoint(void **state)
{
	struct pair *pair = *state;
	struct rpma_ep *ep = NULL;

	SUCCEED(rpma_ep_listen(pair->server.peer, device_addr(), "0", &ep));
	assert_int_equal(verbs_seen.hints.ai_flags, RAI_PASSIVE);
	assert_int_equal(verbs_seen.hints.ai_qp_type, IBV_QPT_RC);
	EXPECT_CALLS("rdma_create_event_channel rdma_create_id rdma_getaddrinfo rdma_bind_addr "
			"rdma_listen(0) ");
	SUCCEED(rpma_ep_shutdown(&ep));
	EXPECT_CALLS("rdma_destroy_id rdma_destroy_event_channel ");
}

/* --- requests and connections --- */

static void
request_without_a_configuration(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, NULL);

	assert_int_equal(verbs_seen.hints.ai_flags, 0);
	assert_int_equal(verbs_seen.hints.ai_qp_type, IBV_QPT_RC);
	assert_int_equal(verbs_seen.hints.ai_port_space, RDMA_PS_TCP);
	assert_int_equal(verbs_seen.qp.qp_type, IBV_QPT_RC);
	assert_int_equal(verbs_seen.qp.sq_sig_all, 0);
	assert_null(verbs_seen.qp.srq);
	assert_non_null(verbs_seen.qp.pd);
	assert_non_null(verbs_seen.qp.send_cq);
	assert_ptr_equal(verbs_seen.qp.send_cq, verbs_seen.qp.recv_cq);
	assert_int_equal(verbs_seen.qp.cap.max_send_wr, 10);
	assert_int_equal(verbs_seen.qp.cap.max_recv_wr, 10);
	assert_int_equal(verbs_seen.qp.cap.max_send_sge, 1);
	assert_int_equal(verbs_seen.qp.cap.max_recv_sge, 1);
	assert_int_equal(verbs_seen.qp.cap.max_inline_data, 8);
	EXPECT_CALLS("rdma_getaddrinfo rdma_create_id rdma_resolve_addr(1000) "
			"rdma_resolve_route(1000) ibv_create_comp_channel ibv_create_cq(10) "
			"ibv_req_notify_cq(0) rdma_create_qp_ex ");
	SUCCEED(rpma_conn_req_delete(&req));
	EXPECT_CALLS("rdma_destroy_qp ibv_destroy_cq ibv_destroy_comp_channel rdma_destroy_id ");
}

static void
request_with_a_configuration(void **state)
{
	struct pair *pair = *state;
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_conn_req *req;

	SUCCEED(rpma_conn_cfg_new(&cfg));
	SUCCEED(rpma_conn_cfg_set_timeout(cfg, 2345));
	SUCCEED(rpma_conn_cfg_set_cq_size(cfg, 7));
	SUCCEED(rpma_conn_cfg_set_rcq_size(cfg, 6));
	SUCCEED(rpma_conn_cfg_set_sq_size(cfg, 5));
	SUCCEED(rpma_conn_cfg_set_rq_size(cfg, 4));
	req = new_request(pair->client.peer, pair->port, cfg);
	assert_int_equal(verbs_seen.qp.cap.max_send_wr, 5);
	assert_int_equal(verbs_seen.qp.cap.max_recv_wr, 4);
	assert_ptr_not_equal(verbs_seen.qp.send_cq, verbs_seen.qp.recv_cq);
	EXPECT_CALLS("rdma_getaddrinfo rdma_create_id rdma_resolve_addr(2345) "
			"rdma_resolve_route(2345) ibv_create_comp_channel ibv_create_cq(7) "
			"ibv_req_notify_cq(0) ibv_create_comp_channel ibv_create_cq(6) "
			"ibv_req_notify_cq(0) rdma_create_qp_ex ");
	SUCCEED(rpma_conn_req_delete(&req));
	EXPECT_CALLS("rdma_destroy_qp ibv_destroy_cq ibv_destroy_comp_channel ibv_destroy_cq "
			"ibv_destroy_comp_channel rdma_destroy_id ");

	SUCCEED(rpma_conn_cfg_set_compl_channel(cfg, true));
	req = new_request(pair->client.peer, pair->port, cfg);
	EXPECT_CALLS("rdma_getaddrinfo rdma_create_id rdma_resolve_addr(2345) "
			"rdma_resolve_route(2345) ibv_create_comp_channel ibv_create_cq(7) "
			"ibv_req_notify_cq(0) ibv_create_cq(6) ibv_req_notify_cq(0) "
			"rdma_create_qp_ex ");
	SUCCEED(rpma_conn_req_delete(&req));
	EXPECT_CALLS("rdma_destroy_qp ibv_destroy_cq ibv_destroy_cq rdma_destroy_id "
			"ibv_destroy_comp_channel ");
	SUCCEED(rpma_conn_cfg_delete(&cfg));
}

/* verbs takes an int for some of the sizes that are 32 bits here */
static void
sizes_are_clipped(void **state)
{
	struct pair *pair = *state;
	static const uint32_t sizes[] = {(uint32_t)INT32_MAX + 1, UINT32_MAX};

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct rpma_conn_cfg *cfg = NULL;
		struct rpma_srq_cfg *srq_cfg = NULL;
		struct rpma_conn_req *req = NULL;
		struct rpma_srq *srq = NULL;

		SUCCEED(rpma_conn_cfg_new(&cfg));
		SUCCEED(rpma_conn_cfg_set_cq_size(cfg, sizes[i]));
		verbs_reset();
		EXPECT(rpma_conn_req_new(pair->client.peer, device_addr(), pair->port, cfg, &req),
				RPMA_E_PROVIDER);
		assert_non_null(strstr(verbs_log, "ibv_create_cq(2147483647) "));
		SUCCEED(rpma_conn_cfg_set_cq_size(cfg, 10));
		SUCCEED(rpma_conn_cfg_set_rcq_size(cfg, sizes[i]));
		verbs_reset();
		EXPECT(rpma_conn_req_new(pair->client.peer, device_addr(), pair->port, cfg, &req),
				RPMA_E_PROVIDER);
		assert_non_null(strstr(verbs_log, "ibv_create_cq(2147483647) "));
		SUCCEED(rpma_conn_cfg_delete(&cfg));

		SUCCEED(rpma_srq_cfg_new(&srq_cfg));
		SUCCEED(rpma_srq_cfg_set_rcq_size(srq_cfg, sizes[i]));
		verbs_reset();
		EXPECT(rpma_srq_new(pair->client.peer, srq_cfg, &srq), RPMA_E_PROVIDER);
		assert_non_null(strstr(verbs_log, "ibv_create_cq(2147483647) "));
		SUCCEED(rpma_srq_cfg_delete(&srq_cfg));
	}
}

static void
check_param(const struct rpma_conn_private_data *pdata)
{
	const struct rdma_conn_param *param = &verbs_seen.param;

	assert_int_equal(param->responder_resources, RDMA_MAX_RESP_RES);
	assert_int_equal(param->initiator_depth, RDMA_MAX_INIT_DEPTH);
	assert_int_equal(param->flow_control, 1);
	assert_int_equal(param->retry_count, 7);
	assert_int_equal(param->rnr_retry_count, 7);
	assert_int_equal(param->private_data_len, pdata ? pdata->len : 0);
	if (pdata)
		assert_ptr_equal(param->private_data, pdata->ptr);
	else
		assert_null(param->private_data);
}

static void
connecting(void **state)
{
	struct pair *pair = *state;
	char data[] = "data";
	const struct rpma_conn_private_data pdata = {data, sizeof(data)};
	const bool native = flushes_natively(pair);
	char want[256];

	/* an outgoing request asks when the connection is ready, an incoming one is accepted first */
	for (int i = 0; i < 2; i++) {
		struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, NULL);

		verbs_reset();
		SUCCEED(rpma_conn_req_connect(&req, i ? &pdata : NULL, &pair->client.conn));
		check_param(i ? &pdata : NULL);
		if (!native) {
			/* where the flush reads to */
			assert_int_equal(verbs_seen.length, 8);
			assert_int_equal(verbs_seen.access & ~IBV_ACCESS_ON_DEMAND,
					IBV_ACCESS_LOCAL_WRITE);
		}
		snprintf(want, sizeof(want), "rdma_create_event_channel rdma_migrate_id %srdma_connect ",
				native ? "" : "ibv_reg_mr ");
		EXPECT_CALLS(want);

		req = take_request(pair->ep, NULL);
		EXPECT_CALLS("rdma_get_cm_event ibv_create_comp_channel ibv_create_cq(10) "
				"ibv_req_notify_cq(0) rdma_create_qp_ex rdma_ack_cm_event ");
		SUCCEED(rpma_conn_req_connect(&req, i ? &pdata : NULL, &pair->server.conn));
		check_param(i ? &pdata : NULL);
		snprintf(want, sizeof(want), "rdma_accept rdma_create_event_channel rdma_migrate_id %s",
				native ? "" : "ibv_reg_mr ");
		EXPECT_CALLS(want);

		EXPECT_EVENT(pair->client.conn, RPMA_CONN_ESTABLISHED);
		EXPECT_CALLS("rdma_get_cm_event rdma_ack_cm_event ");
		EXPECT_EVENT(pair->server.conn, RPMA_CONN_ESTABLISHED);
		verbs_reset();
		SUCCEED(rpma_conn_disconnect(pair->client.conn));
		EXPECT_CALLS("rdma_disconnect ");
		SUCCEED(rpma_conn_delete(&pair->server.conn));
		snprintf(want, sizeof(want), "%srdma_destroy_qp ibv_destroy_cq "
				"ibv_destroy_comp_channel rdma_destroy_id "
				"rdma_destroy_event_channel ", native ? "" : "ibv_dereg_mr ");
		EXPECT_CALLS(want);
		SUCCEED(rpma_conn_delete(&pair->client.conn));
	}
}

/* --- shared receive queues --- */

static void
shared_receive_queue(void **state)
{
	struct pair *pair = *state;
	struct rpma_srq_cfg *srq_cfg = NULL;
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_conn_req *req;
	struct rpma_srq *srq = NULL;

	SUCCEED(rpma_srq_new(pair->client.peer, NULL, &srq));
	assert_int_equal(verbs_seen.srq.attr.max_sge, 1);
	EXPECT_CALLS("ibv_create_srq(20) ibv_create_comp_channel ibv_create_cq(20) "
			"ibv_req_notify_cq(0) ");

	/* the connection makes no receive CQ of its own */
	SUCCEED(rpma_conn_cfg_new(&cfg));
	SUCCEED(rpma_conn_cfg_set_srq(cfg, srq));
	SUCCEED(rpma_conn_cfg_set_rcq_size(cfg, 6));
	req = new_request(pair->client.peer, pair->port, cfg);
	assert_non_null(verbs_seen.qp.srq);
	assert_ptr_not_equal(verbs_seen.qp.send_cq, verbs_seen.qp.recv_cq);
	EXPECT_CALLS("rdma_getaddrinfo rdma_create_id rdma_resolve_addr(1000) "
			"rdma_resolve_route(1000) ibv_create_comp_channel ibv_create_cq(10) "
			"ibv_req_notify_cq(0) rdma_create_qp_ex ");
	SUCCEED(rpma_conn_req_delete(&req));
	SUCCEED(rpma_srq_delete(&srq));

	SUCCEED(rpma_srq_cfg_new(&srq_cfg));
	SUCCEED(rpma_srq_cfg_set_rq_size(srq_cfg, 33));
	SUCCEED(rpma_srq_cfg_set_rcq_size(srq_cfg, 0));
	verbs_reset();
	SUCCEED(rpma_srq_new(pair->client.peer, srq_cfg, &srq));
	EXPECT_CALLS("ibv_create_srq(33) ");
	SUCCEED(rpma_srq_delete(&srq));
	EXPECT_CALLS("ibv_destroy_srq ");
	SUCCEED(rpma_srq_cfg_delete(&srq_cfg));
	SUCCEED(rpma_conn_cfg_delete(&cfg));
}

/* --- regions --- */

static void
access_of_each_usage(void **state)
{
	struct pair *pair = *state;
	static const struct {
		int usage;
		int access;
	} cases[] = {
		{RPMA_MR_USAGE_READ_SRC, IBV_ACCESS_REMOTE_READ},
		{RPMA_MR_USAGE_READ_DST, IBV_ACCESS_LOCAL_WRITE},
		{RPMA_MR_USAGE_WRITE_SRC, IBV_ACCESS_LOCAL_WRITE},
		{RPMA_MR_USAGE_WRITE_DST, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE},
		{RPMA_MR_USAGE_SEND, 0},
		{RPMA_MR_USAGE_RECV, IBV_ACCESS_LOCAL_WRITE},
		{RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY, IBV_ACCESS_REMOTE_READ},
		{RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT, IBV_ACCESS_REMOTE_READ},
	};
	const bool native = flushes_natively(pair);
	char mem[64];

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		/* alone and with every other one */
		for (size_t j = 0; j < COUNT_OF(cases); j++) {
			const int both = cases[i].usage | cases[j].usage;
			struct rpma_mr_local *mr = NULL;

			if (native && (both & (RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY |
					RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT)))
				continue;
			SUCCEED(rpma_mr_reg(pair->client.peer, mem, sizeof(mem), both, &mr));
			assert_int_equal(verbs_seen.access & ~IBV_ACCESS_ON_DEMAND,
					cases[i].access | cases[j].access);
			assert_int_equal(verbs_seen.length, sizeof(mem));
			SUCCEED(rpma_mr_dereg(&mr));
		}
	}
}

/* --- operations --- */

static const void *const context = (void *)0x8123456789abcdef;

static void
check_send(enum ibv_wr_opcode opcode, unsigned send_flags, int num_sge)
{
	const struct ibv_send_wr *wr = &verbs_seen.send;

	assert_int_equal(verbs_calls("ibv_post_send"), 1);
	assert_true(wr->wr_id == (uintptr_t)context);
	assert_null(wr->next);
	assert_int_equal(wr->opcode, opcode);
	assert_int_equal(wr->send_flags, send_flags);
	assert_int_equal(wr->num_sge, num_sge);
	verbs_reset();
}

static void
check_sge(const struct region *region, size_t offset, uint32_t length)
{
	assert_true(verbs_seen.sge.addr == (uintptr_t)region->mem + offset);
	assert_int_equal(verbs_seen.sge.length, length);
}

static void
check_remote(const struct region *region, size_t offset)
{
	unsigned char desc[DESCRIPTOR_SIZE];
	uint32_t rkey;

	SUCCEED(rpma_mr_get_descriptor(region->mr, desc));
	rkey = desc[16] | (uint32_t)desc[17] << 8 | (uint32_t)desc[18] << 16 |
			(uint32_t)desc[19] << 24;
	assert_true(verbs_seen.send.wr.rdma.remote_addr == (uintptr_t)region->mem + offset);
	assert_int_equal(verbs_seen.send.wr.rdma.rkey, rkey);
}

/* flags that ask for a completion, and flags that do not */
static const struct {
	int flags;
	unsigned send_flags;
} notifications[] = {
	{ALWAYS, IBV_SEND_SIGNALED}, {ON_ERROR, 0}, {2, IBV_SEND_SIGNALED}, {4, 0},
	{-1, IBV_SEND_SIGNALED}, {-4, 0}, {INT32_MIN, 0},
};

static void
operations(void **state)
{
	struct pair *pair = *state;
	struct region *here = &pair->client.region;
	struct region *there = &pair->server.region;
	struct rpma_conn *conn = pair->client.conn;

	for (size_t i = 0; i < COUNT_OF(notifications); i++) {
		const int flags = notifications[i].flags;
		const unsigned sent = notifications[i].send_flags;

		SUCCEED(rpma_read(conn, here->mr, 11, there->remote, 22, 33, flags, context));
		check_sge(here, 11, 33);
		check_remote(there, 22);
		check_send(IBV_WR_RDMA_READ, sent, 1);
		SUCCEED(rpma_write(conn, there->remote, 44, here->mr, 55, 66, flags, context));
		check_sge(here, 55, 66);
		check_remote(there, 44);
		check_send(IBV_WR_RDMA_WRITE, sent, 1);
		/* two completions, or none */
		for (int j = 0; sent && j < 2; j++)
			EXPECT_WC(pair->client.cq, context, IBV_WC_SUCCESS);
		write_and_check(pair, 8, 1);
		verbs_reset();
	}

	SUCCEED(rpma_write(conn, there->remote, 0, here->mr, 0, 0, ON_ERROR, context));
	check_sge(here, 0, 0);
	check_send(IBV_WR_RDMA_WRITE, 0, 1);
	SUCCEED(rpma_write(conn, NULL, 0, NULL, 0, 0, ON_ERROR, context));
	check_send(IBV_WR_RDMA_WRITE, 0, 0);
	SUCCEED(rpma_read(conn, NULL, 0, NULL, 0, 0, ON_ERROR, context));
	check_send(IBV_WR_RDMA_READ, 0, 0);
}

static void
immediates(void **state)
{
	struct pair *pair = *state;
	struct region *here = &pair->client.region;
	struct region *there = &pair->server.region;
	struct rpma_conn *conn = pair->client.conn;

	for (int i = 0; i < 6; i++)
		SUCCEED(rpma_recv(pair->server.conn, pair->server.region.mr, 0, 64, NULL));
	verbs_reset();
	SUCCEED(rpma_write_with_imm(conn, there->remote, 1, here->mr, 2, 3, ALWAYS, 0x12345678,
			context));
	check_sge(here, 2, 3);
	check_remote(there, 1);
	assert_int_equal(verbs_seen.send.imm_data, htonl(0x12345678));
	check_send(IBV_WR_RDMA_WRITE_WITH_IMM, IBV_SEND_SIGNALED, 1);
	SUCCEED(rpma_write_with_imm(conn, NULL, 0, NULL, 0, 0, ON_ERROR, UINT32_MAX, context));
	assert_int_equal(verbs_seen.send.imm_data, UINT32_MAX);
	check_send(IBV_WR_RDMA_WRITE_WITH_IMM, 0, 0);
	SUCCEED(rpma_send_with_imm(conn, here->mr, 4, 5, ALWAYS, 0x12345678, context));
	check_sge(here, 4, 5);
	assert_int_equal(verbs_seen.send.imm_data, htonl(0x12345678));
	check_send(IBV_WR_SEND_WITH_IMM, IBV_SEND_SIGNALED, 1);
	SUCCEED(rpma_send_with_imm(conn, NULL, 0, 0, ON_ERROR, 1, context));
	assert_int_equal(verbs_seen.send.imm_data, htonl(1));
	check_send(IBV_WR_SEND_WITH_IMM, 0, 0);
	SUCCEED(rpma_send(conn, here->mr, 6, 7, ALWAYS, context));
	check_sge(here, 6, 7);
	check_send(IBV_WR_SEND, IBV_SEND_SIGNALED, 1);
	SUCCEED(rpma_send(conn, NULL, 0, 0, ON_ERROR, context));
	check_send(IBV_WR_SEND, 0, 0);
}

static void
atomic_write_and_flush(void **state)
{
	struct pair *pair = *state;
	struct region *there = &pair->server.region;
	struct rpma_conn *conn = pair->client.conn;
	const char word[8] = "1234567";

	verbs_reset();
	SUCCEED(rpma_atomic_write(conn, there->remote, 16, word, ALWAYS, context));
	/* none of these where the device does it natively */
	if (verbs_calls("ibv_post_send")) {
		check_remote(there, 16);
		assert_int_equal(verbs_seen.sge.length, 8);
		check_send(IBV_WR_RDMA_WRITE, IBV_SEND_SIGNALED | IBV_SEND_INLINE | IBV_SEND_FENCE, 1);
		SUCCEED(rpma_atomic_write(conn, there->remote, 0, word, ON_ERROR, context));
		check_send(IBV_WR_RDMA_WRITE, IBV_SEND_INLINE | IBV_SEND_FENCE, 1);
	}

	verbs_reset();
	SUCCEED(rpma_flush(conn, there->remote, 17, 4000, RPMA_FLUSH_TYPE_VISIBILITY, ALWAYS,
			context));
	if (verbs_calls("ibv_post_send")) {
		/* whatever the length: a read of 8 bytes */
		check_remote(there, 17);
		assert_int_equal(verbs_seen.sge.length, 8);
		check_send(IBV_WR_RDMA_READ, IBV_SEND_SIGNALED, 1);
		SUCCEED(rpma_flush(conn, there->remote, 0, 0, RPMA_FLUSH_TYPE_VISIBILITY, ON_ERROR,
				context));
		check_send(IBV_WR_RDMA_READ, 0, 1);
		SUCCEED(rpma_flush(conn, there->remote, 0, SIZE_MAX, RPMA_FLUSH_TYPE_VISIBILITY,
				ON_ERROR, context));
		assert_int_equal(verbs_seen.sge.length, 8);
		check_send(IBV_WR_RDMA_READ, 0, 1);
	}
}

static void
check_recv(const char *call, int num_sge)
{
	assert_int_equal(verbs_calls(call), 1);
	assert_true(verbs_seen.recv.wr_id == (uintptr_t)context);
	assert_null(verbs_seen.recv.next);
	assert_int_equal(verbs_seen.recv.num_sge, num_sge);
	verbs_reset();
}

static void
receives(void **state)
{
	struct pair *pair = *state;
	struct region *here = &pair->client.region;
	struct rpma_conn_req *req = new_request(pair->client.peer, pair->port, NULL);
	struct rpma_srq *srq = NULL;

	SUCCEED(rpma_srq_new(pair->client.peer, NULL, &srq));
	verbs_reset();
	SUCCEED(rpma_recv(pair->client.conn, here->mr, 1, 2, context));
	check_sge(here, 1, 2);
	check_recv("ibv_post_recv", 1);
	SUCCEED(rpma_recv(pair->client.conn, NULL, 0, 0, context));
	check_recv("ibv_post_recv", 0);
	SUCCEED(rpma_conn_req_recv(req, here->mr, 3, 4, context));
	check_sge(here, 3, 4);
	check_recv("ibv_post_recv", 1);
	SUCCEED(rpma_srq_recv(srq, here->mr, 5, 6, context));
	check_sge(here, 5, 6);
	check_recv("ibv_post_srq_recv", 1);
	SUCCEED(rpma_srq_recv(srq, NULL, 0, 0, context));
	check_recv("ibv_post_srq_recv", 0);
	SUCCEED(rpma_conn_req_delete(&req));
	SUCCEED(rpma_srq_delete(&srq));
}

static void
write_atomic(void **state)
{
	struct pair *pair = *state;
	const struct older_functions *f = older_functions();

	verbs_reset();
	SUCCEED(f->write_atomic(pair->client.conn, pair->server.region.remote, 8,
			pair->client.region.mr, 3, ALWAYS, context));
	check_remote(&pair->server.region, 8);
	check_sge(&pair->client.region, 3, 8);
	check_send(IBV_WR_RDMA_WRITE, IBV_SEND_SIGNALED | IBV_SEND_FENCE, 1);
}

/* --- completions --- */

static void
waiting(void **state)
{
	struct pair *pair = *state;

	write_signalled(pair, pair);
	verbs_reset();
	SUCCEED(rpma_cq_wait(pair->client.cq));
	assert_non_null(strstr(verbs_log, "ibv_get_cq_event "));
	assert_non_null(strstr(verbs_log, "ibv_req_notify_cq(0) "));
	EXPECT_WC(pair->client.cq, pair, IBV_WC_SUCCESS);
}

static void
events_are_acknowledged_in_batches(void **state)
{
	struct pair *pair = *state;
	const unsigned rounds = 100;

	BETTER(DIFF_BATCHED_ACKS);
	for (unsigned i = 0; i < rounds; i++) {
		write_signalled(pair, pair);
		SUCCEED(rpma_cq_wait(pair->client.cq));
		EXPECT_WC(pair->client.cq, pair, IBV_WC_SUCCESS);
		verbs_log[0] = '\0';
	}
	assert_true(verbs_seen.acks < rounds);
	SUCCEED(rpma_conn_delete(&pair->client.conn));
	/* that queue's, all of them, before it was destroyed */
	assert_true(verbs_seen.acks >= rounds);
	assert_true(strstr(verbs_log, "ibv_ack_cq_events(") < strstr(verbs_log, "ibv_destroy_cq "));
}

#define WITH_EP(test) cmocka_unit_test_setup_teardown(test, prepare_seen, release_seen)
#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, connect_seen, release_seen)

static const struct CMUnitTest rdma[] = {
	WITH_EP(contexts),
	WITH_EP(endpoint),
	WITH_EP(request_without_a_configuration),
	WITH_EP(request_with_a_configuration),
	WITH_EP(sizes_are_clipped),
	WITH_EP(connecting),
	WITH_EP(shared_receive_queue),
	WITH_EP(access_of_each_usage),
	WITH_PAIR(operations),
	WITH_PAIR(immediates),
	WITH_PAIR(atomic_write_and_flush),
	WITH_PAIR(receives),
	WITH_PAIR(write_atomic),
	WITH_PAIR(waiting),
	WITH_PAIR(events_are_acknowledged_in_batches),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "verbs-calls", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
