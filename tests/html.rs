// SPDX-License-Identifier: BSD-3-Clause

//! `scripts/html` makes HTML of all documentation, and finds dead links.

// A test fails by panicking.
#![allow(clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The status of the script where pandoc or mandoc is missing, and of env where Python is.
const CANNOT_RUN: [i32; 2] = [77, 127];

/// An empty directory for a test.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            panic!("{}: {error}", path.display());
        }
        _ => fs::create_dir_all(&path).expect("a directory can be made"),
    }
    path
}

/// Runs the script on a tree; `None`, with a message, if it cannot run here.
fn make_html(out: &Path, root: &Path) -> Option<Output> {
    let script = Path::new(ROOT).join("scripts/html");
    let output = Command::new(script)
        .arg(out)
        .arg("--root")
        .arg(root)
        .output()
        .expect("the script can be run");
    if !output
        .status
        .code()
        .is_some_and(|status| CANNOT_RUN.contains(&status))
    {
        return Some(output);
    }
    // Unlike with eprintln, this is not captured.
    let _ = std::io::stderr().write_all(&output.stderr);
    None
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A tree of these files.
fn tree(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let root = directory(name);
    for (file, text) in files {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("a file is in a directory"))
            .expect("a directory can be made");
        fs::write(path, text).expect("a file can be written");
    }
    root
}

#[test]
fn the_documentation_becomes_html_without_dead_links() {
    let out = directory("html");
    let Some(output) = make_html(&out, Path::new(ROOT)) else {
        return;
    };
    assert!(output.status.success(), "{}", stderr(&output));
    let page = |file: &str| fs::read_to_string(out.join(file)).expect("the page was made");
    assert!(page("index.html").contains("href=\"man/librpma.7.html\""));
    assert!(page("man/librpma.7.html").contains("href=\"rpma_flush.3.html\""));
    assert!(page("README.html").contains("href=\"CONTRIBUTING.html\""));
    assert!(out.join("doc/performance.svg").exists());
}

#[test]
fn links_between_files_lead_to_html() {
    let root = tree(
        "links",
        &[
            (
                "README.md",
                "# One\n[b](doc/b.md#part) `f_g` `man 3 f_g` [c](src/) ![](p.svg)\n",
            ),
            (
                "doc/b.md",
                "# Two\n## Part\n[up](../README.md) [file](../src/c.c)\n",
            ),
            ("src/c.c", "int a < b;\n"),
            ("p.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n"),
            (
                "man/f_g.3",
                ".TH F_G 3 2026-01-01 x y\n.SH NAME\nf_g \\- is a test\n",
            ),
        ],
    );
    let out = directory("links-html");
    let Some(output) = make_html(&out, &root) else {
        return;
    };
    assert!(output.status.success(), "{}", stderr(&output));
    let readme = fs::read_to_string(out.join("README.html")).expect("the page was made");
    for link in [
        "doc/b.html#part",
        "man/f_g.3.html",
        "src/index.html",
        "p.svg",
    ] {
        assert!(
            readme.contains(&format!("=\"{link}\"")),
            "{link} in {readme}"
        );
    }
    let file = fs::read_to_string(out.join("src/c.c.html")).expect("the page was made");
    assert!(file.contains("int a &lt; b;"));
}

#[test]
fn a_dead_link_is_an_error() {
    let root = tree(
        "dead-links",
        &[
            (
                "README.md",
                "# One\n[a](missing.md) [b](doc/b.md#nowhere)\n[c](https://example.com/x)\n",
            ),
            (
                "doc/b.md",
                "# Two\n![picture](missing.svg) [fine](../README.md#one)\n",
            ),
        ],
    );
    let Some(output) = make_html(&directory("dead-links-html"), &root) else {
        return;
    };
    assert!(!output.status.success());
    let mut dead: Vec<String> = stderr(&output).lines().map(str::to_owned).collect();
    dead.sort();
    assert_eq!(
        dead,
        [
            "html: dead link in README.md: doc/b.html#nowhere",
            "html: dead link in README.md: missing.md",
            "html: dead link in doc/b.md: missing.svg",
        ]
    );
}

#[test]
fn a_directory_with_other_files_is_left_alone() {
    let out = directory("html-other");
    fs::write(out.join("precious"), "").expect("a file can be written");
    let Some(output) = make_html(&out, Path::new(ROOT)) else {
        return;
    };
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("has other files"), "{said}");
    assert!(out.join("precious").exists());
}
