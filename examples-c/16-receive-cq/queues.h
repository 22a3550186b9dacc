/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Waiting for a CQ and a receive CQ that have a completion channel each: two file descriptors. This suits
 * programs where different threads, or different parts of an event loop, handle sends and receives.
 */

#ifndef QUEUES_H
#define QUEUES_H

#include "../common/squares.h"

#define SHARED_CHANNEL false

/* handles all completions that are in the two queues */
static int drain(struct state *state, struct rpma_cq *cq, struct rpma_cq *rcq, bool *any)
{
	struct ibv_wc wc;
	int ret;

	while ((ret = rpma_cq_get_wc(cq, 1, &wc, NULL)) == 0) {
		*any = true;
		if (check_status(&wc, "a send") != 0)
			return -1;
		send_completed(state, &wc);
	}
	if (ret != RPMA_E_NO_COMPLETION && report_failure(ret, "rpma_cq_get_wc"))
		return -1;
	while ((ret = rpma_cq_get_wc(rcq, 1, &wc, NULL)) == 0) {
		*any = true;
		if (check_status(&wc, "a receive") != 0 || state->handle_message(state, &wc) != 0)
			return -1;
	}
	return ret != RPMA_E_NO_COMPLETION && report_failure(ret, "rpma_cq_get_wc") ? -1 : 0;
}

/* handles completions; waits if there are none */
static int pump(struct state *state)
{
	struct pollfd fds[3] = { { .events = POLLIN }, { .events = POLLIN }, { .events = POLLIN } };
	struct rpma_cq *cq = NULL;
	struct rpma_cq *rcq = NULL;
	bool closed = false;
	bool any = false;
	int ret;

	if (FAILED(rpma_conn_get_cq(state->conn, &cq)) || FAILED(rpma_conn_get_rcq(state->conn, &rcq)) ||
	    FAILED(rpma_cq_get_fd(cq, &fds[0].fd)) || FAILED(rpma_cq_get_fd(rcq, &fds[1].fd)) ||
	    FAILED(rpma_conn_get_event_fd(state->conn, &fds[2].fd)))
		return -1;

	for (;;) {
		if (drain(state, cq, rcq, &any) != 0)
			return -1;
		if (any)
			return 0;
		if (closed) {
			complain("the connection has ended before all messages were exchanged");
			return -1;
		}
		if (poll_or_stop(fds, 3) != 0)
			return -1;
		/* look once more for completions that came just before the end */
		closed = fds[2].revents != 0;
		if (fds[0].revents != 0) {
			ret = rpma_cq_wait(cq);
			if (ret != RPMA_E_NO_COMPLETION && report_failure(ret, "rpma_cq_wait"))
				return -1;
		}
		if (fds[1].revents != 0) {
			ret = rpma_cq_wait(rcq);
			if (ret != RPMA_E_NO_COMPLETION && report_failure(ret, "rpma_cq_wait"))
				return -1;
		}
	}
}

#endif /* QUEUES_H */
