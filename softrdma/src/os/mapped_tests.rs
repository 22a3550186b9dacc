// SPDX-License-Identifier: BSD-3-Clause

//! Regions that are mapped: what the two sides say to each other, and what neither believes of the other.

#![allow(clippy::unwrap_used)]

use std::ffi::CStr;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::discard::Foreign;
use super::file_under::FileUnder;
use super::guard;
use super::lease::{Lease, SharedRegion};
use super::mapped::{Mapped, MappedRegion, Part};
use super::mapper;
use super::mappings::Mapping;
use super::memory::Span;
use super::pair::{Pair, Received};
use super::passing;
use super::private_fd::PrivateFd;
use super::process::Process;
use super::region_table::{EntryNumber, PeerTable, RegionTable};
use super::socket::Socket;
use super::testing::Mapped as TestFile;
use super::thread::own_tid;
use crate::Result;
use crate::types::region::{Extent, Terms, Window, access};
use crate::wire::{ASK, Answer, Ask};

const SIZE: u64 = 16384;
const BOTH: u32 = access::REMOTE_WRITE | access::REMOTE_READ;

fn region(key: u32, addr: u64, length: u64, access: u32) -> SharedRegion {
    SharedRegion {
        key,
        terms: Terms {
            addr,
            length,
            iova: addr,
            access,
        },
        domain: 1,
    }
}

/// The file under memory of this process.
fn file_of(memory: &TestFile, writable: bool) -> PrivateFd {
    let under = FileUnder::of(memory.addr(), SIZE, writable, own_tid()).unwrap();
    assert_eq!(under.offset, 0);
    under.file
}

/// A mapping of a region, which begins in its file at this offset, by its owner's word.
fn map(region: &SharedRegion, file: &PrivateFd, offset: u64) -> Result<MappedRegion> {
    let extent = region.extent(0);
    let window = Window {
        from: extent.addr,
        to: extent.addr.saturating_add(extent.length),
        before: 1,
    };
    map_window(&extent, window, region.terms.access, file, offset)
}

fn map_window(
    region: &Extent,
    window: Window,
    access: u32,
    file: &PrivateFd,
    offset: u64,
) -> Result<MappedRegion> {
    guard::prepare();
    let is_written = access & access::REMOTE_WRITE != 0;
    let (part, facts) = Part::of(file, window, offset, is_written)?;
    part.only(region)?;
    let mapped = Mapped::new(RegionTable::own()?, file, part, &facts)?;
    MappedRegion::new(Arc::new(mapped), region).ok_or(libc::EINVAL)
}

fn open(path: &CStr, flags: i32) -> PrivateFd {
    PrivateFd::open(path, flags).unwrap()
}

// --- Mappings ----------------------------------------------------------------------------------------

#[test]
fn bytes_go_both_ways_within_a_region() {
    let memory = TestFile::new(SIZE).unwrap();
    let file = file_of(&memory, true);
    // It begins in the middle of a page, and so does the region.
    let mapped = map(&region(1, 0x5000, 6000, BOTH), &file, 4200).unwrap();
    mapped.write(10, Span::from_slice(b"twelve bytes")).unwrap();
    let mut bytes = [0; 12];
    mapped.read(10, Span::from_mut(&mut bytes)).unwrap();
    assert_eq!(&bytes, b"twelve bytes");
    let whole = map(&region(1, 0x5000, SIZE, BOTH), &file, 0).unwrap();
    let mut bytes = [0; 12];
    whole.read(4210, Span::from_mut(&mut bytes)).unwrap();
    assert_eq!(&bytes, b"twelve bytes");
    whole.store(8, 7u64.to_ne_bytes()).unwrap();
    let mut value = [0; 8];
    whole.read(8, Span::from_mut(&mut value)).unwrap();
    assert_eq!(u64::from_ne_bytes(value), 7);
    assert_eq!(whole.store(9, [0; 8]), Err(libc::EINVAL));
}

#[test]
fn no_request_leads_out_of_a_mapping() {
    let memory = TestFile::new(SIZE).unwrap();
    let mapped = map(
        &region(1, 0x5000, 6000, BOTH),
        &file_of(&memory, true),
        4096,
    )
    .unwrap();
    let mut bytes = [0; 8];
    for offset in [5993, 6000, 1 << 40, u64::MAX - 7, u64::MAX] {
        assert!(mapped.write(offset, Span::from_slice(&[1; 8])).is_err());
        assert!(mapped.read(offset, Span::from_mut(&mut bytes)).is_err());
        assert!(mapped.store(offset, [1; 8]).is_err());
    }
    assert!(mapped.write(5992, Span::from_slice(&[1; 8])).is_ok());
}

#[test]
fn regions_of_a_window_have_their_parts_of_it() {
    let memory = TestFile::new(SIZE).unwrap();
    let file = file_of(&memory, true);
    let window = |from, to| Window {
        from,
        to,
        before: 1,
    };
    let part = |addr, length| Extent {
        addr,
        length,
        serial: 0,
    };
    let all = map(&region(1, 0x5000, SIZE, BOTH), &file, 0).unwrap();
    // The window begins in the middle of a page of the file.
    let within = window(0x5064, 0x5064 + 9000);
    let one = map_window(&part(0x6000, 8), within, BOTH, &file, 0x64).unwrap();
    one.write(0, Span::from_slice(b"eight...")).unwrap();
    assert!(one.write(1, Span::from_slice(b"eight...")).is_err());
    let mut bytes = [0; 8];
    all.read(0x1000, Span::from_mut(&mut bytes)).unwrap();
    assert_eq!(&bytes, b"eight...");
    // More memory than there is in the file: what there is.
    let beyond = window(0x5000, u64::MAX);
    assert!(map_window(&part(0x5000 + SIZE - 8, 8), beyond, BOTH, &file, 0).is_ok());
    for (addr, length) in [
        (0x5000 + SIZE - 8, 9),
        (0x4fff, 8),
        (0, 8),
        (0x5000, u64::MAX),
        (u64::MAX, 8),
        (0x5000, 0),
    ] {
        let mapped = map_window(&part(addr, length), beyond, BOTH, &file, 0);
        assert!(mapped.is_err(), "{length} bytes at {addr:#x}");
    }
    let turned = window(0x6000, 0x5000);
    assert!(map_window(&part(0x5000, 8), turned, BOTH, &file, 0).is_err());
}

#[test]
fn what_may_only_be_read_is_not_written() {
    let memory = TestFile::new(SIZE).unwrap();
    let only_read = region(1, 0x5000, SIZE, access::REMOTE_READ);
    let mapped = map(&only_read, &file_of(&memory, false), 0).unwrap();
    assert!(mapped.read(0, Span::from_mut(&mut [0; 8])).is_ok());
    assert_eq!(
        mapped.write(0, Span::from_slice(&[1; 8])),
        Err(libc::EACCES)
    );
    assert_eq!(mapped.store(0, [1; 8]), Err(libc::EACCES));
    // A file for reading is not enough for a region that may be written.
    let written = region(1, 0x5000, SIZE, BOTH);
    assert!(map(&written, &file_of(&memory, false), 0).is_err());
}

#[test]
fn a_file_that_becomes_too_short_is_an_error() {
    let memory = TestFile::new(SIZE).unwrap();
    let mapped = map(&region(1, 0x5000, SIZE, BOTH), &file_of(&memory, true), 0).unwrap();
    memory.resize(4096).unwrap();
    for length in [8, 100, 4096] {
        let mut bytes = vec![1; length];
        assert_eq!(
            mapped.write(8192, Span::from_slice(&bytes)),
            Err(libc::EFAULT)
        );
        assert_eq!(
            mapped.read(8192, Span::from_mut(&mut bytes)),
            Err(libc::EFAULT)
        );
    }
    assert_eq!(mapped.store(8192, [1; 8]), Err(libc::EFAULT));
    assert!(mapped.write(0, Span::from_slice(&[1; 8])).is_ok());
}

#[test]
fn a_file_that_cannot_be_the_regions_is_not_mapped() {
    let memory = TestFile::new(SIZE).unwrap();
    let file = file_of(&memory, true);
    for (length, offset) in [
        (SIZE + 1, 0),
        (SIZE, 1),
        (SIZE, 4096),
        (0, 0),
        (1, SIZE),
        (u64::MAX, 2),
        (2, u64::MAX),
        (1, 1 << 62),
    ] {
        let mapped = map(&region(1, 0x5000, length, BOTH), &file, offset);
        assert!(mapped.is_err(), "{length} bytes at {offset}");
    }
    let some = region(1, 0x5000, 8, access::REMOTE_READ);
    for (path, flags) in [
        (c"/dev/zero", libc::O_RDWR),
        (c"/", libc::O_RDONLY),
        (c"/proc/self/status", libc::O_RDONLY),
        (c"/proc/self/exe", libc::O_PATH),
    ] {
        assert!(map(&some, &open(path, flags), 0).is_err(), "{path:?}");
    }
}

#[test]
fn only_files_that_are_mapped_shared_are_found() {
    let bytes = vec![0u8; 8192];
    let at = bytes.as_ptr().addr() as u64;
    assert!(FileUnder::of(at, 8192, true, own_tid()).is_err());
    assert!(FileUnder::of(u64::MAX, 8192, true, own_tid()).is_err());
    let memory = TestFile::new(SIZE).unwrap();
    assert!(FileUnder::of(memory.addr(), SIZE, true, own_tid()).is_ok());
    // There is more in its place, or less.
    assert!(FileUnder::of(memory.addr(), 1 << 40, true, own_tid()).is_err());
    // No thread of this process.
    assert!(FileUnder::of(memory.addr(), SIZE, true, 1 << 30).is_err());
}

// --- Two sides ---------------------------------------------------------------------------------------

/// An owner with a region, and an initiator that has asked for it. Both are this process.
struct Sides {
    initiator: Arc<Pair>,
    owner: Arc<Pair>,
    table: Arc<PeerTable>,
    own: &'static RegionTable,
    key: u32,
    number: Option<EntryNumber>,
    entry: u32,
}

impl Sides {
    /// `key` is one that no other test uses.
    fn new(key: u32, memory: &TestFile) -> Self {
        let own = RegionTable::own().unwrap();
        let number = own.insert(&region(key, memory.addr(), SIZE, BOTH)).unwrap();
        let (one, _other) = Socket::pair().unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let process = Process::at_the_other_end(one.raw(), pid).unwrap();
        let table = own.peer(&process, &own.descriptor().unwrap()).unwrap();
        let (initiator, owner) = Pair::of_this_process().unwrap();
        let entry = table.find(key).unwrap();
        Self {
            initiator,
            owner,
            table,
            own,
            key,
            number: Some(number),
            entry,
        }
    }

    fn ask(&self) -> bool {
        self.ask_for(self.entry, self.key)
    }

    fn ask_for(&self, entry: u32, key: u32) -> bool {
        let lease = self.lease(entry, key);
        self.initiator.ask(&self.table, self.proof(), entry, &lease)
    }

    /// Which only those know who can read the memory of this process.
    fn proof(&self) -> u64 {
        let at = ptr::with_exposed_provenance::<u64>(self.table.proof_at() as usize);
        // SAFETY: of the table of this process, which is never freed.
        unsafe { *at }
    }

    /// That its region begins at this offset of its file.
    fn right_answer(&self, offset: u64) -> Answer {
        let lease = self.lease(self.entry, self.key);
        let window = Window::of(&lease.extent()).unwrap();
        Answer::File { window, offset }
    }

    fn question(&self) -> (Ask, Foreign) {
        match self.owner.receive().unwrap() {
            Received::Ask(ask, socket) => (ask, socket),
            _ => unreachable!("no question"),
        }
    }

    fn mapping(&self) -> Mapping {
        self.mapping_of(self.entry, self.key)
    }

    /// What is known of another region of the same table.
    fn mapping_of(&self, entry: u32, key: u32) -> Mapping {
        let lease = self.lease(entry, key);
        let which = (entry, lease.generation());
        let terms = &lease.region().terms;
        self.initiator.mappings().get(which, &lease.extent(), terms)
    }

    /// Waits meanwhile when other tests have all lease slots of this process, or have closed its table.
    fn lease(&self, entry: u32, key: u32) -> Lease<'static> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let lease = self.table.lease(entry, key);
            if lease.is_some() || Instant::now() > end {
                return lease.unwrap();
            }
            std::thread::yield_now();
        }
    }

    fn generation(&self, entry: u32, key: u32) -> u64 {
        self.lease(entry, key).generation()
    }

    fn waits_for(&self, is: impl Fn(&Mapping) -> bool) -> bool {
        waits_for(|| is(&self.mapping()))
    }

    /// Registers one more. Returns its entry, too.
    fn register(&self, region: &SharedRegion) -> (EntryNumber, u32) {
        let number = self.own.insert(region).unwrap();
        (number, self.table.find(region.key).unwrap())
    }

    fn remove(&self, number: EntryNumber) {
        self.own.withdraw(&number);
        if self.own.remove(number) {
            mapper::regions_are_gone();
        }
    }

    fn deregister(&mut self) {
        let number = self.number.take().unwrap();
        self.remove(number);
    }

    /// The owner answers.
    fn answer(&self, pair: usize) {
        let (ask, socket) = self.question();
        mapper::answer(ask, socket, pair, own_tid());
    }
}

impl Drop for Sides {
    fn drop(&mut self) {
        if self.number.is_some() {
            self.deregister();
        }
    }
}

fn waits_for(is: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    while !is() {
        if Instant::now() > end {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

fn is_refused(mapping: &Mapping) -> bool {
    matches!(mapping, Mapping::Known(answer) if answer.mapped().is_none())
}

fn mapped(mapping: &Mapping) -> Option<Arc<Mapped>> {
    let Mapping::Known(answer) = mapping else {
        return None;
    };
    answer.mapped().and_then(Weak::upgrade)
}

fn is_mapped(mapping: &Mapping) -> bool {
    mapped(mapping).is_some()
}

fn is_unknown(mapping: &Mapping) -> bool {
    matches!(mapping, Mapping::Unknown)
}

#[test]
fn a_region_is_mapped_until_it_is_deregistered() {
    let memory = TestFile::new(SIZE).unwrap();
    let mut sides = Sides::new(0x2_0001, &memory);
    assert!(is_unknown(&sides.mapping()));
    assert!(sides.ask());
    // Asked once.
    assert!(!sides.ask());
    let (ask, socket) = sides.question();
    assert!(matches!(sides.owner.receive(), Ok(Received::Nothing)));
    mapper::answer(ask, socket, 1, own_tid());
    assert!(sides.waits_for(is_mapped));
    let lease = sides.lease(sides.entry, sides.key);
    let extent = lease.extent();
    drop(lease);
    let in_use = MappedRegion::new(mapped(&sides.mapping()).unwrap(), &extent).unwrap();
    in_use.write(0, Span::from_slice(b"x")).unwrap();
    let known = Arc::downgrade(&mapped(&sides.mapping()).unwrap());
    sides.deregister();
    assert!(waits_for(|| sides.initiator.mappings().are_none()));
    // A thread that copies meanwhile has it still.
    in_use.write(0, Span::from_slice(b"y")).unwrap();
    drop(in_use);
    assert!(waits_for(|| known.upgrade().is_none()));
}

#[test]
fn regions_of_one_mapping_share_one_answer() {
    const MANY: u32 = 1000;
    let memory = TestFile::new(SIZE).unwrap();
    let mut sides = Sides::new(0x2_3001, &memory);
    let others: Vec<_> = (0..MANY)
        .map(|n| {
            let key = 0x3_0001 + 2 * n;
            let at = memory.addr() + u64::from(n) * 16;
            let (number, entry) = sides.register(&region(key, at, 16, BOTH));
            (key, number, entry)
        })
        .collect();
    assert!(sides.ask());
    sides.answer(11);
    assert!(sides.waits_for(is_mapped));
    for (key, _, entry) in &others {
        assert!(is_mapped(&sides.mapping_of(*entry, *key)), "{key:#x}");
    }
    // It stays as long as one of them is registered.
    let mapping = Arc::downgrade(&mapped(&sides.mapping()).unwrap());
    sides.deregister();
    let (last_key, last, last_entry) = others
        .into_iter()
        .fold(None, |last, next| {
            if let Some((_, number, _)) = last {
                sides.remove(number);
            }
            Some(next)
        })
        .unwrap();
    assert!(is_mapped(&sides.mapping_of(last_entry, last_key)));
    sides.remove(last);
    assert!(waits_for(|| mapping.upgrade().is_none()));
}

#[test]
fn regions_that_are_registered_later_need_another_answer() {
    let memory = TestFile::new(SIZE).unwrap();
    let sides = Sides::new(0x2_4001, &memory);
    assert!(sides.ask());
    sides.answer(12);
    assert!(sides.waits_for(is_mapped));
    let first = mapped(&sides.mapping()).unwrap();
    // The same memory, and other memory in its place.
    let later = region(0x2_4003, memory.addr(), 64, BOTH);
    let (same, entry) = sides.register(&later);
    assert!(is_unknown(&sides.mapping_of(entry, later.key)));
    sides.ask_for(entry, later.key);
    sides.answer(12);
    assert!(waits_for(|| is_mapped(&sides.mapping_of(entry, later.key))));
    // It is the same mapping, by one answer for both.
    let second = mapped(&sides.mapping_of(entry, later.key)).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&first, &mapped(&sides.mapping()).unwrap()));
    let other = TestFile::over(&memory, SIZE).unwrap();
    let third = region(0x2_4005, memory.addr() + 64, 64, BOTH);
    let (third_number, entry) = sides.register(&third);
    sides.ask_for(entry, third.key);
    sides.answer(12);
    assert!(waits_for(|| is_mapped(&sides.mapping_of(entry, third.key))));
    let replaced = mapped(&sides.mapping_of(entry, third.key)).unwrap();
    assert!(!Arc::ptr_eq(&first, &replaced));
    // Those that were registered before have the memory that they had.
    assert!(Arc::ptr_eq(&first, &mapped(&sides.mapping()).unwrap()));
    let of_third = Extent {
        addr: third.terms.addr,
        length: 64,
        serial: 0,
    };
    let access = MappedRegion::new(replaced, &of_third).unwrap();
    access.write(0, Span::from_slice(b"other")).unwrap();
    assert_eq!(other.bytes(64, 5), b"other");
    assert_ne!(memory.bytes(64, 5), b"other");
    sides.remove(third_number);
    sides.remove(same);
}

#[test]
fn private_memory_is_refused_at_once_for_all_its_regions() {
    let bytes = vec![0u8; 1 << 20];
    let at = bytes.as_ptr().expose_provenance() as u64;
    let memory = TestFile::new(SIZE).unwrap();
    let sides = Sides::new(0x2_5001, &memory);
    let (one, entry) = sides.register(&region(0x2_5003, at, 64, BOTH));
    let (other, other_entry) = sides.register(&region(0x2_5005, at + 4096, 64, BOTH));
    sides.ask_for(entry, 0x2_5003);
    sides.answer(13);
    assert!(waits_for(|| is_refused(&sides.mapping_of(entry, 0x2_5003))));
    assert!(is_refused(&sides.mapping_of(other_entry, 0x2_5005)));
    assert!(is_unknown(&sides.mapping()));
    sides.remove(one);
    sides.remove(other);
}

/// What is answered to a question.
fn answer_to(ask: Ask, pair: usize) -> (Socket, Vec<u8>) {
    let (here, there) = Socket::pair_of(libc::SOCK_SEQPACKET).unwrap();
    // SAFETY: no pointers.
    let sent = super::owned(unsafe { libc::dup(there.raw()) }).unwrap();
    drop(there);
    mapper::answer(ask, Foreign::new(sent), pair, own_tid());
    let bytes = next_message(&here);
    (here, bytes)
}

fn next_message(here: &Socket) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    let mut received = Err(libc::EAGAIN);
    let end = Instant::now() + Duration::from_secs(10);
    while received == Err(libc::EAGAIN) && Instant::now() < end {
        std::thread::yield_now();
        let message = passing::receive(here.raw(), &mut bytes);
        received = message.map(|(n, fd)| {
            drop(fd.map(super::owned));
            n
        });
    }
    bytes.truncate(received.unwrap());
    bytes
}

#[test]
fn a_question_for_what_is_not_there_has_no_answer() {
    let memory = TestFile::new(SIZE).unwrap();
    let sides = Sides::new(0x2_0003, &memory);
    assert!(sides.ask());
    let (ask, _socket) = sides.question();
    for wrong in [
        Ask { table: 1, ..ask },
        Ask {
            entry: u32::MAX,
            ..ask
        },
        Ask {
            generation: ask.generation + 2,
            ..ask
        },
        Ask { key: 5, ..ask },
    ] {
        assert_eq!(answer_to(wrong, 3).1, [], "{wrong:?}");
    }
    // The sender cannot read the memory of this process.
    let proof = !ask.proof;
    let (here, bytes) = answer_to(Ask { proof, ..ask }, 3);
    let answer = Answer::decode(&bytes);
    assert!(matches!(answer, Ok(Answer::Refusal { .. })));
    assert_eq!(next_message(&here), []);
}

#[test]
fn a_region_that_goes_before_the_answer_refuses_nothing() {
    let memory = TestFile::new(SIZE).unwrap();
    let sides = Sides::new(0x2_000d, &memory);
    let small = region(0x2_000f, memory.addr() + 64, 64, BOTH);
    let (number, entry) = sides.register(&small);
    let large = region(0x2_0011, memory.addr(), SIZE, BOTH);
    let (large_number, large_entry) = sides.register(&large);
    assert!(sides.ask_for(large_entry, large.key));
    let asked = sides.generation(large_entry, large.key);
    sides.remove(large_number);
    sides.answer(14);
    let mappings = sides.initiator.mappings();
    assert!(waits_for(|| !mappings.is_asked(large_entry, asked)));
    assert!(mappings.are_none());
    // One that its owner withdraws, and has again, since it cannot be deregistered now.
    assert!(sides.ask_for(entry, small.key));
    let asked = sides.generation(entry, small.key);
    sides.own.withdraw(&number);
    sides.answer(14);
    assert!(waits_for(|| !mappings.is_asked(entry, asked)));
    sides.own.publish(&number, &small);
    assert!(sides.ask_for(entry, small.key));
    sides.answer(14);
    assert!(waits_for(|| is_mapped(&sides.mapping_of(entry, small.key))));
    sides.remove(number);
}

/// A file that is larger than what one process may map of another one.
#[test]
fn a_region_that_is_too_large_does_not_refuse_others() {
    const HUGE: u64 = 5 << 40;
    let memory = TestFile::new(SIZE).unwrap();
    let sides = Sides::new(0x2_7001, &memory);
    memory.resize(HUGE).unwrap();
    let file = file_of(&memory, true);
    let at = 1 << 44;
    let huge = region(0x2_7003, at, HUGE, BOTH);
    let small = region(0x2_7005, at + 4096, 64, BOTH);
    let (small_number, small_entry) = sides.register(&small);
    let (huge_number, huge_entry) = sides.register(&huge);
    let ask_and_answer = |entry, key| {
        assert!(sides.ask_for(entry, key));
        let (_, socket) = sides.question();
        let window = Window {
            from: at,
            to: at + HUGE,
            before: sides.own.registered(),
        };
        let answer = Answer::File { window, offset: 0 }.encode();
        passing::send(socket.as_raw_fd(), &answer, Some(file.raw())).unwrap();
        socket
    };
    let _of_huge = ask_and_answer(huge_entry, huge.key);
    assert!(waits_for(|| is_refused(
        &sides.mapping_of(huge_entry, huge.key)
    )));
    assert!(is_unknown(&sides.mapping_of(small_entry, small.key)));
    // There is room for that one alone.
    let _of_small = ask_and_answer(small_entry, small.key);
    assert!(waits_for(|| is_mapped(
        &sides.mapping_of(small_entry, small.key)
    )));
    let alone = mapped(&sides.mapping_of(small_entry, small.key)).map(|it| Arc::downgrade(&it));
    let alone = alone.unwrap();
    assert!(alone.upgrade().unwrap().size() <= 8192);
    // Others come and go, while the owner has the huge one, and so the window.
    sides.remove(small_number);
    let mut sockets = Vec::new();
    for n in 0..300 {
        let next = region(0x2_7007, at + 8192 + n * 64, 64, BOTH);
        let (number, entry) = sides.register(&next);
        sockets.push(ask_and_answer(entry, next.key));
        assert!(waits_for(|| is_mapped(&sides.mapping_of(entry, next.key))));
        sides.remove(number);
    }
    assert!(waits_for(|| alone.upgrade().is_none()));
    sides.remove(huge_number);
}

#[test]
fn the_end_of_a_window_is_seen_while_there_are_other_messages() {
    let (memory, other) = (TestFile::new(SIZE).unwrap(), TestFile::new(SIZE).unwrap());
    let sides = Sides::new(0x2_8001, &memory);
    for messages in 0..100 {
        let key = 0x2_8003;
        let (number, entry) = sides.register(&region(key, other.addr(), 64, BOTH));
        let question = Ask {
            table: sides.table.number(),
            entry,
            generation: sides.generation(entry, key),
            key,
            proof: sides.proof(),
        };
        // This end of the socket is the test's, so that nothing else wakes the thread.
        let (here, bytes) = answer_to(question, 15);
        assert!(matches!(Answer::decode(&bytes), Ok(Answer::File { .. })));
        // With these, the thread is at work when the region goes.
        for _ in 0..messages {
            mapper::regions_are_gone();
        }
        sides.remove(number);
        assert_eq!(next_message(&here), [], "behind {messages}");
    }
}

#[test]
fn a_pair_gets_a_region_once() {
    let memory = TestFile::new(SIZE).unwrap();
    let sides = Sides::new(0x2_0007, &memory);
    assert!(sides.ask());
    let (ask, _socket) = sides.question();
    let (_first, bytes) = answer_to(ask, 7);
    assert!(matches!(
        Answer::decode(&bytes),
        Ok(Answer::File { offset: 0, .. })
    ));
    assert_eq!(answer_to(ask, 7).1, []);
    let (_second, bytes) = answer_to(ask, 8);
    assert!(matches!(
        Answer::decode(&bytes),
        Ok(Answer::File { offset: 0, .. })
    ));
}

#[test]
fn all_regions_of_a_process_can_be_refused() {
    let memory = TestFile::new(SIZE).unwrap();
    let sides = Sides::new(0x2_0009, &memory);
    let elsewhere = region(0x2_6001, 0x1000, 64, BOTH);
    let (number, entry) = sides.register(&elsewhere);
    assert!(is_unknown(&sides.mapping_of(entry, elsewhere.key)));
    assert!(sides.ask());
    mapper::refuse(&sides.question().1);
    assert!(sides.waits_for(is_refused));
    assert!(is_refused(&sides.mapping_of(entry, elsewhere.key)));
    sides.remove(number);
}

#[test]
fn a_region_without_an_answer_is_asked_for_again() {
    let memory = TestFile::new(SIZE).unwrap();
    let sides = Sides::new(0x2_000b, &memory);
    assert!(sides.ask());
    drop(sides.question());
    assert!(sides.waits_for(is_unknown));
    assert!(sides.ask());
    // An answer whose file has not arrived.
    let (_, socket) = sides.question();
    passing::send(socket.as_raw_fd(), &sides.right_answer(0).encode(), None).unwrap();
    assert!(sides.waits_for(is_unknown));
    assert!(sides.ask());
}

#[test]
fn answers_of_a_hostile_owner_map_nothing() {
    let memory = TestFile::new(SIZE).unwrap();
    let file = file_of(&memory, true);
    let device = open(c"/dev/zero", libc::O_RDWR);
    for i in 0..9 {
        let sides = Sides::new(0x2_1001 + 2 * i, &memory);
        let with = |change: fn(&mut Window)| {
            let Answer::File { mut window, offset } = sides.right_answer(0) else {
                unreachable!("it has a file")
            };
            change(&mut window);
            Answer::File { window, offset }.encode().to_vec()
        };
        let right = with(|_| ());
        let (bytes, fd) = match i {
            0 => (right, Some(&device)),
            1 => (right[1..].to_vec(), Some(&file)),
            2 => (vec![0; 40], Some(&file)),
            3 => (vec![1; 64], Some(&file)),
            4 => (sides.right_answer(SIZE).encode().to_vec(), Some(&file)),
            5 => (vec![0; ASK], None),
            // Windows that the region is not in.
            6 => (with(|window| window.before = 0), Some(&file)),
            7 => (with(|window| window.to -= 1), Some(&file)),
            _ => (with(|window| window.from += 1), Some(&file)),
        };
        assert!(sides.ask());
        let (_, socket) = sides.question();
        passing::send(socket.as_raw_fd(), &bytes, fd.map(PrivateFd::raw)).unwrap();
        assert!(sides.waits_for(is_refused), "{i}");
    }
}

#[test]
fn a_second_answer_ends_the_mapping() {
    let memory = TestFile::new(SIZE).unwrap();
    let sides = Sides::new(0x2_0005, &memory);
    assert!(sides.ask());
    let (_, socket) = sides.question();
    let file = file_of(&memory, true);
    let answer = sides.right_answer(0).encode();
    passing::send(socket.as_raw_fd(), &answer, Some(file.raw())).unwrap();
    assert!(sides.waits_for(is_mapped));
    passing::send(socket.as_raw_fd(), &answer, Some(file.raw())).unwrap();
    assert!(sides.waits_for(is_unknown));
}

#[test]
fn a_question_that_is_malformed_ends_the_pair() {
    let (one, other) = Pair::of_this_process().unwrap();
    let (here, _there) = Socket::pair_of(libc::SOCK_SEQPACKET).unwrap();
    let send = |bytes: &[u8], fd| passing::send(one.socket().raw(), bytes, fd).unwrap();
    // The socket for the answer did not arrive.
    send(&[0; ASK], None);
    assert!(matches!(other.receive(), Ok(Received::Nothing)));
    send(&[0; ASK], Some(here.raw()));
    assert!(matches!(other.receive(), Err(libc::EBADMSG)));
}
