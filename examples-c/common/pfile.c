/* SPDX-License-Identifier: BSD-3-Clause */

#define _DEFAULT_SOURCE /* posix_fallocate(), with -std=c99 */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef USE_LIBPMEM2
#include <libpmem2.h>
#endif

#include "common.h"
#include "pfile.h"

static size_t round_up(size_t size, size_t alignment)
{
	return (size + alignment - 1) / alignment * alignment;
}

/* an open file with at least size bytes, or -1 */
static int open_file(const char *path, size_t size)
{
	struct stat info;
	int err;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	if (fd < 0) {
		complain("open %s: %s", path, strerror(errno));
		return -1;
	}
	if (fstat(fd, &info) != 0) {
		complain("fstat %s: %s", path, strerror(errno));
		goto fail;
	}
	/* PMem as a character device (device DAX) has its size */
	if (!S_ISREG(info.st_mode))
		return fd;

	/* allocate the space now: a store to a page without space would end in SIGBUS */
	err = posix_fallocate(fd, 0, (off_t)size);
	if (err != 0) {
		complain("%s: no space for %zu bytes: %s", path, size, strerror(err));
		goto fail;
	}
	return fd;

fail:
	(void) close(fd);
	return -1;
}

#ifdef USE_LIBPMEM2

const char *const pfile_method = "libpmem2";

/* libpmem2's functions return 0 or a negative number, for which pmem2_errormsg() has the text */
static int check(int ret, const char *call, const char *path)
{
	if (ret == 0)
		return 0;
	complain("%s: %s: %s", path, call, pmem2_errormsg());
	return -1;
}

int pfile_map(struct pfile *file, const char *path, size_t size)
{
	struct pmem2_config *cfg = NULL;
	struct pmem2_source *source = NULL;
	struct pmem2_map *map = NULL;
	size_t alignment = 0;
	int fd;
	int ret = -1;

	memset(file, 0, sizeof(*file));
	file->path = path;
	fd = open_file(path, round_up(size, (size_t)sysconf(_SC_PAGESIZE)));
	if (fd < 0)
		return -1;

	if (check(pmem2_source_from_fd(&source, fd), "pmem2_source_from_fd", path) != 0 ||
	    check(pmem2_source_alignment(source, &alignment), "pmem2_source_alignment", path) != 0)
		goto out;
	size = round_up(size, alignment);

	/* any kind of file will do; PMEM2_GRANULARITY_CACHE_LINE would require PMem */
	if (check(pmem2_config_new(&cfg), "pmem2_config_new", path) != 0 ||
	    check(pmem2_config_set_length(cfg, size), "pmem2_config_set_length", path) != 0 ||
	    check(pmem2_config_set_required_store_granularity(cfg, PMEM2_GRANULARITY_PAGE),
			"pmem2_config_set_required_store_granularity", path) != 0 ||
	    check(pmem2_map_new(&map, cfg, source), "pmem2_map_new", path) != 0)
		goto out;

	file->map = map;
	file->ptr = pmem2_map_get_address(map);
	file->mapped_size = size;
	file->on_pmem = pmem2_map_get_store_granularity(map) != PMEM2_GRANULARITY_PAGE;
	ret = 0;
out:
	if (cfg != NULL)
		(void) pmem2_config_delete(&cfg);
	if (source != NULL)
		(void) pmem2_source_delete(&source);
	(void) close(fd); /* the mapping stays */
	return ret;
}

int pfile_persist(const struct pfile *file, size_t offset, size_t size)
{
	/* the function that is right for this mapping; it has no failures to report */
	pmem2_get_persist_fn(file->map)((char *)file->ptr + offset, size);
	return 0;
}

int pfile_unmap(struct pfile *file)
{
	struct pmem2_map *map = file->map;

	if (map == NULL)
		return 0;
	file->map = NULL;
	file->ptr = NULL;
	return check(pmem2_map_delete(&map), "pmem2_map_delete", file->path);
}

#else /* without libpmem2 */

const char *const pfile_method = "mmap and msync";

int pfile_map(struct pfile *file, const char *path, size_t size)
{
	void *ptr;
	int fd;

	memset(file, 0, sizeof(*file));
	file->path = path;
	size = round_up(size, (size_t)sysconf(_SC_PAGESIZE));
	fd = open_file(path, size);
	if (fd < 0)
		return -1;

	ptr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ptr == MAP_FAILED) {
		complain("mmap %s: %s", path, strerror(errno));
		(void) close(fd);
		return -1;
	}
	(void) close(fd); /* the mapping stays */
	file->ptr = ptr;
	file->mapped_size = size;
	return 0;
}

int pfile_persist(const struct pfile *file, size_t offset, size_t size)
{
	/* msync() works on whole pages */
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t begin = offset / page * page;

	if (msync((char *)file->ptr + begin, offset - begin + size, MS_SYNC) != 0) {
		complain("msync %s: %s", file->path, strerror(errno));
		return -1;
	}
	return 0;
}

int pfile_unmap(struct pfile *file)
{
	void *ptr = file->ptr;

	if (ptr == NULL)
		return 0;
	file->ptr = NULL;
	if (munmap(ptr, file->mapped_size) != 0) {
		complain("munmap %s: %s", file->path, strerror(errno));
		return -1;
	}
	return 0;
}

#endif
