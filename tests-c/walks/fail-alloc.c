/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Preloaded: lets an allocation of librpma fail, the FAIL_ALLOC-th of those between fail_alloc_start() and
 * fail_alloc_stop(). An allocation is librpma's when its code makes the call. Those of libraries that it
 * calls, of other threads and of the program are none of its business, and succeed.
 *
 * Memory that librpma maps counts as well, and so does giving it back: munmap() may fail for want of memory.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct {
	void *(*malloc)(size_t);
	void *(*calloc)(size_t, size_t);
	void *(*realloc)(void *, size_t);
	int (*posix_memalign)(void **, size_t, size_t);
	void *(*aligned_alloc)(size_t, size_t);
	void (*free)(void *);
	void *(*mmap)(void *, size_t, int, int, int, off_t);
	int (*munmap)(void *, size_t);
} real;

/* where the code of librpma lies */
static uintptr_t begin, end;

static long wanted, seen;
static bool counting;

static int
find_librpma(struct dl_phdr_info *info, size_t size, void *unused)
{
	(void)size, (void)unused;
	if (strstr(info->dlpi_name, "librpma.so") == NULL)
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];

		if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
			continue;
		begin = info->dlpi_addr + part->p_vaddr;
		end = begin + part->p_memsz;
	}

	return 1;
}

#define FIND(function) (*(void **)&real.function = dlsym(RTLD_NEXT, #function))

/* libraries that were loaded later run before the constructor below, so this is called when it is needed */
static void
find_functions(void)
{
	static bool begun;

	if (begun)
		return;
	begun = true;
	FIND(malloc);
	FIND(calloc);
	FIND(realloc);
	FIND(posix_memalign);
	FIND(aligned_alloc);
	FIND(free);
	FIND(mmap);
	FIND(munmap);
}

__attribute__((constructor)) static void
prepare(void)
{
	const char *nth = getenv("FAIL_ALLOC");

	find_functions();
	dl_iterate_phdr(find_librpma, NULL);
	wanted = nth ? atol(nth) : 0;
}

void
fail_alloc_start(void)
{
	counting = true;
}

/* says whether there was an allocation to fail */
void
fail_alloc_stop(void)
{
	counting = false;
	fprintf(stderr, "fail-alloc: %ld allocations\n", seen);
}

/* whether the caller is librpma, and this is the one */
static bool
fails(void *caller)
{
	const uintptr_t at = (uintptr_t)caller;

	return counting && at >= begin && at < end && ++seen == wanted;
}

#define CALLER __builtin_return_address(0)

/* dlsym() itself may want memory, before there is a function to ask */
static _Alignas(16) char early[4096];
static size_t early_used;

static void *
early_alloc(size_t size)
{
	void *memory = early + early_used;

	early_used += (size + 15) / 16 * 16;
	if (early_used > sizeof(early))
		abort();

	return memory;
}

static bool
is_early(const void *memory)
{
	return (const char *)memory >= early && (const char *)memory < early + sizeof(early);
}

#define NEED(function) \
	do { \
		if (real.function == NULL) \
			find_functions(); \
	} while (0)

void *
malloc(size_t size)
{
	if (fails(CALLER)) {
		errno = ENOMEM;
		return NULL;
	}

	NEED(malloc);

	return real.malloc ? real.malloc(size) : early_alloc(size);
}

void *
calloc(size_t count, size_t size)
{
	if (fails(CALLER)) {
		errno = ENOMEM;
		return NULL;
	}

	NEED(calloc);

	return real.calloc ? real.calloc(count, size) : early_alloc(count * size);
}

void *
realloc(void *memory, size_t size)
{
	if (fails(CALLER)) {
		errno = ENOMEM;
		return NULL;
	}

	NEED(realloc);
	if (memory && is_early(memory)) {
		void *more = malloc(size);
		const size_t room = (size_t)(early + sizeof(early) - (char *)memory);

		return more ? memcpy(more, memory, size < room ? size : room) : NULL;
	}

	return real.realloc(memory, size);
}

void
free(void *memory)
{
	NEED(free);
	if (!is_early(memory))
		real.free(memory);
}

int
posix_memalign(void **memory, size_t alignment, size_t size)
{
	if (fails(CALLER))
		return ENOMEM;
	NEED(posix_memalign);

	return real.posix_memalign(memory, alignment, size);
}

void *
aligned_alloc(size_t alignment, size_t size)
{
	if (fails(CALLER)) {
		errno = ENOMEM;
		return NULL;
	}

	NEED(aligned_alloc);

	return real.aligned_alloc(alignment, size);
}

void *
mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
{
	if (fails(CALLER)) {
		errno = ENOMEM;
		return MAP_FAILED;
	}

	NEED(mmap);

	return real.mmap(addr, size, prot, flags, fd, offset);
}

int
munmap(void *addr, size_t size)
{
	if (fails(CALLER)) {
		errno = ENOMEM;
		return -1;
	}

	NEED(munmap);

	return real.munmap(addr, size);
}
