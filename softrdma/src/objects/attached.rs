// SPDX-License-Identifier: BSD-3-Clause

//! The queue pairs of a completion queue, and which of them a program that polls the queue looks at.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use crate::io::fork_state;
use crate::os::rings::RingHint;
use crate::os::socket_hint::{self, SocketHint, Sockets};

/// What a completion queue asks of its queue pairs.
pub(crate) trait Attached: Send + Sync {
    /// Reads what has come, on a thread of the program that has found the queue empty. Whether there was anything.
    fn progress_by_polling(&self) -> bool;

    /// What shows whether something has come, while there is a connection.
    fn hint(&self) -> Option<Hint>;

    /// The program goes on polling a queue that it has armed.
    fn is_polled_though_armed(&self);

    /// A thread that is about to wait for an event polls the connection until `end_busy_wait`, and the peer need not wake
    /// anybody. What shows whether something has come. None if nothing does, or another thread polls it.
    fn begin_busy_wait(&self) -> Option<Arc<RingHint>>;

    /// Reads what has come, on that thread.
    fn progress_in_busy_wait(&self);

    fn end_busy_wait(&self);

    /// The program is about to wait for an event: the I/O thread reads what comes from now on.
    fn leave_polling_mode(&self);

    /// A queue of it is armed: it is to be woken for acknowledgements.
    fn read_acks(&self);

    /// After a fork: the program waits for what its connection brings.
    fn touch_if_connected(&self);

    /// The queue is full: a completion may be lost.
    fn fail_for_its_cq(&self);
}

/// What shows, without the lock of a queue pair, whether its connection has something for it.
#[derive(Clone, Debug)]
pub(crate) enum Hint {
    /// Shared memory.
    Ring(Arc<RingHint>),
    /// The kernel, when it is asked.
    Socket(Arc<SocketHint>),
}

impl Hint {
    fn is_closed(&self) -> bool {
        match self {
            Self::Ring(hint) => hint.is_closed(),
            Self::Socket(hint) => hint.is_closed(),
        }
    }
}

/// How many queue pairs are in polling mode: left to the polls of their program.
static POLLED: AtomicUsize = AtomicUsize::new(0);

/// One more queue pair is in polling mode, or one less.
pub(crate) fn count_polled(is_polled: bool) {
    if is_polled {
        POLLED.fetch_add(1, Ordering::AcqRel);
    } else {
        POLLED.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Whether any queue pair is. Usually none is: then a program with many connections need not check them.
pub(super) fn any_is_polled() -> bool {
    POLLED.load(Ordering::Acquire) > 0
}

#[derive(Debug, Default)]
pub(super) struct QueuePairs {
    all: Vec<Entry>,
    /// The one that looks for input next.
    next: usize,
    /// Where the next one goes that has something.
    next_recent: usize,
}

#[derive(Debug)]
struct Entry {
    qp: Weak<dyn Attached>,
    /// Some once it has a connection, and has been looked at.
    hint: Option<Hint>,
}

/// How many queue pairs a poll picks, to lock and read from.
const AT_ONCE: usize = 4;
/// How many queue pairs a poll checks by their hint, without a lock. For those on TCP that is one system call.
const HINTS: usize = socket_hint::MOST;
/// How many of the queue pairs that had something last are checked first by each poll.
const RECENT: usize = 8;

/// With the places of those that have no hint yet.
type Pick = Option<(Option<usize>, Arc<dyn Attached>)>;
pub(super) type Picks = [Pick; AT_ONCE];

/// One that a thread polls before it sleeps, and what shows whether something has come.
pub(super) type Polled = Option<(Arc<dyn Attached>, Arc<RingHint>)>;

impl QueuePairs {
    pub(super) fn add(&mut self, qp: &Arc<dyn Attached>) {
        // It may be attached twice, for both of its queues.
        let last = self.all.last();
        if last.is_none_or(|last| !last.is_of(Arc::as_ptr(qp))) {
            self.all.push(Entry {
                qp: Arc::downgrade(qp),
                hint: None,
            });
        }
    }

    pub(super) fn remove<Q>(&mut self, qp: &Q) {
        self.all.retain(|other| !other.is_of(qp));
    }

    pub(super) fn all(&self) -> Vec<Arc<dyn Attached>> {
        let all = self.all.iter();
        all.filter_map(|entry| entry.qp.upgrade()).collect()
    }

    /// Adds those that a thread can poll before it sleeps, as long as there is room.
    pub(super) fn begin_busy_wait(&self, polled: &mut [Polled]) {
        let places = polled.iter_mut().filter(|place| place.is_none());
        let mut all = self.all.iter().filter_map(|entry| entry.qp.upgrade());
        for place in places {
            *place = all.find_map(|qp| {
                let hint = qp.begin_busy_wait()?;
                Some((qp, hint))
            });
        }
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    pub(super) fn each(&self, mut does: impl FnMut(&dyn Attached)) {
        for entry in &self.all {
            if let Some(qp) = entry.qp.upgrade() {
                does(qp.as_ref());
            }
        }
    }

    /// From now on the one in this place is looked at when its hint says so, if it is still there.
    pub(super) fn set_hint(&mut self, index: usize, qp: &Arc<dyn Attached>, hint: Hint) {
        let entry = self.all.get_mut(index);
        if let Some(entry) = entry.filter(|entry| entry.is_of(Arc::as_ptr(qp))) {
            entry.hint = Some(hint);
        }
    }

    /// Picks those that may have something, by a hint where that is possible.
    pub(super) fn pick(&mut self, picks: &mut Picks) {
        let count = self.all.len();
        let recent = if count > RECENT { RECENT } else { 0 };
        let mut picked = 0;
        for index in 0..recent {
            if picked < AT_ONCE && self.all[index].has_something() {
                picks[picked] = self.all[index].qp.upgrade().map(|qp| (None, qp));
                picked += 1;
            }
        }
        let asks_kernel = count > AT_ONCE && fork_state::is_settled();
        let mut sockets = None;
        for _ in 0..HINTS.min(count) {
            if picked == AT_ONCE {
                break;
            }
            if self.next >= count {
                self.next = 0;
            }
            let index = self.next;
            self.next += 1;
            let entry = &mut self.all[index];
            if entry.hint.as_ref().is_some_and(|hint| hint.is_closed()) {
                entry.hint = None;
            }
            match &entry.hint {
                // Of the recent ones it was looked at above.
                Some(Hint::Ring(hint)) if index < recent || !hint.is_worth_a_look() => continue,
                Some(Hint::Socket(hint)) if asks_kernel => {
                    sockets.get_or_insert_with(Sockets::new).add(hint, index);
                    continue;
                }
                Some(Hint::Ring(_)) => {
                    picks[picked] = entry.qp.upgrade().map(|qp| (None, qp));
                    // The sockets have their places by now.
                    if recent > 0 && sockets.is_none() {
                        // The others are looked at in no particular order.
                        self.all.swap(index, self.next_recent);
                        self.next_recent = (self.next_recent + 1) % recent;
                    }
                }
                Some(Hint::Socket(_)) | None => {
                    picks[picked] = entry.qp.upgrade().map(|qp| (Some(index), qp));
                }
            }
            picked += 1;
        }
        if let Some(sockets) = &mut sockets {
            self.pick_ready(sockets, &mut picks[picked..]);
        }
    }

    fn pick_ready(&mut self, sockets: &mut Sockets, picks: &mut [Pick]) {
        let mut picks = picks.iter_mut();
        if picks.len() == 0 {
            return;
        }
        for place in sockets.ready() {
            let Some(pick) = picks.next() else {
                // It is the first one next time.
                self.next = place;
                return;
            };
            *pick = self.all[place].qp.upgrade().map(|qp| (None, qp));
        }
    }
}

impl Entry {
    fn is_of<Q: ?Sized>(&self, qp: *const Q) -> bool {
        std::ptr::addr_eq(self.qp.as_ptr(), qp)
    }

    fn has_something(&self) -> bool {
        matches!(&self.hint, Some(Hint::Ring(hint)) if !hint.is_closed() && hint.is_worth_a_look())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Result;
    use crate::os::memory::Span;
    use crate::os::socket::Socket;

    /// A queue pair of which only the hint matters.
    struct Connected(Arc<SocketHint>);

    impl Attached for Connected {
        fn progress_by_polling(&self) -> bool {
            false
        }
        fn hint(&self) -> Option<Hint> {
            Some(Hint::Socket(Arc::clone(&self.0)))
        }
        fn is_polled_though_armed(&self) {}
        fn begin_busy_wait(&self) -> Option<Arc<RingHint>> {
            None
        }
        fn progress_in_busy_wait(&self) {}
        fn end_busy_wait(&self) {}
        fn leave_polling_mode(&self) {}
        fn read_acks(&self) {}
        fn touch_if_connected(&self) {}
        fn fail_for_its_cq(&self) {}
    }

    struct Connections {
        queue_pairs: QueuePairs,
        all: Vec<(Arc<Connected>, Socket, Socket)>,
    }

    impl Connections {
        fn new(count: usize) -> Result<Self> {
            let mut queue_pairs = QueuePairs::default();
            let mut all = Vec::new();
            for index in 0..count {
                let (own, other) = Socket::pair()?;
                let connected = Arc::new(Connected(Arc::new(SocketHint::new(own.raw()))));
                let qp: Arc<dyn Attached> = Arc::clone(&connected) as _;
                queue_pairs.add(&qp);
                queue_pairs.set_hint(index, &qp, Hint::Socket(Arc::clone(&connected.0)));
                all.push((connected, own, other));
            }
            Ok(Self { queue_pairs, all })
        }

        fn send_to(&self, index: usize) -> Result<()> {
            self.all[index]
                .2
                .send(&[Span::from_slice(b"x")])
                .map(|_| ())
        }

        fn receive(&self, index: usize) -> Result<()> {
            let mut buffer = [0];
            let received = self.all[index].1.receive(&[Span::from_mut(&mut buffer)]);
            received.map(|_| ())
        }

        /// Which ones a poll picks.
        fn picked(&mut self) -> Vec<usize> {
            let mut picks = Picks::default();
            self.queue_pairs.pick(&mut picks);
            let picks = picks.iter().flatten();
            let place = |(_, qp): &(Option<usize>, Arc<dyn Attached>)| {
                let same = |(known, ..): &(Arc<Connected>, Socket, Socket)| {
                    std::ptr::addr_eq(Arc::as_ptr(known), Arc::as_ptr(qp))
                };
                self.all.iter().position(same)
            };
            picks.filter_map(place).collect()
        }
    }

    #[test]
    fn a_poll_picks_the_connections_whose_sockets_have_something() -> Result<()> {
        let mut connections = Connections::new(HINTS)?;
        assert_eq!(connections.picked(), []);
        connections.send_to(50)?;
        assert_eq!(connections.picked(), [50]);
        // Until it is read.
        assert_eq!(connections.picked(), [50]);
        connections.receive(50)?;
        connections.all[7].0.0.owe(true);
        assert_eq!(connections.picked(), [7]);
        connections.all[7].0.0.owe(false);
        // It leaves TCP: it is looked at, and asked for another hint.
        connections.all[9].0.0.close();
        assert_eq!(connections.picked(), [9]);
        Ok(())
    }

    #[test]
    fn all_have_their_turn_when_many_have_something() -> Result<()> {
        for count in [AT_ONCE, HINTS, 3 * HINTS - 1] {
            let mut connections = Connections::new(count)?;
            for index in 0..count {
                connections.send_to(index)?;
            }
            let mut served = vec![0; count];
            while served.iter().sum::<usize>() < count {
                let picked = connections.picked();
                assert_eq!(
                    picked.len(),
                    AT_ONCE.min(count - served.iter().sum::<usize>())
                );
                for index in picked {
                    connections.receive(index)?;
                    served[index] += 1;
                }
            }
            assert!(served.iter().all(|&times| times == 1), "{served:?}");
        }
        Ok(())
    }
}
