// SPDX-License-Identifier: BSD-3-Clause

//! The layers of `src/`: none uses a layer above it, and the files of one layer do not use each other in a
//! circle.

// A test fails by panicking.
#![allow(clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The files that a file uses: names such as `conn`, `verbs` or `capi`, the first word behind `crate::`.
type Uses = BTreeMap<String, BTreeSet<String>>;

fn text_of(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file can be read");
    // Comments may name anything.
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

fn names_behind_crate(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        // `use crate::{conn, error}` names several.
        let list = match rest.strip_prefix('{') {
            Some(rest) => rest.split('}').next().unwrap_or_default(),
            None => rest,
        };
        let items: Vec<&str> = match rest.starts_with('{') {
            true => list.split(',').collect(),
            false => vec![list],
        };
        for item in items {
            let name: String = item
                .trim()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if !name.is_empty() {
                names.insert(name);
            }
        }
    }
    names
}

fn uses_of(directory: &Path, uses: &mut Uses, layer: Option<&str>) {
    for entry in fs::read_dir(directory).expect("the directory can be read") {
        let path = entry.expect("an entry can be read").path();
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("names are UTF-8")
            .to_owned();
        if path.is_dir() {
            uses_of(&path, uses, Some(layer.unwrap_or(&name)));
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "lib" {
            let of = layer.map_or(name, str::to_owned);
            uses.entry(of)
                .or_default()
                .extend(names_behind_crate(&text_of(&path)));
        }
    }
}

fn all_uses() -> Uses {
    let mut uses = Uses::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    uses_of(&src, &mut uses, None);
    for (name, used) in &mut uses {
        used.remove(name);
    }
    uses
}

#[test]
fn no_layer_uses_one_above_it() {
    let uses = all_uses();
    assert!(uses["sys"].is_empty(), "sys uses {:?}", uses["sys"]);
    assert_eq!(uses["verbs"], BTreeSet::from(["sys".to_owned()]));
    for (name, used) in &uses {
        assert!(!used.contains("capi"), "{name} uses capi");
    }
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let mut uses = all_uses();
    // Whatever uses nothing that is left is taken away, until nothing is left or all of it is in circles.
    loop {
        let free: Vec<String> = uses
            .iter()
            .filter(|(_, used)| used.iter().all(|name| !uses.contains_key(name)))
            .map(|(name, _)| name.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        for name in free {
            uses.remove(&name);
        }
    }
    assert!(uses.is_empty(), "these use each other: {uses:?}");
}
