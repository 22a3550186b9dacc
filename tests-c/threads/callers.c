/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checks that the earlier tests have called every function from all threads of a team that the manual pages call
 * thread-safe, on one object or on one object for each thread. check-tables compares the lists with the pages.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "threads.h"

static const char *const without_a_device[] = {
	"rpma_conn_cfg_delete",
	"rpma_conn_cfg_get_compl_channel",
	"rpma_conn_cfg_get_cq_size",
	"rpma_conn_cfg_get_rcq_size",
	"rpma_conn_cfg_get_rq_size",
	"rpma_conn_cfg_get_sq_size",
	"rpma_conn_cfg_get_srq",
	"rpma_conn_cfg_get_timeout",
	"rpma_conn_cfg_new",
	"rpma_conn_cfg_set_compl_channel",
	"rpma_conn_cfg_set_cq_size",
	"rpma_conn_cfg_set_rcq_size",
	"rpma_conn_cfg_set_rq_size",
	"rpma_conn_cfg_set_sq_size",
	"rpma_conn_cfg_set_srq",
	"rpma_conn_cfg_set_timeout",
	"rpma_err_2str",
	"rpma_log_get_threshold",
	"rpma_log_set_function",
	"rpma_log_set_threshold",
	"rpma_mr_remote_delete",
	"rpma_mr_remote_from_descriptor",
	"rpma_mr_remote_get_flush_type",
	"rpma_mr_remote_get_size",
	"rpma_peer_cfg_delete",
	"rpma_peer_cfg_from_descriptor",
	"rpma_peer_cfg_get_descriptor",
	"rpma_peer_cfg_get_descriptor_size",
	"rpma_peer_cfg_get_direct_write_to_pmem",
	"rpma_peer_cfg_new",
	"rpma_peer_cfg_set_direct_write_to_pmem",
	"rpma_srq_cfg_delete",
	"rpma_srq_cfg_get_rcq_size",
	"rpma_srq_cfg_get_rq_size",
	"rpma_srq_cfg_new",
	"rpma_srq_cfg_set_rcq_size",
	"rpma_srq_cfg_set_rq_size",
	"rpma_utils_conn_event_2str",
};

static const char *const on_a_device[] = {
	"rpma_atomic_write",
	"rpma_conn_apply_remote_peer_cfg",
	"rpma_conn_completion_get",
	"rpma_conn_completion_wait",
	"rpma_conn_delete",
	"rpma_conn_disconnect",
	"rpma_conn_get_compl_fd",
	"rpma_conn_get_completion_fd",
	"rpma_conn_get_cq",
	"rpma_conn_get_event_fd",
	"rpma_conn_get_private_data",
	"rpma_conn_get_qp_num",
	"rpma_conn_get_rcq",
	"rpma_conn_next_event",
	"rpma_conn_req_connect",
	"rpma_conn_req_delete",
	"rpma_conn_req_get_private_data",
	"rpma_conn_req_new",
	"rpma_conn_req_recv",
	"rpma_conn_wait",
	"rpma_cq_get_completion",
	"rpma_cq_get_fd",
	"rpma_cq_get_wc",
	"rpma_cq_wait",
	"rpma_ep_get_fd",
	"rpma_ep_listen",
	"rpma_ep_next_conn_req",
	"rpma_ep_shutdown",
	"rpma_flush",
	"rpma_mr_advise",
	"rpma_mr_dereg",
	"rpma_mr_get_descriptor",
	"rpma_mr_get_descriptor_size",
	"rpma_mr_get_ptr",
	"rpma_mr_get_size",
	"rpma_mr_reg",
	"rpma_peer_delete",
	"rpma_peer_new",
	"rpma_read",
	"rpma_recv",
	"rpma_send",
	"rpma_send_with_imm",
	"rpma_srq_delete",
	"rpma_srq_get_rcq",
	"rpma_srq_new",
	"rpma_srq_recv",
	"rpma_utils_ibv_context_is_odp_capable",
	"rpma_write",
	"rpma_write_atomic",
	"rpma_write_with_imm",
};

static void
check_callers(const char *const functions[], size_t count)
{
	unsigned most = 0;
	unsigned missing = 0;

	for (size_t i = 0; i < count; i++)
		most = most_callers(functions[i]) > most ? most_callers(functions[i]) : most;
	/* in each round they send and write in one of three ways */
	if (most == 0 || rounds() < 3) {
		print_message("skipped: no test ran before this one, or not for three rounds\n");
		skip();
	}

	for (size_t i = 0; i < count; i++) {
		const unsigned callers = most_callers(functions[i]);

		/* the original has none of the older ones */
		if (callers >= TEAM || dlsym(RTLD_DEFAULT, functions[i]) == NULL)
			continue;
		print_error("%s was called from %u threads at once, not from %u\n", functions[i],
				callers, TEAM);
		missing++;
	}
	assert_int_equal(missing, 0);
}

void
functions_without_a_device(void **unused)
{
	(void)unused;
	check_callers(without_a_device, COUNT_OF(without_a_device));
}

void
functions_on_a_device(void **unused)
{
	(void)unused;
	check_callers(on_a_device, COUNT_OF(on_a_device));
}
