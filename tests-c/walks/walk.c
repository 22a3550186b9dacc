/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * walk SCENARIO: runs the scenario WALK_RUNS times (3 without) in one process. The first run is a clean
 * one, the second is the one that is walked, and the third shows that the process is none the worse for it.
 * WALK_PATIENCE_MS: how long the second run waits for what may not come.
 *
 * fail-alloc.c fails an allocation of the second run, if it is loaded.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "holdings.h"
#include "walk.h"

#define WALKED_RUN 1
#define PATIENCE_MS 20000

static int run;
/* something did not come in this run */
static bool disappointed;

/* --- steps --- */

static const char *
code_name(int ret)
{
	switch (ret) {
	case 0:
		return "0";
	case RPMA_E_UNKNOWN:
		return "UNKNOWN";
	case RPMA_E_NOSUPP:
		return "NOSUPP";
	case RPMA_E_PROVIDER:
		return "PROVIDER";
	case RPMA_E_NOMEM:
		return "NOMEM";
	case RPMA_E_INVAL:
		return "INVAL";
	case RPMA_E_NO_COMPLETION:
		return "NO_COMPLETION";
	case RPMA_E_NO_EVENT:
		return "NO_EVENT";
	case RPMA_E_AGAIN:
		return "AGAIN";
	case RPMA_E_SHARED_CHANNEL:
		return "SHARED_CHANNEL";
	case RPMA_E_NOT_SHARED_CHNL:
		return "NOT_SHARED_CHNL";
	default:
		return "no code of librpma";
	}
}

/* the levels of what was logged since they were last printed, as "; ERROR; INFO" */
static char levels[256];

/*
 * The wording is not that of the original, the level is. What is said goes to standard error, for those who
 * read what a run has said.
 */
static void
log_level(enum rpma_log_level level, const char *file, const int line, const char *function,
		const char *format, ...)
{
	static const char *const names[] = {
		"always", "FATAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG",
	};
	const size_t len = strlen(levels);
	const int index = (int)level + 1;
	va_list args;

	(void)file, (void)line;
	snprintf(levels + len, sizeof(levels) - len, "; %s",
			index >= 0 && index < (int)COUNT_OF(names) ? names[index] : "no level");
	fprintf(stderr, "%s: ", function ? function : "?");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

/* all that either library has to say */
static void
log_all(void)
{
	if (rpma_log_set_function(log_level) ||
			rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_LEVEL_DEBUG))
		puts("no log");
}

/* what calls have logged that are no steps */
static void
print_levels(void)
{
	if (levels[0])
		printf("in between%s\n", levels);
	levels[0] = '\0';
}

void
begin_step(void)
{
	print_levels();
	errno = 0;
}

int
step(const char *who, const char *call, int ret)
{
	const int error = errno;

	printf("%s: %s = %s%s", who, call, code_name(ret), levels);
	levels[0] = '\0';
	if (ret == RPMA_E_PROVIDER)
		printf(" [errno %d]", error);
	putchar('\n');

	return ret;
}

void
say(const char *who, const char *format, ...)
{
	va_list args;

	printf("%s: -> ", who);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

static int
patience_ms(void)
{
	const char *ms = getenv("WALK_PATIENCE_MS");

	return run == WALKED_RUN && ms ? atoi(ms) : PATIENCE_MS;
}

bool
readable(const char *who, int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	int ret;

	do {
		/* what did not come before is often the reason for what does not come now */
		ret = poll(&poll_fd, 1, disappointed ? patience_ms() / 5 : patience_ms());
	} while (ret < 0 && errno == EINTR);

	if (ret <= 0) {
		disappointed = true;
		say(who, "nothing comes");
	}

	return ret > 0;
}

/*
 * All of 127.0.0.0/8 leads to this machine. The process ID makes an address of it that no other walk uses
 * at the same time.
 */
const char *
own_addr(void)
{
	static char addr[16];
	const unsigned id = (unsigned)getpid();

	snprintf(addr, sizeof(addr), "127.%u.%u.%u", 1 + (id >> 16) % 250, (id >> 8) & 0xff,
			1 + (id & 0xff) % 254);

	return addr;
}

static bool
is_free(int port)
{
	const struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = inet_addr(own_addr()),
	};
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	const bool bound = fd >= 0 && bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0;

	if (fd >= 0)
		close(fd);

	return bound;
}

/* one port for all of a run: what it could not release must not be in the way of the next one */
const char *
own_port(void)
{
	static char port[16];
	static int last = 7203;
	static int last_run = -1;

	if (last_run != run) {
		/* somebody may listen at all addresses; if all ports are taken, listening will tell */
		while (++last < 32768 && !is_free(last))
			;
		last_run = run;
	}
	snprintf(port, sizeof(port), "%d", last);

	return port;
}

/* --- runs --- */

/*
 * Sockets of a connection that is over are closed by a thread of softrdma, soon; nothing tells when. How
 * many there are before the walked run is known when their number has not changed for a while.
 */
static int
steady_descriptors(void)
{
	const struct timespec pause = {.tv_nsec = 2000000};
	int count = open_descriptors();

	for (int same = 0; same < 20; same++) {
		nanosleep(&pause, NULL);

		const int now = open_descriptors();

		if (now != count)
			same = 0;
		count = now;
	}

	return count;
}

/* after it there should be no more than before; what stays open is not tried again, so this waits longer */
static int
settled_descriptors(int before)
{
	const struct timespec pause = {.tv_nsec = 2000000};
	int count;

	for (int ms = 0; (count = open_descriptors()) > before && ms < 2 * patience_ms(); ms += 2)
		nanosleep(&pause, NULL);

	return count;
}

/* says in the trace of softrdma where a run begins: each line of it is one write() as well */
static void
mark_trace(void)
{
	const char *name = getenv("SOFTRDMA_TRACE");
	const int fd = name ? open(name, O_WRONLY | O_APPEND | O_CREAT, 0600) : -1;

	if (fd < 0)
		return;
	if (dprintf(fd, "run %d\n", run) < 0)
		perror(name);
	close(fd);
}

/* of the preloaded allocator, which need not be there */
static void
fail_alloc(const char *function)
{
	void (*call)(void);

	*(void **)&call = dlsym(RTLD_DEFAULT, function);
	if (call)
		call();
}

int
walk_main(const struct scenario *scenarios, size_t count, int argc, char *argv[])
{
	const char *runs = getenv("WALK_RUNS");
	const struct scenario *chosen = NULL;
	int descriptors = 0;

	for (size_t i = 0; i < count; i++) {
		if (argc == 1)
			puts(scenarios[i].name);
		else if (strcmp(argv[1], scenarios[i].name) == 0)
			chosen = &scenarios[i];
	}
	if (argc == 1)
		return 0;
	if (chosen == NULL) {
		fprintf(stderr, "usage: %s [SCENARIO]: without one, lists them\n", argv[0]);
		return 2;
	}

	/* a program that crashes has said all up to then */
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (run = 0; run < (runs ? atoi(runs) : 3); run++) {
		printf("run %d\n", run);
		mark_trace();
		log_all();
		disappointed = false;
		if (run == WALKED_RUN)
			fail_alloc("fail_alloc_start");
		chosen->run();
		print_levels();
		if (run == WALKED_RUN) {
			fail_alloc("fail_alloc_stop");
			printf("descriptors: %+d\n", settled_descriptors(descriptors) - descriptors);
		} else if (run == WALKED_RUN - 1) {
			descriptors = steady_descriptors();
		}
	}

	return 0;
}
