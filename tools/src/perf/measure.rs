// SPDX-License-Identifier: BSD-3-Clause

//! One connection, and the loop that keeps its operations under way.

use std::ffi::{CStr, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rdma_sys::{ibv_wc, ibv_wc_status};

use super::protocol::{Hello, Welcome};
use super::raw::{self, Requests};
use super::{Error, Op, Result, Wait};
use crate::memory::Mapping;
use crate::rpma::{
    Conn, ConnCfg, Context, Cq, Event, FlushType, Notify, Peer, PeerCfg, Region, RemoteRegion,
    Request, usage,
};
use crate::signals;

/// The longest latency that is told apart from longer ones.
const LONGEST_NS: u64 = 60_000_000_000;

/// Marks the context of an operation whose completion says nothing: that of a message, whose answer is waited for.
/// librpma needs its completion all the same, to make room in the send queue.
const IGNORED: usize = 1 << 16;

/// What a connection is made for.
pub(super) struct Plan<'a> {
    pub(super) addr: &'a str,
    pub(super) port: u16,
    pub(super) depth: u16,
    /// The largest size.
    pub(super) size: u64,
    pub(super) sends: bool,
    pub(super) flush: FlushType,
    pub(super) wait: Wait,
    pub(super) file: Option<&'a std::path::Path>,
}

/// One series of operations.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) op: Op,
    pub(super) size: u64,
}

/// What was measured.
pub(super) struct Measured {
    /// In nanoseconds, from before the operation is posted until its completion is taken.
    pub(super) latency: Histogram<u64>,
    /// How long that took.
    pub(super) time: Duration,
}

impl Measured {
    pub(super) fn new() -> Result<Self> {
        let latency = Histogram::new_with_bounds(1, LONGEST_NS, 3)
            .map_err(|error| Error::Other(format!("histogram: {error}")))?;
        Ok(Self {
            latency,
            time: Duration::ZERO,
        })
    }

    /// Counts what another one has measured, after this one.
    pub(super) fn add(&mut self, other: &Self) -> Result<()> {
        self.latency
            .add(&other.latency)
            .map_err(|error| Error::Other(format!("histogram: {error}")))?;
        self.time += other.time;
        Ok(())
    }

    pub(super) fn operations(&self) -> u64 {
        self.latency.len()
    }
}

/// What all threads share.
#[derive(Default)]
pub(super) struct Shared {
    /// One of them has failed.
    pub(super) stop: AtomicBool,
    /// How many operations have completed, for the progress.
    pub(super) operations: AtomicU64,
}

/// A connection with its memory.
pub(super) struct Worker {
    conn: Conn,
    remote: RemoteRegion,
    depth: usize,
    flush: FlushType,
    wait: Wait,
    event_fd: c_int,
    cq_fd: c_int,
    requests: Option<Requests>,
    number: [u8; 8],
}

impl Worker {
    /// Connects.
    pub(super) fn new(peer: &Arc<Peer>, plan: &Plan<'_>) -> Result<Self> {
        let depth = u32::from(plan.depth);
        let memory = stride(plan.size) * u64::from(plan.depth);
        let receive_size =
            u32::try_from(plan.size).map_err(|_| Error::Other("too large a size".into()))?;
        let hello = Hello {
            receives: if plan.sends { plan.depth } else { 0 },
            receive_size: if plan.sends { receive_size } else { 0 },
            memory,
        };
        let len = usize::try_from(memory).map_err(|_| Error::Other("too much memory".into()))?;
        let mapping = match plan.file {
            Some(path) => Mapping::file(path, len)
                .map_err(|error| Error::Other(format!("{}: {error}", path.display())))?,
            None => Mapping::anonymous(len).map_err(|error| Error::System("memory", error))?,
        };
        let usage = usage::READ_DST | usage::WRITE_SRC | usage::SEND | usage::RECV;
        let region = Arc::new(Region::new(peer, Arc::new(mapping), usage)?);

        // A write-flush takes two places, and all of them complete if the connection breaks. Sends that were
        // answered may be in the queues a little longer.
        let cfg = ConnCfg::new(4 * depth, 2 * depth, depth, 5000)?;
        let request = Request::new(peer, plan.addr, plan.port, &cfg).map_err(|failure| {
            Error::Other(format!("{} cannot be reached: {failure}", plan.addr))
        })?;
        let mut conn = request.connect(&hello.to_bytes(), Some(&region))?;
        let event_fd = conn.event_fd()?;
        let cq_fd = conn.cq()?.fd()?;
        for fd in [event_fd, cq_fd] {
            signals::set_nonblocking(fd).map_err(|error| Error::System("fcntl", error))?;
        }
        establish(&mut conn, event_fd, plan)?;

        let (region, cfg) =
            match Welcome::from_bytes(&conn.private_data()?).map_err(Error::Other)? {
                Welcome::Memory { region, peer } => (region, peer),
                Welcome::Refusal(why) => {
                    let _ = conn.disconnect();
                    return Err(Error::Other(format!("the server refuses: {why}")));
                }
            };
        let remote = RemoteRegion::from_descriptor(&region)?;
        if (remote.len()? as u64) < memory {
            return Err(Error::Other(
                "the server offers less memory than was asked for".into(),
            ));
        }
        let cfg = PeerCfg::from_descriptor(&cfg)?;
        if plan.flush == FlushType::Persistent && !cfg.direct_write()? {
            return Err(Error::Other(
                "the server does not offer flushes to persistence: start it with --direct-write if its machine \
                 writes to persistent memory directly (rpma-info tells)"
                    .into(),
            ));
        }
        conn.apply(&cfg)?;
        Ok(Self {
            conn,
            remote,
            depth: usize::from(plan.depth),
            flush: plan.flush,
            wait: plan.wait,
            event_fd,
            cq_fd,
            requests: None,
            number: [0; 8],
        })
    }

    /// Each slot once, without measuring. With a context, its requests are copied: whether that was possible.
    ///
    /// # Safety
    ///
    /// With a context, no other thread may post on that device meanwhile.
    pub(super) unsafe fn warm_up(
        &mut self,
        case: Case,
        shared: &Shared,
        copy: Option<Context>,
    ) -> Result<bool> {
        self.requests = None;
        let mut measured = Measured::new()?;
        let Some(context) = copy else {
            self.by_librpma(case, Duration::ZERO, shared, &mut measured)?;
            return Ok(true);
        };
        let depth = self.depth;
        // SAFETY: nobody else posts, as the caller promises; `requests` is dropped before `conn` is deleted, or not
        // used any more.
        let requests = unsafe {
            raw::requests(context, depth, case.op.requests(), || {
                self.by_librpma(case, Duration::ZERO, shared, &mut measured)
            })?
        };
        self.requests = requests;
        Ok(self.requests.is_some())
    }

    /// Measures operations of librpma for some time.
    pub(super) fn by_librpma(
        &mut self,
        case: Case,
        time: Duration,
        shared: &Shared,
        measured: &mut Measured,
    ) -> Result<()> {
        let frame = self.frame(time);
        self.number = self.number.map(|byte| byte.wrapping_add(1));
        let path = Library {
            worker: self,
            case,
            queue: self.conn.cq()?,
            stride: stride(case.size) as usize,
        };
        let done = frame.run(path, shared, measured);
        self.explain(done)
    }

    /// Measures the same requests without librpma, after [`warm_up`](Self::warm_up) has copied them.
    pub(super) fn by_verbs(
        &mut self,
        time: Duration,
        shared: &Shared,
        measured: &mut Measured,
    ) -> Result<()> {
        let frame = self.frame(time);
        let done = match &mut self.requests {
            Some(requests) => frame.run(Verbs(requests), shared, measured),
            None => Err(Error::Other("nothing was copied".into())),
        };
        self.explain(done)
    }

    fn frame(&self, time: Duration) -> Frame {
        Frame {
            depth: self.depth,
            wait: self.wait,
            event_fd: self.event_fd,
            cq_fd: self.cq_fd,
            time,
        }
    }

    /// If the server is gone, this is the reason of all failures.
    fn explain(&mut self, done: Result<()>) -> Result<()> {
        let Err(error) = done else { return Ok(()) };
        if matches!(error, Error::Interrupted) {
            return Err(error);
        }
        // The event may come a little after the completions that tell of it.
        let told = signals::wait_readable([self.event_fd], 10_000).is_ok_and(|[told]| told);
        match told.then(|| self.conn.next_event()) {
            Some(Ok(Some(Event::Closed | Event::Lost))) => {
                Err(Error::Other(format!("the server is gone ({error})")))
            }
            _ => Err(error),
        }
    }

    /// Ends the connection.
    pub(super) fn close(mut self) -> Result<()> {
        self.requests = None;
        self.conn.disconnect()?;
        // The server has then seen it too, and can end.
        let [_told] = signals::wait_readable([self.event_fd], 1000)
            .map_err(|error| Error::System("poll", error))?;
        Ok(())
    }
}

/// Slots begin at multiples of 8, for atomic writes.
fn stride(size: u64) -> u64 {
    size.max(8).next_multiple_of(8)
}

fn establish(conn: &mut Conn, event_fd: c_int, plan: &Plan<'_>) -> Result<()> {
    let at = || format!("{} port {}", plan.addr, plan.port);
    loop {
        let [told] =
            signals::wait_readable([event_fd], -1).map_err(|error| Error::System("poll", error))?;
        if signals::interrupted() {
            return Err(Error::Interrupted);
        }
        if !told {
            continue;
        }
        return match conn.next_event()? {
            None => continue,
            Some(Event::Established) => Ok(()),
            Some(Event::Rejected) => Err(Error::Other(format!(
                "no rpma-perf server listens at {}: start one with 'rpma-perf server {}'",
                at(),
                plan.addr
            ))),
            Some(Event::Unreachable) => Err(Error::Other(format!("{} does not answer", at()))),
            Some(Event::Closed | Event::Lost | Event::Unknown) => {
                Err(Error::Other(format!("the connection to {} was lost", at())))
            }
        };
    }
}

/// How an operation is posted, and its completion is learnt of.
trait Way {
    fn post(&mut self, slot: usize) -> Result<()>;
    fn take(&mut self, completions: &mut [MaybeUninit<ibv_wc>]) -> Result<usize>;
    fn wait(&mut self) -> Result<()>;
}

struct Library<'a> {
    worker: &'a Worker,
    case: Case,
    queue: Cq<'a>,
    stride: usize,
}

impl Way for Library<'_> {
    #[inline]
    fn post(&mut self, slot: usize) -> Result<()> {
        let Worker {
            conn,
            remote,
            flush,
            number,
            ..
        } = self.worker;
        let at = slot * self.stride;
        let len = self.case.size as usize;
        match self.case.op {
            Op::Read => conn.read(at, remote, at, len, slot)?,
            Op::Write => conn.write(remote, at, at, len, Notify::Always, slot)?,
            Op::Flush => conn.flush(remote, at, len, *flush, slot)?,
            Op::WriteFlush => {
                conn.write(remote, at, at, len, Notify::OnError, slot)?;
                conn.flush(remote, at, len, *flush, slot)?;
            }
            Op::AtomicWrite => conn.atomic_write(remote, at, number, slot)?,
            Op::Send => {
                conn.recv(at, len, slot)?;
                conn.send(at, len, slot | IGNORED)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn take(&mut self, completions: &mut [MaybeUninit<ibv_wc>]) -> Result<usize> {
        Ok(self.queue.take(completions)?)
    }

    fn wait(&mut self) -> Result<()> {
        self.queue.wait()?;
        Ok(())
    }
}

struct Verbs<'a>(&'a mut Requests);

impl Way for Verbs<'_> {
    #[inline]
    fn post(&mut self, slot: usize) -> Result<()> {
        self.0
            .post(slot)
            .map_err(|error| Error::System("ibv_post_send", error))
    }

    #[inline]
    fn take(&mut self, completions: &mut [MaybeUninit<ibv_wc>]) -> Result<usize> {
        self.0
            .take(completions)
            .map_err(|error| Error::System("ibv_poll_cq", error))
    }

    fn wait(&mut self) -> Result<()> {
        self.0
            .wait()
            .map_err(|error| Error::System("ibv_get_cq_event", error))
    }
}

struct Frame {
    depth: usize,
    wait: Wait,
    event_fd: c_int,
    cq_fd: c_int,
    time: Duration,
}

impl Frame {
    /// Keeps `depth` operations under way until the time is over, and waits for the last of them.
    fn run(&self, mut way: impl Way, shared: &Shared, measured: &mut Measured) -> Result<()> {
        let mut completions = [const { MaybeUninit::<ibv_wc>::uninit() }; 16];
        let begin = Instant::now();
        let mut posted = vec![begin; self.depth];
        for (slot, posted) in posted.iter_mut().enumerate() {
            *posted = Instant::now();
            way.post(slot)?;
        }
        let mut under_way = self.depth;
        let mut idle = 0u32;
        let mut interrupted = false;
        while under_way > 0 {
            let got = way.take(&mut completions)?;
            if got == 0 {
                self.nothing(&mut way, &mut idle)?;
                continue;
            }
            idle = 0;
            let now = Instant::now();
            let mut done = 0;
            interrupted |= signals::interrupted();
            let over =
                interrupted || now - begin >= self.time || shared.stop.load(Ordering::Relaxed);
            for completion in &completions[..got] {
                // SAFETY: the queue has set as many.
                let completion = unsafe { completion.assume_init_ref() };
                if completion.status != ibv_wc_status::IBV_WC_SUCCESS {
                    return Err(failed(completion.status));
                }
                let slot = completion.wr_id as usize;
                if slot & IGNORED != 0 {
                    continue;
                }
                let Some(posted) = posted.get_mut(slot) else {
                    return Err(Error::Other(format!(
                        "a completion of unknown context {slot}"
                    )));
                };
                let ns = u64::try_from((now - *posted).as_nanos()).unwrap_or(u64::MAX);
                measured.latency.saturating_record(ns.max(1));
                done += 1;
                if over {
                    under_way -= 1;
                } else {
                    *posted = Instant::now();
                    way.post(slot)?;
                }
            }
            shared.operations.fetch_add(done, Ordering::Relaxed);
        }
        measured.time += begin.elapsed();
        if interrupted {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Nothing has completed: waits, and looks whether the connection is still there.
    fn nothing(&self, way: &mut impl Way, idle: &mut u32) -> Result<()> {
        let timeout = match self.wait {
            Wait::Event => -1,
            Wait::Poll => {
                *idle += 1;
                if *idle % 4096 != 0 {
                    return Ok(());
                }
                0
            }
        };
        let [told, completed] = signals::wait_readable([self.event_fd, self.cq_fd], timeout)
            .map_err(|error: io::Error| Error::System("poll", error))?;
        if completed {
            way.wait()?;
        }
        // What was under way completes first; then nothing comes any more.
        if told && !completed && (self.wait == Wait::Event || *idle > 1 << 16) {
            return Err(Error::Other("the connection was closed".into()));
        }
        // With the server stopped, nothing may ever complete.
        if !completed && signals::interrupted() {
            return Err(Error::Interrupted);
        }
        Ok(())
    }
}

fn failed(status: ibv_wc_status::Type) -> Error {
    // SAFETY: the function takes any number and returns a constant string.
    let text = unsafe { CStr::from_ptr(rdma_sys::ibv_wc_status_str(status)) };
    Error::Other(format!("an operation failed: {}", text.to_string_lossy()))
}
