/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What all examples share: messages, memory, and the steps that every connection takes.
 *
 * Functions that can fail return 0, or -1 after they have said why on stderr.
 */

#ifndef EXAMPLES_COMMON_H
#define EXAMPLES_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <librpma.h>

/* ---- start and messages ---- */

/*
 * To be called first. Remembers the role ("server" or "client") for the messages, chooses what the
 * library logs to stderr, and checks that there are at least ADDR and PORT and no more than max_args
 * arguments.
 *
 * The library's log shows warnings and errors; the environment variable RPMA_EXAMPLES_LOG changes that
 * to one of: off, error, warning, notice, info, debug.
 */
int start(const char *role, int argc, char *const argv[], int max_args, const char *usage);

/* one line on stdout: "server: ...", written at once */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* one line on stderr: "server: error: ..." */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Makes a librpma call and says so when it fails:
 *
 *     if (FAILED(rpma_peer_new(ibv_ctx, &peer)))
 *             goto out;
 */
#define FAILED(call) report_failure((call), #call)
bool report_failure(int ret, const char *call);

/* ---- memory ---- */

/* zeroed memory that starts at a page boundary; free() releases it */
void *alloc_pages(size_t size);

/*
 * Maps the file as shared memory. The file is created when it does not exist; what it held before is
 * gone, and it has the given size. unmap_file() also waits until the content is on the storage.
 */
void *map_file(const char *path, size_t size);
int unmap_file(void *ptr, size_t size);

/* ---- telling the other end about a memory region ---- */

/*
 * Private data is what two ends can exchange while they connect. How much of it fits differs: 56 bytes
 * from a client. The receiver may see more bytes than were sent, with zeros behind them, so what is in
 * it has to say its own length.
 */
#define PRIVATE_DATA_MAX 56

struct offer {
	uint8_t mr_desc_size;
	uint8_t pcfg_desc_size; /* 0: no peer configuration */
	uint8_t descriptors[PRIVATE_DATA_MAX - 2]; /* that of the region, then the configuration's */
};

/* describes a region and, unless pcfg is NULL, the peer configuration of the one who offers it */
int make_offer(const struct rpma_mr_local *mr, const struct rpma_peer_cfg *pcfg, struct offer *offer);

/*
 * Reads the offer in the private data that came with an established connection. With pcfg not NULL
 * the offer must have a peer configuration.
 */
int take_offer(const struct rpma_conn *conn, struct rpma_mr_remote **mr, struct rpma_peer_cfg **pcfg);

/* ---- the steps of a connection (01-connection shows them one by one) ---- */

/* finds the RDMA device that has the local address, or that leads to the remote one */
int open_peer(const char *addr, enum rpma_util_ibv_context_type type, struct rpma_peer **peer);

/* server: listens, takes one client, gives it the offer; the connection is established */
int accept_client(struct rpma_peer *peer, const char *addr, const char *port, struct offer *offer,
		struct rpma_conn **conn);

/* client: connects; the connection is established */
int connect_to_server(struct rpma_peer *peer, const char *addr, const char *port,
		struct rpma_conn **conn);

/* waits for the next event of the connection, which must be the wanted one */
int expect_event(struct rpma_conn *conn, enum rpma_conn_event wanted);

/* the end that is done first disconnects and waits for the other end to do the same ... */
int close_connection(struct rpma_conn *conn);

/* ... which waits for that */
int wait_for_close(struct rpma_conn *conn);

/* ---- completions ---- */

/*
 * Waits for the next completion in the queue, which must be the successful one of the operation that
 * was posted with this op_context. The examples give each operation its name as op_context (a string),
 * so that a failed one can be named.
 *
 * An operation that was posted with RPMA_F_COMPLETION_ON_ERROR and failed appears here too, in front
 * of the expected one. When the other end goes away, a completion may never come: this function
 * notices that and fails.
 */
int wait_for_completion(struct rpma_conn *conn, struct rpma_cq *cq, const char *op_context,
		struct ibv_wc *wc);

/* ---- data that can be recognised: length, checksum, a text, then filling up to the size ---- */

#define RECORD_SIZE ((size_t)64 * 1024)

void record_fill(void *record, const char *text);
/* the text in the record, or NULL when a byte of the record is not what record_fill() wrote */
const char *record_verify(const void *record);

#endif /* EXAMPLES_COMMON_H */
