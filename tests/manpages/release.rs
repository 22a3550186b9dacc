// SPDX-License-Identifier: BSD-3-Clause

//! The release and its date, which every page shows, and the releases that had a function.

use std::collections::BTreeMap;

use crate::{ROOT, read};

/// Which releases of the original C library had a function.
pub(crate) struct History {
    pub(crate) first: String,
    /// `None`: all later ones.
    pub(crate) last: Option<String>,
}

/// The histories of all functions, from `abi/functions.tsv`.
pub(crate) fn histories() -> BTreeMap<String, History> {
    let table = read(&format!("{ROOT}/abi/functions.tsv"));
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|row| {
        let mut cells = row.split('\t').map(str::to_owned);
        let (name, first, last) = (cells.next()?, cells.next()?, cells.next()?);
        let last = (last != "1.3.0").then_some(last);
        Some((name, History { first, last }))
    })
    .collect()
}

/// The date of the release, from `Cargo.toml`: the pages are the same whenever they are made.
pub(crate) fn date() -> String {
    let manifest = read(&format!("{ROOT}/Cargo.toml"));
    let (_, metadata) = manifest
        .split_once("[package.metadata.manual]\n")
        .expect("Cargo.toml has the date of the manual");
    let date = metadata
        .lines()
        .find_map(|line| line.strip_prefix("date = \"")?.strip_suffix('"'));
    date.expect("the date is a string").to_owned()
}

pub(crate) fn title_line(title: &str, section: &str, manual: &str) -> String {
    let (date, version) = (date(), env!("CARGO_PKG_VERSION"));
    format!(".TH {title} {section} {date} \"librpma {version}\" \"{manual}\"")
}

/// A page with the title line of this release. Only title, section and manual of its own line are kept.
pub(crate) fn with_title_line(page: &str) -> String {
    let line = page.lines().find(|line| line.starts_with(".TH "));
    let line = line.expect("a page has a title");
    let mut fields = line[4..].splitn(3, ' ');
    let (title, section) = (fields.next(), fields.next());
    let manual = line
        .strip_suffix('"')
        .and_then(|line| line.rsplit('"').next());
    let new = title_line(
        title.expect("a title"),
        section.expect("a section"),
        manual.expect("a manual"),
    );
    page.replacen(line, &new, 1)
}
