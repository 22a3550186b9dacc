/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What all examples share: messages, memory, and the steps that every connection takes.
 *
 * Functions that can fail return 0, or -1 after they have said why on stderr.
 */

#ifndef EXAMPLES_COMMON_H
#define EXAMPLES_COMMON_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <librpma.h>

/* ---- start and messages ---- */

/*
 * Call this first. It stores the role ("server" or "client") for the messages, sets the log level of
 * the library, and checks the number of arguments. "--help" prints the usage and exits with status 0.
 *
 * From here on SIGINT (Ctrl-C) and SIGTERM do not kill the program: the waiting functions below fail
 * with a message, and the program releases what it has and exits.
 *
 * The library's log shows warnings and errors on stderr. The environment variable RPMA_EXAMPLES_LOG
 * selects another level: off, error, warning, notice, info or debug.
 */
int start(const char *role, int argc, char *const argv[], int min_args, int max_args,
		const char *usage);

/* a whole number from min to max in a command line argument */
int parse_number(const char *word, const char *what, unsigned long min, unsigned long max,
		unsigned long *number);

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

/* ---- waiting ---- */

/*
 * poll() without a timeout. Fails with a message when SIGINT or SIGTERM arrives; count is at most
 * POLL_MAX. Every wait of the examples goes through this function or watches stop_fd() itself.
 */
#define POLL_MAX 4
int poll_or_stop(struct pollfd *fds, nfds_t count);

/* the same for one file descriptor */
int wait_readable(int fd);

/* readable when SIGINT or SIGTERM has arrived, for epoll; then call report_stop() */
int stop_fd(void);
void report_stop(void);

/* ---- memory ---- */

/* zeroed memory that starts at a page boundary; free() releases it */
void *alloc_pages(size_t size);

/* ---- describing a memory region to the other end ---- */

/*
 * Private data is what two ends can exchange while they connect: at most 56 bytes from a client, and
 * 196 from a server. The receiver may get more bytes than were sent, padded with zeros, so the content
 * has to contain its own length.
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
 * Reads an offer from private data. With pcfg not NULL the offer must have a peer configuration.
 * take_offer() reads the one that came with an established connection.
 */
int parse_offer(const struct rpma_conn_private_data *pdata, struct rpma_mr_remote **mr,
		struct rpma_peer_cfg **pcfg);
int take_offer(const struct rpma_conn *conn, struct rpma_mr_remote **mr, struct rpma_peer_cfg **pcfg);

/* fails unless the region has the expected size */
int check_remote_size(const struct rpma_mr_remote *mr, size_t expected);

/* ---- the steps of a connection (01-connection shows them one by one) ---- */

/* finds the RDMA device that has the local address, or that leads to the remote one */
int open_peer(const char *addr, enum rpma_util_ibv_context_type type, struct rpma_peer **peer);

/* server: listens */
int start_listening(struct rpma_peer *peer, const char *addr, const char *port, struct rpma_ep **ep);

/* server: waits for the next client; cfg may be NULL */
int next_request(struct rpma_ep *ep, const struct rpma_conn_cfg *cfg, struct rpma_conn_req **req);

/*
 * either end: sends the request, or accepts it, with size bytes of private data (none if 0), and waits
 * until the connection is established; consumes the request, also on failure
 */
int establish(struct rpma_conn_req **req, void *private_data, size_t size, struct rpma_conn **conn);

/* server, all of this: listens, takes one client, gives it the offer */
int accept_client(struct rpma_peer *peer, const char *addr, const char *port, struct offer *offer,
		struct rpma_conn **conn);

/* client, all of this: connects, without private data */
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

/* the same for any operation, when their order is not known; waiting_for is for the message */
int wait_for_any_completion(struct rpma_conn *conn, struct rpma_cq *cq, const char *waiting_for,
		struct ibv_wc *wc);

/*
 * The same for a connection whose CQ and receive CQ share a channel: the next completion of either.
 * is_rcq tells which; 17-receive-cq-shared-channel shows how it works.
 */
int wait_on_shared_channel(struct rpma_conn *conn, const char *waiting_for, struct ibv_wc *wc,
		bool *is_rcq);

/* fails, with a message, unless the completion is successful: for operations whose wr_id is a name */
int check_completion(const struct ibv_wc *wc);

/* ---- data that can be verified: the length of a text, a checksum, the text, filling up to the size ---- */

#define RECORD_SIZE ((size_t)64 * 1024)

void record_fill(void *record, const char *text);
/* the text in the record, or NULL when a byte of the record is not what record_fill() wrote */
const char *record_verify(const void *record);

#endif /* EXAMPLES_COMMON_H */
