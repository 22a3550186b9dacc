// SPDX-License-Identifier: BSD-3-Clause

//! Large writes and reads of which both sides copy parts.

use std::time::{Duration, Instant};

use super::direct::connected;
use super::*;
use crate::os::chunks::CHUNK;
use crate::qp::pulling::Next;
use crate::wire::{Carriage, DESCRIPTOR};

const LENGTH: u32 = 16 * CHUNK - 5;
const DONE: Status = Status::Success;

/// As `connected`, and each side copies what the other one names.
fn copying() -> Result<(Side, Side)> {
    let sides = connected()?;
    for side in [&sides.0, &sides.1] {
        if let Some(link) = &mut side.qp.inner.lock().link {
            link.source = Source::Process(own_pid());
            link.peer = Puller::that(true);
        }
    }
    Ok(sides)
}

impl Side {
    fn write_to(&self, other: &Self) -> Result<()> {
        self.write_as(PLAIN, other)
    }

    fn write_as(&self, more: More, other: &Self) -> Result<()> {
        let to = other.remote(other.place(LENGTH));
        self.post(1, Operation::Write { to }, self.source(LENGTH), more)
    }

    fn read_from(&self, other: &Self) -> Result<()> {
        let from = other.remote(other.source(LENGTH));
        self.post(1, Operation::Read { from }, self.place(LENGTH), PLAIN)
    }

    /// Polls until something is complete: alone, without the other side.
    fn poll_alone(&self) -> Result<Vec<Seen>> {
        for _ in 0..100 {
            let seen = self.completions()?;
            if !seen.is_empty() {
                return Ok(seen);
            }
        }
        Ok(Vec::new())
    }

    fn chunks_copied(&self) -> Option<u32> {
        let q = self.qp.inner.lock();
        q.sq.front().map(|request| request.chunks.copied)
    }

    fn has_ended(&self) -> bool {
        self.qp.inner.lock().link.is_none()
    }
}

/// Makes progress on one side only. While the I/O thread, which other tests may have started, copies for this side, a
/// call does nothing.
fn make_progress_until(side: &Side, is_so: impl Fn() -> bool) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        side.qp.progress();
        if is_so() {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(libc::ETIMEDOUT);
        }
        std::thread::yield_now();
    }
}

/// The numbers of the connection are right on both sides.
fn greet(a: &Side, b: &Side) -> Result<()> {
    for (from, to) in [(a, b), (b, a)] {
        to.post_receive(8, to.source(8))?;
        from.post(9, Operation::Send, from.source(8), PLAIN)?;
        run(a, b);
        assert_eq!(from.completions()?, [sent(9, DONE)]);
        assert_eq!(to.completions()?, [received(8, Opcode::Receive)]);
    }
    Ok(())
}

fn both_sides_copy_chunks_of(more: More) -> Result<()> {
    let (mut a, b) = copying()?;
    a.fill_source(1);
    a.write_as(more, &b)?;
    // A part of it when it is posted. The owner takes the rest.
    let copied = a.chunks_copied();
    assert!(copied.is_some_and(|copied| (1..16).contains(&copied)));
    make_progress_until(&b, || b.qp.inner.lock().expected == 1)?;
    assert!(b.memory_at(BIG, LENGTH) == a.memory_at(0, LENGTH));
    assert_eq!(a.chunks_copied(), copied);
    a.qp.progress();
    assert_eq!(a.completions()?, [sent(1, DONE)]);
    greet(&a, &b)?;
    a.end()?;
    b.end()
}

#[test]
fn both_sides_copy_chunks_of_a_write() -> Result<()> {
    let solicited = More {
        solicited: true,
        ..PLAIN
    };
    let fenced = More {
        fence: true,
        ..PLAIN
    };
    both_sides_copy_chunks_of(PLAIN)?;
    both_sides_copy_chunks_of(solicited)?;
    both_sides_copy_chunks_of(fenced)
}

/// A thread of the program takes a chunk, and leaves it to the I/O thread if it would have to wait for the peer's memory.
#[test]
fn a_chunk_that_was_taken_is_the_next_one_until_it_is_copied() -> Result<()> {
    let (mut a, b) = copying()?;
    a.fill_source(1);
    a.write_to(&b)?;
    {
        let mut q = b.qp.inner.lock();
        b.qp.receive(&mut q);
        for _ in 0..3 {
            assert_eq!(Qp::next_bytes(&mut q, 1), Some(Next::Bytes(CHUNK as usize)));
            let link = q.link.as_ref().ok_or(libc::ENOTCONN)?;
            let pull = link.rx.pull.as_ref().ok_or(libc::EINVAL)?;
            assert_eq!(pull.done, u64::from(15 * CHUNK));
        }
    }
    run(&a, &b);
    assert_eq!(a.completions()?, [sent(1, DONE)]);
    assert!(b.memory_at(BIG, LENGTH) == a.memory_at(0, LENGTH));
    a.end()?;
    b.end()
}

#[test]
fn an_owner_that_comes_late_does_nothing() -> Result<()> {
    let (mut a, mut b) = copying()?;
    a.fill_source(1);
    b.fill_source(2);
    a.write_to(&b)?;
    assert_eq!(a.poll_alone()?, [sent(1, DONE)]);
    assert!(b.memory_at(BIG, LENGTH) == a.memory_at(0, LENGTH));
    a.read_from(&b)?;
    assert_eq!(a.poll_alone()?, [sent(1, DONE)]);
    assert!(a.memory_at(BIG, LENGTH) == b.memory_at(0, LENGTH));
    // The memory is the program's, on both sides.
    a.fill_source(3);
    b.memory[BIG as usize..].fill(0);
    a.memory[BIG as usize..].fill(0);
    run(&a, &b);
    assert!(a.has_written_nothing() && b.has_written_nothing());
    greet(&a, &b)?;
    a.end()?;
    b.end()
}

#[test]
fn a_read_is_answered_when_the_initiator_does_not_poll() -> Result<()> {
    let (a, mut b) = copying()?;
    b.fill_source(2);
    a.read_from(&b)?;
    assert!(
        a.chunks_copied()
            .is_some_and(|copied| (1..16).contains(&copied))
    );
    b.qp.progress();
    make_progress_until(&a, || a.qp.inner.lock().sq.is_empty())?;
    assert!(a.memory_at(BIG, LENGTH) == b.memory_at(0, LENGTH));
    assert_eq!(a.completions()?, [sent(1, DONE)]);
    greet(&a, &b)?;
    a.end()?;
    b.end()
}

#[test]
fn what_follows_waits_for_the_chunks_before_it() -> Result<()> {
    let (mut a, b) = copying()?;
    a.fill_source(1);
    b.post_receive(5, b.source(8))?;
    a.write_to(&b)?;
    a.post(2, Operation::Send, a.source(8), PLAIN)?;
    {
        let q = a.qp.inner.lock();
        assert_eq!((q.next - q.first, q.sq.len()), (1, 2));
    }
    assert_eq!(a.poll_alone()?, [sent(1, DONE)]);
    run(&a, &b);
    assert_eq!(a.completions()?, [sent(2, DONE)]);
    assert_eq!(b.completions()?, [received(5, Opcode::Receive)]);
    a.end()?;
    b.end()
}

#[test]
fn memory_that_goes_away_in_the_middle_fails_the_request() -> Result<()> {
    type Break = fn(&Side, &Side) -> Result<()>;
    let cases: [(Break, Status); 4] = [
        (|_, b| b.mr.deregister(), Status::RemoteAccess),
        (|a, _| a.mr.deregister(), Status::LocalProtection),
        (|_, b| b.qp.modify(State::Error), Status::RetryExceeded),
        // The owner takes its part first.
        (
            |a, b| {
                a.mr.deregister()?;
                b.qp.progress();
                Ok(())
            },
            Status::LocalProtection,
        ),
    ];
    for is_read in [false, true] {
        for (spoil, status) in cases {
            let (a, b) = copying()?;
            if is_read {
                a.read_from(&b)?;
            } else {
                a.write_to(&b)?;
            }
            assert!(a.chunks_copied().is_some_and(|copied| copied < 16));
            spoil(&a, &b)?;
            let mut seen = a.completions()?;
            run(&a, &b);
            seen.extend(a.completions()?);
            assert_eq!(seen, [sent(1, status)], "read: {is_read}");
            for side in [a, b] {
                side.qp.close();
                side.qp.release();
            }
        }
    }
    Ok(())
}

#[test]
fn a_peer_that_writes_nonsense_into_the_word_loses_its_connection() -> Result<()> {
    let (a, b) = copying()?;
    a.write_to(&b)?;
    {
        let q = b.qp.inner.lock();
        let local = q.link.as_ref().and_then(|link| link.paths.local());
        let word = local.ok_or(libc::ENOTCONN)?.rings().peers_chunks();
        word.open(0, 16);
    }
    assert_eq!(a.poll_alone()?, [sent(1, Status::RetryExceeded)]);
    assert!(a.has_ended());
    a.end()?;
    b.end()
}

#[test]
fn frames_of_chunks_are_taken_from_a_peer_that_has_a_word_for_them() -> Result<()> {
    let frames = |victim: &Side| {
        let range = victim.remote(victim.place(LENGTH));
        [
            Frame::Write {
                seq: 0,
                to: range,
                imm: None,
                solicited: false,
                carriage: Carriage::InChunks,
            },
            Frame::Read {
                seq: 0,
                from: range,
                can_pull: true,
                in_chunks: true,
            },
        ]
    };
    for n in 0..2 {
        // Not if nobody knows of its regions.
        let (socket, other) = Socket::pair()?;
        let plan = Plan {
            pid: own_pid(),
            shared: false,
        };
        let victim = Side::new(other, plan)?;
        let mut bytes = frames(&victim)[n].encode().to_vec();
        bytes.extend([0; DESCRIPTOR]);
        socket.send(&[Span::from_slice(&bytes)])?;
        victim.qp.progress();
        assert!(victim.has_ended());
        victim.end()?;
        // A word that is closed: nothing is done, and the next number is right. One with a wrong number is none.
        for (seq_is_wrong, ends) in [(false, false), (true, true)] {
            let (a, b) = copying()?;
            let frame = match frames(&b)[n] {
                Frame::Write {
                    to, carriage, imm, ..
                } if seq_is_wrong => Frame::Write {
                    seq: 5,
                    to,
                    imm,
                    solicited: false,
                    carriage,
                },
                Frame::Read { from, .. } if seq_is_wrong => Frame::Read {
                    seq: 5,
                    from,
                    can_pull: true,
                    in_chunks: true,
                },
                frame => frame,
            };
            {
                let mut q = a.qp.inner.lock();
                let payload = [0; DESCRIPTOR];
                Qp::stage(&mut q, frame, &payload[..frame.payload()]);
            }
            a.qp.progress();
            b.qp.progress();
            assert_eq!(b.has_ended(), ends);
            assert_eq!(b.qp.inner.lock().expected, u64::from(!ends));
            assert!(b.has_written_nothing());
            a.end()?;
            b.end()?;
        }
    }
    Ok(())
}

/// The owner has had the peer send requests anew, and the first of these is complete before the owner has read its frame.
#[test]
fn a_request_that_is_sent_anew_may_be_complete_before_its_frame_is_read() -> Result<()> {
    let (a, b) = copying()?;
    b.post_receive(5, b.source(8))?;
    b.qp.inner.lock().dropping = true;
    {
        let mut q = a.qp.inner.lock();
        let read = Frame::Read {
            seq: 0,
            from: b.remote(b.place(LENGTH)),
            can_pull: true,
            in_chunks: true,
        };
        let payload = [0; DESCRIPTOR];
        Qp::stage(&mut q, read, &payload[..read.payload()]);
        q.first += 1;
        q.next += 1;
    }
    a.post(1, Operation::Send, a.source(8), PLAIN)?;
    run(&a, &b);
    assert_eq!(a.completions()?, [sent(1, DONE)]);
    assert_eq!(b.completions()?, [received(5, Opcode::Receive)]);
    assert_eq!(b.qp.inner.lock().expected, 2);
    a.end()?;
    b.end()
}
