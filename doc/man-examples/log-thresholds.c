/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Pages: rpma_log_set_threshold
 *
 * Lets the default log function write everything that is at least a notice to syslog, and warnings and errors to
 * standard error, too.
 */

#include <librpma.h>

void log_to_terminal(void)
{
    rpma_log_set_threshold(RPMA_LOG_THRESHOLD, RPMA_LOG_LEVEL_NOTICE);
    rpma_log_set_threshold(RPMA_LOG_THRESHOLD_AUX,
            RPMA_LOG_LEVEL_WARNING);
}
