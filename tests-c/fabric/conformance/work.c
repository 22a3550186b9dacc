/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests and their completions, and the memory that they are about. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conformance.h"

/* --- requests ---------------------------------------------------------------------------------- */

struct remote
remote_of(const struct end *end, size_t offset)
{
	return (struct remote){.addr = (uint64_t)(uintptr_t)(end->memory + offset), .rkey = end->mr->rkey};
}

void
prepare(struct request *request, const struct end *end, enum ibv_wr_opcode opcode,
		uint64_t wr_id, size_t offset, size_t length, struct remote remote)
{
	memset(request, 0, sizeof(*request));
	request->sge[0].addr = (uint64_t)(uintptr_t)(end->memory + offset);
	request->sge[0].length = (uint32_t)length;
	request->sge[0].lkey = end->mr->lkey;
	request->wr.wr_id = wr_id;
	request->wr.sg_list = request->sge;
	request->wr.num_sge = length ? 1 : 0;
	request->wr.opcode = opcode;
	request->wr.send_flags = IBV_SEND_SIGNALED;
	request->wr.imm_data = htonl(IMMEDIATE);
	request->wr.wr.rdma.remote_addr = remote.addr;
	request->wr.wr.rdma.rkey = remote.rkey;
}

int
post(struct end *end, struct request *request)
{
	struct ibv_send_wr *bad = NULL;

	request->wr.sg_list = request->sge;

	return ibv_post_send(end->qp, &request->wr, &bad);
}

int
post_op(struct end *end, enum ibv_wr_opcode opcode, uint64_t wr_id, size_t offset, size_t length,
		struct remote remote)
{
	struct request request;

	prepare(&request, end, opcode, wr_id, offset, length, remote);

	return post(end, &request);
}

int
post_send(struct end *end, uint64_t wr_id, size_t offset, size_t length)
{
	return post_op(end, IBV_WR_SEND, wr_id, offset, length, (struct remote){0, 0});
}

int
post_recv(struct end *end, uint64_t wr_id, size_t offset, size_t length)
{
	struct ibv_sge sge = {
		.addr = (uint64_t)(uintptr_t)(end->memory + offset),
		.length = (uint32_t)length,
		.lkey = end->mr->lkey,
	};
	struct ibv_recv_wr wr = {.wr_id = wr_id | RECEIVE, .sg_list = &sge, .num_sge = length ? 1 : 0}, *bad;

	return end->srq ? ibv_post_srq_recv(end->srq, &wr, &bad) : ibv_post_recv(end->qp, &wr, &bad);
}

void
post_recvs(struct end *end, uint64_t first, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		NEED(post_recv(end, first + i, 0, end->length));
}

/* --- completions ------------------------------------------------------------------------------- */

bool
take_wc(struct end *end, struct ibv_cq *cq, struct ibv_wc *wc, int ms)
{
	int64_t until = now_ms() + ms;
	bool armed = false;

	for (;;) {
		int count = ibv_poll_cq(cq, 1, wc);
		int64_t left = until - now_ms();

		if (count > 0)
			return true;
		if (count < 0)
			broken("ibv_poll_cq");
		if (left <= 0)
			return false;
		if (!armed) {
			NEED(ibv_req_notify_cq(cq, 0));
			armed = true;
		} else if (readable(end->comp->fd, (int)left)) {
			struct ibv_cq *which;
			void *context;

			NEED(ibv_get_cq_event(end->comp, &which, &context));
			ibv_ack_cq_events(which, 1);
			if (which == cq)
				armed = false;
		}
	}
}

static const char *
flags_text(unsigned flags)
{
	static char text[64];

	text[0] = '\0';
	if (flags & IBV_WC_GRH)
		strcat(text, "+GRH");
	if (flags & IBV_WC_WITH_IMM)
		strcat(text, "+WITH_IMM");
	if (flags & ~(unsigned)(IBV_WC_GRH | IBV_WC_WITH_IMM))
		strcat(text, "+others");

	return text[0] ? text + 1 : "none";
}

static void
describe_wc(const char *step, const struct ibv_wc *wc, const struct ibv_qp *qp)
{
	char immediate[32] = "";

	if (wc->qp_num != qp->qp_num)
		say(step, "of another queue pair");
	if (wc->status != IBV_WC_SUCCESS) {
		say(step, "%s (%" PRIu64 ")", status_name(wc->status), wc->wr_id & ~RECEIVE);
		return;
	}
	/* the sender of an immediate has the flag, but no value */
	if ((wc->wc_flags & IBV_WC_WITH_IMM) && (wc->opcode & IBV_WC_RECV))
		snprintf(immediate, sizeof(immediate), ", immediate 0x%08x", ntohl(wc->imm_data));
	say(step, "SUCCESS (%" PRIu64 "), %s, %u bytes, flags %s%s", wc->wr_id & ~RECEIVE,
			opcode_name(wc->opcode), wc->byte_len, flags_text(wc->wc_flags), immediate);
}

bool
say_wc(const char *step, struct end *end, struct ibv_cq *cq)
{
	struct ibv_wc wc;

	if (!take_wc(end, cq, &wc, wait_ms)) {
		say(step, "nothing came");
		return false;
	}
	describe_wc(step, &wc, end->qp);

	return true;
}

void
say_no_wc(const char *step, struct end *end, struct ibv_cq *cq)
{
	struct ibv_wc wc;

	if (take_wc(end, cq, &wc, quiet_ms))
		describe_wc(step, &wc, end->qp);
	else
		say(step, "none");
}

struct run {
	char text[512];
	size_t used;
	enum ibv_wc_status last;
};

static void
append_wc(struct run *run, const struct ibv_wc *wc)
{
	size_t room = sizeof(run->text) - run->used;

	if (run->used == 0 || wc->status != run->last)
		run->used += (size_t)snprintf(run->text + run->used, room, "%s%s (%" PRIu64,
				run->used ? "), " : "", status_name(wc->status), wc->wr_id & ~RECEIVE);
	else
		run->used += (size_t)snprintf(run->text + run->used, room, " %" PRIu64, wc->wr_id & ~RECEIVE);
	run->last = wc->status;
}

void
say_wcs(const char *step, struct end *end, struct ibv_cq *cq, unsigned count)
{
	struct run requests = {.used = 0}, receives = {.used = 0};
	unsigned seen = 0;
	struct ibv_wc wc;

	while (take_wc(end, cq, &wc, seen < count ? wait_ms : quiet_ms)) {
		struct run *run = wc.wr_id & RECEIVE ? &receives : &requests;

		if (run->used < sizeof(run->text) - 64)
			append_wc(run, &wc);
		seen++;
	}
	if (seen == 0)
		say(step, "none");
	else
		say(step, "%s%s%s%s%s", requests.text, requests.used ? ")" : "",
				requests.used && receives.used ? "; receives " : receives.used ? "receives " : "",
				receives.text, receives.used ? ")" : "");
}

void
need_wc(struct end *end, struct ibv_cq *cq, struct ibv_wc *wc)
{
	struct ibv_wc own;

	if (!wc)
		wc = &own;
	errno = ETIMEDOUT;
	if (!take_wc(end, cq, wc, wait_ms))
		broken("a completion");
	errno = 0;
	if (wc->status != IBV_WC_SUCCESS)
		broken(status_name(wc->status));
}

void
say_state(const char *step, struct ibv_qp *qp)
{
	struct ibv_qp_attr attr;
	struct ibv_qp_init_attr init;
	int ret = ibv_query_qp(qp, &attr, IBV_QP_STATE, &init);

	if (ret)
		say_result(step, ret);
	else
		say(step, "%s", qp_state_name(attr.qp_state));
}

void
say_async(const char *step, struct ibv_context *ctx)
{
	struct ibv_async_event event;

	if (!readable(ctx->async_fd, quiet_ms)) {
		say(step, "none");
		return;
	}
	NEED(ibv_get_async_event(ctx, &event));
	say(step, "%s", async_event_name(event.event_type));
	ibv_ack_async_event(&event);
}

/* --- memory ------------------------------------------------------------------------------------ */

static uint8_t
pattern(size_t i, unsigned seed)
{
	return (uint8_t)((i * 131 + (i >> 8) * 17 + seed * 59 + 1) & 0xff);
}

void
fill(uint8_t *memory, size_t length, unsigned seed)
{
	for (size_t i = 0; i < length; i++)
		memory[i] = pattern(i, seed);
}

void
say_filled(const char *step, const uint8_t *memory, size_t length, unsigned seed)
{
	for (size_t i = 0; i < length; i++)
		if (memory[i] != pattern(i, seed)) {
			say(step, "wrong from byte %zu of %zu", i, length);
			return;
		}
	say(step, "right");
}

void
say_untouched(const char *step, const uint8_t *memory, size_t length, uint8_t byte)
{
	for (size_t i = 0; i < length; i++)
		if (memory[i] != byte) {
			say(step, "changed at byte %zu of %zu", i, length);
			return;
		}
	say(step, "untouched");
}
