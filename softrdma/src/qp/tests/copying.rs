// SPDX-License-Identifier: BSD-3-Clause

//! Bytes that one side copies, and what becomes of them when it cannot.

use super::*;

/// Every kind of request one after the other, so that what is asked for again has others before and
/// behind it, small ones among them. All of them come to their end, in order, with the right bytes.
fn everything_arrives(plan: Plan) -> Result<()> {
    for swapped in [false, true] {
        let (a, b) = Side::pair(plan)?;
        let (mut a, mut b) = if swapped { (b, a) } else { (a, b) };
        a.fill_source(1);
        b.fill_source(2);
        let third = BIG / 3;
        let part = |range: Range, n: u64, length| Range {
            addr: range.addr + n * u64::from(third),
            length,
            ..range
        };
        let (from, at) = (a.source(third), b.place(third));
        b.post_receive(100, part(b.place(third), 1, third))?;
        b.post_receive(101, b.place(0))?;
        // What was read lands where nothing else does; what is fenced waits for it.
        let landing = a.place(third);
        a.post(0, Operation::Write { to: at }, from, PLAIN)?;
        a.post(
            1,
            Operation::Read {
                from: b.source(third),
            },
            landing,
            PLAIN,
        )?;
        a.post(2, Operation::Send, part(from, 1, third), PLAIN)?;
        let small = part(landing, 1, 8);
        let from_there = part(b.source(third), 1, 8);
        a.post(3, Operation::Read { from: from_there }, small, PLAIN)?;
        let to = part(b.place(third), 2, third);
        let fence = More {
            fence: true,
            ..WITH_IMM
        };
        a.post(4, Operation::Write { to }, part(from, 2, third), fence)?;
        run(&a, &b);
        let done: Vec<Seen> = (0..5).map(|wr_id| sent(wr_id, Status::Success)).collect();
        assert_eq!(a.completions()?, done);
        assert_eq!(
            b.completions()?,
            [
                received(100, Opcode::Receive),
                received(101, Opcode::ReceiveRdmaWithImm)
            ]
        );
        let big = BIG as usize;
        assert!(
            b.memory[big..] == a.memory[..big],
            "the bytes that were sent"
        );
        let third = third as usize;
        assert!(
            a.memory[big..big + third] == b.memory[..third],
            "those read"
        );
        assert_eq!(a.memory[big + third..][..8], b.memory[third..][..8]);
        let pulls = plan.pid == own_pid();
        assert_eq!(a.pulls() && b.pulls(), pulls);
        assert_eq!(a.sends_references() && b.sends_references(), pulls);
        a.end()?;
        b.end()?;
    }
    Ok(())
}

#[test]
fn what_is_copied_arrives() -> Result<()> {
    let pid = own_pid();
    everything_arrives(Plan { pid, shared: false })?;
    everything_arrives(Plan { pid, shared: true })
}

#[test]
fn what_cannot_be_copied_arrives_in_band() -> Result<()> {
    let pid = NOBODY;
    everything_arrives(Plan { pid, shared: false })?;
    everything_arrives(Plan { pid, shared: true })
}

#[test]
fn a_read_that_cannot_be_copied_waits_for_its_bytes_whatever_is_acknowledged() -> Result<()> {
    let (a, mut b) = Side::pair(Plan {
        pid: NOBODY,
        shared: false,
    })?;
    b.fill_source(3);
    let read = Operation::Read {
        from: b.source(BIG),
    };
    a.post(0, read, a.place(BIG), PLAIN)?;
    let small = Operation::Write { to: b.place(8) };
    a.post(1, small, a.source(8), PLAIN)?;
    b.qp.progress();
    // The descriptor has come, and the acknowledgement of both requests.
    a.qp.progress();
    assert_eq!(a.completions()?, []);
    assert_eq!(a.qp.inner.lock().reads, 1);
    run(&a, &b);
    assert_eq!(
        a.completions()?,
        [sent(0, Status::Success), sent(1, Status::Success)]
    );
    assert_eq!(a.qp.inner.lock().reads, 0);
    assert!(a.memory[BIG as usize..] == b.memory[..BIG as usize]);
    a.end()?;
    b.end()
}

/// Requests whose source is given up between the descriptor and the copy.
fn after_the_descriptor(give_up: impl Fn(&Side), operation: Operation) -> Result<(Side, Side)> {
    let (mut a, b) = Side::pair(Plan {
        pid: own_pid(),
        shared: false,
    })?;
    a.fill_source(4);
    b.post_receive(100, b.place(BIG))?;
    b.post_receive(101, b.place(BIG))?;
    let operation = match operation {
        Operation::Write { .. } => Operation::Write { to: b.place(BIG) },
        Operation::Read { .. } => Operation::Read {
            from: b.source(BIG),
        },
        other => other,
    };
    let is_read = matches!(operation, Operation::Read { .. });
    let data = if is_read { a.place(BIG) } else { a.source(BIG) };
    a.post(0, operation, data, PLAIN)?;
    if is_read {
        b.qp.progress();
        give_up(&b);
    } else {
        give_up(&a);
    }
    run(&a, &b);
    Ok((a, b))
}

#[test]
fn a_source_that_was_deregistered_fails_its_request() -> Result<()> {
    for operation in [ANY_WRITE, Operation::Send] {
        let (a, b) =
            after_the_descriptor(|side| assert_eq!(side.mr.deregister(), Ok(())), operation)?;
        assert_eq!(a.completions()?, [sent(0, Status::LocalProtection)]);
        // The responder knows nothing of it.
        assert_eq!(b.completions()?, []);
        assert_eq!(b.qp.state(), State::ReadyToSend);
        assert_eq!(b.qp.inner.lock().rq.len(), 2);
        b.end()?;
    }
    let (a, b) = after_the_descriptor(|side| assert_eq!(side.mr.deregister(), Ok(())), ANY_READ)?;
    assert_eq!(a.completions()?, [sent(0, Status::RemoteAccess)]);
    assert_eq!(b.qp.state(), State::Error);
    a.end()
}

/// The responder has refused the request behind a read before the initiator copies the data of the read.
#[test]
fn a_read_before_a_refused_request_depends_on_its_region_alone() -> Result<()> {
    type Change = fn(&Side) -> Result<()>;
    let changes: [(Change, [Status; 2]); 3] = [
        (|_| Ok(()), [Status::Success, Status::RemoteAccess]),
        (
            |side| side.mr.deregister(),
            [Status::RemoteAccess, Status::Flushed],
        ),
        (
            |side| {
                let terms = side.mr.terms().ok_or(libc::EINVAL)?;
                side.mr.change(terms.check()?, None)
            },
            [Status::RemoteAccess, Status::Flushed],
        ),
    ];
    for (change, [first, second]) in changes {
        let (a, b) = Side::pair(Plan {
            pid: own_pid(),
            shared: false,
        })?;
        let read = Operation::Read {
            from: b.source(BIG),
        };
        a.post(0, read, a.place(BIG), PLAIN)?;
        let nowhere = Operation::Write {
            to: Range {
                addr: 3 * u64::from(BIG),
                ..b.place(8)
            },
        };
        a.post(1, nowhere, a.source(8), PLAIN)?;
        b.qp.progress();
        assert_eq!(b.qp.state(), State::Error);
        change(&b)?;
        run(&a, &b);
        assert_eq!(a.completions()?, [sent(0, first), sent(1, second)]);
    }
    Ok(())
}

#[test]
fn a_source_that_was_registered_anew_is_read_on_its_new_terms() -> Result<()> {
    // The bytes are now those of the other half.
    let change = |side: &Side| {
        let terms = side.mr.terms().map(|terms| Terms {
            addr: terms.addr + u64::from(BIG),
            length: u64::from(BIG),
            ..terms
        });
        if let Some(Ok(terms)) = terms.map(Terms::check) {
            assert_eq!(side.mr.change(terms, None), Ok(()));
        }
    };
    let (a, b) = after_the_descriptor(change, ANY_WRITE)?;
    assert_eq!(a.completions()?, [sent(0, Status::Success)]);
    assert!(b.memory[BIG as usize..] == a.memory[BIG as usize..]);
    let forbid = |side: &Side| {
        let terms = side.mr.terms().map(|terms| Terms {
            access: access::LOCAL_WRITE,
            ..terms
        });
        if let Some(Ok(terms)) = terms.map(Terms::check) {
            assert_eq!(side.mr.change(terms, None), Ok(()));
        }
    };
    let (a, _b) = after_the_descriptor(forbid, ANY_READ)?;
    assert_eq!(a.completions()?, [sent(0, Status::RemoteAccess)]);
    Ok(())
}

#[test]
fn a_queue_pair_that_leaves_its_state_is_not_copied_from() -> Result<()> {
    for state in [State::Error, State::Reset] {
        let leave = |side: &Side| side.qp.modify(state).unwrap_or_default();
        let (a, b) = after_the_descriptor(leave, Operation::Send)?;
        let flushed = match state {
            State::Error => vec![sent(0, Status::Flushed)],
            _ => vec![],
        };
        assert_eq!(a.completions()?, flushed);
        assert_eq!(b.completions()?, [], "{state:?}");
        assert_eq!(b.qp.inner.lock().rq.len(), 2, "{state:?}");
        b.end()?;
    }
    Ok(())
}

#[test]
fn a_peer_says_once_that_it_cannot_copy() -> Result<()> {
    let (socket, peer) = Socket::pair()?;
    let a = Side::new(
        socket,
        Plan {
            pid: own_pid(),
            shared: false,
        },
    )?;
    for wr_id in 0..2 {
        a.post(wr_id, Operation::Send, a.source(BIG), PLAIN)?;
    }
    let again = Frame::InBand { seq: 1 }.encode();
    peer.send(&[Span::from_slice(&again)])?;
    a.qp.progress();
    assert!(!a.sends_references());
    assert!(a.qp.has_connection());
    // What was asked for is on its way: after two descriptors a header, and then bytes.
    let mut got = [0u8; 2 * (HEADER + 40) + HEADER];
    peer.receive(&[Span::from_mut(&mut got)])?;
    let header = got.last_chunk().map(Frame::decode);
    assert!(
        matches!(
            header,
            Some(Ok(Frame::Send {
                seq: 1,
                length: BIG,
                ..
            }))
        ),
        "{header:?}"
    );
    peer.send(&[Span::from_slice(&again)])?;
    a.qp.progress();
    assert!(!a.qp.has_connection());
    a.end()
}
