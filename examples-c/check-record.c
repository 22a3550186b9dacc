/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Verifies a file that one of the examples with persistent memory has written, after both of its programs
 * have ended: prints the text in it, and exits with 0 if the record is complete and, if TEXT is given,
 * has this text.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/common.h"

int main(int argc, char *argv[])
{
	const char *text;
	void *record;
	int status = EXIT_FAILURE;
	int fd;

	if (start("check", argc, argv, 1, 2, "FILE [TEXT]") != 0)
		return EXIT_FAILURE;

	fd = open(argv[1], O_RDONLY);
	if (fd < 0) {
		complain("open %s: %s", argv[1], strerror(errno));
		return EXIT_FAILURE;
	}
	if (lseek(fd, 0, SEEK_END) < (off_t)RECORD_SIZE) {
		complain("%s is shorter than a record", argv[1]);
		(void) close(fd);
		return EXIT_FAILURE;
	}
	record = mmap(NULL, RECORD_SIZE, PROT_READ, MAP_SHARED, fd, 0);
	(void) close(fd); /* the mapping stays */
	if (record == MAP_FAILED) {
		complain("mmap %s: %s", argv[1], strerror(errno));
		return EXIT_FAILURE;
	}

	text = record_verify(record);
	if (text == NULL) {
		complain("%s does not contain a complete record", argv[1]);
	} else if (argc > 2 && strcmp(text, argv[2]) != 0) {
		complain("the record in %s says: %s", argv[1], text);
	} else {
		say("%s contains a complete record of %zu bytes; it says: %s", argv[1], RECORD_SIZE, text);
		status = EXIT_SUCCESS;
	}
	if (munmap(record, RECORD_SIZE) != 0) {
		complain("munmap: %s", strerror(errno));
		status = EXIT_FAILURE;
	}
	return status;
}
