// SPDX-License-Identifier: BSD-3-Clause

//! What this process has asked another one for, and what of that it has mapped.
//!
//! An answer is about a *window* of the other process's memory, and all regions that had been registered there when the
//! question came: they need no question of their own, and take no memory here. A region that was registered later may
//! have another file at the same addresses, so it needs another answer. If that says the same of the same file, it takes
//! the place of the one before. Otherwise both stay, since the regions of the first one still have its file.
//!
//! What is refused for one region only, since it is longer than its file, for example, says nothing of others, older ones
//! included: a region must not be refused for ever that can be mapped.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::mapped::Mapped;
use crate::types::region::{Extent, Terms, Window, access};

/// How many windows of one process are mapped, or may soon be.
const MOST: usize = 256;
/// How many windows are remembered that cannot be mapped.
const MOST_REFUSED: usize = 256;

/// Of one process.
#[derive(Default)]
pub(crate) struct Mappings(Mutex<States>);

#[derive(Default)]
struct States {
    /// Those that end first at the head: `before` only grows.
    known: Vec<Known>,
    /// Regions whose owner has not answered, by their entries in its table and the generations there.
    asked: Vec<(u32, u64)>,
    /// No window has these any more, but threads may copy from and to them.
    unused: Vec<Arc<Mapped>>,
    numbers: u64,
}

/// What a window is known by. No other one has, or had, the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowNumber(u64);

struct Known {
    number: WindowNumber,
    /// It says nothing of regions with lower serial numbers.
    since: u64,
    answer: Arc<Answered>,
    state: State,
    /// The region that there was room for alone: its entry, and the generation there.
    only: Option<(u32, u64)>,
}

#[derive(Clone, Debug)]
enum State {
    /// It cannot be mapped, or not for writing.
    Refused {
        to_write: bool,
    },
    Mapped(Arc<Mapped>),
}

/// What there is of a region.
#[derive(Debug)]
pub(crate) enum Mapping {
    Unknown,
    Asked,
    Known(Arc<Answered>),
}

/// What was answered for this region and others. All connections share it.
#[derive(Debug)]
pub(crate) struct Answered {
    window: Window,
    /// It is not for regions with lower serial numbers, or there may be another answer for them.
    since: u64,
    /// For regions that peers may write.
    to_write: bool,
    /// For those that they may not write.
    to_read: bool,
    /// It goes when the owner has deregistered all of them. None if they cannot be mapped.
    mapped: Option<Weak<Mapped>>,
}

impl Answered {
    pub(crate) fn is_for(&self, region: &Extent, terms: &Terms) -> bool {
        let is_right = if is_written(terms) {
            self.to_write
        } else {
            self.to_read
        };
        is_right && region.serial >= self.since && self.window.has(region)
    }

    pub(crate) fn mapped(&self) -> Option<&Weak<Mapped>> {
        self.mapped.as_ref()
    }
}

/// Whether peers may write a region.
pub(super) fn is_written(terms: &Terms) -> bool {
    terms.access & access::REMOTE_WRITE != 0
}

impl Known {
    fn window(&self) -> &Window {
        &self.answer.window
    }

    fn is_for(&self, region: &Extent, to_write: bool) -> bool {
        let is_of = region.serial >= self.since && self.window().has(region);
        is_of && self.state.is_about(to_write)
    }

    /// What it says of a region, for connections to keep: of the region alone, if there may be other answers for the
    /// rest of its window.
    fn answer_for(&self, region: &Extent) -> Arc<Answered> {
        let alone = Window::of(region).filter(|_| region.serial < self.answer.since);
        alone.map_or_else(
            || Arc::clone(&self.answer),
            |window| {
                Arc::new(Answered {
                    window,
                    since: region.serial,
                    mapped: self.answer.mapped.clone(),
                    ..*self.answer
                })
            },
        )
    }

    /// Whether all that the other one says is said by this one, which is newer.
    fn replaces(&self, other: &Self) -> bool {
        if self.since > other.since {
            return false;
        }
        match (&self.state, &other.state) {
            (State::Mapped(new), State::Mapped(old)) => new.part().replaces(old.part()),
            (State::Refused { to_write }, State::Refused { to_write: was }) => {
                to_write <= was && self.window().contains(other.window())
            }
            _ => false,
        }
    }
}

impl State {
    /// Whether it says something of regions that peers may write, or of others.
    fn is_about(&self, to_write: bool) -> bool {
        match self {
            Self::Refused {
                to_write: is_of_write,
            } => to_write || !is_of_write,
            Self::Mapped(mapped) => !to_write || mapped.part().is_writable,
        }
    }

    fn mapped(&self) -> Option<&Arc<Mapped>> {
        match self {
            Self::Mapped(mapped) => Some(mapped),
            Self::Refused { .. } => None,
        }
    }
}

impl Mappings {
    /// There is nothing, or all of it is gone.
    pub(super) fn are_none(&self) -> bool {
        let states = self.0.lock();
        states.known.is_empty() && states.asked.is_empty()
    }

    /// What there is of the region in this entry, which has this generation.
    pub(crate) fn get(&self, which: (u32, u64), region: &Extent, terms: &Terms) -> Mapping {
        let states = self.0.lock();
        let to_write = is_written(terms);
        // The first one was answered soonest after the region had been registered: its memory may have changed later.
        let known = states
            .known
            .iter()
            .find(|known| known.is_for(region, to_write));
        match known {
            Some(known) => Mapping::Known(known.answer_for(region)),
            None if states.asked.contains(&which) => Mapping::Asked,
            None => Mapping::Unknown,
        }
    }

    /// The owner is about to be asked for a region. Whether it may be.
    pub(super) fn ask(&self, entry: u32, generation: u64) -> bool {
        let mut states = self.0.lock();
        let is_newer = |&(asked, known): &(u32, u64)| asked == entry && known >= generation;
        if states.asked.iter().any(is_newer) {
            return false;
        }
        // What was there before is not registered any more.
        states.asked.retain(|&(asked, _)| asked != entry);
        let may = states.mapped().count() + states.asked.len() < MOST;
        if may {
            states.asked.push((entry, generation));
        }
        may
    }

    pub(super) fn is_asked(&self, entry: u32, generation: u64) -> bool {
        self.0.lock().asked.contains(&(entry, generation))
    }

    /// The owner has answered, or could not be asked.
    pub(super) fn is_answered(&self, entry: u32, generation: u64) {
        let mut states = self.0.lock();
        states.asked.retain(|&asked| asked != (entry, generation));
    }

    /// The regions in this window cannot be mapped, of which this is one. Nothing is said of those that may have been in
    /// another window that was mapped before this one was registered.
    pub(super) fn refuse(&self, window: Window, region: &Extent, to_write: bool) {
        let mut states = self.0.lock();
        let mapped = states.known.iter().filter(|known| {
            let is_mapped = known.state.mapped().is_some();
            is_mapped && known.window().overlaps(&window)
        });
        let before = mapped.map(|known| known.window().before);
        let since = before.filter(|&before| before <= region.serial).max();
        states.refuse(window, since.unwrap_or(0), to_write);
    }

    /// This region cannot be mapped. Nothing is said of others.
    pub(super) fn refuse_only(&self, region: &Extent, to_write: bool) {
        if let Some(window) = Window::of(region) {
            self.0.lock().refuse(window, region.serial, to_write);
        }
    }

    /// What is mapped already of such a window.
    pub(super) fn same(&self, is: impl Fn(&Mapped) -> bool) -> Option<Arc<Mapped>> {
        let states = self.0.lock();
        states.mapped().find(|mapped| is(mapped)).cloned()
    }

    /// The window is mapped, or a region alone (`only`). Returns its number, for `forget`.
    pub(super) fn add(
        &self,
        window: Window,
        mapped: Arc<Mapped>,
        only: Option<(u32, u64)>,
    ) -> WindowNumber {
        let mut states = self.0.lock();
        let (number, replaced) = states.add(window, 0, State::Mapped(mapped), only);
        states.discard(replaced);
        number
    }

    pub(super) fn has(&self, number: WindowNumber) -> bool {
        let states = self.0.lock();
        states.known.iter().any(|known| known.number == number)
    }

    /// None of its regions is registered any more.
    pub(super) fn forget(&self, number: WindowNumber) {
        let mut states = self.0.lock();
        let forgotten = states.take_known(|known| known.number == number);
        states.discard(forgotten);
    }

    /// Forgets regions that were mapped alone and are not in their entries any more: the owner says nothing of these, as
    /// long as there are others in the same window.
    pub(super) fn forget_gone(&self, is_there: impl Fn(u32, u64) -> bool) {
        let mut states = self.0.lock();
        let is_gone = |known: &Known| {
            let only = known.only;
            only.is_some_and(|(entry, generation)| !is_there(entry, generation))
        };
        let gone = states.take_known(is_gone);
        states.discard(gone);
    }

    /// What no window has any more. To unmap it may take long, so a thread that copies, and lets its owner wait, must not
    /// have it last.
    pub(super) fn take_unused(&self) -> Vec<Arc<Mapped>> {
        std::mem::take(&mut self.0.lock().unused)
    }

    /// How much of the address space they take.
    pub(super) fn bytes(&self) -> u64 {
        self.0.lock().mapped().map(|mapped| mapped.size()).sum()
    }
}

impl States {
    fn mapped(&self) -> impl Iterator<Item = &Arc<Mapped>> {
        self.known.iter().filter_map(|known| known.state.mapped())
    }

    fn take_known(&mut self, is: impl Fn(&Known) -> bool) -> Vec<Known> {
        let all = std::mem::take(&mut self.known);
        let (taken, rest) = all.into_iter().partition(is);
        self.known = rest;
        taken
    }

    /// Keeps what was mapped for these windows alone.
    fn discard(&mut self, windows: Vec<Known>) {
        for mapped in windows.iter().filter_map(|known| known.state.mapped()) {
            let is_it = |other: &Arc<Mapped>| Arc::ptr_eq(mapped, other);
            if !self.mapped().chain(&self.unused).any(is_it) {
                self.unused.push(Arc::clone(mapped));
            }
        }
    }

    fn refuse(&mut self, window: Window, since: u64, to_write: bool) {
        let is_refused = |known: &&Known| matches!(known.state, State::Refused { .. });
        self.add(window, since, State::Refused { to_write }, None);
        // The oldest is asked for again, if it is still used.
        if self.known.iter().filter(is_refused).count() > MOST_REFUSED {
            let refused = self.known.iter().filter(is_refused);
            let oldest = refused.map(|known| known.number.0).min();
            self.known.retain(|known| Some(known.number.0) != oldest);
        }
    }

    /// Returns what it has taken the place of, too.
    fn add(
        &mut self,
        window: Window,
        since: u64,
        state: State,
        only: Option<(u32, u64)>,
    ) -> (WindowNumber, Vec<Known>) {
        self.numbers += 1;
        let number = WindowNumber(self.numbers);
        let later = |known: &Known| known.window().before > window.before;
        let end = self.known.iter().position(later);
        let end = end.unwrap_or(self.known.len());
        let answer = Answered {
            window,
            since,
            to_write: state.is_about(true),
            to_read: state.is_about(false),
            mapped: state.mapped().map(Arc::downgrade),
        };
        let mut new = Known {
            number,
            since,
            answer: Arc::new(answer),
            state,
            only,
        };
        let (mut replaced, mut answer_since, mut lowest) = (Vec::new(), since, u64::MAX);
        for at in (0..end).rev() {
            let known = &self.known[at];
            let (is_of, before) = (known.since, known.window().before);
            if !known.window().overlaps(&window) {
                continue;
            }
            // If there is one in between that says something of its regions, too, they would get that one's file.
            if before <= lowest && new.replaces(known) {
                replaced.push(self.known.remove(at));
            } else {
                lowest = lowest.min(is_of);
                answer_since = answer_since.max(before);
            }
        }
        if let Some(answer) = Arc::get_mut(&mut new.answer) {
            answer.since = answer_since;
        }
        self.known.insert(end - replaced.len(), new);
        (number, replaced)
    }
}
