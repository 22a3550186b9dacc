/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations that succeed: their completions, and the data. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conformance.h"

static const size_t sizes[] = {0, 1, 8, 4096, MIB};

#define MARGIN ((size_t)64)

/* the operation with each size, from `from` to `to` (a read brings it the other way) */
static void
one_way(struct end *from, struct end *to, enum ibv_wr_opcode opcode, const char *direction)
{
	bool receives = opcode != IBV_WR_RDMA_WRITE && opcode != IBV_WR_RDMA_READ;
	bool rdma = opcode != IBV_WR_SEND && opcode != IBV_WR_SEND_WITH_IMM;
	struct end *source = opcode == IBV_WR_RDMA_READ ? to : from;
	struct end *target = opcode == IBV_WR_RDMA_READ ? from : to;

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		size_t size = sizes[i];

		within("%s, %zu bytes", direction, size);
		fill(source->memory + MARGIN, size, (unsigned)i);
		memset(target->memory, 0xee, target->length);
		if (receives)
			NEED(post_recv(to, 100 + i, rdma ? 0 : MARGIN, rdma ? 0 : to->length - MARGIN));
		if (say_result("post", post_op(from, opcode, i, MARGIN, size, remote_of(to, MARGIN))))
			continue;
		say_wc("completion", from, from->cq);
		if (receives)
			say_wc("receive", to, to->cq);
		say_filled("data", target->memory + MARGIN, size, (unsigned)i);
		/* what is after it comes next to what is before it */
		memmove(target->memory + MARGIN, target->memory + MARGIN + size, MARGIN);
		say_untouched("bytes around it", target->memory, 2 * MARGIN, 0xee);
	}
	within(NULL);
}

static void
operation(enum ibv_wr_opcode opcode)
{
	struct setup setup = usual();
	struct pair pair = {0};

	setup.length = MIB + 2 * MARGIN;
	connect_pair(&pair, &setup);
	one_way(&pair.client, &pair.server, opcode, "client to server");
	one_way(&pair.server, &pair.client, opcode, "server to client");
	say_no_wc("more completions at the client", &pair.client, pair.client.cq);
	say_no_wc("more completions at the server", &pair.server, pair.server.cq);
}

static void
op_send(void)
{
	operation(IBV_WR_SEND);
}

static void
op_send_with_imm(void)
{
	operation(IBV_WR_SEND_WITH_IMM);
}

static void
op_write(void)
{
	operation(IBV_WR_RDMA_WRITE);
}

static void
op_write_with_imm(void)
{
	operation(IBV_WR_RDMA_WRITE_WITH_IMM);
}

static void
op_read(void)
{
	operation(IBV_WR_RDMA_READ);
}

/* an SGE of no length is not the same as no SGE */
static void
empty_sges(void)
{
	static const enum ibv_wr_opcode opcodes[] = {IBV_WR_SEND, IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ};
	static const char *const names[] = {"send", "write", "read"};
	struct setup setup = usual();

	for (size_t i = 0; i < COUNT_OF(opcodes); i++) {
		struct pair pair = {0};
		struct request request;

		connect_pair(&pair, &setup);
		within("%s", names[i]);
		NEED(post_recv(&pair.server, 1, 0, 8));
		prepare(&request, &pair.client, opcodes[i], 2, 0, 0, remote_of(&pair.server, 0));
		request.wr.num_sge = 1;
		say_result("an SGE of length 0", post(&pair.client, &request));
		say_wc("completion", &pair.client, pair.client.cq);
		if (opcodes[i] == IBV_WR_SEND)
			say_wc("receive", &pair.server, pair.server.cq);
		prepare(&request, &pair.client, opcodes[i], 3, 0, 0, (struct remote){0, 0});
		NEED(post_recv(&pair.server, 4, 0, 8));
		say_result("no SGE, remote address and key 0", post(&pair.client, &request));
		say_wc("its completion", &pair.client, pair.client.cq);
	}
}

static void
several_sges(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct request request;
	struct ibv_recv_wr recv, *bad;
	struct ibv_sge scatter[4];
	uint8_t *from, *to;

	setup.sges = 3;
	connect_pair(&pair, &setup);
	from = pair.client.memory;
	to = pair.server.memory;
	fill(from, 300, 1);
	memset(to, 0xee, pair.server.length);

	/* 100 + 10 + 190 bytes, from places in another order */
	prepare(&request, &pair.client, IBV_WR_RDMA_WRITE, 1, 0, 100, remote_of(&pair.server, 0));
	request.wr.num_sge = 3;
	request.sge[1] = request.sge[2] = request.sge[0];
	memcpy(from + 4096, from + 100, 10);
	memset(from + 100, 0, 10);
	request.sge[1].addr += 4096;
	request.sge[1].length = 10;
	request.sge[2].addr += 110;
	request.sge[2].length = 190;
	say_result("write from three places", post(&pair.client, &request));
	say_wc("its completion", &pair.client, pair.client.cq);
	say_filled("data written", to, 300, 1);
	say_untouched("what follows", to + 300, 100, 0xee);

	for (int i = 0; i < 4; i++)
		scatter[i] = (struct ibv_sge){
			.addr = (uint64_t)(uintptr_t)(to + 1000 + (size_t)(i < 3 ? 2 - i : 3) * 1000),
			.length = i == 0 ? 7 : i == 1 ? 200 : 400,
			.lkey = pair.server.mr->lkey,
		};
	recv = (struct ibv_recv_wr){.wr_id = 2, .sg_list = scatter, .num_sge = 3};
	NEED(ibv_post_recv(pair.server.qp, &recv, &bad));
	request.wr.opcode = IBV_WR_SEND;
	request.wr.wr_id = 3;
	say_result("send from three places", post(&pair.client, &request));
	say_wc("its completion", &pair.client, pair.client.cq);
	say_wc("receive into three places", &pair.server, pair.server.cq);
	memcpy(to, to + 3000, 7);
	memcpy(to + 7, to + 2000, 200);
	memcpy(to + 207, to + 1000, 93);
	say_filled("data received", to, 300, 1);
	say_untouched("what follows in the last place", to + 1093, 307, 0xee);

	memset(from, 0xdd, pair.client.length);
	request.wr.opcode = IBV_WR_RDMA_READ;
	request.wr.wr_id = 4;
	say_result("read into three places", post(&pair.client, &request));
	say_wc("its completion", &pair.client, pair.client.cq);
	memcpy(from + 100, from + 4096, 10);
	say_filled("data read", from, 300, 1);
	say_untouched("what follows there", from + 300, 100, 0xdd);

	request.wr.num_sge = 4;
	request.sge[3] = request.sge[2];
	say_result("a send request of four SGEs", post(&pair.client, &request));
	recv.num_sge = 4;
	say_result("a receive of four SGEs", ibv_post_recv(pair.server.qp, &recv, &bad));
	say_wcs("completions at the client", &pair.client, pair.client.cq, 0);
	say_wcs("completions at the server", &pair.server, pair.server.cq, 0);
}

static void
receive_without_sge(void)
{
	struct setup setup = usual();
	struct pair pair = {0};

	connect_pair(&pair, &setup);
	NEED(post_recv(&pair.server, 1, 0, 0));
	NEED(post_recv(&pair.server, 2, 0, 0));
	NEED(post_op(&pair.client, IBV_WR_SEND_WITH_IMM, 3, 0, 0, (struct remote){0, 0}));
	say_wc("empty send with immediate", &pair.client, pair.client.cq);
	say_wc("its receive", &pair.server, pair.server.cq);
	NEED(post_op(&pair.client, IBV_WR_RDMA_WRITE_WITH_IMM, 4, 0, 8192, remote_of(&pair.server, 0)));
	say_wc("write with immediate", &pair.client, pair.client.cq);
	say_wc("its receive, which has no memory", &pair.server, pair.server.cq);
}

static void
unsignalled(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct request request;

	connect_pair(&pair, &setup);
	fill(pair.client.memory, pair.client.length, 7);
	for (unsigned i = 0; i < 9; i++) {
		prepare(&request, &pair.client, IBV_WR_RDMA_WRITE, i, i * 8, 8, remote_of(&pair.server, i * 8));
		request.wr.send_flags = i == 8 ? IBV_SEND_SIGNALED : 0;
		NEED(post(&pair.client, &request));
	}
	say_wcs("8 unsignalled writes and a signalled one", &pair.client, pair.client.cq, 1);
	say_filled("data", pair.server.memory, 72, 7);

	post_recvs(&pair.server, 100, 4);
	for (unsigned i = 0; i < 4; i++) {
		prepare(&request, &pair.client, IBV_WR_SEND, 10 + i, 0, 8, (struct remote){0, 0});
		request.wr.send_flags = i == 3 ? IBV_SEND_SIGNALED : 0;
		NEED(post(&pair.client, &request));
	}
	say_wcs("3 unsignalled sends and a signalled one", &pair.client, pair.client.cq, 1);
	say_wcs("their receives", &pair.server, pair.server.cq, 4);

	for (unsigned i = 0; i < 4; i++) {
		prepare(&request, &pair.client, IBV_WR_RDMA_READ, 20 + i, 0, 8, remote_of(&pair.server, 0));
		request.wr.send_flags = i == 3 ? IBV_SEND_SIGNALED : 0;
		NEED(post(&pair.client, &request));
	}
	say_wcs("3 unsignalled reads and a signalled one", &pair.client, pair.client.cq, 1);
}

/* far more than the queue holds, with a signalled one now and then, as the verbs want it */
static void
unsignalled_run(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct request request;
	unsigned good = 0;

	connect_pair(&pair, &setup);
	for (unsigned i = 1; i <= 400; i++) {
		bool signalled = i % 8 == 0;
		struct ibv_wc wc;

		*(uint32_t *)pair.client.memory = i;
		prepare(&request, &pair.client, IBV_WR_RDMA_WRITE, i, 0, 4, remote_of(&pair.server, i % 8 * 4));
		request.wr.send_flags = signalled ? IBV_SEND_SIGNALED : 0;
		NEED(post(&pair.client, &request));
		if (signalled) {
			need_wc(&pair.client, pair.client.cq, &wc);
			good += wc.wr_id == i && *(uint32_t *)pair.server.memory == i;
		}
	}
	say("signalled writes that came at last and completed", "%u of 50", good);
}

static void
signal_all(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct request request;

	setup.signal_all = true;
	connect_pair(&pair, &setup);
	for (unsigned i = 0; i < 3; i++) {
		prepare(&request, &pair.client, IBV_WR_RDMA_WRITE, i, 0, 8, remote_of(&pair.server, 0));
		request.wr.send_flags = 0;
		NEED(post(&pair.client, &request));
	}
	say_wcs("3 writes without the flag", &pair.client, pair.client.cq, 3);
}

static void
chains(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct request requests[4];
	struct ibv_send_wr *bad = NULL;
	struct ibv_recv_wr receives[3], *bad_recv = NULL;
	struct ibv_sge sges[2];
	int ret;

	connect_pair(&pair, &setup);
	fill(pair.client.memory, 4096, 5);
	for (unsigned i = 0; i < 4; i++) {
		prepare(&requests[i], &pair.client, IBV_WR_RDMA_WRITE, i, i * 16, 16,
				remote_of(&pair.server, i * 16));
		requests[i].wr.next = i < 3 ? &requests[i + 1].wr : NULL;
	}
	say_result("a chain of 4 writes", ibv_post_send(pair.client.qp, &requests[0].wr, &bad));
	say_wcs("its completions", &pair.client, pair.client.cq, 4);
	say_filled("data", pair.server.memory, 64, 5);

	/* the second for the receive that is one too long below */
	sges[0] = sges[1] = (struct ibv_sge){.addr = (uint64_t)(uintptr_t)pair.server.memory,
			.length = 64, .lkey = pair.server.mr->lkey};
	for (unsigned i = 0; i < 3; i++)
		receives[i] = (struct ibv_recv_wr){.wr_id = 100 + i, .sg_list = sges, .num_sge = 1,
				.next = i < 2 ? &receives[i + 1] : NULL};
	say_result("a chain of 3 receives", ibv_post_recv(pair.server.qp, receives, &bad_recv));
	for (unsigned i = 0; i < 3; i++)
		NEED(post_send(&pair.client, 10 + i, 0, 8));
	say_wcs("their completions", &pair.server, pair.server.cq, 3);
	say_wcs("completions of the sends", &pair.client, pair.client.cq, 3);

	/* the third cannot be posted: the first two are */
	memset(pair.server.memory, 0, 64);
	requests[2].wr.num_sge = 2;
	requests[2].sge[1] = requests[2].sge[0];
	ret = ibv_post_send(pair.client.qp, &requests[0].wr, &bad);
	say_result("a chain with a bad third", ret);
	say("the bad one", "%s", bad == &requests[2].wr ? "the third" : "another");
	say_wcs("completions of what came before", &pair.client, pair.client.cq, 2);
	receives[1].num_sge = 2;
	ret = ibv_post_recv(pair.server.qp, receives, &bad_recv);
	say_result("a chain of receives with a bad second", ret);
	say("the bad receive", "%s", bad_recv == &receives[1] ? "the second" : "another");
	NEED(post_send(&pair.client, 20, 0, 8));
	say_wcs("receives that were posted", &pair.server, pair.server.cq, 1);
}

static void
inline_data(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct request request;
	struct ibv_qp_attr attr;
	struct ibv_qp_init_attr init;
	uint8_t local[4096];

	setup.inline_size = 32;
	connect_pair(&pair, &setup);
	NEED(ibv_query_qp(pair.client.qp, &attr, IBV_QP_CAP, &init));
	say("room for inline data", "%s", init.cap.max_inline_data >= 32 ? "at least what was asked for" : "too little");

	/* from memory that is not registered, and that may change once the post has returned */
	fill(local, sizeof(local), 3);
	prepare(&request, &pair.client, IBV_WR_RDMA_WRITE, 1, 0, 32, remote_of(&pair.server, 0));
	request.sge[0].addr = (uint64_t)(uintptr_t)local;
	request.sge[0].lkey = 0;
	request.wr.send_flags |= IBV_SEND_INLINE;
	say_result("write of 32 bytes", post(&pair.client, &request));
	memset(local, 0, 32);
	say_wc("its completion", &pair.client, pair.client.cq);
	say_filled("data", pair.server.memory, 32, 3);

	fill(local, sizeof(local), 4);
	NEED(post_recv(&pair.server, 2, 64, 64));
	request.wr.opcode = IBV_WR_SEND_WITH_IMM;
	request.wr.wr_id = 3;
	request.sge[0].length = 8;
	say_result("send of 8 bytes", post(&pair.client, &request));
	memset(local, 0, 32);
	say_wc("its completion", &pair.client, pair.client.cq);
	say_wc("its receive", &pair.server, pair.server.cq);
	say_filled("its data", pair.server.memory + 64, 8, 4);

	request.wr.opcode = IBV_WR_RDMA_WRITE;
	request.wr.wr_id = 4;
	request.wr.num_sge = 0;
	say_result("write of nothing", post(&pair.client, &request));
	say_wc("its completion", &pair.client, pair.client.cq);

	request.wr.num_sge = 1;
	request.sge[0].length = 4096;
	say_result("write of 4096 bytes", post(&pair.client, &request));
	request.sge[0].length = 8;
	request.wr.opcode = IBV_WR_RDMA_READ;
	say_result("inline read", post(&pair.client, &request));
}

static void
no_inline_data(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct request request;

	connect_pair(&pair, &setup);
	prepare(&request, &pair.client, IBV_WR_RDMA_WRITE, 1, 0, 4096, remote_of(&pair.server, 0));
	request.wr.send_flags |= IBV_SEND_INLINE;
	say_result("inline write on a queue pair without", post(&pair.client, &request));
}

/* the send may take what the read brought */
static void
fence(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct request request;
	unsigned good = 0;

	setup.length = 128 * 1024;
	connect_pair(&pair, &setup);
	for (unsigned round = 0; round < 5; round++) {
		fill(pair.server.memory, 65536, round);
		memset(pair.client.memory, 0xcc, pair.client.length);
		memset(pair.server.memory + 65536, 0xcc, 65536);
		NEED(post_recv(&pair.server, round, 65536, 65536));
		prepare(&request, &pair.client, IBV_WR_RDMA_READ, 10, 0, 65536, remote_of(&pair.server, 0));
		NEED(post(&pair.client, &request));
		prepare(&request, &pair.client, IBV_WR_SEND, 11, 0, 65536, (struct remote){0, 0});
		request.wr.send_flags |= IBV_SEND_FENCE;
		NEED(post(&pair.client, &request));
		need_wc(&pair.client, pair.client.cq, NULL);
		need_wc(&pair.client, pair.client.cq, NULL);
		need_wc(&pair.server, pair.server.cq, NULL);
		good += memcmp(pair.server.memory, pair.server.memory + 65536, 65536) == 0;
	}
	say("fenced sends with what the read before brought", "%u of 5", good);

	/* and a fenced write does not change what is still being read */
	good = 0;
	for (unsigned round = 0; round < 5; round++) {
		fill(pair.server.memory, 65536, round);
		memset(pair.client.memory, 0xcc, pair.client.length);
		NEED(post_op(&pair.client, IBV_WR_RDMA_READ, 12, 0, 65536, remote_of(&pair.server, 0)));
		prepare(&request, &pair.client, IBV_WR_RDMA_WRITE, 13, 65536, 65536, remote_of(&pair.server, 0));
		request.wr.send_flags |= IBV_SEND_FENCE;
		NEED(post(&pair.client, &request));
		need_wc(&pair.client, pair.client.cq, NULL);
		need_wc(&pair.client, pair.client.cq, NULL);
		fill(pair.server.memory + 65536, 65536, round);
		good += memcmp(pair.client.memory, pair.server.memory + 65536, 65536) == 0;
	}
	say("reads with what was there before a fenced write", "%u of 5", good);
}

static void
many_reads(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	unsigned in_order = 0;
	struct ibv_wc wc;

	setup.length = 65536;
	connect_pair(&pair, &setup);
	fill(pair.server.memory, 65536, 9);
	for (unsigned i = 0; i < 15; i++)
		NEED(post_op(&pair.client, IBV_WR_RDMA_READ, i, i * 4096, 4096, remote_of(&pair.server, i * 4096)));
	for (unsigned i = 0; i < 15; i++) {
		need_wc(&pair.client, pair.client.cq, &wc);
		in_order += wc.wr_id == i;
	}
	say("reads that completed in order", "%u of 15", in_order);
	say_filled("data", pair.client.memory, 15 * 4096, 9);
}

/* a read after a write sees it; completions of all kinds keep their order */
static void
order(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct remote remote;

	connect_pair(&pair, &setup);
	remote = remote_of(&pair.server, 0);
	fill(pair.client.memory, 1024, 6);
	/* away from what is read: without a fence a send may overtake the read before it */
	NEED(post_recv(&pair.server, 100, 6144, 8));
	NEED(post_recv(&pair.server, 101, 6144, 8));
	NEED(post_op(&pair.client, IBV_WR_RDMA_WRITE, 1, 0, 1024, remote));
	NEED(post_op(&pair.client, IBV_WR_RDMA_READ, 2, 2048, 1024, remote));
	NEED(post_op(&pair.client, IBV_WR_SEND, 3, 4096, 1, (struct remote){0, 0}));
	NEED(post_op(&pair.client, IBV_WR_RDMA_WRITE_WITH_IMM, 4, 0, 8, remote_of(&pair.server, 4096)));
	NEED(post_op(&pair.client, IBV_WR_RDMA_READ, 5, 4096, 8, remote_of(&pair.server, 4096)));
	say_wcs("completions", &pair.client, pair.client.cq, 5);
	say_filled("what the read after the write brought", pair.client.memory + 2048, 1024, 6);
	say_filled("what the last read brought", pair.client.memory + 4096, 8, 6);
	say_wc("first receive", &pair.server, pair.server.cq);
	say_wc("second receive", &pair.server, pair.server.cq);
}

/* a connection of a device with itself, and memory that is both ends' */
static void
same_memory(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct ibv_mr *mr;

	connect_pair(&pair, &setup);
	NEED_POINTER(mr, ibv_reg_mr(pair.server.pd, pair.client.memory, pair.client.length, ALL_ACCESS));
	fill(pair.client.memory, 2048, 8);
	say_result("write within one memory", post_op(&pair.client, IBV_WR_RDMA_WRITE, 1, 0, 2048,
			(struct remote){(uint64_t)(uintptr_t)pair.client.memory + 4096, mr->rkey}));
	say_wc("completion", &pair.client, pair.client.cq);
	say_filled("data", pair.client.memory + 4096, 2048, 8);
}

static void
wc_fields(void)
{
	struct setup setup = usual();
	struct pair pair = {0};
	struct ibv_wc wc;

	connect_pair(&pair, &setup);
	NEED(post_recv(&pair.server, 0x1122334455667788, 0, 64));
	NEED(post_op(&pair.client, IBV_WR_SEND_WITH_IMM, 0xffffffffffffffff, 0, 8, (struct remote){0, 0}));
	memset(&wc, 0xff, sizeof(wc));
	need_wc(&pair.client, pair.client.cq, &wc);
	within("send");
	say("wr_id", "%s", wc.wr_id == 0xffffffffffffffff ? "as given" : "another");
	say("vendor error", "%u", wc.vendor_err);
	say("queue pair", "%s", wc.qp_num == pair.client.qp->qp_num ? "its own" : "another");
	say("source queue pair", "%s", wc.src_qp == 0 ? "0" : "another");
	within("receive");
	memset(&wc, 0xff, sizeof(wc));
	need_wc(&pair.server, pair.server.cq, &wc);
	say("wr_id", "%s", wc.wr_id == (0x1122334455667788 | RECEIVE) ? "as given" : "another");
	say("vendor error", "%u", wc.vendor_err);
	say("queue pair", "%s", wc.qp_num == pair.server.qp->qp_num ? "its own" : "another");
	say("bytes of the immediate", "%02x %02x %02x %02x", ((uint8_t *)&wc.imm_data)[0],
			((uint8_t *)&wc.imm_data)[1], ((uint8_t *)&wc.imm_data)[2], ((uint8_t *)&wc.imm_data)[3]);
}

const struct test_case data_cases[] = {
	{.name = "send", .run = op_send},
	{.name = "send-with-immediate", .run = op_send_with_imm},
	{.name = "write", .run = op_write},
	{.name = "write-with-immediate", .run = op_write_with_imm},
	{.name = "read", .run = op_read},
	{.name = "empty-sges", .run = empty_sges},
	{.name = "several-sges", .run = several_sges},
	{.name = "receive-without-sge", .run = receive_without_sge},
	{.name = "unsignalled", .run = unsignalled},
	{.name = "unsignalled-run", .run = unsignalled_run},
	{.name = "signal-all", .run = signal_all},
	{.name = "chains", .run = chains},
	{.name = "inline", .run = inline_data},
	{.name = "inline-not-asked-for", .run = no_inline_data},
	{.name = "fence", .run = fence},
	{.name = "many-reads", .run = many_reads},
	{.name = "order", .run = order},
	{.name = "same-memory", .run = same_memory},
	{.name = "completion-fields", .run = wc_fields},
	{0},
};
