# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# To be sourced: with_progress COMMAND... runs a command that takes long and prints much. Its output goes to a
# file; every 10 seconds one line says how long it has been running and what its last line is, on a terminal or
# not. If it fails, the end of its output is shown. Its exit status is returned. It sets the trap of EXIT.
# With PROGRESS_LOG in the environment all output is added to that file as well.

progress_interval=10

with_progress() {
    local log status=0 started=$SECONDS beat
    log=$(mktemp) || return
    # shellcheck disable=SC2064 # the file of this call, also when the script is interrupted
    trap "rm -f '$log'" EXIT
    # It ends when file descriptor 9 is closed, without a sleep that would keep standard output open.
    exec 9> >(progress_lines "$log")
    beat=$!
    "$@" >"$log" 2>&1 9>&- || status=$?
    exec 9>&-
    wait "$beat" || true
    if [[ $status -eq 0 ]]; then
        echo "   done after $((SECONDS - started)) s"
    else
        echo "failed after $((SECONDS - started)) s with status $status: $*" >&2
        echo "the end of its output:" >&2
        tail -n 30 "$log" >&2
    fi
    [[ -z ${PROGRESS_LOG:-} ]] || cat "$log" >>"$PROGRESS_LOG"
    rm -f "$log"
    return "$status"
}

progress_lines() { # LOG
    local last started=$SECONDS status
    while :; do
        status=0
        read -r -t "$progress_interval" || status=$?
        # Above 128 is the timeout; the end of the input is 1.
        [[ $status -gt 128 ]] || return 0
        last=$(tail -c 1000 "$1" | tr -s '\r' '\n' | grep -v '^[[:space:]]*$' | tail -n 1) || last=
        printf '   %3d s: %s\n' $((SECONDS - started)) "$(cut -c 1-100 <<<"${last#"${last%%[![:space:]]*}"}")"
    done
}
