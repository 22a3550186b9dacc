/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Waiting for a CQ and a receive CQ that share a completion channel: one file descriptor. rpma_conn_wait()
 * takes the event and tells which of the two queues it is from; rpma_cq_wait() does not work here.
 */

#ifndef QUEUES_H
#define QUEUES_H

#include "../common/squares.h"

#define SHARED_CHANNEL true

/* handles all completions that are in one queue */
static int drain(struct state *state, struct rpma_cq *cq, bool is_rcq, bool *any)
{
	struct ibv_wc wc;
	int ret;

	while ((ret = rpma_cq_get_wc(cq, 1, &wc, NULL)) == 0) {
		*any = true;
		if (check_status(&wc, is_rcq ? "a receive" : "a send") != 0)
			return -1;
		if (!is_rcq)
			send_completed(state, &wc);
		else if (state->handle_message(state, &wc) != 0)
			return -1;
	}
	return ret != RPMA_E_NO_COMPLETION && report_failure(ret, "rpma_cq_get_wc") ? -1 : 0;
}

/* the connection has ended: are there completions that came just before? */
static int drain_both(struct state *state)
{
	struct rpma_cq *cq = NULL;
	struct rpma_cq *rcq = NULL;
	bool any = false;

	if (FAILED(rpma_conn_get_cq(state->conn, &cq)) || FAILED(rpma_conn_get_rcq(state->conn, &rcq)) ||
	    drain(state, cq, false, &any) != 0 || drain(state, rcq, true, &any) != 0)
		return -1;
	if (!any) {
		complain("the connection has ended before all messages were exchanged");
		return -1;
	}
	return 0;
}

/* waits for an event of the channel, and handles the completions in the queue that it is from */
static int pump(struct state *state)
{
	struct pollfd fds[2] = { { .events = POLLIN }, { .events = POLLIN } };
	struct rpma_cq *cq = NULL;
	bool is_rcq = false;
	bool any = false;
	int ret;

	if (FAILED(rpma_conn_get_compl_fd(state->conn, &fds[0].fd)) ||
	    FAILED(rpma_conn_get_event_fd(state->conn, &fds[1].fd)))
		return -1;

	/* no completion is missed: taking an event asks for the next one before the queue is drained */
	if (poll_or_stop(fds, 2) != 0)
		return -1;
	if (fds[0].revents == 0)
		return drain_both(state);
	ret = rpma_conn_wait(state->conn, 0, &cq, &is_rcq);
	if (ret == RPMA_E_NO_COMPLETION)
		return 0;
	if (report_failure(ret, "rpma_conn_wait"))
		return -1;
	return drain(state, cq, is_rcq, &any);
}

#endif /* QUEUES_H */
