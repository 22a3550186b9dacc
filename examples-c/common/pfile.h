/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Persistent memory: a file that is mapped, and whose content survives the program.
 *
 * Built with USE_LIBPMEM2 this uses libpmem2, which knows how a store becomes persistent on each kind of
 * file: on persistent memory (PMem) it flushes CPU caches, elsewhere it calls msync(). Built without,
 * it always calls msync(), which is right for every file and slower on PMem.
 *
 * Functions return 0, or -1 after they have said why on stderr.
 */

#ifndef EXAMPLES_PFILE_H
#define EXAMPLES_PFILE_H

#include <stdbool.h>
#include <stddef.h>

struct pfile {
	void *ptr; /* the mapping; NULL when there is none */
	const char *path;
	bool on_pmem; /* known to be PMem: stores become persistent without msync() */
	size_t mapped_size;
	void *map; /* of libpmem2 */
};

/* how it was built: "libpmem2" or "mmap and msync" */
extern const char *const pfile_method;

/*
 * Maps the first size bytes of a file for reading and writing. The file is created if it does not exist,
 * and made longer if it is too short; its content stays.
 */
int pfile_map(struct pfile *file, const char *path, size_t size);

/* when it returns 0, what this program or a network card has stored there is persistent */
int pfile_persist(const struct pfile *file, size_t offset, size_t size);

/* also when nothing is mapped */
int pfile_unmap(struct pfile *file);

#endif /* EXAMPLES_PFILE_H */
