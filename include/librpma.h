/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * librpma.h -- Remote Persistent Memory Access: read, write and flush the memory of another machine,
 * persistent or not, over RDMA.
 *
 * The header serves programs written for any release of the original C library, 0.9.0 to 1.3.0. See
 * librpma(7) for an overview. It is generated from the Rust sources: do not edit it.
 *
 * For all functions, unless the description says otherwise:
 *
 * - A function that returns int returns 0 on success and a negative RPMA_E_* code on failure. It logs
 *   the reason, except for the expected outcomes RPMA_E_NO_EVENT and RPMA_E_NO_COMPLETION.
 * - After RPMA_E_PROVIDER, errno is the error number of the failed libibverbs or librdmacm call.
 * - Output parameters are written on success only.
 * - Several threads may call a function at the same time. No thread may use an object while another
 *   thread deletes it, or afterwards.
 * - An object must be deleted before the object that it was made on.
 */

#ifndef LIBRPMA_H
#define LIBRPMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <infiniband/verbs.h>

/* for rpma_log_set_function: the log function of the library */
#define RPMA_LOG_USE_DEFAULT_FUNCTION (NULL)

/**
 * Not used by any release; kept for programs that use the name.
 */
#define RPMA_W_WAIT_FOR_COMPLETION 1

/**
 * An unexpected failure; the log has the details
 */
#define RPMA_E_UNKNOWN (-100000)

/**
 * The device, the remote side or the memory region does not support the operation
 */
#define RPMA_E_NOSUPP (-100001)

/**
 * A call of libibverbs or librdmacm failed; errno and the log have the reason
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
 * There is no completion; an expected outcome, not logged
 */
#define RPMA_E_NO_COMPLETION (-100005)

/**
 * There is no event; an expected outcome, not logged
 */
#define RPMA_E_NO_EVENT (-100006)

/**
 * A temporary failure; no function returns this code
 */
#define RPMA_E_AGAIN (-100007)

/**
 * The completion channel is shared: use rpma_conn_wait
 */
#define RPMA_E_SHARED_CHANNEL (-100008)

/**
 * The completion channel is not shared: use rpma_cq_wait
 */
#define RPMA_E_NOT_SHARED_CHNL (-100009)

/**
 * The default timeout, in milliseconds, for resolving an address and for resolving its route
 * (rpma_conn_cfg_set_timeout)
 */
#define RPMA_DEFAULT_TIMEOUT_MS 1000

/**
 * The remote side may read the memory: the source of its rpma_read
 */
#define RPMA_MR_USAGE_READ_SRC (1 << 0)

/**
 * The destination of an rpma_read of this side; on iWARP, the remote side may also write the memory
 */
#define RPMA_MR_USAGE_READ_DST (1 << 1)

/**
 * The source of an rpma_write, rpma_write_with_imm or rpma_write_atomic of this side
 */
#define RPMA_MR_USAGE_WRITE_SRC (1 << 2)

/**
 * The remote side may write the memory: the destination of its rpma_write, rpma_write_with_imm,
 * rpma_atomic_write or rpma_write_atomic
 */
#define RPMA_MR_USAGE_WRITE_DST (1 << 3)

/**
 * The remote side may flush the memory with RPMA_FLUSH_TYPE_VISIBILITY; it may also read the memory,
 * as an emulated flush does
 */
#define RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY (1 << 4)

/**
 * The remote side may flush the memory with RPMA_FLUSH_TYPE_PERSISTENT; it may also read the memory,
 * as an emulated flush does
 */
#define RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT (1 << 5)

/**
 * The buffer of an rpma_send or rpma_send_with_imm of this side
 */
#define RPMA_MR_USAGE_SEND (1 << 6)

/**
 * The buffer of a receive of this side: rpma_recv, rpma_conn_req_recv or rpma_srq_recv
 */
#define RPMA_MR_USAGE_RECV (1 << 7)

/**
 * The operation has a completion only if it fails
 */
#define RPMA_F_COMPLETION_ON_ERROR (1 << 0)

/**
 * The operation has a completion whether it succeeds or fails
 */
#define RPMA_F_COMPLETION_ALWAYS ((1 << 1) | RPMA_F_COMPLETION_ON_ERROR)

/**
 * The alignment of the offset of an atomic write, in bytes, and the number of bytes it writes
 */
#define RPMA_ATOMIC_WRITE_ALIGNMENT 8

/**
 * How rpma_utils_get_ibv_context finds a device
 */
enum rpma_util_ibv_context_type {
    /**
     * the address is an address of this machine: the device that has it
     */
    RPMA_UTIL_IBV_CONTEXT_LOCAL = 0,
    /**
     * the address is an address of another machine: the device through which it is reached
     */
    RPMA_UTIL_IBV_CONTEXT_REMOTE = 1,
};

/**
 * An event of a connection (rpma_conn_next_event)
 */
enum rpma_conn_event {
    /**
     * no event; rpma_conn_next_event never returns it
     */
    RPMA_CONN_UNDEFINED = -1,
    /**
     * the connection is established
     */
    RPMA_CONN_ESTABLISHED = 0,
    /**
     * one side has disconnected, or the remote process has ended
     */
    RPMA_CONN_CLOSED = 1,
    /**
     * the connection was not established because of an error, or the device was removed
     */
    RPMA_CONN_LOST = 2,
    /**
     * the remote side rejected the connection request, or does not listen on the port
     */
    RPMA_CONN_REJECTED = 3,
    /**
     * the remote side does not answer
     */
    RPMA_CONN_UNREACHABLE = 4,
};

/**
 * What a flush guarantees (rpma_flush)
 */
enum rpma_flush_type {
    /**
     * the data is persistent: it survives a power failure of the remote machine
     */
    RPMA_FLUSH_TYPE_PERSISTENT = 0,
    /**
     * the data is visible to the remote processors
     */
    RPMA_FLUSH_TYPE_VISIBILITY = 1,
};

/**
 * The severity of a message of the log, and the value of a threshold
 */
enum rpma_log_level {
    /**
     * as a threshold: no message passes; no message has this level
     */
    RPMA_LOG_DISABLED = -1,
    /**
     * the library cannot continue; no message of this library has this level
     */
    RPMA_LOG_LEVEL_FATAL = 0,
    /**
     * a function failed
     */
    RPMA_LOG_LEVEL_ERROR = 1,
    /**
     * something unexpected that the function could handle
     */
    RPMA_LOG_LEVEL_WARNING = 2,
    /**
     * a normal but significant step, such as an established connection
     */
    RPMA_LOG_LEVEL_NOTICE = 3,
    /**
     * additional information, such as a missing native operation
     */
    RPMA_LOG_LEVEL_INFO = 4,
    /**
     * details that help to debug a program
     */
    RPMA_LOG_LEVEL_DEBUG = 5,
};

/**
 * A function that receives the messages of the log (rpma_log_set_function).
 *
 * The arguments are the level of the message, the source file and line of the library, the name of
 * the public function that was called, and a format with its arguments as printf takes them. The
 * formatted text ends with a newline. Any thread can call the function, and several threads can call
 * it at the same time.
 */
typedef void rpma_log_function(enum rpma_log_level level, const char *file_name, const int line_no,
                               const char *function_name, const char *message_format, ...);

/**
 * The thresholds of the log (rpma_log_set_threshold)
 */
enum rpma_log_threshold {
    /**
     * decides which messages are logged
     */
    RPMA_LOG_THRESHOLD = 0,
    /**
     * decides which of these the default log function also writes to stderr
     */
    RPMA_LOG_THRESHOLD_AUX = 1,
    /**
     * the number of thresholds; not a threshold itself
     */
    RPMA_LOG_THRESHOLD_MAX = 2,
};

/**
 * The operation of a completion (struct rpma_completion, releases 0.9 to 0.11)
 */
enum rpma_op {
    /**
     * rpma_read or rpma_flush
     */
    RPMA_OP_READ = 0,
    /**
     * rpma_write, rpma_write_with_imm, rpma_write_atomic or rpma_atomic_write
     */
    RPMA_OP_WRITE = 1,
    /**
     * no release returns it
     */
    RPMA_OP_FLUSH = 2,
    /**
     * rpma_send or rpma_send_with_imm
     */
    RPMA_OP_SEND = 3,
    /**
     * rpma_recv, rpma_conn_req_recv or rpma_srq_recv
     */
    RPMA_OP_RECV = 4,
    /**
     * a receive that an rpma_write_with_imm of the remote side has used up
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
 * A peer: an RDMA device with a protection domain
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
 * Private data: bytes that are sent with a connection request or its acceptance, not encrypted
 */
struct rpma_conn_private_data {
    /**
     * the bytes, or NULL
     */
    void *ptr;
    /**
     * the number of bytes, 0 to 255
     */
    uint8_t len;
};

/**
 * A completion in the form of releases 0.9 to 0.11 (rpma_conn_completion_get,
 * rpma_cq_get_completion)
 *
 * In release 0.9.0, this struct had no flags and no imm. Therefore imm is written only for a
 * completion with immediate data, which release 0.9.0 could not send.
 */
struct rpma_completion {
    /**
     * the op_context of the operation
     */
    void *op_context;
    /**
     * the kind of operation
     */
    enum rpma_op op;
    /**
     * the number of bytes transferred
     */
    uint32_t byte_len;
    /**
     * IBV_WC_SUCCESS if the operation succeeded; otherwise only op_context is valid, too
     */
    enum ibv_wc_status op_status;
    /**
     * a combination of enum ibv_wc_flags
     */
    unsigned int flags;
    /**
     * the immediate data in host byte order, if flags has IBV_WC_WITH_IMM
     */
    uint32_t imm;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Finds the RDMA device that belongs to an address.
 *
 * addr is an IPv4 address, an IPv6 address or a host name. type says how the device is found: by
 * an address of this machine, or by the address of another machine that is reached through it.
 * With RPMA_UTIL_IBV_CONTEXT_REMOTE, resolving the address takes up to RPMA_DEFAULT_TIMEOUT_MS.
 *
 * *ibv_ctx_ptr is the device context, as rpma_peer_new takes it. The context belongs to librdmacm
 * and stays open until the process ends: the program must not close it.
 *
 * A wildcard address (0.0.0.0 or ::) belongs to no device: the function returns 0 and sets
 * *ibv_ctx_ptr to NULL.
 *
 * Not thread-safe: one thread at a time.
 *
 * Calls: rdma_getaddrinfo, rdma_create_id, rdma_bind_addr for a local address or rdma_resolve_addr
 * for a remote one, rdma_destroy_id
 *
 * Errors:
 * - RPMA_E_INVAL: addr or ibv_ctx_ptr is NULL, or type is not a value of its enum
 * - RPMA_E_PROVIDER: the address lookup, creating the CM identifier, or binding or resolving the
 *   address failed; after a failed lookup, the log has the reason and errno may not have it
 *
 * See: rpma_peer_new, rpma_utils_ibv_context_is_odp_capable
 */
int rpma_utils_get_ibv_context(const char *addr,
                               enum rpma_util_ibv_context_type type,
                               struct ibv_context **ibv_ctx_ptr);

/**
 * Checks whether a device supports on-demand paging for reliable connections.
 *
 * *is_odp_capable is 1 if the device supports on-demand paging (ODP) for both RDMA reads and RDMA
 * writes of the RC transport, otherwise 0. It is also 0 if the query fails. Memory that is mapped
 * from a file of a DAX file system can usually be registered only on a device with ODP (see
 * rpma_mr_reg).
 *
 * Calls: ibv_query_device_ex
 *
 * Errors:
 * - RPMA_E_INVAL: ibv_ctx or is_odp_capable is NULL
 * - RPMA_E_PROVIDER: querying the device failed
 *
 * See: rpma_utils_get_ibv_context, rpma_mr_reg, rpma_mr_advise
 */
int rpma_utils_ibv_context_is_odp_capable(struct ibv_context *ibv_ctx, int *is_odp_capable);

/**
 * Returns a text for a connection event.
 *
 * The string is static, in English and has no newline at its end. The program must not free or
 * change it. A value that is not a connection event has a text, too.
 *
 * See: rpma_conn_next_event
 */
const char *rpma_utils_conn_event_2str(enum rpma_conn_event conn_event);

/**
 * Returns a text for an error code of this library.
 *
 * ret is a return value of a function of this library: 0 or one of RPMA_E_*. The string is static,
 * in English and has no newline at its end. The program must not free or change it. A value that
 * is not an error code has a text, too.
 *
 * The text names the kind of failure only. The log says what exactly failed, and after
 * RPMA_E_PROVIDER, errno has the error number of the failed call.
 *
 * See: rpma_log_set_function
 */
const char *rpma_err_2str(int ret);

/**
 * Creates a peer configuration.
 *
 * A peer configuration describes the platform of one side of a connection to the other side. It
 * has one setting: whether direct write to persistent memory (PMem) is possible. The default is
 * that it is not.
 *
 * The caller owns *pcfg_ptr and deletes it with rpma_peer_cfg_delete.
 *
 * Errors:
 * - RPMA_E_INVAL: pcfg_ptr is NULL
 * - RPMA_E_NOMEM: out of memory
 *
 * See: rpma_peer_cfg_set_direct_write_to_pmem, rpma_peer_cfg_get_descriptor
 */
int rpma_peer_cfg_new(struct rpma_peer_cfg **pcfg_ptr);

/**
 * Deletes a peer configuration.
 *
 * The function sets *pcfg_ptr to NULL. If *pcfg_ptr is NULL already, it does nothing. Connections
 * to which the configuration was applied do not need it any more.
 *
 * Errors:
 * - RPMA_E_INVAL: pcfg_ptr is NULL
 *
 * See: rpma_peer_cfg_new, rpma_peer_cfg_from_descriptor
 */
int rpma_peer_cfg_delete(struct rpma_peer_cfg **pcfg_ptr);

/**
 * Sets whether direct write to PMem is possible on this side.
 *
 * Direct write to persistent memory (PMem) is possible if no volatile cache can hold back what the
 * network adapter writes to persistent memory. On Intel platforms this means, for example, that
 * DDIO is disabled for the PCIe root port of the adapter, or that the platform flushes its caches
 * at a power failure (eADR). The library cannot detect this. A wrong true causes data loss at the
 * next power failure: flushes to persistence then succeed without any effect.
 *
 * The setting takes effect on the remote side, after that side has received the descriptor of this
 * configuration and applied it to its connection.
 *
 * Errors:
 * - RPMA_E_INVAL: pcfg is NULL
 *
 * See: rpma_peer_cfg_get_descriptor, rpma_conn_apply_remote_peer_cfg, rpma_flush
 */
int rpma_peer_cfg_set_direct_write_to_pmem(struct rpma_peer_cfg *pcfg, bool supported);

/**
 * Gets whether a peer configuration allows direct write to PMem.
 *
 * *supported is true if direct write to persistent memory (PMem) is possible on the side that the
 * configuration describes. The default is false.
 *
 * Errors:
 * - RPMA_E_INVAL: pcfg or supported is NULL
 *
 * See: rpma_peer_cfg_set_direct_write_to_pmem
 */
int rpma_peer_cfg_get_direct_write_to_pmem(const struct rpma_peer_cfg *pcfg, bool *supported);

/**
 * Writes the descriptor of a peer configuration to a buffer.
 *
 * The descriptor is meant for the remote side, which passes it to rpma_peer_cfg_from_descriptor.
 * The program sends it in any way, for example as private data or in a message.
 *
 * desc must have room for the number of bytes that rpma_peer_cfg_get_descriptor_size returns. The
 * bytes are the same on all architectures.
 *
 * Errors:
 * - RPMA_E_INVAL: pcfg or desc is NULL
 *
 * See: rpma_peer_cfg_from_descriptor, rpma_peer_cfg_get_descriptor_size
 */
int rpma_peer_cfg_get_descriptor(const struct rpma_peer_cfg *pcfg, void *desc);

/**
 * Gets the size of the descriptor of a peer configuration.
 *
 * *desc_size is the number of bytes that rpma_peer_cfg_get_descriptor writes.
 *
 * Errors:
 * - RPMA_E_INVAL: pcfg or desc_size is NULL
 *
 * See: rpma_peer_cfg_get_descriptor
 */
int rpma_peer_cfg_get_descriptor_size(const struct rpma_peer_cfg *pcfg, size_t *desc_size);

/**
 * Creates a peer configuration from a descriptor of the remote side.
 *
 * desc is a descriptor that the remote side made with rpma_peer_cfg_get_descriptor, and desc_size
 * the number of bytes at desc. Bytes after the end of the descriptor are ignored. desc is not
 * needed after the call.
 *
 * The caller owns *pcfg_ptr and deletes it with rpma_peer_cfg_delete.
 *
 * The library cannot verify what the descriptor says. If it wrongly allows direct write to PMem,
 * flushes to persistence succeed without any effect.
 *
 * Errors:
 * - RPMA_E_INVAL: desc or pcfg_ptr is NULL, or desc_size is 0
 * - RPMA_E_NOMEM: out of memory
 *
 * See: rpma_conn_apply_remote_peer_cfg, rpma_peer_cfg_get_descriptor
 */
int rpma_peer_cfg_from_descriptor(const void *desc,
                                  size_t desc_size,
                                  struct rpma_peer_cfg **pcfg_ptr);

/**
 * Creates a peer: an RDMA device with a protection domain.
 *
 * All other objects of the library are made on a peer: memory regions, endpoints, connections and
 * shared receive queues. A program needs one peer for each device; with several peers on one
 * device, the memory regions of one peer cannot be accessed through the connections of another.
 *
 * The function queries the device for on-demand paging, native atomic write and native flush.
 * Without native support, the library emulates atomic write and flush, and logs this at level
 * INFO.
 *
 * The caller owns *peer_ptr and deletes it with rpma_peer_delete, after all objects that were made
 * on it. ibv_ctx must stay open until then. A context of rpma_utils_get_ibv_context does.
 *
 * Calls: ibv_query_device_ex, ibv_alloc_pd
 *
 * Errors:
 * - RPMA_E_INVAL: ibv_ctx or peer_ptr is NULL
 * - RPMA_E_NOMEM: out of memory, in the library or in the driver (ENOMEM)
 * - RPMA_E_PROVIDER: querying the device or allocating the protection domain failed
 * - RPMA_E_UNKNOWN: allocating the protection domain failed without an errno
 *
 * See: rpma_utils_get_ibv_context, rpma_peer_delete, rpma_mr_reg, rpma_conn_req_new,
 * rpma_ep_listen
 */
int rpma_peer_new(struct ibv_context *ibv_ctx, struct rpma_peer **peer_ptr);

/**
 * Deletes a peer.
 *
 * The function sets *peer_ptr to NULL. If *peer_ptr is NULL already, it does nothing. All objects
 * that were made on the peer must be deleted first: connections, connection requests, endpoints,
 * memory regions and shared receive queues. The device context stays open.
 *
 * Calls: ibv_dealloc_pd
 *
 * Errors:
 * - RPMA_E_INVAL: peer_ptr is NULL
 * - RPMA_E_PROVIDER: deallocating the protection domain failed, with EBUSY if an object on it
 *   still exists; the peer is deleted nevertheless
 *
 * See: rpma_peer_new
 */
int rpma_peer_delete(struct rpma_peer **peer_ptr);

/**
 * Registers memory with the device of a peer.
 *
 * The memory region is the size bytes from ptr on. Alignment does not matter. usage is a
 * combination of RPMA_MR_USAGE_* and decides what the device may do with the memory: for this
 * process, and for every remote side that has a connection on this peer and the descriptor of the
 * region (rpma_mr_get_descriptor).
 *
 * Registered pages are locked in memory and count towards RLIMIT_MEMLOCK. If memory cannot be
 * locked (EOPNOTSUPP), as it is with files of many DAX file systems, and the device supports
 * on-demand paging, the function registers it for on-demand paging.
 *
 * Registration takes much longer than an RDMA operation: register a buffer once, not once for each
 * operation.
 *
 * The caller owns *mr_ptr and deregisters it with rpma_mr_dereg, before it unmaps or frees the
 * memory and before it deletes the peer.
 *
 * Calls: ibv_reg_mr
 *
 * Errors:
 * - RPMA_E_INVAL: peer, ptr or mr_ptr is NULL, size is 0, or usage is 0 or has unknown bits
 * - RPMA_E_NOMEM: out of memory
 * - RPMA_E_PROVIDER: the registration failed; ENOMEM often means that RLIMIT_MEMLOCK is too low,
 *   EFAULT that the memory is not mapped, or is mapped read-only and the usage needs write access
 *
 * See: rpma_mr_dereg, rpma_mr_get_descriptor, rpma_mr_advise
 */
int rpma_mr_reg(struct rpma_peer *peer,
                void *ptr,
                size_t size,
                int usage,
                struct rpma_mr_local **mr_ptr);

/**
 * Deregisters a memory region.
 *
 * The function sets *mr_ptr to NULL. If *mr_ptr is NULL already, it does nothing. The memory
 * itself stays as it is.
 *
 * All operations of this process that use the region must have completed. Operations of the remote
 * side on the region fail from now on.
 *
 * Calls: ibv_dereg_mr
 *
 * Errors:
 * - RPMA_E_INVAL: mr_ptr is NULL
 * - RPMA_E_PROVIDER: deregistering the memory failed; the object is deleted nevertheless
 *
 * See: rpma_mr_reg
 */
int rpma_mr_dereg(struct rpma_mr_local **mr_ptr);

/**
 * Writes the descriptor of a memory region to a buffer.
 *
 * The descriptor is meant for the remote side, which passes it to rpma_mr_remote_from_descriptor
 * to access the memory. The program sends it in any way, for example as private data or in a
 * message.
 *
 * desc must have room for the number of bytes that rpma_mr_get_descriptor_size returns. The bytes
 * are the same on all architectures.
 *
 * The descriptor holds the address, size, remote key and usage of the region. Every remote side
 * that has the descriptor and a connection on the same peer can access the memory as the usage
 * allows. Do not send it to anybody else, nor over a network on which others can listen.
 *
 * Errors:
 * - RPMA_E_INVAL: mr or desc is NULL
 *
 * See: rpma_mr_remote_from_descriptor, rpma_mr_get_descriptor_size, rpma_conn_req_connect
 */
int rpma_mr_get_descriptor(const struct rpma_mr_local *mr, void *desc);

/**
 * Creates a remote memory region from a descriptor of the remote side.
 *
 * desc is a descriptor that the remote side made with rpma_mr_get_descriptor, and desc_size the
 * number of bytes at desc. Bytes after the end of the descriptor are ignored. desc is not needed
 * after the call.
 *
 * A remote memory region belongs to no connection. Use it with connections to the peer on which
 * the memory is registered. The caller owns *mr_ptr and deletes it with rpma_mr_remote_delete.
 *
 * The function checks the form of the descriptor only. Address, size and usage are what the remote
 * side claims, and the remote device checks each operation against its registration. Check the
 * size with rpma_mr_remote_get_size before you rely on it.
 *
 * Errors:
 * - RPMA_E_INVAL: desc or mr_ptr is NULL, desc_size is smaller than a descriptor, or the
 *   descriptor has no usage
 * - RPMA_E_NOMEM: out of memory
 *
 * See: rpma_mr_get_descriptor, rpma_mr_remote_get_size, rpma_mr_remote_delete
 */
int rpma_mr_remote_from_descriptor(const void *desc,
                                   size_t desc_size,
                                   struct rpma_mr_remote **mr_ptr);

/**
 * Gets the size of the descriptor of a memory region.
 *
 * *desc_size is the number of bytes that rpma_mr_get_descriptor writes. It is the same for all
 * memory regions.
 *
 * Errors:
 * - RPMA_E_INVAL: mr or desc_size is NULL
 *
 * See: rpma_mr_get_descriptor
 */
int rpma_mr_get_descriptor_size(const struct rpma_mr_local *mr, size_t *desc_size);

/**
 * Gets the start address of a memory region.
 *
 * *ptr is the ptr that was passed to rpma_mr_reg.
 *
 * Errors:
 * - RPMA_E_INVAL: mr or ptr is NULL
 *
 * See: rpma_mr_reg, rpma_mr_get_size
 */
int rpma_mr_get_ptr(const struct rpma_mr_local *mr, void **ptr);

/**
 * Gets the size of a memory region.
 *
 * *size is the number of bytes that was passed to rpma_mr_reg.
 *
 * Errors:
 * - RPMA_E_INVAL: mr or size is NULL
 *
 * See: rpma_mr_reg, rpma_mr_get_ptr
 */
int rpma_mr_get_size(const struct rpma_mr_local *mr, size_t *size);

/**
 * Gets the size of a remote memory region.
 *
 * *size is a number of bytes. It comes from the descriptor, that is, from the remote side: check
 * it before you use it, for example as the size of a local buffer.
 *
 * Errors:
 * - RPMA_E_INVAL: mr or size is NULL
 *
 * See: rpma_mr_remote_from_descriptor
 */
int rpma_mr_remote_get_size(const struct rpma_mr_remote *mr, size_t *size);

/**
 * Gets the types of flush that a remote memory region is registered for.
 *
 * *flush_type is a combination of RPMA_MR_USAGE_FLUSH_TYPE_*, or 0 if the region cannot be
 * flushed. They are not values of rpma_flush_type.
 *
 * Errors:
 * - RPMA_E_INVAL: mr or flush_type is NULL
 *
 * See: rpma_flush, rpma_mr_reg
 */
int rpma_mr_remote_get_flush_type(const struct rpma_mr_remote *mr, int *flush_type);

/**
 * Deletes a remote memory region.
 *
 * The function sets *mr_ptr to NULL. If *mr_ptr is NULL already, it does nothing. Only the local
 * description of the region is deleted: the remote memory and its registration stay as they are.
 * Operations that are already posted do not need the object.
 *
 * Errors:
 * - RPMA_E_INVAL: mr_ptr is NULL
 *
 * See: rpma_mr_remote_from_descriptor
 */
int rpma_mr_remote_delete(struct rpma_mr_remote **mr_ptr);

/**
 * Gives the device advice about a range of a memory region.
 *
 * The range is the len bytes at offset of the region. advice and flags are those of ibv_advise_mr.
 * For example, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE with IBV_ADVISE_MR_FLAG_FLUSH loads the pages
 * of a region that is registered for on-demand paging.
 *
 * Calls: ibv_advise_mr
 *
 * Errors:
 * - RPMA_E_INVAL: mr is NULL, len is above 4 GiB - 1, the range is outside the region or not
 *   mapped (EFAULT), or the device does not accept the advice or the flags (EINVAL)
 * - RPMA_E_NOSUPP: the device or the installed libibverbs does not support advice
 * - RPMA_E_PROVIDER: the call failed for another reason
 *
 * See: rpma_mr_reg, rpma_utils_ibv_context_is_odp_capable
 */
int rpma_mr_advise(struct rpma_mr_local *mr, size_t offset, size_t len, int advice, uint32_t flags);

/**
 * Creates a connection configuration with the default settings.
 *
 * The defaults are: a timeout of RPMA_DEFAULT_TIMEOUT_MS; 10 entries each in the completion queue
 * (CQ), the send queue (SQ) and the receive queue (RQ); no receive CQ; no shared completion
 * channel; no shared receive queue.
 *
 * rpma_conn_req_new and rpma_ep_next_conn_req read the configuration during the call and do not
 * keep it. One configuration can serve any number of connections. The caller owns *cfg_ptr and
 * deletes it with rpma_conn_cfg_delete.
 *
 * Several threads may get and set the settings of one configuration at the same time.
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
 * Deletes a connection configuration.
 *
 * The function sets *cfg_ptr to NULL. If *cfg_ptr is NULL already, it does nothing. Requests and
 * connections that were made with the configuration do not need it any more. A shared receive
 * queue that is set in it is not deleted.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg_ptr is NULL
 *
 * See: rpma_conn_cfg_new
 */
int rpma_conn_cfg_delete(struct rpma_conn_cfg **cfg_ptr);

/**
 * Sets the timeout for resolving an address and for resolving its route.
 *
 * timeout_ms is a number of milliseconds. rpma_conn_req_new first resolves the address and then
 * the route; the timeout applies to each of the two steps. The default is RPMA_DEFAULT_TIMEOUT_MS.
 *
 * The timeout does not limit how long the remote side takes to answer a connection request: the
 * connection manager decides that. Incoming connections do not use it.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL, or timeout_ms is negative
 *
 * See: rpma_conn_cfg_get_timeout, rpma_conn_req_new
 */
int rpma_conn_cfg_set_timeout(struct rpma_conn_cfg *cfg, int timeout_ms);

/**
 * Gets the timeout for resolving an address and for resolving its route.
 *
 * *timeout_ms is a number of milliseconds; rpma_conn_cfg_set_timeout explains what it limits.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or timeout_ms is NULL
 *
 * See: rpma_conn_cfg_set_timeout
 */
int rpma_conn_cfg_get_timeout(const struct rpma_conn_cfg *cfg, int *timeout_ms);

/**
 * Sets the size of the completion queue (CQ).
 *
 * cq_size is a number of entries. The default is 10. The CQ takes the completions of all
 * operations of the connection, except those of receives if there is a receive CQ.
 *
 * The CQ must have room for all completions that can be in it at the same time. If it overflows,
 * completions are lost or the connection breaks. With a size that the device does not support, 0
 * for example, rpma_conn_req_new and rpma_ep_next_conn_req fail.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL
 *
 * See: rpma_conn_cfg_get_cq_size, rpma_conn_get_cq
 */
int rpma_conn_cfg_set_cq_size(struct rpma_conn_cfg *cfg, uint32_t cq_size);

/**
 * Gets whether the CQ and the receive CQ share a completion channel.
 *
 * *shared is true if the completion queue (CQ) and the receive CQ of a connection share one
 * completion channel. The default is false: each has its own.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or shared is NULL
 *
 * See: rpma_conn_cfg_set_compl_channel
 */
int rpma_conn_cfg_get_compl_channel(const struct rpma_conn_cfg *cfg, bool *shared);

/**
 * Sets whether the CQ and the receive CQ share a completion channel.
 *
 * If shared is true, one call of rpma_conn_wait waits for the completion queue (CQ) and the
 * receive CQ together, on one file descriptor (rpma_conn_get_compl_fd), and rpma_cq_wait returns
 * RPMA_E_SHARED_CHANNEL. If it is false, which is the default, each queue has its own channel, and
 * rpma_cq_wait waits for one queue.
 *
 * A shared completion channel cannot be combined with a shared receive queue that has its own
 * receive CQ: rpma_conn_req_new and rpma_ep_next_conn_req then fail.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL
 *
 * See: rpma_conn_cfg_get_compl_channel, rpma_conn_wait, rpma_conn_get_compl_fd
 */
int rpma_conn_cfg_set_compl_channel(struct rpma_conn_cfg *cfg, bool shared);

/**
 * Gets the size of the completion queue (CQ).
 *
 * *cq_size is a number of entries; rpma_conn_cfg_set_cq_size explains it.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or cq_size is NULL
 *
 * See: rpma_conn_cfg_set_cq_size
 */
int rpma_conn_cfg_get_cq_size(const struct rpma_conn_cfg *cfg, uint32_t *cq_size);

/**
 * Sets the size of the receive completion queue (receive CQ).
 *
 * rcq_size is a number of entries. With 0, the default, the connection has no receive CQ, and its
 * CQ takes the completions of receives. If the connection uses a shared receive queue that has its
 * own receive CQ, rcq_size is ignored.
 *
 * The receive CQ must have room for all completions that can be in it at the same time.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL
 *
 * See: rpma_conn_cfg_get_rcq_size, rpma_conn_get_rcq
 */
int rpma_conn_cfg_set_rcq_size(struct rpma_conn_cfg *cfg, uint32_t rcq_size);

/**
 * Gets the size of the receive completion queue (receive CQ).
 *
 * *rcq_size is a number of entries, or 0 for no receive CQ; rpma_conn_cfg_set_rcq_size explains
 * it.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or rcq_size is NULL
 *
 * See: rpma_conn_cfg_set_rcq_size
 */
int rpma_conn_cfg_get_rcq_size(const struct rpma_conn_cfg *cfg, uint32_t *rcq_size);

/**
 * Sets the size of the send queue (SQ).
 *
 * sq_size is a number of operations. The default is 10. Every operation except a receive uses one
 * entry of the SQ. The entry is free again when the completion of this operation, or of a later
 * one, has been taken from the CQ.
 *
 * The device may round the size up. With a size that it does not support, rpma_conn_req_new and
 * rpma_ep_next_conn_req fail.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL
 *
 * See: rpma_conn_cfg_get_sq_size
 */
int rpma_conn_cfg_set_sq_size(struct rpma_conn_cfg *cfg, uint32_t sq_size);

/**
 * Gets the size of the send queue (SQ).
 *
 * *sq_size is a number of operations; rpma_conn_cfg_set_sq_size explains it.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or sq_size is NULL
 *
 * See: rpma_conn_cfg_set_sq_size
 */
int rpma_conn_cfg_get_sq_size(const struct rpma_conn_cfg *cfg, uint32_t *sq_size);

/**
 * Sets the size of the receive queue (RQ).
 *
 * rq_size is the number of receives that may be posted and not yet completed. The default is 10.
 * If the connection uses a shared receive queue, rq_size has no effect.
 *
 * The device may round the size up. With a size that it does not support, rpma_conn_req_new and
 * rpma_ep_next_conn_req fail.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL
 *
 * See: rpma_conn_cfg_get_rq_size, rpma_recv
 */
int rpma_conn_cfg_set_rq_size(struct rpma_conn_cfg *cfg, uint32_t rq_size);

/**
 * Gets the size of the receive queue (RQ).
 *
 * *rq_size is a number of receives; rpma_conn_cfg_set_rq_size explains it.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or rq_size is NULL
 *
 * See: rpma_conn_cfg_set_rq_size
 */
int rpma_conn_cfg_get_rq_size(const struct rpma_conn_cfg *cfg, uint32_t *rq_size);

/**
 * Sets the shared receive queue (SRQ) of connections.
 *
 * All connections that are made with the configuration take their receives from srq. The program
 * posts these receives with rpma_srq_recv, not with rpma_recv. Their completions go to the receive
 * CQ of the SRQ if it has one, otherwise to the receive CQ of the connection if it has one,
 * otherwise to the CQ of the connection.
 *
 * srq must be on the same peer as the connections, and must exist until all requests and
 * connections that use it are deleted. Once set, it cannot be removed from the configuration: use
 * another configuration for connections without it.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or srq is NULL
 *
 * See: rpma_conn_cfg_get_srq, rpma_srq_new, rpma_srq_recv
 */
int rpma_conn_cfg_set_srq(struct rpma_conn_cfg *cfg, struct rpma_srq *srq);

/**
 * Gets the shared receive queue (SRQ) of a connection configuration.
 *
 * *srq_ptr is the SRQ that rpma_conn_cfg_set_srq has set, or NULL. The program that created the
 * SRQ still owns it.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or srq_ptr is NULL
 *
 * See: rpma_conn_cfg_set_srq
 */
int rpma_conn_cfg_get_srq(const struct rpma_conn_cfg *cfg, struct rpma_srq **srq_ptr);

/**
 * Creates a configuration of a shared receive queue with the default settings.
 *
 * The defaults are: 20 receives in the shared receive queue (SRQ), and 20 entries in its receive
 * CQ. rpma_srq_new reads the configuration during the call and does not keep it. The caller owns
 * *cfg_ptr and deletes it with rpma_srq_cfg_delete.
 *
 * Several threads may get and set the settings of one configuration at the same time.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg_ptr is NULL
 * - RPMA_E_NOMEM: out of memory
 *
 * See: rpma_srq_new, rpma_srq_cfg_set_rq_size, rpma_srq_cfg_set_rcq_size
 */
int rpma_srq_cfg_new(struct rpma_srq_cfg **cfg_ptr);

/**
 * Deletes a configuration of a shared receive queue.
 *
 * The function sets *cfg_ptr to NULL. If *cfg_ptr is NULL already, it does nothing. Queues that
 * were made with the configuration do not need it any more.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg_ptr is NULL
 *
 * See: rpma_srq_cfg_new
 */
int rpma_srq_cfg_delete(struct rpma_srq_cfg **cfg_ptr);

/**
 * Sets the size of a shared receive queue (SRQ).
 *
 * rq_size is the number of receives that may be posted and not yet completed. The default is 20.
 * With a size that the device does not support, rpma_srq_new fails.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL
 *
 * See: rpma_srq_cfg_get_rq_size, rpma_srq_recv
 */
int rpma_srq_cfg_set_rq_size(struct rpma_srq_cfg *cfg, uint32_t rq_size);

/**
 * Gets the size of a shared receive queue (SRQ).
 *
 * *rq_size is a number of receives; rpma_srq_cfg_set_rq_size explains it.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or rq_size is NULL
 *
 * See: rpma_srq_cfg_set_rq_size
 */
int rpma_srq_cfg_get_rq_size(const struct rpma_srq_cfg *cfg, uint32_t *rq_size);

/**
 * Sets the size of the receive CQ of a shared receive queue (SRQ).
 *
 * rcq_size is a number of entries. The default is 20. The receive CQ takes the completions of the
 * receives of all connections that use the SRQ. With 0, the SRQ has no receive CQ, and the
 * completions go to the queues of each connection.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg is NULL
 *
 * See: rpma_srq_cfg_get_rcq_size, rpma_srq_get_rcq
 */
int rpma_srq_cfg_set_rcq_size(struct rpma_srq_cfg *cfg, uint32_t rcq_size);

/**
 * Gets the size of the receive CQ of a shared receive queue (SRQ).
 *
 * *rcq_size is a number of entries, or 0 for no receive CQ; rpma_srq_cfg_set_rcq_size explains it.
 *
 * Errors:
 * - RPMA_E_INVAL: cfg or rcq_size is NULL
 *
 * See: rpma_srq_cfg_set_rcq_size
 */
int rpma_srq_cfg_get_rcq_size(const struct rpma_srq_cfg *cfg, uint32_t *rcq_size);

/**
 * Creates a shared receive queue (SRQ).
 *
 * Several connections take their receives from one SRQ, so a server with many clients needs
 * buffers for the messages that really arrive, not for each client. Unless the configuration sets
 * its size to 0, the SRQ has its own receive CQ, with its own completion channel, which takes the
 * completions of the receives of all these connections.
 *
 * cfg may be NULL for the default settings of rpma_srq_cfg_new. It is not needed after the call.
 * The caller owns *srq_ptr and deletes it with rpma_srq_delete, before it deletes the peer.
 *
 * Calls: ibv_create_srq, ibv_create_comp_channel, ibv_create_cq, ibv_req_notify_cq
 *
 * Errors:
 * - RPMA_E_INVAL: peer or srq_ptr is NULL
 * - RPMA_E_NOMEM: out of memory
 * - RPMA_E_PROVIDER: creating the SRQ, the completion channel or the receive CQ failed, or
 *   requesting its events
 *
 * See: rpma_conn_cfg_set_srq, rpma_srq_recv, rpma_srq_get_rcq, rpma_srq_delete
 */
int rpma_srq_new(struct rpma_peer *peer, struct rpma_srq_cfg *cfg, struct rpma_srq **srq_ptr);

/**
 * Deletes a shared receive queue (SRQ) and its receive CQ.
 *
 * The function sets *srq_ptr to NULL. If *srq_ptr is NULL already, it does nothing. Requests and
 * connections that use the SRQ must be deleted first. Receives that are still posted never
 * complete. The receive CQ and its file descriptor are no longer valid.
 *
 * Calls: ibv_destroy_cq, ibv_destroy_comp_channel, ibv_destroy_srq
 *
 * Errors:
 * - RPMA_E_INVAL: srq_ptr is NULL
 * - RPMA_E_PROVIDER: destroying the SRQ, the receive CQ or its channel failed, with EBUSY if a
 *   connection still uses it; the object is deleted nevertheless
 *
 * See: rpma_srq_new
 */
int rpma_srq_delete(struct rpma_srq **srq_ptr);

/**
 * Posts a receive to a shared receive queue (SRQ).
 *
 * The receive takes one message to any of the connections that use the SRQ. The message is placed
 * in the len bytes at offset of dst, which must be registered with RPMA_MR_USAGE_RECV. In the
 * completion (struct ibv_wc), byte_len is the size of the message, qp_num identifies the
 * connection (rpma_conn_get_qp_num), and wr_id is op_context.
 *
 * dst may be NULL if offset and len are 0: a receive without a buffer, for an empty message or an
 * rpma_write_with_imm.
 *
 * The call only posts the receive. Until the receive has completed, dst must stay registered and
 * the program must not use its bytes. Do not rely on the order in which receives are used.
 *
 * Calls: ibv_post_srq_recv
 *
 * Errors:
 * - RPMA_E_INVAL: srq is NULL, dst is NULL and offset or len is not 0, or len is above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SRQ is full
 *
 * See: rpma_recv, rpma_srq_get_rcq, rpma_conn_get_qp_num
 */
int rpma_srq_recv(struct rpma_srq *srq,
                  struct rpma_mr_local *dst,
                  size_t offset,
                  size_t len,
                  const void *op_context);

/**
 * Gets the receive CQ of a shared receive queue (SRQ).
 *
 * *rcq_ptr is the receive completion queue of the SRQ, or NULL if it has none. It belongs to the
 * SRQ and is valid until the SRQ is deleted.
 *
 * Errors:
 * - RPMA_E_INVAL: srq or rcq_ptr is NULL
 *
 * See: rpma_srq_cfg_set_rcq_size, rpma_cq_wait, rpma_cq_get_wc
 */
int rpma_srq_get_rcq(const struct rpma_srq *srq, struct rpma_cq **rcq_ptr);

/**
 * Creates a request for a connection to a listening endpoint.
 *
 * addr is an IPv4 address, an IPv6 address or a host name. port is a port number or the name of a
 * service. The function looks up the address, resolves it and its route, and creates the queues of
 * the connection. Resolving the address and resolving the route each block up to the timeout of
 * cfg. Nothing is sent to the remote program until rpma_conn_req_connect.
 *
 * cfg may be NULL for the default settings of rpma_conn_cfg_new. The timeout is read when the call
 * begins, all other settings after the route is resolved. cfg is not needed after the call.
 *
 * The caller owns *req_ptr and ends it with rpma_conn_req_connect or rpma_conn_req_delete. The
 * peer must exist until the request, and the connection that is made from it, are deleted.
 *
 * Not thread-safe: one thread at a time for a peer.
 *
 * Calls: rdma_getaddrinfo, rdma_create_id, rdma_resolve_addr, rdma_resolve_route,
 * ibv_create_comp_channel, ibv_create_cq, ibv_req_notify_cq, rdma_create_qp_ex
 *
 * Errors:
 * - RPMA_E_INVAL: peer, addr, port or req_ptr is NULL, the address belongs to no RDMA device, or
 *   cfg combines a shared completion channel with an SRQ that has its own receive CQ
 * - RPMA_E_NOMEM: out of memory
 * - RPMA_E_PROVIDER: a call of libibverbs or librdmacm failed: the address lookup, resolving the
 *   address or the route, or creating the queues; after a failed lookup, the log has the reason
 *   and errno may not have it
 *
 * See: rpma_conn_req_recv, rpma_conn_req_connect, rpma_conn_req_delete, rpma_conn_cfg_new,
 * rpma_ep_listen
 */
int rpma_conn_req_new(struct rpma_peer *peer,
                      const char *addr,
                      const char *port,
                      const struct rpma_conn_cfg *cfg,
                      struct rpma_conn_req **req_ptr);

/**
 * Deletes a connection request.
 *
 * The function sets *req_ptr to NULL. If *req_ptr is NULL already, it does nothing. An incoming
 * request is rejected: the remote side gets RPMA_CONN_REJECTED. Receives that are posted to the
 * request do not complete. Private data that was read from the request is no longer valid.
 *
 * Not thread-safe: one thread at a time for a request.
 *
 * Calls: rdma_destroy_qp, ibv_destroy_cq, ibv_destroy_comp_channel, rdma_reject for an incoming
 * request, rdma_destroy_id
 *
 * Errors:
 * - RPMA_E_INVAL: req_ptr is NULL
 * - RPMA_E_PROVIDER: rejecting the request or releasing one of its parts failed; all other parts
 *   are released, and the object is deleted nevertheless
 *
 * See: rpma_conn_req_connect
 */
int rpma_conn_req_delete(struct rpma_conn_req **req_ptr);

/**
 * Connects: sends a connection request, or accepts an incoming one.
 *
 * A request of rpma_conn_req_new is sent to the remote side. A request of rpma_ep_next_conn_req is
 * accepted. The function does not wait for the remote side: the connection is established when
 * rpma_conn_next_event returns RPMA_CONN_ESTABLISHED. Until then, the side that requested the
 * connection may post receives only.
 *
 * pdata is private data for the remote side, or NULL for none. The function copies the bytes. The
 * remote side reads them with rpma_conn_req_get_private_data (it accepts) or
 * rpma_conn_get_private_data (it has requested the connection). Their number is limited by the
 * connection manager: on InfiniBand and RoCE, to 56 bytes with a request and 196 bytes with its
 * acceptance. They are not encrypted.
 *
 * The request is used up even if the function fails: *req_ptr is NULL afterwards, and all parts of
 * the request belong to the connection or are released. If an accepted request fails, the remote
 * side sees no connection, or sees it closed after a short time.
 *
 * The caller owns *conn_ptr and deletes it with rpma_conn_delete.
 *
 * Not thread-safe: one thread at a time for a request.
 *
 * Calls: rdma_create_event_channel, rdma_migrate_id, ibv_reg_mr for the emulated flush,
 * rdma_connect or rdma_accept
 *
 * Errors:
 * - RPMA_E_INVAL: req_ptr, *req_ptr or conn_ptr is NULL, or pdata is not NULL and has a NULL ptr
 *   or a len of 0
 * - RPMA_E_NOMEM: out of memory for the page that emulated flushes read into; the first connection
 *   that needs this page maps it for the whole process
 * - RPMA_E_PROVIDER: a call of libibverbs or librdmacm failed: connecting or accepting (EINVAL if
 *   there is too much private data), creating the event channel, moving the CM identifier to it,
 *   or registering the page of the emulated flush
 *
 * See: rpma_conn_req_new, rpma_ep_next_conn_req, rpma_conn_next_event, rpma_conn_delete
 */
int rpma_conn_req_connect(struct rpma_conn_req **req_ptr,
                          const struct rpma_conn_private_data *pdata,
                          struct rpma_conn **conn_ptr);

/**
 * Posts a receive to a connection request.
 *
 * A receive that is posted before rpma_conn_req_connect is there before the remote side can send
 * its first message. It works as rpma_recv, except that dst must not be NULL. Its completion goes
 * to the queues of the connection that is made from the request.
 *
 * The call only posts the receive. Until the receive has completed, or the request or the
 * connection is deleted, dst must stay registered and the program must not use its bytes.
 *
 * Calls: ibv_post_recv
 *
 * Errors:
 * - RPMA_E_INVAL: req or dst is NULL, or len is above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM if the RQ is full, with EINVAL if the request
 *   uses a shared receive queue
 *
 * See: rpma_recv, rpma_conn_req_connect
 */
int rpma_conn_req_recv(struct rpma_conn_req *req,
                       struct rpma_mr_local *dst,
                       size_t offset,
                       size_t len,
                       const void *op_context);

/**
 * Gets the private data of an incoming connection request.
 *
 * pdata->ptr points to the bytes that the remote side sent with its request, and pdata->len is
 * their number. They are NULL and 0 if there is no private data, which is always so for an
 * outgoing request.
 *
 * The bytes belong to the request. After rpma_conn_req_connect they belong to the connection and
 * stay at the same address. Otherwise they are valid until the request is deleted.
 *
 * The bytes come unencrypted from any program that can reach the endpoint, and may end with
 * padding zeros that the remote side did not send. Check their number and content before you use
 * them. They do not prove who sent them.
 *
 * Errors:
 * - RPMA_E_INVAL: req or pdata is NULL
 *
 * See: rpma_ep_next_conn_req, rpma_conn_req_connect, rpma_conn_get_private_data
 */
int rpma_conn_req_get_private_data(const struct rpma_conn_req *req,
                                   struct rpma_conn_private_data *pdata);

/**
 * Creates an endpoint that listens for connection requests.
 *
 * addr is an IPv4 address, an IPv6 address or a host name of this machine. port is a port number
 * or the name of a service. Any program that can reach the address can send a request.
 *
 * The caller owns *ep_ptr and deletes it with rpma_ep_shutdown. The peer must exist until then.
 *
 * Not thread-safe: one thread at a time for a peer.
 *
 * Calls: rdma_create_event_channel, rdma_create_id, rdma_getaddrinfo, rdma_bind_addr, rdma_listen
 *
 * Errors:
 * - RPMA_E_INVAL: peer, addr, port or ep_ptr is NULL
 * - RPMA_E_NOMEM: out of memory
 * - RPMA_E_PROVIDER: creating the event channel or the CM identifier, the address lookup, binding
 *   (EADDRINUSE, EADDRNOTAVAIL) or listening failed; after a failed lookup, the log has the reason
 *   and errno may not have it
 *
 * See: rpma_ep_next_conn_req, rpma_ep_get_fd, rpma_ep_shutdown
 */
int rpma_ep_listen(struct rpma_peer *peer,
                   const char *addr,
                   const char *port,
                   struct rpma_ep **ep_ptr);

/**
 * Stops listening and deletes an endpoint.
 *
 * The function sets *ep_ptr to NULL. If *ep_ptr is NULL already, it does nothing. Requests that
 * the program has not taken are rejected. Requests that it has taken must be connected or deleted
 * first. Connections that were made from them stay as they are.
 *
 * Not thread-safe: one thread at a time for an endpoint.
 *
 * Calls: rdma_destroy_id, rdma_destroy_event_channel
 *
 * Errors:
 * - RPMA_E_INVAL: ep_ptr is NULL
 * - RPMA_E_PROVIDER: destroying the CM identifier failed; the object is deleted nevertheless
 *
 * See: rpma_ep_listen
 */
int rpma_ep_shutdown(struct rpma_ep **ep_ptr);

/**
 * Gets the file descriptor of the events of an endpoint.
 *
 * *fd is readable when rpma_ep_next_conn_req has a request to return. Use it with poll or epoll.
 * If O_NONBLOCK is set on it, rpma_ep_next_conn_req does not block. The file descriptor belongs to
 * the endpoint: do not read or close it.
 *
 * Errors:
 * - RPMA_E_INVAL: ep or fd is NULL
 *
 * See: rpma_ep_next_conn_req
 */
int rpma_ep_get_fd(const struct rpma_ep *ep, int *fd);

/**
 * Gets the next incoming connection request.
 *
 * The function waits for a request, unless O_NONBLOCK is set on the file descriptor of
 * rpma_ep_get_fd. It then creates the queues of the connection. It reads cfg after the request has
 * arrived, not when the wait begins. cfg may be NULL for the default settings of
 * rpma_conn_cfg_new. It is not needed after the call.
 *
 * The caller owns *req_ptr. rpma_conn_req_connect accepts the request and rpma_conn_req_delete
 * rejects it. One of them must be called before the endpoint is shut down.
 * rpma_conn_req_get_private_data returns the private data of the request, which can help to
 * decide.
 *
 * If this function fails after a request has arrived, it rejects the request.
 *
 * Not thread-safe: one thread at a time for an endpoint.
 *
 * Calls: rdma_get_cm_event, rdma_ack_cm_event, ibv_create_comp_channel, ibv_create_cq,
 * ibv_req_notify_cq, rdma_create_qp_ex
 *
 * Errors:
 * - RPMA_E_INVAL: ep or req_ptr is NULL, the event is not a connection request, or cfg combines a
 *   shared completion channel with an SRQ that has its own receive CQ
 * - RPMA_E_NO_EVENT: O_NONBLOCK is set and there is no request; not logged
 * - RPMA_E_NOMEM: out of memory
 * - RPMA_E_PROVIDER: getting the event failed (EINTR after a signal), or creating the queues
 *   failed
 *
 * See: rpma_conn_req_connect, rpma_conn_req_delete, rpma_conn_req_get_private_data,
 * rpma_conn_req_recv, rpma_conn_cfg_new
 */
int rpma_ep_next_conn_req(struct rpma_ep *ep,
                          const struct rpma_conn_cfg *cfg,
                          struct rpma_conn_req **req_ptr);

/**
 * Gets the file descriptor of the events of a connection.
 *
 * *fd is readable when rpma_conn_next_event has an event to return. Use it with poll or epoll. If
 * O_NONBLOCK is set on it, rpma_conn_next_event does not block. The file descriptor belongs to the
 * connection: do not read or close it.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or fd is NULL
 *
 * See: rpma_conn_next_event
 */
int rpma_conn_get_event_fd(const struct rpma_conn *conn, int *fd);

/**
 * Gets the next event of a connection.
 *
 * The function waits for an event, unless O_NONBLOCK is set on the file descriptor of
 * rpma_conn_get_event_fd.
 *
 * The first event is RPMA_CONN_ESTABLISHED if the connection is made, otherwise
 * RPMA_CONN_REJECTED, RPMA_CONN_UNREACHABLE or RPMA_CONN_LOST. The accepting side gets
 * RPMA_CONN_ESTABLISHED only after the requesting side has taken its own. An established
 * connection ends with RPMA_CONN_CLOSED or RPMA_CONN_LOST. RPMA_CONN_CLOSED can come a second
 * time, some time after the first, if the connection still exists.
 *
 * Not thread-safe: one thread at a time for a connection.
 *
 * Calls: rdma_get_cm_event, rdma_ack_cm_event
 *
 * Errors:
 * - RPMA_E_INVAL: conn or event is NULL
 * - RPMA_E_NO_EVENT: O_NONBLOCK is set and there is no event; not logged
 * - RPMA_E_UNKNOWN: the event has no meaning for a connection; it is taken, and logged as a
 *   warning
 * - RPMA_E_NOMEM: out of memory for the private data of the event, which is lost
 * - RPMA_E_PROVIDER: getting or acknowledging the event failed (EINTR after a signal)
 *
 * See: rpma_conn_get_event_fd, rpma_conn_disconnect, rpma_utils_conn_event_2str
 */
int rpma_conn_next_event(struct rpma_conn *conn, enum rpma_conn_event *event);

/**
 * Gets the private data that the remote side sent when it connected.
 *
 * pdata->ptr points to the bytes and pdata->len is their number. They are NULL and 0 if there is
 * no private data. The side that requested the connection has the private data of the acceptance
 * after it has taken RPMA_CONN_ESTABLISHED. The side that accepted has the private data of the
 * request from the beginning. The bytes belong to the connection and are valid until it is
 * deleted.
 *
 * The bytes come unencrypted from the network, and may end with padding zeros that the remote side
 * did not send. Check their number and content before you use them. They do not prove who sent
 * them.
 *
 * Not thread-safe: one thread at a time for a connection.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or pdata is NULL
 *
 * See: rpma_conn_req_connect, rpma_conn_req_get_private_data
 */
int rpma_conn_get_private_data(const struct rpma_conn *conn, struct rpma_conn_private_data *pdata);

/**
 * Applies the peer configuration of the remote side to a connection.
 *
 * The configuration usually comes from rpma_peer_cfg_from_descriptor. Until one that allows direct
 * write to PMem is applied, rpma_flush refuses RPMA_FLUSH_TYPE_PERSISTENT on the connection. The
 * function sends nothing. The configuration is not needed after the call.
 *
 * Not thread-safe: one thread at a time for a connection.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or pcfg is NULL
 *
 * See: rpma_peer_cfg_from_descriptor, rpma_flush
 */
int rpma_conn_apply_remote_peer_cfg(struct rpma_conn *conn, const struct rpma_peer_cfg *pcfg);

/**
 * Gets the number of the queue pair of a connection.
 *
 * *qp_num is the qp_num in the completions (struct ibv_wc) of the connection. With it, a program
 * finds the connection of a completion if several connections use one shared receive queue.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or qp_num is NULL
 *
 * See: rpma_srq_recv, rpma_cq_get_wc
 */
int rpma_conn_get_qp_num(const struct rpma_conn *conn, uint32_t *qp_num);

/**
 * Gets the completion queue (CQ) of a connection.
 *
 * *cq_ptr belongs to the connection and is valid until the connection is deleted. The CQ takes the
 * completions of all operations, except those of receives if the connection has a receive CQ.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or cq_ptr is NULL
 *
 * See: rpma_cq_wait, rpma_cq_get_wc, rpma_cq_get_fd, rpma_conn_get_rcq
 */
int rpma_conn_get_cq(const struct rpma_conn *conn, struct rpma_cq **cq_ptr);

/**
 * Gets the receive completion queue (receive CQ) of a connection.
 *
 * *rcq_ptr is NULL if the connection has no receive CQ. It has one if rpma_conn_cfg_set_rcq_size
 * has set a size above 0 and the connection does not use a shared receive queue with its own
 * receive CQ (rpma_srq_get_rcq). The receive CQ takes the completions of receives, and the CQ of
 * rpma_conn_get_cq all others. It belongs to the connection and is valid until the connection is
 * deleted.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or rcq_ptr is NULL
 *
 * See: rpma_conn_cfg_set_rcq_size, rpma_cq_wait, rpma_cq_get_wc, rpma_cq_get_fd
 */
int rpma_conn_get_rcq(const struct rpma_conn *conn, struct rpma_cq **rcq_ptr);

/**
 * Disconnects.
 *
 * Operations that are still posted complete with IBV_WC_WR_FLUSH_ERR, and the remote side gets
 * RPMA_CONN_CLOSED. This side gets RPMA_CONN_CLOSED when the remote side has disconnected, too, or
 * its process has ended.
 *
 * A side that gets RPMA_CONN_CLOSED without having called this function should still call it: this
 * completes its own operations, and the remote side does not have to wait for its
 * RPMA_CONN_CLOSED.
 *
 * Take RPMA_CONN_ESTABLISHED first. A message of the remote side can arrive before that event;
 * if this side then disconnects without taking it, the kernel's connection manager does not tell
 * the remote side, which waits forever.
 *
 * Not thread-safe: one thread at a time for a connection.
 *
 * Calls: rdma_disconnect
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL
 * - RPMA_E_PROVIDER: disconnecting failed
 *
 * See: rpma_conn_next_event, rpma_conn_delete
 */
int rpma_conn_disconnect(struct rpma_conn *conn);

/**
 * Deletes a connection.
 *
 * The function sets *conn_ptr to NULL. If *conn_ptr is NULL already, it does nothing. An
 * established connection is closed, and the remote side gets RPMA_CONN_CLOSED.
 *
 * Operations that have not completed never complete. If their completions matter, call
 * rpma_conn_disconnect and wait for RPMA_CONN_CLOSED first. The queues, file descriptors and
 * private data of the connection are no longer valid. Memory regions stay registered.
 *
 * Not thread-safe: one thread at a time for a connection.
 *
 * Calls: ibv_dereg_mr for the emulated flush, rdma_destroy_qp, ibv_destroy_cq, rdma_destroy_id,
 * ibv_destroy_comp_channel, rdma_destroy_event_channel
 *
 * Errors:
 * - RPMA_E_INVAL: conn_ptr is NULL
 * - RPMA_E_PROVIDER: releasing one part of the connection failed; all other parts are released,
 *   and the object is deleted nevertheless
 *
 * See: rpma_conn_disconnect
 */
int rpma_conn_delete(struct rpma_conn **conn_ptr);

/**
 * Gets the file descriptor of the shared completion channel of a connection.
 *
 * *fd is readable when rpma_conn_wait has an event to return. Use it with poll or epoll. If
 * O_NONBLOCK is set on it, rpma_conn_wait does not block. The file descriptor belongs to the
 * connection: do not read or close it.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or fd is NULL
 * - RPMA_E_NOT_SHARED_CHNL: each queue has its own channel; use rpma_cq_get_fd
 *
 * See: rpma_conn_wait, rpma_conn_cfg_set_compl_channel
 */
int rpma_conn_get_compl_fd(const struct rpma_conn *conn, int *fd);

/**
 * Waits for a completion in the CQ or the receive CQ of a connection.
 *
 * The connection must have a shared completion channel (rpma_conn_cfg_set_compl_channel). *cq is
 * set to the queue that has a completion, and *is_rcq to whether it is the receive CQ. is_rcq may
 * be NULL. flags is ignored: pass 0. The function blocks, unless O_NONBLOCK is set on the file
 * descriptor of rpma_conn_get_compl_fd.
 *
 * After it returns 0, call rpma_cq_get_wc until that returns RPMA_E_NO_COMPLETION: one event can
 * stand for several completions. There may be no completion at all if the program has taken it
 * earlier.
 *
 * Calls: ibv_get_cq_event, ibv_ack_cq_events, ibv_req_notify_cq
 *
 * Errors:
 * - RPMA_E_INVAL: conn or cq is NULL
 * - RPMA_E_NOT_SHARED_CHNL: each queue has its own channel; use rpma_cq_wait
 * - RPMA_E_NO_COMPLETION: O_NONBLOCK is set and there is no event, or a signal ended the wait; not
 *   logged
 * - RPMA_E_UNKNOWN: the event belongs to neither queue
 * - RPMA_E_PROVIDER: requesting the next event failed; *cq is NULL then, and *is_rcq is set
 *
 * See: rpma_conn_cfg_set_compl_channel, rpma_conn_get_compl_fd, rpma_cq_get_wc
 */
int rpma_conn_wait(struct rpma_conn *conn, int flags, struct rpma_cq **cq, bool *is_rcq);

/**
 * Waits for a completion in the CQ of a connection (releases 0.9 and 0.10).
 *
 * Later releases of the original C library do not have this function. New programs use
 * rpma_conn_get_cq and rpma_cq_wait, which do the same.
 *
 * Calls: ibv_get_cq_event, ibv_ack_cq_events, ibv_req_notify_cq
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL
 * - RPMA_E_NO_COMPLETION: O_NONBLOCK is set and there is no event, or a signal ended the wait; not
 *   logged
 * - RPMA_E_SHARED_CHANNEL: the completion channel is shared; use rpma_conn_wait
 * - RPMA_E_PROVIDER: requesting the next event failed
 *
 * See: rpma_conn_get_cq, rpma_cq_wait
 */
int rpma_conn_completion_wait(struct rpma_conn *conn);

/**
 * Gets a completion from the CQ of a connection (releases 0.9 and 0.10).
 *
 * Later releases of the original C library do not have this function. New programs use
 * rpma_conn_get_cq and rpma_cq_get_wc, which returns a struct ibv_wc.
 *
 * op_context and op_status are always set. If op_status is not IBV_WC_SUCCESS, the function
 * returns 0 nevertheless and sets nothing else. imm is set only if flags has IBV_WC_WITH_IMM.
 * Therefore cmpl may be the smaller struct of release 0.9.0.
 *
 * Calls: ibv_poll_cq
 *
 * Errors:
 * - RPMA_E_INVAL: conn or cmpl is NULL
 * - RPMA_E_NO_COMPLETION: the CQ is empty; not logged
 * - RPMA_E_NOSUPP: the operation is none of enum rpma_op; the completion is taken, and op_context
 *   and op_status are set
 * - RPMA_E_PROVIDER: polling the CQ failed
 * - RPMA_E_UNKNOWN: the device returned more completions than requested
 *
 * See: rpma_conn_get_cq, rpma_cq_get_wc
 */
int rpma_conn_completion_get(struct rpma_conn *conn, struct rpma_completion *cmpl);

/**
 * Gets the file descriptor of the CQ of a connection (releases 0.9 and 0.10).
 *
 * Later releases of the original C library do not have this function. New programs use
 * rpma_conn_get_cq and rpma_cq_get_fd, which do the same.
 *
 * *fd is readable when rpma_conn_completion_wait has an event to return. The file descriptor
 * belongs to the connection: do not read or close it.
 *
 * Errors:
 * - RPMA_E_INVAL: conn or fd is NULL
 *
 * See: rpma_conn_get_cq, rpma_cq_get_fd
 */
int rpma_conn_get_completion_fd(const struct rpma_conn *conn, int *fd);

/**
 * Posts an RDMA read from remote memory to local memory.
 *
 * The operation copies len bytes from src_offset of src to dst_offset of dst. src must be
 * registered with RPMA_MR_USAGE_READ_SRC, dst with RPMA_MR_USAGE_READ_DST. src and dst may both be
 * NULL if the offsets and len are 0: a read of 0 bytes.
 *
 * flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
 *
 * The call only posts the operation. Until the operation has completed, dst must stay registered
 * and its bytes are undefined. If a range is outside its region or a usage is missing, the
 * operation completes with an error status and the connection breaks.
 *
 * Calls: ibv_post_send
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL, flags is 0, only one of src and dst is NULL, both are NULL and an
 *   offset or len is not 0, or len is above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
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
 * Posts an RDMA write from local memory to remote memory.
 *
 * The operation copies len bytes from src_offset of src to dst_offset of dst. dst must be
 * registered with RPMA_MR_USAGE_WRITE_DST, src with RPMA_MR_USAGE_WRITE_SRC. src and dst may both
 * be NULL if the offsets and len are 0: a write of 0 bytes.
 *
 * The remote program is not notified. The completion of the write does not mean that the data is
 * visible to the remote processors or persistent: use rpma_flush for that.
 *
 * flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
 *
 * The call only posts the operation. Until the operation has completed, src must stay registered
 * and its bytes must not change. If a range is outside its region or a usage is missing, the
 * operation completes with an error status and the connection breaks.
 *
 * Calls: ibv_post_send
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL, flags is 0, only one of src and dst is NULL, both are NULL and an
 *   offset or len is not 0, or len is above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
 *
 * See: rpma_flush, rpma_write_with_imm, rpma_mr_remote_from_descriptor, rpma_cq_get_wc
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
 * Posts an RDMA write that notifies the remote side with 32 bits of data.
 *
 * The operation copies len bytes from src_offset of src to dst_offset of dst, as rpma_write does.
 * In addition, it uses up one receive of the remote side (rpma_recv or rpma_srq_recv) and
 * completes it with opcode IBV_WC_RECV_RDMA_WITH_IMM, the number of bytes written as byte_len, and
 * imm as imm_data in network byte order. imm is in host byte order. Nothing is placed in the
 * buffer of the receive. If the remote side has posted no receive, the write waits for one.
 *
 * dst must be registered with RPMA_MR_USAGE_WRITE_DST, src with RPMA_MR_USAGE_WRITE_SRC. src and
 * dst may both be NULL if the offsets and len are 0: only imm is sent.
 *
 * flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
 *
 * The call only posts the operation. Until the operation has completed, src must stay registered
 * and its bytes must not change. If a range is outside its region or a usage is missing, the
 * operation completes with an error status and the connection breaks.
 *
 * Calls: ibv_post_send
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL, flags is 0, only one of src and dst is NULL, both are NULL and an
 *   offset or len is not 0, or len is above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
 *
 * See: rpma_write, rpma_recv, rpma_cq_get_wc
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
 * Posts an atomic write of 8 bytes to remote memory.
 *
 * The operation copies the 8 bytes at src to dst_offset of dst. A reader of the remote memory sees
 * either the old or the new 8 bytes, never a mixture, if they are aligned to 8 bytes there:
 * dst_offset must be a multiple of 8 (RPMA_ATOMIC_WRITE_ALIGNMENT), and the start address of the
 * region should be one, too.
 *
 * dst must be registered with RPMA_MR_USAGE_WRITE_DST. src is ordinary memory that need not be
 * registered. The call copies it.
 *
 * If device and libibverbs support native atomic write, the library uses it. Otherwise it posts an
 * RDMA write with the 8 bytes inline, which is as atomic as the memory of the remote platform. The
 * operation waits for all reads and flushes that were posted before it: data flushed earlier is in
 * place before the 8 bytes are.
 *
 * flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
 *
 * Calls: ibv_wr_atomic_write, or ibv_post_send where atomic write is emulated
 *
 * Errors:
 * - RPMA_E_INVAL: conn, dst or src is NULL, flags is 0, or dst_offset is not a multiple of 8
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
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
 * Posts a flush of data that was written to remote memory.
 *
 * The operation flushes the len bytes at dst_offset of dst. When it has completed, all data
 * written to them earlier on this connection is visible to the remote processors
 * (RPMA_FLUSH_TYPE_VISIBILITY) or survives a power failure of the remote machine
 * (RPMA_FLUSH_TYPE_PERSISTENT). dst must be registered with RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY or
 * RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT, respectively.
 *
 * A flush to persistence works only if direct write to PMem is possible on the remote machine. The
 * remote side must have said so in its peer configuration, and this side must have applied that
 * configuration (rpma_conn_apply_remote_peer_cfg).
 *
 * If device and libibverbs support native flush, the library uses it. Otherwise it posts an RDMA
 * read of 8 bytes at dst_offset into a buffer of the library. The read pushes all earlier writes
 * of the connection out of the remote adapter, so len has no effect. The 8 bytes must be inside
 * the region.
 *
 * flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
 *
 * Calls: ibv_wr_flush, or ibv_post_send where flush is emulated
 *
 * Errors:
 * - RPMA_E_INVAL: conn or dst is NULL, flags is 0, type is not a value of its enum, or len is
 *   above 4 GiB - 1 and the flush is native
 * - RPMA_E_NOSUPP: dst is not registered for this type of flush, or the type is
 *   RPMA_FLUSH_TYPE_PERSISTENT and no peer configuration that allows direct write to PMem is
 *   applied
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
 *
 * See: rpma_write, rpma_conn_apply_remote_peer_cfg, rpma_mr_remote_get_flush_type, rpma_cq_get_wc
 */
int rpma_flush(struct rpma_conn *conn,
               struct rpma_mr_remote *dst,
               size_t dst_offset,
               size_t len,
               enum rpma_flush_type type,
               int flags,
               const void *op_context);

/**
 * Posts a message to send.
 *
 * The message is the len bytes at offset of src, which must be registered with RPMA_MR_USAGE_SEND.
 * src may be NULL if offset and len are 0: an empty message.
 *
 * The message is placed in the buffer of a receive of the remote side (rpma_recv or
 * rpma_srq_recv). If the remote side has posted no receive, the message waits for one. If the
 * buffer is too small, the connection breaks.
 *
 * flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
 *
 * The call only posts the operation. Until the operation has completed, src must stay registered
 * and its bytes must not change.
 *
 * Calls: ibv_post_send
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL, flags is 0, src is NULL and offset or len is not 0, or len is
 *   above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
 *
 * See: rpma_recv, rpma_send_with_imm, rpma_cq_get_wc
 */
int rpma_send(struct rpma_conn *conn,
              const struct rpma_mr_local *src,
              size_t offset,
              size_t len,
              int flags,
              const void *op_context);

/**
 * Posts a message to send with 32 bits of immediate data.
 *
 * The message is the len bytes at offset of src, which must be registered with RPMA_MR_USAGE_SEND.
 * src may be NULL if offset and len are 0: only imm is sent.
 *
 * The message is placed in the buffer of a receive of the remote side (rpma_recv or
 * rpma_srq_recv). The completion of this receive has IBV_WC_WITH_IMM in wc_flags and imm as
 * imm_data in network byte order. imm is in host byte order. If the remote side has posted no
 * receive, the message waits for one. If the buffer is too small, the connection breaks.
 *
 * flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
 *
 * The call only posts the operation. Until the operation has completed, src must stay registered
 * and its bytes must not change.
 *
 * Calls: ibv_post_send
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL, flags is 0, src is NULL and offset or len is not 0, or len is
 *   above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
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
 * Posts a receive: a buffer for one message of the remote side.
 *
 * The message is placed in the len bytes at offset of dst, which must be registered with
 * RPMA_MR_USAGE_RECV. dst may be NULL if offset and len are 0: a receive without a buffer, for an
 * empty message or an rpma_write_with_imm.
 *
 * Every receive has a completion (struct ibv_wc). Its byte_len is the size of the message, and its
 * wr_id is op_context.
 *
 * The call only posts the receive. Until the receive has completed, dst must stay registered and
 * the program must not use its bytes. Do not rely on the order in which receives are used. A
 * connection with a shared receive queue takes its receives from there: use rpma_srq_recv.
 *
 * Calls: ibv_post_recv
 *
 * Errors:
 * - RPMA_E_INVAL: conn is NULL, dst is NULL and offset or len is not 0, or len is above 4 GiB - 1
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM if the RQ is full, with EINVAL if the connection
 *   uses a shared receive queue
 *
 * See: rpma_send, rpma_conn_req_recv, rpma_srq_recv, rpma_conn_get_rcq, rpma_cq_get_wc
 */
int rpma_recv(struct rpma_conn *conn,
              struct rpma_mr_local *dst,
              size_t offset,
              size_t len,
              const void *op_context);

/**
 * Posts an atomic write of 8 registered bytes to remote memory (releases 0.9 to 0.13).
 *
 * Later releases of the original C library do not have this function. New programs use
 * rpma_atomic_write, which takes the 8 bytes from ordinary memory and uses the native operation of
 * the device if there is one.
 *
 * The operation copies the 8 bytes at src_offset of src to dst_offset of dst, with a fenced RDMA
 * write. It is as atomic as the memory of the remote platform. dst_offset must be a multiple of 8
 * (RPMA_ATOMIC_WRITE_ALIGNMENT), and the start address of the remote region should be one, too.
 * dst must be registered with RPMA_MR_USAGE_WRITE_DST, src with RPMA_MR_USAGE_WRITE_SRC.
 *
 * flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
 *
 * The call only posts the operation. Until the operation has completed, src must stay registered
 * and its bytes must not change.
 *
 * Calls: ibv_post_send
 *
 * Errors:
 * - RPMA_E_INVAL: conn, dst or src is NULL, flags is 0, or dst_offset is not a multiple of 8
 * - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
 *
 * See: rpma_atomic_write, rpma_cq_get_wc
 */
int rpma_write_atomic(struct rpma_conn *conn,
                      struct rpma_mr_remote *dst,
                      size_t dst_offset,
                      const struct rpma_mr_local *src,
                      size_t src_offset,
                      int flags,
                      const void *op_context);

/**
 * Gets the file descriptor of the completion channel of a completion queue (CQ).
 *
 * *fd is readable when rpma_cq_wait has an event to return. Use it with poll or epoll. If
 * O_NONBLOCK is set on it, rpma_cq_wait does not block. If the queues of the connection share a
 * completion channel, *fd is the file descriptor of that channel, the same as that of
 * rpma_conn_get_compl_fd. The file descriptor belongs to the owner of the CQ: do not read or close
 * it.
 *
 * Errors:
 * - RPMA_E_INVAL: cq or fd is NULL
 *
 * See: rpma_cq_wait, rpma_cq_get_wc, rpma_conn_get_cq, rpma_conn_get_rcq, rpma_srq_get_rcq
 */
int rpma_cq_get_fd(const struct rpma_cq *cq, int *fd);

/**
 * Waits for a completion in a completion queue (CQ).
 *
 * The function blocks, unless O_NONBLOCK is set on the file descriptor of rpma_cq_get_fd.
 *
 * After it returns 0, call rpma_cq_get_wc until that returns RPMA_E_NO_COMPLETION: one event can
 * stand for several completions. There may be no completion at all if the program has taken it
 * earlier.
 *
 * Calls: ibv_get_cq_event, ibv_ack_cq_events, ibv_req_notify_cq
 *
 * Errors:
 * - RPMA_E_INVAL: cq is NULL
 * - RPMA_E_NO_COMPLETION: O_NONBLOCK is set and there is no event, or a signal ended the wait; not
 *   logged
 * - RPMA_E_SHARED_CHANNEL: the completion channel is shared; use rpma_conn_wait
 * - RPMA_E_PROVIDER: requesting the next event failed
 *
 * See: rpma_cq_get_wc, rpma_cq_get_fd, rpma_conn_get_cq, rpma_conn_get_rcq, rpma_srq_get_rcq
 */
int rpma_cq_wait(struct rpma_cq *cq);

/**
 * Gets completions from a completion queue (CQ) without waiting.
 *
 * wc is an array of num_entries elements. *num_entries_got is the number of elements that were
 * set, at least 1. num_entries_got may be NULL if num_entries is 1.
 *
 * wr_id of a completion is the op_context of its operation. Check status first: if it is not
 * IBV_WC_SUCCESS, only wr_id, status, qp_num and vendor_err are valid, and the connection is
 * broken. imm_data is in network byte order.
 *
 * opcode of a successful completion is IBV_WC_RDMA_READ for a read, IBV_WC_RDMA_WRITE for a write,
 * IBV_WC_SEND for a message that was sent, IBV_WC_RECV for one that was received, and
 * IBV_WC_RECV_RDMA_WITH_IMM for a receive that an rpma_write_with_imm has used up. A native flush
 * is IBV_WC_FLUSH and an emulated one IBV_WC_RDMA_READ; a native atomic write is
 * IBV_WC_ATOMIC_WRITE and an emulated one IBV_WC_RDMA_WRITE.
 *
 * Calls: ibv_poll_cq
 *
 * Errors:
 * - RPMA_E_INVAL: cq or wc is NULL, num_entries is less than 1, or num_entries_got is NULL and
 *   num_entries is more than 1
 * - RPMA_E_NO_COMPLETION: the CQ is empty; not logged
 * - RPMA_E_PROVIDER: polling the CQ failed
 * - RPMA_E_UNKNOWN: the device returned more completions than requested
 *
 * See: rpma_cq_wait, rpma_cq_get_fd, rpma_conn_get_cq, rpma_conn_get_rcq, rpma_srq_get_rcq
 */
int rpma_cq_get_wc(struct rpma_cq *cq, int num_entries, struct ibv_wc *wc, int *num_entries_got);

/**
 * Gets a completion from a completion queue (releases 0.10 and 0.11).
 *
 * Later releases of the original C library do not have this function. New programs use
 * rpma_cq_get_wc, which returns a struct ibv_wc.
 *
 * op_context and op_status are always set. If op_status is not IBV_WC_SUCCESS, the function
 * returns 0 nevertheless and sets nothing else. imm is set only if flags has IBV_WC_WITH_IMM.
 *
 * Calls: ibv_poll_cq
 *
 * Errors:
 * - RPMA_E_INVAL: cq or cmpl is NULL
 * - RPMA_E_NO_COMPLETION: the CQ is empty; not logged
 * - RPMA_E_NOSUPP: the operation is none of enum rpma_op; the completion is taken, and op_context
 *   and op_status are set
 * - RPMA_E_PROVIDER: polling the CQ failed
 * - RPMA_E_UNKNOWN: the device returned more completions than requested
 *
 * See: rpma_cq_get_wc
 */
int rpma_cq_get_completion(struct rpma_cq *cq, struct rpma_completion *cmpl);

/**
 * Sets the function that receives the messages of the log.
 *
 * Every message that passes the threshold RPMA_LOG_THRESHOLD goes to log_function. Any thread that
 * uses the library can call it, and several threads can call it at the same time. After another
 * function is set, a call that has already begun may still run to its end.
 *
 * RPMA_LOG_USE_DEFAULT_FUNCTION, that is NULL, restores the default function of the library. It
 * writes each message to syslog, and to stderr if the message passes the threshold
 * RPMA_LOG_THRESHOLD_AUX.
 *
 * log_function gets the level of the message (enum rpma_log_level), the source file and line of
 * the library, the name of the public function that was called, and a format with arguments as
 * printf takes them. The formatted text ends with a newline.
 *
 * See: rpma_log_set_threshold, rpma_log_get_threshold
 */
int rpma_log_set_function(rpma_log_function *log_function);

/**
 * Sets a threshold of the log.
 *
 * A message passes a threshold if its level is the same or more severe. RPMA_LOG_THRESHOLD decides
 * which messages are logged at all; it is RPMA_LOG_LEVEL_WARNING at the start.
 * RPMA_LOG_THRESHOLD_AUX decides which of these the default log function also writes to stderr; it
 * is RPMA_LOG_DISABLED at the start. A log function of the program can use RPMA_LOG_THRESHOLD_AUX
 * as it likes. With RPMA_LOG_DISABLED, no message passes.
 *
 * Errors:
 * - RPMA_E_INVAL: threshold is neither RPMA_LOG_THRESHOLD nor RPMA_LOG_THRESHOLD_AUX, or level is
 *   not a value of its enum
 *
 * See: rpma_log_get_threshold, rpma_log_set_function
 */
int rpma_log_set_threshold(enum rpma_log_threshold threshold, enum rpma_log_level level);

/**
 * Gets a threshold of the log.
 *
 * *level is the value that rpma_log_set_threshold has set, or the one that the library starts
 * with. A log function may call this function.
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
