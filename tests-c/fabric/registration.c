/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * registration [ADDRESS]: what memory can be registered, and what that takes: no free descriptor, and no more
 * time with many other mappings.
 *
 *   softrdma run -- registration
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: REGISTRATION_MAPPINGS (20000: how many others).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "two-processes.h"

#define PAGE ((size_t)4096)
#define SIZE (4 * PAGE)
#define READING 0
#define WRITING (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)

static struct ibv_pd *pd;

/* the errno of a registration */
static int
try_to(void *memory, size_t size, int access)
{
	struct ibv_mr *mr;

	errno = 0;
	mr = ibv_reg_mr(pd, memory, size, access);
	if (!mr)
		return errno;
	CHECK(ibv_dereg_mr(mr) == 0);

	return 0;
}

static void
check(const char *what, void *memory, size_t size, int access, int wanted)
{
	const int error = try_to(memory, size, access);

	if (error != wanted)
		die("%s, for %s: %s instead of %s", what, access == READING ? "reading" : "writing",
				strerror(error), strerror(wanted));
}

static char *
map(int protection, int flags, int fd)
{
	char *memory = mmap(NULL, SIZE, protection, flags | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);

	CHECK(memory != MAP_FAILED);

	return memory;
}

static void
kinds_of_memory(void)
{
	static const char constant[] = "constant";
	const int file = memfd_create("registration", MFD_CLOEXEC);
	char path[64], *memory, local[100];
	int read_only;

	CHECK(file >= 0 && ftruncate(file, SIZE) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	read_only = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(read_only >= 0);

	memory = map(PROT_READ | PROT_WRITE, MAP_SHARED, file);
	check("a mapped file", memory, SIZE, WRITING, 0);
	CHECK(ftruncate(file, (off_t)PAGE) == 0);
	check("the page that its file has", memory, PAGE, WRITING, 0);
	check("more than its file has", memory, PAGE + 1, WRITING, EFAULT);
	check("more than its file has", memory, PAGE + 1, READING, EFAULT);
	CHECK(ftruncate(file, SIZE) == 0);

	memory = map(PROT_READ, MAP_SHARED, read_only);
	check("a read-only file", memory, SIZE, READING, 0);
	check("a read-only file", memory, SIZE, WRITING, EFAULT);
	memory = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, read_only);
	check("a private mapping of a file", memory, SIZE, WRITING, 0);
	memory = map(PROT_READ | PROT_WRITE, MAP_SHARED, -1);
	check("shared memory", memory, SIZE, WRITING, 0);

	memory = map(PROT_WRITE, MAP_PRIVATE, -1);
	check("memory that can only be written", memory, SIZE, WRITING, 0);
	memory = map(PROT_READ, MAP_PRIVATE, -1);
	check("memory that can only be read", memory, SIZE, READING, 0);
	check("memory that can only be read", memory, SIZE, WRITING, EFAULT);
	memory = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, -1);
	CHECK(munmap(memory + PAGE, PAGE) == 0);
	check("memory with a hole", memory, SIZE, READING, EFAULT);
	check("the page in front of the hole", memory, PAGE, WRITING, 0);
	CHECK(mprotect(memory + 2 * PAGE, PAGE, PROT_READ) == 0);
	check("two mappings", memory + 2 * PAGE, 2 * PAGE, READING, 0);
	check("two mappings", memory + 2 * PAGE, 2 * PAGE, WRITING, EFAULT);

	check("a constant", (void *)constant, sizeof(constant), READING, 0);
	check("the stack", local, sizeof(local), WRITING, 0);
	check("nothing", (void *)8, 100, READING, EFAULT);
}

/* the least time that a registration takes, in ns */
static uint64_t
least_time(char *memory)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < 300; i++) {
		const uint64_t begin = now_ns();
		uint64_t taken;

		check("memory", memory, PAGE, WRITING, 0);
		taken = now_ns() - begin;
		if (taken < least)
			least = taken;
	}

	return least;
}

static void
cost(void)
{
	const unsigned long mappings = env_number("REGISTRATION_MAPPINGS", 20000);
	char *memory = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, -1), *others;
	const uint64_t before = least_time(memory);
	uint64_t after;

	others = mmap(NULL, mappings * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(others != MAP_FAILED);
	for (unsigned long i = 0; i < mappings; i += 2)
		CHECK(mprotect(others + i * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
	after = least_time(memory);
	printf("a registration takes %.1f us, with %lu other mappings %.1f us\n", (double)before / 1000,
			mappings, (double)after / 1000);
	/* the kernel's own look-up is a little longer */
	if (after > 4 * before + 1000)
		die("that is too much");
	CHECK(munmap(others, mappings * PAGE) == 0);
}

static void
without_descriptors(void)
{
	const struct rlimit none = {0, 0};
	struct rlimit before;
	char *memory = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, -1);

	CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
	CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
	CHECK(open("/dev/null", O_RDONLY) < 0 && errno == EMFILE);
	check("memory, with no descriptor left", memory, SIZE, WRITING, 0);
	check("nothing, with no descriptor left", (void *)8, 100, READING, EFAULT);
}

int
main(int argc, char *argv[])
{
	struct sockaddr_storage address;
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *id;

	parse_address(&address, argc > 1 ? argv[1] : "127.0.0.1", 0);
	CHECK(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) == 0);
	CHECK(rdma_bind_addr(id, (struct sockaddr *)&address) == 0);
	pd = pd_of(id->verbs);
	kinds_of_memory();
	cost();
	without_descriptors();
	release_pd();
	CHECK(rdma_destroy_id(id) == 0);
	rdma_destroy_event_channel(channel);

	return 0;
}
