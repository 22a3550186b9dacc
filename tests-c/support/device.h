/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Both ends of a connection in one process, on the device whose address is in RXE_ADDR.
 *
 * Nothing here sleeps: every wait is a poll() on a descriptor of the library with a time limit
 * (RPMA_TEST_TIMEOUT_MS, 20 s by default, since emulated machines are slow), and a test fails when
 * the limit is reached.
 */
#ifndef TESTS_DEVICE_H
#define TESTS_DEVICE_H

#include "common.h"
#include "process.h"

#define MR_SIZE ((size_t)8192)
#define ALL_USAGES 0xff
#define PORT_LEN 8

/* how much private data the device's connection manager carries, each way */
#define REQUEST_PRIVATE_DATA 56
#define REPLY_PRIVATE_DATA 196

/* the address of the RDMA device under test, or NULL */
const char *device_addr(void);
/* what librpma finds at that address */
struct ibv_context *device_context(void);

/* what the device, that is the kernel, says that it can do */
bool device_claims_atomic_write(void);
bool device_claims_flush(void);
/*
 * Whether this library does it natively: the device can, and libibverbs is new enough to make queue pairs for it.
 * The original that these tests are compared with never does.
 */
bool writes_natively_here(void);
bool flushes_natively_here(void);

/* --- pieces --- */
struct rpma_peer *open_peer(enum rpma_util_ibv_context_type type);
/* listens on a port that was free; `port` has room for PORT_LEN characters */
struct rpma_ep *listen_somewhere(struct rpma_peer *peer, char *port);
/* waits for the next connection request */
struct rpma_conn_req *take_request(struct rpma_ep *ep, const struct rpma_conn_cfg *cfg);
struct rpma_conn_req *new_request(struct rpma_peer *peer, const char *port,
		const struct rpma_conn_cfg *cfg);
/* connects a request that was made or taken, without private data */
struct rpma_conn *connect_request(struct rpma_conn_req *req);
enum rpma_conn_event next_event(struct rpma_conn *conn);
void expect_event(struct rpma_conn *conn, enum rpma_conn_event want, const char *file, int line);
#define EXPECT_EVENT(conn, want) expect_event((conn), (want), __FILE__, __LINE__)

struct rpma_cq *cq_of(struct rpma_conn *conn);
struct rpma_cq *rcq_of(struct rpma_conn *conn);

/* waits for the next completion of a CQ that has a channel of its own */
struct ibv_wc wait_wc(struct rpma_cq *cq);
/* the same where the connection's CQs share a channel; *cq is the one that it came from */
struct ibv_wc wait_shared_wc(struct rpma_conn *conn, struct rpma_cq **cq, bool *is_rcq);
/* waits for a completion and checks its status and its op_context */
struct ibv_wc expect_wc(struct rpma_cq *cq, const void *op_context, enum ibv_wc_status status,
		const char *file, int line);
#define EXPECT_WC(cq, op_context, status) \
	expect_wc((cq), (op_context), (status), __FILE__, __LINE__)
/* nothing is in the queue */
#define EXPECT_NO_WC(cq) do { \
	struct ibv_wc none_; \
	EXPECT(rpma_cq_get_wc((cq), 1, &none_, NULL), RPMA_E_NO_COMPLETION); \
} while (0)

/* --- a region of memory, and how the other end sees it --- */
struct region {
	char *mem;
	size_t size;
	struct rpma_mr_local *mr;
	struct rpma_mr_remote *remote;
};

struct region open_region(struct rpma_peer *peer, size_t size, int usage);
void close_region(struct region *region);

/* the descriptor of a remote region as it goes over the wire */
#define DESCRIPTOR_SIZE ((size_t)21)
void put_descriptor(unsigned char desc[DESCRIPTOR_SIZE], uint64_t addr, uint64_t len,
		uint32_t rkey, uint8_t usage);
/* the same remote region with some of its properties changed */
struct rpma_mr_remote *forge_remote(const struct rpma_mr_local *mr, uint64_t more_len,
		uint32_t rkey_xor);

/* --- a connected pair --- */
struct side {
	struct rpma_peer *peer;
	struct rpma_conn *conn;
	struct rpma_cq *cq;
	struct rpma_cq *rcq;
	struct region region;
};

struct pair {
	struct side client;
	struct side server;
	struct rpma_ep *ep;
	char port[PORT_LEN];
};

/* cmocka setup and teardown: *state is a struct pair of default configuration, or one that is not connected */
int open_pair(void **state);
int prepare_pair(void **state);
int close_pair(void **state);

/* peers, endpoint and regions, no connection */
void pair_prepare(struct pair *pair);
void pair_connect(struct pair *pair, const struct rpma_conn_cfg *client_cfg,
		const struct rpma_conn_cfg *server_cfg);
/* both ends disconnect, see their events and are deleted */
void pair_disconnect(struct pair *pair);
/* deletes whatever there is */
void pair_release(struct pair *pair);

/* posts a write from client to server that has a completion */
void write_signalled(struct pair *pair, const void *op_context);
/* a write of `len` bytes from client to server, completed and compared */
void write_and_check(struct pair *pair, size_t len, unsigned seed);
/* a region's first bytes, a different pattern for each seed */
void fill(char *mem, size_t len, unsigned seed);

#endif
