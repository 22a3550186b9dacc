/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mapped [ADDRESS]: regions that lie in a file which both processes can map. The initiator maps them, and then writes
 * and reads of any size need nothing from the owner: not while it is stopped either. What cannot be mapped is accessed
 * as before, and no lock, descriptor or mapping of either program is lost or left over.
 *
 *   softrdma run -- mapped
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: PAIR_WAIT_MS (10000: how long anything may take),
 * MAPPED_NEVER (1: nothing may be mapped, as in strict mode), MAPPED_ATOMIC (1: atomic writes, on a device that has
 * them).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "native.h"
#include "two-processes.h"

#define SIZE ((size_t)3 << 20)
#define PAGE ((size_t)4096)
#define DEPTH 16
#define WORD ((size_t)8)
/* where the client reads to */
#define INTO SIZE
#define NAME "mapped-region"
#define CONTROL "control-region"
/* how many requests make it worth while to map a region, and some more */
#define ENOUGH 100
/* regions of this size in one file, more of them than files of a process that are mapped */
#define MANY 600
#define SMALL ((size_t)64)
/* where their keys are */
#define KEYS (SIZE / 2)

enum kind {
	MEMORY_FILE,
	CLOSED,
	DELETED,
	DELETED_AND_CLOSED,
	REPLACED,
	REPLACED_AND_CLOSED,
	READ_ONLY,
	WITHIN,
	IN_PARTS,
	APART,
	PRIVATE,
	ANONYMOUS,
	NAMED,
	KINDS
};
static const struct {
	const char *name;
	bool is_mapped;
} kinds[KINDS] = {
	[MEMORY_FILE] = {"a memory file", true},
	[CLOSED] = {"a file whose descriptor is closed", true},
	[DELETED] = {"a file that is deleted", true},
	[DELETED_AND_CLOSED] = {"a file that is deleted and closed", false},
	[REPLACED] = {"a file whose name is another one's", true},
	[REPLACED_AND_CLOSED] = {"a closed file whose name is another one's", false},
	[READ_ONLY] = {"a file that is mapped for reading", true},
	[WITHIN] = {"a part of a mapping, with an offset", true},
	[IN_PARTS] = {"mappings that adjoin", true},
	[APART] = {"mappings of parts that do not adjoin", false},
	[PRIVATE] = {"a private mapping", false},
	[ANONYMOUS] = {"anonymous shared memory", false},
	[NAMED] = {"a file that is open", true},
};

static bool
is_never_mapped(void)
{
	return env_number("MAPPED_NEVER", 0) != 0;
}

static void
file_path(char *path, size_t size, pid_t owner)
{
	snprintf(path, size, "/dev/shm/" NAME "-%d", (int)owner);
}

/* --- the owner ----------------------------------------------------------------------------------- */

/* what the client is told of the regions, in the memory of the link */
struct regions {
	struct remote region;
	struct remote control;
};

struct owned {
	enum kind kind;
	int file;	/* -1: closed */
	char *mapping;
	size_t mapped;
	char *memory;
	struct ibv_mr *mr;
	struct ibv_mr *control;
	char *control_memory;
	struct ibv_mr *many[MANY];
};

static int
make_file(enum kind kind, size_t size)
{
	char path[64];
	int file;

	file_path(path, sizeof(path), getpid());
	if (kind == MEMORY_FILE || kind == WITHIN || kind == IN_PARTS || kind == APART || kind == PRIVATE)
		file = memfd_create(NAME, MFD_CLOEXEC);
	else
		file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CHECK(file >= 0 && ftruncate(file, (off_t)size) == 0);
	if (kind == READ_ONLY) {
		close(file);
		file = open(path, O_RDONLY | O_CLOEXEC);
		CHECK(file >= 0);
	}

	return file;
}

static void
map_owned(struct owned *owned)
{
	const int rights = owned->kind == READ_ONLY ? PROT_READ : PROT_READ | PROT_WRITE;
	const int flags = owned->kind == PRIVATE ? MAP_PRIVATE : MAP_SHARED;
	const size_t size = SIZE + 4 * PAGE;
	const off_t parts[2] = {0, (off_t)(owned->kind == APART ? SIZE / 2 + PAGE : SIZE / 2)};

	owned->mapped = SIZE;
	if (owned->kind == ANONYMOUS) {
		owned->mapping = mmap(NULL, SIZE, rights, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		CHECK(owned->mapping != MAP_FAILED);
		owned->memory = owned->mapping;
		return;
	}
	owned->file = make_file(owned->kind, size);
	if (owned->kind == WITHIN) {
		owned->mapped = SIZE + 2 * PAGE;
		owned->mapping = mmap(NULL, owned->mapped, rights, flags, owned->file, (off_t)PAGE);
		CHECK(owned->mapping != MAP_FAILED);
		owned->memory = owned->mapping + PAGE + 104;
		return;
	}
	owned->mapping = mmap(NULL, SIZE, rights, flags, owned->file, 0);
	CHECK(owned->mapping != MAP_FAILED);
	owned->memory = owned->mapping;
	if (owned->kind == IN_PARTS || owned->kind == APART) {
		for (int i = 0; i < 2; i++)
			CHECK(mmap(owned->mapping + (size_t)i * SIZE / 2, SIZE / 2, rights, flags | MAP_FIXED, owned->file,
					parts[i]) != MAP_FAILED);
		/* one mapping of the kernel becomes two */
		CHECK(mprotect(owned->mapping + SIZE / 2, SIZE / 2, PROT_READ) == 0);
		CHECK(mprotect(owned->mapping + SIZE / 2, SIZE / 2, rights) == 0);
	}
}

/* what happens to the file before the memory is registered */
static void
change_file(struct owned *owned)
{
	const enum kind kind = owned->kind;
	char path[64], other[80];
	int file;

	file_path(path, sizeof(path), getpid());
	snprintf(other, sizeof(other), "%s-other", path);
	if (kind == REPLACED || kind == REPLACED_AND_CLOSED) {
		file = open(other, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		CHECK(file >= 0 && ftruncate(file, (off_t)(SIZE + 4 * PAGE)) == 0 && close(file) == 0);
		CHECK(rename(other, path) == 0);
	}
	if (kind == DELETED || kind == DELETED_AND_CLOSED)
		CHECK(unlink(path) == 0);
	if (kind == CLOSED || kind == DELETED_AND_CLOSED || kind == REPLACED_AND_CLOSED) {
		CHECK(close(owned->file) == 0);
		owned->file = -1;
	}
}

static void
register_owned(struct link *link, struct owned *owned)
{
	const int writes = owned->kind == READ_ONLY ? 0 : IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
	struct regions *regions = (struct regions *)link->memory;

	owned->mr = ibv_reg_mr(pd_of(link->id->verbs), owned->memory, SIZE, writes | IBV_ACCESS_REMOTE_READ);
	CHECK(owned->mr);
	regions->region = (struct remote){(uintptr_t)owned->memory, owned->mr->rkey, SIZE};
	regions->control = (struct remote){(uintptr_t)owned->control_memory, owned->control->rkey, PAGE};
}

static void
register_many(struct link *link, struct owned *owned)
{
	for (size_t i = 0; i < MANY; i++) {
		owned->many[i] = ibv_reg_mr(pd_of(link->id->verbs), owned->memory + i * SMALL, SMALL, IBV_ACCESS_LOCAL_WRITE |
				IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
		CHECK(owned->many[i]);
		memcpy(owned->memory + KEYS + i * sizeof(uint32_t), &owned->many[i]->rkey, sizeof(uint32_t));
	}
}

/* what the client has written to each, seen through the file */
static void
check_many(const struct owned *owned)
{
	char wanted[MANY * WORD], is[WORD];

	fill(wanted, sizeof(wanted), 8);
	for (size_t i = 0; i < MANY; i++) {
		CHECK(pread(owned->file, is, WORD, (off_t)(i * SMALL)) == (ssize_t)WORD);
		if (memcmp(is, wanted + i * WORD, WORD) != 0)
			die("the bytes of region %zu are not there", i);
	}
}

static void
make_control(struct link *link, struct owned *owned)
{
	const int file = memfd_create(CONTROL, MFD_CLOEXEC);

	CHECK(file >= 0 && ftruncate(file, (off_t)PAGE) == 0);
	owned->control_memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(owned->control_memory != MAP_FAILED);
	owned->control = ibv_reg_mr(pd_of(link->id->verbs), owned->control_memory, PAGE, IBV_ACCESS_LOCAL_WRITE |
			IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
	CHECK(owned->control);
	/* the descriptor stays open, as that of any program */
}

/* the bytes that the client has written, seen through the file if the memory is gone */
static void
check_bytes(const struct owned *owned, uint64_t seed)
{
	char *wanted = malloc(SIZE), *is = owned->memory;

	CHECK(wanted);
	fill(wanted, SIZE, seed);
	if (!owned->mapping) {
		is = malloc(SIZE);
		CHECK(is && pread(owned->file, is, SIZE, 0) == (ssize_t)SIZE);
	}
	if (memcmp(wanted, is, SIZE) != 0)
		die("the bytes are not there: %s", kinds[owned->kind].name);
	if (!owned->mapping)
		free(is);
	free(wanted);
}

static void
lock_file(int file)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 7};

	CHECK(fcntl(file, F_SETLK, &lock) == 0);
}

static void
obey(struct link *link, struct owned *owned, const char *line)
{
	if (strncmp(line, "check ", 6) == 0) {
		check_bytes(owned, strtoul(line + 6, NULL, 10));
	} else if (strcmp(line, "fill") == 0) {
		/* through another descriptor, where the mapping is for reading */
		char path[64], *bytes = malloc(SIZE);
		int file;

		file_path(path, sizeof(path), getpid());
		file = open(path, O_RDWR | O_CLOEXEC);
		CHECK(bytes && file >= 0);
		fill(bytes, SIZE, 1);
		CHECK(pwrite(file, bytes, SIZE, 0) == (ssize_t)SIZE && close(file) == 0);
		free(bytes);
	} else if (strcmp(line, "deregister") == 0) {
		CHECK(ibv_dereg_mr(owned->mr) == 0);
		owned->mr = NULL;
	} else if (strcmp(line, "deregister and fill") == 0) {
		char *bytes = malloc(SIZE);

		CHECK(bytes);
		fill(bytes, SIZE, 1);
		CHECK(ibv_dereg_mr(owned->mr) == 0);
		owned->mr = NULL;
		/* from now on nobody else writes there; from the end, which a copy that goes on would come to later */
		for (size_t at = SIZE; at > 0; at -= PAGE)
			memcpy(owned->memory + at - PAGE, bytes + at - PAGE, PAGE);
		free(bytes);
	} else if (strcmp(line, "register") == 0) {
		register_owned(link, owned);
	} else if (strcmp(line, "register many") == 0) {
		register_many(link, owned);
	} else if (strcmp(line, "verify many") == 0) {
		check_many(owned);
	} else if (strcmp(line, "deregister many") == 0) {
		for (size_t i = 0; i < MANY; i++)
			CHECK(ibv_dereg_mr(owned->many[i]) == 0);
	} else if (strcmp(line, "unmap") == 0) {
		CHECK(munmap(owned->mapping, owned->mapped) == 0);
		owned->mapping = NULL;
	} else if (strcmp(line, "truncate") == 0) {
		CHECK(ftruncate(owned->file, 0) == 0);
	} else if (strcmp(line, "lock") == 0) {
		lock_file(owned->file);
	} else if (strcmp(line, "flock") == 0) {
		CHECK(flock(owned->file, LOCK_EX | LOCK_NB) == 0);
	} else if (strcmp(line, "close") == 0) {
		CHECK(close(owned->file) == 0);
		owned->file = -1;
	} else {
		die("no such order: %s", line);
	}
}

static int
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 4), *id;
	struct owned owned = {.kind = (enum kind)env_number("MAPPED_KIND", 0), .file = -1};
	const int clients = (int)env_number("MAPPED_CLIENTS", 1);
	struct link links[2];
	char line[64], path[64];

	map_owned(&owned);
	change_file(&owned);
	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	for (int i = 0; i < clients; i++) {
		id = await_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST);
		link_open(&links[i], id, PAGE, DEPTH);
		if (i == 0) {
			make_control(&links[0], &owned);
			register_owned(&links[0], &owned);
		} else {
			memcpy(links[i].memory, links[0].memory, sizeof(struct regions));
		}
		accept_link(&links[i]);
		CHECK(!links[i].ended);
		await_event(channel, RDMA_CM_EVENT_ESTABLISHED);
	}
	report("connected");
	while (listen_to_parent(line, sizeof(line)) && strcmp(line, "end") != 0) {
		obey(&links[0], &owned, line);
		report("done");
	}
	for (int i = 0; i < clients; i++)
		await_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	if (owned.mr)
		CHECK(ibv_dereg_mr(owned.mr) == 0);
	CHECK(ibv_dereg_mr(owned.control) == 0);
	for (int i = 0; i < clients; i++) {
		rdma_disconnect(links[i].id);
		link_close(&links[i]);
	}
	file_path(path, sizeof(path), getpid());
	unlink(path);
	close_server(channel, listener);

	return 0;
}

/* --- the client ---------------------------------------------------------------------------------- */

/* the process's mappings, if it may open no more files */
static FILE *kept_maps;

/* whether this process has a file of this name mapped */
static bool
has_mapped(const char *name)
{
	FILE *maps = kept_maps ? kept_maps : fopen("/proc/self/maps", "r");
	char line[512];
	bool found = false;

	CHECK(maps);
	rewind(maps);
	while (fgets(line, sizeof(line), maps))
		found = found || strstr(line, name) != NULL;
	if (maps != kept_maps)
		fclose(maps);

	return found;
}

static enum ibv_wc_status
one(struct link *link, enum ibv_wr_opcode opcode, size_t at, size_t length, size_t remote_at)
{
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_wc wc;

	post(link, opcode, 1, at, length, remote_at);
	while (drain(link, &wc) == 0)
		if (now_ns() > end)
			die("a request of %zu bytes does not complete", length);

	return wc.status;
}

static void
do_one(struct link *link, enum ibv_wr_opcode opcode, size_t at, size_t length, size_t remote_at)
{
	const enum ibv_wc_status status = one(link, opcode, at, length, remote_at);

	if (status != IBV_WC_SUCCESS)
		die("%zu bytes: %s", length, ibv_wc_status_str(status));
}

static struct regions
read_regions(struct link *link, struct remote own)
{
	struct regions regions;

	link->remote = own;
	do_one(link, IBV_WR_RDMA_READ, INTO, sizeof(regions), 0);
	memcpy(&regions, link->memory + INTO, sizeof(regions));

	return regions;
}

/* stores a value at once */
static enum ibv_wc_status
store(struct link *link, uint64_t value, size_t at)
{
	struct ibv_qp_ex *qp = ibv_qp_to_qp_ex(link->id->qp);
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_wc wc;

	ibv_wr_start(qp);
	qp->wr_id = 1;
	qp->wr_flags = IBV_SEND_SIGNALED;
	native_functions(qp)->wr_atomic_write(qp, link->remote.key, link->remote.address + at, &value);
	CHECK(ibv_wr_complete(qp) == 0);
	link->posted++;
	while (drain(link, &wc) == 0)
		if (now_ns() > end)
			die("an atomic write does not complete");

	return wc.status;
}

static void
store_values(struct link *link)
{
	uint64_t seen;

	for (uint64_t i = 1; i <= 1000; i++) {
		CHECK(store(link, i << 32 | i, i * WORD) == IBV_WC_SUCCESS);
		do_one(link, IBV_WR_RDMA_READ, INTO, WORD, i * WORD);
		memcpy(&seen, link->memory + INTO, WORD);
		CHECK(seen == (i << 32 | i));
	}
}

/* the next thread that maps regions, by its number and state; 0 if there is none, or no descriptor to look */
static int
next_mapper(DIR *tasks, char *state)
{
	struct dirent *task;
	int number = 0;

	while (number == 0 && (task = readdir(tasks))) {
		char path[64];
		FILE *stat;

		snprintf(path, sizeof(path), "/proc/self/task/%.16s/stat", task->d_name);
		stat = fopen(path, "re");
		if (stat && fscanf(stat, "%d (softrdma-map) %c", &number, state) != 2)
			number = 0;
		if (stat)
			fclose(stat);
	}

	return number;
}

/* whether it waits for something to do, as far as that can be seen */
static bool
mapper_sleeps(void)
{
	DIR *tasks = opendir("/proc/self/task");
	bool sleeps = true;
	char state;

	while (tasks && next_mapper(tasks, &state))
		sleeps = sleeps && state == 'S';
	if (tasks)
		closedir(tasks);

	return sleeps;
}

/* uses a region until requests are executed in its mapping, which is there a moment before that is known */
static void
use_until_mapped(struct link *link, struct remote region, const char *name)
{
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;

	link->remote = region;
	while (!has_mapped(name)) {
		for (int i = 0; i < ENOUGH; i++)
			do_one(link, IBV_WR_RDMA_READ, INTO, WORD, 0);
		if (now_ns() > end)
			die("it is not mapped: %s", name);
	}
	while (!mapper_sleeps()) {
		if (now_ns() > end)
			die("the thread that maps regions does not come to rest");
		pause_for(100);
	}
	/* requests that have found no mapping have some more not look for it */
	for (int i = 0; i < ENOUGH; i++)
		do_one(link, IBV_WR_RDMA_READ, INTO, WORD, 0);
}

/* uses a region, and then another one: when that is mapped, there is an answer for the first one, too */
static void
use_and_do_not_map(struct link *link, const struct regions *regions)
{
	link->remote = regions->region;
	for (int i = 0; i < ENOUGH; i++)
		do_one(link, IBV_WR_RDMA_READ, INTO, WORD, 0);
	if (!is_never_mapped())
		use_until_mapped(link, regions->control, CONTROL);
	link->remote = regions->region;
	for (int i = 0; i < ENOUGH; i++)
		do_one(link, IBV_WR_RDMA_READ, INTO, WORD, 0);
	CHECK(!has_mapped(NAME));
}

/* the whole region, in parts of these sizes */
static void
move_all(struct link *link, enum ibv_wr_opcode opcode, size_t at)
{
	static const size_t sizes[] = {8, 1, 100, 4096, 70000, 1 << 20, SIZE};
	size_t done = 0;

	for (size_t i = 0; done < SIZE; i++) {
		const size_t length = sizes[i % 7] < SIZE - done ? sizes[i % 7] : SIZE - done;

		do_one(link, opcode, at + done, length, done);
		done += length;
	}
}

static void
write_and_read(struct link *link, uint64_t seed)
{
	fill(link->memory, SIZE, seed);
	memset(link->memory + INTO, 0, SIZE);
	move_all(link, IBV_WR_RDMA_WRITE, 0);
	move_all(link, IBV_WR_RDMA_READ, INTO);
	CHECK(memcmp(link->memory, link->memory + INTO, SIZE) == 0);
}

/* eight bytes to each of many regions */
static void
write_many(struct link *link)
{
	const struct remote whole = link->remote;
	uint32_t keys[MANY];

	do_one(link, IBV_WR_RDMA_READ, INTO, sizeof(keys), KEYS);
	memcpy(keys, link->memory + INTO, sizeof(keys));
	fill(link->memory, MANY * WORD, 8);
	for (size_t i = 0; i < MANY; i++) {
		link->remote = (struct remote){whole.address + i * SMALL, keys[i], SMALL};
		do_one(link, IBV_WR_RDMA_WRITE, i * WORD, WORD, 0);
	}
	link->remote = whole;
}

static void
read_what_is_there(struct link *link)
{
	fill(link->memory, SIZE, 1);
	memset(link->memory + INTO, 0, SIZE);
	move_all(link, IBV_WR_RDMA_READ, INTO);
	CHECK(memcmp(link->memory, link->memory + INTO, SIZE) == 0);
}

static void
wait_until_unmapped(void)
{
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;

	while (has_mapped(NAME)) {
		if (now_ns() > end)
			die("it is still mapped");
		pause_for(500);
	}
}

/* the sockets of the thread that maps regions, which has descriptors of its own */
static unsigned
mapping_sockets(void)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned count = 0;
	int mapper;
	char state;

	CHECK(tasks);
	while ((mapper = next_mapper(tasks, &state))) {
		char path[64], target[64];
		struct dirent *fd;
		DIR *fds;

		snprintf(path, sizeof(path), "/proc/self/task/%d/fd", mapper);
		fds = opendir(path);
		while (fds && (fd = readdir(fds)))
			count += readlinkat(dirfd(fds), fd->d_name, target, sizeof(target)) > 0 &&
				strncmp(target, "socket:", 7) == 0;
		if (fds)
			closedir(fds);
	}
	closedir(tasks);

	return count;
}

/* the processes have had no connection for a while, though the region is registered */
static void
wait_until_let_go(void)
{
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;

	/* one is for jobs */
	while (has_mapped(NAME) || mapping_sockets() > 1) {
		if (now_ns() > end)
			die("%u sockets are left", mapping_sockets());
		pause_for(500);
	}
}

/* fewer descriptors than the library has already, or as many as before */
static void
limit_descriptors(bool is_low)
{
	struct rlimit limit;

	if (is_low) {
		kept_maps = fopen("/proc/self/maps", "r");
		CHECK(kept_maps);
	} else {
		fclose(kept_maps);
		kept_maps = NULL;
	}
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = is_low ? 1 : limit.rlim_max;
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* requests that succeed until the owner does not permit them any more, or is gone */
static void
write_until_refused(struct link *link, size_t length)
{
	const uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;

	while (one(link, IBV_WR_RDMA_WRITE, 0, length, 0) == IBV_WC_SUCCESS)
		if (now_ns() > end)
			die("requests succeed still");
}

/* a child has no mapping, and its end takes none away */
static void
fork_a_child(struct link *link)
{
	const pid_t child = fork_or_die();

	if (child == 0)
		_exit(has_mapped(NAME));
	wait_for_exit(child);
	CHECK(has_mapped(NAME));
	write_and_read(link, 77);
}

static void
work_in_order(struct link *link, struct remote own, char *line)
{
	struct regions regions = {.region = link->remote};
	unsigned before;
	int file = -1;

	while (listen_to_parent(line, 64) && strcmp(line, "end") != 0) {
		if (strcmp(line, "map") == 0) {
			regions = read_regions(link, own);
			use_until_mapped(link, regions.control, CONTROL);
			before = descriptors();
			use_until_mapped(link, regions.region, NAME);
			/* one more mapping takes none */
			CHECK(descriptors() <= before);
		} else if (strcmp(line, "do not map") == 0) {
			regions = read_regions(link, own);
			use_and_do_not_map(link, &regions);
		} else if (strncmp(line, "write ", 6) == 0) {
			write_and_read(link, strtoul(line + 6, NULL, 10));
		} else if (strcmp(line, "read") == 0) {
			read_what_is_there(link);
		} else if (strcmp(line, "use many") == 0) {
			write_many(link);
		} else if (strcmp(line, "mapped") == 0) {
			CHECK(has_mapped(NAME));
		} else if (strcmp(line, "unmapped") == 0) {
			wait_until_unmapped();
		} else if (strcmp(line, "store") == 0) {
			store_values(link);
		} else if (strcmp(line, "refused store") == 0) {
			CHECK(store(link, 1, 4) == IBV_WC_REM_ACCESS_ERR);
		} else if (strcmp(line, "refused") == 0) {
			CHECK(one(link, IBV_WR_RDMA_WRITE, 0, WORD, 0) == IBV_WC_REM_ACCESS_ERR);
		} else if (strcmp(line, "dead") == 0) {
			write_until_refused(link, WORD);
			wait_until_unmapped();
		} else if (strncmp(line, "stream ", 7) == 0) {
			fill(link->memory, SIZE, 99);
			do_one(link, IBV_WR_RDMA_WRITE, 0, SIZE, 0);
			report("streaming");
			write_until_refused(link, strtoul(line + 7, NULL, 10));
		} else if (strcmp(line, "few descriptors") == 0) {
			limit_descriptors(true);
		} else if (strcmp(line, "many descriptors") == 0) {
			limit_descriptors(false);
		} else if (strcmp(line, "fork") == 0) {
			fork_a_child(link);
		} else if (strncmp(line, "lock ", 5) == 0) {
			char path[64];

			file_path(path, sizeof(path), (pid_t)strtol(line + 5, NULL, 10));
			file = open(path, O_RDWR | O_CLOEXEC);
			CHECK(file >= 0);
			lock_file(file);
		} else {
			die("no such order: %s", line);
		}
		report("done");
	}
	if (file >= 0)
		close(file);
}

static int
work(const char *address, unsigned port)
{
	struct rdma_event_channel *channel = open_channel();
	struct link link;
	char line[64];

	CHECK(connect_link(&link, channel, address, port, 2 * SIZE, DEPTH));
	report("connected");
	work_in_order(&link, link.remote, line);
	rdma_disconnect(link.id);
	link_close(&link);
	if (getenv("MAPPED_LET_GO")) {
		wait_until_let_go();
		report("done");
	}
	release_pd();
	rdma_destroy_event_channel(channel);

	return 0;
}

/* --- the cases ----------------------------------------------------------------------------------- */

struct both {
	struct child owner;
	struct child client;
};

static void
order(struct child *child, const char *line)
{
	tell(child, line);
	expect(child, "done");
}

static struct both
begin(const char *address, enum kind kind)
{
	char number[16];
	struct both both;

	snprintf(number, sizeof(number), "%d", (int)kind);
	setenv("MAPPED_KIND", number, 1);
	both.owner = start("owner", address, 0);
	both.client = start("client", address, (unsigned)expect(&both.owner, "listening "));
	expect(&both.owner, "connected");
	expect(&both.client, "connected");

	return both;
}

static void
end(struct both *both)
{
	tell(&both->client, "end");
	finish(&both->client);
	tell(&both->owner, "end");
	finish(&both->owner);
}

static void
stop(const struct child *child)
{
	int status;

	CHECK(kill(child->pid, SIGSTOP) == 0);
	CHECK(waitpid(child->pid, &status, WUNTRACED) == child->pid && WIFSTOPPED(status));
}

static void
every_kind(const char *address)
{
	for (enum kind kind = 0; kind < KINDS; kind++) {
		struct both both = begin(address, kind);
		const bool is_mapped = kinds[kind].is_mapped && !is_never_mapped();

		order(&both.client, is_mapped ? "map" : "do not map");
		if (kind == READ_ONLY)
			order(&both.owner, "fill");
		if (is_mapped)
			stop(&both.owner);
		order(&both.client, kind == READ_ONLY ? "read" : "write 2");
		if (is_mapped)
			CHECK(kill(both.owner.pid, SIGCONT) == 0);
		if (kind != READ_ONLY)
			order(&both.owner, "check 2");
		order(&both.owner, "deregister");
		order(&both.client, "unmapped");
		end(&both);
		printf("%s: %smapped\n", kinds[kind].name, is_mapped ? "" : "not ");
	}
}

static void
registered_again(const char *address)
{
	struct both both = begin(address, MEMORY_FILE);

	for (int i = 0; i < 3; i++) {
		order(&both.client, "map");
		order(&both.client, "write 3");
		order(&both.owner, "deregister");
		order(&both.client, "unmapped");
		order(&both.owner, "register");
	}
	order(&both.client, "map");
	order(&both.owner, "deregister");
	order(&both.client, "refused");
	end(&both);
	printf("a region that was registered again was mapped again\n");
}

static void
let_go(const char *address)
{
	struct both both;

	setenv("MAPPED_LET_GO", "1", 1);
	both = begin(address, MEMORY_FILE);
	unsetenv("MAPPED_LET_GO");
	order(&both.client, "map");
	/* the end of its connection, for which the owner does nothing */
	order(&both.client, "end");
	finish(&both.client);
	tell(&both.owner, "end");
	finish(&both.owner);
	printf("nothing was left of a region when there was no connection any more\n");
}

/* as on a device, which has pinned the pages */
static void
unmapped_by_owner(const char *address)
{
	struct both both = begin(address, MEMORY_FILE);

	order(&both.client, "map");
	order(&both.owner, "unmap");
	order(&both.client, "write 4");
	order(&both.owner, "check 4");
	order(&both.owner, "deregister");
	order(&both.client, "unmapped");
	order(&both.client, "refused");
	end(&both);
	printf("writes went on to a file that the owner had unmapped, until it deregistered the region\n");
}

/* one answer is for all regions of a file: each of them is accessed by the file, as its memory is gone */
static void
many_regions(const char *address)
{
	struct both both = begin(address, MEMORY_FILE);

	order(&both.owner, "register many");
	order(&both.client, "map");
	order(&both.owner, "unmap");
	order(&both.client, "use many");
	order(&both.owner, "verify many");
	order(&both.owner, "deregister");
	order(&both.client, "mapped");
	order(&both.owner, "deregister many");
	order(&both.client, "unmapped");
	end(&both);
	printf("many regions of a file were mapped at once, until all of them were deregistered\n");
}

static void
truncated(const char *address)
{
	struct both both = begin(address, MEMORY_FILE);

	order(&both.client, "map");
	order(&both.owner, "truncate");
	order(&both.client, "refused");
	end(&both);
	printf("a file that was truncated was an error\n");
}

static void
owner_killed(const char *address)
{
	struct both both = begin(address, MEMORY_FILE);

	order(&both.client, "map");
	kill_child(&both.owner);
	order(&both.client, "dead");
	tell(&both.client, "end");
	finish(&both.client);
	printf("nothing was left of an owner that was killed\n");
}

/* while the peer copies, small requests and ones of the whole region, the memory becomes the owner's own again */
static void
deregistered_while_in_use(const char *address)
{
	static const char *const orders[] = {"stream 8", "stream 3145728", "stream 3145728", "stream 3145728"};

	for (unsigned i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		struct both both = begin(address, MEMORY_FILE);

		order(&both.client, "map");
		tell(&both.client, orders[i]);
		expect(&both.client, "streaming");
		order(&both.owner, "deregister and fill");
		expect(&both.client, "done");
		order(&both.owner, "check 1");
		order(&both.client, "unmapped");
		end(&both);
	}
	printf("what was deregistered during copies was not written any more\n");
}

/* a sandbox takes away descriptors that the process does not have yet */
static void
few_descriptors(const char *address)
{
	struct both both = begin(address, MEMORY_FILE);

	order(&both.client, "map");
	order(&both.client, "few descriptors");
	order(&both.owner, "deregister");
	order(&both.client, "unmapped");
	order(&both.client, "many descriptors");
	order(&both.owner, "register");
	order(&both.client, "map");
	end(&both);
	printf("regions were mapped after the process could open no file for a while\n");
}

static void
client_forked(const char *address)
{
	struct both both = begin(address, MEMORY_FILE);

	order(&both.client, "map");
	order(&both.client, "fork");
	order(&both.owner, "check 77");
	end(&both);
	printf("a child had no mapping\n");
}

/* whether a process has its lock on the file of the owner */
static bool
is_locked_by(const struct child *owner, pid_t who)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 7};
	char path[64];
	int file;

	file_path(path, sizeof(path), owner->pid);
	file = open(path, O_RDWR | O_CLOEXEC);
	CHECK(file >= 0 && fcntl(file, F_GETLK, &lock) == 0 && close(file) == 0);

	return lock.l_type != F_UNLCK && lock.l_pid == who;
}

/* locks of a process on a file go when it closes any descriptor of the file */
static void
locks_kept(const char *address)
{
	char line[32];

	for (int of_client = 0; of_client < 2; of_client++) {
		struct both both = begin(address, NAMED);
		const struct child *who = of_client ? &both.client : &both.owner;

		snprintf(line, sizeof(line), "lock %d", (int)both.owner.pid);
		if (of_client)
			order(&both.client, line);
		else
			order(&both.owner, "lock");
		CHECK(is_locked_by(&both.owner, who->pid));
		order(&both.client, "map");
		CHECK(is_locked_by(&both.owner, who->pid));
		order(&both.client, "write 5");
		order(&both.owner, "deregister");
		order(&both.client, "unmapped");
		CHECK(is_locked_by(&both.owner, who->pid));
		end(&both);
	}
	printf("no lock of either program was lost\n");
}

/* a lock of flock goes with the last use of the descriptor that has it: a mapping of the client must be none */
static void
lock_let_go(const char *address)
{
	struct both both = begin(address, NAMED);
	char path[64];
	int file;

	file_path(path, sizeof(path), both.owner.pid);
	file = open(path, O_RDWR | O_CLOEXEC);
	CHECK(file >= 0);
	order(&both.owner, "flock");
	order(&both.client, "map");
	CHECK(flock(file, LOCK_EX | LOCK_NB) != 0);
	order(&both.owner, "unmap");
	order(&both.owner, "close");
	CHECK(flock(file, LOCK_EX | LOCK_NB) == 0);
	CHECK(close(file) == 0);
	end(&both);
	printf("the lock of a file that is closed was let go\n");
}

static void
two_clients(const char *address)
{
	struct child owner, clients[2];
	unsigned port;

	setenv("MAPPED_KIND", "0", 1);
	setenv("MAPPED_CLIENTS", "2", 1);
	owner = start("owner", address, 0);
	unsetenv("MAPPED_CLIENTS");
	port = (unsigned)expect(&owner, "listening ");
	for (int i = 0; i < 2; i++) {
		clients[i] = start("client", address, port);
		expect(&clients[i], "connected");
	}
	expect(&owner, "connected");
	for (int i = 0; i < 2; i++)
		order(&clients[i], "map");
	for (int i = 0; i < 2; i++) {
		order(&clients[i], i == 0 ? "write 6" : "write 7");
		order(&owner, i == 0 ? "check 6" : "check 7");
	}
	order(&owner, "deregister");
	for (int i = 0; i < 2; i++) {
		order(&clients[i], "unmapped");
		tell(&clients[i], "end");
		finish(&clients[i]);
	}
	tell(&owner, "end");
	finish(&owner);
	printf("two clients mapped the region\n");
}

static void
atomic_writes(const char *address)
{
	struct both both = begin(address, WITHIN);

	order(&both.client, "map");
	stop(&both.owner);
	order(&both.client, "store");
	CHECK(kill(both.owner.pid, SIGCONT) == 0);
	order(&both.client, "refused store");
	end(&both);
	printf("atomic writes needed nothing from the owner\n");
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";

	native_operations = env_number("MAPPED_ATOMIC", 0) ? QP_EX_WITH_ATOMIC_WRITE : 0;
	if (argc == 4)
		return strcmp(argv[1], "owner") == 0 ? serve(argv[2]) : work(argv[2], (unsigned)atoi(argv[3]));

	skip_without(address);
	if (native_operations) {
		atomic_writes(address);
		return 0;
	}
	every_kind(address);
	if (is_never_mapped())
		return 0;
	registered_again(address);
	let_go(address);
	unmapped_by_owner(address);
	many_regions(address);
	truncated(address);
	owner_killed(address);
	deregistered_while_in_use(address);
	few_descriptors(address);
	client_forked(address);
	locks_kept(address);
	lock_let_go(address);
	two_clients(address);

	return 0;
}
