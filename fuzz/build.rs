// SPDX-License-Identifier: BSD-3-Clause

fn main() {
    println!("cargo::rerun-if-changed=log.c");
    cc::Build::new().file("log.c").compile("fuzz-log");
}
