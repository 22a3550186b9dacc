/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_cq_get_fd, rpma_conn_get_event_fd, rpma_ep_get_fd
 *
 * Waits for the completions and for the events of one connection, with epoll. A program with many connections
 * adds the file descriptors of all of them to one epoll instance.
 */

#include <fcntl.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <librpma.h>

static int add(int epoll, int fd, void *ptr)
{
    struct epoll_event event = { .events = EPOLLIN };
    int flags = fcntl(fd, F_GETFL);

    event.data.ptr = ptr;
    if (flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1)
        return -1;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* ends with the connection, or when a call fails */
void serve(struct rpma_conn *conn,
        void (*handle)(const struct ibv_wc *wc))
{
    enum rpma_conn_event event = RPMA_CONN_UNDEFINED;
    struct epoll_event ready;
    struct rpma_cq *cq;
    struct ibv_wc wc;
    int event_fd, cq_fd, ret;
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (epoll == -1)
        return;
    if (rpma_conn_get_cq(conn, &cq) != 0 ||
            rpma_conn_get_event_fd(conn, &event_fd) != 0 ||
            rpma_cq_get_fd(cq, &cq_fd) != 0 ||
            add(epoll, event_fd, conn) == -1 ||
            add(epoll, cq_fd, cq) == -1)
        goto end;

    while (epoll_wait(epoll, &ready, 1, -1) == 1) {
        if (ready.data.ptr == conn) {
            ret = rpma_conn_next_event(conn, &event);
            if (ret == 0 && event != RPMA_CONN_ESTABLISHED)
                break;
            if (ret != 0 && ret != RPMA_E_NO_EVENT)
                break;
            continue;
        }
        /* RPMA_E_NO_COMPLETION: there was no event after all */
        ret = rpma_cq_wait(cq);
        while (ret == 0 &&
                (ret = rpma_cq_get_wc(cq, 1, &wc, NULL)) == 0)
            handle(&wc);
        if (ret != RPMA_E_NO_COMPLETION)
            break;
    }
    /* the end of the connection can overtake the last completions */
    while (rpma_cq_get_wc(cq, 1, &wc, NULL) == 0)
        handle(&wc);
end:
    close(epoll);
}
