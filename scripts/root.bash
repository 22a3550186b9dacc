# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# For scripts that work in the root directory of another Debian, made with debootstrap: source it, set
#
#   release   Debian's name of it, for example bookworm
#   root      the directory
#   log       a file
#
# and call root_needs first. What a function cannot have on this machine ends the script with status 77.

root_skip() {
    printf 'skipped: no root directory of Debian %s: %s\n' "$release" "$*"
    exit 77
}

root_needs() {
    local tool
    [[ $(id -u) -eq 0 ]] || root_skip "that needs root"
    PATH=$PATH:/usr/sbin:/sbin
    for tool in debootstrap unshare chroot apt-get dpkg; do
        command -v "$tool" >/dev/null || root_skip "there is no $tool"
    done
    unshare --mount --pid --net --fork true 2>/dev/null || root_skip "namespaces cannot be created on this machine"
}

# Whatever is mounted below the root is mounted in a namespace that ends with the command, and so do its processes.
enter() { # [--net] COMMAND...
    local namespaces=(--mount --pid --fork --kill-child)
    [[ $1 != --net ]] || { namespaces+=(--net); shift; }
    # shellcheck disable=SC2016 # for the shell in the namespace
    unshare "${namespaces[@]}" sh -c '
        root=$1; shift
        mount -t proc proc "$root/proc" && mount -t sysfs -o ro sysfs "$root/sys" && mount --rbind /dev "$root/dev" &&
            mount -t tmpfs tmpfs "$root/tmp" && mount -t tmpfs tmpfs "$root/run" &&
            exec chroot "$root" env -i HOME=/root LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
                DEBIAN_FRONTEND=noninteractive "$@"' sh "$root" "$@"
}

# This machine's mirror of a part of Debian (LABEL: Debian or Debian-Security), whatever the release that it
# takes from there.
root_mirror() { # LABEL
    # shellcheck disable=SC2016 # for apt
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
        sed -n "s/^Debian $1 //p" | head -n 1
}

# How apt downloads here, by which proxy for example.
root_apt_configuration() {
    apt-config dump --no-empty --format '%F "%v";%n' Acquire | grep -E '^Acquire::(https?|Check|Retries)'
}

# Makes the root with the least that Debian is, unless it is there, and lets apt work in it.
root_make() {
    local from security keyring=/usr/share/keyrings/debian-archive-keyring.gpg proxy=
    if [[ ! -f $root/made ]]; then
        [[ -f $keyring ]] || root_skip "there is no $keyring (package debian-archive-keyring)"
        from=$(root_mirror Debian)
        [[ -n $from ]] || { apt-get -q update >"$log" 2>&1; from=$(root_mirror Debian); }
        [[ -n $from ]] || root_skip "apt knows no mirror of Debian here"
        eval "$(apt-config shell proxy Acquire::http::Proxy)"
        rm -rf --one-file-system "$root"
        env ${proxy:+http_proxy="$proxy"} unshare --mount --pid --fork --kill-child \
            debootstrap --variant=minbase --include=ca-certificates --keyring="$keyring" "$release" "$root" "$from" >"$log" 2>&1 ||
            { tail -n 3 "$log"; root_skip "debootstrap failed: see $log"; }
        security=$(root_mirror Debian-Security)
        [[ -z $security ]] ||
            echo "deb $security $release-security main" >"$root/etc/apt/sources.list.d/security.list"
        touch "$root/made"
    fi
    root_apt_configuration >"$root/etc/apt/apt.conf.d/99as-outside"
    cat /etc/resolv.conf >"$root/etc/resolv.conf"
    cat /etc/hosts >"$root/etc/hosts"
    # No service is started, and nothing needs to outlive a loss of power.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
}

# Installs packages in the root, unless these ones were installed there before.
root_install() { # PACKAGE...
    local installed
    installed=$root/installed-$(cksum <<<"$*" | cut -d ' ' -f 1)
    [[ ! -f $installed ]] || return 0
    { enter apt-get -q update && enter apt-get -qy install --no-install-recommends "$@"; } >"$log" 2>&1 ||
        { grep '^E:' "$log"; root_skip "packages cannot be installed: see $log"; }
    rm -f "$root"/var/cache/apt/archives/*.deb
    echo "$*" >"$installed"
}
