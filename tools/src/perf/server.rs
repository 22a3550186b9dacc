// SPDX-License-Identifier: BSD-3-Clause

//! The server: memory and receives for whoever connects.

use std::collections::hash_map::RandomState;
use std::ffi::c_int;
use std::hash::BuildHasher;
use std::io;
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rdma_sys::{ibv_wc, ibv_wc_opcode, ibv_wc_status};

use super::protocol::{Hello, Welcome};
use super::{Error, MAX_DEPTH, Result, Wait, no_device};
use crate::memory::Mapping;
use crate::rpma::{Conn, ConnCfg, Context, Endpoint, Event, Peer, PeerCfg, Region, Request, usage};
use crate::signals;
use crate::units::size_text;
use crate::{complain, print};

/// What the command line says.
#[derive(Debug)]
pub struct Options {
    /// The address to listen on.
    pub addr: String,
    /// The port, or 0 for a free one.
    pub port: u16,
    /// The file whose memory clients use.
    pub file: Option<PathBuf>,
    /// Whether clients may flush to persistence.
    pub direct_write: bool,
    /// How much memory a connection may ask for.
    pub max_memory: u64,
    /// How to wait for messages.
    pub wait: Wait,
    /// End when the last connection is closed.
    pub once: bool,
}

/// Wakes the main thread when a connection has ended.
struct Ended {
    event: c_int,
    open: AtomicUsize,
}

impl Ended {
    fn new() -> io::Result<Self> {
        // SAFETY: creates a descriptor.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if event < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self {
                event,
                open: AtomicUsize::new(0),
            })
        }
    }

    fn tell(&self) {
        self.open.fetch_sub(1, Ordering::Release);
        let one = 1u64;
        // SAFETY: eight bytes to a descriptor of this object.
        unsafe {
            libc::write(self.event, (&raw const one).cast(), 8);
        }
    }

    fn clear(&self) {
        let mut count = 0u64;
        // SAFETY: room for eight bytes.
        unsafe {
            libc::read(self.event, (&raw mut count).cast(), 8);
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // SAFETY: the descriptor is this object's.
        unsafe {
            libc::close(self.event);
        }
    }
}

/// Serves until the user stops it.
pub fn run(options: &Options) -> Result<()> {
    signals::watch().map_err(|error| Error::System("signals", error))?;
    let context =
        Context::local(&options.addr).map_err(|failure| no_device(&options.addr, &failure))?;
    let peer = Peer::new(context)?;
    let (mut endpoint, port) = listen(&peer, options)?;
    let fd = endpoint.fd()?;
    signals::set_nonblocking(fd).map_err(|error| Error::System("fcntl", error))?;
    if !print(&format!(
        "rpma-perf: listening on {} port {port}\n",
        options.addr
    )) {
        return Ok(());
    }

    // The queues are made before the client tells what it needs: a receive and an answer for each message that is
    // under way, and the answers that have come, but whose completion has not been taken.
    let depth = u32::from(MAX_DEPTH);
    let cfg = ConnCfg::new(3 * depth, 2 * depth, depth, 5000)?;
    let ended = Arc::new(Ended::new().map_err(|error| Error::System("eventfd", error))?);
    let mut served = false;
    let mut threads = Vec::new();
    while !signals::interrupted() {
        if options.once && served && ended.open.load(Ordering::Acquire) == 0 {
            break;
        }
        let [asked, end] = signals::wait_readable([fd, ended.event], -1)
            .map_err(|error| Error::System("poll", error))?;
        if end {
            ended.clear();
            threads.retain(|thread: &thread::JoinHandle<()>| !thread.is_finished());
        }
        if !asked {
            continue;
        }
        let accepted = endpoint
            .next(&cfg)
            .map_err(Error::from)
            .and_then(|request| accept(&peer, request, options));
        let connection = match accepted {
            Ok(Some(connection)) => connection,
            Ok(None) => continue,
            Err(error) => {
                complain(format_args!(
                    "rpma-perf: a client could not connect: {error}"
                ));
                continue;
            }
        };
        served = true;
        ended.open.fetch_add(1, Ordering::Relaxed);
        let (ended, wait) = (Arc::clone(&ended), options.wait);
        let end = Arc::clone(&ended);
        let serving = thread::Builder::new().spawn(move || {
            if let Err(error) = connection.serve(wait) {
                complain(format_args!("rpma-perf: a connection: {error}"));
            }
            ended.tell();
        });
        match serving {
            Ok(thread) => threads.push(thread),
            // The connection was closed with the closure that was to serve it.
            Err(error) => {
                complain(format_args!(
                    "rpma-perf: no thread for a connection: {error}"
                ));
                end.tell();
            }
        }
    }
    for thread in threads {
        let _ = thread.join();
    }
    if signals::interrupted() {
        complain("rpma-perf: interrupted");
    }
    Ok(())
}

/// librpma does not tell which port the kernel has chosen, so a free one is chosen here.
fn listen(peer: &Arc<Peer>, options: &Options) -> Result<(Endpoint, u16)> {
    if options.port != 0 {
        let endpoint =
            Endpoint::listen(peer, &options.addr, options.port).map_err(|failure| match failure
                .errno()
            {
                Some(libc::EADDRINUSE) => Error::Other(format!(
                    "port {} of {} is in use: another --port, or 0 for a free one",
                    options.port, options.addr
                )),
                _ => failure.into(),
            })?;
        return Ok((endpoint, options.port));
    }
    let mut last = None;
    for trial in 0..100u64 {
        // Below the ports that the kernel gives to outgoing connections.
        let port = 20_000 + (RandomState::new().hash_one(trial) % 12_000) as u16;
        match Endpoint::listen(peer, &options.addr, port) {
            Ok(endpoint) => return Ok((endpoint, port)),
            Err(failure) => last = Some(failure),
        }
    }
    Err(last.map_or(Error::Interrupted, Error::from))
}

struct Connection {
    conn: Conn,
    /// None for a client that was refused.
    hello: Option<Hello>,
}

/// None for a stranger.
fn accept(peer: &Arc<Peer>, mut request: Request, options: &Options) -> Result<Option<Connection>> {
    let hello = match Hello::from_bytes(&request.private_data()?) {
        Ok(hello) => hello,
        Err(why) => {
            // Dropping the request rejects it.
            complain(format_args!("rpma-perf: refused a client: {why}"));
            return Ok(None);
        }
    };
    match prepare(peer, &mut request, hello, options) {
        Ok((region, welcome)) => {
            let conn = request.connect(&welcome.to_bytes(), Some(&region))?;
            Ok(Some(Connection {
                conn,
                hello: Some(hello),
            }))
        }
        Err(error) => {
            complain(format_args!("rpma-perf: refused a client: {error}"));
            let conn = request.connect(&Welcome::Refusal(error.to_string()).to_bytes(), None)?;
            Ok(Some(Connection { conn, hello: None }))
        }
    }
}

fn prepare(
    peer: &Arc<Peer>,
    request: &mut Request,
    hello: Hello,
    options: &Options,
) -> Result<(Arc<Region>, Welcome)> {
    if hello.memory > options.max_memory {
        return Err(Error::Other(format!(
            "{} are more than the server's --max-memory of {}",
            size_text(hello.memory),
            size_text(options.max_memory)
        )));
    }
    let receives = u64::from(hello.receives) * u64::from(hello.receive_size);
    if hello.memory == 0 || hello.receives > MAX_DEPTH || receives > hello.memory {
        return Err(Error::Other("the client asks for what cannot be".into()));
    }
    let len = usize::try_from(hello.memory).map_err(|_| Error::Other("too much memory".into()))?;
    let mapping = match &options.file {
        Some(path) => Mapping::file(path, len).map_err(|error| {
            Error::Other(format!("the server's file {}: {error}", path.display()))
        })?,
        None => Mapping::anonymous(len).map_err(|error| Error::System("memory", error))?,
    };
    let mut usage = usage::READ_SRC
        | usage::WRITE_DST
        | usage::RECV
        | usage::SEND
        | usage::FLUSH_TYPE_VISIBILITY;
    if options.direct_write {
        usage |= usage::FLUSH_TYPE_PERSISTENT;
    }
    let region = Arc::new(Region::new(peer, Arc::new(mapping), usage)?);
    for slot in 0..usize::from(hello.receives) {
        let size = hello.receive_size as usize;
        request.recv(&region, slot * size, size, slot)?;
    }
    let welcome = Welcome::Memory {
        region: region.descriptor()?,
        peer: PeerCfg::new(options.direct_write)?.descriptor()?,
    };
    Ok((region, welcome))
}

impl Connection {
    /// Until the client is gone or the user stops the server.
    fn serve(mut self, wait: Wait) -> Result<()> {
        let event_fd = self.conn.event_fd()?;
        let cq_fd = self.conn.cq()?.fd()?;
        for fd in [event_fd, cq_fd] {
            signals::set_nonblocking(fd).map_err(|error| Error::System("fcntl", error))?;
        }
        let receives = self.hello.is_some_and(|hello| hello.receives > 0);
        // While the server polls, it looks at the rest from time to time.
        let timeout = if wait == Wait::Poll && receives {
            0
        } else {
            -1
        };
        loop {
            if signals::interrupted() {
                break;
            }
            let [event, completion] = signals::wait_readable([event_fd, cq_fd], timeout)
                .map_err(|error| Error::System("poll", error))?;
            if event {
                match self.conn.next_event()? {
                    None | Some(Event::Established) => {}
                    Some(Event::Closed) => break,
                    Some(other) => return Err(Error::Other(format!("{other:?}"))),
                }
            }
            if completion {
                self.conn.cq()?.wait()?;
            }
            let rounds = if timeout == 0 { 1000 } else { 1 };
            for _ in 0..rounds {
                let Err(error) = self.answer() else { continue };
                // Once the client has gone away this is so, and the event of it is on its way.
                let told = signals::wait_readable([event_fd], 10_000).is_ok_and(|[told]| told);
                if told {
                    break;
                }
                return Err(error);
            }
        }
        // The other side may have closed it already.
        let _ = self.conn.disconnect();
        Ok(())
    }

    /// Takes the messages that have come, and answers each, after a receive was posted in its place: so there is one
    /// for each message that the client sends.
    fn answer(&self) -> Result<()> {
        let Some(hello) = self.hello else {
            return Ok(());
        };
        let mut completions = [const { MaybeUninit::<ibv_wc>::uninit() }; 16];
        loop {
            let got = self.conn.cq()?.take(&mut completions)?;
            for completion in &completions[..got] {
                // SAFETY: the queue has set as many.
                let completion = unsafe { completion.assume_init_ref() };
                // Receives that nothing came for end with an error when the connection does; answers that were sent
                // complete too.
                if completion.status == ibv_wc_status::IBV_WC_SUCCESS
                    && completion.opcode == ibv_wc_opcode::IBV_WC_RECV
                {
                    let size = hello.receive_size as usize;
                    let slot = completion.wr_id as usize;
                    self.conn.recv(slot * size, size, slot)?;
                    self.conn
                        .send(slot * size, completion.byte_len as usize, slot)?;
                }
            }
            if got < completions.len() {
                return Ok(());
            }
        }
    }
}
