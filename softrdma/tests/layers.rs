// SPDX-License-Identifier: BSD-3-Clause

//! The layers of `src/` (doc/design.md): no file uses one of a layer above its own, and files of one layer use each
//! other in a circle only where that is listed here. `uses.rs` says what counts as a use.

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
fn no_files_of_a_layer_use_each_other_in_a_circle() {
    let circles = read().circles();
    assert!(circles.is_empty(), "{circles:#?}");
}
