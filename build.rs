// SPDX-License-Identifier: BSD-3-Clause

//! Finds out which optional features the installed rdma-core headers declare, so that the code for
//! a feature that they lack is left out, and gives the development cdylib its soname.

use std::path::{Path, PathBuf};

/// A feature of `<infiniband/verbs.h>`: the cfg it turns on, and a C expression that compiles only
/// where the headers have it.
const FEATURES: [(&str, &str); 4] = [
    (
        "has_native_atomic_write",
        "IBV_QP_EX_WITH_ATOMIC_WRITE + (int)sizeof(((struct ibv_qp_ex *)0)->wr_atomic_write)",
    ),
    (
        "has_native_flush",
        "IBV_QP_EX_WITH_FLUSH + IBV_ACCESS_FLUSH_GLOBAL + (int)sizeof(((struct ibv_qp_ex *)0)->wr_flush)",
    ),
    (
        "has_on_demand_paging",
        "IBV_ACCESS_ON_DEMAND + IBV_ODP_SUPPORT + IBV_ODP_SUPPORT_WRITE + IBV_ODP_SUPPORT_READ",
    ),
    (
        "has_advise_mr",
        "(int)sizeof(((struct verbs_context *)0)->advise_mr)",
    ),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,librpma.so.0");

    let includes = include_paths();
    for directory in includes
        .iter()
        .map(PathBuf::as_path)
        .chain([Path::new("/usr/include")])
    {
        let header = directory.join("infiniband/verbs.h");
        if header.exists() {
            println!("cargo::rerun-if-changed={}", header.display());
        }
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    if !compiles("0", &includes, &out.join("verbs.c")) {
        println!("cargo::error=a C program with <infiniband/verbs.h> does not compile");
    }
    for (cfg, expression) in FEATURES {
        if compiles(expression, &includes, &out.join(format!("{cfg}.c"))) {
            println!("cargo::rustc-cfg={cfg}");
        }
    }
}

/// Where pkg-config says that the headers are; rdma-sys takes its bindings from the same place.
fn include_paths() -> Vec<PathBuf> {
    match pkg_config::Config::new()
        .cargo_metadata(false)
        .probe("libibverbs")
    {
        Ok(library) => library.include_paths,
        Err(error) => {
            println!("cargo::error=libibverbs (package libibverbs-dev) is needed: {error}");
            Vec::new()
        }
    }
}

fn compiles(expression: &str, includes: &[PathBuf], source: &Path) -> bool {
    let program = format!("#include <infiniband/verbs.h>\nint probe = {expression};\n");
    if std::fs::write(source, program).is_err() {
        return false;
    }
    cc::Build::new()
        .cargo_metadata(false)
        .cargo_warnings(false)
        .includes(includes)
        .file(source)
        .try_compile("probe")
        .is_ok()
}
