// SPDX-License-Identifier: BSD-3-Clause

//! The processes of this host and user that this one shares memory with: one local socket and one growing piece of
//! memory for all connections to a server's door (`os/pair.rs`).

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::door::Owner;
use crate::Result;
use crate::io::served::serve;
use crate::os::door::{self, Name, Neighbour};
use crate::os::held::Locks;
use crate::os::pair::{Pair, Side};

/// The servers that this process has connected to.
static SERVERS: Mutex<Vec<Server>> = Mutex::new(Vec::new());

struct Server {
    door: Name,
    /// The process and user that has connected: a child, or a process that has changed its user, needs another socket.
    owner: Owner,
    /// The I/O thread and the connections own it.
    pair: Weak<Pair>,
}

/// Before a fork.
pub(crate) fn hold(locks: &mut Locks) -> bool {
    locks.hold_static(&SERVERS)
}

/// In a child that goes on with its parent's sockets: their other ends take it for its parent.
pub(crate) fn forget() {
    let servers = std::mem::take(&mut *SERVERS.lock());
    drop(servers);
}

/// The socket and the memory that this process shares with the one behind this door.
pub(super) fn with(door: Name, owner: Owner) -> Result<Arc<Pair>> {
    let mut servers = SERVERS.lock();
    servers.retain(|server| server.owner == owner && server.pair.strong_count() > 0);
    let mut known = servers.iter().filter(|server| server.door == door);
    if let Some(pair) = known
        .find_map(|server| server.pair.upgrade())
        .filter(|pair| !pair.has_ended())
    {
        return Ok(pair);
    }
    servers.retain(|server| server.door != door);
    let pair = Pair::new(Side::Client, Neighbour::of(door::connect(&door)?)?);
    // A server brings no connections.
    serve(Arc::clone(&pair), |_, _| ())?;
    servers.push(Server {
        door,
        owner,
        pair: Arc::downgrade(&pair),
    });
    Ok(pair)
}
