// SPDX-License-Identifier: BSD-3-Clause

//! The manual pages. `doc/man/*.3`, one page for each function, are made from the comments of
//! `include/librpma.h` and the examples in `doc/man-examples`; the others are written by hand, except for the
//! release and its date in their title lines.
//!
//! `UPDATE_MANPAGES=1 cargo test --test manpages` writes them anew.

// A test fails by panicking.
#![allow(clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

mod examples;
mod header;
mod page;
mod release;

use header::Header;
use page::Manual;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn manual() -> Manual {
    Manual {
        header: Header::read(&read(&format!("{ROOT}/include/librpma.h"))),
        histories: release::histories(),
        examples: examples::examples(),
    }
}

/// All pages in `doc/man`, by their file names.
fn committed_pages() -> BTreeMap<String, String> {
    let entries = fs::read_dir(Path::new(ROOT).join("doc/man")).expect("doc/man can be read");
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?.to_owned();
            Some((name, read(path.to_str()?)))
        })
        .collect()
}

#[test]
fn the_committed_manual_pages_are_current() {
    let manual = manual();
    assert_eq!(
        manual.header.functions.len(),
        89,
        "functions with a comment"
    );
    let mut pages = manual.pages();
    let committed = committed_pages();
    for (file, page) in &committed {
        let by_hand = !file.ends_with(".3");
        assert!(
            by_hand || pages.contains_key(file),
            "{file} is of no function"
        );
        if by_hand {
            pages.insert(file.clone(), release::with_title_line(page));
        }
    }
    let stale = pages
        .iter()
        .filter(|(file, page)| committed.get(*file) != Some(page));
    if std::env::var_os("UPDATE_MANPAGES").is_some() {
        for (file, page) in stale {
            let path = Path::new(ROOT).join("doc/man").join(file);
            fs::write(path, page).expect("a page can be written");
        }
        return;
    }
    let stale: Vec<&String> = stale.map(|(file, _)| file).collect();
    assert!(
        stale.is_empty(),
        "pages that are not what the header says: {stale:?}; write them anew with\n    \
         UPDATE_MANPAGES=1 cargo test --test manpages"
    );
}

#[test]
fn a_page_has_the_date_of_the_release() {
    let changes = read(&format!("{ROOT}/CHANGELOG.md"));
    let version = env!("CARGO_PKG_VERSION");
    let heading = |line: &&str| line.starts_with("## ") && line.contains(version);
    let Some(heading) = changes.lines().find(heading) else {
        return;
    };
    let date = release::date();
    assert!(
        heading.ends_with(&date),
        "Cargo.toml says {date}, CHANGELOG.md says {heading}"
    );
}

#[test]
fn every_example_compiles() {
    for example in manual().examples {
        for page in &example.pages {
            let path = Path::new(ROOT).join("doc/man").join(format!("{page}.3"));
            assert!(path.exists(), "an example is for {page}, which has no page");
        }
    }
    let mut compiled = 0;
    for (file, page) in committed_pages() {
        for code in examples::code_in(&page)
            .iter()
            .filter(|code| code.contains("rpma_"))
        {
            if let Err(complaints) = examples::compile(code) {
                panic!("an example of {file} does not compile:\n{code}\n{complaints}");
            }
            compiled += 1;
        }
    }
    assert!(compiled > 0, "no page has an example");
}

#[test]
fn a_wrong_example_does_not_compile() {
    let code = "#include <librpma.h>\nint f(void) { return rpma_err_2str(0); }\n";
    assert!(examples::compile(code).is_err());
}

/// The output of a formatter for all pages, or `None`, with a message, if it is not installed.
fn complaints(program: &str, args: &[&str]) -> Option<String> {
    let files = committed_pages().into_keys();
    let output = Command::new(program)
        .args(args)
        .args(files)
        .current_dir(Path::new(ROOT).join("doc/man"))
        .output();
    match output {
        Ok(output) => {
            let (out, err) = (output.stdout, output.stderr);
            let both = [out, err].concat();
            Some(String::from_utf8_lossy(&both).into_owned())
        }
        Err(error) => {
            // Unlike eprintln, this is not captured.
            let mut stderr = std::io::stderr();
            let _ = writeln!(stderr, "skipped: {program}: {error}");
            None
        }
    }
}

#[test]
fn mandoc_has_no_complaint() {
    let Some(complaints) = complaints("mandoc", &["-Tlint", "-Wstyle"]) else {
        return;
    };
    // The length of the lines of a source is no concern of the reader.
    let complaints: Vec<&str> = complaints
        .lines()
        .filter(|line| !line.contains("input text line longer than 80 bytes"))
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn groff_has_no_complaint() {
    if let Some(complaints) = complaints("groff", &["-man", "-Kutf8", "-ww", "-z"]) {
        assert!(complaints.is_empty(), "{complaints}");
    }
}
