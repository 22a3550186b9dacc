// SPDX-License-Identifier: BSD-3-Clause

//! The program's memory where a plain copy has failed: what a device would still reach, since it has pinned the
//! pages, and what has become of the rest.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use super::guard;
use super::memory::Span;
use super::seen_pages::{MOMENT, now};
use super::{cancel, child, owned, pages, populate, sys};
use crate::Result;

/// Files of `/proc` that mean the memory of this process. They are opened before they are needed: a process may
/// lose its access to `/proc`, or its last free descriptor.
struct Files {
    /// The memory, whatever protection it has.
    memory: Held,
    /// Which pages there are.
    pages: Held,
}

/// A file, and what it was when it was opened: the program may have closed the descriptor, and opened
/// something else that has got its number.
struct Held {
    file: File,
    is: (u64, u64),
}

/// Never freed: another thread may be using them.
static FILES: AtomicPtr<Files> = AtomicPtr::new(ptr::null_mut());

impl Held {
    fn open(path: &str, writable: bool) -> io::Result<Self> {
        /// Programs count on low numbers.
        const HIGH: RawFd = 512;
        let file = File::options().read(true).write(writable).open(path)?;
        let meta = file.metadata()?;
        // SAFETY: no pointers.
        let high = owned(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, HIGH) });
        let file = high.map_or(file, File::from);
        child::opened(file.as_raw_fd());
        let is = (meta.dev(), meta.ino());
        Ok(Self { file, is })
    }

    fn is_still_open(&self) -> bool {
        let meta = self.file.metadata();
        let is = meta.is_ok_and(|meta| (meta.dev(), meta.ino()) == self.is);
        if !is {
            // A child must not close what the program has there.
            child::closing(self.file.as_raw_fd());
        }
        is
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Otherwise a child would close what has the number by then.
        child::closing(self.file.as_raw_fd());
    }
}

impl Files {
    /// As this thread sees them: the main one may have ended.
    fn open() -> io::Result<Self> {
        Ok(Self {
            memory: Held::open("/proc/thread-self/mem", true)?,
            pages: Held::open("/proc/thread-self/pagemap", false)?,
        })
    }

    fn get() -> Option<&'static Self> {
        let known = FILES.load(Ordering::Acquire);
        // SAFETY: null, or never freed.
        if let Some(files) = unsafe { known.as_ref() } {
            if files.memory.is_still_open() && files.pages.is_still_open() {
                return Some(files);
            }
        }
        let _uncancelled = cancel::Hold::new();
        let opened: &Self = Box::leak(Box::new(Self::open().ok()?));
        let new = ptr::from_ref(opened).cast_mut();
        FILES.store(new, Ordering::Release);
        Some(opened)
    }

    /// Whether all pages of a range are in memory, or on a swap device. They were when the range was
    /// registered, and protection does not change that. Pages of another mapping in its place are not, or not
    /// soon.
    fn has_all(&self, addr: usize, length: usize) -> bool {
        let table = self.pages.file.as_raw_fd();
        pages::are_there(table, addr, length, pages::PRESENT | pages::SWAPPED)
    }
}

/// Opens the files, unless they are open.
pub(crate) fn prepare() {
    if FILES.load(Ordering::Acquire).is_null() {
        let _ = Files::get();
    }
}

/// Whether all pages of a range of the program's memory are there, without touching any.
pub(crate) fn is_there(addr: usize, length: usize) -> bool {
    Files::get().is_some_and(|files| files.has_all(addr, length))
}

/// In a child that was made by `fork`: the files mean its parent's memory.
pub(crate) fn prepare_child() {
    // SAFETY: null, or never freed.
    if let Some(files) = unsafe { FILES.swap(ptr::null_mut(), Ordering::AcqRel).as_ref() } {
        for held in [&files.memory, &files.pages] {
            child::close_if_private(held.file.as_raw_fd());
        }
    }
}

pub(super) fn page_size() -> usize {
    static KNOWN: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: just a number, the same from whatever thread.
    match KNOWN.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: no pointers.
            let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
            let size = usize::try_from(size).unwrap_or(4096);
            KNOWN.store(size, Ordering::Relaxed);
            size
        }
        known => known,
    }
}

/// Copies out of memory of the program that a plain copy has failed to read.
pub(super) fn read(addr: usize, into: Span<'_>) -> Result<()> {
    let files = is_still_the_same(addr, into.len())?;
    let mut done = 0;
    while done < into.len() {
        let (rest, at) = (into.after(done), (addr + done) as libc::off_t);
        let fd = files.memory.file.as_raw_fd();
        // SAFETY: the span is valid for writing.
        let n = unsafe { sys::pread(fd, rest.as_mut_ptr(), rest.len(), at) };
        match usize::try_from(n) {
            Ok(1..) => done += n as usize,
            _ => return Err(libc::EFAULT),
        }
    }
    Ok(())
}

/// Copies into memory of the program that a plain copy has failed to write.
pub(super) fn write(addr: usize, from: Span<'_>) -> Result<()> {
    let files = is_still_the_same(addr, from.len())?;
    let mut done = 0;
    while done < from.len() {
        let (rest, at) = (from.after(done), (addr + done) as libc::off_t);
        let fd = files.memory.file.as_raw_fd();
        // SAFETY: the span is valid for reading.
        let n = unsafe { sys::pwrite(fd, rest.as_ptr(), rest.len(), at) };
        done += match usize::try_from(n) {
            Ok(n @ 1..) => n,
            _ => write_shared(addr + done, rest)?,
        };
    }
    Ok(())
}

// --- Memory that is there -----------------------------------------------------------------------------

/// Pages that were seen in memory: the number of the page, and when.
static SEEN: [AtomicU64; 4096] = [const { AtomicU64::new(0) }; 4096];
/// The bits of a page that was seen that are its number; the others are the time.
const NUMBER_BITS: u32 = 45;

/// Whether memory of the program can be read and written without waiting for a page, as far as is known. A page that
/// was in memory a moment ago is taken to be there still.
pub(crate) fn is_in_memory(addr: usize, length: usize) -> bool {
    let time = u64::from(now());
    let page = page_size();
    let numbers = addr / page..addr.saturating_add(length).div_ceil(page);
    let is_seen = |number: usize| {
        // Relaxed: no other access depends on it.
        let seen = SEEN[number % SEEN.len()].load(Ordering::Relaxed);
        let age = time.wrapping_sub(seen >> NUMBER_BITS) & (u64::MAX >> NUMBER_BITS);
        seen & ((1 << NUMBER_BITS) - 1) == number as u64 && age <= u64::from(MOMENT)
    };
    if numbers.len() <= SEEN.len() && numbers.clone().all(is_seen) {
        return true;
    }
    let Some(files) = Files::get() else {
        return true;
    };
    let table = files.pages.file.as_raw_fd();
    if !pages::are_there(table, addr, length, pages::PRESENT) {
        return false;
    }
    for number in numbers.take(SEEN.len()) {
        let seen = number as u64 | time << NUMBER_BITS;
        SEEN[number % SEEN.len()].store(seen, Ordering::Relaxed);
    }
    true
}

fn is_still_the_same(addr: usize, length: usize) -> Result<&'static Files> {
    let files = Files::get().ok_or(libc::EFAULT)?;
    // Without `populate` the pages need not have been there.
    if populate::is_supported() && !files.has_all(addr, length) {
        return Err(libc::EFAULT);
    }
    Ok(files)
}

/// Writes to shared memory that the program has made read-only. The kernel does not do that by the file of the
/// memory, but maps the same pages once more. What it has written of the first page.
fn write_shared(addr: usize, from: Span<'_>) -> Result<usize> {
    let page = page_size();
    let offset = addr % page;
    let n = from.len().min(page - offset);
    let program = ptr::with_exposed_provenance_mut::<libc::c_void>(addr - offset);
    // SAFETY: of a length of 0, so that the program's mapping stays: the new one is wherever there is room, and
    // nobody else uses it.
    unsafe {
        let again = libc::mremap(program, 0, page, libc::MREMAP_MAYMOVE);
        if again == libc::MAP_FAILED {
            return Err(libc::EFAULT);
        }
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let done = libc::mprotect(again, page, rights) == 0
            && guard::copy(again.cast::<u8>().add(offset), from.as_ptr().cast(), n).is_ok();
        libc::munmap(again, page);
        if done { Ok(n) } else { Err(libc::EFAULT) }
    }
}

/// What has become of memory that could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Unmapped,
    Truncated,
    /// It is mapped, but its pages are not those that were registered.
    Replaced,
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unmapped => "is no longer mapped",
            Self::Truncated => "lies behind the end of its file, which was truncated",
            Self::Replaced => "has another mapping in its place",
        })
    }
}

pub(crate) fn what_became_of(addr: usize, length: usize) -> Fate {
    const MOST: usize = 64 << 20;
    let page = page_size();
    let mut at = addr / page * page;
    // Not all of a large range: the first page that cannot be read tells.
    let end = (addr + length).min(addr.saturating_add(MOST));
    while at < end {
        let (mut byte, mut resident) = (0u8, 0u8);
        let mapping = ptr::with_exposed_provenance_mut::<libc::c_void>(at);
        // SAFETY: room for the answer about one page; the kernel looks whether there is one.
        let unmapped = unsafe { libc::mincore(mapping, page, &raw mut resident) } != 0;
        if unmapped {
            return Fate::Unmapped;
        }
        // SAFETY: a byte of this function; what cannot be read is an error.
        match unsafe { guard::copy(&raw mut byte, mapping.cast(), 1) } {
            Err(fault) if fault.behind_the_file => return Fate::Truncated,
            Err(_) => return Fate::Replaced,
            Ok(()) => at += page,
        }
    }
    Fate::Replaced
}

/// Copies `n` bytes, either of which may be memory that is not there (`EFAULT`).
///
/// # Safety
/// No reference may exist to what is written.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn copy_by_kernel(to: *mut u8, from: *const u8, n: usize) -> Result<()> {
    let range = |at: *mut u8| libc::iovec {
        iov_base: at.cast(),
        iov_len: n,
    };
    let (to, from) = (range(to), range(from.cast_mut()));
    // SAFETY: the kernel checks both ranges.
    let copied = super::check_size(unsafe {
        libc::process_vm_readv(
            super::thread::own_tid(),
            &raw const to,
            1,
            &raw const from,
            1,
            0,
        )
    })?;
    if copied == n {
        Ok(())
    } else {
        Err(libc::EFAULT)
    }
}
