/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "holdings.h"

int
open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	if (!dir)
		return -1;
	while (readdir(dir))
		count++;
	closedir(dir);

	/* without ".", ".." and the directory itself */
	return count - 3;
}

static long
status_kib(const char *name)
{
	FILE *file = fopen("/proc/self/status", "re");
	const size_t length = strlen(name);
	char line[256];
	long kib = -1;

	if (!file)
		return -1;
	while (kib < 0 && fgets(line, sizeof(line), file)) {
		if (strncmp(line, name, length) == 0)
			sscanf(line + length, ": %ld", &kib);
	}
	fclose(file);

	return kib;
}

long
resident_kib(void)
{
	return status_kib("VmRSS");
}

long
resident_shared_kib(void)
{
	return status_kib("RssShmem");
}
