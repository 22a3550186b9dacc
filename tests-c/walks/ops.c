/* SPDX-License-Identifier: BSD-3-Clause */
/* Every operation, also without data, and operations that fail. */
#include "walk.h"

/* not macros, as steps are printed as they are written here */
enum {
	ALWAYS = RPMA_F_COMPLETION_ALWAYS,
	ON_ERROR = RPMA_F_COMPLETION_ON_ERROR,
};

static bool
connect_pair(struct pair *pair)
{
	const struct plan plan = {0};

	return pair_prepare(pair) && pair_request(pair, &plan) && pair_answer(pair, &plan);
}

static void
end(struct pair *pair)
{
	pair_disconnect(pair);
	pair_release(pair);
}

/*
 * Waits for the completion of an operation, if it was posted. After a failure to get one, the next completion may
 * belong to an earlier operation: then no more are waited for.
 */
static bool
completed(struct side *side, int posted)
{
	if (posted || side->lost)
		return false;
	side->lost = !completion(side->who, side->cq);

	return !side->lost;
}

static void
one_sided(void)
{
	struct pair pair;
	struct side *const c = &pair.client;
	struct side *const s = &pair.server;

	if (connect_pair(&pair)) {
		strcpy(c->mem, "written");
		if (completed(c, STEP("client", rpma_write(c->conn, c->remote, 64, c->mr, 0, 8, ALWAYS,
				(void *)1))))
			say("server", "%s", s->mem + 64);
		strcpy(s->mem + 128, "read");
		if (completed(c, STEP("client", rpma_read(c->conn, c->mr, 256, c->remote, 128, 8, ALWAYS,
				(void *)2))))
			say("client", "%s", c->mem + 256);
		completed(c, STEP("client", rpma_write(c->conn, NULL, 0, NULL, 0, 0, ALWAYS, (void *)3)));
		completed(c, STEP("client", rpma_read(c->conn, NULL, 0, NULL, 0, 0, ALWAYS, (void *)4)));
		/* the completion of the second one implies that of the first */
		STEP("client", rpma_write(c->conn, c->remote, 512, c->mr, 0, 8, ON_ERROR, (void *)5));
		completed(c, STEP("client", rpma_write(c->conn, c->remote, 520, c->mr, 0, 8, ALWAYS, (void *)6)));
		/* the server may start operations as well */
		if (completed(s, STEP("server", rpma_read(s->conn, s->mr, 1024, s->remote, 0, 8, ALWAYS,
				(void *)7))))
			say("server", "%s", s->mem + 1024);
	}
	end(&pair);
}

static void
atomic_writes(void)
{
	struct pair pair;
	struct side *const c = &pair.client;

	if (connect_pair(&pair)) {
		if (completed(c, STEP("client", rpma_atomic_write(c->conn, c->remote, 8, "8 bytes", ALWAYS,
				(void *)1))))
			say("server", "%s", pair.server.mem + 8);
		STEP("client", rpma_atomic_write(c->conn, c->remote, 16, "another", ON_ERROR, (void *)2));
		STEP("client", rpma_atomic_write(c->conn, c->remote, 12, "no place", ALWAYS, (void *)3));
		if (completed(c, STEP("client", rpma_atomic_write(c->conn, c->remote, 24, "a third", ALWAYS,
				(void *)4))))
			say("server", "%s, %s", pair.server.mem + 16, pair.server.mem + 24);
	}
	end(&pair);
}

static void
flushes(void)
{
	struct pair pair;
	struct side *const c = &pair.client;
	struct rpma_peer_cfg *cfg = NULL;

	if (connect_pair(&pair)) {
		STEP("client", rpma_write(c->conn, c->remote, 0, c->mr, 0, 64, ON_ERROR, (void *)1));
		completed(c, STEP("client", rpma_flush(c->conn, c->remote, 0, 64, RPMA_FLUSH_TYPE_VISIBILITY, ALWAYS,
				(void *)2)));
		STEP("client", rpma_flush(c->conn, c->remote, 0, 64, RPMA_FLUSH_TYPE_PERSISTENT, ALWAYS,
				(void *)3));
		if (STEP("client", rpma_peer_cfg_new(&cfg)) == 0) {
			STEP("client", rpma_peer_cfg_set_direct_write_to_pmem(cfg, true));
			STEP("client", rpma_conn_apply_remote_peer_cfg(c->conn, cfg));
			STEP("client", rpma_peer_cfg_delete(&cfg));
			completed(c, STEP("client", rpma_flush(c->conn, c->remote, 0, 64, RPMA_FLUSH_TYPE_PERSISTENT,
					ALWAYS, (void *)4)));
			STEP("client", rpma_flush(c->conn, c->remote, 8, 0, RPMA_FLUSH_TYPE_PERSISTENT,
					ON_ERROR, (void *)5));
			completed(c, STEP("client", rpma_flush(c->conn, c->remote, 0, 8, RPMA_FLUSH_TYPE_VISIBILITY,
					ALWAYS, (void *)6)));
		}
	}
	end(&pair);
}

/* the server posts a receive for a message of this length */
static bool
receives(const struct side *side, size_t len)
{
	struct rpma_mr_local *mr = len ? side->mr : NULL;

	return STEP(side->who, rpma_recv(side->conn, mr, 0, len, (void *)100)) == 0;
}

/* waits until the client's message has arrived */
static void
received(struct pair *pair, int posted)
{
	if (completed(&pair->client, posted))
		completed(&pair->server, posted);
}

static void
messages(void)
{
	struct pair pair;
	struct side *const c = &pair.client;
	struct side *const s = &pair.server;

	if (connect_pair(&pair)) {
		if (receives(s, 64))
			received(&pair, STEP("client", rpma_send(c->conn, c->mr, 0, 32, ALWAYS, (void *)1)));
		if (receives(s, 64))
			received(&pair, STEP("client", rpma_send_with_imm(c->conn, c->mr, 8, 16, ALWAYS, 0x01020304, (void *)2)));
		if (receives(s, 0))
			received(&pair, STEP("client", rpma_send(c->conn, NULL, 0, 0, ALWAYS, (void *)3)));
		if (receives(s, 0))
			received(&pair, STEP("client", rpma_send_with_imm(c->conn, NULL, 0, 0, ALWAYS, 5, (void *)4)));
		if (receives(s, 0))
			received(&pair, STEP("client", rpma_write_with_imm(c->conn, c->remote, 64, c->mr, 0, 32, ALWAYS,
				0xf0f1f2f3, (void *)5)));
		if (receives(s, 0))
			received(&pair, STEP("client", rpma_write_with_imm(c->conn, NULL, 0, NULL, 0, 0, ALWAYS, 7, (void *)6)));
	}
	end(&pair);
}

/* many completions at once, and empty queues */
static void
completions(void)
{
	struct pair pair;
	struct side *const c = &pair.client;
	struct side *const s = &pair.server;
	struct ibv_wc wc[8];
	int got = 0;

	if (connect_pair(&pair)) {
		STEP("client", rpma_cq_get_wc(c->cq, 1, wc, NULL));
		STEP("client", rpma_cq_get_wc(c->cq, 0, wc, &got));
		for (uintptr_t n = 1; n < 5; n++) {
			STEP("server", rpma_recv(s->conn, s->mr, 0, 8, (void *)n));
			STEP("client", rpma_send(c->conn, c->mr, 0, 8, ON_ERROR, (void *)n));
		}
		/* when this one has completed, all earlier ones have, on both sides */
		if (completed(c, STEP("client", rpma_write(c->conn, c->remote, 0, c->mr, 0, 8, ALWAYS,
				(void *)5))) &&
				STEP("server", rpma_cq_wait(s->cq)) == 0 &&
				STEP("server", rpma_cq_get_wc(s->cq, 8, wc, &got)) == 0) {
			for (int i = 0; i < got; i++)
				say_wc("server", &wc[i]);
			STEP("server", rpma_cq_get_wc(s->cq, 1, wc, NULL));
		}
	}
	end(&pair);
}

/* the peer does not permit it: this request fails, and all later ones are flushed */
static void
errors(void)
{
	struct pair pair;
	struct side *const c = &pair.client;

	if (connect_pair(&pair)) {
		completed(c, STEP("client", rpma_write(c->conn, c->remote, MEM_SIZE - 8, c->mr, 0, 64, ON_ERROR, (void *)1)));
		completed(c, STEP("client", rpma_write(c->conn, c->remote, 0, c->mr, 0, 8, ON_ERROR, (void *)2)));
	}
	end(&pair);
}

/* more requests than the queue can hold */
static void
full_queue(void)
{
	struct pair pair;
	struct side *const s = &pair.server;
	int posted = 0;

	if (connect_pair(&pair)) {
		while (posted < 1000 && rpma_recv(s->conn, s->mr, 0, 8, (void *)1) == 0)
			posted++;
		say("server", "%d receives", posted);
		STEP("server", rpma_recv(s->conn, s->mr, 0, 8, (void *)2));
	}
	end(&pair);
}

const struct scenario op_scenarios[] = {
	{"one-sided", one_sided},
	{"atomic-writes", atomic_writes},
	{"flushes", flushes},
	{"messages", messages},
	{"completions", completions},
	{"errors", errors},
	{"full-queue", full_queue},
};
const size_t op_scenarios_count = COUNT_OF(op_scenarios);
