// SPDX-License-Identifier: BSD-3-Clause

//! Makes a stand-in for `librpma.so.0` to link with: the same soname and version node, and the functions that
//! release 1.2.0 of the original has, which all fail. So the commands are linked without any librpma installed, cannot
//! come to use a function that the original lacks, and run with either library.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    let table = "../abi/functions.tsv";
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={table}");
    println!("cargo::rerun-if-env-changed=CC");

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    let mut source = String::from("/* RPMA_E_NOSUPP */\n");
    let mut map = String::from("LIBRPMA_1.0 {\n\tglobal:\n");
    for line in fs::read_to_string(table)?.lines() {
        let mut columns = line.split('\t');
        let (Some(name), Some(_first), Some(last)) =
            (columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        // No release after 1.2.0 added a function, so those that still are in 1.3.0 are those of 1.2.0.
        if name.starts_with("rpma_") && last == "1.3.0" {
            source += &if line.contains("\tconst char *") {
                format!("const char *{name}(void) {{ return \"no librpma\"; }}\n")
            } else {
                format!("int {name}(void) {{ return -100001; }}\n")
            };
            map += &format!("\t\t{name};\n");
        }
    }
    map += "\tlocal:\n\t\t*;\n};\n";
    fs::write(out.join("stub.c"), source)?;
    fs::write(out.join("stub.map"), map)?;

    let compiler = env::var("RUSTC_LINKER")
        .or_else(|_| env::var("CC"))
        .unwrap_or_else(|_| "cc".into());
    let mut words = compiler.split_whitespace();
    let made = Command::new(words.next().unwrap_or("cc"))
        .args(words)
        .current_dir(&out)
        .args([
            "-shared",
            "-fPIC",
            "-nostdlib",
            "-o",
            "librpma.so.0",
            "stub.c",
        ])
        .args(["-Wl,-soname,librpma.so.0", "-Wl,--version-script=stub.map"])
        .status()
        .map_err(|error| format!("{compiler}: {error}"))?;
    if !made.success() {
        return Err(format!("{compiler}: {made}").into());
    }
    fs::copy(out.join("librpma.so.0"), out.join("librpma.so"))?;

    // `cargo test` adds this directory to LD_LIBRARY_PATH, so that the tests start without a librpma.
    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-link-lib=dylib=rpma");
    Ok(())
}
