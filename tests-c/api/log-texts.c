/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the log takes over from elsewhere: the time, texts of the C library in the language and the encoding
 * of the locale, addresses. All of it arrives, byte for byte.
 *
 * The locales are made here, since few machines have any; the texts of the C library come from a catalog
 * of this program. The functions of the C library that stand here come before those of the library, and
 * do what a test asks for in `odd`.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <libintl.h>
#include <locale.h>
#include <netdb.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "verbs.h"

#define NEXT(function) \
	__typeof__(function) *next = (__typeof__(function) *)(uintptr_t)dlsym(RTLD_NEXT, #function)

static struct {
	bool no_clock;
	bool no_local_time;
	bool no_room;
	int month;			/* instead of the one that it is, when above 0 */
	const char *month_name;		/* the same, when it is not NULL */
} odd;

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	NEXT(clock_gettime);

	if (odd.no_clock && clock == CLOCK_REALTIME) {
		errno = EINVAL;
		return -1;
	}

	return next(clock, now);
}

struct tm *
localtime_r(const time_t *when, struct tm *local)
{
	NEXT(localtime_r);

	if (odd.no_local_time) {
		errno = EOVERFLOW;
		return NULL;
	}
	if (next(when, local) && odd.month > 0)
		local->tm_mon = odd.month;

	return local;
}

size_t
strftime(char *text, size_t size, const char *format, const struct tm *local)
{
	char rest[32];
	size_t len;
	NEXT(strftime);

	if (odd.no_room)
		return 0;
	if (odd.month_name == NULL)
		return next(text, size, format, local);

	next(rest, sizeof(rest), " %d %H:%M:%S", local);
	len = (size_t)snprintf(text, size, "%s%s", odd.month_name, rest);

	return len < size ? len : 0;
}

/* --- what is logged --- */

static void
cause_error(void)
{
	struct rpma_mr_remote *remote = NULL;

	INVALID(rpma_mr_remote_from_descriptor("short", 5, &remote));
}

static void
cause_failure(void)
{
	struct ibv_context *ctx = NULL;

	verbs_fail("rdma_getaddrinfo", ENETUNREACH);
	EXPECT(rpma_utils_get_ibv_context("127.0.0.1", RPMA_UTIL_IBV_CONTEXT_LOCAL, &ctx),
			RPMA_E_PROVIDER);
}

static void
look_up(const char *name)
{
	struct ibv_context *ctx = NULL;

	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(rpma_utils_get_ibv_context(name, RPMA_UTIL_IBV_CONTEXT_LOCAL, &ctx), RPMA_E_PROVIDER);
	log_release();
}

/* what `text` ends with, before its newline */
static bool
ends_with(const char *text, const char *end)
{
	const size_t len = strlen(text);
	const size_t end_len = strlen(end);

	return len > end_len && text[len - 1] == '\n' &&
		strncmp(text + len - 1 - end_len, end, end_len) == 0;
}

/* where there is no device, names are not looked up; this library adds what takes the place of a device */
static bool
says_no_device(const char *text)
{
	return strcmp(running_group(), "nodev") == 0 && strstr(text, strerror(ENODEV)) != NULL;
}

/* why a name is not found: with a name server, without one, and without a device */
static void
assert_not_found(const char *text)
{
	if (!ends_with(text, gai_strerror(EAI_NONAME)) && !ends_with(text, gai_strerror(EAI_AGAIN)) &&
	    !says_no_device(text))
		fail_msg("no reason in \"%s\"", text);
}

/* --- the time --- */

static void
assert_time_error(void)
{
	static const char start[] = "[time error] [";
	char *text;

	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_LEVEL_ERROR));
	text = stderr_of(cause_error);
	if (strncmp(text, start, strlen(start)) != 0)
		fail_msg("no time error in \"%s\"", text);
	assert_non_null(strstr(text, "] *ERROR* "));
	free(text);
}

static void
clock_that_cannot_be_read(void **unused)
{
	(void)unused;
	odd.no_clock = true;
	assert_time_error();
}

static void
time_that_is_none(void **unused)
{
	(void)unused;
	odd.no_local_time = true;
	assert_time_error();
}

static void
time_that_cannot_be_written_down(void **unused)
{
	(void)unused;
	odd.no_room = true;
	assert_time_error();
}

/* the longest one that glibc has, that of bn_BD */
static void
month_with_a_long_name(void **unused)
{
	static const char september[] = "সেপ্টেম্বর";
	char *text;

	(void)unused;
	BETTER(DIFF_LONG_MONTH);
	odd.month_name = september;
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_LEVEL_ERROR));
	text = stderr_of(cause_error);
	if (strncmp(text, september, strlen(september)) != 0)
		fail_msg("\"%s\" does not begin with %s", text, september);
	free(text);
}

/* --- locales --- */

static char directory[] = "/tmp/rpma-locales-XXXXXX";
static bool entered;
static char *catalogs;

/* a catalog of messages as gettext reads it, which says nothing of its encoding: it is not converted */
static void
write_catalog(const char *path, const char *const texts[][2], uint32_t count)
{
	const uint32_t header[] = {0x950412de, 0, count, 28, 28 + 8 * count, 0, 0};
	uint32_t at = 28 + 16 * count;
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fwrite(header, sizeof(header), 1, file);
	for (int side = 0; side < 2; side++) {
		for (uint32_t i = 0; i < count; i++) {
			const uint32_t place[] = {(uint32_t)strlen(texts[i][side]), at};

			fwrite(place, sizeof(place), 1, file);
			at += place[0] + 1;
		}
	}
	for (int side = 0; side < 2; side++) {
		for (uint32_t i = 0; i < count; i++)
			fwrite(texts[i][side], strlen(texts[i][side]) + 1, 1, file);
	}
	assert_int_equal(fclose(file), 0);
}

/* without what is preloaded into this program alone */
static int
run_command(const char *command)
{
	const char *preload = getenv("LD_PRELOAD");
	char *before = preload ? strdup(preload) : NULL;
	int status;

	unsetenv("LD_PRELOAD");
	status = system(command);
	if (before)
		setenv("LD_PRELOAD", before, 1);
	free(before);

	return status;
}

static void
remove_locales(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", directory);
	if (run_command(command) != 0)
		print_error("%s is left\n", directory);
}

/* makes a locale and goes into it, until the test ends; false, with a message, where that is not possible */
static bool
enter_locale(const char *name, const char *encoding)
{
	char command[512];
	char full[64];

	if (mkdtemp(strcpy(directory, "/tmp/rpma-locales-XXXXXX")) == NULL)
		fail_msg("%s: %s", directory, strerror(errno));
	snprintf(full, sizeof(full), "%s.%s", name, encoding);
	/* it warns, and so returns 1, of what does not matter here */
	snprintf(command, sizeof(command), "localedef --force --inputfile=%s --charmap=%s %s/%s "
			">%s/log 2>&1", name, encoding, directory, full, directory);
	const int status = run_command(command);

	entered = true;
	catalogs = bindtextdomain("libc", NULL);
	catalogs = catalogs ? strdup(catalogs) : NULL;
	setenv("LOCPATH", directory, 1);
	if (setlocale(LC_ALL, full) == NULL) {
		print_message("skipped: no locale %s: localedef, or what it needs of the package "
				"locales, is not there (status %d)\n", full, status);
		return false;
	}

	return true;
}

static void
leave_locale(void)
{
	if (!entered)
		return;
	entered = false;
	setlocale(LC_ALL, "C");
	unsetenv("LOCPATH");
	bindtextdomain("libc", catalogs);
	free(catalogs);
	remove_locales();
}

static int
reset(void **unused)
{
	(void)unused;
	memset(&odd, 0, sizeof(odd));
	leave_locale();
	log_release();
	verbs_reset();

	return 0;
}

/* as they are, whatever their encoding */
static void
months_of_the_locale(void **unused)
{
	static const struct {
		const char *name;
		const char *encoding;
		int month;
	} locales[] = {
		{"fr_FR", "ISO-8859-1", 1},
		{"ru_RU", "UTF-8", 1},
	};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(locales); i++) {
		const struct tm month = {.tm_mon = locales[i].month};
		char want[128];
		char *text;

		if (!enter_locale(locales[i].name, locales[i].encoding))
			skip();
		assert_true(strftime(want, sizeof(want), "%b ", &month) > 0);
		odd.month = locales[i].month;
		SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_LEVEL_ERROR));
		text = stderr_of(cause_error);
		leave_locale();
		/* this is no test otherwise */
		assert_true((unsigned char)want[1] > 0x7f);
		if (strncmp(text, want, strlen(want)) != 0)
			fail_msg("%s does not begin with %s", text, want);
		assert_non_null(strstr(text, "*ERROR* "));
		free(text);
	}
}

/* longer than any of the real ones, and not in UTF-8 */
#define LONG "r\xe9seau \xe0 l'\xe9tranger, " "au-del\xe0 de la mer, " "au-del\xe0 des montagnes, "

static void
reasons_in_the_language_of_the_locale(void **unused)
{
	static const char *const texts[][2] = {
		{"Name or service not known", "nom " LONG LONG "inconnu"},
		{"Network is unreachable", "r\xe9seau " LONG LONG "inaccessible"},
		{"No such device", "appareil " LONG LONG "inconnu"},
		{"Temporary failure in name resolution", "nom " LONG LONG "pas encore connu"},
	};
	char path[128];
	char want[256];
	char *text;

	(void)unused;
	if (!enter_locale("fr_FR", "ISO-8859-1"))
		skip();
	snprintf(path, sizeof(path), "%s/fr", directory);
	assert_int_equal(mkdir(path, 0700), 0);
	strcat(path, "/LC_MESSAGES");
	assert_int_equal(mkdir(path, 0700), 0);
	strcat(path, "/libc.mo");
	write_catalog(path, texts, COUNT_OF(texts));
	bindtextdomain("libc", directory);
	snprintf(want, sizeof(want), "%s", strerror(ENETUNREACH));
	assert_string_equal(want, texts[1][1]);

	log_capture(RPMA_LOG_LEVEL_WARNING);
	cause_failure();
	if (!ends_with(logged.text, want))
		fail_msg("no reason in %s", logged.text);
	log_release();

	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_LEVEL_ERROR));
	text = stderr_of(cause_failure);
	if (!ends_with(text, want))
		fail_msg("no reason in %s", text);
	free(text);

	look_up("no.such.host.invalid");
	assert_not_found(logged.text);
	assert_non_null(strstr(logged.text, LONG LONG));
}

/* --- addresses --- */

static const char *
long_name(size_t len)
{
	static char name[2048];

	memset(name, 'a', len);
	strcpy(name + len, ".invalid");

	return name;
}

static void
long_names_and_why_they_are_not_found(void **unused)
{
	static const size_t lengths[] = {40, 60, 100, 240, 700};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(lengths); i++) {
		look_up(long_name(lengths[i]));
		assert_non_null(strstr(logged.text, long_name(lengths[i])));
		assert_not_found(logged.text);
	}

	/* more than a line holds: why is told nevertheless */
	look_up(long_name(2000));
	assert_not_found(logged.text);
}

static void
names_in_another_encoding(void **unused)
{
	static const char name[] = "h\xf4te-\xe9tranger.invalid";

	(void)unused;
	look_up(name);
	assert_non_null(strstr(logged.text, name));
	assert_not_found(logged.text);
}

/* --- the rest --- */

static void
words_and_place_are_its_own(void **unused)
{
	(void)unused;
	BETTER(DIFF_LOG_WORDS);
	log_capture(RPMA_LOG_LEVEL_ERROR);
	cause_error();
	assert_string_equal(logged.file + strlen(logged.file) - 3, ".rs");
	assert_string_equal(logged.text, "incorrect size of the descriptor: 5 bytes (at least 21 "
			"expected)\n");
}

/* a user without a device learns what to use instead, and a user with another failure does not */
static void
without_a_device_softrdma_is_named(void **unused)
{
	struct ibv_context *ctx = NULL;

	(void)unused;
	BETTER(DIFF_LOG_WORDS);
	verbs_fail("rdma_getaddrinfo", ENODEV);
	log_capture(RPMA_LOG_LEVEL_ERROR);
	EXPECT(rpma_utils_get_ibv_context("192.0.2.1", RPMA_UTIL_IBV_CONTEXT_LOCAL, &ctx),
			RPMA_E_PROVIDER);
	assert_int_equal(logged.count, 1);
	assert_non_null(strstr(logged.text,
			"No such device (use softrdma, rxe or siw: see librpma(7))\n"));
	log_release();

	log_capture(RPMA_LOG_LEVEL_ERROR);
	cause_failure();
	assert_int_equal(logged.count, 1);
	assert_null(strstr(logged.text, "softrdma"));
	log_release();
}

/* --- with a device --- */

static void
listen_on(struct rpma_peer *peer, const char *addr, const char *port)
{
	struct rpma_ep *ep = NULL;

	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(rpma_ep_listen(peer, addr, port, &ep), RPMA_E_PROVIDER);
	log_release();
}

static void
names_of_services(void **unused)
{
	struct rpma_peer *peer = open_peer(RPMA_UTIL_IBV_CONTEXT_LOCAL);
	struct rpma_conn_req *req = NULL;

	(void)unused;
	listen_on(peer, long_name(240), "7204");
	assert_non_null(strstr(logged.text, long_name(240)));
	assert_non_null(strstr(logged.text, "7204"));
	assert_not_found(logged.text);

	listen_on(peer, device_addr(), "no-such-s\xe9rvice");
	assert_non_null(strstr(logged.text, device_addr()));
	assert_non_null(strstr(logged.text, "no-such-s\xe9rvice"));
	assert_true(ends_with(logged.text, gai_strerror(EAI_SERVICE)));

	/* more than a line holds */
	listen_on(peer, device_addr(), long_name(2000));
	assert_non_null(strstr(logged.text, device_addr()));
	assert_true(ends_with(logged.text, gai_strerror(EAI_SERVICE)));

	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(rpma_conn_req_new(peer, long_name(240), "7204", NULL, &req), RPMA_E_PROVIDER);
	log_release();
	assert_non_null(strstr(logged.text, long_name(240)));
	assert_non_null(strstr(logged.text, "7204"));
	assert_not_found(logged.text);
	SUCCEED(rpma_peer_delete(&peer));
}

#define AND_RESET(test) cmocka_unit_test_teardown(test, reset)

static const struct CMUnitTest nodev[] = {
	AND_RESET(clock_that_cannot_be_read),
	AND_RESET(time_that_is_none),
	AND_RESET(time_that_cannot_be_written_down),
	AND_RESET(month_with_a_long_name),
	AND_RESET(months_of_the_locale),
	AND_RESET(reasons_in_the_language_of_the_locale),
	AND_RESET(long_names_and_why_they_are_not_found),
	AND_RESET(names_in_another_encoding),
	AND_RESET(words_and_place_are_its_own),
	AND_RESET(without_a_device_softrdma_is_named),
};

/* names are looked up where there is a device */
static const struct CMUnitTest rdma[] = {
	AND_RESET(reasons_in_the_language_of_the_locale),
	AND_RESET(long_names_and_why_they_are_not_found),
	AND_RESET(names_in_another_encoding),
	AND_RESET(names_of_services),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "log-texts", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
		.rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
