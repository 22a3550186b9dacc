// SPDX-License-Identifier: BSD-3-Clause

//! Connections that leave TCP for memory that both ends share, with the I/O thread at work.

use std::time::{Duration, Instant};

use crate::io::Watched;
use crate::io::served::serve;
use crate::objects::attached::{Attached as _, Hint};
use crate::os::local::{self, Local};
use crate::os::pair::{Pair, Rung as _, ServedBy};
use crate::os::rings::RingHint;
use crate::os::testing;
use crate::qp::attributes::Path;
use crate::qp::link::{Side as End, Start};
use crate::qp::polls::Polls;
use crate::qp::{Peer, Qp, Setup};
use crate::wire::Params;

use super::*;

/// Far longer than anything takes here.
const TIMEOUT: Duration = Duration::from_secs(20);
const PARAMS: Params = Params {
    responder_resources: 16,
    initiator_depth: 16,
    flow_control: 0,
    retry_count: 7,
    rnr_retry_count: 7,
    srq: 0,
    qp_num: 0,
};

/// Both ends of memory, whose doorbells the I/O thread hears.
fn of_client_and_server() -> Result<(Local, Local)> {
    let (client, server) = Pair::of_this_process()?;
    let ends = local::connect(&client, &server)?;
    for pair in [client, server] {
        serve(pair, |_, _| ())?;
    }
    Ok(ends)
}

/// A client and a server, both on their way to the memory.
fn connected() -> Result<(Side, Side)> {
    let client = Side::unconnected(false, true)?;
    connect(client, Side::unconnected(false, true)?)
}

fn connect(client: Side, server: Side) -> Result<(Side, Side)> {
    let (client, server, at_server) = connect_undecided(client, server)?;
    server.qp.meet(at_server);
    Ok((client, server))
}

/// The server does not hear of the memory that the client has offered: its end of it is returned.
pub(super) fn connect_undecided(client: Side, server: Side) -> Result<(Side, Side, Local)> {
    let (of_client, of_server) = Socket::pair()?;
    let (at_client, at_server) = of_client_and_server()?;
    let start = |socket, first, local, side| Start {
        socket: Watched::new(socket, None),
        owner: None,
        peer: PARAMS,
        attributes: Attributes::of_connection(Path::default(), &PARAMS, 16, 16),
        first,
        is_within_host: true,
        local,
        side,
    };
    server
        .qp
        .connect(start(of_server, Vec::new(), None, End::Server))?;
    let first = Frame::Use.encode().to_vec();
    client
        .qp
        .connect(start(of_client, first, Some(at_client), End::Client))?;
    Ok((client, server, at_server))
}

impl Side {
    /// The next completions, without having polled before they are there. What came before the queue was armed
    /// makes nothing readable: on a busy machine the I/O thread may have been faster.
    fn completions_by_event(&self) -> Result<Vec<Seen>> {
        let channel = self.cq.channel.as_ref().ok_or(libc::EINVAL)?;
        if !self.cq.has_untold() && !testing::is_readable_within(channel.events.fd(), TIMEOUT) {
            return Err(libc::ETIMEDOUT);
        }
        channel.take()?;
        self.completions()
    }

    pub(super) fn send(&self, wr_id: u64) -> Result<()> {
        self.post(wr_id, Operation::Send, self.source(8), PLAIN)
    }
}

/// Until something is so, which another thread brings about.
pub(super) fn wait_until(mut is_so: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + TIMEOUT;
    while !is_so() {
        if Instant::now() > end {
            return Err(libc::ETIMEDOUT);
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// How many this side has rung.
fn doorbells_of(side: &Side) -> Result<usize> {
    let mut q = side.qp.inner.lock();
    let link = q.link.as_mut().ok_or(libc::ENOTCONN)?;
    let local = link.paths.local_stream().ok_or(libc::ENOTCONN)?;
    Ok(local.doorbells())
}

/// The program polls and gets nothing, until the I/O thread leaves the connection to it. It takes a message of
/// the peer for the thread to notice.
fn polls(side: &Side, peer: &Side) -> Result<()> {
    let is_polled = |qp: &Qp| qp.driver.is_polled();
    while !is_polled(&side.qp) {
        side.post_receive(1, side.place(8))?;
        side.cq.poll(0, |_| ())?;
        peer.send(1)?;
        let mut received = 0;
        wait_until(|| {
            received += side.completions().map_or(0, |seen| seen.len());
            received > 0
        })?;
        let mut sent = 0;
        wait_until(|| {
            sent += peer.completions().map_or(0, |seen| seen.len());
            sent > 0
        })?;
    }
    Ok(())
}

/// Whether a side has memory for what comes and for what is sent.
fn has_buffers(side: &Side) -> Result<(bool, bool)> {
    let q = side.qp.inner.lock();
    let link = q.link.as_ref().ok_or(libc::ENOTCONN)?;
    Ok((
        !link.rx.buffer.is_empty(),
        link.tx.staged.capacity() > 0 || q.responses.capacity() > 0,
    ))
}

#[test]
fn a_connection_has_no_buffers_before_it_moves_anything() -> Result<()> {
    let (client, server) = connected()?;
    for side in [&client, &server] {
        wait_until(|| {
            let q = side.qp.inner.lock();
            let paths = q.link.as_ref().map(|link| &link.paths);
            paths.is_some_and(|paths| paths.receives_locally() && paths.sends_locally())
        })?;
        assert_eq!(has_buffers(side)?, (false, false));
        // It is looked at, and nothing has come.
        side.qp.progress();
        assert_eq!(has_buffers(side)?, (false, false));
    }
    server.post_receive(1, server.place(8))?;
    client.send(1)?;
    wait_until(|| server.completions().is_ok_and(|seen| !seen.is_empty()))?;
    assert!(has_buffers(&client)?.1);
    assert!(has_buffers(&server)?.0);
    wait_until(|| client.completions().is_ok_and(|seen| !seen.is_empty()))?;
    client.end()?;
    server.end()
}

#[test]
fn who_waits_for_an_event_hears_of_what_came_while_it_polled() -> Result<()> {
    let (client, server) = connected()?;
    for (side, peer) in [(&client, &server), (&server, &client)] {
        for round in 0..50 {
            polls(side, peer)?;
            side.post_receive(round, side.place(8))?;
            // It is in the memory when this returns, and nobody was woken.
            peer.send(round)?;
            side.cq.arm(false);
            let seen = side.completions_by_event()?;
            assert_eq!(seen, [received(round, Opcode::Receive)]);
            wait_until(|| peer.completions().is_ok_and(|seen| !seen.is_empty()))?;
        }
    }
    client.end()?;
    server.end()
}

#[test]
fn who_disconnects_hears_of_the_answer_though_it_polled() -> Result<()> {
    let (client, server) = connected()?;
    polls(&client, &server)?;
    client.qp.disconnect(false);
    // Otherwise the peer would not ring for its answer, and the next check would find it.
    assert!(!client.qp.driver.is_polled());
    wait_until(|| server.qp.lock().peer == Peer::Left)?;
    let before = doorbells_of(&server)?;
    server.qp.disconnect(true);
    assert_eq!(doorbells_of(&server)?, before + 1);
    wait_until(|| client.qp.lock().peer == Peer::Left)
}

/// A side with a queue for the completions of what it sends, and another one for what it receives.
fn with_two_queues() -> Result<Side> {
    let side = Side::unconnected(false, true)?;
    let pd = side.qp.setup.pd.as_ref().ok_or(libc::EINVAL)?;
    let setup = Setup {
        recv_cq: Some(Cq::new(&pd.context, 64, None)?),
        ..small_setup(Arc::clone(pd), &side.cq, None)
    };
    let qp = Qp::new(setup, State::ReadyToSend)?;
    qp.inner.lock().attributes = side.qp.inner.lock().attributes;
    Ok(Side { qp, ..side })
}

#[test]
fn an_acknowledgement_wakes_nobody_but_who_waits_for_it() -> Result<()> {
    const COUNT: u64 = 3;
    let (client, server) = connect(with_two_queues()?, Side::unconnected(false, true)?)?;
    let exchange = |wr_id| -> Result<()> {
        server.cq.arm(false);
        server.post_receive(wr_id, server.place(8))?;
        client.send(wr_id)?;
        assert_eq!(server.completions_by_event()?.len(), 1);
        Ok(())
    };
    client.cq.arm(false);
    exchange(0)?;
    assert_eq!(client.completions_by_event()?.len(), 1);
    let take_all = |mut count: usize| {
        wait_until(|| {
            count -= client.completions().map_or(0, |seen| seen.len());
            count == 0
        })
    };
    let are_quiet = || -> Result<bool> {
        // It has polled, and does not any more.
        wait_until(|| !client.qp.driver.is_polled())?;
        let before = doorbells_of(&server)?;
        for wr_id in 0..COUNT {
            exchange(wr_id)?;
        }
        let are_quiet = doorbells_of(&server)? == before;
        if !are_quiet {
            take_all(COUNT as usize)?;
        }
        Ok(are_quiet)
    };
    // The first one may come before this side has said that it does not wait for it.
    wait_until(|| are_quiet() == Ok(true))?;
    // Nor is it looked at again and again because of that.
    wait_until(|| matches!(server.qp.hint(), Some(Hint::Ring(hint)) if !hint.is_worth_a_look()))?;
    let before = doorbells_of(&server)?;
    // Nothing more comes than what is there.
    client.cq.arm(false);
    let seen = client.completions_by_event()?.len();
    take_all(COUNT as usize - seen)?;
    wait_until(|| !client.qp.driver.is_polled())?;
    client.cq.arm(false);
    exchange(COUNT)?;
    assert_eq!(client.completions_by_event()?.len(), 1);
    assert!(doorbells_of(&server)? > before);
    client.end()?;
    server.end()
}

#[test]
fn what_is_acknowledged_is_complete_when_the_program_disconnects() -> Result<()> {
    const COUNT: u64 = 3;
    let ends: [fn(&Qp) -> Result<()>; 3] = [
        |qp| {
            qp.disconnect(false);
            Ok(())
        },
        |qp| {
            qp.stop();
            Ok(())
        },
        |qp| qp.change(|_, _| Ok(State::Error)),
    ];
    for end in ends {
        let (client, server) = connect(with_two_queues()?, Side::unconnected(false, true)?)?;
        for wr_id in 0..COUNT {
            server.cq.arm(false);
            server.post_receive(wr_id, server.place(8))?;
            client.send(wr_id)?;
            // It is shown when it is acknowledged.
            assert_eq!(server.completions_by_event()?.len(), 1);
        }
        end(&client.qp)?;
        let all = [0, 1, 2].map(|wr_id| sent(wr_id, Status::Success));
        assert_eq!(client.completions()?, all);
        client.end()?;
        server.end()?;
    }
    Ok(())
}

#[test]
fn who_polls_is_not_woken() -> Result<()> {
    let (client, server) = connected()?;
    let is_rung = || -> Result<bool> {
        polls(&client, &server)?;
        client.post_receive(1, client.place(8))?;
        let before = doorbells_of(&server)?;
        server.send(1)?;
        let is_rung = doorbells_of(&server)? != before;
        wait_until(|| client.completions().is_ok_and(|seen| !seen.is_empty()))?;
        wait_until(|| server.completions().is_ok_and(|seen| !seen.is_empty()))?;
        Ok(is_rung)
    };
    // Whoever does not poll for a while, since others run, does not count as polling any more.
    wait_until(|| is_rung() == Ok(false))?;
    client.end()?;
    server.end()
}

#[test]
fn who_polls_many_connections_is_not_woken_either() -> Result<()> {
    let (client, server) = connected()?;
    let pd = server.qp.setup.pd.as_ref().ok_or(libc::EINVAL)?;
    // On the same queue, and not connected.
    let others = (0..100)
        .map(|_| Qp::new(small_setup(Arc::clone(pd), &server.cq, None), State::Init))
        .collect::<Result<Vec<_>>>()?;
    polls(&server, &client)?;
    for round in 0..50 {
        server.post_receive(round, server.place(8))?;
        client.send(round)?;
        let mut seen = Vec::new();
        wait_until(|| {
            seen.extend(server.completions().unwrap_or_default());
            !seen.is_empty()
        })?;
        assert_eq!(seen, [received(round, Opcode::Receive)]);
        wait_until(|| client.completions().is_ok_and(|seen| !seen.is_empty()))?;
    }
    for other in others {
        other.release();
    }
    client.end()?;
    server.end()
}

#[test]
fn memory_that_is_gone_is_told_of_without_anybody_polling() -> Result<()> {
    for length in [5000, 64 << 10] {
        let (client, server) = connected()?;
        let file = testing::Mapped::new(1 << 20)?;
        let terms = Terms {
            addr: file.addr(),
            length: 1 << 20,
            ..server.mr.terms().ok_or(libc::EINVAL)?
        };
        let pd = server.qp.setup.pd.as_ref().ok_or(libc::EINVAL)?;
        let mr = Mr::register(pd, terms.check()?)?;
        file.resize(0)?;
        let from = Range {
            addr: 0,
            length,
            key: mr.lkey,
        };
        client.cq.arm(false);
        client.post(1, Operation::Read { from }, client.place(length), PLAIN)?;
        let seen = client.completions_by_event()?;
        assert_eq!(seen, [sent(1, Status::RemoteAccess)], "{length}");
        mr.deregister()?;
        client.end()?;
        server.end()?;
    }
    Ok(())
}

#[test]
fn much_goes_both_ways_at_once() -> Result<()> {
    let (mut client, mut server) = connected()?;
    client.fill_source(1);
    server.fill_source(2);
    let to = |of: &Side| Operation::Write { to: of.place(BIG) };
    client.cq.arm(false);
    server.cq.arm(false);
    client.post(1, to(&server), client.source(BIG), PLAIN)?;
    server.post(1, to(&client), server.source(BIG), PLAIN)?;
    for side in [&client, &server] {
        assert_eq!(side.completions_by_event()?, [sent(1, Status::Success)]);
    }
    let half = BIG as usize;
    assert!(client.memory[..half] == server.memory[half..]);
    assert!(server.memory[..half] == client.memory[half..]);
    client.end()?;
    server.end()
}

#[test]
fn who_polls_hears_of_the_end() -> Result<()> {
    let (client, server) = connected()?;
    polls(&client, &server)?;
    server.end()?;
    // By the thread, whether the program goes on polling or not.
    wait_until(|| client.qp.inner.lock().peer == Peer::Gone)?;
    client.end()
}

#[test]
fn a_client_whose_server_says_nothing_of_the_memory_stays_on_tcp_after_a_while() -> Result<()> {
    let client = Side::unconnected(false, true)?;
    let (client, server, at_server) = connect_undecided(client, Side::unconnected(false, false)?)?;
    let exchange = |from: &Side, to: &Side| -> Result<()> {
        to.post_receive(2, to.place(8))?;
        from.send(1)?;
        for (side, wanted) in [
            (to, received(2, Opcode::Receive)),
            (from, sent(1, Status::Success)),
        ] {
            let mut seen = Vec::new();
            wait_until(|| {
                seen.extend(side.completions().unwrap_or_default());
                !seen.is_empty()
            })?;
            assert_eq!(seen, [wanted]);
        }
        Ok(())
    };
    let listens = || {
        let q = client.qp.inner.lock();
        let listening = q.link.as_ref().map(|link| &link.listening);
        listening.is_some_and(|channels| channels.iter().any(Option::is_some))
    };
    exchange(&client, &server)?;
    // It leaves doorbells to the channels of others.
    assert!(!listens());
    // The server comes too late.
    server.qp.meet(at_server);
    exchange(&server, &client)?;
    exchange(&client, &server)?;
    client.end()?;
    server.end()
}

/// As a thread that is about to sleep polls this side. The I/O thread may be at work on it.
fn begin_busy_wait(side: &Side) -> Result<Arc<RingHint>> {
    let mut begun = None;
    wait_until(|| {
        begun = side.qp.begin_busy_wait();
        begun.is_some()
    })?;
    begun.ok_or(libc::ENOTCONN)
}

/// A thread polls before it sleeps: for this moment, and no longer, the peer rings no doorbell.
#[test]
fn who_polls_before_it_sleeps_needs_no_doorbell() -> Result<()> {
    let (client, server) = connected()?;
    let channel = server.cq.channel.as_ref().ok_or(libc::EINVAL)?;
    let has_event = || channel.events.count(|_| true) == 1;
    let receives = |wr_id| -> Result<()> {
        server.post_receive(wr_id, server.place(8))?;
        server.cq.arm(false);
        wait_until(|| !server.qp.driver.is_polled())
    };
    let is_rung = |wr_id| -> Result<bool> {
        receives(wr_id)?;
        wait_until(|| server.qp.driver.is_at_rest())?;
        let before = doorbells_of(&client)?;
        client.send(wr_id)?;
        let is_rung = doorbells_of(&client)? == before + 1;
        assert_eq!(server.completions_by_event()?.len(), 1);
        wait_until(|| client.completions().is_ok_and(|seen| !seen.is_empty()))?;
        Ok(is_rung)
    };
    for wr_id in 0..20 {
        receives(wr_id)?;
        let hint = begin_busy_wait(&server)?;
        // Another thread leaves it to this one.
        assert!(server.qp.begin_busy_wait().is_none());
        let before = doorbells_of(&client)?;
        client.send(wr_id)?;
        assert_eq!(doorbells_of(&client)?, before);
        // The I/O thread may not have ended its last check, and read it.
        wait_until(|| hint.has_input() || has_event())?;
        if wr_id % 2 == 0 {
            server.qp.progress_in_busy_wait();
            assert!(!hint.has_input());
        }
        // What has come by now is read by this.
        server.qp.end_busy_wait();
        assert!(has_event());
        assert_eq!(server.completions_by_event()?.len(), 1);
        wait_until(|| client.completions().is_ok_and(|seen| !seen.is_empty()))?;
        // As above: then nobody has to be woken.
        wait_until(|| is_rung(wr_id) == Ok(true))?;
    }
    client.end()?;
    server.end()
}

/// Both sides wait in the call, and answer at once.
#[test]
fn messages_wake_who_waits_whether_it_polls_or_sleeps() -> Result<()> {
    const COUNT: u64 = 2000;
    let (client, server) = connected()?;
    let take = |side: &Side| -> Result<()> {
        let channel = side.cq.channel.as_ref().ok_or(libc::EINVAL)?;
        let mut received = 0;
        // Those of what it has sent come, too.
        while received == 0 {
            channel.take()?.unacknowledged.acknowledge(1);
            side.cq.arm(false);
            side.cq.poll(10, |completion| {
                received += usize::from(completion.opcode == Opcode::Receive);
            })?;
        }
        Ok(())
    };
    for side in [&client, &server] {
        side.cq.arm(false);
        side.post_receive(0, side.place(8))?;
    }
    std::thread::scope(|threads| {
        let answers = threads.spawn(|| -> Result<()> {
            for wr_id in 0..COUNT {
                take(&server)?;
                server.post_receive(wr_id, server.place(8))?;
                if wr_id % 100 == 0 {
                    std::thread::yield_now();
                }
                server.send(wr_id)?;
            }
            Ok(())
        });
        for wr_id in 0..COUNT {
            client.send(wr_id)?;
            take(&client)?;
            client.post_receive(wr_id, client.place(8))?;
        }
        answers.join().map_err(|_| libc::EIO)?
    })?;
    client.end()?;
    server.end()
}

/// The program arms its queue and goes on polling: the peer need not ring for it, until it is armed again.
#[test]
fn a_queue_that_is_armed_and_polled_is_a_polled_one() -> Result<()> {
    let (client, server) = connected()?;
    let polls_though_armed = || {
        // Its polls are trusted again: this thread may not have run for a millisecond when something came.
        server.qp.inner.lock().polls = Polls::new();
        server.cq.arm(false);
        // It does not look like that at first.
        assert!(!server.qp.driver.is_polled());
        (0..100).for_each(|_| assert_eq!(server.cq.poll(1, |_| ()), Ok(0)));
        server.qp.driver.is_polled()
    };
    for wr_id in 0..10 {
        server.post_receive(wr_id, server.place(8))?;
        // Unless this thread does not run for a millisecond: then it does not poll.
        wait_until(polls_though_armed)?;
        client.send(wr_id)?;
        let channel = server.cq.channel.as_ref().ok_or(libc::EINVAL)?;
        let mut received = 0;
        wait_until(|| {
            received += server.cq.poll(1, |_| ()).unwrap_or_default();
            received > 0
        })?;
        // The event comes nevertheless, if need be of the I/O thread.
        wait_until(|| channel.events.count(|_| true) == 1)?;
        channel.take()?.unacknowledged.acknowledge(1);
        wait_until(|| client.completions().is_ok_and(|seen| !seen.is_empty()))?;
    }
    client.end()?;
    server.end()
}

/// A thread that waits for an event of another connection takes the doorbells of all: this one may be left to the polls
/// of its program nevertheless.
#[test]
fn a_connection_is_polled_though_another_one_is_waited_for() -> Result<()> {
    let (client, server) = connected()?;
    let is_rung_while_polled = || {
        assert_eq!(server.cq.poll(1, |_| ()), Ok(0));
        Arc::clone(&server.qp).rung(ServedBy::Program);
        server.qp.driver.is_polled()
    };
    // The thread may wait for an event of this one.
    server.cq.arm(false);
    for _ in 0..5 {
        assert!(!is_rung_while_polled());
    }
    server.post_receive(1, server.place(8))?;
    client.send(1)?;
    assert_eq!(server.completions_by_event()?.len(), 1);
    wait_until(is_rung_while_polled)?;
    client.end()?;
    server.end()
}
