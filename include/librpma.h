/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * librpma.h -- Remote Persistent Memory Access: memory of other machines, persistent or not, read,
 * written and flushed over RDMA.
 *
 * One header for programs written for any release of the C library, 0.9.0 to 1.3.0. See librpma(7)
 * for an overview. Generated from the Rust sources: changes made here are lost.
 *
 * Every function that returns int returns 0, or a negative RPMA_E_* code. Unless its description
 * says otherwise, an output parameter is written only on success. After RPMA_E_PROVIDER, errno is
 * that of the verbs or connection manager call that failed. Whatever fails is logged as an error.
 */

#ifndef LIBRPMA_H
#define LIBRPMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <infiniband/verbs.h>

/* for rpma_log_set_function: back to the log function of the library */
#define RPMA_LOG_USE_DEFAULT_FUNCTION (NULL)

/**
 * Not used by any release; kept for the programs that name it.
 */
#define RPMA_W_WAIT_FOR_COMPLETION 1

/**
 * Unknown error
 */
#define RPMA_E_UNKNOWN (-100000)

/**
 * Not supported
 */
#define RPMA_E_NOSUPP (-100001)

/**
 * A verbs or connection manager call failed; errno says why
 */
#define RPMA_E_PROVIDER (-100002)

/**
 * Out of memory
 */
#define RPMA_E_NOMEM (-100003)

/**
 * Invalid argument
 */
#define RPMA_E_INVAL (-100004)

/**
 * No completion is available
 */
#define RPMA_E_NO_COMPLETION (-100005)

/**
 * No event is available
 */
#define RPMA_E_NO_EVENT (-100006)

/**
 * Temporary error; no function returns it
 */
#define RPMA_E_AGAIN (-100007)

/**
 * The completion channel is shared
 */
#define RPMA_E_SHARED_CHANNEL (-100008)

/**
 * The completion channel is not shared
 */
#define RPMA_E_NOT_SHARED_CHNL (-100009)

/**
 * How long the steps of connecting may take, in milliseconds, unless configured otherwise
 */
#define RPMA_DEFAULT_TIMEOUT_MS 1000

/**
 * The memory is read by the remote side (rpma_read)
 */
#define RPMA_MR_USAGE_READ_SRC (1 << 0)

/**
 * The memory takes what is read from the remote side (rpma_read)
 */
#define RPMA_MR_USAGE_READ_DST (1 << 1)

/**
 * The memory is written to the remote side (rpma_write and its kin)
 */
#define RPMA_MR_USAGE_WRITE_SRC (1 << 2)

/**
 * The memory is written by the remote side (rpma_write and its kin, rpma_atomic_write)
 */
#define RPMA_MR_USAGE_WRITE_DST (1 << 3)

/**
 * The remote side may flush the memory to global visibility
 */
#define RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY (1 << 4)

/**
 * The remote side may flush the memory to persistence
 */
#define RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT (1 << 5)

/**
 * The memory holds messages to send (rpma_send)
 */
#define RPMA_MR_USAGE_SEND (1 << 6)

/**
 * The memory takes received messages (rpma_recv)
 */
#define RPMA_MR_USAGE_RECV (1 << 7)

/**
 * Ask for a completion if the operation fails
 */
#define RPMA_F_COMPLETION_ON_ERROR (1 << 0)

/**
 * Ask for a completion however the operation ends
 */
#define RPMA_F_COMPLETION_ALWAYS ((1 << 1) | RPMA_F_COMPLETION_ON_ERROR)

/**
 * What the offset of an atomic write is a multiple of, and how many bytes it writes
 */
#define RPMA_ATOMIC_WRITE_ALIGNMENT 8

/**
 * Where the device is looked for
 */
enum rpma_util_ibv_context_type {
    /**
     * the device that has the address
     */
    RPMA_UTIL_IBV_CONTEXT_LOCAL = 0,
    /**
     * the device through which the address is reached
     */
    RPMA_UTIL_IBV_CONTEXT_REMOTE = 1,
};

/**
 * What happened to a connection
 */
enum rpma_conn_event {
    /**
     * no event
     */
    RPMA_CONN_UNDEFINED = -1,
    /**
     * the connection is there
     */
    RPMA_CONN_ESTABLISHED = 0,
    /**
     * the connection was closed, by either side
     */
    RPMA_CONN_CLOSED = 1,
    /**
     * the connection was lost
     */
    RPMA_CONN_LOST = 2,
    /**
     * the other side rejected the connection, or does not listen
     */
    RPMA_CONN_REJECTED = 3,
    /**
     * the other side does not answer
     */
    RPMA_CONN_UNREACHABLE = 4,
};

/**
 * What a flush makes sure of
 */
enum rpma_flush_type {
    /**
     * the data survives a power failure
     */
    RPMA_FLUSH_TYPE_PERSISTENT = 0,
    /**
     * the data is visible to the remote processors
     */
    RPMA_FLUSH_TYPE_VISIBILITY = 1,
};

/**
 * How serious a message of the log is
 */
enum rpma_log_level {
    /**
     * as a threshold: nothing is logged
     */
    RPMA_LOG_DISABLED = -1,
    /**
     * the library cannot go on
     */
    RPMA_LOG_LEVEL_FATAL = 0,
    /**
     * a function failed
     */
    RPMA_LOG_LEVEL_ERROR = 1,
    /**
     * something is not as it should be
     */
    RPMA_LOG_LEVEL_WARNING = 2,
    /**
     * a step of the ordinary course of things
     */
    RPMA_LOG_LEVEL_NOTICE = 3,
    /**
     * something worth knowing
     */
    RPMA_LOG_LEVEL_INFO = 4,
    /**
     * details for debugging
     */
    RPMA_LOG_LEVEL_DEBUG = 5,
};

/**
 * A function that takes the messages of the log: how serious the message is, where in the sources
 * of the library it was logged, the name of the public function that logged it, and a format with
 * its arguments as printf has them. The formatted text ends with a newline. The function may be
 * called from any thread, and from several at once.
 */
typedef void rpma_log_function(enum rpma_log_level level, const char *file_name, const int line_no,
                               const char *function_name, const char *message_format, ...);

/**
 * Which threshold of the log
 */
enum rpma_log_threshold {
    /**
     * which messages are logged at all
     */
    RPMA_LOG_THRESHOLD = 0,
    /**
     * which of these the default log function writes to stderr as well
     */
    RPMA_LOG_THRESHOLD_AUX = 1,
    /**
     * the number of thresholds
     */
    RPMA_LOG_THRESHOLD_MAX = 2,
};

/**
 * What a completion of releases 0.9 to 0.11 is of
 */
enum rpma_op {
    /**
     * rpma_read, or a flush that is emulated by a read
     */
    RPMA_OP_READ = 0,
    /**
     * rpma_write, rpma_write_with_imm, rpma_write_atomic, rpma_atomic_write
     */
    RPMA_OP_WRITE = 1,
    /**
     * not reported by any release
     */
    RPMA_OP_FLUSH = 2,
    /**
     * rpma_send, rpma_send_with_imm
     */
    RPMA_OP_SEND = 3,
    /**
     * rpma_recv
     */
    RPMA_OP_RECV = 4,
    /**
     * rpma_recv that an rpma_write_with_imm of the other side completed
     */
    RPMA_OP_RECV_RDMA_WITH_IMM = 5,
};

/**
 * A connection. Its fields stand in the order in which they go.
 */
struct rpma_conn;

/**
 * A configuration that a C program fills in. Every field is atomic: threads may set and get at the
 * same time.
 */
struct rpma_conn_cfg;

/**
 * A connection request.
 */
struct rpma_conn_req;

/**
 * A completion queue.
 */
struct rpma_cq;

/**
 * An endpoint that listens. Its fields stand in the order in which they go.
 */
struct rpma_ep;

/**
 * Memory of this process, registered with the device.
 */
struct rpma_mr_local;

/**
 * Memory of the remote side.
 */
struct rpma_mr_remote;

/**
 * A device in use.
 */
struct rpma_peer;

/**
 * The configuration of a peer: whether it allows direct write to persistent memory.
 */
struct rpma_peer_cfg;

/**
 * A shared receive queue.
 */
struct rpma_srq;

/**
 * A configuration that a C program fills in; every field is atomic, as in [`crate::conn_cfg`].
 */
struct rpma_srq_cfg;

/**
 * Private data: bytes that travel with a connection request or its acceptance
 */
struct rpma_conn_private_data {
    /**
     * the bytes, or NULL
     */
    void *ptr;
    /**
     * how many there are
     */
    uint8_t len;
};

/**
 * A completion, as releases 0.9 to 0.11 told it
 *
 * A program built for release 0.9.0 has this struct without flags and imm. So imm is written only
 * for a completion that carries an immediate, which release 0.9.0 could not ask for.
 */
struct rpma_completion {
    /**
     * the op_context that the operation was given
     */
    void *op_context;
    /**
     * what kind of operation it was
     */
    enum rpma_op op;
    /**
     * how many bytes were moved
     */
    uint32_t byte_len;
    /**
     * whether it succeeded; unless it did, only op_context is valid besides
     */
    enum ibv_wc_status op_status;
    /**
     * flags of enum ibv_wc_flags
     */
    unsigned int flags;
    /**
     * the immediate, in host byte order, if IBV_WC_WITH_IMM is set in flags
     */
    uint32_t imm;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Finds the RDMA device of an address.
 */
int rpma_utils_get_ibv_context(const char *addr,
                               enum rpma_util_ibv_context_type type,
                               struct ibv_context **ibv_ctx_ptr);

/**
 * Tells whether a device can do on-demand paging.
 */
int rpma_utils_ibv_context_is_odp_capable(struct ibv_context *ibv_ctx, int *is_odp_capable);

/**
 * The text of a connection event.
 */
const char *rpma_utils_conn_event_2str(enum rpma_conn_event conn_event);

/**
 * The text of a code that a function of this library returned.
 */
const char *rpma_err_2str(int ret);

/**
 * Makes a peer configuration: no direct write to PMem.
 */
int rpma_peer_cfg_new(struct rpma_peer_cfg **pcfg_ptr);

/**
 * Deletes a peer configuration.
 */
int rpma_peer_cfg_delete(struct rpma_peer_cfg **pcfg_ptr);

/**
 * Declares whether direct write to PMem is possible.
 */
int rpma_peer_cfg_set_direct_write_to_pmem(struct rpma_peer_cfg *pcfg, bool supported);

/**
 * Tells whether direct write to PMem is possible.
 */
int rpma_peer_cfg_get_direct_write_to_pmem(const struct rpma_peer_cfg *pcfg, bool *supported);

/**
 * Writes the descriptor of a peer configuration.
 */
int rpma_peer_cfg_get_descriptor(const struct rpma_peer_cfg *pcfg, void *desc);

/**
 * Tells how large the descriptor of a peer configuration is.
 */
int rpma_peer_cfg_get_descriptor_size(const struct rpma_peer_cfg *pcfg, size_t *desc_size);

/**
 * Makes a peer configuration from a descriptor.
 */
int rpma_peer_cfg_from_descriptor(const void *desc,
                                  size_t desc_size,
                                  struct rpma_peer_cfg **pcfg_ptr);

/**
 * Makes a peer of a device.
 */
int rpma_peer_new(struct ibv_context *ibv_ctx, struct rpma_peer **peer_ptr);

/**
 * Deletes a peer.
 */
int rpma_peer_delete(struct rpma_peer **peer_ptr);

/**
 * Registers memory.
 */
int rpma_mr_reg(struct rpma_peer *peer,
                void *ptr,
                size_t size,
                int usage,
                struct rpma_mr_local **mr_ptr);

/**
 * Deregisters memory.
 */
int rpma_mr_dereg(struct rpma_mr_local **mr_ptr);

/**
 * Writes the descriptor of a memory region.
 */
int rpma_mr_get_descriptor(const struct rpma_mr_local *mr, void *desc);

/**
 * Makes a remote memory region from a descriptor.
 */
int rpma_mr_remote_from_descriptor(const void *desc,
                                   size_t desc_size,
                                   struct rpma_mr_remote **mr_ptr);

/**
 * Tells how large the descriptor of a memory region is.
 */
int rpma_mr_get_descriptor_size(const struct rpma_mr_local *mr, size_t *desc_size);

/**
 * Tells where a memory region starts.
 */
int rpma_mr_get_ptr(const struct rpma_mr_local *mr, void **ptr);

/**
 * Tells how large a memory region is.
 */
int rpma_mr_get_size(const struct rpma_mr_local *mr, size_t *size);

/**
 * Tells how large a remote memory region is.
 */
int rpma_mr_remote_get_size(const struct rpma_mr_remote *mr, size_t *size);

/**
 * Tells which types of flush a remote memory region takes.
 */
int rpma_mr_remote_get_flush_type(const struct rpma_mr_remote *mr, int *flush_type);

/**
 * Deletes a remote memory region.
 */
int rpma_mr_remote_delete(struct rpma_mr_remote **mr_ptr);

/**
 * Gives the device advice about a range of a memory region.
 */
int rpma_mr_advise(struct rpma_mr_local *mr, size_t offset, size_t len, int advice, uint32_t flags);

/**
 * Makes a connection configuration with the default settings.
 */
int rpma_conn_cfg_new(struct rpma_conn_cfg **cfg_ptr);

/**
 * Deletes a connection configuration.
 */
int rpma_conn_cfg_delete(struct rpma_conn_cfg **cfg_ptr);

/**
 * Sets how long each step of connecting may take.
 */
int rpma_conn_cfg_set_timeout(struct rpma_conn_cfg *cfg, int timeout_ms);

/**
 * Tells how long each step of connecting may take.
 */
int rpma_conn_cfg_get_timeout(const struct rpma_conn_cfg *cfg, int *timeout_ms);

/**
 * Sets the size of the completion queue.
 */
int rpma_conn_cfg_set_cq_size(struct rpma_conn_cfg *cfg, uint32_t cq_size);

/**
 * Tells whether the completion channel is shared.
 */
int rpma_conn_cfg_get_compl_channel(const struct rpma_conn_cfg *cfg, bool *shared);

/**
 * Sets whether the completion channel is shared.
 */
int rpma_conn_cfg_set_compl_channel(struct rpma_conn_cfg *cfg, bool shared);

/**
 * Tells the size of the completion queue.
 */
int rpma_conn_cfg_get_cq_size(const struct rpma_conn_cfg *cfg, uint32_t *cq_size);

/**
 * Sets the size of the receive completion queue.
 */
int rpma_conn_cfg_set_rcq_size(struct rpma_conn_cfg *cfg, uint32_t rcq_size);

/**
 * Tells the size of the receive completion queue.
 */
int rpma_conn_cfg_get_rcq_size(const struct rpma_conn_cfg *cfg, uint32_t *rcq_size);

/**
 * Sets the size of the send queue.
 */
int rpma_conn_cfg_set_sq_size(struct rpma_conn_cfg *cfg, uint32_t sq_size);

/**
 * Tells the size of the send queue.
 */
int rpma_conn_cfg_get_sq_size(const struct rpma_conn_cfg *cfg, uint32_t *sq_size);

/**
 * Sets the size of the receive queue.
 */
int rpma_conn_cfg_set_rq_size(struct rpma_conn_cfg *cfg, uint32_t rq_size);

/**
 * Tells the size of the receive queue.
 */
int rpma_conn_cfg_get_rq_size(const struct rpma_conn_cfg *cfg, uint32_t *rq_size);

/**
 * Sets the shared receive queue.
 */
int rpma_conn_cfg_set_srq(struct rpma_conn_cfg *cfg, struct rpma_srq *srq);

/**
 * Tells the shared receive queue.
 */
int rpma_conn_cfg_get_srq(const struct rpma_conn_cfg *cfg, struct rpma_srq **srq_ptr);

/**
 * Makes a configuration of a shared receive queue with the default settings.
 */
int rpma_srq_cfg_new(struct rpma_srq_cfg **cfg_ptr);

/**
 * Deletes a configuration of a shared receive queue.
 */
int rpma_srq_cfg_delete(struct rpma_srq_cfg **cfg_ptr);

/**
 * Sets the size of the shared receive queue.
 */
int rpma_srq_cfg_set_rq_size(struct rpma_srq_cfg *cfg, uint32_t rq_size);

/**
 * Tells the size of the shared receive queue.
 */
int rpma_srq_cfg_get_rq_size(const struct rpma_srq_cfg *cfg, uint32_t *rq_size);

/**
 * Sets the size of its receive completion queue.
 */
int rpma_srq_cfg_set_rcq_size(struct rpma_srq_cfg *cfg, uint32_t rcq_size);

/**
 * Tells the size of its receive completion queue.
 */
int rpma_srq_cfg_get_rcq_size(const struct rpma_srq_cfg *cfg, uint32_t *rcq_size);

/**
 * Makes a shared receive queue.
 */
int rpma_srq_new(struct rpma_peer *peer, struct rpma_srq_cfg *cfg, struct rpma_srq **srq_ptr);

/**
 * Deletes a shared receive queue.
 */
int rpma_srq_delete(struct rpma_srq **srq_ptr);

/**
 * Posts a receive to a shared receive queue.
 */
int rpma_srq_recv(struct rpma_srq *srq,
                  struct rpma_mr_local *dst,
                  size_t offset,
                  size_t len,
                  const void *op_context);

/**
 * Tells the receive completion queue of a shared receive queue.
 */
int rpma_srq_get_rcq(const struct rpma_srq *srq, struct rpma_cq **rcq_ptr);

/**
 * Makes a request for a connection.
 */
int rpma_conn_req_new(struct rpma_peer *peer,
                      const char *addr,
                      const char *port,
                      const struct rpma_conn_cfg *cfg,
                      struct rpma_conn_req **req_ptr);

/**
 * Deletes a connection request.
 */
int rpma_conn_req_delete(struct rpma_conn_req **req_ptr);

/**
 * Turns a connection request into a connection.
 */
int rpma_conn_req_connect(struct rpma_conn_req **req_ptr,
                          const struct rpma_conn_private_data *pdata,
                          struct rpma_conn **conn_ptr);

/**
 * Posts a receive before there is a connection.
 */
int rpma_conn_req_recv(struct rpma_conn_req *req,
                       struct rpma_mr_local *dst,
                       size_t offset,
                       size_t len,
                       const void *op_context);

/**
 * Tells the private data that came with a connection request.
 */
int rpma_conn_req_get_private_data(const struct rpma_conn_req *req,
                                   struct rpma_conn_private_data *pdata);

/**
 * Listens for connections.
 */
int rpma_ep_listen(struct rpma_peer *peer,
                   const char *addr,
                   const char *port,
                   struct rpma_ep **ep_ptr);

/**
 * Stops listening.
 */
int rpma_ep_shutdown(struct rpma_ep **ep_ptr);

/**
 * Tells the descriptor of the endpoint's events.
 */
int rpma_ep_get_fd(const struct rpma_ep *ep, int *fd);

/**
 * Takes the next incoming connection request.
 */
int rpma_ep_next_conn_req(struct rpma_ep *ep,
                          const struct rpma_conn_cfg *cfg,
                          struct rpma_conn_req **req_ptr);

/**
 * Tells the descriptor of the connection's events.
 */
int rpma_conn_get_event_fd(const struct rpma_conn *conn, int *fd);

/**
 * Takes the next event of a connection.
 */
int rpma_conn_next_event(struct rpma_conn *conn, enum rpma_conn_event *event);

/**
 * Tells the private data that the other side sent.
 */
int rpma_conn_get_private_data(const struct rpma_conn *conn, struct rpma_conn_private_data *pdata);

/**
 * Applies what the remote peer says of itself.
 */
int rpma_conn_apply_remote_peer_cfg(struct rpma_conn *conn, const struct rpma_peer_cfg *pcfg);

/**
 * Tells the number of the connection's queue pair.
 */
int rpma_conn_get_qp_num(const struct rpma_conn *conn, uint32_t *qp_num);

/**
 * Tells the connection's completion queue.
 */
int rpma_conn_get_cq(const struct rpma_conn *conn, struct rpma_cq **cq_ptr);

/**
 * Tells the connection's receive completion queue.
 */
int rpma_conn_get_rcq(const struct rpma_conn *conn, struct rpma_cq **rcq_ptr);

/**
 * Asks for the end of a connection.
 */
int rpma_conn_disconnect(struct rpma_conn *conn);

/**
 * Deletes a connection.
 */
int rpma_conn_delete(struct rpma_conn **conn_ptr);

/**
 * Tells the descriptor of the shared completion channel.
 */
int rpma_conn_get_compl_fd(const struct rpma_conn *conn, int *fd);

/**
 * Waits for a completion on the shared completion channel.
 */
int rpma_conn_wait(struct rpma_conn *conn, int flags, struct rpma_cq **cq, bool *is_rcq);

/**
 * Waits for a completion of the connection's completion queue (releases 0.9 and 0.10).
 */
int rpma_conn_completion_wait(struct rpma_conn *conn);

/**
 * Takes a completion from the connection's completion queue (releases 0.9 and 0.10).
 */
int rpma_conn_completion_get(struct rpma_conn *conn, struct rpma_completion *cmpl);

/**
 * Tells the descriptor of the connection's completion channel (releases 0.9 and 0.10).
 */
int rpma_conn_get_completion_fd(const struct rpma_conn *conn, int *fd);

/**
 * Reads from remote memory.
 */
int rpma_read(struct rpma_conn *conn,
              struct rpma_mr_local *dst,
              size_t dst_offset,
              const struct rpma_mr_remote *src,
              size_t src_offset,
              size_t len,
              int flags,
              const void *op_context);

/**
 * Writes to remote memory.
 */
int rpma_write(struct rpma_conn *conn,
               struct rpma_mr_remote *dst,
               size_t dst_offset,
               const struct rpma_mr_local *src,
               size_t src_offset,
               size_t len,
               int flags,
               const void *op_context);

/**
 * Writes to remote memory and notifies the remote side.
 */
int rpma_write_with_imm(struct rpma_conn *conn,
                        struct rpma_mr_remote *dst,
                        size_t dst_offset,
                        const struct rpma_mr_local *src,
                        size_t src_offset,
                        size_t len,
                        int flags,
                        uint32_t imm,
                        const void *op_context);

/**
 * Writes 8 bytes to remote memory atomically.
 */
int rpma_atomic_write(struct rpma_conn *conn,
                      struct rpma_mr_remote *dst,
                      size_t dst_offset,
                      const char *src,
                      int flags,
                      const void *op_context);

/**
 * Flushes remote memory.
 */
int rpma_flush(struct rpma_conn *conn,
               struct rpma_mr_remote *dst,
               size_t dst_offset,
               size_t len,
               enum rpma_flush_type type,
               int flags,
               const void *op_context);

/**
 * Sends a message.
 */
int rpma_send(struct rpma_conn *conn,
              const struct rpma_mr_local *src,
              size_t offset,
              size_t len,
              int flags,
              const void *op_context);

/**
 * Sends a message with an immediate.
 */
int rpma_send_with_imm(struct rpma_conn *conn,
                       const struct rpma_mr_local *src,
                       size_t offset,
                       size_t len,
                       int flags,
                       uint32_t imm,
                       const void *op_context);

/**
 * Posts a receive.
 */
int rpma_recv(struct rpma_conn *conn,
              struct rpma_mr_local *dst,
              size_t offset,
              size_t len,
              const void *op_context);

/**
 * Writes 8 bytes of a memory region to remote memory atomically (releases 0.9 to 0.13).
 */
int rpma_write_atomic(struct rpma_conn *conn,
                      struct rpma_mr_remote *dst,
                      size_t dst_offset,
                      const struct rpma_mr_local *src,
                      size_t src_offset,
                      int flags,
                      const void *op_context);

/**
 * Tells the descriptor of a completion queue's channel.
 */
int rpma_cq_get_fd(const struct rpma_cq *cq, int *fd);

/**
 * Waits for a completion.
 */
int rpma_cq_wait(struct rpma_cq *cq);

/**
 * Takes completions from a completion queue.
 */
int rpma_cq_get_wc(struct rpma_cq *cq, int num_entries, struct ibv_wc *wc, int *num_entries_got);

/**
 * Takes a completion from a completion queue (releases 0.10 and 0.11).
 */
int rpma_cq_get_completion(struct rpma_cq *cq, struct rpma_completion *cmpl);

/**
 * Sets the function that the messages of the log go to.
 */
int rpma_log_set_function(rpma_log_function *log_function);

/**
 * Sets a threshold of the log.
 */
int rpma_log_set_threshold(enum rpma_log_threshold threshold, enum rpma_log_level level);

/**
 * Tells a threshold of the log.
 */
int rpma_log_get_threshold(enum rpma_log_threshold threshold, enum rpma_log_level *level);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LIBRPMA_H */
