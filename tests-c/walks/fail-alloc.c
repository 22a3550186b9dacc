/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A preloaded library that makes an allocation of librpma fail: the FAIL_ALLOC-th of those between
 * fail_alloc_start() and fail_alloc_stop(). Only calls made by librpma's own code count; those of the libraries
 * that it calls, of other threads and of the program succeed.
 *
 * mmap() by librpma counts as well, and so does munmap(), which the original calls: it can fail when there is no
 * memory.
 *
 * The functions are replaced in librpma's global offset table. Defining malloc() here would not work under
 * valgrind, which replaces malloc() of all libraries.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static long wanted, seen;
static bool counting;

/* whether this allocation has to fail */
static bool
fails(void)
{
	if (!counting || ++seen != wanted)
		return false;
	errno = ENOMEM;

	return true;
}

static void *
failing_malloc(size_t size)
{
	return fails() ? NULL : malloc(size);
}

static void *
failing_calloc(size_t count, size_t size)
{
	return fails() ? NULL : calloc(count, size);
}

static void *
failing_realloc(void *memory, size_t size)
{
	return fails() ? NULL : realloc(memory, size);
}

static int
failing_posix_memalign(void **memory, size_t alignment, size_t size)
{
	return fails() ? ENOMEM : posix_memalign(memory, alignment, size);
}

static void *
failing_aligned_alloc(size_t alignment, size_t size)
{
	return fails() ? NULL : aligned_alloc(alignment, size);
}

static void *
failing_mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
{
	return fails() ? MAP_FAILED : mmap(addr, size, prot, flags, fd, offset);
}

static int
failing_munmap(void *addr, size_t size)
{
	return fails() ? -1 : munmap(addr, size);
}

static const struct {
	const char *name;
	void *function;
} replaced[] = {
	{"malloc", failing_malloc},
	{"calloc", failing_calloc},
	{"realloc", failing_realloc},
	{"posix_memalign", failing_posix_memalign},
	{"aligned_alloc", failing_aligned_alloc},
	{"mmap", failing_mmap},
	{"mmap64", failing_mmap},
	{"munmap", failing_munmap},
};

/* tables of a loaded library, from its dynamic section */
struct tables {
	ElfW(Addr) base;
	const ElfW(Sym) *symbols;
	const char *names;
};

/* the table that `tag` names; the loader has turned offsets into addresses, but not on every machine */
static const void *
table(const struct tables *tables, const ElfW(Dyn) *dynamic, ElfW(Sxword) tag)
{
	for (; dynamic->d_tag != DT_NULL; dynamic++) {
		if (dynamic->d_tag != tag)
			continue;

		const ElfW(Addr) at = dynamic->d_un.d_ptr;

		return (const void *)(at < tables->base ? at + tables->base : at);
	}

	return NULL;
}

static size_t
number(const ElfW(Dyn) *dynamic, ElfW(Sxword) tag)
{
	for (; dynamic->d_tag != DT_NULL; dynamic++) {
		if (dynamic->d_tag == tag)
			return dynamic->d_un.d_val;
	}

	return 0;
}

static void
replace(const struct tables *tables, const ElfW(Rela) *slots, size_t size)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	for (size_t i = 0; slots && i < size / sizeof(*slots); i++) {
		const ElfW(Sym) *symbol = &tables->symbols[ELF64_R_SYM(slots[i].r_info)];
		void **slot = (void **)(tables->base + slots[i].r_offset);

		for (size_t k = 0; k < sizeof(replaced) / sizeof(replaced[0]); k++) {
			if (strcmp(tables->names + symbol->st_name, replaced[k].name) != 0)
				continue;
			/* the loader may have made it read-only (RELRO) */
			if (mprotect((void *)((uintptr_t)slot & ~(page - 1)), page,
					PROT_READ | PROT_WRITE)) {
				perror("fail-alloc: mprotect");
				abort();
			}
			*slot = replaced[k].function;
		}
	}
}

static int
replace_in_librpma(struct dl_phdr_info *info, size_t size, void *unused)
{
	struct tables tables = {.base = info->dlpi_addr};
	const ElfW(Dyn) *dynamic = NULL;

	(void)size, (void)unused;
	if (strstr(info->dlpi_name, "librpma.so") == NULL)
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			dynamic = (const ElfW(Dyn) *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
	}
	if (dynamic == NULL)
		return 1;
	tables.symbols = table(&tables, dynamic, DT_SYMTAB);
	tables.names = table(&tables, dynamic, DT_STRTAB);
	replace(&tables, table(&tables, dynamic, DT_RELA), number(dynamic, DT_RELASZ));
	replace(&tables, table(&tables, dynamic, DT_JMPREL), number(dynamic, DT_PLTRELSZ));

	return 1;
}

__attribute__((constructor)) static void
prepare(void)
{
	const char *nth = getenv("FAIL_ALLOC");

	wanted = nth ? atol(nth) : 0;
}

void
fail_alloc_start(void)
{
	/* all libraries are loaded and relocated now */
	dl_iterate_phdr(replace_in_librpma, NULL);
	counting = true;
}

/* prints the number of allocations that could fail */
void
fail_alloc_stop(void)
{
	counting = false;
	fprintf(stderr, "fail-alloc: %ld allocations\n", seen);
}
