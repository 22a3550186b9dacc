// SPDX-License-Identifier: BSD-3-Clause

//! Models of the rings, for the model checker.

use std::cell;
use std::ops::Deref;
use std::ptr::NonNull;

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::{Arc, Notify};
use loom::thread;

use super::arena::Slot;
use super::chunks::ChunkWord;
use super::memory::Span;
use super::rings::{Control, Direct, Line, ROOM, Rings};
use super::sync::{AtomicU32, AtomicU64};
use super::way::Way;
use crate::Result;

/// Memory that two ends share, which are both of this process.
#[derive(Clone)]
pub(super) struct Memory(Arc<Shared>);

struct Shared {
    controls: [Control; 2],
    bytes: [cell::UnsafeCell<[u8; ROOM]>; 2],
    /// Reports two accesses to a byte, one of them a write, of which neither is before the other one.
    accesses: [[UnsafeCell<()>; ROOM]; 2],
}

// SAFETY: all threads of a model are one of the system. Whether they would be in each other's way is what the model
// shows.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Memory {
    fn new() -> Self {
        let control = || Control {
            written: Line(AtomicU64::new(0)),
            read: Line(AtomicU64::new(0)),
            reader_sleeps: Line(AtomicU32::new(0)),
            writer_waits: Line(AtomicU32::new(0)),
            state: Line(AtomicU32::new(0)),
            direct: Line(Direct {
                granted: AtomicU64::new(0),
                lease: AtomicU32::new(0),
            }),
            chunks: Line(ChunkWord::new()),
            way: Line(AtomicU32::new(0)),
        };
        Self(Arc::new(Shared {
            controls: [control(), control()],
            bytes: [(); 2].map(|()| cell::UnsafeCell::new([0; ROOM])),
            accesses: [(); 2].map(|()| [(); ROOM].map(|()| UnsafeCell::new(()))),
        }))
    }

    /// Models have no memory that processes share.
    pub(super) fn of(_: Slot) -> Self {
        Self::new()
    }

    pub(super) fn provide(&self, _ring: usize, _from: usize, _length: usize) -> Result<()> {
        Ok(())
    }

    pub(super) fn control(&self, ring: usize) -> &Control {
        &self.0.deref().controls[ring]
    }

    pub(super) fn span(&self, ring: usize, at: u64) -> Span<'_> {
        let at = at as usize % ROOM;
        // SAFETY: within the bytes, which stay where they are as long as `self`. No reference to them exists.
        unsafe {
            let bytes = NonNull::new_unchecked(self.0.bytes[ring].get().cast::<u8>());
            Span::from_raw(bytes.add(at), ROOM - at)
        }
    }

    pub(super) fn accessed(&self, ring: usize, at: u64, length: usize, written: bool) {
        let at = at as usize % ROOM;
        for access in &self.0.accesses[ring][at..at + length] {
            if written {
                access.with_mut(|_| ());
            } else {
                access.with(|_| ());
            }
        }
    }
}

fn ends() -> (Rings, Rings) {
    let memory = Memory::new();
    let other = Memory(Arc::clone(&memory.0));
    (Rings::end(memory, 0), Rings::end(other, 1))
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Sends the numbers from `from` on. How many it has sent.
fn send(end: &mut Rings, from: u8, count: u8) -> u8 {
    let bytes: Vec<u8> = (from..from + count).collect();
    match end.send(Span::from_slice(&bytes), Span::NONE) {
        Ok(sent) => sent as u8,
        Err(errno) => {
            assert_eq!(errno, libc::EAGAIN);
            0
        }
    }
}

/// Receives numbers, which have to be those from `from` on. How many it has received.
fn receive(end: &mut Rings, from: u8) -> u8 {
    let mut bytes = [0; 3];
    match end.receive(Span::NONE, Span::from_mut(&mut bytes)) {
        Ok(received) => {
            for (byte, expected) in bytes.iter().zip(from..from + received as u8) {
                assert_eq!(*byte, expected);
            }
            received as u8
        }
        Err(errno) => {
            assert_eq!(errno, libc::EAGAIN);
            0
        }
    }
}

/// The ring begins anew in the middle of a message, and the writer waits for room.
#[test]
fn bytes_are_neither_lost_nor_overwritten() {
    const COUNT: u8 = 6;
    check(|| {
        let (mut one, mut other) = ends();
        let writer = thread::spawn(move || {
            let mut sent = 0;
            while sent < COUNT {
                let n = send(&mut one, sent, 3);
                sent += n;
                if n == 0 {
                    thread::yield_now();
                }
            }
        });
        let mut received = 0;
        while received < COUNT {
            let n = receive(&mut other, received);
            received += n;
            if n == 0 {
                thread::yield_now();
            }
        }
        assert!(writer.join().is_ok());
    });
}

/// A reader that goes to sleep is woken for what is written at the same time.
#[test]
fn no_reader_sleeps_while_there_is_something() {
    const COUNT: u8 = 2;
    check(|| {
        let (mut one, mut other) = ends();
        let doorbell = Arc::new(Notify::new());
        let bell = Arc::clone(&doorbell);
        let writer = thread::spawn(move || {
            for n in 0..COUNT {
                assert_eq!(send(&mut one, n, 1), 1);
                if one.reader_sleeps() {
                    bell.notify();
                }
            }
        });
        let mut received = 0;
        while received < COUNT {
            let n = receive(&mut other, received);
            received += n;
            // The model checker ends a run in which nobody rings.
            if n == 0 && !other.sleep() {
                doorbell.wait();
            }
        }
        assert!(writer.join().is_ok());
    });
}

/// A reader that comes to want acknowledgements is woken for one that is written at the same time, or finds it.
#[test]
fn nobody_waits_for_an_acknowledgement_that_is_there() {
    check(|| {
        let (mut one, mut other) = ends();
        let doorbell = Arc::new(Notify::new());
        let bell = Arc::clone(&doorbell);
        let writer = thread::spawn(move || {
            assert_eq!(send(&mut one, 0, 1), 1);
            if one.reader_sleeps_for(true) {
                bell.notify();
            }
        });
        let mut received = 0;
        if other.sleep_for(false) {
            received = receive(&mut other, 0);
        }
        while received == 0 {
            // The model checker ends a run in which nobody rings.
            if !other.sleep_for(true) {
                doorbell.wait();
            }
            received = receive(&mut other, 0);
        }
        assert!(writer.join().is_ok());
    });
}

/// A writer that waits for room is woken when there is some.
#[test]
fn no_writer_waits_while_there_is_room() {
    const COUNT: u8 = ROOM as u8 + 1;
    check(|| {
        let (mut one, mut other) = ends();
        assert_eq!(send(&mut one, 0, ROOM as u8), ROOM as u8);
        let doorbell = Arc::new(Notify::new());
        let bell = Arc::clone(&doorbell);
        let reader = thread::spawn(move || {
            let mut received = 0;
            while received < COUNT {
                let n = receive(&mut other, received);
                received += n;
                if n == 0 {
                    thread::yield_now();
                } else if other.writer_waits() {
                    bell.notify();
                }
            }
        });
        while send(&mut one, ROOM as u8, 1) == 0 {
            doorbell.wait();
        }
        assert!(reader.join().is_ok());
    });
}

/// A client that sleeps until the server has decided is woken.
#[test]
fn no_client_sleeps_when_the_server_is_ready() {
    check(|| {
        let (client, server) = ends();
        let doorbell = Arc::new(Notify::new());
        let bell = Arc::clone(&doorbell);
        let decider = thread::spawn(move || {
            assert!(server.decide_for_memory(false));
            server.server_is_ready();
            if server.reader_sleeps() {
                bell.notify();
            }
        });
        while client.decided().is_none() {
            // As `Local` does it: asleep first, and then one more look.
            if !client.sleep() && client.decided().is_none() {
                doorbell.wait();
            }
        }
        assert_eq!(client.decided(), Some(Way::Here { rest_on_tcp: false }));
        assert!(decider.join().is_ok());
    });
}

/// Both sides decide, and go on with the same way.
#[test]
fn both_sides_go_on_with_the_same_way() {
    check(|| {
        let (client, server) = ends();
        let decider = thread::spawn(move || server.decide_for_memory(true));
        let way = client.decide_for_tcp();
        let goes_on_here = matches!(decider.join(), Ok(true));
        let expected = if goes_on_here {
            Way::Here { rest_on_tcp: true }
        } else {
            Way::Tcp
        };
        assert_eq!(way, expected);
    });
}
