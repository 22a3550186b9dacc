// SPDX-License-Identifier: BSD-3-Clause

//! A process of the same user that shares memory with this one and does not keep to the protocol. What a peer can
//! do over TCP is tested by a program, tests-c/fabric/hostile-peer.

use super::*;
use crate::objects::generation::Generation;
use crate::wire::{Carriage, DESCRIPTOR, Descriptor, Reason};

/// Large enough to be copied by the peer.
const COPIED: u32 = 64 << 10;

struct Attack {
    socket: Socket,
    victim: Side,
    /// What the victim has sent, as far as it was not looked at.
    unread: Vec<u8>,
}

impl Attack {
    fn new() -> Result<Self> {
        let (socket, other) = Socket::pair()?;
        let mut victim = Side::new(
            other,
            Plan {
                pid: own_pid(),
                shared: false,
            },
        )?;
        victim.fill_source(5);
        Ok(Self {
            socket,
            victim,
            unread: Vec::new(),
        })
    }

    /// What the victim has, as its peer names it.
    fn source(&self, length: u32) -> Range {
        Range {
            key: self.victim.mr.rkey(),
            ..self.victim.source(length)
        }
    }

    fn send(&mut self, frame: Frame) -> Result<()> {
        self.socket.send(&[Span::from_slice(&frame.encode())])?;
        self.proceed();
        Ok(())
    }

    /// Lets the victim do what there is to do, and takes what it sends.
    fn proceed(&mut self) {
        let mut buffer = vec![0; 1 << 20];
        for _ in 0..100 {
            self.victim.qp.progress();
            while let Ok(n @ 1..) = self.socket.receive(&[Span::from_mut(&mut buffer)]) {
                self.unread.extend_from_slice(&buffer[..n]);
            }
        }
    }

    /// The next frame of the victim, with its payload.
    fn received(&mut self) -> Option<(Frame, Vec<u8>)> {
        let header = self.unread.first_chunk::<HEADER>()?;
        let frame = Frame::decode(header).ok()?;
        let end = HEADER + frame.payload();
        let payload = self.unread.get(HEADER..end)?.to_vec();
        self.unread.drain(..end);
        Some((frame, payload))
    }

    fn has_ended(&self) -> bool {
        self.victim.qp.inner.lock().link.is_none()
    }

    /// A read whose data is for the peer to copy.
    fn read_by_reference(&mut self, seq: u64) -> Result<()> {
        self.send(Frame::Read {
            seq,
            from: self.source(COPIED),
            can_pull: true,
            in_chunks: false,
        })?;
        let by_reference = Frame::ReadData {
            seq,
            length: COPIED,
            carriage: Carriage::ByReference,
        };
        assert_eq!(self.received().map(|frame| frame.0), Some(by_reference));
        assert_eq!(
            self.received().map(|frame| frame.0),
            Some(Frame::Ack { seq })
        );
        Ok(())
    }

    fn end(self) -> Result<()> {
        self.victim.end()
    }
}

#[test]
fn data_comes_in_band_once_and_only_what_was_to_be_copied() -> Result<()> {
    let mut attack = Attack::new()?;
    attack.read_by_reference(0)?;
    let again = Frame::ReadInBand {
        seq: 0,
        from: attack.source(COPIED),
    };
    attack.send(again)?;
    let in_band = Frame::ReadData {
        seq: 0,
        length: COPIED,
        carriage: Carriage::Inband,
    };
    let right = attack.victim.memory[..COPIED as usize].to_vec();
    assert_eq!(attack.received(), Some((in_band, right)));
    assert_eq!(attack.received(), Some((Frame::Ack { seq: 0 }, Vec::new())));
    assert!(!attack.has_ended());
    attack.send(again)?;
    assert_eq!(attack.received(), None);
    assert!(attack.has_ended());
    attack.end()
}

#[test]
fn nothing_else_comes_in_band() -> Result<()> {
    type Change = fn(Range) -> Range;
    let wrong: [(u64, Change); 6] = [
        (1, |range| range),
        (u64::MAX, |range| range),
        (0, |range| Range {
            addr: range.addr + 1,
            ..range
        }),
        (0, |range| Range {
            length: range.length + 1,
            ..range
        }),
        (0, |range| Range { length: 8, ..range }),
        (0, |range| Range {
            key: range.key ^ 2,
            ..range
        }),
    ];
    for (seq, change) in wrong {
        let mut attack = Attack::new()?;
        attack.read_by_reference(0)?;
        let from = change(attack.source(COPIED));
        attack.send(Frame::ReadInBand { seq, from })?;
        assert_eq!(attack.received(), None, "{seq}, {from:?}");
        assert!(attack.has_ended());
        attack.end()?;
    }
    Ok(())
}

#[test]
fn data_comes_in_band_only_while_it_may_be_read() -> Result<()> {
    let deregister: fn(&Side) -> Result<()> = |victim| victim.mr.deregister();
    let forbid: fn(&Side) -> Result<()> = |victim| {
        victim.qp.allow(access::REMOTE_WRITE);
        Ok(())
    };
    let release: fn(&Side) -> Result<()> = |victim| {
        victim.qp.release();
        Ok(())
    };
    for (withdraw, reason) in [
        (deregister, Reason::RemoteAccess),
        (forbid, Reason::InvalidRequest),
        (release, Reason::QueuePairGone),
    ] {
        let mut attack = Attack::new()?;
        attack.read_by_reference(0)?;
        withdraw(&attack.victim)?;
        let from = attack.source(COPIED);
        attack.send(Frame::ReadInBand { seq: 0, from })?;
        let refusal = Frame::Nak { seq: 0, reason };
        assert_eq!(attack.received().map(|frame| frame.0), Some(refusal));
        attack.victim.qp.close();
        attack.victim.qp.release();
    }
    Ok(())
}

#[test]
fn no_byte_of_a_read_is_sent_once_the_queue_pair_is_down() -> Result<()> {
    let mut attack = Attack::new()?;
    let read = Frame::Read {
        seq: 0,
        from: attack.source(BIG),
        can_pull: false,
        in_chunks: false,
    };
    attack.socket.send(&[Span::from_slice(&read.encode())])?;
    // As much of it as the socket takes.
    for _ in 0..10 {
        attack.victim.qp.progress();
    }
    attack.victim.qp.modify(State::Error)?;
    attack.proceed();
    let data = attack.received().map(|frame| frame.1).unwrap_or_default();
    assert_eq!(data.len(), BIG as usize);
    let sent = data.iter().rposition(|&byte| byte != 0).unwrap_or(0);
    assert!(sent < data.len() / 2, "{sent} bytes");
    assert!(data[..sent] == attack.victim.memory[..sent]);
    let refusal = Frame::Nak {
        seq: 0,
        reason: Reason::QueuePairGone,
    };
    assert_eq!(attack.received().map(|frame| frame.0), Some(refusal));
    attack.end()
}

#[test]
fn what_is_said_once_is_not_said_twice() -> Result<()> {
    // By reference, so that it can be declined.
    let in_band = Frame::InBand { seq: 0 };
    for (first, second) in [
        (Some(in_band), in_band),
        (None, Frame::ChangesOver),
        (None, Frame::Use),
    ] {
        let mut attack = Attack::new()?;
        let from = attack.victim.source(COPIED);
        attack.victim.post(0, Operation::Send, from, PLAIN)?;
        attack.proceed();
        if let Some(frame) = first {
            attack.send(frame)?;
            assert!(!attack.has_ended());
        }
        attack.send(second)?;
        assert!(attack.has_ended(), "{second:?}");
        assert_eq!(
            attack.victim.completions()?,
            [sent(0, Status::RetryExceeded)]
        );
        attack.end()?;
    }
    Ok(())
}

#[test]
fn what_cannot_be_copied_does_not_come_by_reference() -> Result<()> {
    let mut attack = Attack::new()?;
    if let Some(link) = &mut attack.victim.qp.inner.lock().link {
        link.source = Source::Never;
    }
    attack.victim.post_receive(0, attack.victim.place(COPIED))?;
    let send = Frame::Send {
        seq: 0,
        length: COPIED,
        imm: None,
        solicited: false,
        carriage: Carriage::ByReference,
    };
    attack.send(send)?;
    assert!(attack.has_ended());
    attack.end()
}

#[test]
fn a_descriptor_of_nothing_changes_nothing() -> Result<()> {
    let mut attack = Attack::new()?;
    attack.victim.post_receive(0, attack.victim.place(COPIED))?;
    let generation = Generation::new();
    let generation = generation.reference();
    let nowhere = Descriptor {
        addr: 8,
        region: generation,
        owner: generation,
    };
    let send = Frame::Send {
        seq: 0,
        length: COPIED,
        imm: None,
        solicited: false,
        carriage: Carriage::ByReference,
    };
    let mut bytes = send.encode().to_vec();
    bytes.extend_from_slice(&nowhere.encode());
    assert_eq!(bytes.len(), HEADER + DESCRIPTOR);
    attack.socket.send(&[Span::from_slice(&bytes)])?;
    attack.proceed();
    let asks = Frame::InBand { seq: 0 };
    assert_eq!(attack.received().map(|frame| frame.0), Some(asks));
    let place = BIG as usize;
    assert!(attack.victim.memory[place..].iter().all(|&byte| byte == 0));
    assert_eq!(attack.victim.completions()?, []);
    attack.end()
}
