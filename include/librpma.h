/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * librpma.h -- Remote Persistent Memory Access: memory of other machines, persistent or not, read,
 * written and flushed over RDMA.
 *
 * One header for programs written for any release of the C library, 0.9.0 to 1.3.0. See librpma(7)
 * for an overview. Generated from the Rust sources: changes made here are lost.
 *
 * Every function that returns int returns 0, or a negative RPMA_E_* code; then the log says what was
 * wrong, unless there was merely nothing to return (RPMA_E_NO_EVENT, RPMA_E_NO_COMPLETION). Unless a
 * description says otherwise, output parameters are written on success only, a function may be called
 * from several threads at once, and after RPMA_E_PROVIDER errno is that of the verbs or connection
 * manager call that failed.
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
 * Something that should not happen: the log says what
 */
#define RPMA_E_UNKNOWN (-100000)

/**
 * The device, the remote side or the memory region does not support it
 */
#define RPMA_E_NOSUPP (-100001)

/**
 * A verbs or connection manager call failed: errno and the log say why
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
 * No completion is there: an ordinary outcome, not logged
 */
#define RPMA_E_NO_COMPLETION (-100005)

/**
 * No event is there: an ordinary outcome, not logged
 */
#define RPMA_E_NO_EVENT (-100006)

/**
 * Temporary error; no function returns it
 */
#define RPMA_E_AGAIN (-100007)

/**
 * The completion channel is shared: rpma_conn_wait waits on it
 */
#define RPMA_E_SHARED_CHANNEL (-100008)

/**
 * The completion channel is not shared: rpma_cq_wait waits on it
 */
#define RPMA_E_NOT_SHARED_CHNL (-100009)

/**
 * How long each step of finding the other side may take, in milliseconds, unless configured
 * otherwise (rpma_conn_cfg_set_timeout)
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
 * The remote side may flush the memory to visibility; where that is emulated, also read it
 */
#define RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY (1 << 4)

/**
 * The remote side may flush the memory to persistence; where that is emulated, also read it
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
 * For the flags of an operation: a completion if it fails
 */
#define RPMA_F_COMPLETION_ON_ERROR (1 << 0)

/**
 * For the flags of an operation: a completion however it ends
 */
#define RPMA_F_COMPLETION_ALWAYS ((1 << 1) | RPMA_F_COMPLETION_ON_ERROR)

/**
 * What the offset of an atomic write must be a multiple of, and how many bytes it writes
 */
#define RPMA_ATOMIC_WRITE_ALIGNMENT 8

/**
 * How rpma_utils_get_ibv_context looks for a device
 */
enum rpma_util_ibv_context_type {
    /**
     * the device that has the address, which is one of this machine
     */
    RPMA_UTIL_IBV_CONTEXT_LOCAL = 0,
    /**
     * the device through which the address, which is one of another machine, is reached
     */
    RPMA_UTIL_IBV_CONTEXT_REMOTE = 1,
};

/**
 * What happened to a connection (rpma_conn_next_event)
 */
enum rpma_conn_event {
    /**
     * no event; never told by rpma_conn_next_event
     */
    RPMA_CONN_UNDEFINED = -1,
    /**
     * the connection is established
     */
    RPMA_CONN_ESTABLISHED = 0,
    /**
     * the connection was closed by either side, or the other side's process is gone
     */
    RPMA_CONN_CLOSED = 1,
    /**
     * the connection could not be made for an error, or its device is gone
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
     * the data survives a power failure of the remote side
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
     * the library cannot go on; no message has this level
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
 * The thresholds of the log (rpma_log_set_threshold)
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
     * the number of thresholds, not one of them
     */
    RPMA_LOG_THRESHOLD_MAX = 2,
};

/**
 * The kind of operation of a completion, as releases 0.9 to 0.11 told it
 */
enum rpma_op {
    /**
     * rpma_read, or a flush that is emulated by a read
     */
    RPMA_OP_READ = 0,
    /**
     * rpma_write, rpma_write_with_imm, rpma_write_atomic, or an rpma_atomic_write that is emulated
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
     * rpma_recv, rpma_conn_req_recv, rpma_srq_recv
     */
    RPMA_OP_RECV = 4,
    /**
     * a receive that an rpma_write_with_imm of the other side has used up
     */
    RPMA_OP_RECV_RDMA_WITH_IMM = 5,
};

/**
 * A connection
 */
struct rpma_conn;

/**
 * The configuration of a connection
 */
struct rpma_conn_cfg;

/**
 * A connection request, incoming or outgoing
 */
struct rpma_conn_req;

/**
 * A completion queue
 */
struct rpma_cq;

/**
 * An endpoint that listens for connection requests
 */
struct rpma_ep;

/**
 * Memory of this process, registered with the device
 */
struct rpma_mr_local;

/**
 * Memory of the remote side
 */
struct rpma_mr_remote;

/**
 * A peer: an RDMA device in use
 */
struct rpma_peer;

/**
 * The configuration of a peer: whether it allows direct write to persistent memory
 */
struct rpma_peer_cfg;

/**
 * A shared receive queue
 */
struct rpma_srq;

/**
 * The configuration of a shared receive queue
 */
struct rpma_srq_cfg;

/**
 * Private data: bytes that travel with a connection request or its acceptance, unencrypted
 */
struct rpma_conn_private_data {
    /**
     * the bytes, or NULL
     */
    void *ptr;
    /**
     * how many there are, 0 to 255
     */
    uint8_t len;
};

/**
 * A completion, as releases 0.9 to 0.11 told it (rpma_conn_completion_get,
 * rpma_cq_get_completion)
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
     * IBV_WC_SUCCESS if it succeeded; otherwise, only op_context is valid besides
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
 * Finds the RDMA device of an IPv4 or IPv6 address or host name.
 *
 * With RPMA_UTIL_IBV_CONTEXT_LOCAL, addr is an address of this machine, and the device is the one
 * that has it (rdma_bind_addr). With RPMA_UTIL_IBV_CONTEXT_REMOTE, addr is an address of another
 * machine, and the device is the one through which it is reached (rdma_resolve_addr, which takes
 * up to RPMA_DEFAULT_TIMEOUT_MS).
 *
 * The context belongs to librdmacm and stays valid until the process ends: the program must not
 * close it. A wildcard address (0.0.0.0 or ::) belongs to no device: the function succeeds, and
 * *ibv_ctx_ptr is NULL.
 *
 * Not thread-safe: one thread at a time.
 *
 * Errors:
 * - RPMA_E_INVAL: addr or ibv_ctx_ptr is NULL, or type is unknown
 * - RPMA_E_PROVIDER: looking up the address, creating a CM identifier, or binding it or resolving
 *   the address failed; when the name lookup failed, the log has the reason and errno may not
 *
 * See: rpma_peer_new, rpma_utils_ibv_context_is_odp_capable
 */
int rpma_utils_get_ibv_context(const char *addr,
                               enum rpma_util_ibv_context_type type,
                               struct ibv_context **ibv_ctx_ptr);

/**
 * Tells whether a device can do on-demand paging for reliable connections.
 *
 * *is_odp_capable is 1 when the device supports on-demand paging for both RDMA reads and RDMA
 * writes of the RC transport, otherwise 0; it is 0 also when the query failed. Memory mapped from
 * a file of a DAX file system usually can be registered on such a device only (see rpma_mr_reg).
 *
 * Errors:
 * - RPMA_E_INVAL: ibv_ctx or is_odp_capable is NULL
 * - RPMA_E_PROVIDER: querying the device failed (ibv_query_device_ex)
 */
int rpma_utils_ibv_context_is_odp_capable(struct ibv_context *ibv_ctx, int *is_odp_capable);

/**
 * Gives the text of a connection event.
 *
 * The string is static, in English and without a newline: the program must not free it. Every
 * value has a text, also one that is no event.
 *
 * See: rpma_conn_next_event
 */
const char *rpma_utils_conn_event_2str(enum rpma_conn_event conn_event);

/**
 * Gives the text of a code that a function of this library returned.
 *
 * The string is static, in English and without a newline: the program must not free it. Every
 * value has a text, 0 and values that are no code as well. What exactly failed is in the log and,
 * after RPMA_E_PROVIDER, in errno.
 */
const char *rpma_err_2str(int ret);

/**
 * Creates a peer configuration, which says that direct write to PMem is not possible.
 *
 * A peer configuration is what one side of a connection tells the other about its platform. The
 * caller deletes it with rpma_peer_cfg_delete.
 *
 * Errors:
 * - RPMA_E_INVAL: pcfg_ptr is NULL
 * - RPMA_E_NOMEM: out of memory
 *
 * See: rpma_peer_cfg_set_direct_write_to_pmem, rpma_peer_cfg_get_descriptor
 */
int rpma_peer_cfg_new(struct rpma_peer_cfg **pcfg_ptr);

/**
 * Deletes a peer configuration and sets *pcfg_ptr to NULL.
 *
 * Nothing happens when *pcfg_ptr is NULL already. Connections that the configuration was applied
 * to do not need it any more.
 *
 * Errors:
 * - RPMA_E_INVAL: pcfg_ptr is NULL
 */
int rpma_peer_cfg_delete(struct rpma_peer_cfg **pcfg_ptr);

/**
 * Declares whether direct write to PMem is possible on this side.
 *
 * It is possible when the platform is set up so that what the network adapter writes to persistent
 * memory cannot be left behind in a volatile cache; on Intel platforms that means, for example,
 * that DDIO is off for the adapter's port. The library cannot find out: a wrong true costs data at
 * the next power failure, because flushes to persistence succeed without having their effect.
 *
 * The declaration takes effect on the remote side, once it has received the descriptor of this
 * configuration and applied it to its connection. May be called from several threads at once.
 *
 * Errors:
 * - RPMA_E_INVAL: pcfg is NULL
 *
 * See: rpma_peer_cfg_get_descriptor, rpma_conn_apply_remote_peer_cfg, rpma_flush
 */
int rpma_peer_cfg_set_direct_write_to_pmem(struct rpma_peer_cfg *pcfg, bool supported);

/**
 * Tells whether a peer configuration declares direct write to PMem.
 *
 * Errors:
 * - RPMA_E_INVAL: pcfg or supported is NULL
 */
int rpma_peer_cfg_get_direct_write_to_pmem(const struct rpma_peer_cfg *pcfg, bool *supported);

/**
 * Writes the descriptor of a peer configuration, which is meant for the other side.
 *
 * desc must have room for as many bytes as rpma_peer_cfg_get_descriptor_size tells. The bytes are
 * the same on every architecture. How they reach the other side is up to the program: as private
 * data or as a message, for example.
 *
 * Errors:
 * - RPMA_E_INVAL: pcfg or desc is NULL
 *
 * See: rpma_peer_cfg_from_descriptor
 */
int rpma_peer_cfg_get_descriptor(const struct rpma_peer_cfg *pcfg, void *desc);

/**
 * Tells the size of the descriptor of a peer configuration, in bytes.
 *
 * Errors:
 * - RPMA_E_INVAL: pcfg or desc_size is NULL
 */
int rpma_peer_cfg_get_descriptor_size(const struct rpma_peer_cfg *pcfg, size_t *desc_size);

/**
 * Creates a peer configuration from a descriptor that came from the other side.
 *
 * desc_size is the number of bytes at desc; those behind the descriptor are ignored. desc is not
 * needed afterwards. The caller deletes the configuration with rpma_peer_cfg_delete.
 *
 * The descriptor is as trustworthy as the way it came: what it declares cannot be verified, and a
 * false declaration makes flushes to persistence succeed without having their effect.
 *
 * Errors:
 * - RPMA_E_INVAL: desc or pcfg_ptr is NULL, or desc_size is 0
 * - RPMA_E_NOMEM: out of memory
 *
 * See: rpma_conn_apply_remote_peer_cfg
 */
int rpma_peer_cfg_from_descriptor(const void *desc,
                                  size_t desc_size,
                                  struct rpma_peer_cfg **pcfg_ptr);

/**
 * Creates a peer: a device, and the protection domain of all that is made on it.
 *
 * Asks the device for on-demand paging, native atomic write and native flush
 * (ibv_query_device_ex), and allocates a protection domain (ibv_alloc_pd). What the device does
 * not have natively is emulated; the log says so at level INFO.
 *
 * The caller deletes the peer with rpma_peer_delete, after everything that was made with it. The
 * context must stay open until then; that of rpma_utils_get_ibv_context does.
 *
 * Errors:
 * - RPMA_E_INVAL: ibv_ctx or peer_ptr is NULL
 * - RPMA_E_NOMEM: out of memory, here or in the driver (ENOMEM)
 * - RPMA_E_PROVIDER: querying the device or allocating the protection domain failed
 * - RPMA_E_UNKNOWN: allocating the protection domain failed without an errno
 */
int rpma_peer_new(struct ibv_context *ibv_ctx, struct rpma_peer **peer_ptr);

/**
 * Deletes a peer and sets *peer_ptr to NULL.
 *
 * Nothing happens when *peer_ptr is NULL already. Connections, connection requests, endpoints,
 * memory regions and shared receive queues that were made with the peer must be deleted first. The
 * device context stays open.
 *
 * Errors:
 * - RPMA_E_INVAL: peer_ptr is NULL
 * - RPMA_E_PROVIDER: deallocating the protection domain failed (ibv_dealloc_pd), with EBUSY when
 *   something in it is left; the peer is gone nevertheless
 */
int rpma_peer_delete(struct rpma_peer **peer_ptr);

/**
 * Registers memory with the device of a peer.
 *
 * The region is the size bytes from ptr on; alignment does not matter. usage is any combination of
 * RPMA_MR_USAGE_* and decides what the device may do with the memory (ibv_reg_mr), for this
 * process and for everybody who knows the region's descriptor and has a connection of this peer.
 * Where flush is emulated, RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY and
 * RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT let the remote side read the memory; on iWARP,
 * RPMA_MR_USAGE_READ_DST lets it write.
 *
 * Registered pages are locked in memory and count towards RLIMIT_MEMLOCK. Memory that cannot be
 * locked (EOPNOTSUPP), such as that of a file on a DAX file system, is registered for on-demand
 * paging instead if the device is capable of it.
 *
 * The caller deregisters the region with rpma_mr_dereg, before it unmaps or frees the memory and
 * before it deletes the peer.
 *
 * Errors:
 * - RPMA_E_INVAL: peer, ptr or mr_ptr is NULL, size is 0, or usage is 0 or has unknown bits
 * - RPMA_E_NOMEM: out of memory
 * - RPMA_E_PROVIDER: the registration failed; ENOMEM often means RLIMIT_MEMLOCK, EFAULT memory
 *   that is not mapped, or mapped read-only where the usage needs writing
 *
 * See: rpma_mr_get_descriptor, rpma_mr_advise
 */
int rpma_mr_reg(struct rpma_peer *peer,
                void *ptr,
                size_t size,
                int usage,
                struct rpma_mr_local **mr_ptr);

/**
 * Deregisters memory and sets *mr_ptr to NULL.
 *
 * Nothing happens when *mr_ptr is NULL already. Operations of this process that use the region
 * must have completed; operations of the remote side fail from here on. The memory itself is left
 * alone (ibv_dereg_mr).
 *
 * Errors:
 * - RPMA_E_INVAL: mr_ptr is NULL
 * - RPMA_E_PROVIDER: the deregistration failed; the object is gone nevertheless
 */
int rpma_mr_dereg(struct rpma_mr_local **mr_ptr);

/**
 * Writes the descriptor of a memory region, which the remote side needs to access it.
 *
 * desc must have room for as many bytes as rpma_mr_get_descriptor_size tells. The bytes are the
 * same on every architecture. How they reach the other side is up to the program: as private data
 * or as a message, for example.
 *
 * The descriptor holds the address, size, remote key and usage of the region. Together with a
 * connection of the same peer it is all that is needed to do with the memory what the usage
 * allows, so it should go to nobody else, and not over a network where others listen.
 *
 * Errors:
 * - RPMA_E_INVAL: mr or desc is NULL
 *
 * See: rpma_mr_remote_from_descriptor
 */
int rpma_mr_get_descriptor(const struct rpma_mr_local *mr, void *desc);

/**
 * Creates a remote memory region from a descriptor that came from the other side.
 *
 * desc_size is the number of bytes at desc; those behind the descriptor are ignored. desc is not
 * needed afterwards. The caller deletes the region with rpma_mr_remote_delete. It belongs to no
 * connection: use it on connections to the peer that registered the memory.
 *
 * What the descriptor says is checked for its form only. Its address, size and usage are what the
 * other side claims; the remote device checks every operation against what is really registered.
 * The program checks the size (rpma_mr_remote_get_size) before it relies on it.
 *
 * Errors:
 * - RPMA_E_INVAL: desc or mr_ptr is NULL, desc_size is smaller than a descriptor, or the
 *   descriptor has no usage
 * - RPMA_E_NOMEM: out of memory
 *
 * See: rpma_mr_get_descriptor
 */
int rpma_mr_remote_from_descriptor(const void *desc,
                                   size_t desc_size,
                                   struct rpma_mr_remote **mr_ptr);

/**
 * Tells the size of the descriptor of a memory region, in bytes.
 *
 * Errors:
 * - RPMA_E_INVAL: mr or desc_size is NULL
 */
int rpma_mr_get_descriptor_size(const struct rpma_mr_local *mr, size_t *desc_size);

/**
 * Tells where a memory region starts: the ptr that it was registered with.
 *
 * Errors:
 * - RPMA_E_INVAL: mr or ptr is NULL
 */
int rpma_mr_get_ptr(const struct rpma_mr_local *mr, void **ptr);

/**
 * Tells the size of a memory region, in bytes.
 *
 * Errors:
 * - RPMA_E_INVAL: mr or size is NULL
 */
int rpma_mr_get_size(const struct rpma_mr_local *mr, size_t *size);

/**
 * Tells the size of a remote memory region, in bytes.
 *
 * The number came from the other side, with the descriptor: check it before you use it as the size
 * of something local.
 *
 * Errors:
 * - RPMA_E_INVAL: mr or size is NULL
 */
int rpma_mr_remote_get_size(const struct rpma_mr_remote *mr, size_t *size);

/**
 * Tells which types of flush a remote memory region was registered for.
 *
 * *flush_type is a combination of RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY and
 * RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT, or 0. (These are not the values of enum rpma_flush_type.)
 *
 * Errors:
 * - RPMA_E_INVAL: mr or flush_type is NULL
 *
 * See: rpma_flush
 */
int rpma_mr_remote_get_flush_type(const struct rpma_mr_remote *mr, int *flush_type);

/**
 * Deletes a remote memory region and sets *mr_ptr to NULL.
 *
 * Nothing happens when *mr_ptr is NULL already. Only the description of the region is deleted: the
 * memory and its registration on the other side stay as they are. Operations in flight do not need
 * the object.
 *
 * Errors:
 * - RPMA_E_INVAL: mr_ptr is NULL
 */
int rpma_mr_remote_delete(struct rpma_mr_remote **mr_ptr);

/**
 * Gives the device advice about a range of a memory region.
 *
 * The range is the len bytes from offset on. advice and flags are those of ibv_advise_mr, for
 * example IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE with IBV_ADVISE_MR_FLAG_FLUSH: it brings in pages of
 * a region that was registered for on-demand paging.
 *
 * Errors:
 * - RPMA_E_INVAL: mr is NULL, len is above 4 GiB - 1, the range is not in the region or not mapped
 *   (EFAULT), or the device does not take the advice or the flags (EINVAL)
 * - RPMA_E_NOSUPP: the device or the installed libibverbs has no such call
 * - RPMA_E_PROVIDER: it failed for another reason
 *
 * See: rpma_utils_ibv_context_is_odp_capable
 */
int rpma_mr_advise(struct rpma_mr_local *mr, size_t offset, size_t len, int advice, uint32_t flags);

/**
 * Creates a connection configuration with the default settings.
 *
 * These are: timeout RPMA_DEFAULT_TIMEOUT_MS, 10 entries each in the CQ, the SQ and the RQ, no
 * receive CQ, no shared completion channel, no shared RQ. The same configuration can serve any
 * number of connections: rpma_conn_req_new and rpma_ep_next_conn_req read it while they run and do
 * not keep it. The caller deletes it with rpma_conn_cfg_delete.
 *
 * The settings may be set and read from several threads at once.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg_ptr is NULL
 * - RPMA_E_NOMEM: out of memory
 *
 * See: rpma_conn_cfg_set_timeout, rpma_conn_cfg_set_cq_size, rpma_conn_cfg_set_rcq_size,
 * rpma_conn_cfg_set_sq_size, rpma_conn_cfg_set_rq_size, rpma_conn_cfg_set_compl_channel,
 * rpma_conn_cfg_set_srq
 */
int rpma_conn_cfg_new(struct rpma_conn_cfg **cfg_ptr);

/**
 * Deletes a connection configuration and sets *cfg_ptr to NULL.
 *
 * Nothing happens when *cfg_ptr is NULL already. Requests and connections made with the
 * configuration do not need it any more. A shared RQ that was set in it is left alone.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg_ptr is NULL
 */
int rpma_conn_cfg_delete(struct rpma_conn_cfg **cfg_ptr);

/**
 * Sets how long each step of finding the other side may take, in milliseconds.
 *
 * The steps are those of rpma_conn_req_new: resolving the address, and then the route. How long
 * the other side may take to answer the request itself is up to the connection manager. The
 * default is RPMA_DEFAULT_TIMEOUT_MS. Incoming connections have no use for it.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL, or timeout_ms is negative
 */
int rpma_conn_cfg_set_timeout(struct rpma_conn_cfg *cfg, int timeout_ms);

/**
 * Tells how long each step of finding the other side may take, in milliseconds.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or timeout_ms is NULL
 */
int rpma_conn_cfg_get_timeout(const struct rpma_conn_cfg *cfg, int *timeout_ms);

/**
 * Sets the size of the completion queue (CQ), in entries; the default is 10.
 *
 * It takes the completions of all operations of the connection, but for those of receives when
 * there is a receive CQ. It must have room for all completions that may be waiting at a time: when
 * it overflows, completions are lost or the connection breaks. A size that the device cannot do
 * (0, for example) makes rpma_conn_req_new and rpma_ep_next_conn_req fail.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL
 *
 * See: rpma_conn_get_cq
 */
int rpma_conn_cfg_set_cq_size(struct rpma_conn_cfg *cfg, uint32_t cq_size);

/**
 * Tells whether the CQ and the receive CQ share a completion channel.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or shared is NULL
 */
int rpma_conn_cfg_get_compl_channel(const struct rpma_conn_cfg *cfg, bool *shared);

/**
 * Sets whether the CQ and the receive CQ share a completion channel.
 *
 * When they do, one call of rpma_conn_wait waits for both, on one file descriptor
 * (rpma_conn_get_compl_fd), and rpma_cq_wait does not work on them. Otherwise, which is the
 * default, each has a channel of its own. It cannot be combined with a shared RQ that has a
 * receive CQ of its own.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL
 */
int rpma_conn_cfg_set_compl_channel(struct rpma_conn_cfg *cfg, bool shared);

/**
 * Tells the size of the completion queue (CQ), in entries.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or cq_size is NULL
 */
int rpma_conn_cfg_get_cq_size(const struct rpma_conn_cfg *cfg, uint32_t *cq_size);

/**
 * Sets the size of the receive completion queue (receive CQ), in entries.
 *
 * 0, the default, means that there is none, and that the completions of receives go to the CQ. The
 * size is ignored when a shared RQ brings a receive CQ of its own. The queue must have room for
 * all completions that may be waiting at a time.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL
 *
 * See: rpma_conn_get_rcq
 */
int rpma_conn_cfg_set_rcq_size(struct rpma_conn_cfg *cfg, uint32_t rcq_size);

/**
 * Tells the size of the receive completion queue (receive CQ), in entries; 0 when there is none.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or rcq_size is NULL
 */
int rpma_conn_cfg_get_rcq_size(const struct rpma_conn_cfg *cfg, uint32_t *rcq_size);

/**
 * Sets the size of the send queue (SQ), in operations; the default is 10.
 *
 * Every operation but a receive takes a place in it, until its completion or that of a later one
 * has been taken from the CQ. The device may round the size up. A size that it cannot do makes
 * rpma_conn_req_new and rpma_ep_next_conn_req fail.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL
 */
int rpma_conn_cfg_set_sq_size(struct rpma_conn_cfg *cfg, uint32_t sq_size);

/**
 * Tells the size of the send queue (SQ), in operations.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or sq_size is NULL
 */
int rpma_conn_cfg_get_sq_size(const struct rpma_conn_cfg *cfg, uint32_t *sq_size);

/**
 * Sets the size of the receive queue (RQ), in receives; the default is 10.
 *
 * It is the number of receives that may be posted and not completed (rpma_recv). The device may
 * round the size up. With a shared RQ the size has no effect. A size that the device cannot do
 * makes rpma_conn_req_new and rpma_ep_next_conn_req fail.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL
 */
int rpma_conn_cfg_set_rq_size(struct rpma_conn_cfg *cfg, uint32_t rq_size);

/**
 * Tells the size of the receive queue (RQ), in receives.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or rq_size is NULL
 */
int rpma_conn_cfg_get_rq_size(const struct rpma_conn_cfg *cfg, uint32_t *rq_size);

/**
 * Sets the shared receive queue (shared RQ) that connections take their receives from.
 *
 * Receives for such connections are posted with rpma_srq_recv, for all of them together. Their
 * completions go to the receive CQ of the shared RQ if it has one, else to the connection's
 * receive CQ, else to its CQ. The shared RQ must be of the same peer, and must outlive every
 * connection and request that uses it. Once set it cannot be unset: use another configuration.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or srq is NULL
 *
 * See: rpma_srq_new
 */
int rpma_conn_cfg_set_srq(struct rpma_conn_cfg *cfg, struct rpma_srq *srq);

/**
 * Tells the shared receive queue (shared RQ) that was set, or NULL.
 *
 * The shared RQ stays the property of the one who made it.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or srq_ptr is NULL
 */
int rpma_conn_cfg_get_srq(const struct rpma_conn_cfg *cfg, struct rpma_srq **srq_ptr);

/**
 * Creates a configuration of a shared receive queue with the default settings.
 *
 * These are: 20 receives in the queue, and 20 entries in its receive CQ. rpma_srq_new reads the
 * configuration and does not keep it. The caller deletes it with rpma_srq_cfg_delete.
 *
 * The settings may be set and read from several threads at once.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg_ptr is NULL
 * - RPMA_E_NOMEM: out of memory
 */
int rpma_srq_cfg_new(struct rpma_srq_cfg **cfg_ptr);

/**
 * Deletes a configuration of a shared receive queue and sets *cfg_ptr to NULL.
 *
 * Nothing happens when *cfg_ptr is NULL already. Queues made with the configuration do not need it
 * any more.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg_ptr is NULL
 */
int rpma_srq_cfg_delete(struct rpma_srq_cfg **cfg_ptr);

/**
 * Sets the size of the shared receive queue, in receives; the default is 20.
 *
 * It is the number of receives that may be posted and not completed (rpma_srq_recv). A size that
 * the device cannot do makes rpma_srq_new fail.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL
 */
int rpma_srq_cfg_set_rq_size(struct rpma_srq_cfg *cfg, uint32_t rq_size);

/**
 * Tells the size of the shared receive queue, in receives.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or rq_size is NULL
 */
int rpma_srq_cfg_get_rq_size(const struct rpma_srq_cfg *cfg, uint32_t *rq_size);

/**
 * Sets the size of the receive CQ of the shared receive queue, in entries; the default is 20.
 *
 * The receive CQ takes the completions of the receives of all connections that share the queue. 0
 * means that there is none: the completions go to the queues of each connection.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL
 *
 * See: rpma_srq_get_rcq
 */
int rpma_srq_cfg_set_rcq_size(struct rpma_srq_cfg *cfg, uint32_t rcq_size);

/**
 * Tells the size of the receive CQ of the shared receive queue, in entries; 0 when there is none.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or rcq_size is NULL
 */
int rpma_srq_cfg_get_rcq_size(const struct rpma_srq_cfg *cfg, uint32_t *rcq_size);

/**
 * Creates a shared receive queue, and its receive CQ unless the configuration has 0 for its size.
 *
 * cfg may be NULL: the default settings, those of rpma_srq_cfg_new. It is not needed afterwards.
 * The receive CQ has a completion channel of its own. The caller deletes the queue with
 * rpma_srq_delete.
 *
 * Errors:
 * - RPMA_E_INVAL: peer or srq_ptr is NULL
 * - RPMA_E_NOMEM: out of memory
 * - RPMA_E_PROVIDER: creating the queue (ibv_create_srq), the completion channel or the receive CQ
 *   failed, or asking for the CQ's events
 *
 * See: rpma_conn_cfg_set_srq, rpma_srq_recv, rpma_srq_get_rcq
 */
int rpma_srq_new(struct rpma_peer *peer, struct rpma_srq_cfg *cfg, struct rpma_srq **srq_ptr);

/**
 * Deletes a shared receive queue with its receive CQ, and sets *srq_ptr to NULL.
 *
 * Nothing happens when *srq_ptr is NULL already. Connections and requests that use the queue must
 * be deleted first. Receives that are still posted never complete. The receive CQ and its file
 * descriptor are not valid any more.
 *
 * Errors:
 * - RPMA_E_INVAL: srq_ptr is NULL
 * - RPMA_E_PROVIDER: destroying the queue, the receive CQ or its channel failed, with EBUSY when a
 *   connection still uses it; the object is gone nevertheless
 */
int rpma_srq_delete(struct rpma_srq **srq_ptr);

/**
 * Posts a receive to a shared receive queue.
 *
 * Some message to one of the connections that share the queue will be placed in the len bytes from
 * offset of dst; the completion's qp_num tells which connection (rpma_conn_get_qp_num). dst NULL
 * with offset and len 0 posts a receive without a buffer, for an empty message or an
 * rpma_write_with_imm. op_context comes back as wr_id of the completion (struct ibv_wc).
 *
 * The call only posts the receive (ibv_post_srq_recv): until it has completed, dst must stay
 * registered, and its bytes belong to the device. Do not rely on the order in which receives are
 * used.
 *
 * Errors:
 * - RPMA_E_INVAL: srq is NULL, dst is NULL with an offset or a length, or len is above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM when the queue is full
 *
 * See: rpma_recv, rpma_srq_get_rcq
 */
int rpma_srq_recv(struct rpma_srq *srq,
                  struct rpma_mr_local *dst,
                  size_t offset,
                  size_t len,
                  const void *op_context);

/**
 * Tells the receive CQ of a shared receive queue, or NULL when it has none.
 *
 * The CQ belongs to the shared receive queue and is valid until that is deleted.
 *
 * Errors:
 * - RPMA_E_INVAL: srq or rcq_ptr is NULL
 *
 * See: rpma_cq_wait, rpma_cq_get_wc
 */
int rpma_srq_get_rcq(const struct rpma_srq *srq, struct rpma_cq **rcq_ptr);

/**
 * Creates a request for a connection to a listening endpoint.
 *
 * addr is an IPv4 or IPv6 address or a host name, port a number or the name of a service. The call
 * looks up the address, resolves it and its route (rdma_getaddrinfo, rdma_resolve_addr,
 * rdma_resolve_route), which may block up to the timeout of cfg for each of the two latter, and
 * makes the queues of the connection (rdma_create_qp_ex). Nothing reaches the other side's program
 * before rpma_conn_req_connect.
 *
 * cfg may be NULL: the default settings, those of rpma_conn_cfg_new. The timeout is read when the
 * call begins, the other settings of cfg when the route is known and the queues are made; cfg is
 * not needed after the call. The request ends with rpma_conn_req_connect or rpma_conn_req_delete;
 * the peer must outlive the request and the connection that it becomes.
 *
 * Not thread-safe: one thread at a time for a peer.
 *
 * Errors:
 * - RPMA_E_INVAL: peer, addr, port or req_ptr is NULL, the address leads to no RDMA device, or cfg
 *   combines a shared completion channel with a shared RQ that has a receive CQ of its own
 * - RPMA_E_NOMEM: out of memory
 * - RPMA_E_PROVIDER: one of the calls named above failed, or making a CQ; when the name lookup
 *   failed, the log has the reason and errno may not
 *
 * See: rpma_conn_req_recv, rpma_ep_listen
 */
int rpma_conn_req_new(struct rpma_peer *peer,
                      const char *addr,
                      const char *port,
                      const struct rpma_conn_cfg *cfg,
                      struct rpma_conn_req **req_ptr);

/**
 * Deletes a connection request and sets *req_ptr to NULL.
 *
 * Nothing happens when *req_ptr is NULL already. Deleting an incoming request rejects it
 * (rdma_reject): the other side gets RPMA_CONN_REJECTED. Receives posted to the request do not
 * complete. Private data that was read from the request is not valid any more.
 *
 * Not thread-safe: one thread at a time for a request.
 *
 * Errors:
 * - RPMA_E_INVAL: req_ptr is NULL
 * - RPMA_E_PROVIDER: rejecting the request or releasing one of its parts failed; everything else
 *   is released, and the object is gone nevertheless
 *
 * See: rpma_conn_req_connect
 */
int rpma_conn_req_delete(struct rpma_conn_req **req_ptr);

/**
 * Turns a connection request into a connection, and starts to establish it.
 *
 * An outgoing request is sent to the other side (rdma_connect), an incoming one is accepted
 * (rdma_accept). The connection is established when rpma_conn_next_event tells
 * RPMA_CONN_ESTABLISHED; until then, the active side may post receives only. The caller deletes
 * the connection with rpma_conn_delete.
 *
 * pdata may be NULL; otherwise its bytes are sent along, and the other side reads them with
 * rpma_conn_req_get_private_data or rpma_conn_get_private_data. They are copied. The connection
 * manager limits their length: on InfiniBand and RoCE, to 56 bytes with a request and 196 with its
 * acceptance. They travel unencrypted.
 *
 * The request is consumed, whether the call succeeds or not: *req_ptr is NULL afterwards. If it
 * fails, everything of the request has been released, and an incoming request does not become a
 * connection on the other side either, or not for long.
 *
 * Not thread-safe: one thread at a time for a request.
 *
 * Errors:
 * - RPMA_E_INVAL: req_ptr, *req_ptr or conn_ptr is NULL, or pdata is given with a NULL ptr or a
 *   len of 0
 * - RPMA_E_NOMEM: no memory for the page that emulated flushes read into; it is mapped once for
 *   the process, by the first connection that needs it
 * - RPMA_E_PROVIDER: accepting or connecting failed (EINVAL if there is too much private data), or
 *   making the event channel, moving the CM identifier to it (rdma_migrate_id), or registering the
 *   page of the emulated flush
 *
 * See: rpma_conn_req_new, rpma_ep_next_conn_req
 */
int rpma_conn_req_connect(struct rpma_conn_req **req_ptr,
                          const struct rpma_conn_private_data *pdata,
                          struct rpma_conn **conn_ptr);

/**
 * Posts a receive before the connection exists.
 *
 * As rpma_recv, but on a connection request: so that a buffer is there before the other side can
 * send its first message. The completion comes through the queues of the later connection. dst is
 * required here.
 *
 * The call only posts the receive (ibv_post_recv): until it has completed, or the request or
 * connection is deleted, dst must stay registered, and its bytes belong to the device.
 *
 * Errors:
 * - RPMA_E_INVAL: req or dst is NULL, or len is above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM when the RQ is full, with EINVAL when the request
 *   uses a shared RQ
 *
 * See: rpma_conn_req_connect
 */
int rpma_conn_req_recv(struct rpma_conn_req *req,
                       struct rpma_mr_local *dst,
                       size_t offset,
                       size_t len,
                       const void *op_context);

/**
 * Tells the private data that came with an incoming connection request.
 *
 * pdata->ptr is NULL and pdata->len 0 when there is none; an outgoing request never has any. The
 * bytes belong to the request. rpma_conn_req_connect hands them on to the connection, without
 * moving them; otherwise they are valid until the request is deleted.
 *
 * The bytes come from the network, unencrypted and from anybody who can reach the endpoint, and
 * may be padded with zeros beyond what the other side gave. Check their length and content before
 * you use them, and do not take them for a proof of who sent them.
 *
 * Errors:
 * - RPMA_E_INVAL: req or pdata is NULL
 *
 * See: rpma_ep_next_conn_req, rpma_conn_get_private_data
 */
int rpma_conn_req_get_private_data(const struct rpma_conn_req *req,
                                   struct rpma_conn_private_data *pdata);

/**
 * Creates an endpoint that listens for connection requests.
 *
 * addr is a local IPv4 or IPv6 address or a host name, port a number or the name of a service
 * (rdma_getaddrinfo, rdma_bind_addr, rdma_listen). Whoever reaches the address may send requests.
 * The caller ends the endpoint with rpma_ep_shutdown; the peer must outlive it.
 *
 * Not thread-safe: one thread at a time for a peer.
 *
 * Errors:
 * - RPMA_E_INVAL: peer, addr, port or ep_ptr is NULL
 * - RPMA_E_NOMEM: out of memory
 * - RPMA_E_PROVIDER: making the event channel or the CM identifier, looking up the address,
 *   binding (EADDRINUSE, EADDRNOTAVAIL) or listening failed; when the name lookup failed, the log
 *   has the reason and errno may not
 *
 * See: rpma_ep_next_conn_req, rpma_ep_get_fd
 */
int rpma_ep_listen(struct rpma_peer *peer,
                   const char *addr,
                   const char *port,
                   struct rpma_ep **ep_ptr);

/**
 * Stops listening, deletes the endpoint and sets *ep_ptr to NULL.
 *
 * Nothing happens when *ep_ptr is NULL already. Requests that have not been taken are rejected.
 * Requests that have been taken must be connected or deleted first: until then they use the
 * endpoint. Connections made from them are not affected.
 *
 * Not thread-safe: one thread at a time for an endpoint.
 *
 * Errors:
 * - RPMA_E_INVAL: ep_ptr is NULL
 * - RPMA_E_PROVIDER: releasing the CM identifier failed (rdma_destroy_id); the object is gone
 *   nevertheless
 */
int rpma_ep_shutdown(struct rpma_ep **ep_ptr);

/**
 * Tells the file descriptor of an endpoint's events.
 *
 * It is readable when rpma_ep_next_conn_req has something to take. Use it with poll or epoll; made
 * non-blocking with fcntl (O_NONBLOCK), it makes that call non-blocking. It belongs to the
 * endpoint, and must neither be closed nor read.
 *
 * Errors:
 * - RPMA_E_INVAL: ep or fd is NULL
 */
int rpma_ep_get_fd(const struct rpma_ep *ep, int *fd);

/**
 * Takes the next incoming connection request.
 *
 * Waits for a request unless the file descriptor of rpma_ep_get_fd is non-blocking. The queues of
 * the connection are made at once, with the settings that cfg has when the request is there, not those
 * when the wait began. cfg may be NULL: the default settings, those of rpma_conn_cfg_new. It is not
 * needed afterwards.
 *
 * rpma_conn_req_connect accepts the request, rpma_conn_req_delete rejects it; one of them must
 * happen before the endpoint is shut down. rpma_conn_req_get_private_data helps to decide. If this
 * call fails after it has taken a request, the request is rejected.
 *
 * Not thread-safe: one thread at a time for an endpoint.
 *
 * Errors:
 * - RPMA_E_INVAL: ep or req_ptr is NULL, the event is not a connection request, or cfg combines a
 *   shared completion channel with a shared RQ that has a receive CQ of its own
 * - RPMA_E_NO_EVENT: the file descriptor is non-blocking and no request is there; not logged
 * - RPMA_E_NOMEM: out of memory
 * - RPMA_E_PROVIDER: taking the event failed (EINTR after a signal), or making the queues
 */
int rpma_ep_next_conn_req(struct rpma_ep *ep,
                          const struct rpma_conn_cfg *cfg,
                          struct rpma_conn_req **req_ptr);

/**
 * Tells the file descriptor of a connection's events.
 *
 * It is readable when rpma_conn_next_event has something to take. Use it with poll or epoll; made
 * non-blocking with fcntl (O_NONBLOCK), it makes that call non-blocking. It belongs to the
 * connection, and must neither be closed nor read.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or fd is NULL
 */
int rpma_conn_get_event_fd(const struct rpma_conn *conn, int *fd);

/**
 * Takes the next event of a connection.
 *
 * Waits for an event (rdma_get_cm_event) unless the file descriptor of rpma_conn_get_event_fd is
 * non-blocking. A connection begins with RPMA_CONN_ESTABLISHED (on the accepting side not before
 * the other side has taken its own), or ends before that with RPMA_CONN_REJECTED,
 * RPMA_CONN_UNREACHABLE or RPMA_CONN_LOST. It ends with RPMA_CONN_CLOSED when either side has
 * disconnected or the other side's process is gone, or with RPMA_CONN_LOST when the device is
 * gone. RPMA_CONN_CLOSED may come twice: some time after the first one, if the connection has not
 * been deleted.
 *
 * Not thread-safe: one thread at a time for a connection.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or event is NULL
 * - RPMA_E_NO_EVENT: the file descriptor is non-blocking and no event is there; not logged
 * - RPMA_E_UNKNOWN: an event that has no meaning here; it is taken, and logged as a warning
 * - RPMA_E_NOMEM: out of memory for the private data of the event, which is lost
 * - RPMA_E_PROVIDER: taking or acknowledging the event failed (EINTR after a signal)
 *
 * See: rpma_utils_conn_event_2str, rpma_conn_disconnect
 */
int rpma_conn_next_event(struct rpma_conn *conn, enum rpma_conn_event *event);

/**
 * Tells the private data that the other side sent when the connection was made.
 *
 * pdata->ptr is NULL and pdata->len 0 when there is none. The side that asked for the connection
 * has it once it has taken RPMA_CONN_ESTABLISHED; the side that accepted has that of the request
 * from the beginning. The bytes belong to the connection and are valid until it is deleted.
 *
 * The bytes come from the network, unencrypted, and may be padded with zeros beyond what the other
 * side gave. Check their length and content before you use them, and do not take them for a proof
 * of who sent them.
 *
 * Not thread-safe: one thread at a time for a connection.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or pdata is NULL
 *
 * See: rpma_conn_req_get_private_data, rpma_conn_req_connect
 */
int rpma_conn_get_private_data(const struct rpma_conn *conn, struct rpma_conn_private_data *pdata);

/**
 * Applies to a connection what the remote peer says of itself.
 *
 * The configuration usually comes from rpma_peer_cfg_from_descriptor. As long as one that declares
 * direct write to PMem has not been applied, rpma_flush refuses RPMA_FLUSH_TYPE_PERSISTENT on the
 * connection. The configuration is not needed afterwards. Nothing is sent.
 *
 * Not thread-safe: one thread at a time for a connection.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or pcfg is NULL
 */
int rpma_conn_apply_remote_peer_cfg(struct rpma_conn *conn, const struct rpma_peer_cfg *pcfg);

/**
 * Tells the number of the connection's queue pair.
 *
 * It is the qp_num of the connection's completions (struct ibv_wc), which tells apart connections
 * that share a receive queue.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or qp_num is NULL
 *
 * See: rpma_srq_recv
 */
int rpma_conn_get_qp_num(const struct rpma_conn *conn, uint32_t *qp_num);

/**
 * Tells the connection's completion queue (CQ).
 *
 * The CQ belongs to the connection and is valid until that is deleted.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or cq_ptr is NULL
 *
 * See: rpma_cq_wait, rpma_cq_get_wc
 */
int rpma_conn_get_cq(const struct rpma_conn *conn, struct rpma_cq **cq_ptr);

/**
 * Tells the connection's receive completion queue (receive CQ), or NULL when it has none.
 *
 * It has one when rpma_conn_cfg_set_rcq_size set a size above 0 and no shared RQ brings a receive
 * CQ of its own (rpma_srq_get_rcq). Then the completions of receives come here, all others to the
 * CQ. It belongs to the connection and is valid until that is deleted.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or rcq_ptr is NULL
 *
 * See: rpma_cq_wait, rpma_cq_get_wc
 */
int rpma_conn_get_rcq(const struct rpma_conn *conn, struct rpma_cq **rcq_ptr);

/**
 * Asks for the end of a connection.
 *
 * What is still posted on the connection completes with IBV_WC_WR_FLUSH_ERR, and the other side
 * gets RPMA_CONN_CLOSED (rdma_disconnect). This side gets RPMA_CONN_CLOSED when the other side has
 * disconnected as well, or is gone. A side that has got RPMA_CONN_CLOSED first should still call
 * this, so that its own operations are flushed and the initiator need not wait.
 *
 * Not thread-safe: one thread at a time for a connection.
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL
 * - RPMA_E_PROVIDER: rdma_disconnect failed
 *
 * See: rpma_conn_next_event, rpma_conn_delete
 */
int rpma_conn_disconnect(struct rpma_conn *conn);

/**
 * Deletes a connection and sets *conn_ptr to NULL.
 *
 * Nothing happens when *conn_ptr is NULL already. A connection that is still up is closed, and the
 * other side gets RPMA_CONN_CLOSED; but call rpma_conn_disconnect and wait for RPMA_CONN_CLOSED
 * first if completions matter, since what has not completed never will. The connection's queues,
 * file descriptors and private data are not valid any more. Memory regions are left alone.
 *
 * Not thread-safe: one thread at a time for a connection.
 *
 * Errors:
 * - RPMA_E_INVAL: conn_ptr is NULL
 * - RPMA_E_PROVIDER: releasing one of the connection's parts failed; all others are released, and
 *   the object is gone nevertheless
 */
int rpma_conn_delete(struct rpma_conn **conn_ptr);

/**
 * Tells the file descriptor of the completion channel that the connection's queues share.
 *
 * It is readable when rpma_conn_wait has something to take. Use it with poll or epoll; made
 * non-blocking with fcntl (O_NONBLOCK), it makes that call non-blocking. It belongs to the
 * connection, and must neither be closed nor read.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or fd is NULL
 * - RPMA_E_NOT_SHARED_CHNL: each queue has a channel of its own; see rpma_cq_get_fd
 *
 * See: rpma_conn_cfg_set_compl_channel
 */
int rpma_conn_get_compl_fd(const struct rpma_conn *conn, int *fd);

/**
 * Waits for a completion on the completion channel that the connection's queues share.
 *
 * *cq is then the CQ or the receive CQ, and *is_rcq says whether it is the receive CQ; is_rcq may
 * be NULL. flags is ignored: give 0. Waits unless the file descriptor of rpma_conn_get_compl_fd is
 * non-blocking (ibv_get_cq_event, ibv_req_notify_cq).
 *
 * After that take completions with rpma_cq_get_wc until it returns RPMA_E_NO_COMPLETION: several
 * may have come with one event. There may also be none, when they were taken earlier.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or cq is NULL
 * - RPMA_E_NOT_SHARED_CHNL: each queue has a channel of its own; see rpma_cq_wait
 * - RPMA_E_NO_COMPLETION: a signal ended the wait, or the file descriptor is non-blocking and
 *   nothing is there; not logged
 * - RPMA_E_UNKNOWN: the event is of neither queue
 * - RPMA_E_PROVIDER: asking for the next event failed; *cq is NULL then, and *is_rcq is set
 *
 * See: rpma_conn_cfg_set_compl_channel
 */
int rpma_conn_wait(struct rpma_conn *conn, int flags, struct rpma_cq **cq, bool *is_rcq);

/**
 * Waits for a completion in the connection's CQ: the name of rpma_cq_wait in 0.9 and 0.10.
 *
 * Later releases of the original do not have it. New programs use rpma_conn_get_cq and
 * rpma_cq_wait, which does the same and fails in the same ways.
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL
 * - RPMA_E_NO_COMPLETION: a signal ended the wait, or the file descriptor is non-blocking and
 *   nothing is there; not logged
 * - RPMA_E_SHARED_CHANNEL: the completion channel is shared; see rpma_conn_wait
 * - RPMA_E_PROVIDER: asking for the next event failed
 *
 * See: rpma_conn_get_cq, rpma_cq_wait
 */
int rpma_conn_completion_wait(struct rpma_conn *conn);

/**
 * Takes a completion from the connection's CQ, in the form that 0.9 and 0.10 had.
 *
 * Later releases of the original do not have it. New programs use rpma_conn_get_cq and
 * rpma_cq_get_wc, which fills a struct ibv_wc.
 *
 * op_context and op_status are always set. When op_status is not IBV_WC_SUCCESS nothing else is,
 * and the call succeeds nevertheless. imm is set only when the flags have IBV_WC_WITH_IMM, so that
 * cmpl may be the smaller struct of release 0.9.0.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or cmpl is NULL
 * - RPMA_E_NO_COMPLETION: the CQ is empty; not logged
 * - RPMA_E_NOSUPP: the operation is none of enum rpma_op; the completion is taken, and op_context
 *   and op_status are set
 * - RPMA_E_PROVIDER: polling the CQ failed (ibv_poll_cq)
 * - RPMA_E_UNKNOWN: the device told more completions than it was asked for
 *
 * See: rpma_conn_get_cq, rpma_cq_get_wc
 */
int rpma_conn_completion_get(struct rpma_conn *conn, struct rpma_completion *cmpl);

/**
 * Tells the file descriptor of the connection's CQ: the name of rpma_cq_get_fd in 0.9 and 0.10.
 *
 * Later releases of the original do not have it. New programs use rpma_conn_get_cq and
 * rpma_cq_get_fd, which tells the same. The file descriptor belongs to the connection, and must
 * neither be closed nor read.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or fd is NULL
 *
 * See: rpma_conn_get_cq, rpma_cq_get_fd
 */
int rpma_conn_get_completion_fd(const struct rpma_conn *conn, int *fd);

/**
 * Starts to read from remote memory into local memory.
 *
 * len bytes from src_offset of src go to dst_offset of dst. Both regions NULL with offsets and len
 * 0 starts a read of nothing. src must be registered with RPMA_MR_USAGE_READ_SRC, dst with
 * RPMA_MR_USAGE_READ_DST.
 *
 * flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
 * RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
 *
 * The call only posts the operation (ibv_post_send): until it has completed, dst must stay
 * registered, and its bytes are undefined. A range outside a region or a missing usage is told by
 * the completion's status, and breaks the connection.
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL, flags is 0, one region is NULL and the other is not, both are NULL
 *   with an offset or a length, or len is above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
 *
 * See: rpma_mr_remote_from_descriptor, rpma_cq_get_wc
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
 * Starts to write local memory to remote memory.
 *
 * len bytes from src_offset of src go to dst_offset of dst. Both regions NULL with offsets and len
 * 0 starts a write of nothing. dst must be registered with RPMA_MR_USAGE_WRITE_DST, src with
 * RPMA_MR_USAGE_WRITE_SRC. The remote side notices nothing. That the write has completed does not
 * mean that the data is visible there or persistent: rpma_flush makes sure of that.
 *
 * flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
 * RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
 *
 * The call only posts the operation (ibv_post_send): until it has completed, src must stay
 * registered and its bytes unchanged. A range outside a region or a missing usage is told by the
 * completion's status, and breaks the connection.
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL, flags is 0, one region is NULL and the other is not, both are NULL
 *   with an offset or a length, or len is above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
 *
 * See: rpma_flush, rpma_mr_remote_from_descriptor, rpma_cq_get_wc
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
 * Starts to write local memory to remote memory, and notifies the remote side.
 *
 * As rpma_write; besides, the write uses up a receive of the remote side (rpma_recv, or
 * rpma_srq_recv there), whose completion has the opcode IBV_WC_RECV_RDMA_WITH_IMM, the number of
 * bytes written, and imm as imm_data in network byte order. imm is given in host byte order.
 * Nothing is placed in the buffer of that receive. As long as there is no receive, the write
 * waits.
 *
 * flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
 * RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
 *
 * The call only posts the operation (ibv_post_send): until it has completed, src must stay
 * registered and its bytes unchanged. A range outside a region or a missing usage is told by the
 * completion's status, and breaks the connection.
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL, flags is 0, one region is NULL and the other is not, both are NULL
 *   with an offset or a length, or len is above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
 *
 * See: rpma_write, rpma_cq_get_wc
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
 * Starts to write 8 bytes to remote memory in one piece.
 *
 * Whoever reads the 8 bytes at dst_offset of dst sees the old ones or the new ones, never some of
 * each, provided that they are aligned to 8 bytes in the remote memory: dst_offset must be a
 * multiple of 8 (RPMA_ATOMIC_WRITE_ALIGNMENT), and so should be the address that the region starts
 * at. dst must be registered with RPMA_MR_USAGE_WRITE_DST. src is ordinary memory, copied in the
 * call.
 *
 * Where the device has a native atomic write it is used (ibv_wr_atomic_write), else an RDMA write
 * that carries the 8 bytes itself, which is as atomic as the remote platform's memory. The
 * operation waits for the reads and flushes posted before it: what was flushed is in place when
 * the 8 bytes are.
 *
 * flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
 * RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
 *
 * Errors:
 * - RPMA_E_INVAL: conn, dst or src is NULL, flags is 0, or dst_offset is not a multiple of 8
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
 *
 * See: rpma_flush, rpma_cq_get_wc
 */
int rpma_atomic_write(struct rpma_conn *conn,
                      struct rpma_mr_remote *dst,
                      size_t dst_offset,
                      const char *src,
                      int flags,
                      const void *op_context);

/**
 * Starts to flush what was written to remote memory.
 *
 * When the flush has completed, what was written before it on the connection to the len bytes from
 * dst_offset of dst is visible to the remote side (RPMA_FLUSH_TYPE_VISIBILITY), or survives its
 * power failure (RPMA_FLUSH_TYPE_PERSISTENT). dst must be registered with the usage of that name,
 * RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY or RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT.
 *
 * Where the device has a native flush it is used (ibv_wr_flush). Otherwise 8 bytes at dst_offset
 * are read, behind the writes, into a buffer of the library: then all of the earlier writes are
 * flushed, len has no effect, and the 8 bytes must lie in the region.
 *
 * A flush to persistence relies on the remote peer's word that direct write to PMem is possible
 * (rpma_conn_apply_remote_peer_cfg).
 *
 * flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
 * RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
 *
 * Errors:
 * - RPMA_E_INVAL: conn or dst is NULL, flags is 0, type is unknown, or len is above 4 GiB - 1 and the
 *   flush is native
 * - RPMA_E_NOSUPP: dst is not registered for this type of flush, or the type is
 *   RPMA_FLUSH_TYPE_PERSISTENT and the remote peer has not declared direct write to PMem
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
 *
 * See: rpma_write, rpma_mr_remote_get_flush_type, rpma_cq_get_wc
 */
int rpma_flush(struct rpma_conn *conn,
               struct rpma_mr_remote *dst,
               size_t dst_offset,
               size_t len,
               enum rpma_flush_type type,
               int flags,
               const void *op_context);

/**
 * Starts to send a message.
 *
 * The message is the len bytes from offset of src, registered with RPMA_MR_USAGE_SEND. src NULL
 * with offset and len 0 sends an empty message. It is placed in the buffer of a receive of the
 * other side; as long as there is none, it waits. A buffer that is too small breaks the
 * connection.
 *
 * flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
 * RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
 *
 * The call only posts the operation (ibv_post_send): until it has completed, src must stay
 * registered and its bytes unchanged.
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL, flags is 0, src is NULL with an offset or a length, or len is
 *   above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
 *
 * See: rpma_recv, rpma_cq_get_wc
 */
int rpma_send(struct rpma_conn *conn,
              const struct rpma_mr_local *src,
              size_t offset,
              size_t len,
              int flags,
              const void *op_context);

/**
 * Starts to send a message with an immediate: 32 bits that travel beside it.
 *
 * As rpma_send; besides, the completion of the other side's receive has IBV_WC_WITH_IMM in its
 * wc_flags and imm as imm_data in network byte order. imm is given in host byte order.
 *
 * flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
 * RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
 *
 * The call only posts the operation (ibv_post_send): until it has completed, src must stay
 * registered and its bytes unchanged.
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL, flags is 0, src is NULL with an offset or a length, or len is
 *   above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
 *
 * See: rpma_send, rpma_recv, rpma_cq_get_wc
 */
int rpma_send_with_imm(struct rpma_conn *conn,
                       const struct rpma_mr_local *src,
                       size_t offset,
                       size_t len,
                       int flags,
                       uint32_t imm,
                       const void *op_context);

/**
 * Posts a receive: a buffer for a message from the other side.
 *
 * The buffer is the len bytes from offset of dst, registered with RPMA_MR_USAGE_RECV; byte_len of
 * the completion tells how many the message has. dst NULL with offset and len 0 posts a receive
 * without a buffer, for an empty message or an rpma_write_with_imm. op_context comes back as wr_id
 * of the completion (struct ibv_wc). Every receive completes.
 *
 * The call only posts the receive (ibv_post_recv): until it has completed, dst must stay
 * registered, and its bytes belong to the device. Do not rely on the order in which receives are
 * used. A connection with a shared RQ takes its receives from there (rpma_srq_recv).
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL, dst is NULL with an offset or a length, or len is above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM when the RQ is full, with EINVAL when the
 *   connection uses a shared RQ
 *
 * See: rpma_send, rpma_conn_req_recv, rpma_conn_get_rcq
 */
int rpma_recv(struct rpma_conn *conn,
              struct rpma_mr_local *dst,
              size_t offset,
              size_t len,
              const void *op_context);

/**
 * Starts to write 8 bytes of a memory region to remote memory in one piece: releases 0.9 to 0.13.
 *
 * Later releases of the original do not have it. New programs use rpma_atomic_write, which takes
 * the 8 bytes from ordinary memory and uses the device's native operation if there is one.
 *
 * The 8 bytes at src_offset of src go to dst_offset of dst as a fenced RDMA write, which is as
 * atomic as the remote platform's memory. dst_offset must be a multiple of 8
 * (RPMA_ATOMIC_WRITE_ALIGNMENT), and so should be the address that the remote region starts at.
 * The usages are those of rpma_write.
 *
 * flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
 * RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
 *
 * The call only posts the operation (ibv_post_send): until it has completed, src must stay
 * registered and its bytes unchanged.
 *
 * Errors:
 * - RPMA_E_INVAL: conn, dst or src is NULL, flags is 0, or dst_offset is not a multiple of 8
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
 *
 * See: rpma_atomic_write
 */
int rpma_write_atomic(struct rpma_conn *conn,
                      struct rpma_mr_remote *dst,
                      size_t dst_offset,
                      const struct rpma_mr_local *src,
                      size_t src_offset,
                      int flags,
                      const void *op_context);

/**
 * Tells the file descriptor of a completion queue's channel.
 *
 * It is readable when rpma_cq_wait has something to take. Use it with poll or epoll; made
 * non-blocking with fcntl (O_NONBLOCK), it makes that call non-blocking. If the connection's
 * queues share their channel, it is that of rpma_conn_get_compl_fd. It belongs to the owner of the
 * queue, and must neither be closed nor read.
 *
 * Errors:
 * - RPMA_E_INVAL: cq or fd is NULL
 */
int rpma_cq_get_fd(const struct rpma_cq *cq, int *fd);

/**
 * Waits for a completion in a completion queue.
 *
 * Waits unless the file descriptor of rpma_cq_get_fd is non-blocking (ibv_get_cq_event,
 * ibv_req_notify_cq). After that take completions with rpma_cq_get_wc until it returns
 * RPMA_E_NO_COMPLETION: several may have come with one event. There may also be none, when they
 * were taken earlier.
 *
 * Errors:
 * - RPMA_E_INVAL: cq is NULL
 * - RPMA_E_NO_COMPLETION: a signal ended the wait, or the file descriptor is non-blocking and
 *   nothing is there; not logged
 * - RPMA_E_SHARED_CHANNEL: the completion channel is shared; see rpma_conn_wait
 * - RPMA_E_PROVIDER: asking for the next event failed
 *
 * See: rpma_conn_get_cq, rpma_conn_get_rcq, rpma_srq_get_rcq
 */
int rpma_cq_wait(struct rpma_cq *cq);

/**
 * Takes up to num_entries completions from a completion queue, without waiting.
 *
 * wc is an array of num_entries elements. *num_entries_got is how many of them were filled;
 * num_entries_got may be NULL when num_entries is 1 (ibv_poll_cq).
 *
 * wr_id is the op_context of the operation. Check status first: unless it is IBV_WC_SUCCESS, only
 * wr_id, status, qp_num and vendor_err are valid, and the connection is broken. imm_data is in
 * network byte order. An emulated flush completes as IBV_WC_RDMA_READ.
 *
 * Errors:
 * - RPMA_E_INVAL: cq or wc is NULL, num_entries is below 1, or num_entries_got is NULL with
 *   num_entries above 1
 * - RPMA_E_NO_COMPLETION: the queue is empty; not logged
 * - RPMA_E_PROVIDER: polling failed
 * - RPMA_E_UNKNOWN: the device told more completions than it was asked for
 *
 * See: rpma_cq_wait, rpma_conn_get_cq, rpma_conn_get_rcq, rpma_srq_get_rcq
 */
int rpma_cq_get_wc(struct rpma_cq *cq, int num_entries, struct ibv_wc *wc, int *num_entries_got);

/**
 * Takes a completion from a completion queue, in the form that 0.10 and 0.11 had.
 *
 * Later releases of the original do not have it. New programs use rpma_cq_get_wc, which fills a
 * struct ibv_wc.
 *
 * op_context and op_status are always set. When op_status is not IBV_WC_SUCCESS nothing else is,
 * and the call succeeds nevertheless. imm is set only when the flags have IBV_WC_WITH_IMM.
 *
 * Errors:
 * - RPMA_E_INVAL: cq or cmpl is NULL
 * - RPMA_E_NO_COMPLETION: the queue is empty; not logged
 * - RPMA_E_NOSUPP: the operation is none of enum rpma_op; the completion is taken, and op_context
 *   and op_status are set
 * - RPMA_E_PROVIDER: polling the queue failed (ibv_poll_cq)
 * - RPMA_E_UNKNOWN: the device told more completions than it was asked for
 *
 * See: rpma_cq_get_wc
 */
int rpma_cq_get_completion(struct rpma_cq *cq, struct rpma_completion *cmpl);

/**
 * Sets the function that the messages of the log go to.
 *
 * log_function may be called from every thread that uses the library, and from several at once,
 * until another one is set; a call that is under way then may still come to its end. It gets the
 * messages that RPMA_LOG_THRESHOLD lets pass.
 *
 * RPMA_LOG_USE_DEFAULT_FUNCTION, that is NULL, brings back the function of the library, which is
 * there at the beginning. It writes to syslog and, as far as RPMA_LOG_THRESHOLD_AUX lets messages
 * pass, to stderr. The call always returns 0.
 *
 * See: rpma_log_set_threshold
 */
int rpma_log_set_function(rpma_log_function *log_function);

/**
 * Sets a threshold of the log.
 *
 * Messages pass RPMA_LOG_THRESHOLD, and are logged at all, when their level is that of the
 * threshold or a more serious one. It is RPMA_LOG_LEVEL_WARNING at the beginning.
 * RPMA_LOG_THRESHOLD_AUX decides which of these the library's own log function writes to stderr as
 * well; it is RPMA_LOG_DISABLED at the beginning, and a log function of the program's own may read
 * it. With RPMA_LOG_DISABLED nothing passes. May be called from several threads at once.
 *
 * Errors:
 * - RPMA_E_INVAL: threshold or level is none of its enum, or threshold is RPMA_LOG_THRESHOLD_MAX
 *
 * See: rpma_log_get_threshold, rpma_log_set_function
 */
int rpma_log_set_threshold(enum rpma_log_threshold threshold, enum rpma_log_level level);

/**
 * Tells a threshold of the log.
 *
 * May be called from several threads at once, and from a log function.
 *
 * Errors:
 * - RPMA_E_INVAL: level is NULL, or threshold is neither RPMA_LOG_THRESHOLD nor
 *   RPMA_LOG_THRESHOLD_AUX
 *
 * See: rpma_log_set_threshold
 */
int rpma_log_get_threshold(enum rpma_log_threshold threshold, enum rpma_log_level *level);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LIBRPMA_H */
