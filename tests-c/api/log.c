/* SPDX-License-Identifier: BSD-3-Clause */
/* Thresholds, the user's log function, and what the default one writes where. */
#define _GNU_SOURCE
#include <ctype.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "device.h"

/* logs one ERROR: a descriptor that is too short */
static void
cause_error(void)
{
	unsigned char desc[DESCRIPTOR_SIZE] = {0};
	struct rpma_mr_remote *remote = NULL;

	INVALID(rpma_mr_remote_from_descriptor(desc, 20, &remote));
}

/* logs one INFO: what a peer's descriptor says */
static void
cause_info(void)
{
	const unsigned char desc = 1;
	struct rpma_peer_cfg *cfg = NULL;

	SUCCEED(rpma_peer_cfg_from_descriptor(&desc, 1, &cfg));
	SUCCEED(rpma_peer_cfg_delete(&cfg));
}

/* logs one DEBUG: a remote region and its properties */
static void
cause_debug(void)
{
	unsigned char desc[DESCRIPTOR_SIZE];
	struct rpma_mr_remote *remote = NULL;

	put_descriptor(desc, 0x1000, 0x2000, 3, ALL_USAGES);
	SUCCEED(rpma_mr_remote_from_descriptor(desc, sizeof(desc), &remote));
	SUCCEED(rpma_mr_remote_delete(&remote));
}

static int
reset_log(void **unused)
{
	(void)unused;
	log_release();

	return 0;
}

/* --- thresholds --- */

static void
thresholds_at_load(void **unused)
{
	enum rpma_log_level level = RPMA_LOG_LEVEL_DEBUG;

	(void)unused;
	SUCCEED(rpma_log_get_threshold(RPMA_LOG_THRESHOLD, &level));
	assert_int_equal(level, RPMA_LOG_LEVEL_WARNING);
	SUCCEED(rpma_log_get_threshold(RPMA_LOG_THRESHOLD_AUX, &level));
	assert_int_equal(level, RPMA_LOG_DISABLED);
}

static void
thresholds_set_and_get(void **unused)
{
	(void)unused;
	for (int which = RPMA_LOG_THRESHOLD; which < RPMA_LOG_THRESHOLD_MAX; which++) {
		for (int level = RPMA_LOG_DISABLED; level <= RPMA_LOG_LEVEL_DEBUG; level++) {
			enum rpma_log_level got = RPMA_LOG_LEVEL_FATAL;
			enum rpma_log_level other = RPMA_LOG_LEVEL_FATAL;
			enum rpma_log_level other_before = RPMA_LOG_LEVEL_FATAL;

			SUCCEED(rpma_log_get_threshold(!which, &other_before));
			SUCCEED(rpma_log_set_threshold(which, level));
			SUCCEED(rpma_log_get_threshold(which, &got));
			assert_int_equal(got, level);
			SUCCEED(rpma_log_get_threshold(!which, &other));
			assert_int_equal(other, other_before);
		}
	}
}

static void
thresholds_refuse(void **unused)
{
	enum rpma_log_level level = UNTOUCHED_INT;
	static const int wrong_thresholds[] = {-1, RPMA_LOG_THRESHOLD_MAX, 100, INT32_MIN, INT32_MAX};
	static const int wrong_levels[] = {-2, RPMA_LOG_LEVEL_DEBUG + 1, 100, INT32_MIN, INT32_MAX};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(wrong_thresholds); i++) {
		const enum rpma_log_threshold wrong = (enum rpma_log_threshold)wrong_thresholds[i];

		INVALID(rpma_log_set_threshold(wrong, RPMA_LOG_LEVEL_INFO));
		INVALID(rpma_log_get_threshold(wrong, &level));
	}
	for (size_t i = 0; i < COUNT_OF(wrong_levels); i++) {
		const enum rpma_log_level wrong = (enum rpma_log_level)wrong_levels[i];

		INVALID(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, wrong));
		INVALID(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, wrong));
	}
	INVALID(rpma_log_get_threshold(RPMA_LOG_THRESHOLD, NULL));
	INVALID(rpma_log_get_threshold(RPMA_LOG_THRESHOLD_AUX, NULL));
	assert_int_equal(level, UNTOUCHED_INT);
	thresholds_at_load(NULL);
}

/* --- the user's function --- */

static void
user_function_gets_everything(void **unused)
{
	(void)unused;
	log_capture(RPMA_LOG_LEVEL_ERROR);
	cause_error();
	assert_int_equal(logged.count, 1);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
	assert_string_not_equal(logged.file, "");
	assert_true(logged.line > 0);
	assert_string_equal(logged.function, "rpma_mr_remote_from_descriptor");
	assert_non_null(strstr(logged.text, "20"));
	assert_int_equal(logged.text[strlen(logged.text) - 1], '\n');
}

static void
levels_are_filtered(void **unused)
{
	(void)unused;
	for (int threshold = RPMA_LOG_DISABLED; threshold <= RPMA_LOG_LEVEL_DEBUG; threshold++) {
		log_capture((enum rpma_log_level)threshold);
		cause_error();
		assert_int_equal(logged.count, threshold >= RPMA_LOG_LEVEL_ERROR);

		log_capture((enum rpma_log_level)threshold);
		cause_info();
		assert_int_equal(logged.count, threshold >= RPMA_LOG_LEVEL_INFO);
		if (logged.count) {
			assert_int_equal(logged.level, RPMA_LOG_LEVEL_INFO);
			assert_string_equal(logged.function, "rpma_peer_cfg_from_descriptor");
		}

		log_capture((enum rpma_log_level)threshold);
		cause_debug();
		assert_int_equal(logged.count, threshold >= RPMA_LOG_LEVEL_DEBUG);
		if (logged.count) {
			assert_int_equal(logged.level, RPMA_LOG_LEVEL_DEBUG);
			assert_string_equal(logged.function, "rpma_mr_remote_from_descriptor");
		}
	}
}

static void
auxiliary_threshold_does_not_filter(void **unused)
{
	(void)unused;
	log_capture(RPMA_LOG_LEVEL_ERROR);
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_DISABLED));
	cause_error();
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_LEVEL_DEBUG));
	cause_error();
	cause_info();
	assert_int_equal(logged.count, 2);
}

static void
null_restores_the_default_function(void **unused)
{
	(void)unused;
	log_capture(RPMA_LOG_LEVEL_ERROR);
	SUCCEED(rpma_log_set_function(NULL));
	cause_error();
	assert_int_equal(logged.count, 0);
}

/* --- the default function: stderr --- */

static void
stderr_by_auxiliary_threshold(void **unused)
{
	(void)unused;
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_LEVEL_DEBUG));
	for (int aux = RPMA_LOG_DISABLED; aux <= RPMA_LOG_LEVEL_DEBUG; aux++) {
		static const struct {
			int level;
			void (*cause)(void);
		} causes[] = {
			{RPMA_LOG_LEVEL_ERROR, cause_error},
			{RPMA_LOG_LEVEL_INFO, cause_info},
			{RPMA_LOG_LEVEL_DEBUG, cause_debug},
		};

		SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, (enum rpma_log_level)aux));
		for (size_t i = 0; i < COUNT_OF(causes); i++) {
			char *text = stderr_of(causes[i].cause);

			assert_int_equal(*text != '\0', causes[i].level <= aux);
			free(text);
		}
	}

	/* what the main threshold stops does not get that far */
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_DISABLED));
	char *text = stderr_of(cause_error);

	assert_string_equal(text, "");
	free(text);
}

/* "Mon DD HH:MM:SS.uuuuuu [tid] *LEVEL* file: line: function: text" */
static void
check_stderr_line(const char *text, const char *level, const char *function)
{
	const time_t now = time(NULL);
	char prefix[64];
	struct tm tm;
	bool recent = false;
	int tid = 0;
	int used = 0;
	const char *p;

	for (int ago = 0; ago < 5; ago++) {
		const time_t when = now - ago;

		assert_non_null(localtime_r(&when, &tm));
		strftime(prefix, sizeof(prefix), "%b %d %H:%M:%S.", &tm);
		recent = recent || strncmp(text, prefix, strlen(prefix)) == 0;
	}
	assert_true(recent);

	p = text + strlen(prefix);
	for (int i = 0; i < 6; i++)
		assert_true(isdigit((unsigned char)p[i]));
	assert_int_equal(sscanf(p + 6, " [%d] %n", &tid, &used), 1);
	assert_int_equal(p[6], ' ');
	assert_int_equal(tid, (int)syscall(SYS_gettid));

	p += 6 + used;
	assert_int_equal(strncmp(p, level, strlen(level)), 0);
	p += strlen(level);

	/* a file name without its directories; a line number, padded to three; the function */
	const char *colon = strstr(p, ": ");

	assert_non_null(colon);
	assert_true(colon > p);
	assert_null(memchr(p, '/', (size_t)(colon - p)));
	assert_null(memchr(p, ' ', (size_t)(colon - p)));
	p = colon + 2;

	char *end;
	const long line = strtol(p, &end, 10);

	assert_true(line > 0);
	assert_true(end - p >= 3);
	assert_int_equal(strncmp(end, ": ", 2), 0);
	p = end + 2;
	assert_int_equal(strncmp(p, function, strlen(function)), 0);
	p += strlen(function);
	assert_int_equal(strncmp(p, ": ", 2), 0);
	p += 2;

	/* one line */
	assert_true(strlen(p) > 1);
	assert_ptr_equal(strchr(p, '\n'), p + strlen(p) - 1);
}

static void
stderr_format(void **unused)
{
	char *text;

	(void)unused;
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_LEVEL_DEBUG));
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_LEVEL_DEBUG));

	text = stderr_of(cause_error);
	check_stderr_line(text, "*ERROR* ", "rpma_mr_remote_from_descriptor");
	free(text);
	text = stderr_of(cause_info);
	check_stderr_line(text, "*INFO*  ", "rpma_peer_cfg_from_descriptor");
	free(text);
	text = stderr_of(cause_debug);
	check_stderr_line(text, "*DEBUG* ", "rpma_mr_remote_from_descriptor");
	free(text);
}

/* --- the default function: syslog --- */

/*
 * A syslog daemon of our own, in a process with a /dev of its own: prints what arrives in /dev/log,
 * or the reason why that cannot be done here.
 */
static int
syslog_helper(int argc, char *argv[])
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
	void (*const causes[])(void) = {cause_error, cause_info, cause_debug};
	char message[2048];
	int daemon;

	(void)argc;
	(void)argv;
	if (unshare(geteuid() ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", "/dev", "tmpfs", 0, NULL)) {
		printf("skipped: no mount namespace of its own: %s\n", strerror(errno));
		return EXIT_SKIPPED;
	}

	daemon = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (daemon < 0 || bind(daemon, (struct sockaddr *)&address, sizeof(address))) {
		printf("skipped: no /dev/log of its own: %s\n", strerror(errno));
		return EXIT_SKIPPED;
	}

	/* always, whatever the auxiliary threshold says */
	rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_LEVEL_DEBUG);
	rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_DISABLED);
	for (size_t i = 0; i < COUNT_OF(causes); i++) {
		causes[i]();
		/* it was sent before the call returned */
		const ssize_t len = recv(daemon, message, sizeof(message) - 1, MSG_DONTWAIT);

		if (len < 0) {
			printf("nothing arrived\n");
			return EXIT_FAILURE;
		}
		message[len] = '\0';
		message[strcspn(message, "\n")] = '\0';
		printf("%s\n", message);
	}

	return EXIT_SUCCESS;
}

static void
syslog_format(void **unused)
{
	/* the severities of LOG_ERR, LOG_INFO, LOG_DEBUG in the facility LOG_LOCAL7 */
	static const struct {
		int priority;
		const char *level;
		const char *function;
	} want[] = {
		{23 * 8 + 3, "*ERROR* ", ": rpma_mr_remote_from_descriptor: "},
		{23 * 8 + 6, "*INFO*  ", ": rpma_peer_cfg_from_descriptor: "},
		{23 * 8 + 7, "*DEBUG* ", ": rpma_mr_remote_from_descriptor: "},
	};
	const char *const args[] = {"syslog", NULL};
	struct helper helper = start_helper(args);

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(want); i++) {
		char line[2048];
		char tag[32];

		helper_line(&helper, line, sizeof(line));
		if (strncmp(line, "skipped", 7) == 0) {
			print_message("%s\n", line);
			stop_helper(&helper, false);
			skip();
		}

		/* "<PRI>Mon DD HH:MM:SS rpma[pid]: *LEVEL* file: line: function: text" */
		int priority = 0;
		int used = 0;

		assert_int_equal(sscanf(line, "<%d>%n", &priority, &used), 1);
		assert_int_equal(priority, want[i].priority);
		snprintf(tag, sizeof(tag), "%d]: ", (int)helper.pid);

		const char *p = strstr(line, " rpma[");

		assert_non_null(p);
		assert_ptr_equal(p, line + used + strlen("Mon DD HH:MM:SS"));
		p += strlen(" rpma[");
		assert_int_equal(strncmp(p, tag, strlen(tag)), 0);
		p += strlen(tag);
		assert_int_equal(strncmp(p, want[i].level, strlen(want[i].level)), 0);
		assert_non_null(strstr(p, want[i].function));
	}
	assert_int_equal(stop_helper(&helper, false), 0);
}

/* --- threads --- */

static volatile int messages_of_threads;

static void
count_message(enum rpma_log_level level, const char *file_name, const int line_no,
		const char *function_name, const char *message_format, ...)
{
	(void)level;
	(void)file_name;
	(void)line_no;
	(void)function_name;
	(void)message_format;
	__atomic_add_fetch(&messages_of_threads, 1, __ATOMIC_RELAXED);
}

static void *
change_settings(void *unused)
{
	for (int i = 0; i < 2000; i++) {
		enum rpma_log_level level;

		rpma_log_set_threshold(RPMA_LOG_THRESHOLD, i % 2 ? RPMA_LOG_LEVEL_ERROR :
				RPMA_LOG_LEVEL_DEBUG);
		rpma_log_get_threshold(RPMA_LOG_THRESHOLD, &level);
		rpma_log_set_function(count_message);
	}

	return unused;
}

static void *
cause_messages(void *unused)
{
	unsigned char desc[DESCRIPTOR_SIZE] = {0};
	struct rpma_mr_remote *remote = NULL;

	for (int i = 0; i < 2000; i++)
		rpma_mr_remote_from_descriptor(desc, 20, &remote);

	return unused;
}

static void
many_threads(void **unused)
{
	pthread_t threads[4];

	(void)unused;
	SUCCEED(rpma_log_set_function(count_message));
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_LEVEL_ERROR));
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
				i % 2 ? change_settings : cause_messages, NULL), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);

	/* no setting that was ever in force would have stopped one */
	assert_int_equal(messages_of_threads, 2 * 2000);
}

/* --- with a device: the messages of a connection's life --- */

static void
failed_call_is_an_error_with_its_name(void **unused)
{
	struct rpma_peer *peer = open_peer(RPMA_UTIL_IBV_CONTEXT_LOCAL);
	struct rpma_ep *ep = UNTOUCHED_PTR;

	(void)unused;
	log_capture(RPMA_LOG_LEVEL_WARNING);
	EXPECT(rpma_ep_listen(peer, "203.0.113.1", "7204", &ep), RPMA_E_PROVIDER);
	assert_ptr_equal(ep, UNTOUCHED_PTR);
	assert_int_equal(logged.count, 1);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_ERROR);
	assert_non_null(strstr(logged.text, "rdma_bind_addr"));
	assert_non_null(strstr(logged.text, "Cannot assign requested address"));
	log_release();
	SUCCEED(rpma_peer_delete(&peer));
}

static void
notices_of_a_connection(void **unused)
{
	struct pair pair;

	(void)unused;
	pair_prepare(&pair);
	log_capture(RPMA_LOG_LEVEL_NOTICE);
	char port[PORT_LEN];
	struct rpma_ep *ep = listen_somewhere(pair.server.peer, port);

	assert_int_equal(logged.level, RPMA_LOG_LEVEL_NOTICE);
	assert_string_equal(logged.function, "rpma_ep_listen");
	assert_non_null(strstr(logged.text, port));
	log_release();
	SUCCEED(rpma_ep_shutdown(&ep));

	log_capture(RPMA_LOG_LEVEL_NOTICE);
	struct rpma_conn_req *req = new_request(pair.client.peer, pair.port, NULL);

	assert_int_equal(logged.count, 1);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_NOTICE);
	assert_string_equal(logged.function, "rpma_conn_req_new");
	assert_non_null(strstr(logged.text, pair.port));
	log_release();
	SUCCEED(rpma_conn_req_delete(&req));

	pair_connect(&pair, NULL, NULL);
	log_capture(RPMA_LOG_LEVEL_NOTICE);
	SUCCEED(rpma_conn_disconnect(pair.client.conn));
	assert_int_equal(logged.count, 1);
	assert_string_equal(logged.function, "rpma_conn_disconnect");
	EXPECT_EVENT(pair.server.conn, RPMA_CONN_CLOSED);
	assert_int_equal(logged.count, 2);
	assert_int_equal(logged.level, RPMA_LOG_LEVEL_NOTICE);
	assert_string_equal(logged.function, "rpma_conn_next_event");
	assert_string_equal(logged.text, "Connection closed\n");
	log_release();
	pair_release(&pair);
}

/* --- better than the original --- */

/* the lookup of a name is in a function of its own in either library */
static void
the_public_function_is_named(void **unused)
{
	struct ibv_context *ctx = NULL;

	(void)unused;
	BETTER(DIFF_FUNCTION_NAME);
	log_capture(RPMA_LOG_LEVEL_ERROR);
	EXPECT(rpma_utils_get_ibv_context("no.such.host.invalid", RPMA_UTIL_IBV_CONTEXT_REMOTE, &ctx),
			RPMA_E_PROVIDER);
	assert_int_equal(logged.count, 1);
	assert_string_equal(logged.function, "rpma_utils_get_ibv_context");
	assert_non_null(strstr(logged.text, "rdma_getaddrinfo("));
	assert_non_null(strstr(logged.text, "no.such.host.invalid"));
}

static char format_of_message[256];

static void
keep_format(enum rpma_log_level level, const char *file_name, const int line_no,
		const char *function_name, const char *message_format, ...)
{
	(void)level;
	(void)file_name;
	(void)line_no;
	(void)function_name;
	snprintf(format_of_message, sizeof(format_of_message), "%s", message_format);
}

static void
the_text_is_the_argument(void **unused)
{
	(void)unused;
	BETTER(DIFF_LOG_ARGUMENTS);
	SUCCEED(rpma_log_set_function(keep_format));
	cause_error();
	assert_string_equal(format_of_message, "%s");
}

#define AND_RESET(test) cmocka_unit_test_teardown(test, reset_log)

static const struct CMUnitTest nodev[] = {
	/* the first one: nothing has changed a threshold yet */
	AND_RESET(thresholds_at_load),
	AND_RESET(thresholds_set_and_get),
	AND_RESET(thresholds_refuse),
	AND_RESET(user_function_gets_everything),
	AND_RESET(levels_are_filtered),
	AND_RESET(auxiliary_threshold_does_not_filter),
	AND_RESET(null_restores_the_default_function),
	AND_RESET(stderr_by_auxiliary_threshold),
	AND_RESET(stderr_format),
	AND_RESET(syslog_format),
	AND_RESET(many_threads),
	AND_RESET(the_public_function_is_named),
	AND_RESET(the_text_is_the_argument),
};

static const struct CMUnitTest rdma[] = {
	AND_RESET(failed_call_is_an_error_with_its_name),
	AND_RESET(notices_of_a_connection),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "log", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
		.rdma = rdma, .rdma_count = COUNT_OF(rdma), .helper = syslog_helper,
	};

	return topic_main(&topic, argc, argv);
}
