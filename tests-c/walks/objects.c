/* SPDX-License-Identifier: BSD-3-Clause */
/* Functions that need no connection: devices, peers, memory, configurations, logging. */
#define _GNU_SOURCE
#include <infiniband/verbs.h>
#include <sys/mman.h>

#include "walk.h"

#define ME "it"

static void
utils(void)
{
	struct ibv_context *ctx = NULL;
	int capable = -1;

	if (STEP(ME, rpma_utils_get_ibv_context(own_addr(), RPMA_UTIL_IBV_CONTEXT_REMOTE, &ctx)) == 0)
		say(ME, "%s", ctx ? "a context" : "none");
	ctx = NULL;
	if (STEP(ME, rpma_utils_get_ibv_context(own_addr(), RPMA_UTIL_IBV_CONTEXT_LOCAL, &ctx)))
		return;
	if (STEP(ME, rpma_utils_ibv_context_is_odp_capable(ctx, &capable)) == 0)
		say(ME, "%d", capable);
	STEP(ME, rpma_utils_get_ibv_context("no such host", RPMA_UTIL_IBV_CONTEXT_LOCAL, &ctx));
	for (int code = 1; code > -12; code--)
		say(ME, "%s", rpma_err_2str(code < 0 ? code + 1 - 100000 : code));
	for (int event = -2; event < 6; event++)
		say(ME, "%s", rpma_utils_conn_event_2str((enum rpma_conn_event)event));
}

static void
log_nothing(enum rpma_log_level level, const char *file, const int line, const char *function,
		const char *format, ...)
{
	(void)level, (void)file, (void)line, (void)function, (void)format;
}

static void
logging(void)
{
	enum rpma_log_level level = RPMA_LOG_DISABLED;

	STEP(ME, rpma_log_set_function(log_nothing));
	STEP(ME, rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_LEVEL_DEBUG));
	if (STEP(ME, rpma_log_get_threshold(RPMA_LOG_THRESHOLD, &level)) == 0)
		say(ME, "%d", level);
	STEP(ME, rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_LEVEL_WARNING));
	STEP(ME, rpma_log_set_function(RPMA_LOG_USE_DEFAULT_FUNCTION));
}

static void
peer_cfg(void)
{
	struct rpma_peer_cfg *cfg = NULL;
	struct rpma_peer_cfg *copy = NULL;
	unsigned char desc[16];
	size_t size = 0;
	bool supported = false;

	if (STEP(ME, rpma_peer_cfg_new(&cfg)))
		return;
	if (STEP(ME, rpma_peer_cfg_get_direct_write_to_pmem(cfg, &supported)) == 0)
		say(ME, "%d", supported);
	STEP(ME, rpma_peer_cfg_set_direct_write_to_pmem(cfg, true));
	if (STEP(ME, rpma_peer_cfg_get_descriptor_size(cfg, &size)) == 0)
		say(ME, "%zu", size);
	if (size <= sizeof(desc) && STEP(ME, rpma_peer_cfg_get_descriptor(cfg, desc)) == 0 &&
			STEP(ME, rpma_peer_cfg_from_descriptor(desc, size, &copy)) == 0) {
		if (STEP(ME, rpma_peer_cfg_get_direct_write_to_pmem(copy, &supported)) == 0)
			say(ME, "%d", supported);
		STEP(ME, rpma_peer_cfg_delete(&copy));
	}
	STEP(ME, rpma_peer_cfg_delete(&cfg));
}

static void
conn_cfg(void)
{
	struct rpma_conn_cfg *cfg = NULL;
	struct rpma_srq *srq = NULL;
	uint32_t size = 0;
	int timeout = 0;
	bool shared = false;

	if (STEP(ME, rpma_conn_cfg_new(&cfg)))
		return;
	STEP(ME, rpma_conn_cfg_set_timeout(cfg, 2500));
	if (STEP(ME, rpma_conn_cfg_get_timeout(cfg, &timeout)) == 0)
		say(ME, "%d", timeout);
	STEP(ME, rpma_conn_cfg_set_cq_size(cfg, 11));
	if (STEP(ME, rpma_conn_cfg_get_cq_size(cfg, &size)) == 0)
		say(ME, "%u", size);
	STEP(ME, rpma_conn_cfg_set_rcq_size(cfg, 12));
	if (STEP(ME, rpma_conn_cfg_get_rcq_size(cfg, &size)) == 0)
		say(ME, "%u", size);
	STEP(ME, rpma_conn_cfg_set_sq_size(cfg, 13));
	if (STEP(ME, rpma_conn_cfg_get_sq_size(cfg, &size)) == 0)
		say(ME, "%u", size);
	STEP(ME, rpma_conn_cfg_set_rq_size(cfg, 14));
	if (STEP(ME, rpma_conn_cfg_get_rq_size(cfg, &size)) == 0)
		say(ME, "%u", size);
	STEP(ME, rpma_conn_cfg_set_compl_channel(cfg, true));
	if (STEP(ME, rpma_conn_cfg_get_compl_channel(cfg, &shared)) == 0)
		say(ME, "%d", shared);
	STEP(ME, rpma_conn_cfg_set_srq(cfg, NULL));
	if (STEP(ME, rpma_conn_cfg_get_srq(cfg, &srq)) == 0)
		say(ME, "%s", srq ? "an SRQ" : "none");
	STEP(ME, rpma_conn_cfg_delete(&cfg));
}

static void
srq_cfg(void)
{
	struct rpma_srq_cfg *cfg = NULL;
	uint32_t size = 0;

	if (STEP(ME, rpma_srq_cfg_new(&cfg)))
		return;
	STEP(ME, rpma_srq_cfg_set_rq_size(cfg, 15));
	if (STEP(ME, rpma_srq_cfg_get_rq_size(cfg, &size)) == 0)
		say(ME, "%u", size);
	STEP(ME, rpma_srq_cfg_set_rcq_size(cfg, 16));
	if (STEP(ME, rpma_srq_cfg_get_rcq_size(cfg, &size)) == 0)
		say(ME, "%u", size);
	STEP(ME, rpma_srq_cfg_delete(&cfg));
}

static void
configurations(void)
{
	peer_cfg();
	conn_cfg();
	srq_cfg();
}

static struct rpma_peer *
new_peer(void)
{
	struct ibv_context *ctx = NULL;
	struct rpma_peer *peer = NULL;

	if (STEP(ME, rpma_utils_get_ibv_context(own_addr(), RPMA_UTIL_IBV_CONTEXT_LOCAL, &ctx)) == 0)
		STEP(ME, rpma_peer_new(ctx, &peer));

	return peer;
}

static void
one_region(struct rpma_peer *peer, char *mem, int usage)
{
	struct rpma_mr_local *mr = NULL;
	struct rpma_mr_remote *remote = NULL;
	unsigned char desc[32];
	size_t size = 0;
	int flush_type = 0;
	void *ptr = NULL;

	say(ME, "usage %#x", usage);
	if (STEP(ME, rpma_mr_reg(peer, mem, MEM_SIZE, usage, &mr)))
		return;
	if (STEP(ME, rpma_mr_get_ptr(mr, &ptr)) == 0)
		say(ME, "%s", ptr == mem ? "the memory" : "something else");
	if (STEP(ME, rpma_mr_get_size(mr, &size)) == 0)
		say(ME, "%zu", size);
	if (STEP(ME, rpma_mr_get_descriptor_size(mr, &size)) == 0)
		say(ME, "%zu", size);
	if (size <= sizeof(desc) && STEP(ME, rpma_mr_get_descriptor(mr, desc)) == 0 &&
			STEP(ME, rpma_mr_remote_from_descriptor(desc, size, &remote)) == 0) {
		if (STEP(ME, rpma_mr_remote_get_size(remote, &size)) == 0)
			say(ME, "%zu", size);
		if (STEP(ME, rpma_mr_remote_get_flush_type(remote, &flush_type)) == 0)
			say(ME, "%#x", flush_type);
		STEP(ME, rpma_mr_remote_delete(&remote));
	}
	STEP(ME, rpma_mr_dereg(&mr));
}

/* each usage alone, some together, one that does not exist */
static void
regions(void)
{
	static _Alignas(4096) char mem[MEM_SIZE];
	struct rpma_peer *peer = new_peer();

	if (peer == NULL)
		return;
	for (int bit = 0; bit < 9; bit++)
		one_region(peer, mem, 1 << bit);
	one_region(peer, mem, RPMA_MR_USAGE_READ_SRC | RPMA_MR_USAGE_WRITE_DST |
			RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT);
	one_region(peer, mem, RPMA_MR_USAGE_SEND | RPMA_MR_USAGE_RECV);
	one_region(peer, mem, 0xff);
	STEP(ME, rpma_peer_delete(&peer));
}

static void
advise(void)
{
	static _Alignas(4096) char mem[MEM_SIZE];
	struct rpma_peer *peer = new_peer();
	struct rpma_mr_local *mr = NULL;

	if (peer == NULL)
		return;
	if (STEP(ME, rpma_mr_reg(peer, mem, MEM_SIZE, RPMA_MR_USAGE_WRITE_DST, &mr)) == 0) {
		STEP(ME, rpma_mr_advise(mr, 0, MEM_SIZE, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
				IBV_ADVISE_MR_FLAG_FLUSH));
		STEP(ME, rpma_mr_advise(mr, 64, 128, IBV_ADVISE_MR_ADVICE_PREFETCH, 0));
		STEP(ME, rpma_mr_advise(mr, 0, MEM_SIZE, 77, 0));
		STEP(ME, rpma_mr_advise(mr, MEM_SIZE, 64, IBV_ADVISE_MR_ADVICE_PREFETCH, 0));
		STEP(ME, rpma_mr_dereg(&mr));
	}
	STEP(ME, rpma_peer_delete(&peer));
}

/* objects of a peer are deleted before it; the wrong order is reported, and leaks the domain only */
static void
peer_first(void)
{
	static _Alignas(4096) char mem[MEM_SIZE];
	struct rpma_peer *peer = new_peer();
	struct rpma_mr_local *mr = NULL;

	if (peer == NULL)
		return;
	STEP(ME, rpma_mr_reg(peer, mem, MEM_SIZE, RPMA_MR_USAGE_READ_SRC, &mr));
	STEP(ME, rpma_peer_delete(&peer));
	DELETE(ME, rpma_mr_dereg, mr);
}

/* shared receive queues alone, with and without a receive CQ */
static void
srqs(void)
{
	static _Alignas(4096) char mem[MEM_SIZE];
	struct rpma_peer *peer = new_peer();
	struct rpma_mr_local *mr = NULL;
	struct rpma_srq_cfg *cfg = NULL;
	struct rpma_srq *srq = NULL;
	struct rpma_cq *rcq = NULL;

	if (peer == NULL)
		return;
	STEP(ME, rpma_mr_reg(peer, mem, MEM_SIZE, RPMA_MR_USAGE_RECV, &mr));
	if (STEP(ME, rpma_srq_new(peer, NULL, &srq)) == 0) {
		if (STEP(ME, rpma_srq_get_rcq(srq, &rcq)) == 0)
			say(ME, "%s RCQ", rcq ? "an" : "no");
		if (mr)
			STEP(ME, rpma_srq_recv(srq, mr, 0, 64, (void *)1));
		STEP(ME, rpma_srq_recv(srq, NULL, 0, 0, (void *)2));
		STEP(ME, rpma_srq_delete(&srq));
	}
	if (STEP(ME, rpma_srq_cfg_new(&cfg)) == 0) {
		STEP(ME, rpma_srq_cfg_set_rcq_size(cfg, 0));
		if (STEP(ME, rpma_srq_new(peer, cfg, &srq)) == 0) {
			rcq = NULL;
			if (STEP(ME, rpma_srq_get_rcq(srq, &rcq)) == 0)
				say(ME, "%s RCQ", rcq ? "an" : "no");
			STEP(ME, rpma_srq_delete(&srq));
		}
		STEP(ME, rpma_srq_cfg_delete(&cfg));
	}
	DELETE(ME, rpma_mr_dereg, mr);
	STEP(ME, rpma_peer_delete(&peer));
}

const struct scenario object_scenarios[] = {
	{"utils", utils},
	{"logging", logging},
	{"configurations", configurations},
	{"regions", regions},
	{"advise", advise},
	{"peer-first", peer_first},
	{"srqs", srqs},
};
const size_t object_scenarios_count = COUNT_OF(object_scenarios);
