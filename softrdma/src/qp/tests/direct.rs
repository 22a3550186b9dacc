// SPDX-License-Identifier: BSD-3-Clause

//! What the initiator executes itself, and what it leaves to the owner of the memory.

use super::*;
use crate::os::local::Local;
use crate::wire::Carriage;

/// A connection whose sides know each other's regions. Nothing happens on it by itself.
pub(super) fn connected() -> Result<(Side, Side)> {
    let (at_a, at_b) = Local::pair()?;
    let sides = (
        Side::unconnected(false, false)?,
        Side::unconnected(false, false)?,
    );
    for (side, local) in [(&sides.0, at_a), (&sides.1, at_b)] {
        let link = Link::new(Paths::within_the_host(Stream::Local(local)));
        Qp::offer_table(&link);
        side.qp.inner.lock().link = Some(link);
    }
    for side in [&sides.0, &sides.1] {
        let q = side.qp.inner.lock();
        let local = q.link.as_ref().and_then(|link| link.paths.local());
        local.ok_or(libc::ENOTCONN)?.receive_all()?;
    }
    run(&sides.0, &sides.1);
    Ok(sides)
}

impl Side {
    pub(super) fn memory_at(&self, at: u32, length: u32) -> &[u8] {
        &self.memory[at as usize..][..length as usize]
    }

    /// What the peer names this side's memory by.
    pub(super) fn remote(&self, range: Range) -> Range {
        Range {
            key: self.mr.rkey(),
            ..range
        }
    }

    pub(super) fn has_written_nothing(&self) -> bool {
        self.memory[BIG as usize..].iter().all(|&byte| byte == 0)
    }
}

const DONE: Status = Status::Success;

#[test]
fn the_owner_takes_no_part_in_writes_and_reads() -> Result<()> {
    let (mut a, mut b) = connected()?;
    a.fill_source(1);
    b.fill_source(2);
    for (wr_id, length) in [(1, 8), (2, 5000), (3, 100_000)] {
        let write = Operation::Write {
            to: b.remote(b.place(length)),
        };
        a.post(wr_id, write, a.source(length), PLAIN)?;
        assert_eq!(a.completions()?, [sent(wr_id, DONE)]);
        assert_eq!(b.memory_at(BIG, length), a.memory_at(0, length));
        let read = Operation::Read {
            from: b.remote(b.source(length)),
        };
        a.post(wr_id, read, a.place(length), PLAIN)?;
        assert_eq!(a.completions()?, [sent(wr_id, DONE)]);
        assert_eq!(a.memory_at(BIG, length), b.memory_at(0, length));
    }
    a.end()?;
    b.end()
}

#[test]
fn a_read_is_not_executed_where_none_may_be_under_way() -> Result<()> {
    let (a, mut b) = connected()?;
    b.fill_source(2);
    a.qp.inner.lock().attributes.reads = 0;
    let read = Operation::Read {
        from: b.remote(b.source(8)),
    };
    a.post(1, read, a.place(8), PLAIN)?;
    run(&a, &b);
    assert_eq!(a.completions()?, []);
    assert!(a.has_written_nothing());
    a.end()?;
    b.end()
}

#[test]
fn a_write_with_immediate_data_is_placed_when_there_is_a_receive() -> Result<()> {
    let (mut a, b) = connected()?;
    a.fill_source(1);
    let write = Operation::Write {
        to: b.remote(b.place(8)),
    };
    a.post(1, write, a.source(8), WITH_IMM)?;
    assert!(b.has_written_nothing());
    run(&a, &b);
    assert!(b.has_written_nothing());
    b.post_receive(2, b.source(0))?;
    run(&a, &b);
    assert_eq!(a.completions()?, [sent(1, DONE)]);
    let with_imm = Opcode::ReceiveRdmaWithImm;
    assert_eq!(b.completions()?, [received(2, with_imm)]);
    assert_eq!(b.memory_at(BIG, 8), a.memory_at(0, 8));

    b.post_receive(3, b.source(0))?;
    a.post(4, write, a.place(8), WITH_IMM)?;
    assert!(b.has_written_nothing());
    assert_eq!(a.completions()?, []);
    run(&a, &b);
    assert_eq!(a.completions()?, [sent(4, DONE)]);
    assert_eq!(b.completions()?, [received(3, with_imm)]);
    a.end()?;
    b.end()
}

#[test]
fn a_request_waits_for_those_before_it() -> Result<()> {
    let (mut a, b) = connected()?;
    a.fill_source(1);
    let write = Operation::Write {
        to: b.remote(b.place(8)),
    };
    a.post(1, Operation::Send, a.source(8), PLAIN)?;
    a.post(2, write, a.source(8), PLAIN)?;
    run(&a, &b);
    assert_eq!(a.completions()?, []);
    assert!(b.has_written_nothing());
    b.post_receive(3, b.source(8))?;
    run(&a, &b);
    assert_eq!(a.completions()?, [sent(1, DONE), sent(2, DONE)]);
    assert_eq!(b.memory_at(BIG, 8), a.memory_at(0, 8));
    // The numbers of the connection go on as if the direct ones were none.
    a.post(4, write, a.source(8), PLAIN)?;
    b.post_receive(5, b.source(8))?;
    a.post(6, Operation::Send, a.source(8), PLAIN)?;
    run(&a, &b);
    assert_eq!(a.completions()?, [sent(4, DONE), sent(6, DONE)]);
    a.end()?;
    b.end()
}

#[test]
fn what_is_not_permitted_is_for_the_owner_to_refuse() -> Result<()> {
    let wrong: [fn(&Side, Range) -> Range; 4] = [
        |_, range| Range {
            key: range.key ^ 2,
            ..range
        },
        |_, range| Range {
            addr: u64::MAX - 3,
            ..range
        },
        |_, range| Range {
            addr: MEMORY as u64 - 7,
            ..range
        },
        // Of another protection domain.
        |other, range| other.remote(range),
    ];
    for spoil in wrong {
        let (mut a, b) = connected()?;
        let other = Side::unconnected(false, false)?;
        a.fill_source(1);
        let to = spoil(&other, b.remote(b.place(8)));
        a.post(1, Operation::Write { to }, a.source(8), PLAIN)?;
        assert_eq!(a.completions()?, []);
        run(&a, &b);
        assert_eq!(a.completions()?, [sent(1, Status::RemoteAccess)]);
        assert!(b.has_written_nothing() && other.has_written_nothing());
        for side in [a, b, other] {
            side.end()?;
        }
    }
    Ok(())
}

#[test]
fn a_queue_pair_grants_what_it_permits_while_it_takes_part() -> Result<()> {
    let statuses = [
        Status::RemoteInvalidRequest,
        Status::RetryExceeded,
        Status::RetryExceeded,
    ];
    for (case, status) in statuses.into_iter().enumerate() {
        let (mut a, b) = connected()?;
        a.fill_source(1);
        match case {
            0 => b.qp.allow(0),
            1 => b.qp.stop(),
            _ => b.qp.release(),
        }
        let write = Operation::Write {
            to: b.remote(b.place(8)),
        };
        a.post(1, write, a.source(8), PLAIN)?;
        assert_eq!(a.completions()?, []);
        run(&a, &b);
        assert_eq!(a.completions()?, [sent(1, status)]);
        assert!(b.has_written_nothing());
        a.end()?;
        b.end()?;
    }
    Ok(())
}

#[test]
fn what_cannot_be_placed_is_not() -> Result<()> {
    // The peer has no table of this side, and this side none of it.
    let (socket, other) = Socket::pair()?;
    let plan = Plan {
        pid: own_pid(),
        shared: false,
    };
    let victim = Side::new(other, plan)?;
    victim.post_receive(1, victim.source(0))?;
    let placed = Frame::Write {
        seq: 0,
        to: victim.remote(victim.place(8)),
        imm: Some(1),
        solicited: false,
        carriage: Carriage::Placed,
    };
    socket.send(&[Span::from_slice(&placed.encode())])?;
    victim.qp.progress();
    assert!(victim.qp.inner.lock().link.is_none());
    assert_eq!(victim.completions()?, []);
    victim.end()
}

#[test]
fn what_was_placed_is_checked_as_what_comes() -> Result<()> {
    let (a, b) = connected()?;
    b.post_receive(1, b.source(0))?;
    let to = Range {
        addr: MEMORY as u64,
        ..b.remote(b.place(8))
    };
    // As a peer that does not keep to the protocol.
    {
        let mut q = a.qp.inner.lock();
        let placed = Frame::Write {
            seq: 0,
            to,
            imm: Some(1),
            solicited: false,
            carriage: Carriage::Placed,
        };
        Qp::stage(&mut q, placed, &[]);
    }
    a.qp.progress();
    b.qp.progress();
    let refused = b.completions()?;
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].status, Status::RemoteAccess);
    assert_eq!(b.qp.state(), State::Error);
    a.end()?;
    b.end()
}
