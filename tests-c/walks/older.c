/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The five functions that release 1.2.0 no longer has. With the original the same program uses the functions that
 * replaced them (MODERN).
 */
#include "walk.h"
#ifdef MODERN
#include "older.h"
#endif

static void
say_completion(const char *who, const struct rpma_completion *cmpl)
{
	say(who, "%d: op %d, %u bytes, status %d", (int)(uintptr_t)cmpl->op_context, cmpl->op,
			cmpl->byte_len, cmpl->op_status);
}

static void
conn_completion(struct side *side)
{
	struct rpma_completion cmpl = {0};
	int fd;

	if (STEP(side->who, rpma_conn_get_completion_fd(side->conn, &fd)) || !readable(side->who, fd))
		return;
	if (STEP(side->who, rpma_conn_completion_wait(side->conn)) == 0 &&
			STEP(side->who, rpma_conn_completion_get(side->conn, &cmpl)) == 0)
		say_completion(side->who, &cmpl);
}

static void
cq_completion(struct side *side)
{
	struct rpma_completion cmpl = {0};
	int fd;

	if (STEP(side->who, rpma_cq_get_fd(side->cq, &fd)) || !readable(side->who, fd))
		return;
	if (STEP(side->who, rpma_cq_wait(side->cq)) == 0 &&
			STEP(side->who, rpma_cq_get_completion(side->cq, &cmpl)) == 0)
		say_completion(side->who, &cmpl);
}

static void
older(void)
{
	struct pair pair;
	struct side *const c = &pair.client;
	const struct plan plan = {0};

	if (pair_prepare(&pair) && pair_request(&pair, &plan) && pair_answer(&pair, &plan)) {
		strcpy(c->mem, "8 bytes");
		if (STEP("client", rpma_write_atomic(c->conn, c->remote, 8, c->mr, 0,
				RPMA_F_COMPLETION_ALWAYS, (void *)1)) == 0)
			conn_completion(c);
		say("server", "%s", pair.server.mem + 8);
		if (STEP("server", rpma_recv(pair.server.conn, pair.server.mr, 64, 8, (void *)2)) == 0 &&
				STEP("client", rpma_send_with_imm(c->conn, c->mr, 0, 8,
						RPMA_F_COMPLETION_ALWAYS, 7, (void *)3)) == 0) {
			cq_completion(c);
			conn_completion(&pair.server);
		}
	}
	pair_disconnect(&pair);
	pair_release(&pair);
}

int
main(int argc, char *argv[])
{
	static const struct scenario all[] = {{"older", older}};

	return walk_main(all, COUNT_OF(all), argc, argv);
}
