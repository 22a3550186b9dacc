/* SPDX-License-Identifier: BSD-3-Clause */

#define _DEFAULT_SOURCE /* htole64(), posix_memalign() and friends, also with -std=c99 */

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common.h"

/* ---- start and messages ---- */

static const char *my_role = "example";

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

int start(const char *role, int argc, char *const argv[], int max_args, const char *usage)
{
	my_role = role;
	setvbuf(stderr, NULL, _IOLBF, BUFSIZ); /* whole lines, also where both ends write to one place */

	if (argc < 3 || argc > max_args + 1) {
		fprintf(stderr, "usage: %s %s\n", argc > 0 ? argv[0] : role, usage);
		return -1;
	}
	return set_log_level();
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

void *map_file(const char *path, size_t size)
{
	void *ptr = NULL;
	int err;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);

	if (fd < 0) {
		complain("open %s: %s", path, strerror(errno));
		return NULL;
	}

	/* take the space now: a store to a page without space would end in SIGBUS */
	err = posix_fallocate(fd, 0, (off_t)size);
	if (err != 0) {
		complain("%s: no space for %zu bytes: %s", path, size, strerror(err));
		goto out;
	}

	ptr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ptr == MAP_FAILED) {
		complain("mmap %s: %s", path, strerror(errno));
		ptr = NULL;
	}
out:
	close(fd); /* the mapping stays */
	return ptr;
}

int unmap_file(void *ptr, size_t size)
{
	int ret = 0;

	if (msync(ptr, size, MS_SYNC) != 0) {
		complain("msync: %s", strerror(errno));
		ret = -1;
	}
	if (munmap(ptr, size) != 0) {
		complain("munmap: %s", strerror(errno));
		ret = -1;
	}
	return ret;
}

/* ---- telling the other end about a memory region ---- */

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

int take_offer(const struct rpma_conn *conn, struct rpma_mr_remote **mr, struct rpma_peer_cfg **pcfg)
{
	struct rpma_conn_private_data pdata = { NULL, 0 };
	struct offer offer;

	if (FAILED(rpma_conn_get_private_data(conn, &pdata)))
		return -1;

	/* this came over the network: believe no length in it before it is checked */
	memset(&offer, 0, sizeof(offer));
	if (pdata.ptr != NULL)
		memcpy(&offer, pdata.ptr, pdata.len < sizeof(offer) ? pdata.len : sizeof(offer));
	if (offer.mr_desc_size == 0 || (pcfg != NULL && offer.pcfg_desc_size == 0) ||
	    (size_t)offer.mr_desc_size + offer.pcfg_desc_size > sizeof(offer.descriptors)) {
		complain("the server's private data does not describe a memory region");
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

/* ---- the steps of a connection ---- */

int open_peer(const char *addr, enum rpma_util_ibv_context_type type, struct rpma_peer **peer)
{
	struct ibv_context *ibv_ctx = NULL;

	/* an address that no RDMA device has, such as the loopback's, may be no failure and give NULL */
	if (FAILED(rpma_utils_get_ibv_context(addr, type, &ibv_ctx)) || ibv_ctx == NULL) {
		complain("no RDMA device %s %s", type == RPMA_UTIL_IBV_CONTEXT_LOCAL ?
				"has the address" : "leads to the address", addr);
		return -1;
	}
	return FAILED(rpma_peer_new(ibv_ctx, peer)) ? -1 : 0;
}

int accept_client(struct rpma_peer *peer, const char *addr, const char *port, struct offer *offer,
		struct rpma_conn **conn)
{
	struct rpma_conn_private_data pdata = { offer, sizeof(*offer) };
	struct rpma_ep *ep = NULL;
	struct rpma_conn_req *req = NULL;
	int ret = -1;

	if (FAILED(rpma_ep_listen(peer, addr, port, &ep)))
		return -1;
	say("listening on %s:%s", addr, port);

	if (FAILED(rpma_ep_next_conn_req(ep, NULL, &req)))
		goto out;
	/* consumes the request, also when it fails */
	if (FAILED(rpma_conn_req_connect(&req, &pdata, conn)))
		goto out;
	if (expect_event(*conn, RPMA_CONN_ESTABLISHED) != 0) {
		(void) rpma_conn_delete(conn);
		goto out;
	}
	say("a client has connected");
	ret = 0;
out:
	/* one client is all there is to serve; its connection does not need the endpoint any more */
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

	if (FAILED(rpma_conn_req_new(peer, addr, port, NULL, &req)))
		return -1;
	/* consumes the request, also when it fails */
	if (FAILED(rpma_conn_req_connect(&req, NULL, conn)))
		return -1;
	if (expect_event(*conn, RPMA_CONN_ESTABLISHED) != 0) {
		(void) rpma_conn_delete(conn);
		return -1;
	}
	say("connected to %s:%s", addr, port);
	return 0;
}

int expect_event(struct rpma_conn *conn, enum rpma_conn_event wanted)
{
	enum rpma_conn_event event = RPMA_CONN_UNDEFINED;

	if (FAILED(rpma_conn_next_event(conn, &event)))
		return -1;
	if (event != wanted) {
		complain("expected '%s', got '%s'%s", rpma_utils_conn_event_2str(wanted),
				rpma_utils_conn_event_2str(event), event == RPMA_CONN_REJECTED ?
				": nobody listens there, or the server does not want us" : "");
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

int wait_for_completion(struct rpma_conn *conn, struct rpma_cq *cq, const char *op_context,
		struct ibv_wc *wc)
{
	struct pollfd fds[2] = { { .fd = -1, .events = POLLIN }, { .fd = -1, .events = POLLIN } };
	bool closed = false;
	int ret;

	if (FAILED(rpma_cq_get_fd(cq, &fds[0].fd)) || FAILED(rpma_conn_get_event_fd(conn, &fds[1].fd)))
		return -1;

	while ((ret = rpma_cq_get_wc(cq, 1, wc, NULL)) == RPMA_E_NO_COMPLETION) {
		if (closed) {
			complain("the connection has ended before '%s' completed", op_context);
			return -1;
		}

		/*
		 * rpma_cq_wait() alone would do, if the other end could be trusted to live. Besides the
		 * completion queue this watches the connection: its next event can only be its end.
		 */
		if (poll(fds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			complain("poll: %s", strerror(errno));
			return -1;
		}
		if (fds[0].revents == 0) {
			closed = true; /* look once more for a completion that came just before */
			continue;
		}

		/* takes the event and asks for the next one: a completion is likely, but not certain */
		ret = rpma_cq_wait(cq);
		if (ret != RPMA_E_NO_COMPLETION && report_failure(ret, "rpma_cq_wait"))
			return -1;
	}
	if (report_failure(ret, "rpma_cq_get_wc"))
		return -1;

	/* in a failed completion no more than wr_id, status, qp_num and vendor_err can be used */
	if (wc->status != IBV_WC_SUCCESS) {
		complain("'%s' failed: %s", (const char *)(uintptr_t)wc->wr_id,
				ibv_wc_status_str(wc->status));
		return -1;
	}
	if (wc->wr_id != (uintptr_t)op_context) {
		complain("'%s' completed where '%s' was expected", (const char *)(uintptr_t)wc->wr_id,
				op_context);
		return -1;
	}
	return 0;
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
