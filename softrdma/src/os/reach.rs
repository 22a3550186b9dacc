// SPDX-License-Identifier: BSD-3-Clause

//! How this process reads and writes regions of another process without asking it.
//!
//! The memory is reached by the file `/proc/PID/mem`. Unlike `process_vm_writev`, which takes the number of a process,
//! an open file of this kind means the memory that the process had when it was opened: when the process has ended, or
//! executes another program, nothing is read or written any more, whoever has the number by then. For a few pages it
//! takes less time, too.
//!
//! An access to a page of the other process may block: its program handles the faults itself (`userfaultfd`), or has
//! mapped a file whose server does not answer. So only pages that are in memory are read and written.
//! An access by the file fails even if such a page was taken away since.
//!
//! The file copies each byte twice, so for large ranges it takes twice as long as `process_vm_readv` and
//! `process_vm_writev`. These calls copy them. What was read counts only if a mark of the right process, read in the
//! same call, is what it has to be; and nothing is written unless two marks of the right process could be written before
//! it (`write_marks.rs`). The calls would wait for a page that is not there, even for ever, and a write for one that is
//! protected by a `userfaultfd`, so it is asked just before whether all are there, and can be written: what was seen a
//! moment ago does not do. A page that the other process takes away, or protects, between the two calls is waited for.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::fd::Fd;
use super::memory::Span;
use super::own_memory::page_size;
use super::pages::GROUP;
use super::process::Process;
use super::pull::{Foreign, pull, push};
use super::region_table::{PeerTable, RegionTable};
use super::seen_pages::{MOMENT, SeenPages, now};
use super::write_marks::MARKS;
use super::{cancel, check_size, child, guard, mapper, sys};
use crate::Result;

/// Another process's regions, and its memory.
#[derive(Debug)]
pub(crate) struct Reach {
    process: Arc<Process>,
    table: Arc<PeerTable>,
    /// None where the kernel does not let this process open it.
    memory: Option<PeerMemory>,
    /// For how many microseconds this process has waited for leases of connections that ended.
    waited: AtomicU64,
}

/// From this length on a range is read and written by the calls that take the number of a process.
const MUCH: usize = 32 * 1024;

/// For how long a process may keep this one waiting for leases of connections that end, however many it has.
const MOST_DELAY: Duration = Duration::from_millis(500);

/// All that exist. The connections own them.
static KNOWN: Mutex<Vec<Weak<Reach>>> = Mutex::new(Vec::new());

impl Reach {
    /// How to reach a process that has sent its table.
    pub(crate) fn of(process: &Arc<Process>, table: &OwnedFd) -> Result<Arc<Self>> {
        // A process that executes another program has another table then.
        let table = RegionTable::own()?.peer(process, table)?;
        mapper::prepare();
        let mut known = KNOWN.lock();
        known.retain(|known| known.strong_count() > 0);
        let is_same =
            |reach: &Arc<Self>| Arc::ptr_eq(&reach.table, &table) && reach.is_of_this_process();
        if let Some(same) = known.iter().filter_map(Weak::upgrade).find(is_same) {
            return Ok(same);
        }
        let reach = Arc::new(Self::new(process, table));
        known.try_reserve(1).map_err(|_| libc::ENOMEM)?;
        known.push(Arc::downgrade(&reach));
        Ok(reach)
    }

    fn new(process: &Arc<Process>, table: Arc<PeerTable>) -> Self {
        let memory = PeerMemory::open(process).ok().and_then(|mut memory| {
            let mut mark = None;
            let is_right = table.is_made_in(|at| {
                let word = memory.word(at)?;
                mark = Some((at, word));
                Some(word)
            });
            memory.mark = mark;
            memory.write_marks = table.write_marks();
            is_right.then_some(memory)
        });
        Self {
            process: Arc::clone(process),
            table,
            memory,
            waited: AtomicU64::new(0),
        }
    }

    /// Waits while the process leaves this one waiting: for so long at most, for less when it has done so often, and
    /// not when it has ended.
    pub(crate) fn wait_while(&self, at_most: Duration, does: impl Fn() -> bool) {
        const BETWEEN: Duration = Duration::from_micros(20);
        if !does() {
            return;
        }
        // To sleep is a cancellation point.
        let _uncancelled = cancel::Hold::new();
        // Relaxed: a sum, on which nothing else depends.
        let waited = Duration::from_micros(self.waited.load(Ordering::Relaxed));
        let limit = at_most.min(MOST_DELAY.saturating_sub(waited));
        let begun = Instant::now();
        while does() && begun.elapsed() < limit && self.process.is_there() {
            std::thread::sleep(BETWEEN);
        }
        let micros = begun.elapsed().as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        self.waited.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn is_of_this_process(&self) -> bool {
        self.table.is_of_this_process()
    }

    /// Whether the process has not ended.
    pub(crate) fn is_there(&self) -> bool {
        self.process.is_there()
    }

    pub(crate) fn table(&self) -> &PeerTable {
        &self.table
    }

    /// The word that shows the process that this one can read its memory.
    pub(super) fn proof(&self) -> Option<u64> {
        self.memory.as_ref()?.word(self.table.proof_at())
    }

    /// Whether it is this process itself, whose memory needs no mapping.
    pub(crate) fn is_own_process(&self) -> bool {
        self.memory
            .as_ref()
            .is_some_and(|memory| memory.file.is_none())
    }

    pub(crate) fn memory(&self) -> Option<&PeerMemory> {
        self.memory.as_ref()
    }
}

#[derive(Debug)]
pub(crate) struct PeerMemory {
    process: Arc<Process>,
    /// None for the memory of this process itself.
    file: Option<MemoryFile>,
    seen: SeenPages,
    /// A word that no other process has at this address: the number of its region table.
    mark: Option<(u64, u64)>,
    /// Pages that no other process has (`write_marks.rs`).
    write_marks: Option<[u64; MARKS]>,
    /// When it was last seen that the marks can be written.
    marks_seen: AtomicU32,
}

#[derive(Debug)]
struct MemoryFile {
    fd: Fd,
    /// When it was last seen that the descriptor is still this file.
    checked: AtomicU32,
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        child::closing(self.fd.raw());
    }
}

impl MemoryFile {
    fn open(process: &Process) -> Result<Self> {
        let _uncancelled = cancel::Hold::new();
        let file = File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/{}/mem", process.pid()))
            .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
        let fd = Fd::new(file.into());
        child::opened(fd.raw());
        Ok(Self {
            fd,
            checked: AtomicU32::new(long_ago()),
        })
    }

    /// The number, which could be that of a file of the program by now.
    fn number(&self, now: u32) -> Result<i32> {
        // Relaxed: just a time.
        if now.wrapping_sub(self.checked.load(Ordering::Relaxed)) <= MOMENT {
            return Ok(self.fd.raw());
        }
        let number = self.fd.checked()?;
        self.checked.store(now, Ordering::Relaxed);
        Ok(number)
    }

    fn read(&self, from: u64, into: Span<'_>) -> Result<()> {
        let number = self.number(now())?;
        let at = offset(from)?;
        // SAFETY: `Span` is valid for writing through the call.
        let n = check_size(unsafe { sys::pread(number, into.as_mut_ptr(), into.len(), at) })?;
        whole(n, into.len())
    }

    fn write(&self, to: u64, from: Span<'_>) -> Result<()> {
        // Each time: nothing may be written to a file of the program.
        let number = self.fd.checked()?;
        let at = offset(to)?;
        // SAFETY: `Span` is valid for reading through the call.
        let n = check_size(unsafe { sys::pwrite(number, from.as_ptr(), from.len(), at) })?;
        whole(n, from.len())
    }
}

/// A time that is more than a moment ago.
fn long_ago() -> u32 {
    now().wrapping_sub(2 * MOMENT)
}

fn offset(address: u64) -> Result<libc::off_t> {
    libc::off_t::try_from(address).map_err(|_| libc::EFAULT)
}

fn whole(copied: usize, wanted: usize) -> Result<()> {
    match copied {
        // The process has other memory, or none.
        0 => Err(libc::ESRCH),
        n if n == wanted => Ok(()),
        _ => Err(libc::EFAULT),
    }
}

impl PeerMemory {
    fn open(process: &Arc<Process>) -> Result<Self> {
        let is_own = u32::try_from(process.pid()) == Ok(std::process::id());
        let file = if is_own {
            None
        } else {
            // Without its table of pages nobody could tell what would have to be waited for.
            process.open_pages()?;
            Some(MemoryFile::open(process)?)
        };
        // The number could have been another process's when the file was opened.
        if !process.is_there() {
            return Err(libc::ESRCH);
        }
        Ok(Self {
            process: Arc::clone(process),
            file,
            seen: SeenPages::new(),
            mark: None,
            write_marks: None,
            marks_seen: AtomicU32::new(long_ago()),
        })
    }

    /// None also if the word would have to be waited for.
    fn word(&self, at: u64) -> Option<u64> {
        if !self.has(at, 8) {
            return None;
        }
        let mut word = [0; 8];
        self.read(at, Span::from_mut(&mut word)).ok()?;
        Some(u64::from_ne_bytes(word))
    }

    // --- Pages that are in memory ----------------------------------------------------------------

    /// Whether a range can be read or written without waiting for a page, as far as is known. A page that was in
    /// memory a moment ago is taken to be there still.
    pub(crate) fn has(&self, addr: u64, length: usize) -> bool {
        if self.file.is_none() {
            return true;
        }
        let page = page_size() as u64;
        let Some(last) = addr.checked_add(length.saturating_sub(1) as u64) else {
            return false;
        };
        let (first, last) = (addr / page, last / page);
        let now = now();
        if self.seen.has(first, last, now) {
            return true;
        }
        if first / GROUP == last / GROUP {
            return self.has_of_group(first, last, now);
        }
        if !self.process.has_in_memory(addr, length) {
            return false;
        }
        self.seen.add(first, last, now);
        true
    }

    /// Asks the kernel for the pages around these, too: a program that uses small parts of a large memory comes to them
    /// in a moment.
    fn has_of_group(&self, first: u64, last: u64, now: u32) -> bool {
        let group = first / GROUP;
        let Some(bits) = self.process.pages_in_memory(group) else {
            // As `has_in_memory`: where there is no table, it is taken for granted.
            let (page, pages) = (page_size() as u64, last - first + 1);
            return self
                .process
                .has_in_memory(first * page, (pages * page) as usize);
        };
        let begin = group * GROUP;
        let is_there = |page: u64| bits >> (page - begin) & 1 != 0;
        for page in (begin..begin + GROUP).filter(|&page| is_there(page)) {
            self.seen.add(page, page, now);
        }
        (first..=last).all(is_there)
    }

    // --- Copies ----------------------------------------------------------------------------------

    /// Copies all of `from` to this address. When that fails, any part of it may have been copied.
    pub(crate) fn write(&self, to: u64, from: Span<'_>) -> Result<()> {
        match &self.file {
            Some(file) => match self.write_much(to, from) {
                Some(()) => Ok(()),
                None => file.write(to, from),
            },
            None => copy_within(to, from.addr() as u64, from.len()),
        }
    }

    /// Copies as much from this address as `into` has room for.
    pub(crate) fn read(&self, from: u64, into: Span<'_>) -> Result<()> {
        match &self.file {
            Some(file) => match self.read_much(from, into) {
                Some(read) => read,
                None => file.read(from, into),
            },
            None => copy_within(into.addr() as u64, from, into.len()),
        }
    }

    /// Writes by the call that takes half of the time for large ranges. Its marks are written first: if it is not the
    /// right process, nothing is written. None if the file has to be used.
    fn write_much(&self, to: u64, from: Span<'_>) -> Option<()> {
        let marks = self.write_marks.filter(|_| from.len() >= MUCH)?;
        if !self.can_write_marks(marks) || !self.process.may_be_written(to, from.len()) {
            return None;
        }
        let [first, second] = marks.map(|addr| Foreign { addr, length: 1 });
        let length = from.len();
        let data = Foreign { addr: to, length };
        let mut zeros = [0; MARKS];
        let wanted = zeros.len() + length;
        let ranges = [Span::from_mut(&mut zeros), from];
        let written = push(self.process.pid(), [first, second, data], ranges);
        (written == Ok(wanted)).then_some(())
    }

    /// The owner has locked the marks in memory, so what was seen a moment ago does. Of a process that has ended the
    /// table of its pages has none.
    fn can_write_marks(&self, marks: [u64; MARKS]) -> bool {
        let now = now();
        // Relaxed: just a time.
        if now.wrapping_sub(self.marks_seen.load(Ordering::Relaxed)) <= MOMENT {
            return true;
        }
        let can = marks.iter().all(|&at| self.process.may_be_written(at, 1));
        if can {
            self.marks_seen.store(now, Ordering::Relaxed);
        }
        can
    }

    /// Reads by the call that takes half of the time for large ranges. That the number of the process was still its own
    /// is seen afterwards, by its mark, which is read in the same call: a read does no harm to another process. None if
    /// the file has to be used.
    fn read_much(&self, from: u64, into: Span<'_>) -> Option<Result<()>> {
        let (at, mark) = self.mark.filter(|_| into.len() >= MUCH)?;
        // If something is missing, the file tells so without waiting.
        let has = |addr, length| self.process.has_in_memory(addr, length);
        if !has(at, size_of::<u64>()) || !has(from, into.len()) {
            return None;
        }
        let mut word = [0; 8];
        let ranges = [
            Foreign {
                addr: from,
                length: into.len(),
            },
            Foreign {
                addr: at,
                length: word.len(),
            },
        ];
        let wanted = into.len() + word.len();
        let read = pull(
            self.process.pid(),
            ranges,
            [into, Span::from_mut(&mut word)],
        );
        match read {
            Ok(n) if n == wanted && u64::from_ne_bytes(word) == mark => Some(Ok(())),
            Err(libc::EPERM | libc::ENOSYS) => None,
            Err(errno) => Some(Err(errno)),
            Ok(_) => Some(Err(libc::EFAULT)),
        }
    }
}

/// A copy within this process, from and to memory of the program.
fn copy_within(to: u64, from: u64, length: usize) -> Result<()> {
    let (to_end, from_end) = (to + length as u64, from + length as u64);
    if from < to_end && to < from_end {
        return Err(libc::EINVAL);
    }
    let to = ptr::with_exposed_provenance_mut::<u8>(to as usize);
    let from = ptr::with_exposed_provenance::<u8>(from as usize);
    // SAFETY: memory of the program, to which this library has no references: leases and grants are of registered
    // ranges. They do not overlap, and what is not there is an error.
    unsafe { guard::copy(to, from, length) }.map_err(|_| libc::EFAULT)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::os::socket::Socket;
    #[cfg(not(loom))]
    use crate::os::testing::Private;
    #[cfg(not(loom))]
    use crate::os::write_marks::WriteMarks;

    /// As long as one test takes at most.
    const LONG: Duration = Duration::from_secs(20);

    fn of_this_process() -> Reach {
        let (_one, other) = Socket::pair().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let process = Process::at_the_other_end(other.raw(), own).unwrap();
        let table = RegionTable::own().unwrap();
        let peer = table.peer(&process, &table.descriptor().unwrap()).unwrap();
        Reach::new(&process, peer)
    }

    /// How often it looks for the end of leases that do not end.
    fn looks(reach: &Reach) -> u32 {
        let looks = AtomicU32::new(0);
        reach.wait_while(LONG, || {
            looks.fetch_add(1, Ordering::Relaxed);
            true
        });
        looks.into_inner()
    }

    /// A child of `fork`, which has a copy of all memory but the marks, and does nothing.
    #[cfg(not(loom))]
    struct Child(i32);

    #[cfg(not(loom))]
    impl Child {
        fn new() -> Self {
            // SAFETY: no pointers. The child only waits.
            match unsafe { libc::fork() } {
                0 => loop {
                    // SAFETY: no pointers.
                    unsafe { libc::pause() };
                },
                pid => Self(pid),
            }
        }
    }

    #[cfg(not(loom))]
    impl Drop for Child {
        fn drop(&mut self) {
            // SAFETY: no pointers but that to nowhere.
            unsafe {
                libc::kill(self.0, libc::SIGKILL);
                libc::waitpid(self.0, ptr::null_mut(), 0);
            }
        }
    }

    #[cfg(not(loom))]
    fn with_marks(process: &Arc<Process>, marks: [u64; MARKS]) -> PeerMemory {
        PeerMemory {
            process: Arc::clone(process),
            file: None,
            seen: SeenPages::new(),
            mark: None,
            write_marks: Some(marks),
            marks_seen: AtomicU32::new(long_ago()),
        }
    }

    #[cfg(not(loom))]
    #[test]
    fn nothing_is_written_to_a_process_without_the_marks() {
        let Ok(marks) = WriteMarks::new() else { return };
        let (before, new) = (vec![1u8; MUCH], vec![2u8; MUCH]);
        let at = before.as_ptr().expose_provenance() as u64;
        let child = Child::new();
        let Ok(process) = Process::of_child(child.0 as u32) else {
            return;
        };
        let with_marks = |marks| with_marks(&process, marks);
        let bytes_of_child = || {
            let mut bytes = vec![0; MUCH];
            let length = bytes.len();
            let from = [Foreign { addr: at, length }];
            assert_eq!(pull(child.0, from, [Span::from_mut(&mut bytes)]), Ok(MUCH));
            bytes
        };
        if !process.may_pull() || !process.has_in_memory(at, MUCH) {
            // The kernel does not let this process at the memory of another one.
            return;
        }
        let write = |memory: &PeerMemory| memory.write_much(at, Span::from_slice(&new));
        let [first, second] = marks.addresses();
        // Any memory of the child will do for a mark that it has.
        for absent in [[first, second], [first, at], [at, second]] {
            assert_eq!(write(&with_marks(absent)), None);
        }
        assert_eq!(bytes_of_child()[1..], before[1..]);
        let memory = with_marks([at, at + 4096]);
        assert_eq!(write(&memory), Some(()));
        assert_eq!(bytes_of_child(), new);
        // Small ranges are left to the file.
        let small = Span::from_slice(&new).first(MUCH - 1);
        assert_eq!(memory.write_much(at, small), None);
    }

    /// To a protected page the call would not write, but wait, were it not that this one fails (`UFFD_FEATURE_SIGBUS`)
    /// when it has written the marks.
    #[cfg(not(loom))]
    #[test]
    fn nothing_is_written_if_a_page_is_protected_by_a_userfaultfd() {
        let page = page_size();
        let memory = Private::new(MUCH + 8 * page).unwrap();
        let (at, new) = (memory.addr(), vec![2u8; MUCH]);
        memory.set(1);
        let Ok(process) = Process::of_child(std::process::id()) else {
            return;
        };
        let write = |marks: [usize; MARKS], page_of_data: usize| {
            let memory = with_marks(&process, marks.map(|mark| (at + mark * page) as u64));
            memory.write_much((at + page_of_data * page) as u64, Span::from_slice(&new))
        };
        if write([0, 1], 4) != Some(()) {
            return;
        }
        memory.set(1);
        let Some(_protected) = memory.protect(3 * page, 2 * page) else {
            return;
        };
        // The first page of the data, and a mark.
        assert_eq!(write([0, 1], 4), None);
        assert_eq!(write([0, 3], 5), None);
        assert!(memory.bytes().iter().all(|&byte| byte == 1));
        assert_eq!(write([0, 1], 5), Some(()));
    }

    #[test]
    fn a_process_delays_this_one_for_a_bounded_time_in_all() {
        let reach = of_this_process();
        let nearly_all = MOST_DELAY - Duration::from_millis(20);
        reach
            .waited
            .store(nearly_all.as_micros() as u64, Ordering::Relaxed);
        assert!(looks(&reach) > 2);
        assert_eq!(looks(&reach), 2);
    }

    #[test]
    fn a_thread_is_not_cancelled_while_it_waits_for_a_lease() {
        let reach = of_this_process();
        let (waiting, is_cancelled) = (AtomicU64::new(0), AtomicBool::new(false));
        let is_over = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // It sleeps between one look and the next.
                let looks_afterwards = AtomicU32::new(0);
                reach.wait_while(LONG, || {
                    // SAFETY: no pointers.
                    let own = unsafe { libc::pthread_self() };
                    waiting.store(own as u64, Ordering::Release);
                    !is_cancelled.load(Ordering::Acquire)
                        || looks_afterwards.fetch_add(1, Ordering::Relaxed) < 3
                });
                // It ends by itself.
                std::mem::forget(cancel::Hold::new());
                true
            });
            let waiting = loop {
                match waiting.load(Ordering::Acquire) {
                    0 => std::thread::yield_now(),
                    waiting => break waiting as libc::pthread_t,
                }
            };
            // SAFETY: a thread that has not been joined.
            unsafe { libc::pthread_cancel(waiting) };
            is_cancelled.store(true, Ordering::Release);
            thread.join().unwrap()
        });
        assert!(is_over);
    }
}
