/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * changing-memory [ADDRESS]: memory that is protected, unmapped, moved or truncated while it is registered, of
 * the peer or of the side that posts, with each operation and sizes for each way that bytes take. A device has
 * pinned the pages and goes on. Here memory with less permission is reached as well, all other ends the request
 * with a protection error. Never is there a signal that the program sees: its own handlers are for its own
 * faults.
 *
 *   softrdma run -- changing-memory
 *
 * ADDRESS is 127.0.0.1 unless given. Each case has a connection of its own.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "two-processes.h"

#define SIZE ((size_t)64 << 10)
#define DEPTH 4
#define PLACE ((uintptr_t)1 << 40)

enum kind {
	PRIVATE,
	SHARED,
	FILE_SHARED,
	FILE_PRIVATE,
	KINDS
};
static const char *const kinds[] = {"private memory", "shared memory", "a mapped file",
		"a private mapping of a file"};

enum change {
	READ_ONLY,
	NO_ACCESS,
	DROPPED,
	UNMAPPED,
	MOVED,
	REPLACED,
	TRUNCATED,
	CHANGES
};
static const char *const changes[] = {"read-only", "inaccessible", "dropped", "unmapped", "moved",
		"replaced", "truncated"};

enum operation {
	WRITE,
	READ,
	SEND,
	OPERATIONS
};
static const char *const operations[] = {"write", "read", "send"};
static const enum ibv_wr_opcode opcodes[] = {IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ, IBV_WR_SEND};

static const size_t sizes[] = {8, 100, 8000, 40000};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

/* a case, and the memory that changes in it */
struct trial {
	enum kind kind;
	enum change change;
	enum operation operation;
	bool of_peer;
	size_t size;
	char *memory;
	char *moved;
	int file;
};

static bool
exists(const struct trial *trial)
{
	const bool is_file = trial->kind == FILE_SHARED || trial->kind == FILE_PRIVATE;

	if (trial->change == TRUNCATED)
		return is_file;
	/* nothing tells another mapping from the first one where both can be accessed in the same way */
	if (trial->change == REPLACED) {
		return trial->kind == PRIVATE &&
				(trial->operation == READ) != trial->of_peer;
	}

	return true;
}

/* whether memory is still there that a device would have pinned */
static bool
remains(const struct trial *trial)
{
	return trial->change <= DROPPED;
}

static void
make(struct trial *trial)
{
	const bool is_file = trial->kind == FILE_SHARED || trial->kind == FILE_PRIVATE;
	const int shared = trial->kind == SHARED || trial->kind == FILE_SHARED ? MAP_SHARED : MAP_PRIVATE;

	trial->file = is_file ? memfd_create("changing-memory", MFD_CLOEXEC) : -1;
	CHECK(!is_file || (trial->file >= 0 && ftruncate(trial->file, SIZE) == 0));
	trial->moved = NULL;
	/* where nothing else will be mapped once it is gone */
	trial->memory = mmap((void *)PLACE, SIZE, PROT_READ | PROT_WRITE,
			shared | MAP_FIXED_NOREPLACE | (is_file ? 0 : MAP_ANONYMOUS), trial->file, 0);
	CHECK(trial->memory != MAP_FAILED);
	fill(trial->memory, SIZE, 1);
}

static void
change(struct trial *trial)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;

	switch (trial->change) {
	case READ_ONLY:
		CHECK(mprotect(trial->memory, SIZE, PROT_READ) == 0);
		break;
	case NO_ACCESS:
		CHECK(mprotect(trial->memory, SIZE, PROT_NONE) == 0);
		break;
	case DROPPED:
		CHECK(madvise(trial->memory, SIZE, MADV_DONTNEED) == 0);
		break;
	case UNMAPPED:
		CHECK(munmap(trial->memory, SIZE) == 0);
		break;
	case MOVED:
		trial->moved = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(trial->moved != MAP_FAILED);
		CHECK(mremap(trial->memory, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, trial->moved) ==
				trial->moved);
		break;
	case REPLACED:
		CHECK(mmap(trial->memory, SIZE, PROT_READ, flags, -1, 0) == trial->memory);
		break;
	default:
		CHECK(ftruncate(trial->file, 0) == 0);
	}
}

static void
give_back(struct trial *trial)
{
	if (trial->change != UNMAPPED)
		CHECK(munmap(trial->moved ? trial->moved : trial->memory, SIZE) == 0);
	if (trial->file >= 0)
		close(trial->file);
}

/* the memory of the trial becomes that of the link; it is registered, and then changes */
static void
use(struct link *link, struct trial *trial)
{
	CHECK(ibv_dereg_mr(link->mr) == 0);
	free(link->memory);
	link->memory = trial->memory;
	link->mr = ibv_reg_mr(pd_of(link->id->verbs), link->memory, SIZE, IBV_ACCESS_LOCAL_WRITE |
			IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
	CHECK(link->mr);
	change(trial);
}

/* what has come must be there, unless the memory is not */
static void
compare(const struct trial *trial, const char *memory, uint64_t seed, const char *where)
{
	char *wanted = malloc(SIZE);

	CHECK(wanted);
	fill(wanted, SIZE, seed);
	if (memcmp(wanted, memory, trial->size) != 0)
		die("%s of %zu, %s %s: the bytes %s are wrong", operations[trial->operation], trial->size,
				changes[trial->change], kinds[trial->kind], where);
	free(wanted);
}

static void
end_use(struct link *link, struct trial *trial, bool was_changed)
{
	if (was_changed) {
		link->memory = NULL;
		link_close(link);
		give_back(trial);
	} else {
		link_close(link);
	}
}

static enum ibv_wc_status
next_status(struct link *link)
{
	struct ibv_wc wc;
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;

	while (drain(link, &wc) == 0) {
		if (now_ns() > end)
			die("no completion in %d ms", wait_ms());
	}

	return wc.status;
}

static void
serve_one(struct rdma_event_channel *channel, struct trial *trial)
{
	struct rdma_cm_id *id;
	struct link link;

	id = await_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST);
	link_open(&link, id, SIZE, DEPTH);
	fill(link.memory, SIZE, 1);
	if (trial->of_peer) {
		make(trial);
		use(&link, trial);
	}
	if (trial->operation == SEND)
		post_receive(&link, 1, 0, SIZE);
	accept_link(&link);
	CHECK(!link.ended);
	await_event(channel, RDMA_CM_EVENT_ESTABLISHED);
	if (trial->operation == SEND && (trial->of_peer || remains(trial))) {
		const enum ibv_wc_status wanted = remains(trial) ? IBV_WC_SUCCESS : IBV_WC_LOC_PROT_ERR;
		const enum ibv_wc_status status = next_status(&link);

		if (status != wanted)
			die("receive of %zu into %s %s: %s", trial->size, changes[trial->change],
					kinds[trial->kind], ibv_wc_status_str(status));
	}
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	rdma_disconnect(id);
	if (trial->of_peer && trial->operation != READ && remains(trial)) {
		CHECK(mprotect(trial->memory, SIZE, PROT_READ | PROT_WRITE) == 0);
		compare(trial, trial->memory, 2, "that arrived");
	}
	end_use(&link, trial, trial->of_peer);
}

static enum ibv_wc_status
wanted_status(const struct trial *trial)
{
	if (remains(trial))
		return IBV_WC_SUCCESS;
	if (!trial->of_peer)
		return IBV_WC_LOC_PROT_ERR;

	return trial->operation == SEND ? IBV_WC_REM_OP_ERR : IBV_WC_REM_ACCESS_ERR;
}

static void
work_one(struct rdma_event_channel *channel, const char *address, unsigned port, struct trial *trial)
{
	enum ibv_wc_status status;
	struct link link;

	CHECK(connect_link(&link, channel, address, port, SIZE, DEPTH));
	fill(link.memory, SIZE, 2);
	if (!trial->of_peer) {
		make(trial);
		use(&link, trial);
	}
	post(&link, opcodes[trial->operation], 1, 0, trial->size, 0);
	status = next_status(&link);
	if (status != wanted_status(trial))
		die("%s of %zu, %s %s of the %s: %s", operations[trial->operation], trial->size,
				changes[trial->change], kinds[trial->kind],
				trial->of_peer ? "peer" : "initiator", ibv_wc_status_str(status));
	rdma_disconnect(link.id);
	await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	if (trial->operation == READ && remains(trial)) {
		if (!trial->of_peer)
			CHECK(mprotect(trial->memory, SIZE, PROT_READ | PROT_WRITE) == 0);
		/* what was dropped is another page now, or none */
		if (!(trial->of_peer && trial->change == DROPPED))
			compare(trial, link.memory, 1, "that were read");
	}
	end_use(&link, trial, !trial->of_peer);
}

/* --- the program's own faults -------------------------------------------------------------------- */

static sigjmp_buf back;
static volatile sig_atomic_t may_fault;

static void
own_fault(int number, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	if (!may_fault) {
		static const char text[] = "the program's handler was called for a fault that is not its own\n";

		if (write(STDERR_FILENO, text, sizeof(text) - 1) >= 0)
			_exit(3);
	}
	siglongjmp(back, number);
}

static void
install(int number)
{
	struct sigaction own = {.sa_sigaction = own_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};

	CHECK(sigaction(number, &own, NULL) == 0);
}

static void
check_own_faults(void)
{
	static const int numbers[] = {SIGSEGV, SIGBUS};

	/* the compiler must not know where that is */
	volatile char *volatile nowhere = (volatile char *)8;
	struct sigaction seen;

	for (int i = 0; i < 2; i++) {
		CHECK(sigaction(numbers[i], NULL, &seen) == 0);
		CHECK(seen.sa_sigaction == own_fault && (seen.sa_flags & SA_SIGINFO) != 0);
	}
	may_fault = 1;
	if (sigsetjmp(back, 1) == 0) {
		*nowhere = 1;
		die("a fault had no signal");
	}
	if (sigsetjmp(back, 1) == 0) {
		raise(SIGBUS);
		die("a signal that was sent did not arrive");
	}
	may_fault = 0;
	/* other ways to the same handler */
	CHECK(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
	CHECK(signal(SIGSEGV, SIG_IGN) == SIG_DFL);
	raise(SIGSEGV);
	CHECK(signal(SIGSEGV, SIG_DFL) == SIG_IGN);
	/* what signal() is for programs that want the standard's */
	CHECK(__sysv_signal(SIGSEGV, SIG_IGN) == SIG_DFL);
	CHECK(sigaction(SIGSEGV, NULL, &seen) == 0);
	CHECK(seen.sa_handler == SIG_IGN && (seen.sa_flags & (int)SA_RESETHAND) != 0);
}

/* ---------------------------------------------------------------------------------------------------- */

static void
run_one(struct rdma_event_channel *channel, const char *address, unsigned port, struct trial *trial)
{
	if (port == 0)
		serve_one(channel, trial);
	else
		work_one(channel, address, port, trial);
}

/* of a thread that has blocked the signals of a fault */
static sigjmp_buf blocked;

static void
run(struct rdma_event_channel *channel, const char *address, unsigned port)
{
	volatile bool are_open = false;
	sigset_t all;

	sigfillset(&all);
	CHECK(sigprocmask(SIG_BLOCK, &all, NULL) == 0);
	for (volatile unsigned i = 0; i < KINDS * CHANGES * OPERATIONS * 2 * N_SIZES; i++) {
		struct trial trial = {
			.size = sizes[i % N_SIZES],
			.of_peer = i / N_SIZES % 2 == 0,
			.operation = i / N_SIZES / 2 % OPERATIONS,
			.change = i / N_SIZES / 2 / OPERATIONS % CHANGES,
			.kind = i / N_SIZES / 2 / OPERATIONS / CHANGES,
		};

		if (!exists(&trial))
			continue;
		are_open = !are_open;
		if (!are_open) {
			run_one(channel, address, port, &trial);
		} else if (sigsetjmp(blocked, 1) == 0) {
			CHECK(sigprocmask(SIG_UNBLOCK, &all, NULL) == 0);
			run_one(channel, address, port, &trial);
			/* blocks them for the next one */
			siglongjmp(blocked, 1);
		}
	}
	CHECK(sigprocmask(SIG_UNBLOCK, &all, NULL) == 0);
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";

	if (argc == 4) {
		const unsigned port = (unsigned)atoi(argv[3]);
		struct rdma_event_channel *channel = open_channel();
		struct rdma_cm_id *listener = NULL;

		install(SIGBUS);
		if (port == 0) {
			listener = listen_at(channel, argv[2], 0, 1);
			report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
		}
		/* one handler is there before the first registration, the other one comes later */
		if (port == 0)
			install(SIGSEGV);
		run(channel, argv[2], port);
		install(SIGSEGV);
		check_own_faults();
		if (listener)
			CHECK(rdma_destroy_id(listener) == 0);
		release_pd();
		rdma_destroy_event_channel(channel);
	} else {
		struct child server, client;

		skip_without(address);
		server = start("server", address, 0);
		client = start("client", address, (unsigned)expect(&server, "listening "));
		finish(&client);
		finish(&server);
		printf("requests on memory that changed while it was registered completed as expected\n");
	}

	return 0;
}
