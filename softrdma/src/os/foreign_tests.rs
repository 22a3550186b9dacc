// SPDX-License-Identifier: BSD-3-Clause

//! Files and descriptors of other processes, an access to which could wait, or cost too much; and the descriptors of the
//! program, of which a thread with a table of its own has copies.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::mapped::{Mapped, MappedRegion, Part};
use super::memory::Span;
use super::pair::Pair;
use super::private_fd::PrivateFd;
use super::private_table::separate;
use super::region_table::RegionTable;
use super::{guard, memfd, owned, passing};
use crate::Result;
use crate::types::region::{Extent, Window};

const SIZE: u64 = 16384;

fn map(file: &File, length: u64) -> Result<MappedRegion> {
    guard::prepare();
    let region = Extent {
        addr: 0x1_0000,
        length,
        serial: 0,
    };
    let path = std::ffi::CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    let file = PrivateFd::open(&path, libc::O_RDWR).unwrap();
    let (part, facts) = Part::of(&file, Window::of(&region).unwrap(), 0, true)?;
    let mapped = Mapped::new(RegionTable::own()?, &file, part, &facts)?;
    Ok(MappedRegion::new(Arc::new(mapped), &region).unwrap())
}

#[test]
fn pages_that_are_on_disk_are_not_waited_for() {
    let path = std::env::temp_dir().join(format!("softrdma-{}", std::process::id()));
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all(&[7; SIZE as usize]).unwrap();
    // The files of some systems cannot be mapped, or are in memory only.
    let Ok(mapped) = map(&file, SIZE) else { return };
    // SAFETY: no pointers.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) } >= 0 {
        return;
    }
    let mut bytes = [0; 100];
    mapped.read(0, Span::from_mut(&mut bytes)).unwrap();
    drop(mapped);
    // A mapping of which nothing was seen, and pages that are in no other one: the kernel lets go of them.
    let mapped = map(&file, SIZE).unwrap();
    file.sync_all().unwrap();
    let advice = libc::POSIX_FADV_DONTNEED;
    // SAFETY: no pointers.
    let dropped = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, advice) };
    assert_eq!(dropped, 0);
    let read = mapped.read(4096, Span::from_mut(&mut bytes));
    assert_eq!(read, Err(libc::EAGAIN));
    assert_eq!(mapped.store(4096, [1; 8]), Err(libc::EAGAIN));
    // In memory again.
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut [0; SIZE as usize], 0).unwrap();
    mapped.read(4096, Span::from_mut(&mut bytes)).unwrap();
    assert_eq!(bytes, [7; 100]);
    mapped.store(4096, [1; 8]).unwrap();
}

#[test]
fn a_file_that_is_larger_than_all_memory_is_not_mapped() {
    const HUGE: u64 = 100 << 40;
    let file = File::from(memfd::create(4096).unwrap());
    file.set_len(HUGE).unwrap();
    assert_eq!(map(&file, HUGE).err(), Some(libc::EFBIG));
    assert!(map(&file, 1 << 30).is_ok());
}

/// A socket that takes a minute to close.
fn lingering() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut lingers = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (reads_nothing, _) = listener.accept().unwrap();
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 60,
    };
    let (at, size) = ((&raw const linger).cast(), size_of_val(&linger));
    // SAFETY: plain data of this size.
    let set = unsafe {
        let (fd, level) = (lingers.as_raw_fd(), libc::SOL_SOCKET);
        libc::setsockopt(fd, level, libc::SO_LINGER, at, size as libc::socklen_t)
    };
    assert_eq!(set, 0);
    lingers.set_nonblocking(true).unwrap();
    while lingers.write(&[0; 1 << 16]).is_ok() {}
    (lingers, reads_nothing)
}

#[test]
fn a_descriptor_that_takes_long_to_close_keeps_nobody_waiting() {
    let (lingers, _other) = lingering();
    let (more_lingers, _another) = lingering();
    let begun = Instant::now();
    let (one, other) = Pair::of_this_process().unwrap();
    let socket = one.socket().raw();
    passing::send(socket, &[0; 4], Some(lingers.as_raw_fd())).unwrap();
    passing::send(socket, &[0; 5], Some(more_lingers.as_raw_fd())).unwrap();
    // From now on the messages have the last descriptors of them.
    for stream in [lingers, more_lingers] {
        drop(stream);
    }
    assert!(other.receive().is_ok());
    assert_eq!(other.receive().err(), Some(libc::EBADMSG));
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_thread_with_its_own_table_ends_no_notification_of_the_program() {
    let name = std::ffi::CString::new(format!("/softrdma-{}", std::process::id())).unwrap();
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    let none = std::ptr::null_mut::<libc::mq_attr>();
    // SAFETY: a string, and no attributes.
    let queue = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, none) };
    if queue < 0 {
        // The kernel or its limits do not permit it.
        return;
    }
    // SAFETY: a string, and plain data for which zeros are valid.
    let notify = || unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_NONE;
        match libc::mq_notify(queue, &raw const event) {
            0 => Ok(()),
            _ => Err(super::errno()),
        }
    };
    // SAFETY: a string.
    unsafe { libc::mq_unlink(name.as_ptr()) };
    assert_eq!(notify(), Ok(()));
    // SAFETY: no pointers.
    let keeps = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }).unwrap();
    let number = keeps.as_raw_fd();
    let (seen, is_seen) = std::sync::mpsc::channel();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let kept = separate(number).unwrap();
        // Standard output and standard error are nobody's files.
        let next = PrivateFd::open(c"/", libc::O_RDONLY | libc::O_DIRECTORY).unwrap();
        seen.send((kept.raw(), next.raw())).unwrap();
        let _ = is_done.recv();
    });
    let (kept, next) = is_seen.recv().unwrap();
    assert_eq!(kept, number);
    assert!(next > libc::STDERR_FILENO);
    // It is registered still.
    assert_eq!(notify(), Err(libc::EBUSY));
    drop(done);
    thread.join().unwrap();
    // SAFETY: no pointers.
    unsafe { libc::mq_close(queue) };
}
