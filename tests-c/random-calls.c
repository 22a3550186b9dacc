/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * random-calls SEED COUNT: calls with random arguments, good and bad, some with a call of verbs that
 * fails. Prints of each what it returned, what it asked of the device, and what it left in the
 * out-parameters. With the same seed either library prints the same: see run-random.
 *
 * Arguments of the listed differences are not among them.
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

	/* big enough for all calls: nothing of them completes a second time */
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

/* --- calls: each returns its code, and writes the rest of what it has to say to `more` --- */

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

#define MORE 128

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
	const struct ibv_wc given = {.wr_id = (uintptr_t)a->context};
	struct rpma_cq *cq = once_in(9) ? NULL : world.pair.client.cq;
	struct ibv_wc wc[4] = {{.wr_id = 77}};
	int got = 77;
	int ret;

	if (once_in(2))
		verbs_fail("ibv_poll_cq", (int)below(6) - 2);
	else
		verbs_give_wc(&given);
	ret = rpma_cq_get_wc(cq, (int)below(6) - 1, once_in(9) ? NULL : wc, once_in(2) ? NULL : &got);
	snprintf(more, MORE, "got %d, id %llu", got, (unsigned long long)wc[0].wr_id);

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

static int
do_conn_wait(const struct arguments *a, char *more)
{
	struct rpma_cq *cq = UNTOUCHED_PTR;
	bool is_rcq = true;
	int ret;

	verbs_fail("ibv_get_cq_event", EAGAIN);
	ret = rpma_conn_wait(a->conn, a->flags, once_in(4) ? NULL : &cq, once_in(3) ? NULL : &is_rcq);
	snprintf(more, MORE, "cq %d, is_rcq %d", cq == UNTOUCHED_PTR, is_rcq);

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
	int ret;

	(void)a;
	memset(desc, once_in(3) ? 0 : (int)below(256), sizeof(desc));
	if (rpma_peer_cfg_from_descriptor(once_in(9) ? NULL : desc, size, &cfg) == 0) {
		SUCCEED(rpma_peer_cfg_get_direct_write_to_pmem(cfg, &direct));
		SUCCEED(rpma_peer_cfg_delete(&cfg));
	}
	ret = rpma_mr_remote_from_descriptor(once_in(9) ? NULL : desc, size, once_in(9) ? NULL : &remote);
	if (ret == 0) {
		SUCCEED(rpma_mr_remote_get_size(remote, &len));
		SUCCEED(rpma_mr_remote_get_flush_type(remote, &type));
		SUCCEED(rpma_mr_remote_delete(&remote));
	}
	snprintf(more, MORE, "cfg %d, direct %d, remote %d, %zu bytes, type %d", cfg == UNTOUCHED_PTR,
			direct, remote == UNTOUCHED_PTR, len, type);

	return ret;
}

/* --- what is printed --- */

/* where an address lies, without saying where that is */
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
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_DISABLED));
	for (int i = 0; i < atoi(argv[2]); i++) {
		static const int errors[] = {ENOMEM, EINVAL, EIO};
		const size_t which = below(COUNT_OF(calls));
		const struct arguments a = arguments();
		const int err = ANY_OF(errors);
		char more[MORE] = "";
		int ret;

		verbs_reset();
		if (once_in(5) && calls[which].spoil)
			verbs_fail(calls[which].spoil, err);
		ret = calls[which].call(&a, more);
		printf("%d %s = %d %s; %s", i, calls[which].name, ret, more, verbs_log);
		print_requests();
		printf("\n");
	}
	fflush(NULL);
	/* the process goes, and with it all that was made */
	_Exit(0);
}
