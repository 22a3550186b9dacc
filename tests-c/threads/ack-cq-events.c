/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Acknowledging completion events when several threads wait on one completion queue: every event is
 * acknowledged before ibv_destroy_cq(), no more than 128 for each waiting thread are outstanding, and
 * acknowledging never stops.
 *
 * This program replaces some functions of libibverbs. Events are simulated: each ibv_get_cq_event() returns one, and
 * the queue is never armed. So a wait is cheap, and the test controls what happens between two threads.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#if defined(__x86_64__) && defined(__linux__)
#include <ucontext.h>
#endif

#include "device.h"
#include "team.h"

#define THREADS 8
#define BATCH 128

/* the events of a queue of the client's */
struct events {
	struct ibv_cq *cq;
	atomic_ulong taken;
	atomic_ulong acked;
	atomic_ulong ack_calls;
	atomic_ulong most;		/* that were outstanding at a time */
	bool destroyed;
	unsigned long left;		/* were outstanding when it was destroyed */
};

static struct events queues[2];
static unsigned queue_count;
static bool recording;			/* queues that are made now are the client's */
static atomic_uint turn;

/* while it is set, ibv_ack_cq_events() waits, except on the thread that set it */
static atomic_bool holding;
static _Thread_local bool is_never_held;
static sem_t held;
static sem_t released;

static struct events *
events_of(const struct ibv_cq *cq)
{
	for (unsigned i = 0; i < queue_count; i++) {
		if (queues[i].cq == cq)
			return &queues[i];
	}

	return NULL;
}

#define NEXT(function) \
	__typeof__(function) *next = (__typeof__(function) *)(uintptr_t)dlsym(RTLD_NEXT, #function)

struct ibv_cq *
ibv_create_cq(struct ibv_context *context, int cqe, void *cq_context, struct ibv_comp_channel *channel,
		int comp_vector)
{
	NEXT(ibv_create_cq);
	struct ibv_cq *cq = next(context, cqe, cq_context, channel, comp_vector);

	if (recording && cq && queue_count < COUNT_OF(queues))
		queues[queue_count++] = (struct events){.cq = cq};

	return cq;
}

int
ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **cq_context)
{
	struct events *events;
	unsigned long outstanding;
	unsigned long most;

	if (queue_count == 0) {
		NEXT(ibv_get_cq_event);

		return next(channel, cq, cq_context);
	}
	/* in turn, when two queues share the channel */
	events = &queues[queue_count == 1 ? 0 : atomic_fetch_add(&turn, 1) % queue_count];
	outstanding = atomic_fetch_add(&events->taken, 1) + 1;
	/* read later than that one: never too many */
	outstanding -= atomic_load(&events->acked);
	most = atomic_load(&events->most);
	while ((long)outstanding > (long)most &&
	       !atomic_compare_exchange_weak(&events->most, &most, outstanding))
		;
	*cq = events->cq;
	*cq_context = NULL;

	return 0;
}

void
ibv_ack_cq_events(struct ibv_cq *cq, unsigned int nevents)
{
	struct events *events = events_of(cq);

	if (events == NULL) {
		NEXT(ibv_ack_cq_events);

		next(cq, nevents);
		return;
	}
	if (atomic_load(&holding) && !is_never_held) {
		sem_post(&held);
		while (sem_wait(&released) != 0)
			;
	}
	atomic_fetch_add(&events->acked, nevents);
	atomic_fetch_add(&events->ack_calls, 1);
}

int
ibv_destroy_cq(struct ibv_cq *cq)
{
	NEXT(ibv_destroy_cq);
	struct events *events = events_of(cq);

	if (events) {
		events->destroyed = true;
		events->left = atomic_load(&events->taken) - atomic_load(&events->acked);
	}

	return next(cq);
}

static int
arm_nothing(struct ibv_cq *cq, int solicited_only)
{
	(void)cq;
	(void)solicited_only;

	return 0;
}

/* --- a client with simulated events --- */

struct client {
	struct pair pair;
	struct rpma_conn *conn;
	struct rpma_cq *cq;
	bool shared;
	struct ibv_context *context;
	__typeof__(((struct ibv_context *)NULL)->ops.req_notify_cq) arm;
};

static int
open_client(void **state, bool shared)
{
	struct client *client = calloc(1, sizeof(*client));
	struct rpma_conn_cfg *cfg = NULL;

	assert_non_null(client);
	*state = client;
	client->shared = shared;
	pair_prepare(&client->pair);
	SUCCEED(rpma_conn_cfg_new(&cfg));
	if (shared) {
		SUCCEED(rpma_conn_cfg_set_rcq_size(cfg, 5));
		SUCCEED(rpma_conn_cfg_set_compl_channel(cfg, true));
	}
	recording = true;
	client->conn = connect_request(new_request(client->pair.client.peer, client->pair.port, cfg));
	recording = false;
	SUCCEED(rpma_conn_cfg_delete(&cfg));
	assert_int_equal(queue_count, shared ? 2 : 1);
	client->cq = cq_of(client->conn);
	client->context = queues[0].cq->context;
	client->arm = client->context->ops.req_notify_cq;
	client->context->ops.req_notify_cq = arm_nothing;
	assert_int_equal(sem_init(&held, 0, 0), 0);
	assert_int_equal(sem_init(&released, 0, 0), 0);

	return 0;
}

static int
with_own_channel(void **state)
{
	return open_client(state, false);
}

static int
with_shared_channel(void **state)
{
	return open_client(state, true);
}

static int
close_client(void **state)
{
	struct client *client = *state;

	client->context->ops.req_notify_cq = client->arm;
	SUCCEED(rpma_conn_delete(&client->conn));
	queue_count = 0;
	pair_release(&client->pair);
	sem_destroy(&held);
	sem_destroy(&released);
	free(client);

	return 0;
}

static int
wait_once(const struct client *client)
{
	struct rpma_cq *cq = NULL;

	return client->shared ? rpma_conn_wait(client->conn, 0, &cq, NULL) : rpma_cq_wait(client->cq);
}

static unsigned long
sum_of_acks(void)
{
	unsigned long sum = 0;

	for (unsigned i = 0; i < queue_count; i++)
		sum += atomic_load(&queues[i].ack_calls);

	return sum;
}

/* what holds for each queue, with so many threads */
static void
expect_bounded(unsigned threads)
{
	for (unsigned i = 0; i < queue_count; i++)
		assert_in_range(queues[i].most, 1, (uintmax_t)threads * BATCH);
}

/* at the end */
static void
delete_and_expect_none_left(struct client *client)
{
	SUCCEED(rpma_conn_delete(&client->conn));
	for (unsigned i = 0; i < queue_count; i++) {
		assert_true(queues[i].destroyed);
		assert_int_equal(queues[i].left, 0);
		assert_true(atomic_load(&queues[i].acked) == atomic_load(&queues[i].taken));
	}
}

/* --- eight threads at once --- */

static bool
wait_often(void *arg, unsigned thread, unsigned round)
{
	const struct client *client = arg;
	struct rpma_cq *cq = NULL;

	(void)thread;
	(void)round;
	for (int i = 0; i < 20000; i++) {
		if (client->shared)
			WORKS(rpma_conn_wait(client->conn, 0, &cq, NULL));
		else
			WORKS(rpma_cq_wait(client->cq));
	}

	return true;
}

static void
wait_on_all_threads(struct client *client)
{
	const struct job job = {.work = wait_often, .arg = client, .threads = THREADS};
	unsigned long acks;

	run_team(&job, 1);
	expect_bounded(THREADS);
	/* and it goes on */
	acks = sum_of_acks();
	for (unsigned i = 0; i < BATCH * queue_count; i++)
		SUCCEED(wait_once(client));
	assert_true(sum_of_acks() >= acks + queue_count);
	delete_and_expect_none_left(client);
}

static void
cq_wait_of_eight_threads(void **state)
{
	wait_on_all_threads(*state);
}

static void
conn_wait_of_eight_threads(void **state)
{
	wait_on_all_threads(*state);
}

/* --- seven threads are held while they acknowledge, and the eighth goes on --- */

static bool
wait_until_held(void *arg, unsigned thread, unsigned round)
{
	struct client *client = arg;
	struct rpma_cq *cq = NULL;

	if (round > 0)
		return true;
	if (thread > 0) {
		/* one batch of each queue, at least, for each of the seven */
		for (int i = 0; i < 2 * THREADS * BATCH; i++) {
			if (client->shared)
				WORKS(rpma_conn_wait(client->conn, 0, &cq, NULL));
			else
				WORKS(rpma_cq_wait(client->cq));
		}
		return true;
	}

	is_never_held = true;
	for (int i = 1; i < THREADS; i++)
		MUST(take_semaphore(&held));

	const unsigned long acks = sum_of_acks();

	for (unsigned i = 0; i < 8 * BATCH * queue_count; i++)
		WORKS(wait_once(client));

	const unsigned long more = sum_of_acks() - acks;

	atomic_store(&holding, false);
	for (int i = 1; i < THREADS; i++)
		sem_post(&released);
	MUST(more >= 8 * queue_count);

	return true;
}

static void
hold_all_but_one(struct client *client)
{
	const struct job job = {.work = wait_until_held, .arg = client, .threads = THREADS};

	atomic_store(&holding, true);
	run_team(&job, 1);
	expect_bounded(THREADS);
	delete_and_expect_none_left(client);
}

static void
cq_wait_while_seven_threads_acknowledge(void **state)
{
	hold_all_but_one(*state);
}

static void
conn_wait_while_seven_threads_acknowledge(void **state)
{
	hold_all_but_one(*state);
}

/* --- others overtake a wait, after each of its instructions --- */

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SIGNALS_COME_LATER
#endif
#endif

#if defined(__x86_64__) && defined(__linux__) && !defined(SIGNALS_COME_LATER)

#define TRAP_FLAG 0x100

static struct {
	const struct client *client;
	unsigned step;
	unsigned at;		/* the step after which the others come */
	unsigned waits;		/* how many they do */
	int ret;
} overtaking;

/* after each instruction, as long as the flag is set; it is clear in here */
static void
on_step(int sig, siginfo_t *info, void *context)
{
	ucontext_t *interrupted = context;

	(void)sig;
	(void)info;
	if (++overtaking.step < overtaking.at)
		return;
	for (unsigned i = 0; i < overtaking.waits && overtaking.ret == 0; i++)
		overtaking.ret = wait_once(overtaking.client);
	interrupted->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

/* beyond the red zone of the stack */
#define CHANGE_FLAGS(instruction) \
	__asm__ volatile("sub $128, %%rsp\n\tpushfq\n\t" instruction "\n\tpopfq\n\tlea 128(%%rsp), %%rsp" \
			::: "memory", "cc")

/* false: the call has fewer instructions */
static bool
wait_overtaken_at(const struct client *client, unsigned at)
{
	int ret;

	overtaking.client = client;
	overtaking.step = 0;
	overtaking.at = at;
	overtaking.ret = 0;
	CHANGE_FLAGS("orq $0x100, (%%rsp)");
	ret = wait_once(client);
	CHANGE_FLAGS("andq $~0x100, (%%rsp)");
	SUCCEED(ret);
	SUCCEED(overtaking.ret);

	return overtaking.step >= at;
}

/* up to 128 waits for each queue, until one acknowledges */
static void
wait_for_acknowledgement(const struct client *client)
{
	const unsigned long acks = sum_of_acks();
	unsigned waits = 0;

	do {
		SUCCEED(wait_once(client));
		waits++;
		assert_in_range(waits, 1, BATCH * queue_count);
	} while (sum_of_acks() == acks);
}

static void
overtake_each_instruction(struct client *client)
{
	struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
	struct sigaction before;
	unsigned at = 1;
	bool more;

	/* the dynamic linker has done its work */
	SUCCEED(wait_once(client));
	assert_int_equal(sigaction(SIGTRAP, &action, &before), 0);
	do {
		/* the next one is the last of its batch */
		wait_for_acknowledgement(client);
		for (unsigned i = 0; i + 1 < BATCH * queue_count; i++)
			SUCCEED(wait_once(client));
		overtaking.waits = (BATCH + 2) * queue_count;
		more = wait_overtaken_at(client, at);
		if (overtaking.step == 0) {
			assert_int_equal(sigaction(SIGTRAP, &before, NULL), 0);
			print_message("skipped: no single steps here, as under valgrind\n");
			skip();
		}
		wait_for_acknowledgement(client);
		/* this thread, and the other ones */
		expect_bounded(2);
		at++;
	} while (more && at < 100000);
	assert_int_equal(sigaction(SIGTRAP, &before, NULL), 0);
	/* a wait is more than a handful of instructions */
	assert_in_range(at, 20, 99999);
	delete_and_expect_none_left(client);
}

#else

static void
overtake_each_instruction(struct client *client)
{
	(void)client;
	print_message("skipped: no single steps here\n");
	skip();
}

#endif

static void
cq_wait_overtaken_at_each_instruction(void **state)
{
	overtake_each_instruction(*state);
}

static void
conn_wait_overtaken_at_each_instruction(void **state)
{
	overtake_each_instruction(*state);
}

#define OWN(test) cmocka_unit_test_setup_teardown(test, with_own_channel, close_client)
#define SHARED(test) cmocka_unit_test_setup_teardown(test, with_shared_channel, close_client)

static const struct CMUnitTest rdma[] = {
	OWN(cq_wait_of_eight_threads),
	SHARED(conn_wait_of_eight_threads),
	OWN(cq_wait_while_seven_threads_acknowledge),
	SHARED(conn_wait_while_seven_threads_acknowledge),
	OWN(cq_wait_overtaken_at_each_instruction),
	SHARED(conn_wait_overtaken_at_each_instruction),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "ack-cq-events", .rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
