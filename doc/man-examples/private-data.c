/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_conn_req_get_private_data, rpma_conn_get_private_data, rpma_conn_req_connect
 *
 * A server accepts only clients whose private data begins with the right version number, and answers with its
 * own version number.
 */

#include <string.h>
#include <librpma.h>

#define VERSION "app-2"

int accept_version(struct rpma_conn_req **req_ptr,
        struct rpma_conn **conn_ptr)
{
    char version[] = VERSION;
    struct rpma_conn_private_data mine, theirs;
    int ret;

    mine.ptr = version;
    mine.len = sizeof(version);
    ret = rpma_conn_req_get_private_data(*req_ptr, &theirs);

    /* the bytes come from the network: check their number first */
    if (ret == 0 && (theirs.len < sizeof(version) ||
            memcmp(theirs.ptr, version, sizeof(version)) != 0))
        ret = RPMA_E_NOSUPP;
    if (ret != 0) {
        rpma_conn_req_delete(req_ptr);    /* rejects the request */
        return ret;
    }
    return rpma_conn_req_connect(req_ptr, &mine, conn_ptr);
}
