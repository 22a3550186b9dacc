// SPDX-License-Identifier: BSD-3-Clause

//! The examples of the manual pages: C files in `doc/man-examples`. The comment at the start of a file names
//! the pages that show it, and says what it does. The first page shows the code, the others refer to it.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::{ROOT, read};

pub(crate) struct Example {
    pub(crate) pages: Vec<String>,
    pub(crate) text: String,
    code: String,
}

/// Characters that roff would change, and their names.
const ESCAPES: &[(char, &str)] = &[
    ('\\', "\\e"),
    ('-', "\\-"),
    ('\'', "\\(aq"),
    ('`', "\\(ga"),
    ('^', "\\(ha"),
    ('~', "\\(ti"),
];

pub(crate) fn examples() -> Vec<Example> {
    let directory = format!("{ROOT}/doc/man-examples");
    let mut files: Vec<String> = fs::read_dir(directory)
        .expect("doc/man-examples can be read")
        .filter_map(|entry| entry.ok()?.path().to_str().map(str::to_owned))
        .filter(|file| file.ends_with(".c"))
        .collect();
    files.sort();
    files.iter().map(|file| Example::read(file)).collect()
}

impl Example {
    fn read(file: &str) -> Self {
        let source = read(file);
        let (comment, code) = source
            .split_once("/*\n * Pages: ")
            .and_then(|(_, source)| source.split_once("\n */\n\n"))
            .unwrap_or_else(|| panic!("{file} has no comment with its pages"));
        let (pages, text) = comment
            .split_once("\n *\n * ")
            .unwrap_or_else(|| panic!("{file} has no text"));
        Self {
            pages: pages.split(", ").map(str::to_owned).collect(),
            text: text.replace("\n * ", " "),
            code: code.to_owned(),
        }
    }

    /// The page that shows the code.
    pub(crate) fn page(&self) -> &String {
        &self.pages[0]
    }

    pub(crate) fn roff(&self) -> String {
        let mut roff = String::new();
        for c in self.code.chars() {
            match ESCAPES.iter().find(|(escaped, _)| *escaped == c) {
                Some((_, name)) => roff.push_str(name),
                None => roff.push(c),
            }
        }
        roff
    }
}

/// The blocks of code in the section EXAMPLES of a page, as a reader would copy them.
pub(crate) fn code_in(page: &str) -> Vec<String> {
    let Some((_, section)) = page.split_once("\n.SH EXAMPLES\n") else {
        return Vec::new();
    };
    let section = section.split("\n.SH ").next().unwrap_or_default();
    let blocks = section.split("\n.EX\n").skip(1);
    blocks
        .map(|block| {
            let code = block.split("\n.EE\n").next().unwrap_or_default();
            let unescaped =
                |code: String, (c, name): &(char, &str)| code.replace(name, &c.to_string());
            // The backslash last: its name is part of no other name then.
            ESCAPES.iter().rev().fold(code.to_owned(), unescaped) + "\n"
        })
        .collect()
}

/// What the compiler says of C code that includes `librpma.h`.
pub(crate) fn compile(code: &str) -> Result<(), String> {
    let mut compiler = Command::new("cc")
        .args(["-fsyntax-only", "-std=gnu11", "-Wall", "-Wextra", "-Werror"])
        .args(["-I", &format!("{ROOT}/include"), "-x", "c", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cc can be run");
    let written = compiler
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(code.as_bytes()));
    let output = compiler.wait_with_output().expect("cc ends");
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.success() && matches!(written, Some(Ok(()))) {
        true => Ok(()),
        false => Err(complaints),
    }
}
