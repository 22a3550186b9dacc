/* SPDX-License-Identifier: BSD-3-Clause */
#include "common.h"
#include "device.h"

/* what the program runs just now */
static const char *topic_name;
static const char *group_name;

const char *
running_topic(void)
{
	return topic_name;
}

const char *
running_group(void)
{
	return group_name;
}

/* all tests of a group, or the one with this name */
static int
run_group(const struct topic *topic, const char *group, const char *only)
{
	const bool rdma = strcmp(group, "rdma") == 0;
	const struct CMUnitTest *tests = rdma ? topic->rdma : topic->nodev;
	const size_t count = rdma ? topic->rdma_count : topic->nodev_count;
	const char *left_out = getenv("RPMA_TEST_LEAVE_OUT");
	char name[64];

	if (count == 0) {
		printf("skipped: %s has no %s tests\n", topic->name, group);
		return EXIT_SKIPPED;
	}

	if (rdma && device_addr() == NULL) {
		printf("skipped: no RDMA device (set RXE_ADDR to the address of one)\n");
		return EXIT_SKIPPED;
	}

	group_name = group;
	snprintf(name, sizeof(name), "%s, %s", topic->name, group);

	if (only)
		cmocka_set_test_filter(only);
	if (left_out)
		cmocka_set_skip_filter(left_out);
	if (_cmocka_run_group_tests(name, tests, count, NULL, NULL))
		return EXIT_FAILURE;

	return only || differences_were_tested(topic->name, tests, count) ? 0 : EXIT_FAILURE;
}

bool
library_is_expected(void)
{
	const char *want = getenv("RPMA_TEST_LIBRARY");

	if (want == NULL || *want == '\0')
		return true;
	if (strcmp(want, library_is_original() ? "original" : "new") == 0)
		return true;
	printf("FAILED: RPMA_TEST_LIBRARY=%s, and the loader found another library\n", want);

	return false;
}

static void
print_tests(const char *topic, const struct CMUnitTest *tests, size_t count)
{
	for (size_t i = 0; i < count; i++)
		printf("%s: %s\n", topic, tests[i].name);
}

int
topic_main(const struct topic *topic, int argc, char *argv[])
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	topic_name = topic->name;

	if (argc > 1 && strcmp(argv[1], "helper") == 0 && topic->helper)
		return topic->helper(argc - 2, argv + 2);

	if (argc > 1 && strcmp(argv[1], "list") == 0) {
		print_tests(topic->name, topic->nodev, topic->nodev_count);
		print_tests(topic->name, topic->rdma, topic->rdma_count);
		return 0;
	}
	if (argc > 1 && strcmp(argv[1], "differences") == 0) {
		print_differences();
		return 0;
	}
	if (argc > 1 && strcmp(argv[1], "nodev") && strcmp(argv[1], "rdma")) {
		fprintf(stderr, "usage: %s [nodev|rdma [TEST] | list | differences]\n", argv[0]);
		return 2;
	}

	printf("library: %s, %s\n", library_path(), library_is_original() ? "the original" :
			"with all 89 functions");
	if (!library_is_expected())
		return EXIT_FAILURE;

	if (argc > 1)
		return run_group(topic, argv[1], argc > 2 ? argv[2] : NULL);

	const int nodev = run_group(topic, "nodev", NULL);
	const int rdma = run_group(topic, "rdma", NULL);

	if (nodev == EXIT_SKIPPED)
		return rdma;
	return rdma == EXIT_SKIPPED ? nodev : nodev | rdma;
}

void
expect_code(int got, int want, const char *call, const char *file, int line)
{
	if (got == want)
		return;

	print_error("%s\n  returned %d (%s)\n  expected %d (%s)\n", call,
			got, rpma_err_2str(got), want, rpma_err_2str(want));
	_fail(file, line);
}

void *
untouchable(void)
{
	static _Alignas(4096) char zeroes[4096];

	return zeroes;
}
