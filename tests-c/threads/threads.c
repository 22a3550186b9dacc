/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What may be called from several threads at once, called from 16.
 *
 * RPMA_TEST_ROUNDS says how often each thread does it (50 by default). That the results are right shows
 * here; that nothing raced to get there shows under scripts/sanitize.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>

#include "threads.h"

/* --- without an object --- */

static bool
texts(void *arg, unsigned thread, unsigned round)
{
	(void)arg;
	for (int code = 0; code >= -100010; code -= 1 + (int)(thread + round) % 97)
		MUST(rpma_err_2str(code)[0] != '\0');
	for (int event = -2; event < 10; event++)
		MUST(rpma_utils_conn_event_2str((enum rpma_conn_event)event)[0] != '\0');
	MUST(strcmp(rpma_err_2str(RPMA_E_NOMEM), "Out of memory") == 0);

	return true;
}

static void
texts_from_many_threads(void **unused)
{
	(void)unused;
	on_a_team(texts, NULL);
}

/* --- an object for each thread --- */

static bool
own_configurations(void *arg, unsigned thread, unsigned round)
{
	const uint32_t size = 1 + thread * 1000 + round % 1000;
	struct rpma_conn_cfg *conn_cfg = NULL;
	struct rpma_srq_cfg *srq_cfg = NULL;
	struct rpma_peer_cfg *peer_cfg = NULL;
	struct rpma_peer_cfg *copy = NULL;
	unsigned char desc = 0xff;
	uint32_t got = 0;
	bool direct = false;

	(void)arg;
	WORKS(rpma_conn_cfg_new(&conn_cfg));
	WORKS(rpma_conn_cfg_set_sq_size(conn_cfg, size));
	WORKS(rpma_conn_cfg_get_sq_size(conn_cfg, &got));
	MUST(got == size);
	WORKS(rpma_conn_cfg_get_cq_size(conn_cfg, &got));
	MUST(got == 10);
	WORKS(rpma_conn_cfg_delete(&conn_cfg));

	WORKS(rpma_srq_cfg_new(&srq_cfg));
	WORKS(rpma_srq_cfg_set_rq_size(srq_cfg, size));
	WORKS(rpma_srq_cfg_get_rq_size(srq_cfg, &got));
	MUST(got == size);
	WORKS(rpma_srq_cfg_delete(&srq_cfg));

	WORKS(rpma_peer_cfg_new(&peer_cfg));
	WORKS(rpma_peer_cfg_set_direct_write_to_pmem(peer_cfg, thread % 2));
	WORKS(rpma_peer_cfg_get_descriptor(peer_cfg, &desc));
	WORKS(rpma_peer_cfg_from_descriptor(&desc, 1, &copy));
	WORKS(rpma_peer_cfg_get_direct_write_to_pmem(copy, &direct));
	MUST(direct == (thread % 2 != 0));
	WORKS(rpma_peer_cfg_delete(&copy));
	WORKS(rpma_peer_cfg_delete(&peer_cfg));

	return true;
}

static bool
own_remote_regions(void *arg, unsigned thread, unsigned round)
{
	struct rpma_mr_remote *remote = NULL;
	unsigned char desc[DESCRIPTOR_SIZE];
	const size_t want = 1 + ((size_t)thread << 32) + round;
	size_t size = 0;
	int flush_type = 0;

	(void)arg;
	put_descriptor(desc, 0x1000, want, thread, RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY);
	WORKS(rpma_mr_remote_from_descriptor(desc, sizeof(desc), &remote));
	WORKS(rpma_mr_remote_get_size(remote, &size));
	WORKS(rpma_mr_remote_get_flush_type(remote, &flush_type));
	MUST(size == want);
	MUST(flush_type == RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY);
	WORKS(rpma_mr_remote_delete(&remote));

	return true;
}

static void
objects_of_each_thread(void **unused)
{
	(void)unused;
	on_a_team(own_configurations, NULL);
	on_a_team(own_remote_regions, NULL);
}

/* --- one object for all --- */

struct shared_cfgs {
	struct rpma_conn_cfg *conn;
	struct rpma_srq_cfg *srq;
	struct rpma_peer_cfg *peer;
	struct rpma_mr_remote *remote;
};

/* every value that is read is one that some thread, or the constructor, has written */
#define ONE_OF_THEM(value, at_first) MUST((value) == (at_first) || (value) - 1000 < TEAM)

static bool
shared_settings(void *arg, unsigned thread, unsigned round)
{
	const struct shared_cfgs *cfgs = arg;
	const uint32_t mine = 1000 + thread;
	char *queues = untouchable();
	struct rpma_srq *srq = UNTOUCHED_PTR;
	unsigned char desc = 0xff;
	uint32_t u = 0;
	size_t size = 0;
	bool flag = false;
	int i = 0;

	WORKS(rpma_conn_cfg_set_timeout(cfgs->conn, (int)mine));
	WORKS(rpma_conn_cfg_get_timeout(cfgs->conn, &i));
	MUST(i >= 1000 && i < 1000 + TEAM);
	WORKS(rpma_conn_cfg_set_cq_size(cfgs->conn, mine));
	WORKS(rpma_conn_cfg_get_cq_size(cfgs->conn, &u));
	ONE_OF_THEM(u, 10);
	WORKS(rpma_conn_cfg_set_rcq_size(cfgs->conn, mine));
	WORKS(rpma_conn_cfg_get_rcq_size(cfgs->conn, &u));
	ONE_OF_THEM(u, 0);
	WORKS(rpma_conn_cfg_set_sq_size(cfgs->conn, mine));
	WORKS(rpma_conn_cfg_get_sq_size(cfgs->conn, &u));
	ONE_OF_THEM(u, 10);
	WORKS(rpma_conn_cfg_set_rq_size(cfgs->conn, mine));
	WORKS(rpma_conn_cfg_get_rq_size(cfgs->conn, &u));
	ONE_OF_THEM(u, 10);
	WORKS(rpma_conn_cfg_set_compl_channel(cfgs->conn, round % 2));
	WORKS(rpma_conn_cfg_get_compl_channel(cfgs->conn, &flag));
	/* which nobody looks into here */
	WORKS(rpma_conn_cfg_set_srq(cfgs->conn, (struct rpma_srq *)(queues + thread)));
	WORKS(rpma_conn_cfg_get_srq(cfgs->conn, &srq));
	MUST((size_t)((char *)srq - queues) < TEAM);

	WORKS(rpma_srq_cfg_set_rq_size(cfgs->srq, mine));
	WORKS(rpma_srq_cfg_get_rq_size(cfgs->srq, &u));
	ONE_OF_THEM(u, 20);
	WORKS(rpma_srq_cfg_set_rcq_size(cfgs->srq, mine));
	WORKS(rpma_srq_cfg_get_rcq_size(cfgs->srq, &u));
	ONE_OF_THEM(u, 20);

	WORKS(rpma_peer_cfg_set_direct_write_to_pmem(cfgs->peer, round % 2));
	WORKS(rpma_peer_cfg_get_direct_write_to_pmem(cfgs->peer, &flag));
	WORKS(rpma_peer_cfg_get_descriptor_size(cfgs->peer, &size));
	WORKS(rpma_peer_cfg_get_descriptor(cfgs->peer, &desc));
	MUST(size == 1 && desc <= 1);

	WORKS(rpma_mr_remote_get_size(cfgs->remote, &size));
	WORKS(rpma_mr_remote_get_flush_type(cfgs->remote, &i));
	MUST(size == 4711);

	return true;
}

static void
configurations_of_all_threads(void **unused)
{
	struct shared_cfgs cfgs = {0};
	unsigned char desc[DESCRIPTOR_SIZE];

	(void)unused;
	put_descriptor(desc, 0x1000, 4711, 1, ALL_USAGES);
	SUCCEED(rpma_mr_remote_from_descriptor(desc, sizeof(desc), &cfgs.remote));
	SUCCEED(rpma_conn_cfg_new(&cfgs.conn));
	SUCCEED(rpma_srq_cfg_new(&cfgs.srq));
	SUCCEED(rpma_peer_cfg_new(&cfgs.peer));
	on_a_team(shared_settings, &cfgs);
	SUCCEED(rpma_peer_cfg_delete(&cfgs.peer));
	SUCCEED(rpma_srq_cfg_delete(&cfgs.srq));
	SUCCEED(rpma_conn_cfg_delete(&cfgs.conn));
	SUCCEED(rpma_mr_remote_delete(&cfgs.remote));
}

/* --- the log --- */

/* messages that either function got, and those that no caller can have meant */
static int messages;
static int garbled;

static void
look_at(enum rpma_log_level level, const char *file, int line, const char *function,
		const char *format, va_list args)
{
	char text[512] = "";

	vsnprintf(text, sizeof(text), format, args);
	__atomic_add_fetch(&messages, 1, __ATOMIC_RELAXED);
	if (level < RPMA_LOG_DISABLED || level > RPMA_LOG_LEVEL_DEBUG || !file || line <= 0 ||
	    !function || !*function || !*text || text[strlen(text) - 1] != '\n')
		__atomic_add_fetch(&garbled, 1, __ATOMIC_RELAXED);
}

static void
one_function(enum rpma_log_level level, const char *file, const int line, const char *function,
		const char *format, ...)
{
	va_list args;

	va_start(args, format);
	look_at(level, file, line, function, format, args);
	va_end(args);
}

static void
another_function(enum rpma_log_level level, const char *file, const int line, const char *function,
		const char *format, ...)
{
	enum rpma_log_level threshold;
	va_list args;

	/* which a log function may ask for */
	rpma_log_get_threshold(RPMA_LOG_THRESHOLD, &threshold);
	va_start(args, format);
	look_at(level, file, line, function, format, args);
	va_end(args);
}

/* logs one ERROR */
static bool
log_error(void)
{
	const unsigned char desc[DESCRIPTOR_SIZE] = {0};
	struct rpma_mr_remote *remote = NULL;

	MUST(rpma_mr_remote_from_descriptor(desc, 20, &remote) == RPMA_E_INVAL);
	MUST(remote == NULL);

	return true;
}

/* lest a message still goes to the default function when the first thread has set the thresholds */
void
begin_log_changes(void)
{
	SUCCEED(rpma_log_set_function(one_function));
}

bool
log_changes(void *arg, unsigned thread, unsigned round)
{
	enum rpma_log_level level = RPMA_LOG_LEVEL_FATAL;

	(void)arg;
	WORKS(rpma_log_set_function((thread + round) % 2 ? one_function : another_function));
	WORKS(rpma_log_set_threshold(RPMA_LOG_THRESHOLD,
			(enum rpma_log_level)((int)(round % 7) - 1)));
	WORKS(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX,
			(enum rpma_log_level)((int)(round % 7) - 1)));
	WORKS(rpma_log_get_threshold(RPMA_LOG_THRESHOLD, &level));
	MUST(level >= RPMA_LOG_DISABLED && level <= RPMA_LOG_LEVEL_DEBUG);

	return log_error();
}

static void
log_changes_in_all_threads(void **unused)
{
	(void)unused;
	messages = garbled = 0;
	begin_log_changes();
	on_a_team(log_changes, NULL);
	log_release();
	assert_true(messages > 0);
	assert_int_equal(garbled, 0);
}

static bool
log_one_error(void *arg, unsigned thread, unsigned round)
{
	(void)arg;
	(void)thread;
	(void)round;

	return log_error();
}

/* what the default function writes, line by line */
static void
default_log_function(void **unused)
{
	char *text;
	char *end;
	unsigned lines = 0;

	(void)unused;
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_LEVEL_ERROR));
	stderr_capture();
	on_a_team(log_one_error, NULL);
	log_release();
	text = stderr_release();

	for (char *line = text; *line; line = end + 1) {
		end = strchr(line, '\n');
		assert_non_null(end);
		*end = '\0';
		assert_non_null(strstr(line, "ERROR"));
		lines++;
	}
	free(text);
	assert_int_equal(lines, TEAM * rounds());
}

/* --- with a device: peers, regions, shared receive queues --- */

bool
regions_come_and_go(void *arg, unsigned thread, unsigned round)
{
	struct rpma_mr_local *mr = NULL;
	struct rpma_mr_remote *remote = NULL;
	const size_t size = 1 + (thread * 331 + round * 17) % 8000;
	unsigned char desc[DESCRIPTOR_SIZE];
	char *mem = malloc(size);
	size_t got = 0;
	void *ptr = NULL;
	int flush_type = 0;

	MUST(mem != NULL);
	WORKS(rpma_mr_reg(arg, mem, size, ALL_USAGES, &mr));
	WORKS(rpma_mr_get_ptr(mr, &ptr));
	WORKS(rpma_mr_get_size(mr, &got));
	MUST(ptr == mem && got == size);
	WORKS(rpma_mr_get_descriptor_size(mr, &got));
	MUST(got == DESCRIPTOR_SIZE);
	WORKS(rpma_mr_get_descriptor(mr, desc));
	WORKS(rpma_mr_remote_from_descriptor(desc, sizeof(desc), &remote));
	WORKS(rpma_mr_remote_get_size(remote, &got));
	WORKS(rpma_mr_remote_get_flush_type(remote, &flush_type));
	MUST(got == size);
	WORKS(rpma_mr_remote_delete(&remote));
	WORKS(rpma_mr_dereg(&mr));
	free(mem);

	return true;
}

struct on_device {
	struct ibv_context *ctx;
	struct rpma_peer *peer;
	struct region region;
	unsigned char desc[DESCRIPTOR_SIZE];
};

static bool
peers_come_and_go(void *arg, unsigned thread, unsigned round)
{
	const struct on_device *on = arg;
	struct rpma_peer *peer = NULL;

	WORKS(rpma_peer_new(on->ctx, &peer));
	if (!regions_come_and_go(peer, thread, round))
		return false;
	WORKS(rpma_peer_delete(&peer));

	return true;
}

static bool
shared_queues_come_and_go(void *arg, unsigned thread, unsigned round)
{
	const struct on_device *on = arg;
	struct rpma_srq_cfg *cfg = NULL;
	struct rpma_srq *srq = NULL;
	struct rpma_cq *rcq = NULL;

	WORKS(rpma_srq_cfg_new(&cfg));
	WORKS(rpma_srq_cfg_set_rq_size(cfg, 1 + (thread + round) % 30));
	WORKS(rpma_srq_new(on->peer, cfg, &srq));
	WORKS(rpma_srq_cfg_delete(&cfg));
	WORKS(rpma_srq_get_rcq(srq, &rcq));
	MUST(rcq != NULL);
	WORKS(rpma_srq_recv(srq, on->region.mr, 0, 8, NULL));
	WORKS(rpma_srq_delete(&srq));

	return true;
}

static bool
looks_at_one_region(void *arg, unsigned thread, unsigned round)
{
	const struct on_device *on = arg;
	unsigned char desc[DESCRIPTOR_SIZE];
	size_t size = 0;
	void *ptr = NULL;
	int odp = UNTOUCHED_INT;
	int ret;

	(void)thread;
	(void)round;
	WORKS(rpma_mr_get_descriptor(on->region.mr, desc));
	MUST(memcmp(desc, on->desc, sizeof(desc)) == 0);
	WORKS(rpma_mr_get_descriptor_size(on->region.mr, &size));
	MUST(size == DESCRIPTOR_SIZE);
	WORKS(rpma_mr_get_ptr(on->region.mr, &ptr));
	WORKS(rpma_mr_get_size(on->region.mr, &size));
	MUST(ptr == on->region.mem && size == MR_SIZE);
	ret = CALLS(rpma_mr_advise(on->region.mr, 0, MR_SIZE, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
			IBV_ADVISE_MR_FLAG_FLUSH));
	MUST(ret == 0 || ret == RPMA_E_NOSUPP);
	WORKS(rpma_utils_ibv_context_is_odp_capable(on->ctx, &odp));
	MUST(odp == 0 || odp == 1);

	return true;
}

static bool
regions_of_one_peer(void *arg, unsigned thread, unsigned round)
{
	return regions_come_and_go(((struct on_device *)arg)->peer, thread, round);
}

static void
objects_of_one_device(void **unused)
{
	struct on_device on = {0};
	const struct job jobs[] = {
		{looks_at_one_region, &on, 2, true},
		{log_changes, NULL, 2, true},
		{peers_come_and_go, &on, TEAM, false},
		{shared_queues_come_and_go, &on, TEAM, false},
		{regions_of_one_peer, &on, TEAM, false},
	};

	(void)unused;
	on.ctx = device_context();
	SUCCEED(rpma_peer_new(on.ctx, &on.peer));
	on.region = open_region(on.peer, MR_SIZE, ALL_USAGES);
	SUCCEED(rpma_mr_get_descriptor(on.region.mr, on.desc));
	on_a_team(looks_at_one_region, &on);
	begin_log_changes();
	run_team(jobs, COUNT_OF(jobs));
	log_release();
	close_region(&on.region);
	SUCCEED(rpma_peer_delete(&on.peer));
}

struct settled {
	struct rpma_peer *peer;
	struct rpma_conn_cfg *cfg;
	struct rpma_srq *srqs[TEAM];
};

/* uses the queue that some thread has made and set: nothing but the configuration has told this one of it */
static bool
uses_the_queue_of_a_configuration(void *arg, unsigned thread, unsigned round)
{
	struct settled *settled = arg;
	struct rpma_srq *srq = NULL;
	struct rpma_cq *rcq = NULL;

	if (round == 0) {
		WORKS(rpma_srq_new(settled->peer, NULL, &settled->srqs[thread]));
		WORKS(rpma_conn_cfg_set_srq(settled->cfg, settled->srqs[thread]));
	}
	WORKS(rpma_conn_cfg_get_srq(settled->cfg, &srq));
	MUST(srq != NULL);
	WORKS(rpma_srq_get_rcq(srq, &rcq));
	MUST(rcq != NULL);

	return true;
}

static void
queue_of_a_configuration_of_all_threads(void **unused)
{
	struct settled settled = {0};
	struct ibv_context *ctx = device_context();

	(void)unused;
	SUCCEED(rpma_peer_new(ctx, &settled.peer));
	SUCCEED(rpma_conn_cfg_new(&settled.cfg));
	on_a_team(uses_the_queue_of_a_configuration, &settled);
	for (unsigned thread = 0; thread < TEAM; thread++)
		SUCCEED(rpma_srq_delete(&settled.srqs[thread]));
	SUCCEED(rpma_conn_cfg_delete(&settled.cfg));
	SUCCEED(rpma_peer_delete(&settled.peer));
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(texts_from_many_threads),
	cmocka_unit_test(objects_of_each_thread),
	cmocka_unit_test(configurations_of_all_threads),
	cmocka_unit_test(log_changes_in_all_threads),
	cmocka_unit_test(default_log_function),
	cmocka_unit_test(functions_without_a_device),
};

static const struct CMUnitTest rdma[] = {
	cmocka_unit_test(objects_of_one_device),
	cmocka_unit_test(queue_of_a_configuration_of_all_threads),
	cmocka_unit_test(posts_and_one_collector),
	cmocka_unit_test(posts_and_many_collectors),
	cmocka_unit_test(posts_on_a_shared_channel),
	cmocka_unit_test(posts_and_many_waits_on_a_shared_channel),
	cmocka_unit_test(posts_and_the_older_interface),
	cmocka_unit_test(connections_in_parallel),
	cmocka_unit_test(receives_of_a_request),
	cmocka_unit_test(receives_of_a_shared_queue),
	cmocka_unit_test(functions_on_a_device),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "threads", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
		.rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
