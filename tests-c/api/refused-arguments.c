/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every check of an argument, in its order: where several are wrong, the first one decides. All come to
 * the same code; this library says in the log which one it was.
 *
 * The handles here must not be followed: arguments are checked first.
 */
#include "common.h"

/* whether the log is looked at */
static bool naming;

/* one ERROR in the name of the function, which tells what was wrong */
static void
check_log(const char *call, const char *what, const char *file, int line)
{
	char function[64];
	char text[128];

	if (!naming)
		return;
	snprintf(function, sizeof(function), "%.*s", (int)strcspn(call, "("), call);
	snprintf(text, sizeof(text), "invalid argument: %s\n", what);
	if (logged.count == 1 && logged.level == RPMA_LOG_LEVEL_ERROR &&
	    strcmp(logged.function, function) == 0 && strcmp(logged.text, text) == 0)
		return;
	print_error("%s\n  logged %d messages, the last one: %s: %s  expected: %s: %s", call,
			logged.count, logged.function, logged.text, function, text);
	_fail(file, line);
}

#define REFUSED(what, call) do { \
	log_capture(RPMA_LOG_LEVEL_WARNING); \
	EXPECT((call), RPMA_E_INVAL); \
	check_log(#call, (what), __FILE__, __LINE__); \
	log_release(); \
} while (0)

#define PLACE "the pointer for the new object is NULL"
#define OBJECT "the pointer to the object is NULL"

/* a handle of any kind, out-parameters of the other kinds */
#define H untouchable()

static void
configurations(void)
{
	uint32_t size = UNTOUCHED_INT;
	void *out = UNTOUCHED_PTR;
	bool flag = true;
	size_t len = 77;
	int number = UNTOUCHED_INT;
	char byte = 0x5a;

	REFUSED(PLACE, rpma_conn_cfg_new(NULL));
	REFUSED(OBJECT, rpma_conn_cfg_delete(NULL));
	REFUSED("cfg is NULL", rpma_conn_cfg_set_timeout(NULL, -1));
	REFUSED("timeout_ms is negative", rpma_conn_cfg_set_timeout(H, -1));
	REFUSED("cfg is NULL", rpma_conn_cfg_get_timeout(NULL, &number));
	REFUSED("cfg is NULL", rpma_conn_cfg_get_timeout(NULL, NULL));
	REFUSED("timeout_ms is NULL", rpma_conn_cfg_get_timeout(H, NULL));
	REFUSED("cfg is NULL", rpma_conn_cfg_set_cq_size(NULL, 1));
	REFUSED("cfg is NULL", rpma_conn_cfg_get_cq_size(NULL, &size));
	REFUSED("cfg is NULL", rpma_conn_cfg_get_cq_size(NULL, NULL));
	REFUSED("cq_size is NULL", rpma_conn_cfg_get_cq_size(H, NULL));
	REFUSED("cfg is NULL", rpma_conn_cfg_set_rcq_size(NULL, 1));
	REFUSED("cfg is NULL", rpma_conn_cfg_get_rcq_size(NULL, &size));
	REFUSED("cfg is NULL", rpma_conn_cfg_get_rcq_size(NULL, NULL));
	REFUSED("rcq_size is NULL", rpma_conn_cfg_get_rcq_size(H, NULL));
	REFUSED("cfg is NULL", rpma_conn_cfg_set_sq_size(NULL, 1));
	REFUSED("cfg is NULL", rpma_conn_cfg_get_sq_size(NULL, &size));
	REFUSED("cfg is NULL", rpma_conn_cfg_get_sq_size(NULL, NULL));
	REFUSED("sq_size is NULL", rpma_conn_cfg_get_sq_size(H, NULL));
	REFUSED("cfg is NULL", rpma_conn_cfg_set_rq_size(NULL, 1));
	REFUSED("cfg is NULL", rpma_conn_cfg_get_rq_size(NULL, &size));
	REFUSED("cfg is NULL", rpma_conn_cfg_get_rq_size(NULL, NULL));
	REFUSED("rq_size is NULL", rpma_conn_cfg_get_rq_size(H, NULL));
	REFUSED("cfg is NULL", rpma_conn_cfg_set_compl_channel(NULL, true));
	REFUSED("cfg is NULL", rpma_conn_cfg_get_compl_channel(NULL, &flag));
	REFUSED("cfg is NULL", rpma_conn_cfg_get_compl_channel(NULL, NULL));
	REFUSED("shared is NULL", rpma_conn_cfg_get_compl_channel(H, NULL));
	REFUSED("cfg is NULL", rpma_conn_cfg_set_srq(NULL, H));
	REFUSED("srq is NULL", rpma_conn_cfg_set_srq(NULL, NULL));
	REFUSED("srq is NULL", rpma_conn_cfg_set_srq(H, NULL));
	REFUSED("cfg is NULL", rpma_conn_cfg_get_srq(NULL, (struct rpma_srq **)&out));
	REFUSED("cfg is NULL", rpma_conn_cfg_get_srq(NULL, NULL));
	REFUSED("srq_ptr is NULL", rpma_conn_cfg_get_srq(H, NULL));

	REFUSED(PLACE, rpma_srq_cfg_new(NULL));
	REFUSED(OBJECT, rpma_srq_cfg_delete(NULL));
	REFUSED("cfg is NULL", rpma_srq_cfg_set_rq_size(NULL, 1));
	REFUSED("cfg is NULL", rpma_srq_cfg_get_rq_size(NULL, &size));
	REFUSED("cfg is NULL", rpma_srq_cfg_get_rq_size(NULL, NULL));
	REFUSED("rq_size is NULL", rpma_srq_cfg_get_rq_size(H, NULL));
	REFUSED("cfg is NULL", rpma_srq_cfg_set_rcq_size(NULL, 1));
	REFUSED("cfg is NULL", rpma_srq_cfg_get_rcq_size(NULL, &size));
	REFUSED("cfg is NULL", rpma_srq_cfg_get_rcq_size(NULL, NULL));
	REFUSED("rcq_size is NULL", rpma_srq_cfg_get_rcq_size(H, NULL));

	REFUSED(PLACE, rpma_peer_cfg_new(NULL));
	REFUSED(OBJECT, rpma_peer_cfg_delete(NULL));
	REFUSED("pcfg is NULL", rpma_peer_cfg_set_direct_write_to_pmem(NULL, true));
	REFUSED("pcfg is NULL", rpma_peer_cfg_get_direct_write_to_pmem(NULL, &flag));
	REFUSED("pcfg is NULL", rpma_peer_cfg_get_direct_write_to_pmem(NULL, NULL));
	REFUSED("supported is NULL", rpma_peer_cfg_get_direct_write_to_pmem(H, NULL));
	REFUSED("pcfg is NULL", rpma_peer_cfg_get_descriptor(NULL, &byte));
	REFUSED("pcfg is NULL", rpma_peer_cfg_get_descriptor(NULL, NULL));
	REFUSED("desc is NULL", rpma_peer_cfg_get_descriptor(H, NULL));
	REFUSED("pcfg is NULL", rpma_peer_cfg_get_descriptor_size(NULL, &len));
	REFUSED("pcfg is NULL", rpma_peer_cfg_get_descriptor_size(NULL, NULL));
	REFUSED("desc_size is NULL", rpma_peer_cfg_get_descriptor_size(H, NULL));
	REFUSED("desc is NULL", rpma_peer_cfg_from_descriptor(NULL, 0, NULL));
	REFUSED("desc is NULL", rpma_peer_cfg_from_descriptor(NULL, 1, (struct rpma_peer_cfg **)&out));
	REFUSED(PLACE, rpma_peer_cfg_from_descriptor(&byte, 0, NULL));

	assert_int_equal(size, UNTOUCHED_INT);
	assert_int_equal(number, UNTOUCHED_INT);
	assert_ptr_equal(out, UNTOUCHED_PTR);
	assert_true(flag);
	assert_int_equal(len, 77);
	assert_int_equal(byte, 0x5a);
}

static void
peers_and_regions(void)
{
	struct ibv_context *context = UNTOUCHED_PTR;
	const enum rpma_util_ibv_context_type wrong = (enum rpma_util_ibv_context_type)2;
	unsigned char desc[32];
	void *out = UNTOUCHED_PTR;
	size_t len = 77;
	int number = UNTOUCHED_INT;
	char mem[8];

	memset(desc, 0x5a, sizeof(desc));
	REFUSED("addr is NULL", rpma_utils_get_ibv_context(NULL, wrong, NULL));
	REFUSED("ibv_ctx_ptr is NULL", rpma_utils_get_ibv_context("127.0.0.1", wrong, NULL));
	REFUSED("unknown type of context", rpma_utils_get_ibv_context("127.0.0.1", wrong, &context));
	REFUSED("unknown type of context", rpma_utils_get_ibv_context("no such address",
			(enum rpma_util_ibv_context_type)-1, &context));
	REFUSED("ibv_ctx is NULL", rpma_utils_ibv_context_is_odp_capable(NULL, NULL));
	REFUSED("ibv_ctx is NULL", rpma_utils_ibv_context_is_odp_capable(NULL, &number));
	REFUSED("is_odp_capable is NULL", rpma_utils_ibv_context_is_odp_capable(H, NULL));
	REFUSED("ibv_ctx is NULL", rpma_peer_new(NULL, NULL));
	REFUSED("ibv_ctx is NULL", rpma_peer_new(NULL, (struct rpma_peer **)&out));
	REFUSED(PLACE, rpma_peer_new(H, NULL));
	REFUSED(OBJECT, rpma_peer_delete(NULL));

	REFUSED("peer is NULL", rpma_mr_reg(NULL, NULL, 0, 0, NULL));
	REFUSED("ptr is NULL", rpma_mr_reg(H, NULL, 0, 0, NULL));
	REFUSED("size is 0", rpma_mr_reg(H, mem, 0, 0, NULL));
	REFUSED("no usage is set", rpma_mr_reg(H, mem, 8, 0, NULL));
	REFUSED("unknown usage bits", rpma_mr_reg(H, mem, 8, 0x100, NULL));
	REFUSED("unknown usage bits", rpma_mr_reg(H, mem, 8, 0x101, NULL));
	REFUSED("unknown usage bits", rpma_mr_reg(H, mem, 8, -1, NULL));
	REFUSED(PLACE, rpma_mr_reg(H, mem, 8, 1, NULL));
	REFUSED(OBJECT, rpma_mr_dereg(NULL));
	REFUSED("mr is NULL", rpma_mr_get_descriptor(NULL, NULL));
	REFUSED("mr is NULL", rpma_mr_get_descriptor(NULL, desc));
	REFUSED("desc is NULL", rpma_mr_get_descriptor(H, NULL));
	REFUSED("mr is NULL", rpma_mr_get_descriptor_size(NULL, NULL));
	REFUSED("mr is NULL", rpma_mr_get_descriptor_size(NULL, &len));
	REFUSED("desc_size is NULL", rpma_mr_get_descriptor_size(H, NULL));
	REFUSED("mr is NULL", rpma_mr_get_ptr(NULL, NULL));
	REFUSED("mr is NULL", rpma_mr_get_ptr(NULL, &out));
	REFUSED("ptr is NULL", rpma_mr_get_ptr(H, NULL));
	REFUSED("mr is NULL", rpma_mr_get_size(NULL, NULL));
	REFUSED("mr is NULL", rpma_mr_get_size(NULL, &len));
	REFUSED("size is NULL", rpma_mr_get_size(H, NULL));
	REFUSED("desc is NULL", rpma_mr_remote_from_descriptor(NULL, 0, NULL));
	REFUSED("desc is NULL", rpma_mr_remote_from_descriptor(NULL, 21, (void *)&out));
	REFUSED(PLACE, rpma_mr_remote_from_descriptor(desc, 0, NULL));
	REFUSED("mr is NULL", rpma_mr_remote_get_size(NULL, NULL));
	REFUSED("mr is NULL", rpma_mr_remote_get_size(NULL, &len));
	REFUSED("size is NULL", rpma_mr_remote_get_size(H, NULL));
	REFUSED("mr is NULL", rpma_mr_remote_get_flush_type(NULL, NULL));
	REFUSED("mr is NULL", rpma_mr_remote_get_flush_type(NULL, &number));
	REFUSED("flush_type is NULL", rpma_mr_remote_get_flush_type(H, NULL));
	REFUSED(OBJECT, rpma_mr_remote_delete(NULL));

	assert_ptr_equal(context, UNTOUCHED_PTR);
	assert_ptr_equal(out, UNTOUCHED_PTR);
	assert_int_equal(len, 77);
	assert_int_equal(number, UNTOUCHED_INT);
	for (size_t i = 0; i < sizeof(desc); i++)
		assert_int_equal(desc[i], 0x5a);
}

static void
requests_and_endpoints(void)
{
	struct rpma_conn_private_data pdata = {UNTOUCHED_PTR, 0x5a};
	struct rpma_conn_req *none = NULL;
	void *out = UNTOUCHED_PTR;
	int fd = UNTOUCHED_INT;

	REFUSED("peer is NULL", rpma_conn_req_new(NULL, NULL, NULL, NULL, NULL));
	REFUSED("addr is NULL", rpma_conn_req_new(H, NULL, NULL, NULL, NULL));
	REFUSED("port is NULL", rpma_conn_req_new(H, "127.0.0.1", NULL, NULL, NULL));
	REFUSED(PLACE, rpma_conn_req_new(H, "no such address", "7204", NULL, NULL));
	REFUSED(OBJECT, rpma_conn_req_delete(NULL));
	REFUSED(OBJECT, rpma_conn_req_connect(NULL, &pdata, NULL));
	REFUSED("the connection request is NULL", rpma_conn_req_connect(&none, H, NULL));
	REFUSED("the connection request is NULL", rpma_conn_req_connect(&none, NULL,
			(struct rpma_conn **)&out));
	REFUSED("req is NULL", rpma_conn_req_recv(NULL, NULL, 0, SIZE_MAX, NULL));
	REFUSED("dst is NULL", rpma_conn_req_recv(H, NULL, 0, SIZE_MAX, NULL));
	REFUSED("dst is NULL", rpma_conn_req_recv(H, NULL, 0, 0, NULL));
	REFUSED("req is NULL", rpma_conn_req_get_private_data(NULL, NULL));
	REFUSED("req is NULL", rpma_conn_req_get_private_data(NULL, &pdata));
	REFUSED("pdata is NULL", rpma_conn_req_get_private_data(H, NULL));

	REFUSED("peer is NULL", rpma_ep_listen(NULL, NULL, NULL, NULL));
	REFUSED("addr is NULL", rpma_ep_listen(H, NULL, NULL, NULL));
	REFUSED("port is NULL", rpma_ep_listen(H, "127.0.0.1", NULL, NULL));
	REFUSED(PLACE, rpma_ep_listen(H, "no such address", "7204", NULL));
	REFUSED(OBJECT, rpma_ep_shutdown(NULL));
	REFUSED("ep is NULL", rpma_ep_get_fd(NULL, NULL));
	REFUSED("ep is NULL", rpma_ep_get_fd(NULL, &fd));
	REFUSED("fd is NULL", rpma_ep_get_fd(H, NULL));
	REFUSED("ep is NULL", rpma_ep_next_conn_req(NULL, NULL, NULL));
	REFUSED("ep is NULL", rpma_ep_next_conn_req(NULL, NULL, (struct rpma_conn_req **)&out));
	REFUSED(PLACE, rpma_ep_next_conn_req(H, NULL, NULL));

	REFUSED("peer is NULL", rpma_srq_new(NULL, NULL, NULL));
	REFUSED("peer is NULL", rpma_srq_new(NULL, H, (struct rpma_srq **)&out));
	REFUSED(PLACE, rpma_srq_new(H, NULL, NULL));
	REFUSED(OBJECT, rpma_srq_delete(NULL));
	REFUSED("srq is NULL", rpma_srq_get_rcq(NULL, NULL));
	REFUSED("srq is NULL", rpma_srq_get_rcq(NULL, (struct rpma_cq **)&out));
	REFUSED("rcq_ptr is NULL", rpma_srq_get_rcq(H, NULL));

	assert_ptr_equal(pdata.ptr, UNTOUCHED_PTR);
	assert_int_equal(pdata.len, 0x5a);
	assert_ptr_equal(out, UNTOUCHED_PTR);
	assert_int_equal(fd, UNTOUCHED_INT);
}

static void
connections(void)
{
	struct rpma_conn_private_data pdata = {UNTOUCHED_PTR, 0x5a};
	enum rpma_conn_event event = UNTOUCHED_INT;
	struct rpma_cq *cq = UNTOUCHED_PTR;
	uint32_t qp_num = UNTOUCHED_INT;
	bool is_rcq = true;
	int fd = UNTOUCHED_INT;

	REFUSED("conn is NULL", rpma_conn_get_event_fd(NULL, NULL));
	REFUSED("conn is NULL", rpma_conn_get_event_fd(NULL, &fd));
	REFUSED("fd is NULL", rpma_conn_get_event_fd(H, NULL));
	REFUSED("conn is NULL", rpma_conn_next_event(NULL, NULL));
	REFUSED("conn is NULL", rpma_conn_next_event(NULL, &event));
	REFUSED("event is NULL", rpma_conn_next_event(H, NULL));
	REFUSED("conn is NULL", rpma_conn_get_private_data(NULL, NULL));
	REFUSED("conn is NULL", rpma_conn_get_private_data(NULL, &pdata));
	REFUSED("pdata is NULL", rpma_conn_get_private_data(H, NULL));
	REFUSED("conn is NULL", rpma_conn_apply_remote_peer_cfg(NULL, NULL));
	REFUSED("conn is NULL", rpma_conn_apply_remote_peer_cfg(NULL, H));
	REFUSED("pcfg is NULL", rpma_conn_apply_remote_peer_cfg(H, NULL));
	REFUSED("conn is NULL", rpma_conn_get_qp_num(NULL, NULL));
	REFUSED("conn is NULL", rpma_conn_get_qp_num(NULL, &qp_num));
	REFUSED("qp_num is NULL", rpma_conn_get_qp_num(H, NULL));
	REFUSED("conn is NULL", rpma_conn_get_cq(NULL, NULL));
	REFUSED("conn is NULL", rpma_conn_get_cq(NULL, &cq));
	REFUSED("cq_ptr is NULL", rpma_conn_get_cq(H, NULL));
	REFUSED("conn is NULL", rpma_conn_get_rcq(NULL, NULL));
	REFUSED("conn is NULL", rpma_conn_get_rcq(NULL, &cq));
	REFUSED("rcq_ptr is NULL", rpma_conn_get_rcq(H, NULL));
	REFUSED("conn is NULL", rpma_conn_disconnect(NULL));
	REFUSED(OBJECT, rpma_conn_delete(NULL));
	REFUSED("conn is NULL", rpma_conn_get_compl_fd(NULL, NULL));
	REFUSED("conn is NULL", rpma_conn_get_compl_fd(NULL, &fd));
	REFUSED("fd is NULL", rpma_conn_get_compl_fd(H, NULL));
	REFUSED("conn is NULL", rpma_conn_wait(NULL, 0, NULL, NULL));
	REFUSED("conn is NULL", rpma_conn_wait(NULL, 0, &cq, &is_rcq));
	REFUSED("cq is NULL", rpma_conn_wait(H, -1, NULL, &is_rcq));

	REFUSED("cq is NULL", rpma_cq_get_fd(NULL, NULL));
	REFUSED("cq is NULL", rpma_cq_get_fd(NULL, &fd));
	REFUSED("fd is NULL", rpma_cq_get_fd(H, NULL));
	REFUSED("cq is NULL", rpma_cq_wait(NULL));

	assert_ptr_equal(pdata.ptr, UNTOUCHED_PTR);
	assert_int_equal(event, UNTOUCHED_INT);
	assert_ptr_equal(cq, UNTOUCHED_PTR);
	assert_int_equal(qp_num, UNTOUCHED_INT);
	assert_true(is_rcq);
	assert_int_equal(fd, UNTOUCHED_INT);
}

#define FLAGS "no flag is set"
#define ONE "one memory region is NULL and the other is not"
#define NEITHER "an offset or length without memory regions"
#define NO_REGION "an offset or length without a memory region"

static void
operations(void)
{
	const enum rpma_flush_type visible = RPMA_FLUSH_TYPE_VISIBILITY;
	struct ibv_wc wc[2];
	int got = UNTOUCHED_INT;

	memset(wc, 0x5a, sizeof(wc));
	REFUSED("conn is NULL", rpma_read(NULL, NULL, 1, H, 1, SIZE_MAX, 0, NULL));
	REFUSED(FLAGS, rpma_read(H, NULL, 1, H, 1, SIZE_MAX, 0, NULL));
	REFUSED(ONE, rpma_read(H, NULL, 1, H, 1, SIZE_MAX, 1, NULL));
	REFUSED(ONE, rpma_read(H, H, 0, NULL, 0, 0, 1, NULL));
	REFUSED(NEITHER, rpma_read(H, NULL, 0, NULL, 0, SIZE_MAX, 1, NULL));
	REFUSED(NEITHER, rpma_read(H, NULL, 1, NULL, 0, 0, 1, NULL));
	REFUSED(NEITHER, rpma_read(H, NULL, 0, NULL, 1, 0, 1, NULL));

	REFUSED("conn is NULL", rpma_write(NULL, NULL, 1, H, 1, SIZE_MAX, 0, NULL));
	REFUSED(FLAGS, rpma_write(H, NULL, 1, H, 1, SIZE_MAX, 0, NULL));
	REFUSED(ONE, rpma_write(H, NULL, 1, H, 1, SIZE_MAX, 1, NULL));
	REFUSED(ONE, rpma_write(H, H, 0, NULL, 0, 0, 1, NULL));
	REFUSED(NEITHER, rpma_write(H, NULL, 0, NULL, 0, SIZE_MAX, 1, NULL));
	REFUSED(NEITHER, rpma_write(H, NULL, 1, NULL, 0, 0, 1, NULL));
	REFUSED(NEITHER, rpma_write(H, NULL, 0, NULL, 1, 0, 1, NULL));

	REFUSED("conn is NULL", rpma_write_with_imm(NULL, NULL, 1, H, 1, SIZE_MAX, 0, 0, NULL));
	REFUSED(FLAGS, rpma_write_with_imm(H, NULL, 1, H, 1, SIZE_MAX, 0, 0, NULL));
	REFUSED(ONE, rpma_write_with_imm(H, NULL, 1, H, 1, SIZE_MAX, 1, 0, NULL));
	REFUSED(ONE, rpma_write_with_imm(H, H, 0, NULL, 0, 0, 1, 0, NULL));
	REFUSED(NEITHER, rpma_write_with_imm(H, NULL, 0, NULL, 0, SIZE_MAX, 1, 0, NULL));
	REFUSED(NEITHER, rpma_write_with_imm(H, NULL, 1, NULL, 0, 0, 1, 0, NULL));
	REFUSED(NEITHER, rpma_write_with_imm(H, NULL, 0, NULL, 1, 0, 1, 0, NULL));

	REFUSED("conn is NULL", rpma_atomic_write(NULL, NULL, 1, NULL, 0, NULL));
	REFUSED("dst is NULL", rpma_atomic_write(H, NULL, 1, NULL, 0, NULL));
	REFUSED("src is NULL", rpma_atomic_write(H, H, 1, NULL, 0, NULL));
	REFUSED(FLAGS, rpma_atomic_write(H, H, 1, H, 0, NULL));
	REFUSED("dst_offset is not a multiple of 8", rpma_atomic_write(H, H, 1, H, 1, NULL));
	REFUSED("dst_offset is not a multiple of 8", rpma_atomic_write(H, H, SIZE_MAX, H, 1, NULL));

	REFUSED("conn is NULL", rpma_flush(NULL, NULL, 0, 0, (enum rpma_flush_type)2, 0, NULL));
	REFUSED("dst is NULL", rpma_flush(H, NULL, 0, 0, (enum rpma_flush_type)2, 0, NULL));
	REFUSED(FLAGS, rpma_flush(H, H, 0, 0, (enum rpma_flush_type)2, 0, NULL));
	REFUSED(FLAGS, rpma_flush(H, H, 0, 8, visible, 0, NULL));
	REFUSED(FLAGS, rpma_flush(H, H, 0, 8, RPMA_FLUSH_TYPE_PERSISTENT, 0, NULL));

	REFUSED("conn is NULL", rpma_send(NULL, NULL, 0, SIZE_MAX, 0, NULL));
	REFUSED(FLAGS, rpma_send(H, NULL, 0, SIZE_MAX, 0, NULL));
	REFUSED(NO_REGION, rpma_send(H, NULL, 0, SIZE_MAX, 1, NULL));
	REFUSED(NO_REGION, rpma_send(H, NULL, 1, 0, 1, NULL));
	REFUSED("conn is NULL", rpma_send_with_imm(NULL, NULL, 0, SIZE_MAX, 0, 0, NULL));
	REFUSED(FLAGS, rpma_send_with_imm(H, NULL, 0, SIZE_MAX, 0, 0, NULL));
	REFUSED(NO_REGION, rpma_send_with_imm(H, NULL, 0, SIZE_MAX, 1, 0, NULL));
	REFUSED(NO_REGION, rpma_send_with_imm(H, NULL, 1, 0, 1, 0, NULL));
	REFUSED("conn is NULL", rpma_recv(NULL, NULL, 0, SIZE_MAX, NULL));
	REFUSED(NO_REGION, rpma_recv(H, NULL, 0, SIZE_MAX, NULL));
	REFUSED(NO_REGION, rpma_recv(H, NULL, 1, 0, NULL));
	REFUSED("srq is NULL", rpma_srq_recv(NULL, NULL, 0, SIZE_MAX, NULL));
	REFUSED(NO_REGION, rpma_srq_recv(H, NULL, 0, SIZE_MAX, NULL));
	REFUSED(NO_REGION, rpma_srq_recv(H, NULL, 1, 0, NULL));

	REFUSED("cq is NULL", rpma_cq_get_wc(NULL, 0, NULL, NULL));
	REFUSED("num_entries is less than 1", rpma_cq_get_wc(H, 0, NULL, NULL));
	REFUSED("num_entries is less than 1", rpma_cq_get_wc(H, INT32_MIN, wc, &got));
	REFUSED("num_entries_got is NULL", rpma_cq_get_wc(H, 2, NULL, NULL));
	REFUSED("wc is NULL", rpma_cq_get_wc(H, 2, NULL, &got));
	REFUSED("wc is NULL", rpma_cq_get_wc(H, 1, NULL, NULL));
	assert_int_equal(got, UNTOUCHED_INT);
	for (size_t i = 0; i < sizeof(wc); i++)
		assert_int_equal(((unsigned char *)wc)[i], 0x5a);
}

static void
older(void)
{
	const struct older_functions *f = older_functions();
	struct rpma_completion cmpl;
	int fd = UNTOUCHED_INT;

	/* by the names that the log has */
	int (*rpma_conn_completion_get)(struct rpma_conn *, struct rpma_completion *) =
			f->conn_completion_get;
	int (*rpma_conn_completion_wait)(struct rpma_conn *) = f->conn_completion_wait;
	int (*rpma_conn_get_completion_fd)(const struct rpma_conn *, int *) =
			f->conn_get_completion_fd;
	int (*rpma_cq_get_completion)(struct rpma_cq *, struct rpma_completion *) =
			f->cq_get_completion;
	int (*rpma_write_atomic)(struct rpma_conn *, struct rpma_mr_remote *, size_t,
			const struct rpma_mr_local *, size_t, int, const void *) = f->write_atomic;

	REFUSED("conn is NULL", rpma_conn_completion_get(NULL, NULL));
	REFUSED("conn is NULL", rpma_conn_completion_get(NULL, &cmpl));
	REFUSED("cmpl is NULL", rpma_conn_completion_get(H, NULL));
	REFUSED("conn is NULL", rpma_conn_completion_wait(NULL));
	REFUSED("conn is NULL", rpma_conn_get_completion_fd(NULL, NULL));
	REFUSED("conn is NULL", rpma_conn_get_completion_fd(NULL, &fd));
	REFUSED("fd is NULL", rpma_conn_get_completion_fd(H, NULL));
	REFUSED("cq is NULL", rpma_cq_get_completion(NULL, NULL));
	REFUSED("cq is NULL", rpma_cq_get_completion(NULL, &cmpl));
	REFUSED("cmpl is NULL", rpma_cq_get_completion(H, NULL));
	REFUSED("conn is NULL", rpma_write_atomic(NULL, NULL, 1, NULL, 0, 0, NULL));
	REFUSED("dst is NULL", rpma_write_atomic(H, NULL, 1, NULL, 0, 0, NULL));
	REFUSED("src is NULL", rpma_write_atomic(H, H, 1, NULL, 0, 0, NULL));
	REFUSED(FLAGS, rpma_write_atomic(H, H, 1, H, 0, 0, NULL));
	REFUSED("dst_offset is not a multiple of 8", rpma_write_atomic(H, H, 1, H, 0, 1, NULL));
	assert_int_equal(fd, UNTOUCHED_INT);
}

/* the thresholds are those of log_capture(), and stay so */
static void
thresholds(void)
{
	const enum rpma_log_threshold wrong = RPMA_LOG_THRESHOLD_MAX;
	const enum rpma_log_level too_high = (enum rpma_log_level)(RPMA_LOG_LEVEL_DEBUG + 1);
	enum rpma_log_level level = UNTOUCHED_INT;

	REFUSED("unknown threshold", rpma_log_set_threshold(wrong, too_high));
	REFUSED("unknown log level", rpma_log_set_threshold(RPMA_LOG_THRESHOLD, too_high));
	REFUSED("unknown log level", rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX,
			(enum rpma_log_level)-2));
	REFUSED("level is NULL", rpma_log_get_threshold(wrong, NULL));
	REFUSED("level is NULL", rpma_log_get_threshold(RPMA_LOG_THRESHOLD, NULL));
	REFUSED("unknown threshold", rpma_log_get_threshold(wrong, &level));
	assert_int_equal(level, UNTOUCHED_INT);
}

/* --- each of them twice: the code, and what is in the log --- */

static void
with_log(void (*checks)(void))
{
	naming = true;
	checks();
	naming = false;
}

#define BOTH(checks) \
static void \
checks##_are_checked(void **unused) \
{ \
	(void)unused; \
	checks(); \
} \
\
static void \
checks##_are_named(void **unused) \
{ \
	(void)unused; \
	BETTER(DIFF_LOGGED); \
	with_log(checks); \
}

BOTH(configurations)
BOTH(peers_and_regions)
BOTH(requests_and_endpoints)
BOTH(connections)
BOTH(operations)
BOTH(thresholds)

static void
older_functions_are_checked(void **unused)
{
	(void)unused;
	older();
	with_log(older);
}

static int
release_log(void **unused)
{
	(void)unused;
	naming = false;
	log_release();

	return 0;
}

#define TEST(name) cmocka_unit_test_teardown(name, release_log)

static const struct CMUnitTest nodev[] = {
	TEST(configurations_are_checked),
	TEST(configurations_are_named),
	TEST(peers_and_regions_are_checked),
	TEST(peers_and_regions_are_named),
	TEST(requests_and_endpoints_are_checked),
	TEST(requests_and_endpoints_are_named),
	TEST(connections_are_checked),
	TEST(connections_are_named),
	TEST(operations_are_checked),
	TEST(operations_are_named),
	TEST(thresholds_are_checked),
	TEST(thresholds_are_named),
	TEST(older_functions_are_checked),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "refused-arguments", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
	};

	return topic_main(&topic, argc, argv);
}
