// SPDX-License-Identifier: BSD-3-Clause

//! The layers of `src/` (doc/design.md): no file uses one of a layer above its own, and no files of one layer
//! use each other in a circle. `support/uses.rs` says what counts as a use.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/uses.rs"]
mod uses;

use uses::Crate;

/// From the lowest to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Sys,
    Verbs,
    Middle,
    Capi,
}

impl Layer {
    fn of(file: &str) -> Self {
        match file.split_once('/') {
            Some(("sys", _)) => Self::Sys,
            Some(("verbs", _)) => Self::Verbs,
            Some(("capi", _)) => Self::Capi,
            _ => Self::Middle,
        }
    }
}

#[test]
fn no_file_uses_a_layer_above_its_own() {
    let wrong: Vec<String> = Crate::read(|_| false)
        .uses()
        .into_iter()
        .filter(|(user, used)| Layer::of(user) < Layer::of(used))
        .map(|(user, used)| format!("{user} uses {used}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_files_of_a_layer_use_each_other_in_a_circle() {
    let circles = Crate::read(|_| false).circles();
    assert!(circles.is_empty(), "{circles:#?}");
}

/// The test itself: it sees what is there.
#[test]
fn uses_of_every_kind_are_seen() {
    let uses = Crate::read(|_| false).uses();
    for (user, used) in [
        // use crate::module::Name
        ("conn.rs", "cq.rs"),
        // use crate::directory::Name, which mod.rs re-exports
        ("conn.rs", "verbs/comp_channel.rs"),
        // use super::{module, …}, and a path that begins with it
        ("capi/conn.rs", "capi/cq.rs"),
        // a path that begins with crate
        ("verbs/context.rs", "sys/errno.rs"),
        // a path that begins with an imported module
        ("conn.rs", "verbs/event_channel.rs"),
        // a name that a glob brings in
        ("capi/mod.rs", "capi/types.rs"),
        // a macro
        ("peer.rs", "log.rs"),
    ] {
        let there = uses.contains(&(user.to_owned(), used.to_owned()));
        assert!(there, "{user} uses {used}");
    }
}
