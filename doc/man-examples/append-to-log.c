/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_atomic_write
 *
 * Appends an entry to a log in remote persistent memory, whose first 8 bytes are the number of bytes used. After
 * a crash the log has either all of the entry or nothing of it: the number changes only after the entry is
 * persistent. The caller has checked that the log has room for the entry; an emulated flush reads 8 bytes from
 * where the entry begins, so a shorter entry needs 8 bytes of room.
 */

#include <endian.h>
#include <librpma.h>

int append(struct rpma_conn *conn, struct rpma_mr_remote *log,
        uint64_t used, const struct rpma_mr_local *entry, size_t len)
{
    uint64_t new_used = htole64(used + len);
    int ret;

    ret = rpma_write(conn, log, sizeof(used) + used, entry, 0, len,
            RPMA_F_COMPLETION_ON_ERROR, NULL);
    if (ret == 0)
        ret = rpma_flush(conn, log, sizeof(used) + used, len,
                RPMA_FLUSH_TYPE_PERSISTENT,
                RPMA_F_COMPLETION_ON_ERROR, NULL);
    if (ret == 0)
        ret = rpma_atomic_write(conn, log, 0,
                (const char *)&new_used,
                RPMA_F_COMPLETION_ON_ERROR, NULL);

    /* its completion says that the entry is in the log */
    if (ret == 0)
        ret = rpma_flush(conn, log, 0, sizeof(used),
                RPMA_FLUSH_TYPE_PERSISTENT,
                RPMA_F_COMPLETION_ALWAYS, NULL);
    return ret;
}
