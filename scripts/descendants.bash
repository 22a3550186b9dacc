# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# For scripts that let no process outlive them: to be sourced.

# The processes that this one has started, and those that these have started.
descendants() { # PID
    local child
    for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do
        echo "$child"
        descendants "$child"
    done
}
