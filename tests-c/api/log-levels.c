/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A message of each level, as the default function writes it to stderr and to syslog. The program has
 * the functions of syslog itself, and looks at what the library hands to them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <regex.h>
#include <syslog.h>
#include <unistd.h>

#include "failing.h"

/* --- in front of syslog --- */

static struct {
	char ident[16];
	int option;
	int facility;
	int priority;
	char text[1024];
	int count;
} seen;

/* called when the library is loaded */
void
openlog(const char *ident, int option, int facility)
{
	void (*real)(const char *, int, int);

	snprintf(seen.ident, sizeof(seen.ident), "%s", ident);
	seen.option = option;
	seen.facility = facility;
	*(void **)&real = dlsym(RTLD_NEXT, "openlog");
	real(ident, option, facility);
}

static void
see(int priority, const char *format, va_list args)
{
	seen.count++;
	seen.priority = priority;
	vsnprintf(seen.text, sizeof(seen.text), format, args);
}

void
syslog(int priority, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	see(priority, format, args);
	va_end(args);
}

void __syslog_chk(int priority, int flag, const char *format, ...);

void
__syslog_chk(int priority, int flag, const char *format, ...)
{
	va_list args;

	(void)flag;
	va_start(args, format);
	see(priority, format, args);
	va_end(args);
}

/* --- a message of each level --- */

static void
cause_error(struct pair *pair)
{
	struct rpma_mr_remote *remote = NULL;

	(void)pair;
	INVALID(rpma_mr_remote_from_descriptor("short", 5, &remote));
}

static void
cause_warning(struct pair *pair)
{
	enum rpma_conn_event event;

	SUCCEED(rpma_conn_disconnect(pair->server.conn));
	verbs_change_event(RDMA_CM_EVENT_MULTICAST_ERROR);
	EXPECT(rpma_conn_next_event(pair->client.conn, &event), RPMA_E_UNKNOWN);
}

static void
cause_notice(struct pair *pair)
{
	struct rpma_ep *ep = NULL;

	SUCCEED(rpma_ep_listen(pair->server.peer, device_addr(), "0", &ep));
	SUCCEED(rpma_ep_shutdown(&ep));
}

static void
cause_info(struct pair *pair)
{
	struct rpma_peer_cfg *cfg = NULL;

	(void)pair;
	SUCCEED(rpma_peer_cfg_from_descriptor("", 1, &cfg));
	SUCCEED(rpma_peer_cfg_delete(&cfg));
}

static void
cause_debug(struct pair *pair)
{
	EXPECT_NO_WC(pair->client.cq);
}

static const struct {
	void (*cause)(struct pair *pair);
	enum rpma_log_level level;
	const char *tag;		/* as a regular expression */
	int priority;
	const char *function;
} levels[] = {
	{cause_error, RPMA_LOG_LEVEL_ERROR, "\\*ERROR\\* ", LOG_ERR, "rpma_mr_remote_from_descriptor"},
	{cause_notice, RPMA_LOG_LEVEL_NOTICE, "\\*NOTE\\*  ", LOG_NOTICE, "rpma_ep_listen"},
	{cause_info, RPMA_LOG_LEVEL_INFO, "\\*INFO\\*  ", LOG_INFO, "rpma_peer_cfg_from_descriptor"},
	{cause_debug, RPMA_LOG_LEVEL_DEBUG, "\\*DEBUG\\* ", LOG_DEBUG, "rpma_cq_get_wc"},
	/* the last one: it takes the connection down */
	{cause_warning, RPMA_LOG_LEVEL_WARNING, "\\*WARN\\*  ", LOG_WARNING, "rpma_conn_next_event"},
};

/* lets one level pass, causes its message, and returns what came to stderr, to be freed */
static char *
message_of(size_t i, struct pair *pair)
{
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, levels[i].level));
	stderr_capture();
	levels[i].cause(pair);
	log_release();

	return stderr_release();
}

static void
assert_no_message(size_t i, struct pair *pair)
{
	char *text = message_of(i, pair);

	assert_string_equal(text, "");
	free(text);
}

static void
assert_matches(const char *text, const char *expression)
{
	regex_t regex;

	assert_int_equal(regcomp(&regex, expression, REG_EXTENDED | REG_NOSUB), 0);
	if (regexec(&regex, text, 0, NULL, 0) != 0)
		fail_msg("\"%s\" does not match %s", text, expression);
	regfree(&regex);
}

static void
stderr_and_syslog(void **state)
{
	for (size_t i = 0; i < COUNT_OF(levels); i++) {
		char expression[512];
		char *text;

		memset(&seen.text, 0, sizeof(seen.text));
		SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, levels[i].level));
		text = message_of(i, *state);
		/* one line or more of this level, the last one for itself */
		snprintf(expression, sizeof(expression), "(^|\n)[A-Z][a-z]{2} [0-9]{2} "
				"[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6} \\[%d\\] %s[^/: ]+: +[0-9]+: "
				"%s: [^\n]+\n$", (int)gettid(), levels[i].tag, levels[i].function);
		assert_matches(text, expression);
		free(text);

		assert_int_equal(seen.priority, levels[i].priority);
		snprintf(expression, sizeof(expression), "^%s[^/: ]+: +[0-9]+: %s: [^\n]+\n$",
				levels[i].tag, levels[i].function);
		assert_matches(seen.text, expression);
	}
}

static void
syslog_alone(void **state)
{
	for (size_t i = 0; i < COUNT_OF(levels); i++) {
		memset(&seen.text, 0, sizeof(seen.text));
		SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX,
				(enum rpma_log_level)(levels[i].level - 1)));
		assert_no_message(i, *state);
		assert_int_equal(seen.priority, levels[i].priority);
		assert_string_not_equal(seen.text, "");
	}
}

static void
neither_with_a_function_of_ones_own(void **state)
{
	for (size_t i = 0; i < COUNT_OF(levels); i++) {
		log_capture(levels[i].level);
		SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_LEVEL_DEBUG));
		seen.count = 0;
		assert_no_message(i, *state);
		assert_int_equal(seen.count, 0);
		assert_true(logged.count >= 1);
		assert_int_equal(logged.level, levels[i].level);
		assert_string_equal(logged.function, levels[i].function);
	}
}

static void
nothing_when_disabled(void **state)
{
	(void)state;
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_DISABLED));
	SUCCEED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, RPMA_LOG_LEVEL_DEBUG));
	seen.count = 0;
	cause_error(*state);
	cause_info(*state);
	assert_int_equal(seen.count, 0);
}

static void
opened_at_load(void **unused)
{
	(void)unused;
	assert_string_equal(seen.ident, "rpma");
	assert_int_equal(seen.option, LOG_PID);
	assert_int_equal(seen.facility, LOG_LOCAL7);
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, connect_seen, release_seen)

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(opened_at_load),
};

static const struct CMUnitTest rdma[] = {
	WITH_PAIR(stderr_and_syslog),
	WITH_PAIR(syslog_alone),
	WITH_PAIR(neither_with_a_function_of_ones_own),
	WITH_PAIR(nothing_when_disabled),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "log-levels", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
		.rdma = rdma, .rdma_count = COUNT_OF(rdma),
	};

	return topic_main(&topic, argc, argv);
}
