// SPDX-License-Identifier: BSD-3-Clause

//! For fuzzers: what comes from a peer, from memory.

use crate::qp::Qp;
use crate::wire::{Frame, HEADER, HELLO, Hello, KNOCK, Knock};

/// Decodes a header, a hello and a message at a door. What decodes must encode to the same again.
pub fn frame(data: &[u8]) {
    let header = data.first_chunk::<HEADER>();
    if let Some(Ok(frame)) = header.map(Frame::decode) {
        let again = Frame::decode(&frame.encode());
        assert_eq!(again, Ok(frame), "a frame changed on its way");
    }
    let hello = data.first_chunk::<HELLO>();
    if let Some(Ok(hello)) = hello.map(Hello::decode) {
        let again = Hello::decode(&hello.encode());
        assert_eq!(again, Ok(hello), "a hello changed on its way");
    }
    let knock = data.first_chunk::<KNOCK>();
    if let Some(Ok(knock)) = knock.map(Knock::decode) {
        let again = Knock::decode(&knock.encode());
        assert_eq!(again, Ok(knock), "a message at a door changed on its way");
    }
}

/// Feeds a connection whose queue pair has requests, receives and a memory region.
pub fn connection(data: &[u8]) {
    Qp::fuzz(data);
}
