/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * random-calls SEED COUNT: makes calls with random valid and invalid arguments, some with a failing call of verbs.
 * For each it prints the result, the levels of the logged messages, the calls of verbs, the out-parameters and
 * errno. With the same seed both libraries print the same: see run-random.
 *
 * Arguments that lead to one of the listed differences are left out.
 */
#include "failing.h"

static unsigned seed;

static unsigned
below(unsigned n)
{
	seed = seed * 1103515245 + 12345;

	return (seed >> 16) % n;
}

/* true once in n times */
static bool
once_in(unsigned n)
{
	return below(n) == 0;
}

#define ANY_OF(array) ((array)[below(COUNT_OF(array))])

static const int usages[] = {
	RPMA_MR_USAGE_READ_SRC, RPMA_MR_USAGE_WRITE_DST, RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY,
	RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT, RPMA_MR_USAGE_SEND, ALL_USAGES,
	RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY | RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT,
};

static struct {
	struct pair pair;
	struct region regions[COUNT_OF(usages)];
	struct rpma_srq *srq;
	struct rpma_peer_cfg *pcfg;
} world;

static void
make_world(void)
{
	struct rpma_conn_cfg *cfg = full_cfg(once_in(2));

	/* large enough for all calls, so that no completion is lost */
	SUCCEED(rpma_conn_cfg_set_sq_size(cfg, 4000));
	SUCCEED(rpma_conn_cfg_set_rq_size(cfg, 4000));
	SUCCEED(rpma_conn_cfg_set_cq_size(cfg, 8000));
	if (once_in(2))
		SUCCEED(rpma_conn_cfg_set_rcq_size(cfg, 0));
	watch_context();
	pair_prepare(&world.pair);
	pair_connect(&world.pair, cfg, cfg);
	SUCCEED(rpma_conn_cfg_delete(&cfg));
	SUCCEED(rpma_srq_new(world.pair.client.peer, NULL, &world.srq));
	SUCCEED(rpma_peer_cfg_new(&world.pcfg));
	for (size_t i = 0; i < COUNT_OF(usages); i++)
		world.regions[i] = open_region(world.pair.server.peer, MR_SIZE, usages[i]);
}

/* --- calls: each returns its code, and writes its other results to `more` --- */

struct arguments {
	struct rpma_conn *conn;
	struct rpma_mr_local *local;
	struct rpma_mr_remote *remote;
	size_t offsets[2];
	size_t len;
	int flags;
	void *context;
};

static struct arguments
arguments(void)
{
	static const size_t offsets[] = {0, 0, 0, 1, 8, 16, 4096, MR_SIZE - 8};
	static const size_t lens[] = {0, 0, 1, 8, 64, 4096};
	static const int flags[] = {0, 1, 2, 3, 3, 4, -1};
	const size_t region = below(COUNT_OF(usages));

	return (struct arguments){
		once_in(12) ? NULL : world.pair.client.conn,
		once_in(4) ? NULL : world.pair.client.region.mr,
		once_in(4) ? NULL : world.regions[region].remote,
		{ANY_OF(offsets), ANY_OF(offsets)}, ANY_OF(lens), ANY_OF(flags),
		(void *)(uintptr_t)below(1000),
	};
}

#define MORE 192

/* --- what is logged: the levels, since the wording is not that of the original --- */

static enum rpma_log_level levels[16];
static size_t levels_count;

static void
note_level(enum rpma_log_level level, const char *file, const int line, const char *function,
		const char *format, ...)
{
	(void)file, (void)line, (void)function, (void)format;
	if (levels_count < COUNT_OF(levels))
		levels[levels_count++] = level;
}

/* failures that the original does not log, or not all of them; this library logs each */
static bool
is_better_logged(int ret)
{
	return ret == RPMA_E_INVAL || ret == RPMA_E_NOMEM || ret == RPMA_E_UNKNOWN ||
		ret == RPMA_E_SHARED_CHANNEL || ret == RPMA_E_NOT_SHARED_CHNL;
}

/* the levels of a call that returned this; nothing is logged from then on until the next call */
static const char *
levels_of(int ret)
{
	static char text[64];
	const bool has_error = levels_count > 0 && levels[levels_count - 1] == RPMA_LOG_LEVEL_ERROR;
	size_t len = 0;

	text[0] = '\0';
	if (is_better_logged(ret)) {
		if (has_error)
			levels_count--;
		else if (!library_is_original())
			len = (size_t)snprintf(text, sizeof(text), "(not logged) ");
	}
	for (size_t i = 0; i < levels_count && len < sizeof(text); i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "level %d ", levels[i]);
	levels_count = 0;

	return text;
}

static int
do_read(const struct arguments *a, char *more)
{
	(void)more;

	return rpma_read(a->conn, a->local, a->offsets[0], a->remote, a->offsets[1], a->len, a->flags,
			a->context);
}

static int
do_write(const struct arguments *a, char *more)
{
	(void)more;

	return rpma_write(a->conn, a->remote, a->offsets[0], a->local, a->offsets[1], a->len, a->flags,
			a->context);
}

static int
do_write_with_imm(const struct arguments *a, char *more)
{
	(void)more;

	return rpma_write_with_imm(a->conn, a->remote, a->offsets[0], a->local, a->offsets[1], a->len,
			a->flags, below(100000), a->context);
}

static int
do_atomic_write(const struct arguments *a, char *more)
{
	const char word[8] = "1234567";

	(void)more;

	return rpma_atomic_write(a->conn, a->remote, a->offsets[0] + below(2) * 4,
			once_in(9) ? NULL : word, a->flags, a->context);
}

static int
do_flush(const struct arguments *a, char *more)
{
	(void)more;

	return rpma_flush(a->conn, a->remote, a->offsets[0], a->len,
			once_in(2) ? RPMA_FLUSH_TYPE_VISIBILITY : RPMA_FLUSH_TYPE_PERSISTENT, a->flags,
			a->context);
}

static int
do_send(const struct arguments *a, char *more)
{
	(void)more;

	return rpma_send(a->conn, a->local, a->offsets[0], a->len, a->flags, a->context);
}

static int
do_send_with_imm(const struct arguments *a, char *more)
{
	(void)more;

	return rpma_send_with_imm(a->conn, a->local, a->offsets[0], a->len, a->flags, below(100000),
			a->context);
}

static int
do_recv(const struct arguments *a, char *more)
{
	(void)more;

	return rpma_recv(a->conn, a->local, a->offsets[0], a->len, a->context);
}

static int
do_srq_recv(const struct arguments *a, char *more)
{
	(void)more;

	return rpma_srq_recv(once_in(9) ? NULL : world.srq, a->local, a->offsets[0], a->len, a->context);
}

static int
do_get_wc(const struct arguments *a, char *more)
{
	const struct ibv_wc given = {
		.wr_id = (uintptr_t)a->context,
		.status = once_in(3) ? IBV_WC_WR_FLUSH_ERR : IBV_WC_SUCCESS,
		.opcode = once_in(2) ? IBV_WC_RECV : IBV_WC_SEND,
		.byte_len = (uint32_t)a->len,
		.wc_flags = once_in(2) ? IBV_WC_WITH_IMM : 0,
		.imm_data = below(100000),
	};
	struct rpma_cq *cq = once_in(9) ? NULL : world.pair.client.cq;
	struct ibv_wc wc[4] = {{.wr_id = 77}, {.wr_id = 78}};
	int got = 77;
	int ret;

	if (once_in(2))
		verbs_fail("ibv_poll_cq", (int)below(6) - 2);
	else
		verbs_give_wc(&given);
	ret = rpma_cq_get_wc(cq, (int)below(6) - 1, once_in(9) ? NULL : wc, once_in(2) ? NULL : &got);
	snprintf(more, MORE, "got %d, id %llu, status %d, opcode %d, %u bytes, flags %u, imm %u, id %llu",
			got, (unsigned long long)wc[0].wr_id, wc[0].status, wc[0].opcode, wc[0].byte_len,
			wc[0].wc_flags, wc[0].imm_data, (unsigned long long)wc[1].wr_id);

	return ret;
}

static int
do_cq_wait(const struct arguments *a, char *more)
{
	(void)a;
	(void)more;
	verbs_fail("ibv_get_cq_event", EAGAIN);

	return rpma_cq_wait(once_in(9) ? NULL : world.pair.client.cq);
}

/* which queue this is, as addresses differ between runs */
static const char *
queue_name(const struct rpma_cq *cq)
{
	if (cq == UNTOUCHED_PTR)
		return "untouched";
	if (cq == NULL)
		return "none";

	return cq == world.pair.client.cq ? "the CQ" : "another";
}

static int
do_conn_wait(const struct arguments *a, char *more)
{
	struct rpma_cq *cq = UNTOUCHED_PTR;
	bool is_rcq = true;
	int ret;

	verbs_fail("ibv_get_cq_event", EAGAIN);
	ret = rpma_conn_wait(a->conn, a->flags, once_in(4) ? NULL : &cq, once_in(3) ? NULL : &is_rcq);
	snprintf(more, MORE, "cq %s, is_rcq %d", queue_name(cq), is_rcq);

	return ret;
}

static int
do_apply_peer_cfg(const struct arguments *a, char *more)
{
	(void)more;
	SUCCEED(rpma_peer_cfg_set_direct_write_to_pmem(world.pcfg, once_in(2)));

	return rpma_conn_apply_remote_peer_cfg(a->conn, once_in(5) ? NULL : world.pcfg);
}

static int
do_advise(const struct arguments *a, char *more)
{
	const int ret = rpma_mr_advise(world.pair.client.region.mr, a->offsets[0], a->len,
			(int)below(5) - 1, below(3));

	snprintf(more, MORE, "%u bytes", verbs_seen.sge.length);

	return ret;
}

static int
do_next_event(const struct arguments *a, char *more)
{
	enum rpma_conn_event event = UNTOUCHED_INT;
	int ret;

	verbs_fail("rdma_get_cm_event", once_in(2) ? EIO : ENODATA);
	ret = rpma_conn_next_event(a->conn, once_in(5) ? NULL : &event);
	snprintf(more, MORE, "event %d", event);

	return ret;
}

static int
do_descriptors(const struct arguments *a, char *more)
{
	unsigned char desc[32];
	const size_t size = below(sizeof(desc));
	struct rpma_mr_remote *remote = UNTOUCHED_PTR;
	struct rpma_peer_cfg *cfg = UNTOUCHED_PTR;
	bool direct = false;
	size_t len = 77;
	int type = 77;
	char cfg_levels[64];
	int cfg_ret;
	int ret;

	(void)a;
	memset(desc, once_in(3) ? 0 : (int)below(256), sizeof(desc));
	cfg_ret = rpma_peer_cfg_from_descriptor(once_in(9) ? NULL : desc, size, &cfg);
	snprintf(cfg_levels, sizeof(cfg_levels), "%s", levels_of(cfg_ret));
	if (cfg_ret == 0) {
		SUCCEED(rpma_peer_cfg_get_direct_write_to_pmem(cfg, &direct));
		SUCCEED(rpma_peer_cfg_delete(&cfg));
	}
	ret = rpma_mr_remote_from_descriptor(once_in(9) ? NULL : desc, size, once_in(9) ? NULL : &remote);
	if (ret == 0) {
		SUCCEED(rpma_mr_remote_get_size(remote, &len));
		SUCCEED(rpma_mr_remote_get_flush_type(remote, &type));
		SUCCEED(rpma_mr_remote_delete(&remote));
	}
	snprintf(more, MORE, "cfg = %d %s%d, direct %d, remote %d, %zu bytes, type %d",
			cfg_ret, cfg_levels, cfg == UNTOUCHED_PTR, direct, remote == UNTOUCHED_PTR, len, type);

	return ret;
}

/* --- what is printed --- */

/* the region of an address and the offset in it, as addresses differ between runs */
static void
print_place(uint64_t addr)
{
	if (addr - (uintptr_t)world.pair.client.region.mem < 2 * MR_SIZE)
		printf(" here+%d", (int)(addr - (uintptr_t)world.pair.client.region.mem));
	for (size_t i = 0; i < COUNT_OF(usages); i++) {
		if (addr - (uintptr_t)world.regions[i].mem < 2 * MR_SIZE)
			printf(" there[%zu]+%d", i, (int)(addr - (uintptr_t)world.regions[i].mem));
	}
}

static void
print_requests(void)
{
	const struct ibv_send_wr *send = &verbs_seen.send;
	const bool imm = send->opcode == IBV_WR_SEND_WITH_IMM ||
			send->opcode == IBV_WR_RDMA_WRITE_WITH_IMM;

	if (verbs_calls("ibv_post_send")) {
		printf(" send %llu, opcode %d, flags %x, imm %x,", (unsigned long long)send->wr_id,
				send->opcode, send->send_flags, imm ? send->imm_data : 0);
		/* a message has no remote address: the member is not read */
		if (send->opcode != IBV_WR_SEND && send->opcode != IBV_WR_SEND_WITH_IMM)
			print_place(send->wr.rdma.remote_addr);
	}
	if (verbs_calls("ibv_post_recv") || verbs_calls("ibv_post_srq_recv"))
		printf(" recv %llu, %d sge,", (unsigned long long)verbs_seen.recv.wr_id,
				verbs_seen.recv.num_sge);
	if (verbs_seen.sge.length) {
		printf(" %u bytes", verbs_seen.sge.length);
		print_place(verbs_seen.sge.addr);
	}
}

int
main(int argc, char *argv[])
{
	static const struct {
		const char *name;
		int (*call)(const struct arguments *a, char *more);
		const char *spoil;
	} calls[] = {
		{"read", do_read, "ibv_post_send"},
		{"write", do_write, "ibv_post_send"},
		{"write_with_imm", do_write_with_imm, "ibv_post_send"},
		{"atomic_write", do_atomic_write, "ibv_post_send"},
		{"flush", do_flush, "ibv_post_send"},
		{"send", do_send, "ibv_post_send"},
		{"send_with_imm", do_send_with_imm, "ibv_post_send"},
		{"recv", do_recv, "ibv_post_recv"},
		{"srq_recv", do_srq_recv, "ibv_post_srq_recv"},
		{"cq_get_wc", do_get_wc, NULL},
		{"cq_wait", do_cq_wait, NULL},
		{"conn_wait", do_conn_wait, NULL},
		{"conn_apply_remote_peer_cfg", do_apply_peer_cfg, NULL},
		{"mr_advise", do_advise, "ibv_advise_mr"},
		{"conn_next_event", do_next_event, NULL},
		{"descriptors", do_descriptors, NULL},
	};

	if (argc != 3 || device_addr() == NULL) {
		fprintf(stderr, "usage: RXE_ADDR=ADDRESS %s SEED COUNT\n", argv[0]);
		return 2;
	}
	if (!library_is_expected())
		return EXIT_FAILURE;
	seed = (unsigned)atoi(argv[1]);
	make_world();
	SUCCEED(rpma_log_set_function(note_level));
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_LEVEL_DEBUG));
	levels_count = 0;
	for (int i = 0; i < atoi(argv[2]); i++) {
		static const int errors[] = {ENOMEM, EINVAL, EIO};
		const size_t which = below(COUNT_OF(calls));
		const struct arguments a = arguments();
		const int err = ANY_OF(errors);
		char more[MORE] = "";
		bool spoilt = false;
		int error;
		int ret;

		verbs_reset();
		if (once_in(5) && calls[which].spoil) {
			verbs_fail(calls[which].spoil, err);
			spoilt = true;
		}
		errno = 0;
		ret = calls[which].call(&a, more);
		error = errno;
		printf("%d %s = %d %s%s; %s", i, calls[which].name, ret, levels_of(ret), more, verbs_log);
		print_requests();
		/* what fails in this one sets errno, and either library leaves it there */
		if (ret == RPMA_E_PROVIDER && calls[which].call == do_next_event)
			printf(" errno %d", error);
		/* what returns its error leaves errno alone, and so does the original */
		if (ret == RPMA_E_PROVIDER && spoilt && verbs_all_spoilt() && !library_is_original() &&
				error != err)
			printf(" errno %d instead of %d", error, err);
		printf("\n");
	}
	fflush(NULL);
	/* the process goes, and with it all that was made */
	_Exit(0);
}
