// SPDX-License-Identifier: BSD-3-Clause

//! Links libibverbs and librdmacm.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-lib=ibverbs");
    println!("cargo::rustc-link-lib=rdmacm");

    // Only a prefix that the linker does not search by itself needs to be named, so a machine
    // without pkg-config can build too.
    for variable in ["PKG_CONFIG", "PKG_CONFIG_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let pkg_config = std::env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let found = Command::new(pkg_config)
        .args(["--libs-only-L", "libibverbs", "librdmacm"])
        .output();
    let directories = match found {
        Ok(output) if output.status.success() => output.stdout,
        _ => return,
    };
    for option in String::from_utf8_lossy(&directories).split_whitespace() {
        if let Some(directory) = option.strip_prefix("-L") {
            println!("cargo::rustc-link-search=native={directory}");
        }
    }
}
