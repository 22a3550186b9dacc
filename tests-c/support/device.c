/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "native.h"

const char *
device_addr(void)
{
	const char *addr = getenv("RXE_ADDR");

	return addr && *addr ? addr : NULL;
}

struct ibv_context *
device_context(void)
{
	struct ibv_context *context = NULL;

	SUCCEED(rpma_utils_get_ibv_context(device_addr(), RPMA_UTIL_IBV_CONTEXT_LOCAL, &context));

	return context;
}

/* all of these bits of the extended device capabilities, which the kernel's interface fixes */
static bool
device_has(uint64_t bits)
{
	struct ibv_device_attr_ex attr = {0};

	return ibv_query_device_ex(device_context(), NULL, &attr) == 0 && (attr.device_cap_flags_ex & bits) == bits;
}

bool
device_claims_atomic_write(void)
{
	return device_has(DEVICE_ATOMIC_WRITE);
}

bool
device_claims_flush(void)
{
	/* to global visibility and to persistence */
	return device_has(DEVICE_FLUSH);
}

struct rpma_peer *
open_peer(enum rpma_util_ibv_context_type type)
{
	struct ibv_context *ctx = NULL;
	struct rpma_peer *peer = NULL;

	SUCCEED(rpma_utils_get_ibv_context(device_addr(), type, &ctx));
	assert_non_null(ctx);
	SUCCEED(rpma_peer_new(ctx, &peer));
	assert_non_null(peer);

	return peer;
}

struct rpma_ep *
listen_somewhere(struct rpma_peer *peer, char *port)
{
	static unsigned seed;
	struct rpma_ep *ep = NULL;
	int ret = RPMA_E_UNKNOWN;

	if (seed == 0)
		seed = (unsigned)getpid() ^ (unsigned)time(NULL);

	/* the connection manager has a port space of its own: find a free one by trying */
	for (int i = 0; i < 64 && ret; i++) {
		snprintf(port, PORT_LEN, "%d", 20000 + rand_r(&seed) % 12000);
		ret = rpma_ep_listen(peer, device_addr(), port, &ep);
	}

	EXPECT(ret, 0);
	assert_non_null(ep);

	return ep;
}

struct rpma_conn_req *
take_request(struct rpma_ep *ep, const struct rpma_conn_cfg *cfg)
{
	struct rpma_conn_req *req = NULL;
	int fd = -1;

	SUCCEED(rpma_ep_get_fd(ep, &fd));
	wait_readable(fd);
	SUCCEED(rpma_ep_next_conn_req(ep, cfg, &req));
	assert_non_null(req);

	return req;
}

struct rpma_conn_req *
new_request(struct rpma_peer *peer, const char *port, const struct rpma_conn_cfg *cfg)
{
	struct rpma_conn_req *req = NULL;

	SUCCEED(rpma_conn_req_new(peer, device_addr(), port, cfg, &req));
	assert_non_null(req);

	return req;
}

struct rpma_conn *
connect_request(struct rpma_conn_req *req)
{
	struct rpma_conn *conn = NULL;

	SUCCEED(rpma_conn_req_connect(&req, NULL, &conn));
	assert_null(req);
	assert_non_null(conn);

	return conn;
}

enum rpma_conn_event
next_event(struct rpma_conn *conn)
{
	enum rpma_conn_event event = RPMA_CONN_UNDEFINED;
	int fd = -1;

	SUCCEED(rpma_conn_get_event_fd(conn, &fd));
	wait_readable(fd);
	SUCCEED(rpma_conn_next_event(conn, &event));

	return event;
}

void
expect_event(struct rpma_conn *conn, enum rpma_conn_event want, const char *file, int line)
{
	const enum rpma_conn_event got = next_event(conn);

	if (got == want)
		return;

	print_error("got the event \"%s\", expected \"%s\"\n", rpma_utils_conn_event_2str(got),
			rpma_utils_conn_event_2str(want));
	_fail(file, line);
}

struct rpma_cq *
cq_of(struct rpma_conn *conn)
{
	struct rpma_cq *cq = NULL;

	SUCCEED(rpma_conn_get_cq(conn, &cq));
	assert_non_null(cq);

	return cq;
}

struct rpma_cq *
rcq_of(struct rpma_conn *conn)
{
	struct rpma_cq *rcq = UNTOUCHED_PTR;

	SUCCEED(rpma_conn_get_rcq(conn, &rcq));
	assert_ptr_not_equal(rcq, UNTOUCHED_PTR);

	return rcq;
}

struct ibv_wc
wait_wc(struct rpma_cq *cq)
{
	struct ibv_wc wc;
	int fd = -1;
	int ret;

	memset(&wc, 0, sizeof(wc));
	SUCCEED(rpma_cq_get_fd(cq, &fd));

	/* an event may be older than the completions that are left, so look first and often */
	while ((ret = rpma_cq_get_wc(cq, 1, &wc, NULL)) == RPMA_E_NO_COMPLETION) {
		wait_readable(fd);
		SUCCEED(rpma_cq_wait(cq));
	}

	EXPECT(ret, 0);

	return wc;
}

struct ibv_wc
wait_shared_wc(struct rpma_conn *conn, struct rpma_cq **cq, bool *is_rcq)
{
	struct ibv_wc wc;
	int fd = -1;
	int ret;

	memset(&wc, 0, sizeof(wc));
	SUCCEED(rpma_conn_get_compl_fd(conn, &fd));

	do {
		wait_readable(fd);
		SUCCEED(rpma_conn_wait(conn, 0, cq, is_rcq));
		ret = rpma_cq_get_wc(*cq, 1, &wc, NULL);
	} while (ret == RPMA_E_NO_COMPLETION);

	EXPECT(ret, 0);

	return wc;
}

struct ibv_wc
expect_wc(struct rpma_cq *cq, const void *op_context, enum ibv_wc_status status, const char *file,
		int line)
{
	const struct ibv_wc wc = wait_wc(cq);

	if (wc.status != status) {
		print_error("a completion with status %d (%s), expected %d (%s)\n", wc.status,
				ibv_wc_status_str(wc.status), status, ibv_wc_status_str(status));
		_fail(file, line);
	}

	if (wc.wr_id != (uint64_t)(uintptr_t)op_context) {
		print_error("a completion of %#llx, expected %p\n", (unsigned long long)wc.wr_id,
				op_context);
		_fail(file, line);
	}

	return wc;
}

struct region
open_region(struct rpma_peer *peer, size_t size, int usage)
{
	struct region region = {.size = size};
	unsigned char desc[DESCRIPTOR_SIZE];

	/* as much behind it stays unused: a place beyond its end belongs to nothing else, whatever the library maps */
	region.mem = mmap(NULL, 2 * size, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(region.mem, MAP_FAILED);
	assert_int_equal(mprotect(region.mem, size, PROT_READ | PROT_WRITE), 0);
	SUCCEED(rpma_mr_reg(peer, region.mem, size, usage, &region.mr));
	SUCCEED(rpma_mr_get_descriptor(region.mr, desc));
	SUCCEED(rpma_mr_remote_from_descriptor(desc, sizeof(desc), &region.remote));

	return region;
}

void
close_region(struct region *region)
{
	SUCCEED(rpma_mr_remote_delete(&region->remote));
	SUCCEED(rpma_mr_dereg(&region->mr));
	if (region->mem)
		munmap(region->mem, 2 * region->size);
	region->mem = NULL;
}

void
put_descriptor(unsigned char desc[DESCRIPTOR_SIZE], uint64_t addr, uint64_t len, uint32_t rkey,
		uint8_t usage)
{
	for (int i = 0; i < 8; i++) {
		desc[i] = (unsigned char)(addr >> (8 * i));
		desc[8 + i] = (unsigned char)(len >> (8 * i));
	}
	for (int i = 0; i < 4; i++)
		desc[16 + i] = (unsigned char)(rkey >> (8 * i));
	desc[20] = usage;
}

struct rpma_mr_remote *
forge_remote(const struct rpma_mr_local *mr, uint64_t more_len, uint32_t rkey_xor)
{
	unsigned char desc[DESCRIPTOR_SIZE];
	struct rpma_mr_remote *remote = NULL;
	uint64_t len = 0;

	SUCCEED(rpma_mr_get_descriptor(mr, desc));
	for (int i = 0; i < 8; i++)
		len |= (uint64_t)desc[8 + i] << (8 * i);
	len += more_len;
	for (int i = 0; i < 8; i++)
		desc[8 + i] = (unsigned char)(len >> (8 * i));
	for (int i = 0; i < 4; i++)
		desc[16 + i] ^= (unsigned char)(rkey_xor >> (8 * i));
	SUCCEED(rpma_mr_remote_from_descriptor(desc, sizeof(desc), &remote));

	return remote;
}

void
pair_prepare(struct pair *pair)
{
	memset(pair, 0, sizeof(*pair));
	pair->server.peer = open_peer(RPMA_UTIL_IBV_CONTEXT_LOCAL);
	pair->client.peer = open_peer(RPMA_UTIL_IBV_CONTEXT_REMOTE);
	pair->ep = listen_somewhere(pair->server.peer, pair->port);
	pair->server.region = open_region(pair->server.peer, MR_SIZE, ALL_USAGES);
	pair->client.region = open_region(pair->client.peer, MR_SIZE, ALL_USAGES);
}

void
pair_connect(struct pair *pair, const struct rpma_conn_cfg *client_cfg,
		const struct rpma_conn_cfg *server_cfg)
{
	struct side *client = &pair->client;
	struct side *server = &pair->server;

	client->conn = connect_request(new_request(client->peer, pair->port, client_cfg));
	server->conn = connect_request(take_request(pair->ep, server_cfg));
	EXPECT_EVENT(client->conn, RPMA_CONN_ESTABLISHED);
	EXPECT_EVENT(server->conn, RPMA_CONN_ESTABLISHED);

	client->cq = cq_of(client->conn);
	client->rcq = rcq_of(client->conn);
	server->cq = cq_of(server->conn);
	server->rcq = rcq_of(server->conn);
}

void
pair_disconnect(struct pair *pair)
{
	SUCCEED(rpma_conn_disconnect(pair->client.conn));
	EXPECT_EVENT(pair->server.conn, RPMA_CONN_CLOSED);
	SUCCEED(rpma_conn_disconnect(pair->server.conn));
	EXPECT_EVENT(pair->client.conn, RPMA_CONN_CLOSED);
	SUCCEED(rpma_conn_delete(&pair->client.conn));
	assert_null(pair->client.conn);
	SUCCEED(rpma_conn_delete(&pair->server.conn));
	assert_null(pair->server.conn);
}

void
pair_release(struct pair *pair)
{
	SUCCEED(rpma_conn_delete(&pair->client.conn));
	SUCCEED(rpma_conn_delete(&pair->server.conn));
	close_region(&pair->client.region);
	close_region(&pair->server.region);
	SUCCEED(rpma_ep_shutdown(&pair->ep));
	SUCCEED(rpma_peer_delete(&pair->client.peer));
	SUCCEED(rpma_peer_delete(&pair->server.peer));
}

int
prepare_pair(void **state)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	assert_non_null(pair);
	*state = pair;
	pair_prepare(pair);

	return 0;
}

int
open_pair(void **state)
{
	prepare_pair(state);
	pair_connect(*state, NULL, NULL);

	return 0;
}

int
close_pair(void **state)
{
	pair_release(*state);
	free(*state);

	return 0;
}

void
fill(char *mem, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		mem[i] = (char)(seed * 131 + i * 7 + (i >> 8));
}

void
write_signalled(struct pair *pair, const void *op_context)
{
	SUCCEED(rpma_write(pair->client.conn, pair->server.region.remote, 0, pair->client.region.mr, 0, 8,
			RPMA_F_COMPLETION_ALWAYS, op_context));
}

void
write_and_check(struct pair *pair, size_t len, unsigned seed)
{
	int context;

	fill(pair->client.region.mem, len, seed);
	memset(pair->server.region.mem, 0, len);
	SUCCEED(rpma_write(pair->client.conn, pair->server.region.remote, 0,
			pair->client.region.mr, 0, len, RPMA_F_COMPLETION_ALWAYS, &context));
	EXPECT_WC(pair->client.cq, &context, IBV_WC_SUCCESS);
	assert_memory_equal(pair->server.region.mem, pair->client.region.mem, len);
}
