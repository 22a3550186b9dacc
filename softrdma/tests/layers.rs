// SPDX-License-Identifier: BSD-3-Clause

//! The layers of `src/` (doc/design.md): no file uses one of a layer above its own, and files of one layer use each
//! other in a circle only where this test says why. `uses.rs` says what counts as a use.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../tests/support/uses.rs"]
mod uses;

use uses::Crate;

/// From the lowest to the highest.
const LAYERS: [&str; 12] = [
    "types",
    "wire",
    "os",
    "instrument",
    "io",
    "objects",
    "qp",
    "cm",
    "fork",
    "abi",
    "fuzzing",
    "lib",
];

/// Files that belong together so closely that they use each other in circles: a directory, or files. Each with the
/// reason.
const CIRCLES: &[(&[&str], &str)] = &[
    (
        &[
            "os/guard.rs",
            "os/memory.rs",
            "os/own_memory.rs",
            "os/pages.rs",
            "os/populate.rs",
            "os/signals.rs",
        ],
        "a copy that faults goes on by other means, which are copies as well",
    ),
    (
        &["os/mapper.rs", "os/mapping_work.rs"],
        "a thread, and what gives it its work",
    ),
    (
        &["instrument.rs", "instrument/inject.rs"],
        "what counts faults finds them in the state of the instrumentation, of which they are a part",
    ),
    (
        &["objects/cq.rs", "objects/mr.rs", "objects/strict.rs"],
        "the checks of strict mode look at the objects that call them",
    ),
    (
        &["qp/"],
        "the methods of one struct behind one lock, sorted by what they do",
    ),
    (
        &["cm/"],
        "an identifier has a listener or a handshake, which tells the identifier what comes",
    ),
    (&["fork/"], "one state, sorted by who changes it"),
    (
        &["abi/"],
        "the structs of C point at each other, and so do those that they are made of",
    ),
];

fn read() -> Crate {
    // The launcher is a program of its own.
    Crate::read(|file| file == "main.rs" || file.starts_with("launcher"))
}

fn layer(file: &str) -> usize {
    let name = file.split(['/', '.']).next().unwrap();
    let layer = LAYERS.iter().position(|layer| *layer == name);
    layer.unwrap_or_else(|| panic!("{file} is in no layer"))
}

#[test]
fn no_file_uses_a_layer_above_its_own() {
    let uses = read().uses();
    let wrong = uses.iter().filter(|(user, used)| layer(user) < layer(used));
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_of_a_layer_use_each_other_in_a_circle_only_where_there_is_a_reason() {
    let is_in = |files: &[&str], file: &str| {
        let mut files = files.iter();
        files.any(|name| *name == file || name.ends_with('/') && file.starts_with(name))
    };
    let circles = read().circles();
    let unknown: Vec<_> = circles
        .iter()
        .filter(|(user, used)| {
            let mut known = CIRCLES.iter();
            !known.any(|(files, _)| is_in(files, user) && is_in(files, used))
        })
        .collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    for (files, reason) in CIRCLES {
        for name in *files {
            let is_there = circles.iter().any(|(user, _)| is_in(&[name], user));
            assert!(is_there, "{name} is in no circle any more ({reason})");
        }
    }
}

/// The test itself: it sees what is there.
#[test]
fn uses_of_every_kind_are_seen() {
    let uses = read().uses();
    for (user, used) in [
        // use crate::directory::module::Name
        ("io/mod.rs", "os/epoll.rs"),
        // use crate::directory::{self, module}, and paths that begin with both
        ("objects/cq.rs", "io/mod.rs"),
        ("objects/cq.rs", "io/fork_state.rs"),
        // a path that begins with crate
        ("abi/addrinfo.rs", "os/mod.rs"),
        // a path in a module inside the file
        ("os/guard.rs", "os/own_memory.rs"),
    ] {
        let there = uses.contains(&(user.to_owned(), used.to_owned()));
        assert!(there, "{user} uses {used}");
    }
}
