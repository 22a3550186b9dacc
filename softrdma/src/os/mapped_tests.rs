// SPDX-License-Identifier: BSD-3-Clause

//! Regions that are mapped: what the two sides say to each other, and what neither believes of the other.

#![allow(clippy::unwrap_used)]

use std::ffi::CStr;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::discard::Foreign;
use super::file_under::FileUnder;
use super::guard;
use super::lease::SharedRegion;
use super::mapped::{Mapped, Mapping, Mappings};
use super::mapper;
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
use crate::types::region::{Terms, access};
use crate::wire::{ASK, Answer, Ask, REFUSAL};

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

fn map(region: &SharedRegion, file: &PrivateFd, offset: u64) -> Result<Mapped> {
    guard::prepare();
    Mapped::new(RegionTable::own()?, region, file, offset)
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
    generation: u64,
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
        let generation = table.lease(entry, key).unwrap().generation();
        Self {
            initiator,
            owner,
            table,
            own,
            key,
            number: Some(number),
            entry,
            generation,
        }
    }

    fn ask(&self) -> bool {
        let lease = self.table.lease(self.entry, self.key).unwrap();
        let proof = self.proof();
        self.initiator.ask(&self.table, proof, self.entry, &lease)
    }

    /// Which only those know who can read the memory of this process.
    fn proof(&self) -> u64 {
        let at = ptr::with_exposed_provenance::<u64>(self.table.proof_at() as usize);
        // SAFETY: of the table of this process, which is never freed.
        unsafe { *at }
    }

    fn question(&self) -> (Ask, Foreign) {
        match self.owner.receive().unwrap() {
            Received::Ask(ask, socket) => (ask, socket),
            _ => unreachable!("no question"),
        }
    }

    fn mapping(&self) -> Mapping {
        self.initiator.mappings().get(self.entry, self.generation)
    }

    fn waits_for(&self, is: impl Fn(&Mapping) -> bool) -> bool {
        waits_for(|| is(&self.mapping()))
    }

    fn deregister(&mut self) {
        let number = self.number.take().unwrap();
        self.own.withdraw(&number);
        self.own.remove(number);
        mapper::forget(self.entry);
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
    matches!(mapping, Mapping::Refused)
}

fn is_mapped(mapping: &Mapping) -> bool {
    matches!(mapping, Mapping::Mapped(mapped) if mapped.strong_count() > 0)
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
    let Mapping::Mapped(mapped) = sides.mapping() else {
        unreachable!("it was there")
    };
    let in_use = mapped.upgrade().unwrap();
    in_use.write(0, Span::from_slice(b"x")).unwrap();
    sides.deregister();
    assert!(sides.waits_for(is_unknown));
    // A thread that copies meanwhile has it still.
    in_use.write(0, Span::from_slice(b"y")).unwrap();
    drop(in_use);
    assert!(mapped.upgrade().is_none());
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
fn a_question_for_what_is_not_there_is_refused() {
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
        // The sender cannot read the memory of this process.
        Ask {
            proof: !ask.proof,
            ..ask
        },
    ] {
        let (here, bytes) = answer_to(wrong, 3);
        assert_eq!(bytes, REFUSAL, "{wrong:?}");
        assert_eq!(next_message(&here), [], "{wrong:?}");
    }
}

#[test]
fn a_pair_gets_a_region_once() {
    let memory = TestFile::new(SIZE).unwrap();
    let sides = Sides::new(0x2_0007, &memory);
    assert!(sides.ask());
    let (ask, _socket) = sides.question();
    let answer = Answer { offset: 0 }.encode();
    let (_first, bytes) = answer_to(ask, 7);
    assert_eq!(bytes, answer);
    assert_eq!(answer_to(ask, 7).1, []);
    assert_eq!(answer_to(ask, 8).1, answer);
}

#[test]
fn a_region_that_is_refused_is_not_asked_for_again() {
    let memory = TestFile::new(SIZE).unwrap();
    let sides = Sides::new(0x2_0009, &memory);
    assert!(sides.ask());
    mapper::refuse(&sides.question().1);
    assert!(sides.waits_for(is_refused));
    assert!(!sides.ask());
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
    passing::send(socket.as_raw_fd(), &Answer { offset: 0 }.encode(), None).unwrap();
    assert!(sides.waits_for(is_unknown));
    assert!(sides.ask());
}

#[test]
fn answers_of_a_hostile_owner_map_nothing() {
    let memory = TestFile::new(SIZE).unwrap();
    let right = Answer { offset: 0 }.encode();
    let too_far = Answer { offset: SIZE }.encode();
    let file = file_of(&memory, true);
    let device = open(c"/dev/zero", libc::O_RDWR);
    let answers: [(&[u8], Option<&PrivateFd>); 6] = [
        (&right, Some(&device)),
        (&right[1..], Some(&file)),
        (&[0; 16], Some(&file)),
        (&[1; 64], Some(&file)),
        (&too_far, Some(&file)),
        (&[0; ASK], None),
    ];
    for (i, (bytes, fd)) in (0u32..).zip(answers) {
        let sides = Sides::new(0x2_1001 + 2 * i, &memory);
        assert!(sides.ask());
        let (_, socket) = sides.question();
        passing::send(socket.as_raw_fd(), bytes, fd.map(PrivateFd::raw)).unwrap();
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
    let answer = Answer { offset: 0 }.encode();
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

#[test]
fn so_many_regions_of_a_process_are_mapped() {
    const MANY: u32 = 1000;
    let mappings = Mappings::default();
    let asked = (0..MANY).filter(|&entry| mappings.ask(entry, 1)).count();
    assert!((1..MANY as usize).contains(&asked));
    assert!(!mappings.ask(MANY, 1));
    // Those that cannot be mapped do not count, and one that is gone makes room.
    mappings.set(0, 1, None);
    assert!(mappings.ask(MANY, 1));
    assert!(!mappings.ask(MANY + 1, 1));
    mappings.forget(1, 1);
    assert!(mappings.ask(MANY + 1, 1));
    // A region that was registered again has the place of the one before, and an older one is no longer asked for.
    assert!(mappings.ask(2, 3));
    assert!(!mappings.ask(2, 1));
    assert!(matches!(mappings.get(2, 1), Mapping::Unknown));
}
