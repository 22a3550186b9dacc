// SPDX-License-Identifier: BSD-3-Clause

//! Region tables of a process, and what initiators find in them.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::Arc;

use super::lease::SharedRegion;
use super::memfd;
use super::process::Process;
use super::region_table::{PeerTable, RegionTable};
use super::sync::Ordering;
use super::table_layout::{
    FIRST_LEVEL, LEASE_SLOTS, LEVELS, MAGIC, Mapping, SEALS, SIZE, entries_below,
};
use crate::os::socket::Socket;
use crate::types::region::{Terms, access};

/// A table of its own for each test, as if the test were a process.
fn table() -> &'static RegionTable {
    // LeakSanitizer reports what nothing refers to.
    static TABLES: std::sync::Mutex<Vec<&RegionTable>> = std::sync::Mutex::new(Vec::new());
    let table = Box::leak(Box::new(RegionTable::new().unwrap()));
    TABLES.lock().unwrap().push(table);
    table
}

fn this_process() -> Arc<Process> {
    let (_one, other) = Socket::pair().unwrap();
    let own = i32::try_from(std::process::id()).unwrap();
    Process::at_the_other_end(other.raw(), own).unwrap()
}

/// How the owner of the first one is seen by an initiator, whose table is the second one.
fn seen_by(owner: &'static RegionTable, initiator: &'static RegionTable) -> Arc<PeerTable> {
    let process = this_process();
    owner
        .peer(&process, &initiator.descriptor().unwrap())
        .unwrap();
    initiator
        .peer(&process, &owner.descriptor().unwrap())
        .unwrap()
}

fn region(key: u32) -> SharedRegion {
    SharedRegion {
        key,
        terms: Terms {
            addr: 0x10_0000 + u64::from(key),
            length: 4096 + u64::from(key),
            iova: 0x20_0000 + u64::from(key),
            access: access::REMOTE_WRITE,
        },
        domain: key ^ 5,
    }
}

/// Keys in an order that has nothing to do with the buckets. All are different and odd.
fn keys(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|n| n.wrapping_mul(0x9e37_79b1) << 1 | 1)
}

fn pages_of(table: &RegionTable) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let file = File::from(table.descriptor().unwrap());
    file.metadata().unwrap().blocks() * 512 / 4096
}

#[test]
fn a_region_is_found_by_its_key_until_it_is_removed() {
    let (owner, initiator) = (table(), table());
    let peer = seen_by(owner, initiator);
    assert_eq!(peer.find(7), None);
    assert!(peer.lease(0, 7).is_none());
    let number = owner.insert(&region(7)).unwrap();
    let entry = peer.find(7).unwrap();
    assert_eq!(peer.find(9), None);
    assert_eq!(peer.find(0), None);
    let lease = peer.lease(entry, 7).unwrap();
    assert_eq!(*lease.region(), region(7));
    drop(lease);
    assert!(peer.lease(entry, 9).is_none());
    owner.remove(number);
    assert_eq!(peer.find(7), None);
    assert!(peer.lease(entry, 7).is_none());
}

#[test]
fn a_lease_is_seen_until_it_ends() {
    let (owner, initiator) = (table(), table());
    let peer = seen_by(owner, initiator);
    let number = owner.insert(&region(7)).unwrap();
    let other = owner.insert(&region(9)).unwrap();
    let entry = peer.find(7).unwrap();
    let lease = peer.lease(entry, 7).unwrap();
    owner.withdraw(&number);
    assert!(owner.is_leased(&number));
    assert!(!owner.is_leased(&other));
    assert!(!initiator.is_leased(&number));
    assert!(peer.lease(entry, 7).is_none());
    drop(lease);
    assert!(!owner.is_leased(&number));
    // It could not be deregistered, or has changed.
    let changed = SharedRegion {
        domain: 1,
        ..region(7)
    };
    owner.publish(&number, &changed);
    assert_eq!(*peer.lease(entry, 7).unwrap().region(), changed);
}

#[test]
fn a_lease_stays_seen_when_the_region_stays() {
    let (owner, initiator) = (table(), table());
    let peer = seen_by(owner, initiator);
    let number = owner.insert(&region(7)).unwrap();
    let entry = peer.find(7).unwrap();
    let lease = peer.lease(entry, 7).unwrap();
    owner.withdraw(&number);
    owner.publish(&number, &region(7));
    owner.withdraw(&number);
    assert!(owner.is_leased(&number));
    drop(lease);
    assert!(!owner.is_leased(&number));
}

#[test]
fn another_region_in_the_same_entry_is_not_taken_for_the_first() {
    let (owner, initiator) = (table(), table());
    let peer = seen_by(owner, initiator);
    let number = owner.insert(&region(7)).unwrap();
    let entry = peer.find(7).unwrap();
    owner.remove(number);
    // The same bucket of level 0.
    let other = 7 + ((FIRST_LEVEL as u32) << 4);
    owner.insert(&region(other)).unwrap();
    assert_eq!(peer.find(other), Some(entry));
    assert!(peer.lease(entry, 7).is_none());
    assert_eq!(*peer.lease(entry, other).unwrap().region(), region(other));
}

#[test]
fn nobody_gets_a_lease_from_a_closed_table() {
    let (owner, initiator) = (table(), table());
    let peer = seen_by(owner, initiator);
    owner.insert(&region(7)).unwrap();
    let entry = peer.find(7).unwrap();
    let lease = peer.lease(entry, 7).unwrap();
    owner.close();
    assert!(peer.lease(entry, 7).is_none());
    assert!(owner.has_leases());
    assert!(!initiator.has_leases());
    drop(lease);
    assert!(!owner.has_leases());
    owner.open();
    assert!(peer.lease(entry, 7).is_some());
}

#[test]
fn as_many_threads_as_there_are_lease_slots_copy_at_a_time() {
    let (owner, initiator) = (table(), table());
    let peer = seen_by(owner, initiator);
    let number = owner.insert(&region(7)).unwrap();
    let entry = peer.find(7).unwrap();
    let mut leases: Vec<_> = (0..LEASE_SLOTS)
        .map(|_| peer.lease(entry, 7).unwrap())
        .collect();
    assert!(peer.lease(entry, 7).is_none());
    leases.pop();
    assert!(peer.lease(entry, 7).is_some());
    owner.withdraw(&number);
    while leases.pop().is_some() {
        assert_eq!(owner.is_leased(&number), !leases.is_empty());
    }
}

#[test]
fn a_process_that_has_ended_has_no_leases() {
    let (owner, initiator) = (table(), table());
    let mut child = std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .unwrap();
    // Where the kernel does not tell of the end, there is nothing to test.
    let Ok(process) = Process::of_child(child.id()) else {
        child.kill().unwrap();
        child.wait().unwrap();
        return;
    };
    owner
        .peer(&process, &initiator.descriptor().unwrap())
        .unwrap();
    let peer = initiator
        .peer(&this_process(), &owner.descriptor().unwrap())
        .unwrap();
    let number = owner.insert(&region(7)).unwrap();
    let lease = peer.lease(peer.find(7).unwrap(), 7).unwrap();
    owner.withdraw(&number);
    assert!(owner.is_leased(&number));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!owner.is_leased(&number));
    drop(lease);
}

#[test]
fn a_process_that_no_connection_is_with_is_forgotten_when_it_has_no_lease() {
    let (owner, initiator) = (table(), table());
    let process = this_process();
    let known = owner.peer(&process, &initiator.descriptor().unwrap());
    let peer = initiator.peer(&process, &owner.descriptor().unwrap());
    let (known, peer) = (known.unwrap(), peer.unwrap());
    let number = owner.insert(&region(7)).unwrap();
    let lease = peer.lease(peer.find(7).unwrap(), 7).unwrap();
    let is_leased = || owner.is_leased(&number);
    // As long as a connection uses it.
    assert!(!owner.forget_unused_peers());
    assert!(is_leased());
    let is_known = Arc::downgrade(&known);
    drop(known);
    assert!(owner.forget_unused_peers());
    assert!(is_leased());
    drop(lease);
    assert!(!owner.forget_unused_peers());
    assert_eq!(is_known.strong_count(), 0);
    owner.withdraw(&number);
    owner.remove(number);
}

#[test]
fn a_process_may_send_a_few_tables() {
    let owner = table();
    let process = this_process();
    let mut known = Vec::new();
    for _ in 0..4 {
        let sent = table().descriptor().unwrap();
        known.push(owner.peer(&process, &sent).unwrap());
        // Once more is the same.
        let again = owner.peer(&process, &sent).unwrap();
        assert!(known.iter().any(|known| Arc::ptr_eq(known, &again)));
    }
    let one_more = owner.peer(&process, &table().descriptor().unwrap());
    assert_eq!(one_more.err(), Some(libc::ENOSPC));
}

#[test]
fn a_process_that_executes_another_program_has_not_made_its_table() {
    let (owner, initiator) = (table(), table());
    let peer = seen_by(owner, initiator);
    let number = peer.number();
    assert!(peer.is_made_in(|_| Some(number)));
    // Other memory, or none at this address.
    assert!(!peer.is_made_in(|_| Some(number + 1)));
    assert!(!peer.is_made_in(|_| None));
}

#[test]
fn a_hundred_thousand_regions_are_found() {
    const MANY: u32 = 100_000;
    let (owner, initiator) = (table(), table());
    let peer = seen_by(owner, initiator);
    let mut numbers = Vec::new();
    for key in keys(MANY) {
        numbers.push(owner.insert(&region(key)).unwrap());
    }
    for key in keys(MANY) {
        let lease = peer.lease(peer.find(key).unwrap(), key).unwrap();
        assert_eq!(*lease.region(), region(key));
    }
    assert_eq!(peer.find(2 * MANY), None);
    for number in numbers {
        owner.remove(number);
    }
    assert!(keys(MANY).all(|key| peer.find(key).is_none()));
    // There is room again.
    assert!(keys(MANY).all(|key| owner.insert(&region(key)).is_some()));
}

#[test]
fn it_takes_memory_for_the_regions_that_it_has() {
    let owner = table();
    assert_eq!(pages_of(owner), 1);
    owner.insert(&region(7)).unwrap();
    assert_eq!(pages_of(owner), 2);
    for key in keys(1000) {
        owner.insert(&region(key)).unwrap();
    }
    let pages = pages_of(owner);
    assert!(pages <= 128, "{pages} pages");
}

#[test]
fn regions_that_find_no_room_are_not_in_it() {
    let owner = table();
    // All of one bucket in each level.
    let step = (FIRST_LEVEL as u32) << LEVELS;
    let inserted = (0..100).filter(|n| owner.insert(&region(1 + n * step)).is_some());
    assert_eq!(inserted.count(), 2 * LEVELS as usize);
    assert!(owner.insert(&region(3)).is_some());
    assert!(owner.insert(&region(0)).is_none());
}

#[test]
fn each_process_is_known_once() {
    let (owner, initiator) = (table(), table());
    let first = seen_by(owner, initiator);
    let second = seen_by(owner, initiator);
    // Where the kernel does not tell which process it is, each stands for itself.
    assert_eq!(
        Arc::ptr_eq(&first, &second),
        Arc::ptr_eq(&first.process, &second.process)
    );
}

#[test]
fn nobody_else_can_write_it_or_change_its_size() {
    let fd = table().descriptor().unwrap();
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    assert_eq!(Mapping::of(&fd, rights).err(), Some(libc::EPERM));
    let file = File::from(fd);
    let errno = |done: io::Result<()>| done.err().and_then(|e| e.raw_os_error());
    assert_eq!(errno(file.write_all_at(b"x", 0)), Some(libc::EPERM));
    assert_eq!(errno(file.set_len(0)), Some(libc::EPERM));
    assert_eq!(errno(file.set_len(2 * SIZE as u64)), Some(libc::EPERM));
}

#[test]
fn what_is_not_a_table_is_refused() {
    let own = table();
    let refused = |fd: &OwnedFd| own.peer(&this_process(), fd).err();
    let made = |size: usize, seals: i32, magic: u64| {
        let fd = memfd::create(SIZE).unwrap();
        memfd::set_size(&fd, size).unwrap();
        let file = File::from(fd);
        file.write_all_at(&magic.to_ne_bytes(), 0).unwrap();
        let fd = OwnedFd::from(file);
        memfd::seal(&fd, seals).unwrap();
        fd
    };
    assert_eq!(refused(&made(SIZE, SEALS, MAGIC)), None);
    assert_eq!(refused(&made(SIZE, SEALS, 0)), Some(libc::EINVAL));
    for size in [8, SIZE - 1, SIZE + 1] {
        let fd = made(size, SEALS, MAGIC);
        assert_eq!(refused(&fd), Some(libc::EINVAL));
    }
    for seal in [
        libc::F_SEAL_SHRINK,
        libc::F_SEAL_GROW,
        libc::F_SEAL_FUTURE_WRITE,
    ] {
        let fd = made(SIZE, SEALS & !seal, MAGIC);
        assert_eq!(refused(&fd), Some(libc::EINVAL));
    }
    for path in ["/proc/self/exe", "/dev/zero", "/"] {
        let file = File::open(path).unwrap();
        assert!(refused(&file.into()).is_some(), "{path}");
    }
}

#[test]
fn nothing_that_the_owner_writes_leads_out_of_the_table() {
    let (owner, initiator) = (table(), table());
    let peer = seen_by(owner, initiator);
    owner.insert(&region(7)).unwrap();
    let levels = &owner.mapping.head().header.levels;
    for nonsense in [u64::from(LEVELS) + 1, u64::MAX, 1 << 40] {
        levels.store(nonsense, Ordering::Relaxed);
        assert!(peer.find(7).is_some());
        assert_eq!(peer.find(9), None);
        assert!(peer.lease(u32::MAX, 7).is_none());
        assert!(peer.lease(entries_below(LEVELS) as u32, 7).is_none());
    }
}

/// In a process of its own: a fork closes the table of a process for a while, and other tests use that of this one.
#[test]
fn a_child_has_a_table_of_its_own() {
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["os::region_table_tests::a_fork", "--exact", "--ignored"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "it runs in a process of its own"]
fn a_fork() {
    let own = RegionTable::own().unwrap();
    let peer = seen_by(own, own);
    let number = own.insert(&region(7)).unwrap();
    let entry = peer.find(7).unwrap();
    // Everything that the child does is done without locks that threads of its parent may hold, or memory
    // allocation but for the one of `own`.
    let in_child = || {
        // The parent's is not there: a thread that touched it would be killed.
        own.withdraw(&number);
        own.close();
        let leased = peer.lease(entry, 7).is_some() || own.is_leased(&number);
        let other = RegionTable::own();
        let is_other = other.is_ok_and(|other| !ptr::eq(other, own));
        !leased && own.insert(&region(9)).is_none() && is_other
    };
    // SAFETY: the child ends by `_exit`.
    let status = unsafe {
        match libc::fork() {
            0 => libc::_exit(i32::from(!in_child())),
            child => {
                let mut status = -1;
                assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
                status
            }
        }
    };
    assert_eq!(status, 0);
    assert!(peer.lease(entry, 7).is_some());
    assert_eq!(peer.find(9), None);
}
