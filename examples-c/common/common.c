/* SPDX-License-Identifier: BSD-3-Clause */

#define _DEFAULT_SOURCE /* htole64(), posix_memalign() and the like, with -std=c99 */

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common.h"

/* ---- start and messages ---- */

static const char *my_role = "example";
static int signal_fd = -1;

static int set_log_level(void)
{
	static const struct {
		const char *name;
		enum rpma_log_level level;
	} levels[] = {
		{ "off", RPMA_LOG_DISABLED },
		{ "error", RPMA_LOG_LEVEL_ERROR },
		{ "warning", RPMA_LOG_LEVEL_WARNING },
		{ "notice", RPMA_LOG_LEVEL_NOTICE },
		{ "info", RPMA_LOG_LEVEL_INFO },
		{ "debug", RPMA_LOG_LEVEL_DEBUG },
	};
	const char *name = getenv("RPMA_EXAMPLES_LOG");

	if (name == NULL)
		name = "warning";

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(name, levels[i].name) != 0)
			continue;
		/* what passes the first threshold is logged, what passes the second is on stderr too */
		if (FAILED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD, levels[i].level)) ||
		    FAILED(rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX, levels[i].level)))
			return -1;
		return 0;
	}

	complain("RPMA_EXAMPLES_LOG has the unknown value '%s'", name);
	return -1;
}

/*
 * SIGINT and SIGTERM become readable from a file descriptor. A signal handler that sets a flag would
 * not do: a signal between the look at the flag and the next blocking call would be missed.
 */
static int divert_signals(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0) {
		complain("sigprocmask: %s", strerror(errno));
		return -1;
	}
	signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd < 0) {
		complain("signalfd: %s", strerror(errno));
		return -1;
	}
	return 0;
}

int start(const char *role, int argc, char *const argv[], int min_args, int max_args,
		const char *usage)
{
	const char *program = argc > 0 ? argv[0] : role;

	my_role = role;
	setvbuf(stderr, NULL, _IOLBF, BUFSIZ); /* whole lines, also where both ends write to one place */

	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		printf("usage: %s %s\n", program, usage);
		exit(EXIT_SUCCESS);
	}
	if (argc < min_args + 1 || argc > max_args + 1) {
		fprintf(stderr, "usage: %s %s\n", program, usage);
		return -1;
	}
	if (set_log_level() != 0)
		return -1;
	return divert_signals();
}

int parse_number(const char *word, const char *what, unsigned long min, unsigned long max,
		unsigned long *number)
{
	char *end = NULL;

	errno = 0;
	*number = strtoul(word, &end, 10);
	if (errno != 0 || end == word || *end != '\0' || *number < min || *number > max) {
		complain("'%s' is not a number of %s from %lu to %lu", word, what, min, max);
		return -1;
	}
	return 0;
}

void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("%s: ", my_role);
	vprintf(format, args);
	putchar('\n');
	fflush(stdout);
	va_end(args);
}

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "%s: error: ", my_role);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

bool report_failure(int ret, const char *call)
{
	if (ret == 0)
		return false;

	/* the name of the function is enough, without its arguments */
	complain("%.*s: %s", (int)strcspn(call, "("), call, rpma_err_2str(ret));
	return true;
}

/* ---- waiting ---- */

int stop_fd(void)
{
	return signal_fd;
}

void report_stop(void)
{
	struct signalfd_siginfo info;

	if (read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		complain("stopped by a signal: %s", strsignal((int)info.ssi_signo));
}

int poll_or_stop(struct pollfd *fds, nfds_t count)
{
	struct pollfd all[POLL_MAX + 1];

	if (count > POLL_MAX) {
		complain("poll_or_stop: too many file descriptors");
		return -1;
	}
	memcpy(all, fds, count * sizeof(*fds));
	all[count].fd = signal_fd;
	all[count].events = POLLIN;
	all[count].revents = 0;

	while (poll(all, count + 1, -1) < 0) {
		if (errno != EINTR) {
			complain("poll: %s", strerror(errno));
			return -1;
		}
	}
	if (all[count].revents != 0) {
		report_stop();
		return -1;
	}
	memcpy(fds, all, count * sizeof(*fds));
	return 0;
}

int wait_readable(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	return poll_or_stop(&pollfd, 1);
}

/* ---- memory ---- */

void *alloc_pages(size_t size)
{
	void *ptr = NULL;
	int err = posix_memalign(&ptr, (size_t)sysconf(_SC_PAGESIZE), size);

	if (err != 0) {
		complain("no memory for %zu bytes: %s", size, strerror(err));
		return NULL;
	}
	memset(ptr, 0, size);
	return ptr;
}

/* ---- describing a memory region to the other end ---- */

int make_offer(const struct rpma_mr_local *mr, const struct rpma_peer_cfg *pcfg, struct offer *offer)
{
	size_t mr_size = 0;
	size_t pcfg_size = 0;

	if (FAILED(rpma_mr_get_descriptor_size(mr, &mr_size)))
		return -1;
	if (pcfg != NULL && FAILED(rpma_peer_cfg_get_descriptor_size(pcfg, &pcfg_size)))
		return -1;
	if (mr_size > sizeof(offer->descriptors) || pcfg_size > sizeof(offer->descriptors) - mr_size) {
		complain("the descriptors do not fit into the private data");
		return -1;
	}

	memset(offer, 0, sizeof(*offer));
	offer->mr_desc_size = (uint8_t)mr_size;
	offer->pcfg_desc_size = (uint8_t)pcfg_size;
	if (FAILED(rpma_mr_get_descriptor(mr, offer->descriptors)))
		return -1;
	if (pcfg != NULL && FAILED(rpma_peer_cfg_get_descriptor(pcfg, offer->descriptors + mr_size)))
		return -1;
	return 0;
}

int parse_offer(const struct rpma_conn_private_data *pdata, struct rpma_mr_remote **mr,
		struct rpma_peer_cfg **pcfg)
{
	struct offer offer;

	/* this came over the network: check every length before it is used */
	memset(&offer, 0, sizeof(offer));
	if (pdata->ptr != NULL)
		memcpy(&offer, pdata->ptr, pdata->len < sizeof(offer) ? pdata->len : sizeof(offer));
	if (offer.mr_desc_size == 0 || (pcfg != NULL && offer.pcfg_desc_size == 0) ||
	    (size_t)offer.mr_desc_size + offer.pcfg_desc_size > sizeof(offer.descriptors)) {
		complain("the private data of the other end does not describe a memory region");
		return -1;
	}

	if (FAILED(rpma_mr_remote_from_descriptor(offer.descriptors, offer.mr_desc_size, mr)))
		return -1;
	if (pcfg != NULL && FAILED(rpma_peer_cfg_from_descriptor(offer.descriptors + offer.mr_desc_size,
			offer.pcfg_desc_size, pcfg))) {
		(void) rpma_mr_remote_delete(mr);
		return -1;
	}
	return 0;
}

int take_offer(const struct rpma_conn *conn, struct rpma_mr_remote **mr, struct rpma_peer_cfg **pcfg)
{
	struct rpma_conn_private_data pdata = { NULL, 0 };

	if (FAILED(rpma_conn_get_private_data(conn, &pdata)))
		return -1;
	return parse_offer(&pdata, mr, pcfg);
}

int check_remote_size(const struct rpma_mr_remote *mr, size_t expected)
{
	size_t size = 0;

	if (FAILED(rpma_mr_remote_get_size(mr, &size)))
		return -1;
	if (size != expected) {
		complain("the other end offers %zu bytes instead of %zu", size, expected);
		return -1;
	}
	return 0;
}

/* ---- the steps of a connection ---- */

int open_peer(const char *addr, enum rpma_util_ibv_context_type type, struct rpma_peer **peer)
{
	struct ibv_context *ibv_ctx = NULL;

	/* an address that no RDMA device has, such as the loopback's, may be no failure and give NULL */
	if (FAILED(rpma_utils_get_ibv_context(addr, type, &ibv_ctx)) || ibv_ctx == NULL) {
		complain("no RDMA device %s %s (without a device, use softrdma: see the README)",
				type == RPMA_UTIL_IBV_CONTEXT_LOCAL ? "has the address" :
				"leads to the address", addr);
		return -1;
	}
	return FAILED(rpma_peer_new(ibv_ctx, peer)) ? -1 : 0;
}

int start_listening(struct rpma_peer *peer, const char *addr, const char *port, struct rpma_ep **ep)
{
	if (FAILED(rpma_ep_listen(peer, addr, port, ep)))
		return -1;
	say("listening on %s:%s", addr, port);
	return 0;
}

int next_request(struct rpma_ep *ep, const struct rpma_conn_cfg *cfg, struct rpma_conn_req **req)
{
	int fd = -1;

	/* rpma_ep_next_conn_req() alone would wait as well, but not for Ctrl-C */
	if (FAILED(rpma_ep_get_fd(ep, &fd)) || wait_readable(fd) != 0)
		return -1;
	return FAILED(rpma_ep_next_conn_req(ep, cfg, req)) ? -1 : 0;
}

int establish(struct rpma_conn_req **req, void *private_data, size_t size, struct rpma_conn **conn)
{
	struct rpma_conn_private_data pdata = { private_data, (uint8_t)size };

	/* consumes the request, also when it fails */
	if (FAILED(rpma_conn_req_connect(req, size > 0 ? &pdata : NULL, conn)))
		return -1;
	if (expect_event(*conn, RPMA_CONN_ESTABLISHED) != 0) {
		(void) rpma_conn_delete(conn);
		return -1;
	}
	return 0;
}

int accept_client(struct rpma_peer *peer, const char *addr, const char *port, struct offer *offer,
		struct rpma_conn **conn)
{
	struct rpma_ep *ep = NULL;
	struct rpma_conn_req *req = NULL;
	int ret = -1;

	if (start_listening(peer, addr, port, &ep) != 0)
		return -1;
	if (next_request(ep, NULL, &req) == 0 && establish(&req, offer, sizeof(*offer), conn) == 0) {
		say("a client has connected");
		ret = 0;
	}

	/* there is one client to serve, and its connection does not need the endpoint any more */
	if (FAILED(rpma_ep_shutdown(&ep))) {
		(void) rpma_conn_delete(conn);
		ret = -1;
	}
	return ret;
}

int connect_to_server(struct rpma_peer *peer, const char *addr, const char *port,
		struct rpma_conn **conn)
{
	struct rpma_conn_req *req = NULL;

	say("connecting to %s:%s", addr, port);
	if (FAILED(rpma_conn_req_new(peer, addr, port, NULL, &req)))
		return -1;
	if (establish(&req, NULL, 0, conn) != 0)
		return -1;
	say("connected");
	return 0;
}

int expect_event(struct rpma_conn *conn, enum rpma_conn_event wanted)
{
	enum rpma_conn_event event = RPMA_CONN_UNDEFINED;
	int fd = -1;

	/* rpma_conn_next_event() alone would wait as well, but not for Ctrl-C */
	if (FAILED(rpma_conn_get_event_fd(conn, &fd)) || wait_readable(fd) != 0)
		return -1;
	if (FAILED(rpma_conn_next_event(conn, &event)))
		return -1;
	if (event != wanted) {
		complain("expected '%s', got '%s'%s", rpma_utils_conn_event_2str(wanted),
				rpma_utils_conn_event_2str(event), event == RPMA_CONN_REJECTED ?
				": nobody listens there, or the server rejects us" : "");
		return -1;
	}
	return 0;
}

int close_connection(struct rpma_conn *conn)
{
	if (FAILED(rpma_conn_disconnect(conn)))
		return -1;
	return expect_event(conn, RPMA_CONN_CLOSED);
}

int wait_for_close(struct rpma_conn *conn)
{
	if (expect_event(conn, RPMA_CONN_CLOSED) != 0)
		return -1;
	return FAILED(rpma_conn_disconnect(conn)) ? -1 : 0;
}

/* ---- completions ---- */

int check_completion(const struct ibv_wc *wc)
{
	/* in a failed completion only wr_id, status, qp_num and vendor_err are valid */
	if (wc->status == IBV_WC_SUCCESS)
		return 0;
	complain("'%s' failed: %s", (const char *)(uintptr_t)wc->wr_id, ibv_wc_status_str(wc->status));
	return -1;
}

int wait_for_any_completion(struct rpma_conn *conn, struct rpma_cq *cq, const char *waiting_for,
		struct ibv_wc *wc)
{
	struct pollfd fds[2] = { { .fd = -1, .events = POLLIN }, { .fd = -1, .events = POLLIN } };
	bool closed = false;
	int ret;

	if (FAILED(rpma_cq_get_fd(cq, &fds[0].fd)) || FAILED(rpma_conn_get_event_fd(conn, &fds[1].fd)))
		return -1;

	while ((ret = rpma_cq_get_wc(cq, 1, wc, NULL)) == RPMA_E_NO_COMPLETION) {
		if (closed) {
			complain("the connection has ended before '%s' completed", waiting_for);
			return -1;
		}

		/*
		 * rpma_cq_wait() alone would be enough if the other end never went away. This also watches
		 * the connection, whose next event can only be its end.
		 */
		if (poll_or_stop(fds, 2) != 0)
			return -1;
		if (fds[0].revents == 0) {
			closed = true; /* look once more for a completion that came just before */
			continue;
		}

		/* takes the event and asks for the next one: a completion is likely, but not certain */
		ret = rpma_cq_wait(cq);
		if (ret != RPMA_E_NO_COMPLETION && report_failure(ret, "rpma_cq_wait"))
			return -1;
	}
	return report_failure(ret, "rpma_cq_get_wc") ? -1 : check_completion(wc);
}

int wait_for_completion(struct rpma_conn *conn, struct rpma_cq *cq, const char *op_context,
		struct ibv_wc *wc)
{
	if (wait_for_any_completion(conn, cq, op_context, wc) != 0)
		return -1;

	if (wc->wr_id != (uintptr_t)op_context) {
		complain("'%s' completed where '%s' was expected", (const char *)(uintptr_t)wc->wr_id,
				op_context);
		return -1;
	}
	return 0;
}

int wait_on_shared_channel(struct rpma_conn *conn, const char *waiting_for, struct ibv_wc *wc,
		bool *is_rcq)
{
	struct pollfd fds[2] = { { .fd = -1, .events = POLLIN }, { .fd = -1, .events = POLLIN } };
	struct rpma_cq *cqs[2] = { NULL, NULL }; /* the CQ and the receive CQ */
	struct rpma_cq *woken = NULL;
	bool closed = false;
	int ret;

	if (FAILED(rpma_conn_get_compl_fd(conn, &fds[0].fd)) ||
	    FAILED(rpma_conn_get_event_fd(conn, &fds[1].fd)) ||
	    FAILED(rpma_conn_get_cq(conn, &cqs[0])) || FAILED(rpma_conn_get_rcq(conn, &cqs[1])))
		return -1;

	for (;;) {
		for (int i = 1; i >= 0; i--) {
			ret = rpma_cq_get_wc(cqs[i], 1, wc, NULL);
			if (ret == RPMA_E_NO_COMPLETION)
				continue;
			*is_rcq = i == 1;
			return report_failure(ret, "rpma_cq_get_wc") ? -1 : check_completion(wc);
		}
		if (closed) {
			complain("the connection has ended before '%s' completed", waiting_for);
			return -1;
		}
		if (poll_or_stop(fds, 2) != 0)
			return -1;
		if (fds[0].revents == 0) {
			closed = true; /* look once more for a completion that came just before */
			continue;
		}
		ret = rpma_conn_wait(conn, 0, &woken, NULL);
		if (ret != RPMA_E_NO_COMPLETION && report_failure(ret, "rpma_conn_wait"))
			return -1;
	}
}

/* ---- data that can be recognised ---- */

struct record {
	/* little-endian, as the two ends may differ */
	uint64_t text_size;
	uint64_t checksum;
	unsigned char bytes[RECORD_SIZE - 2 * sizeof(uint64_t)];
};

/* FNV-1a: enough to notice damage, not to notice fraud */
static uint64_t checksum(const unsigned char *bytes, size_t size)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < size; i++)
		sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
	return sum;
}

void record_fill(void *ptr, const char *text)
{
	struct record *record = ptr;
	size_t text_size = strlen(text) + 1;

	for (size_t i = 0; i < sizeof(record->bytes); i++)
		record->bytes[i] = (unsigned char)('a' + i % 26);
	if (text_size > sizeof(record->bytes))
		text_size = sizeof(record->bytes);
	memcpy(record->bytes, text, text_size);
	record->bytes[text_size - 1] = '\0';
	record->text_size = htole64(text_size);
	record->checksum = htole64(checksum(record->bytes, sizeof(record->bytes)));
}

const char *record_verify(const void *ptr)
{
	const struct record *record = ptr;
	uint64_t text_size = le64toh(record->text_size);

	if (text_size == 0 || text_size > sizeof(record->bytes) || record->bytes[text_size - 1] != '\0' ||
	    le64toh(record->checksum) != checksum(record->bytes, sizeof(record->bytes)))
		return NULL;
	return (const char *)record->bytes;
}
