// SPDX-License-Identifier: BSD-3-Clause

//! For fuzzers: what comes from a peer, from memory.

use crate::qp::Qp;
use crate::wire::{Frame, HEADER, HELLO, Hello};

/// Decodes a header and a hello. What decodes must encode to the same again.
pub fn frame(data: &[u8]) {
    if let Some(header) = data.first_chunk::<HEADER>()
        && let Ok(frame) = Frame::decode(header)
    {
        let again = Frame::decode(&frame.encode());
        assert_eq!(again, Ok(frame), "a frame changed on its way");
    }
    if let Some(hello) = data.first_chunk::<HELLO>()
        && let Ok(hello) = Hello::decode(hello)
    {
        let again = Hello::decode(&hello.encode());
        assert_eq!(again, Ok(hello), "a hello changed on its way");
    }
}

/// Feeds a connection whose queue pair has requests, receives and a memory region.
pub fn connection(data: &[u8]) {
    Qp::fuzz(data);
}
