// SPDX-License-Identifier: BSD-3-Clause

//! A queue pair that takes no more part in its connection: its peer hears of it, whatever it waits for.

use super::*;

const NO_KEY: Range = Range {
    addr: 0,
    length: 8,
    key: 1,
};

/// The ways in which a queue pair ends.
const ENDS: [fn(&Side) -> Result<()>; 4] = [
    |side| side.qp.modify(State::Error),
    |side| side.qp.modify(State::Reset),
    |side| {
        side.qp.release();
        Ok(())
    },
    |side| side.post(50, ANY_WRITE, NO_KEY, PLAIN),
];

fn pair(pid: i32) -> Result<(Side, Side)> {
    Side::pair(Plan { pid, shared: false })
}

/// What a request, and one behind it, get when their responder is gone.
fn given_up() -> [Seen; 2] {
    [sent(0, Status::RetryExceeded), sent(1, Status::Flushed)]
}

#[test]
fn a_request_that_was_arriving_fails() -> Result<()> {
    // Copied, or over the socket.
    for pid in [own_pid(), NOBODY] {
        for operation in [Operation::Send, ANY_WRITE] {
            for end in ENDS {
                let (a, b) = pair(pid)?;
                b.post_receive(100, b.place(BIG))?;
                let operation = match operation {
                    Operation::Write { .. } => Operation::Write { to: b.place(BIG) },
                    other => other,
                };
                a.post(0, operation, a.source(BIG), PLAIN)?;
                for _ in 0..2 {
                    b.qp.progress();
                    a.qp.progress();
                }
                end(&b)?;
                a.post(1, Operation::Send, a.source(8), PLAIN)?;
                run(&a, &b);
                let seen = a.completions()?;
                // The I/O thread, if another test has started it, goes on with a copy by itself.
                if pid == NOBODY || seen.first() != Some(&sent(0, Status::Success)) {
                    assert_eq!(seen, given_up(), "{pid} {operation:?}");
                }
                a.end()?;
                b.end()?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_message_that_waits_for_a_receive_fails_at_once() -> Result<()> {
    for end in ENDS {
        let (a, b) = pair(own_pid())?;
        a.post(0, Operation::Send, a.source(8), PLAIN)?;
        a.post(1, Operation::Send, a.source(8), PLAIN)?;
        run(&a, &b);
        assert_eq!(a.completions()?, []);
        end(&b)?;
        // The other side does nothing more.
        a.qp.progress();
        assert_eq!(a.completions()?, given_up());
        a.end()?;
        b.end()?;
    }
    Ok(())
}

#[test]
fn who_finds_no_receive_in_the_end_lets_the_other_one_know() -> Result<()> {
    let (a, b) = pair(own_pid())?;
    b.qp.inner.lock().attributes.rnr_retry = 0;
    a.post(0, Operation::Send, a.source(8), PLAIN)?;
    a.post(1, Operation::Send, a.source(8), PLAIN)?;
    run(&a, &b);
    b.post(0, Operation::Send, b.source(8), PLAIN)?;
    run(&a, &b);
    assert_eq!(b.completions()?, [sent(0, Status::ReceiverNotReady)]);
    assert_eq!(a.completions()?, given_up());
    a.end()?;
    b.end()
}

#[test]
fn a_queue_pair_that_was_reset_may_have_another_connection() -> Result<()> {
    let plan = Plan {
        pid: NOBODY,
        shared: false,
    };
    let (a, b) = Side::pair(plan)?;
    for round in 0..2 {
        a.post(0, ANY_WRITE, NOWHERE, PLAIN)?;
        run(&a, &b);
        assert_eq!(a.completions()?, [sent(0, Status::Success)], "{round}");
        a.qp.disconnect(false);
        run(&a, &b);
        b.qp.disconnect(true);
        run(&a, &b);
        let (one, other) = Socket::pair()?;
        for (side, socket) in [(&a, one), (&b, other)] {
            side.qp.close();
            for state in [
                State::Reset,
                State::Init,
                State::ReadyToReceive,
                State::ReadyToSend,
            ] {
                side.qp.modify(state)?;
            }
            let paths = Paths::within_the_host(Stream::Socket(socket));
            side.qp.inner.lock().link = Some(Link::new(paths));
        }
    }
    a.end()?;
    b.end()
}
