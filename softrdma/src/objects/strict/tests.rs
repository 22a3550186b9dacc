// SPDX-License-Identifier: BSD-3-Clause

use std::sync::Arc;

use crate::Result;
use crate::objects::context::Context;
use crate::objects::mr::{Grant, Mr};
use crate::objects::pd::Pd;
use crate::types::completion::Opcode;
use crate::types::region::{Range, Terms, access};

use super::buffers::{self, Buffers, Content, FILL, Kind, Place};
use super::queues::{Outcome, Queues, Sent};

const SEND_CQ: usize = 1;
const RECV_CQ: usize = 2;

fn queues(requests: u64) -> Queues {
    let mut queues = Queues::new(SEND_CQ, RECV_CQ);
    queues.sends.extend((0..requests).map(|wr_id| Sent {
        wr_id,
        opcode: Opcode::Send,
        sources: Vec::new(),
        outcome: Outcome::UnderWay,
    }));
    queues
}

fn freed(queues: &mut Queues) -> Vec<u64> {
    queues.polled().iter().map(|sent| sent.wr_id).collect()
}

#[test]
fn places_are_free_when_a_completion_of_a_later_request_was_polled() {
    let mut queues = queues(5);
    assert_eq!(freed(&mut queues), []);
    queues.complete(Outcome::Silent);
    queues.complete(Outcome::Silent);
    assert_eq!(freed(&mut queues), []);
    queues.complete(Outcome::Shown);
    queues.complete(Outcome::Failed);
    assert_eq!(freed(&mut queues), [0, 1, 2]);
    assert_eq!(freed(&mut queues), [3]);
    // What is under way keeps its place.
    assert_eq!(freed(&mut queues), []);
    assert_eq!(queues.sends.len(), 1);
    queues.complete(Outcome::Shown);
    queues.complete(Outcome::Shown);
    assert_eq!(freed(&mut queues), [4]);
}

#[test]
fn requests_that_ended_without_a_completion_cannot_have_one() {
    let mut queues = queues(3);
    queues.receives = 5;
    queues.complete(Outcome::Silent);
    queues.complete(Outcome::Shown);
    assert_eq!(queues.possible(SEND_CQ), 2);
    assert_eq!(queues.possible(RECV_CQ), 5);
    assert_eq!(queues.possible(3), 0);
}

fn place(addr: u64, length: u64) -> Place {
    Place { addr, length }
}

#[test]
fn buffers_that_a_device_may_change_for_another_request_are_shared() {
    let mut buffers = Buffers::new();
    let sources =
        [(0, 64), (32, 8)].map(|(addr, length)| buffers.add(place(addr, length), Kind::Source));
    let beside = buffers.add(place(64, 64), Kind::Destination);
    assert_eq!(sources.map(|ticket| buffers.remove(ticket)), [false; 2]);
    // A long one that begins far before.
    let long = buffers.add(place(1000, 1000), Kind::Source);
    let short = buffers.add(place(1999, 1), Kind::Destination);
    let behind = buffers.add(place(2000, 1), Kind::Destination);
    assert!(buffers.remove(long) && buffers.remove(short));
    assert!(!buffers.remove(behind) && !buffers.remove(beside));
}

#[test]
fn receives_are_found_by_what_they_name() {
    let mut buffers = Buffers::new();
    let range = |addr| Range {
        addr,
        length: 64,
        key: 2,
    };
    assert!(!buffers.add_receive(place(0, 64), range(0)));
    assert_eq!(buffers.remove_receive(range(64)), None);
    assert_eq!(buffers.remove_receive(range(0)), Some(false));
    assert_eq!(buffers.remove_receive(range(0)), None);
    // Both of those with one buffer.
    assert!(!buffers.add_receive(place(0, 64), range(0)));
    assert!(buffers.add_receive(place(0, 64), range(0)));
    assert_eq!(buffers.remove_receive(range(0)), Some(true));
    assert_eq!(buffers.remove_receive(range(0)), Some(true));
    buffers.add_touched(place(0, 64), range(0));
    assert_eq!(buffers.remove_receive(range(0)), Some(true));
}

/// Memory, and what a request that names all of it but the first byte may do with it.
fn memory(length: usize) -> Result<(Vec<u8>, Grant, Arc<Mr>)> {
    let mut memory = vec![0; length];
    let pd = Pd::new(&Context::new()?);
    let terms = Terms {
        addr: memory.as_mut_ptr().expose_provenance() as u64,
        length: length as u64,
        iova: 0x1000,
        access: access::LOCAL_WRITE,
    };
    let mr = Mr::register(&pd, terms.check()?)?;
    let range = Range {
        addr: 0x1001,
        length: length as u32 - 1,
        key: mr.lkey,
    };
    let grant = range.grant(&pd, access::LOCAL_WRITE);
    Ok((memory, grant.map_err(|_| libc::EINVAL)?, mr))
}

#[test]
fn memory_of_receives_is_filled_and_looked_at() -> Result<()> {
    let (mut memory, grant, mr) = memory(10_000)?;
    buffers::fill(&grant);
    assert_eq!(memory[0], 0);
    assert!(memory[1..].iter().all(|byte| *byte == FILL));
    assert_eq!(buffers::first_not_filled(&grant), None);
    for at in [9999, 4097, 1] {
        memory[at] = 0;
        assert_eq!(buffers::first_not_filled(&grant), Some(at - 1));
    }
    mr.deregister()?;
    assert_eq!(buffers::first_not_filled(&grant), None);
    assert_eq!(buffers::place(&grant), None);
    Ok(())
}

#[test]
fn changes_of_memory_are_found() -> Result<()> {
    let (mut memory, grant, mr) = memory(10_000)?;
    let content = Content::of(&grant).ok_or(libc::ENOMEM)?;
    memory[0] = 1;
    assert_eq!(content.first_difference(&grant), None);
    for (at, piece) in [(9999, 8192), (4097, 4096), (1, 0)] {
        memory[at] = 1;
        assert_eq!(content.first_difference(&grant), Some(piece));
    }
    mr.deregister()?;
    assert_eq!(content.first_difference(&grant), None);
    Ok(())
}
