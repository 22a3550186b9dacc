// SPDX-License-Identifier: BSD-3-Clause

//! How client and server come to a decision whether their connection goes on in memory or over TCP.

use super::local::{connect_undecided, wait_until};
use super::*;
use crate::os::local::Local;
use crate::qp::Peer;

/// A client that waits for the decision for ever, its server, and the memory, of which the server has not heard.
fn undecided() -> Result<(Side, Side, Local)> {
    let client = Side::unconnected(false, false)?;
    let server = Side::unconnected(false, false)?;
    let (client, server, at_server) = connect_undecided(client, server)?;
    if let Some(link) = &mut client.qp.inner.lock().link {
        link.wait_for_ever();
    }
    Ok((client, server, at_server))
}

impl Side {
    fn next_completion(&self) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        wait_until(|| {
            seen.extend(self.completions().unwrap_or_default());
            !seen.is_empty()
        })?;
        Ok(seen)
    }

    fn is_in_memory(&self) -> bool {
        let q = self.qp.inner.lock();
        let paths = q.link.as_ref().map(|link| &link.paths);
        paths.is_some_and(|paths| paths.sends_locally() && paths.receives_locally())
    }

    fn is_on_tcp(&self) -> bool {
        let q = self.qp.inner.lock();
        q.link.as_ref().is_some_and(|link| !link.paths.has_local())
    }
}

fn exchange(from: &Side, to: &Side) -> Result<()> {
    to.post_receive(2, to.place(8))?;
    from.send(1)?;
    assert_eq!(to.next_completion()?, [received(2, Opcode::Receive)]);
    assert_eq!(from.next_completion()?, [sent(1, Status::Success)]);
    Ok(())
}

#[test]
fn a_client_reads_what_the_server_has_sent_before_both_go_on_in_memory() -> Result<()> {
    let (client, server, at_server) = undecided()?;
    client.post_receive(2, client.place(8))?;
    server.send(1)?;
    server.qp.meet(at_server);
    assert_eq!(client.next_completion()?, [received(2, Opcode::Receive)]);
    assert_eq!(server.next_completion()?, [sent(1, Status::Success)]);
    wait_until(|| client.is_in_memory() && server.is_in_memory())?;
    exchange(&client, &server)?;
    exchange(&server, &client)?;
    client.end()?;
    server.end()
}

#[test]
fn a_client_that_is_refused_stays_on_tcp_at_once() -> Result<()> {
    let (client, server, at_server) = undecided()?;
    client.send(1)?;
    server.post_receive(2, server.place(8))?;
    at_server.refuse();
    assert_eq!(server.next_completion()?, [received(2, Opcode::Receive)]);
    assert_eq!(client.next_completion()?, [sent(1, Status::Success)]);
    assert!(client.is_on_tcp() && server.is_on_tcp());
    exchange(&server, &client)?;
    client.end()?;
    server.end()
}

#[test]
fn a_client_that_disconnects_does_not_wait() -> Result<()> {
    let (client, server, at_server) = undecided()?;
    client.qp.disconnect(false);
    wait_until(|| server.qp.lock().peer == Peer::Left)?;
    // The server comes too late.
    server.qp.meet(at_server);
    assert!(client.is_on_tcp() && server.is_on_tcp());
    server.qp.disconnect(true);
    wait_until(|| client.qp.lock().peer == Peer::Left)
}
