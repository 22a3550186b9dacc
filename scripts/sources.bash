# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# For scripts that build without a network: source it, from the top of the sources.

# Copies into DIR the files that git knows, as they are now, and into DIR/vendor all crates that they use.
# DIR/.cargo/config.toml makes cargo take the crates from there. What is in DIR already stays, unless a file of the
# same name takes its place.
copy_sources() { # DIR
    git ls-files -z --cached --others --exclude-standard --deduplicate |
        tar --create --null --files-from=- --ignore-failed-read --warning=no-failed-read |
        tar --extract --no-same-owner --directory "$1" || return
    cargo vendor --locked --quiet "$1/vendor" >/dev/null || return
    mkdir -p "$1/.cargo"
    cat >"$1/.cargo/config.toml" <<'END'
# The crates are in this directory.
[source.crates-io]
replace-with = "vendored"

[source.vendored]
directory = "vendor"

[net]
offline = true
END
}
