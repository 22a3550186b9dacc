/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * soak [ADDRESS [SECONDS]]: connects, moves and verifies data, disconnects, kills, for so long.
 *
 *   softrdma run -- soak 127.0.0.1 600
 *
 * Four processes: a server, two clients, and the keeper, which is both. The clients connect to the keeper,
 * and the keeper to the server, each with two threads; connections, operations and sizes are random. Again
 * and again the server or a client is killed (kill -9), at a random moment, and started anew. The keeper
 * must see the end of each connection, and work with the next process; everything else that goes wrong,
 * in any process, ends the run. In the end the keeper must hold as many descriptors and as much memory as
 * after the first fifth of the time.
 *
 * A region is private memory, a file in memory or a file, which softrdma maps in the process that accesses it.
 *
 * From the environment: SOAK_SEED (which operations and moments; it is printed), PAIR_WAIT_MS (10000: how
 * long anything may take), SOAK_MAPPED (1: some of the regions in files must be mapped; 0: none may be).
 *
 * The original library loses memory with each request that is rejected or cannot be accepted. On it no
 * request is rejected, and so much more memory is excused.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "soak.h"

#define CLIENTS 2
#define PHASES 5
/* what a few more buffers and fragmentation explain, however long it runs */
#define MORE_KIB 4096
#define MORE_ALLOCATED 8192
/* what the original loses with a request */
#define LOST_BY_ORIGINAL 1024
/* what is free in the cache of a thread would count as allocated, and arenas hold back some, too */
#define EXACT_MALLOC "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1"

bool is_keeper;
bool is_original;

/* --- the processes that are started ------------------------------------------------------------ */

static int
be_server(const char *address, unsigned port, uint64_t seed)
{
	char line[16];

	serve(open_peer(address), address, port, seed);
	while (listen_to_parent(line, sizeof(line)) && strcmp(line, "quit") != 0) {
	}

	return 0;
}

static int
be_client(const char *address, unsigned port, uint64_t seed)
{
	char line[16];

	work(open_peer(address), address, port, seed);
	while (listen_to_parent(line, sizeof(line)) && strcmp(line, "quit") != 0) {
	}
	work_pause(true);

	return 0;
}

struct holdings {
	unsigned descriptors;
	long resident_kib;
	long allocated;
};

/* what the keeper holds with no connection. The fabric may let go of some a moment later. */
static struct holdings
holdings(void)
{
	static unsigned first;
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;

	work_pause(true);
	serve_idle();
	while (first && descriptors() > first && now_ns() < limit)
		usleep(1000);
	if (!first)
		first = descriptors();

	return (struct holdings){descriptors(), resident(),
			(long)mallinfo2().uordblks};
}

static int
be_keeper(const char *address, unsigned port, uint64_t seed)
{
	struct rpma_peer *peer;
	char line[16];

	is_keeper = true;
	peer = open_peer(address);
	serve(peer, address, 0, seed);
	work(peer, address, port, seed + 1);
	while (listen_to_parent(line, sizeof(line)) && strcmp(line, "quit") != 0) {
		if (strcmp(line, "rest") == 0) {
			struct holdings holds = holdings();

			report("descriptors %u", holds.descriptors);
			report("resident %ld", holds.resident_kib);
			report("allocated %ld", holds.allocated);
		} else {
			work_pause(false);
		}
	}

	return 0;
}

/* --- the parent -------------------------------------------------------------------------------- */

struct process {
	struct child child;
	bool works; /* it said so, after its first connection */
};

static struct {
	const char *address;
	struct random random;
	struct child keeper;
	struct process server, clients[CLIENTS];
	unsigned keeper_port, server_port;
} run;

static struct child
start_seeded(const char *role, unsigned port)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)next_random(&run.random));
	setenv("SOAK_SEED", text, 1);

	return start(role, run.address, port);
}

static void
start_server(unsigned port)
{
	run.server = (struct process){.child = start_seeded("server", port)};
	run.server_port = (unsigned)expect(&run.server.child, "listening ");
}

static void
start_client(struct process *client)
{
	*client = (struct process){.child = start_seeded("client", run.keeper_port)};
}

static void
wait_for_work(struct process *process)
{
	if (!process->works)
		expect(&process->child, "working");
	process->works = true;
}

/* kills one of the three, one in three times perhaps before it has connected, and starts it anew */
static void
kill_one(void)
{
	const unsigned which = (unsigned)(next_random(&run.random) % (CLIENTS + 1));
	struct process *victim = which < CLIENTS ? &run.clients[which] : &run.server;

	if (next_random(&run.random) % 3)
		wait_for_work(victim);
	usleep((useconds_t)(next_random(&run.random) % 100000));
	kill_child(&victim->child);
	if (which < CLIENTS) {
		count(COUNT_CLIENT_KILLED, 1);
		start_client(victim);
	} else {
		count(COUNT_SERVER_KILLED, 1);
		start_server(run.server_port);
	}
}

static void
work_and_kill(double seconds)
{
	const uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);

	for (int i = 0; i < CLIENTS; i++)
		start_client(&run.clients[i]);
	tell(&run.keeper, "work");
	while (now_ns() < end)
		kill_one();
	/* the keeper works with each of the last ones */
	wait_for_work(&run.server);
	for (int i = 0; i < CLIENTS; i++) {
		wait_for_work(&run.clients[i]);
		tell(&run.clients[i].child, "quit");
		finish(&run.clients[i].child);
	}
}

static struct holdings
rest(void)
{
	struct holdings holds;

	tell(&run.keeper, "rest");
	holds.descriptors = (unsigned)expect(&run.keeper, "descriptors ");
	holds.resident_kib = (long)expect(&run.keeper, "resident ");
	holds.allocated = (long)expect(&run.keeper, "allocated ");
	printf("the keeper, after %llu connections: %u descriptors, %ld KiB resident, %ld bytes allocated\n",
			(unsigned long long)counted(COUNT_CONNECTIONS), holds.descriptors,
			holds.resident_kib, holds.allocated);
	fflush(stdout);

	return holds;
}

int
main(int argc, char *argv[])
{
	const double seconds = argc > 2 ? atof(argv[2]) : 600;
	const unsigned long seed = env_number("SOAK_SEED", (unsigned long)now_ns() & 0xffffff);
	struct holdings first, last;

	is_original = dlsym(RTLD_DEFAULT, "rpma_write_atomic") == NULL;
	if (argc == 4) {
		unsigned port = (unsigned)atoi(argv[3]);

		counters_open();
		if (strcmp(argv[1], "server") == 0)
			return be_server(argv[2], port, seed);
		if (strcmp(argv[1], "client") == 0)
			return be_client(argv[2], port, seed);
		return be_keeper(argv[2], port, seed);
	}

	printf("SOAK_SEED=%lu%s\n", seed, is_original ? ", on the original library" : "");
	fflush(stdout);
	counters_create();
	run.address = argc > 1 ? argv[1] : "127.0.0.1";
	run.random.state = seed;
	start_server(0);
	setenv("GLIBC_TUNABLES", EXACT_MALLOC, 1);
	run.keeper = start_seeded("keeper", run.server_port);
	unsetenv("GLIBC_TUNABLES");
	run.keeper_port = (unsigned)expect(&run.keeper, "listening ");

	work_and_kill(seconds / PHASES);
	first = last = rest();
	for (int i = 1; i < PHASES; i++) {
		work_and_kill(seconds / PHASES);
		last = rest();
	}
	tell(&run.keeper, "quit");
	finish(&run.keeper);
	tell(&run.server.child, "quit");
	finish(&run.server.child);

	counters_print();
	if (getenv("SOAK_MAPPED") && (counted(COUNT_MAPPED) > 0) != (env_number("SOAK_MAPPED", 0) > 0))
		die("the clients have mapped regions, or have not, against SOAK_MAPPED");
	if (is_original)
		last.allocated -= (long)counted(COUNT_FAILED_ACCEPT) * LOST_BY_ORIGINAL;
	if (last.descriptors > first.descriptors)
		die("the keeper has lost descriptors");
	if (last.resident_kib > first.resident_kib + MORE_KIB ||
			last.allocated > first.allocated + MORE_ALLOCATED)
		die("the keeper has lost memory");
	if (counted(COUNT_KEEPER_CLIENT_BROKEN) > counted(COUNT_SERVER_KILLED) * WORKERS ||
			counted(COUNT_KEEPER_SERVER_BROKEN) > counted(COUNT_CLIENT_KILLED) * WORKERS)
		die("more connections broke than kills explain");

	return 0;
}
