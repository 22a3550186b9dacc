// SPDX-License-Identifier: BSD-3-Clause

//! Completion queues.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Result;
use crate::instrument;
use crate::io::{self, fork_state};
use crate::objects::attached::{Attached, Picks, Polled, QueuePairs, any_is_polled};
use crate::objects::busy_wait::{self, BusyWait};
use crate::objects::channel::{BeforeSleep, Channel, Unacknowledged};
use crate::objects::context::{AsyncEvent, AsyncKind, Context, EventSource};
use crate::objects::strict;
use crate::objects::users::Users;
use crate::os::checker;
use crate::os::clock;
use crate::os::held::Locks;
use crate::os::pair::Pair;
use crate::os::thread::ThreadMark;
use crate::types::completion::{Completion, Status};
use crate::types::limits;

/// Where completion queues announce their events.
#[derive(Debug)]
pub(crate) struct CompChannel {
    pub(crate) events: Channel<Arc<Cq>>,
    pub(crate) context: Arc<Context>,
    pub(crate) users: Users,
    /// Queues that were armed when they held completions of which no event has told.
    untold: Mutex<Vec<Weak<Cq>>>,
    /// Those that announce their events here.
    queues: Mutex<Vec<Weak<Cq>>>,
    busy_wait: BusyWait,
}

impl CompChannel {
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self> {
        Ok(Self {
            events: Channel::new()?,
            context: Arc::clone(context),
            users: Users::default(),
            untold: Mutex::new(Vec::new()),
            queues: Mutex::new(Vec::new()),
            busy_wait: BusyWait::default(),
        })
    }

    /// The next event, for a program that waits if there is none. It has often armed its queue after an event,
    /// before it looked into the queue: what came in between is told of now, as if it had come after the arming. A
    /// program that takes one completion for each event would wait for ever otherwise.
    pub(crate) fn take(&self) -> Result<Arc<Cq>> {
        {
            let mut untold = self.untold.lock();
            if !untold.is_empty() && self.events.would_wait()? {
                while let Some(cq) = untold.pop() {
                    // Still under the lock: a queue that is destroyed withdraws its event.
                    if let Some(cq) = cq.upgrade().filter(|cq| cq.tell_of_one_more()) {
                        self.events.push(cq);
                        break;
                    }
                }
            }
        }
        let slept_from = Cell::new(None);
        let polls = |before: BeforeSleep<'_>| {
            self.poll_before_sleep(before).unwrap_or_else(|| {
                slept_from.set(Some(Instant::now()));
                false
            })
        };
        let taken = |cq: &Arc<Cq>| cq.unacknowledged.add();
        let event = self.events.take_after(&polls, taken)?;
        if let Some(slept_from) = slept_from.get() {
            self.busy_wait.slept(slept_from.elapsed());
        }
        Ok(event)
    }

    /// A thread is about to wait: it polls the connections of all queues for a moment (`busy_wait.rs`). Whether its event
    /// has come. None if that is not worth it, or there is nothing to poll.
    fn poll_before_sleep(&self, mut before: BeforeSleep<'_>) -> Option<bool> {
        if !self.busy_wait.begin() {
            return None;
        }
        // Their handlers must not run while the thread has locks.
        before.block_signals();
        let mut polled: [Polled; busy_wait::MOST] = Default::default();
        self.begin_busy_wait(&mut polled);
        let found = if polled[0].is_some() {
            Some(self.busy_wait.poll(&polled, &|| before.try_take()))
        } else {
            self.busy_wait.has_nothing_to_poll();
            None
        };
        for (qp, _) in polled.iter().flatten() {
            qp.end_busy_wait();
        }
        self.busy_wait.end();
        // What came last has come by `end_busy_wait`.
        found.map(|found| found || before.try_take())
    }

    fn begin_busy_wait(&self, polled: &mut [Polled]) {
        let queues = self.queues.lock();
        if queues.len() > busy_wait::MOST {
            return;
        }
        let queues: Vec<_> = queues.iter().filter_map(Weak::upgrade).collect();
        let lists = || queues.iter().filter_map(|cq| cq.queue_pairs.try_lock());
        if lists().map(|list| list.count()).sum::<usize>() <= busy_wait::MOST {
            lists().for_each(|list| list.begin_busy_wait(polled));
        }
    }

    fn is_untold(&self, cq: &Arc<Cq>) {
        let mut untold = self.untold.lock();
        if !untold.iter().any(|other| other.as_ptr() == Arc::as_ptr(cq)) {
            untold.push(Arc::downgrade(cq));
        }
    }

    fn forget(&self, cq: &Arc<Cq>) {
        let is_it = |other: &Weak<Cq>| other.as_ptr() == Arc::as_ptr(cq);
        {
            let mut queues = self.queues.lock();
            if let Some(index) = queues.iter().rposition(is_it) {
                queues.swap_remove(index);
            }
        }
        let mut untold = self.untold.lock();
        untold.retain(|other| !is_it(other));
        self.events
            .withdraw(|other: &Arc<Cq>| Arc::ptr_eq(other, cq));
    }
}

#[derive(Debug)]
pub(crate) struct Cq {
    pub(crate) context: Arc<Context>,
    pub(crate) channel: Option<Arc<CompChannel>>,
    /// The address of what the program has of it.
    pub(crate) handle: AtomicUsize,
    pub(crate) users: Users,
    pub(crate) unacknowledged: Unacknowledged,
    pub(crate) async_unacknowledged: Unacknowledged,
    inner: Mutex<Inner>,
    /// The queue pairs that complete here.
    queue_pairs: Mutex<QueuePairs>,
    /// How often a poll has found nothing, and how often that was when the queue was armed last.
    polls: AtomicU32,
    polls_when_armed: AtomicU32,
    /// There may be queue pairs that leave acknowledgements of requests unread, as long as this queue is not armed.
    has_unread_acks: AtomicBool,
}

/// The threads that wait for a channel listen to a process on this host, for one of its connections.
#[derive(Debug)]
pub(crate) struct Listening {
    channel: Arc<CompChannel>,
    pair: Arc<Pair>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.channel.events.stop_listening_to(&self.pair);
    }
}

#[derive(Debug)]
struct Inner {
    completions: VecDeque<Completion>,
    room: usize,
    /// How many of them an event has told of. Each event tells of one, of the first ones here.
    told: usize,
    /// The last ones, if they are of requests that were executed as they were posted, and nobody has polled since.
    at_post: Option<AtPost>,
    armed: Armed,
    /// A completion was lost: the queue is of no use any more.
    overrun: bool,
}

/// Completions of requests that a thread has executed as it posted them.
#[derive(Clone, Copy, Debug)]
struct AtPost {
    by: ThreadMark,
    /// The place of the first of them, and when it came here.
    first: usize,
    since: Duration,
}

/// A program that arms its queue so soon behind a post expects that the request takes longer.
const AT_ONCE: Duration = Duration::from_millis(50);

/// A program that finds nothing so often after it has armed its queue is one that polls: one that waits looks once or
/// twice before it does.
const MANY_POLLS: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Armed {
    No,
    Solicited,
    Any,
}

impl Armed {
    fn wants(self, completion: &Completion) -> bool {
        match self {
            Self::No => false,
            Self::Any => true,
            Self::Solicited => completion.solicited || completion.status != Status::Success,
        }
    }
}

impl Inner {
    /// There are completions for which it is armed, and of which no event has told.
    fn has_untold(&self) -> bool {
        self.has_untold_from(0)
    }

    fn has_untold_from(&self, first: usize) -> bool {
        let mut untold = self.completions.iter().skip(self.told.max(first));
        untold.any(|completion| self.armed.wants(completion))
    }

    /// An event tells of one of the completions that are here.
    fn tell(&mut self) {
        self.armed = Armed::No;
        self.told += 1;
    }
}

/// As programs know it: by the address of its `struct ibv_cq`.
impl std::fmt::Display for Cq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CQ {:#x}", self.handle.load(Ordering::Relaxed))
    }
}

impl Cq {
    /// A queue for at least `size` completions.
    pub(crate) fn new(
        context: &Arc<Context>,
        size: u32,
        channel: Option<Arc<CompChannel>>,
    ) -> Result<Arc<Self>> {
        if size == 0 || size > limits::MAX_CQE {
            return Err(libc::EINVAL);
        }
        let room = limits::queue_room(size);
        let mut completions = VecDeque::new();
        // It grows with what is in it: programs ask for more than they ever use.
        completions
            .try_reserve(room.min(64))
            .map_err(|_| libc::ENOMEM)?;
        context.users.add();
        let new = Arc::new(Self {
            context: Arc::clone(context),
            channel,
            handle: AtomicUsize::new(0),
            users: Users::default(),
            unacknowledged: Unacknowledged::default(),
            async_unacknowledged: Unacknowledged::default(),
            inner: Mutex::new(Inner {
                completions,
                room,
                told: 0,
                at_post: None,
                armed: Armed::No,
                overrun: false,
            }),
            queue_pairs: Mutex::new(QueuePairs::default()),
            polls: AtomicU32::new(0),
            polls_when_armed: AtomicU32::new(0),
            has_unread_acks: AtomicBool::new(false),
        });
        if let Some(channel) = &new.channel {
            channel.users.add();
            channel.queues.lock().push(Arc::downgrade(&new));
        }
        Ok(new)
    }

    /// Before a fork.
    pub(crate) fn hold(self: &Arc<Self>, locks: &mut Locks) -> bool {
        locks.hold(self, |cq| &cq.inner)
    }

    /// After all queues.
    pub(crate) fn hold_channel(&self, locks: &mut Locks) -> bool {
        self.channel.as_ref().is_none_or(|channel| {
            locks.hold(channel, |channel| channel.events.lock_itself())
                && locks.hold(channel, |channel| channel.events.lock_waiting())
        })
    }

    /// Before a fork, before its queue pairs.
    pub(crate) fn hold_list(self: &Arc<Self>, locks: &mut Locks) -> bool {
        locks.hold(self, |cq| &cq.queue_pairs)
            && self.channel.as_ref().is_none_or(|channel| {
                locks.hold(channel, |channel| &channel.untold)
                    && locks.hold(channel, |channel| &channel.queues)
            })
    }

    /// How many completions it holds at most.
    pub(crate) fn room(&self) -> usize {
        self.inner.lock().room
    }

    pub(crate) fn resize(&self, size: u32) -> Result<usize> {
        if size == 0 || size > limits::MAX_CQE {
            return Err(libc::EINVAL);
        }
        let room = limits::queue_room(size);
        let mut inner = self.inner.lock();
        if inner.completions.len() > room {
            return Err(libc::EINVAL);
        }
        inner.room = room;
        Ok(room)
    }

    /// Takes the queue apart, once nothing uses it and the program has acknowledged its events.
    pub(crate) fn destroy(self: &Arc<Self>) -> Result<()> {
        self.users.refuse_if_any()?;
        if let Some(channel) = &self.channel {
            channel.forget(self);
        }
        self.context
            .events
            .withdraw(|event| event.is_of(self.as_ref()));
        if instrument::strict::is_on() {
            strict::forget_cq(self);
        }
        self.unacknowledged.wait_for_none(self);
        self.async_unacknowledged.wait_for_none(self);
        if let Some(channel) = &self.channel {
            channel.users.remove();
        }
        self.context.users.remove();
        Ok(())
    }

    /// A connection to this process completes here, as long as what is returned exists.
    pub(crate) fn listen_to(&self, pair: &Arc<Pair>) -> Option<Listening> {
        let channel = self.channel.as_ref()?;
        channel.events.listen_to(pair).then(|| Listening {
            channel: Arc::clone(channel),
            pair: Arc::clone(pair),
        })
    }

    pub(crate) fn attach<Q: Attached + 'static>(&self, qp: &Arc<Q>) {
        let qp: Arc<dyn Attached> = Arc::clone(qp) as _;
        self.queue_pairs.lock().add(&qp);
        self.users.add();
    }

    pub(crate) fn detach<Q: Attached>(&self, qp: &Q) {
        self.queue_pairs.lock().remove(qp);
        self.users.remove();
    }

    fn queue_pairs(&self) -> Vec<Arc<dyn Attached>> {
        self.queue_pairs.lock().all()
    }

    /// Adds a completion, and an event if the queue is armed for it.
    pub(crate) fn push(self: &Arc<Self>, completion: Completion) {
        self.add(completion, None);
    }

    /// As `push`, of a request that the calling thread has executed as it posted it. On a device the request would take
    /// some time: a program that arms the queue next expects an event of it.
    pub(crate) fn push_at_post(self: &Arc<Self>, completion: Completion) {
        // Nobody else knows of events.
        self.add(completion, self.channel.as_ref().map(|_| ThreadMark::own()));
    }

    fn add(self: &Arc<Self>, completion: Completion, at_post: Option<ThreadMark>) {
        let announce = {
            let mut inner = self.inner.lock();
            if inner.overrun {
                return;
            }
            // Without memory for one more, the completion is lost in the same way as in a full queue.
            if inner.completions.len() >= inner.room || inner.completions.try_reserve(1).is_err() {
                inner.overrun = true;
                let room = inner.room;
                drop(inner);
                if instrument::strict::is_on() {
                    strict::overrun(self, completion.qp_num, room);
                }
                self.overrun();
                return;
            }
            let wanted = inner.armed.wants(&completion);
            if wanted {
                inner.tell();
            } else if let Some(by) = at_post {
                if inner.at_post.is_none_or(|others| others.by != by) {
                    inner.at_post = Some(AtPost {
                        by,
                        first: inner.completions.len(),
                        since: clock::coarse(),
                    });
                }
            }
            inner.completions.push_back(completion);
            checker::hands_over(self.as_ref());
            wanted
        };
        if announce {
            if let Some(channel) = &self.channel {
                channel.events.push(Arc::clone(self));
            }
        }
    }

    /// The queue is full: its queue pairs are in error. That is done elsewhere, since one of them holds
    /// its lock.
    #[cold]
    fn overrun(self: &Arc<Self>) {
        self.context.events.push(AsyncEvent::new(
            AsyncKind::CqError,
            Arc::downgrade(self) as _,
        ));
        let cq = Arc::clone(self);
        io::later(move || {
            for qp in cq.queue_pairs() {
                qp.fail_for_its_cq();
            }
        });
    }

    /// Whether a completion was lost.
    pub(crate) fn is_overrun(&self) -> bool {
        self.inner.lock().overrun
    }

    /// Hands out completions, `most` at most. None and an overrun queue: `EIO`.
    pub(crate) fn poll(&self, most: usize, mut each: impl FnMut(Completion)) -> Result<usize> {
        let mut n = self.take(most, &mut each)?;
        if n == 0 && instrument::pace::is_on() && run_due_by_polling() {
            n = self.take(most, &mut each)?;
        }
        if n == 0 && self.look_for_input() {
            n = self.take(most, &mut each)?;
        }
        Ok(n)
    }

    fn take(&self, most: usize, each: &mut impl FnMut(Completion)) -> Result<usize> {
        let mut inner = self.inner.lock();
        let n = most.min(inner.completions.len());
        if instrument::strict::is_on() {
            // Under the lock: in the order of the completions, and before another thread knows of a later one.
            inner.completions.iter().take(n).for_each(strict::polled);
        }
        for completion in inner.completions.drain(..n) {
            each(completion);
        }
        inner.told = inner.told.saturating_sub(n);
        inner.at_post = None;
        checker::takes_over(self);
        if n == 0 && inner.overrun && most > 0 {
            return Err(libc::EIO);
        }
        Ok(n)
    }

    /// The program acknowledges events.
    pub(crate) fn acknowledge(&self, count: u32) {
        let surplus = self.unacknowledged.acknowledge(u64::from(count));
        if surplus > 0 && instrument::strict::is_on() {
            strict::acknowledged_too_often(self, surplus);
        }
    }

    /// Arms the queue for one event.
    pub(crate) fn arm(self: &Arc<Self>, solicited_only: bool) {
        if !fork_state::is_settled() {
            for qp in self.queue_pairs() {
                qp.touch_if_connected();
            }
        }
        let (has_untold, is_due) = {
            let mut inner = self.inner.lock();
            inner.armed = if solicited_only && inner.armed != Armed::Any {
                Armed::Solicited
            } else {
                Armed::Any
            };
            // Relaxed: read under the same lock where that matters.
            self.polls_when_armed.store(self.polls(), Ordering::Relaxed);
            let at_post = inner.at_post.take();
            let is_due = at_post.is_some_and(|posted| {
                posted.by == ThreadMark::own()
                    && clock::coarse().saturating_sub(posted.since) < AT_ONCE
                    && inner.has_untold_from(posted.first)
            });
            if is_due {
                inner.tell();
            }
            (inner.has_untold(), is_due)
        };
        if let Some(channel) = &self.channel {
            if is_due {
                channel.events.push(Arc::clone(self));
            }
            if has_untold {
                channel.is_untold(self);
            }
        }
        if self.has_unread_acks.swap(false, Ordering::SeqCst) {
            self.queue_pairs.lock().each(|qp| qp.read_acks());
        }
        // The program may go to sleep now: the I/O thread takes over.
        if any_is_polled() {
            self.queue_pairs.lock().each(|qp| qp.leave_polling_mode());
        }
    }

    /// The program is about to wait. Whether it is to have an event of what was there when it armed the queue.
    fn tell_of_one_more(&self) -> bool {
        let mut inner = self.inner.lock();
        let tells = inner.has_untold();
        if tells {
            inner.tell();
        }
        tells
    }

    /// It holds what came before it was armed.
    #[cfg(test)]
    pub(crate) fn has_untold(&self) -> bool {
        self.inner.lock().has_untold()
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.inner.lock().armed != Armed::No
    }

    /// The queue is armed, and the program is likely to wait for the event: it does not go on polling.
    pub(crate) fn awaits_event(&self) -> bool {
        let inner = self.inner.lock();
        inner.armed != Armed::No && self.polls_since_armed() < MANY_POLLS
    }

    fn polls_since_armed(&self) -> u32 {
        let when_armed = self.polls_when_armed.load(Ordering::Relaxed);
        self.polls().wrapping_sub(when_armed)
    }

    /// A queue pair leaves acknowledgements unread, unless the queue is armed for its completions. It is told when it
    /// comes to be armed.
    pub(crate) fn leaves_acks_unread(&self) -> bool {
        if self.is_armed() {
            return false;
        }
        // Before the queue is looked at once more: who arms it does that first, and then looks here.
        if !self.has_unread_acks.load(Ordering::SeqCst) {
            self.has_unread_acks.store(true, Ordering::SeqCst);
        }
        !self.is_armed()
    }

    /// How often a poll has found nothing.
    pub(crate) fn polls(&self) -> u32 {
        self.polls.load(Ordering::Relaxed)
    }

    /// A program that polls does the work of the I/O thread: it reads what the queue's
    /// connections have for it, and nobody has to be woken. With many connections it looks at a few each time.
    fn look_for_input(&self) -> bool {
        self.polls.fetch_add(1, Ordering::Relaxed);
        if self.polls_since_armed() == MANY_POLLS {
            self.go_on_polling();
        }
        let mut picks = Picks::default();
        {
            let Some(mut queue_pairs) = self.queue_pairs.try_lock() else {
                return false;
            };
            queue_pairs.pick(&mut picks);
        }
        // Not under the lock: who adds a queue pair must not wait for a copy.
        let mut progress = false;
        for (index, qp) in picks.iter_mut().filter_map(Option::take) {
            progress |= qp.progress_by_polling();
            let Some(hint) = index.and_then(|_| qp.hint()) else {
                continue;
            };
            if let (Some(index), Some(mut queue_pairs)) = (index, self.queue_pairs.try_lock()) {
                queue_pairs.set_hint(index, &qp, hint);
            }
        }
        progress
    }

    /// The program polls though it has armed the queue: an event may be welcome, but is not what it waits for.
    #[cold]
    fn go_on_polling(&self) {
        /// With more queue pairs, those that something comes for notice it themselves.
        const FEW: usize = 8;
        if let (true, Some(queue_pairs)) = (self.is_armed(), self.queue_pairs.try_lock()) {
            if queue_pairs.count() <= FEW {
                queue_pairs.each(|qp| qp.is_polled_though_armed());
            }
        }
    }
}

impl EventSource for Cq {
    fn handle(&self) -> &AtomicUsize {
        &self.handle
    }

    fn async_unacknowledged(&self) -> &Unacknowledged {
        &self.async_unacknowledged
    }
}

/// As long as it is not known whether the connections are this process's, the I/O thread sees to it.
#[cold]
fn run_due_by_polling() -> bool {
    fork_state::is_settled() && io::pace::run_due(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(wr_id: u64, solicited: bool) -> Completion {
        Completion {
            solicited,
            ..Completion::failed(wr_id, 1, Status::Success)
        }
    }

    fn new(size: u32) -> Result<(Arc<CompChannel>, Arc<Cq>)> {
        let context = Context::new()?;
        let channel = Arc::new(CompChannel::new(&context)?);
        let cq = Cq::new(&context, size, Some(Arc::clone(&channel)))?;
        Ok((channel, cq))
    }

    #[test]
    fn one_event_for_each_time_it_is_armed() -> Result<()> {
        let (channel, cq) = new(10)?;
        let events = || channel.events.count(|_| true);
        cq.push(completion(1, false));
        assert_eq!(events(), 0);
        cq.arm(false);
        assert_eq!(events(), 0);
        cq.push(completion(2, false));
        cq.push(completion(3, false));
        assert_eq!(events(), 1);
        cq.arm(true);
        cq.push(completion(4, false));
        assert_eq!(events(), 1);
        cq.push(completion(5, true));
        assert_eq!(events(), 2);
        let mut seen = Vec::new();
        assert_eq!(cq.poll(10, |c| seen.push(c.wr_id)), Ok(5));
        assert_eq!(seen, [1, 2, 3, 4, 5]);
        cq.destroy()?;
        assert_eq!(events(), 0);
        Ok(())
    }

    #[test]
    fn a_queue_that_is_armed_tells_nobody_when_it_is_armed_again() -> Result<()> {
        let (_channel, cq) = new(10)?;
        assert!(cq.leaves_acks_unread());
        assert!(cq.has_unread_acks.load(Ordering::SeqCst));
        cq.arm(false);
        assert!(!cq.leaves_acks_unread());
        assert!(!cq.has_unread_acks.load(Ordering::SeqCst));
        cq.destroy()
    }

    #[test]
    fn who_takes_one_completion_for_each_event_does_not_wait_for_ever() -> Result<()> {
        let (channel, cq) = new(10)?;
        cq.arm(false);
        for wr_id in 1..=3 {
            cq.push(completion(wr_id, false));
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            let told = channel.take()?;
            told.unacknowledged.acknowledge(1);
            told.arm(false);
            // Nobody but who waits is told of what was there.
            assert_eq!(channel.events.count(|_| true), 0);
            assert_eq!(cq.poll(1, |c| seen.push(c.wr_id)), Ok(1));
        }
        assert_eq!(seen, [1, 2, 3]);
        cq.push(completion(4, false));
        channel.take()?.unacknowledged.acknowledge(1);
        // One queue that has nothing any more, and one that goes.
        cq.push(completion(5, false));
        cq.arm(false);
        assert_eq!(cq.poll(10, |_| ()), Ok(2));
        assert!(!cq.tell_of_one_more());
        cq.push(completion(6, false));
        channel.take()?.unacknowledged.acknowledge(1);
        cq.push(completion(7, false));
        channel.untold.lock().clear();
        cq.arm(true);
        assert!(channel.untold.lock().is_empty());
        cq.arm(false);
        assert_eq!(channel.untold.lock().len(), 1);
        cq.destroy()?;
        assert!(channel.untold.lock().is_empty());
        Ok(())
    }

    #[test]
    fn who_has_nothing_to_poll_sleeps_at_once_after_a_few_waits() -> Result<()> {
        let (channel, cq) = new(10)?;
        for _ in 0..3 {
            let polls = |before: BeforeSleep<'_>| {
                assert_eq!(channel.poll_before_sleep(before), None);
                channel.events.push(Arc::clone(&cq));
                false
            };
            channel.events.take_after(&polls, |_| ())?;
        }
        assert!(!channel.busy_wait.begin());
        cq.destroy()
    }

    #[test]
    fn what_was_executed_at_the_post_is_told_to_who_arms_next() -> Result<()> {
        let (channel, cq) = new(10)?;
        let events = || channel.events.count(|_| true);
        cq.push(completion(1, false));
        cq.push_at_post(completion(2, false));
        cq.push_at_post(completion(3, false));
        cq.arm(true);
        // None of them is solicited.
        assert_eq!(events(), 0);
        cq.push_at_post(completion(4, false));
        cq.arm(false);
        assert_eq!(events(), 1);
        // Once, and not after a poll.
        cq.arm(false);
        assert_eq!(events(), 1);
        assert_eq!(cq.poll(10, |_| ()), Ok(4));
        cq.push_at_post(completion(5, false));
        assert_eq!(events(), 2);
        cq.push_at_post(completion(6, false));
        assert_eq!(cq.poll(1, |_| ()), Ok(1));
        cq.arm(false);
        assert_eq!(events(), 2);
        assert_eq!(cq.poll(10, |_| ()), Ok(1));
        // Another thread does not know of the post.
        cq.push(completion(7, false));
        assert_eq!(cq.poll(10, |_| ()), Ok(1));
        cq.push_at_post(completion(8, false));
        let other = Arc::clone(&cq);
        let armed = std::thread::spawn(move || other.arm(false));
        assert!(armed.join().is_ok());
        assert_eq!(events(), 3);
        cq.destroy()
    }

    #[test]
    fn a_full_queue_is_an_error_and_keeps_what_it_has() -> Result<()> {
        let (_channel, cq) = new(1)?;
        cq.push(completion(1, false));
        cq.push(completion(2, false));
        assert_eq!(cq.context.events.count(|_| true), 1);
        assert_eq!(cq.poll(10, |_| ()), Ok(1));
        assert_eq!(cq.poll(10, |_| ()), Err(libc::EIO));
        Ok(())
    }

    #[test]
    fn sizes_have_limits() -> Result<()> {
        let context = Context::new()?;
        assert!(Cq::new(&context, 0, None).is_err());
        assert!(Cq::new(&context, limits::MAX_CQE + 1, None).is_err());
        assert_eq!(Cq::new(&context, 262_144, None)?.room(), 524_287);
        let largest = Cq::new(&context, limits::MAX_CQE, None)?;
        assert_eq!(largest.room(), limits::MAX_CQE as usize);
        assert!(largest.inner.lock().completions.capacity() < 1024);
        assert!(largest.resize(limits::MAX_CQE + 1).is_err());
        Ok(())
    }
}
