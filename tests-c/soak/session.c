/* SPDX-License-Identifier: BSD-3-Clause */
/* One end of a connection, and what is counted. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "soak.h"

/* --- counters ---------------------------------------------------------------------------------- */

static _Atomic uint64_t *counters;

static void
counters_map(int fd)
{
	counters = mmap(NULL, sizeof(*counters) * COUNTER_COUNT, PROT_READ | PROT_WRITE, MAP_SHARED,
			fd, 0);
	CHECK(counters != MAP_FAILED);
}

/* the other processes inherit the descriptor */
void
counters_create(void)
{
	int fd = memfd_create("soak", 0);
	char number[16];

	CHECK(fd >= 0 && ftruncate(fd, sizeof(*counters) * COUNTER_COUNT) == 0);
	counters_map(fd);
	snprintf(number, sizeof(number), "%d", fd);
	setenv("SOAK_COUNTERS", number, 1);
}

void
counters_open(void)
{
	counters_map((int)env_number("SOAK_COUNTERS", 0));
}

void
count(enum counter counter, uint64_t by)
{
	atomic_fetch_add_explicit(&counters[counter], by, memory_order_relaxed);
}

uint64_t
counted(enum counter counter)
{
	return atomic_load_explicit(&counters[counter], memory_order_relaxed);
}

void
counters_print(void)
{
#define X(name, text) text,
	static const char *const texts[] = {COUNTERS(X)};
#undef X

	for (int i = 0; i < COUNT_STATUS; i++)
		printf("%15llu  %s\n", (unsigned long long)counted(i), texts[i]);
	for (int i = COUNT_STATUS; i < COUNTER_COUNT; i++) {
		if (counted(i))
			printf("%15llu  completion: %s\n", (unsigned long long)counted(i),
					ibv_wc_status_str(i - COUNT_STATUS));
	}
}

/* --- sessions ---------------------------------------------------------------------------------- */

void
session_configure(struct session *session, struct rpma_peer *peer, struct random *random,
		bool server)
{
	struct rpma_conn_cfg *cfg;
	bool own_rcq = next_random(random) % 2;

	GOOD(rpma_conn_cfg_new(&cfg));
	session->cfg = cfg;
	session->shared = next_random(random) % 2;
	GOOD(rpma_conn_cfg_set_cq_size(cfg, 8 * MESSAGES));
	GOOD(rpma_conn_cfg_set_rcq_size(cfg, own_rcq ? 4 * MESSAGES : 0));
	GOOD(rpma_conn_cfg_set_sq_size(cfg, 4 * MESSAGES));
	GOOD(rpma_conn_cfg_set_rq_size(cfg, 2 * MESSAGES));
	GOOD(rpma_conn_cfg_set_compl_channel(cfg, session->shared));
	count(COUNT_SHARED, session->shared);
	if (server && next_random(random) % 3 == 0) {
		struct rpma_srq_cfg *srq_cfg;

		/* a receive queue with a CQ of its own excludes a shared channel */
		GOOD(rpma_srq_cfg_new(&srq_cfg));
		GOOD(rpma_srq_cfg_set_rq_size(srq_cfg, 2 * MESSAGES));
		GOOD(rpma_srq_cfg_set_rcq_size(srq_cfg, session->shared ? 0 : 4 * MESSAGES));
		GOOD(rpma_srq_new(peer, srq_cfg, &session->srq));
		GOOD(rpma_srq_cfg_delete(&srq_cfg));
		GOOD(rpma_conn_cfg_set_srq(cfg, session->srq));
		count(COUNT_SRQ, 1);
	}
}

/* The file of a region, or -1 for private memory. softrdma maps such files in the process that accesses the region. */
static int
region_file(struct random *random)
{
	char name[] = "/tmp/soak-XXXXXX";
	int fd = -1;

	switch (next_random(random) % 4) {
	case 0:
	case 1:
		break;
	case 2:
		fd = memfd_create("soak-region", MFD_CLOEXEC);
		CHECK(fd >= 0);
		count(COUNT_IN_MEMORY_FILE, 1);
		break;
	default:
		fd = mkostemp(name, O_CLOEXEC);
		CHECK(fd >= 0 && unlink(name) == 0);
		count(COUNT_IN_FILE, 1);
	}

	return fd;
}

void
session_memory(struct session *session, struct rpma_peer *peer, struct random *random, size_t size)
{
	size_t all = size + 2 * MESSAGES * MESSAGE;

	session->size = size;
	session->file = region_file(random);
	if (session->file >= 0)
		CHECK(ftruncate(session->file, (off_t)all) == 0);
	session->memory = mmap(NULL, all, PROT_READ | PROT_WRITE,
			session->file >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, session->file, 0);
	CHECK(session->memory != MAP_FAILED);
	GOOD(rpma_mr_reg(peer, session->memory, all, RPMA_MR_USAGE_READ_SRC | RPMA_MR_USAGE_READ_DST |
			RPMA_MR_USAGE_WRITE_SRC | RPMA_MR_USAGE_WRITE_DST |
			RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY | RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT |
			RPMA_MR_USAGE_SEND | RPMA_MR_USAGE_RECV, &session->mr));
}

uint64_t
session_inode(const struct session *session)
{
	struct stat status;

	if (session->file < 0)
		return 0;
	CHECK(fstat(session->file, &status) == 0);

	return status.st_ino;
}

bool
has_mapped(uint64_t inode)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long long each;
	bool found = false;
	char line[512];

	CHECK(maps);
	while (!found && fgets(line, sizeof(line), maps))
		found = sscanf(line, "%*s %*s %*s %*s %llu", &each) == 1 && each == inode;
	fclose(maps);

	return found;
}

void
session_start(struct session *session)
{
	GOOD(rpma_conn_get_cq(session->conn, &session->cq));
	GOOD(rpma_conn_get_rcq(session->conn, &session->rcq));
	if (!session->rcq && session->srq)
		GOOD(rpma_srq_get_rcq(session->srq, &session->rcq));
	if (!session->rcq)
		session->rcq = session->cq;
}

void
session_receive(struct session *session, unsigned slot)
{
	const void *context = (const void *)(uintptr_t)slot;

	if (session->srq)
		GOOD(rpma_srq_recv(session->srq, session->mr, slot_in(session, slot), MESSAGE, context));
	else
		GOOD(rpma_recv(session->conn, session->mr, slot_in(session, slot), MESSAGE, context));
}

/* takes the event that is there */
static bool
take_event(struct session *session)
{
	enum rpma_conn_event event;

	GOOD(rpma_conn_next_event(session->conn, &event));
	switch (event) {
	case RPMA_CONN_ESTABLISHED:
		session->established = true;
		return true;
	case RPMA_CONN_CLOSED:
		count(COUNT_CLOSED, 1);
		break;
	case RPMA_CONN_LOST:
		count(COUNT_LOST, 1);
		break;
	case RPMA_CONN_UNREACHABLE:
		count(COUNT_UNREACHABLE, 1);
		break;
	case RPMA_CONN_REJECTED:
		break;
	default:
		die("event %d", event);
	}
	session->over = true;
	session->ended_by = event;

	return false;
}

/* which of the descriptors are readable; there has to be one */
static void
wait_readable(const struct session *session, struct pollfd *fds, nfds_t n, const char *what)
{
	int ret;

	do {
		ret = poll(fds, n, wait_ms());
	} while (ret < 0 && errno == EINTR);
	if (ret <= 0)
		die("%s in %d ms, %s (%sestablished, %sfarewell)", what, wait_ms(), session->doing,
				session->established ? "" : "not ", session->farewell ? "" : "no ");
}

bool
session_event(struct session *session)
{
	struct pollfd fd = {.events = POLLIN};

	GOOD(rpma_conn_get_event_fd(session->conn, &fd.fd));
	wait_readable(session, &fd, 1, "no event");

	return take_event(session);
}

static bool
take_completion(struct rpma_cq *cq, struct ibv_wc *wc)
{
	int ret = rpma_cq_get_wc(cq, 1, wc, NULL);

	if (ret == RPMA_E_NO_COMPLETION)
		return false;
	GOOD(ret);
	count(COUNT_STATUS + wc->status, 1);

	return true;
}

static void
take_notice(struct session *session, struct rpma_cq *cq)
{
	bool is_rcq;
	int ret = cq ? rpma_cq_wait(cq) : rpma_conn_wait(session->conn, 0, &cq, &is_rcq);

	GOOD(ret);
}

bool
session_next(struct session *session, struct ibv_wc *wc)
{
	struct pollfd fds[3] = {{.events = POLLIN}, {.events = POLLIN}, {.fd = -1, .events = POLLIN}};
	const bool two = session->rcq != session->cq;

	GOOD(rpma_conn_get_event_fd(session->conn, &fds[0].fd));
	if (session->shared) {
		GOOD(rpma_conn_get_compl_fd(session->conn, &fds[1].fd));
	} else {
		GOOD(rpma_cq_get_fd(session->cq, &fds[1].fd));
		if (two)
			GOOD(rpma_cq_get_fd(session->rcq, &fds[2].fd));
	}
	for (;;) {
		while (take_completion(session->cq, wc) || (two && take_completion(session->rcq, wc))) {
			/* after an error there will be an event, which says the same */
			if (wc->status == IBV_WC_SUCCESS)
				return true;
		}
		wait_readable(session, fds, 3, "neither a completion nor an event");
		if (fds[1].revents)
			take_notice(session, session->shared ? NULL : session->cq);
		if (fds[2].revents)
			take_notice(session, session->rcq);
		if (fds[0].revents && !fds[1].revents && !fds[2].revents && !take_event(session))
			return false;
	}
}

void
session_close(struct session *session)
{
	GOOD(rpma_conn_delete(&session->conn));
	if (session->srq)
		GOOD(rpma_srq_delete(&session->srq));
	GOOD(rpma_conn_cfg_delete(&session->cfg));
	if (session->mr) {
		GOOD(rpma_mr_dereg(&session->mr));
		munmap(session->memory, session->size + 2 * MESSAGES * MESSAGE);
		if (session->file >= 0)
			close(session->file);
	}
}

size_t
slot_in(const struct session *session, unsigned slot)
{
	return session->size + slot * MESSAGE;
}

size_t
slot_out(const struct session *session, unsigned slot)
{
	return session->size + (MESSAGES + slot) * MESSAGE;
}

size_t
immediate_length(const struct session *session, uint32_t imm)
{
	return ((size_t)(imm >> 8) % (session->size / 2 + 1)) >> (imm % 16);
}

struct rpma_peer *
open_peer(const char *address)
{
	struct ibv_context *context;
	struct rpma_peer *peer;

	GOOD(rpma_utils_get_ibv_context(address, RPMA_UTIL_IBV_CONTEXT_LOCAL, &context));
	GOOD(rpma_peer_new(context, &peer));

	return peer;
}
