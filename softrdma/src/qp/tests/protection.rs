// SPDX-License-Identifier: BSD-3-Clause

//! Memory that a request may not use, or that is not there.

use super::*;

#[test]
fn a_request_with_a_bad_key_fails_for_that_reason_whatever_is_under_way() -> Result<()> {
    let bad = Range {
        addr: 0,
        length: 8,
        key: 1,
    };
    // The one before it is done in the end; or the program gives up first.
    for gives_up in [false, true] {
        let (a, b) = Side::pair(Plan {
            pid: own_pid(),
            shared: false,
        })?;
        let write = Operation::Write { to: b.place(8) };
        a.post(0, write, a.source(8), PLAIN)?;
        a.post(1, write, bad, PLAIN)?;
        a.post(2, write, a.source(8), PLAIN)?;
        let first = if gives_up {
            a.qp.modify(State::Error)?;
            Status::Flushed
        } else {
            run(&a, &b);
            Status::Success
        };
        assert_eq!(
            a.completions()?,
            [
                sent(0, first),
                sent(1, Status::LocalProtection),
                sent(2, Status::Flushed)
            ]
        );
        a.end()?;
        b.end()?;
    }
    Ok(())
}

/// A request whose memory, on the initiator's side or on the other one, is a file that was truncated after
/// it was registered. Nobody may be killed; the statuses at both sides.
fn on_a_truncated_file(
    length: u32,
    is_initiators: bool,
    operation: Operation,
    shared: bool,
) -> Result<(Vec<Seen>, Vec<Seen>)> {
    let (a, b) = Side::pair(Plan {
        pid: own_pid(),
        shared,
    })?;
    let file = Mapped::new(1 << 20)?;
    let owner = if is_initiators { &a } else { &b };
    let terms = Terms {
        addr: file.addr(),
        length: 1 << 20,
        ..owner.mr.terms().ok_or(libc::EINVAL)?
    };
    let mr = Mr::register(
        owner.qp.setup.pd.as_ref().ok_or(libc::EINVAL)?,
        terms.check()?,
    )?;
    let in_file = Range {
        addr: 0,
        length,
        key: mr.lkey,
    };
    file.resize(0)?;
    let (here, there) = if is_initiators {
        (in_file, b.place(length))
    } else {
        (a.place(length), in_file)
    };
    b.post_receive(100, there)?;
    let operation = match operation {
        Operation::Write { .. } => Operation::Write { to: there },
        Operation::AtomicWrite { .. } => Operation::AtomicWrite { to: there },
        Operation::Read { .. } => Operation::Read { from: there },
        other => other,
    };
    a.post(0, operation, here, PLAIN)?;
    run(&a, &b);
    let seen = (a.completions()?, b.completions()?);
    mr.deregister()?;
    a.end()?;
    b.end()?;
    Ok(seen)
}

#[test]
fn a_file_that_was_truncated_kills_nobody() -> Result<()> {
    // Behind its header, from its place, and by reference.
    for length in [1, 8, 4096, 5000, 64 << 10] {
        for operation in [ANY_WRITE, ANY_READ, Operation::Send] {
            let (a, _) = on_a_truncated_file(length, true, operation, false)?;
            assert_eq!(
                a,
                [sent(0, Status::LocalProtection)],
                "{operation:?} of {length}"
            );
        }
        for operation in [ANY_WRITE, ANY_READ] {
            let (a, b) = on_a_truncated_file(length, false, operation, false)?;
            assert_eq!(
                a,
                [sent(0, Status::RemoteAccess)],
                "{operation:?} of {length}"
            );
            assert_eq!(b, [sent(100, Status::Flushed)], "{operation:?} of {length}");
        }
        for shared in [false, true] {
            let (a, b) = on_a_truncated_file(length, false, Operation::Send, shared)?;
            assert_eq!(a, [sent(0, Status::RemoteOperation)], "send of {length}");
            assert_eq!(b, [sent(100, Status::LocalProtection)], "send of {length}");
        }
    }
    Ok(())
}

#[test]
fn an_atomic_write_to_a_truncated_file_kills_nobody() -> Result<()> {
    let operation = Operation::AtomicWrite { to: NOWHERE };
    let (a, _) = on_a_truncated_file(8, false, operation, false)?;
    assert_eq!(a, [sent(0, Status::RemoteAccess)]);
    Ok(())
}

#[test]
fn a_flush_of_a_whole_region_names_only_its_key() -> Result<()> {
    let (a, b) = Side::pair(Plan {
        pid: own_pid(),
        shared: false,
    })?;
    let flush = |range: Range, whole_region| Operation::Flush {
        at: range,
        // No access is asked for that needs a capability of the device.
        placement: 0,
        whole_region,
    };
    let beyond = Range {
        addr: 1 << 40,
        ..b.source(8)
    };
    a.post(0, flush(beyond, true), NOWHERE, PLAIN)?;
    let other = Range { key: 1, ..beyond };
    a.post(1, flush(other, true), NOWHERE, PLAIN)?;
    run(&a, &b);
    assert_eq!(
        a.completions()?,
        [sent(0, Status::Success), sent(1, Status::RemoteAccess)]
    );
    a.end()?;
    b.end()
}

#[test]
fn a_flush_of_a_range_is_one_of_the_region() -> Result<()> {
    let (a, b) = Side::pair(Plan {
        pid: own_pid(),
        shared: false,
    })?;
    for (wr_id, addr) in [(0, 0), (1, 1 << 40)] {
        let at = Range {
            addr,
            ..b.source(8)
        };
        let flush = Operation::Flush {
            at,
            placement: 0,
            whole_region: false,
        };
        a.post(wr_id, flush, NOWHERE, PLAIN)?;
    }
    run(&a, &b);
    assert_eq!(
        a.completions()?,
        [sent(0, Status::Success), sent(1, Status::RemoteAccess)]
    );
    a.end()?;
    b.end()
}

#[test]
fn a_queue_pair_that_was_destroyed_or_reset_refuses_what_comes() -> Result<()> {
    for state in [State::Error, State::Reset] {
        let (a, b) = Side::pair(Plan {
            pid: own_pid(),
            shared: false,
        })?;
        match state {
            State::Reset => b.qp.modify(state)?,
            _ => b.qp.release(),
        }
        for wr_id in 0..2 {
            let write = Operation::Write { to: b.place(8) };
            a.post(wr_id, write, a.source(8), PLAIN)?;
        }
        run(&a, &b);
        assert_eq!(
            a.completions()?,
            [sent(0, Status::RetryExceeded), sent(1, Status::Flushed)]
        );
        assert_eq!(b.qp.state(), state);
        a.end()?;
        b.end()?;
    }
    Ok(())
}
