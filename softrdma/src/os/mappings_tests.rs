// SPDX-License-Identifier: BSD-3-Clause

//! What is known of the windows of another process: which regions an answer is for, and how many are kept.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Weak};

use super::file_under::{FileUnder, Storage};
use super::guard;
use super::mapped::{Mapped, Part};
use super::mappings::{Answered, Mapping, Mappings, WindowNumber};
use super::private_fd::PrivateFd;
use super::region_table::RegionTable;
use super::testing::Mapped as TestFile;
use super::thread::own_tid;
use crate::types::region::{Extent, Terms, Window, access};

const SIZE: u64 = 16384;
const FROM: u64 = 0x1_0000;
const BOTH: u32 = access::REMOTE_WRITE | access::REMOTE_READ;

/// The file under memory of this process.
fn file_of(memory: &TestFile) -> PrivateFd {
    let under = FileUnder::of(memory.addr(), SIZE, true, own_tid()).unwrap();
    under.file
}

/// An answer about all of a file, as if it was on this storage, which is mapped at `FROM` in the other process.
fn map_whole(
    mappings: &Mappings,
    file: &PrivateFd,
    storage: Storage,
    is_writable: bool,
    before: u64,
) -> WindowNumber {
    guard::prepare();
    let window = Window {
        from: FROM,
        to: FROM + SIZE,
        before,
    };
    let (part, facts) = Part::of(file, window, 0, is_writable).unwrap();
    let part = part.on(storage);
    let same = mappings.same(|mapped| mapped.part().is_same(&part));
    let mapped = same.unwrap_or_else(|| {
        Arc::new(Mapped::new(RegionTable::own().unwrap(), file, part, &facts).unwrap())
    });
    mappings.add(window, mapped, None)
}

#[test]
fn so_many_regions_of_a_process_are_asked_for() {
    const MANY: u32 = 1000;
    let mappings = Mappings::default();
    let asked = (0..MANY).filter(|&entry| mappings.ask(entry, 1)).count();
    assert!((1..MANY as usize).contains(&asked));
    assert!(!mappings.ask(MANY, 1));
    // One that was answered makes room.
    mappings.is_answered(0, 1);
    assert!(mappings.ask(MANY, 1));
    assert!(!mappings.ask(MANY + 1, 1));
    // A region that was registered again has the place of the one before, and an older one is no longer asked for.
    assert!(mappings.ask(2, 3));
    assert!(!mappings.ask(2, 1));
    assert!(!mappings.is_asked(2, 1) && mappings.is_asked(2, 3));
}

fn of(addr: u64, length: u64, serial: u64) -> Extent {
    Extent {
        addr,
        length,
        serial,
    }
}

fn terms(access: u32) -> Terms {
    Terms {
        addr: 0,
        length: 8,
        iova: 0,
        access,
    }
}

fn answered(mappings: &Mappings, region: &Extent, access: u32) -> Option<Arc<Answered>> {
    match mappings.get((0, 1), region, &terms(access)) {
        Mapping::Known(answer) => Some(answer),
        _ => None,
    }
}

#[test]
fn a_refusal_is_for_the_regions_of_its_window() {
    let mappings = Mappings::default();
    let window = Window {
        from: 1000,
        to: 2000,
        before: 10,
    };
    mappings.refuse(window, &of(1000, 8, 9), true);
    let is_known = |region: &Extent, access| answered(&mappings, region, access).is_some();
    assert!(is_known(&of(1000, 1000, 9), BOTH));
    assert!(!is_known(&of(1000, 1001, 9), BOTH));
    assert!(!is_known(&of(999, 8, 9), BOTH));
    assert!(!is_known(&of(1000, 8, 10), BOTH));
    // It could not be opened for writing; for reading, perhaps.
    assert!(!is_known(&of(1000, 8, 9), access::REMOTE_READ));
    mappings.refuse(window, &of(1000, 8, 9), false);
    assert!(is_known(&of(1000, 8, 9), access::REMOTE_READ));
    // A later answer for the same takes the place of the one before, and does not push out others.
    for before in 11..2000 {
        let last = of(1000, 8, before - 1);
        mappings.refuse(Window { before, ..window }, &last, false);
    }
    assert!(is_known(&of(1000, 8, 1998), BOTH));
    mappings.refuse_only(&of(5000, 8, 7), false);
    assert!(is_known(&of(5000, 8, 7), BOTH));
}

#[test]
fn the_refusals_that_are_remembered_are_few() {
    let mappings = Mappings::default();
    let last = 2000;
    let regions = || (0..last).map(|n| of(64 * n, 64, n));
    for region in regions() {
        mappings.refuse_only(&region, true);
    }
    let known: Vec<_> = regions()
        .filter(|region| answered(&mappings, region, BOTH).is_some())
        .map(|region| region.serial)
        .collect();
    assert_eq!(known, (last - 256..last).collect::<Vec<_>>());
}

#[test]
fn a_region_that_is_refused_alone_does_not_concern_others() {
    let mappings = Mappings::default();
    let large = of(FROM, SIZE, 5);
    mappings.refuse_only(&large, true);
    let is_known = |region: &Extent| answered(&mappings, region, BOTH).is_some();
    assert!(is_known(&large));
    // Smaller ones in there that were registered before, and after.
    assert!(!is_known(&of(FROM + 64, 64, 4)) && !is_known(&of(FROM + 64, 64, 6)));
}

#[test]
fn a_refusal_leaves_older_regions_what_they_have() {
    let (memory, mappings) = (TestFile::new(SIZE).unwrap(), Mappings::default());
    let file = file_of(&memory);
    let whole = |before| Window {
        from: FROM,
        to: FROM + SIZE,
        before,
    };
    let first = map_whole(&mappings, &file, Storage::Memory, true, 5);
    // There was other memory in its place for a while.
    mappings.refuse(whole(8), &of(FROM, 64, 7), true);
    let last = map_whole(&mappings, &file, Storage::Memory, true, 11);
    assert!(!mappings.has(first) && mappings.has(last));
    for serial in 0..11 {
        let found = answered(&mappings, &of(FROM, 64, serial), BOTH).unwrap();
        assert_eq!(
            found.mapped().is_none(),
            (5..8).contains(&serial),
            "{serial}"
        );
    }
    // Nothing was mapped when this one was registered.
    let mappings = Mappings::default();
    mappings.refuse(whole(8), &of(FROM, 64, 3), true);
    map_whole(&mappings, &file, Storage::Memory, true, 11);
    assert!(
        answered(&mappings, &of(FROM, 64, 0), BOTH)
            .unwrap()
            .mapped()
            .is_none()
    );
}

#[test]
fn windows_do_not_pile_up_while_a_region_stays() {
    let memory = TestFile::new(SIZE).unwrap();
    let file = file_of(&memory);
    let of_storage = [
        (Storage::Memory, true),
        (Storage::Memory, false),
        (Storage::Disk, true),
        (Storage::Disk, false),
        (Storage::Overlay, true),
    ];
    for (storage, is_writable) in of_storage {
        let mappings = Mappings::default();
        let mut known = Vec::new();
        for serial in 0..600 {
            assert!(mappings.ask(1, 2 * serial + 1), "{storage:?}: {serial}");
            if serial % 2 == 0 {
                known.push(map_whole(
                    &mappings,
                    &file,
                    storage,
                    is_writable,
                    serial + 1,
                ));
            } else {
                // It is longer than the file.
                mappings.refuse_only(&of(FROM, 2 * SIZE, serial), is_writable);
            }
            mappings.is_answered(1, 2 * serial + 1);
        }
        let kept = known.iter().filter(|&&number| mappings.has(number));
        assert_eq!(kept.count(), 1, "{storage:?}");
    }
}

/// A thread that copies must not be the one that unmaps it: its owner waits for that thread.
#[test]
fn what_no_window_has_any_more_is_kept_for_the_mapper() {
    let memory = TestFile::new(SIZE).unwrap();
    let file = file_of(&memory);
    let mappings = Mappings::default();
    let first = map_whole(&mappings, &file, Storage::Memory, false, 5);
    let in_use = answered(&mappings, &of(FROM, 64, 0), access::REMOTE_READ).unwrap();
    // The same mapping has another window now.
    let second = map_whole(&mappings, &file, Storage::Memory, false, 7);
    assert!(!mappings.has(first) && mappings.take_unused().is_empty());
    let third = map_whole(&mappings, &file, Storage::Memory, true, 9);
    assert!(!mappings.has(second));
    let unused = mappings.take_unused();
    assert_eq!(unused.len(), 1);
    assert_eq!(in_use.mapped().unwrap().as_ptr(), Arc::as_ptr(&unused[0]));
    mappings.forget(third);
    assert_eq!(mappings.take_unused().len(), 1);
    assert!(mappings.take_unused().is_empty());
}

#[test]
fn a_file_that_can_be_written_takes_the_place_of_the_same_for_reading() {
    let memory = TestFile::new(SIZE).unwrap();
    let file = file_of(&memory);
    for storage in [Storage::Memory, Storage::Disk, Storage::Overlay] {
        let mappings = Mappings::default();
        let to_read = map_whole(&mappings, &file, storage, false, 5);
        map_whole(&mappings, &file, storage, true, 5);
        // It may be another file that an overlay has for those that write.
        assert_eq!(mappings.has(to_read), storage == Storage::Overlay);
    }
}

#[test]
fn what_was_answered_for_an_older_region_can_be_kept_for_it() {
    let memory = TestFile::new(SIZE).unwrap();
    let file = file_of(&memory);
    let mappings = Mappings::default();
    mappings.refuse_only(&of(FROM, 64, 9), true);
    map_whole(&mappings, &file, Storage::Overlay, false, 12);
    map_whole(&mappings, &file, Storage::Overlay, true, 12);
    let (old, other) = (of(FROM + 64, 64, 3), of(FROM + 64, 64, 4));
    for access in [BOTH, access::REMOTE_READ] {
        let answer = answered(&mappings, &old, access).unwrap();
        assert!(
            answer
                .mapped()
                .is_some_and(|mapped| mapped.strong_count() > 0)
        );
        assert!(answer.is_for(&old, &terms(access)));
    }
    // For that one alone: of others there may be other answers.
    let answer = answered(&mappings, &old, BOTH).unwrap();
    assert!(!answer.is_for(&other, &terms(BOTH)));
    assert!(!answer.is_for(&of(FROM, 64, 3), &terms(BOTH)));
}

#[test]
fn a_region_has_the_file_that_was_there_when_it_was_registered() {
    let (first, second) = (TestFile::new(SIZE).unwrap(), TestFile::new(SIZE).unwrap());
    let mappings = Mappings::default();
    let map = |memory: &TestFile, from: u64, to: u64, before: u64| {
        guard::prepare();
        let window = Window { from, to, before };
        let file = file_of(memory);
        let (part, facts) = Part::of(&file, window, 0, true).unwrap();
        let mapped = Mapped::new(RegionTable::own().unwrap(), &file, part, &facts).unwrap();
        mappings.add(window, Arc::new(mapped), None)
    };
    let one = map(&first, 0x1_0000, 0x1_4000, 5);
    let other = map(&second, 0x1_1000, 0x1_2000, 8);
    let found = |region: &Extent| {
        let answer = answered(&mappings, region, BOTH)?;
        assert!(answer.is_for(region, &terms(BOTH)));
        answer.mapped().and_then(Weak::upgrade)
    };
    let (early, late) = (of(0x1_1000, 8, 4), of(0x1_1000, 8, 7));
    let (in_one, in_other) = (found(&early).unwrap(), found(&late).unwrap());
    assert!(!Arc::ptr_eq(&in_one, &in_other));
    assert!(found(&of(0x1_1000, 8, 8)).is_none());
    assert!(found(&of(0x1_2000, 8, 5)).is_none());
    // What a connection keeps of one is not taken for the other.
    let of_late = answered(&mappings, &late, BOTH).unwrap();
    assert!(!of_late.is_for(&early, &terms(BOTH)));
    // Of the first file again, with the second one in between: both stay.
    let again = map(&first, 0x1_0000, 0x1_4000, 12);
    assert!(mappings.has(one) && mappings.has(other) && mappings.has(again));
    assert!(Arc::ptr_eq(&found(&early).unwrap(), &in_one));
    assert!(Arc::ptr_eq(&found(&late).unwrap(), &in_other));
    // And once more, with nothing in between.
    let last = map(&first, 0x1_0000, 0x1_4000, 15);
    assert!(mappings.has(one) && mappings.has(last) && !mappings.has(again));
    mappings.forget(one);
    assert!(!mappings.has(one));
}
