// SPDX-License-Identifier: BSD-3-Clause

//! Messages of local sockets that bring descriptors, by the numbers that those have in the table of the calling
//! thread.

use std::mem;
use std::os::fd::RawFd;

use super::discard::close_elsewhere;
use super::{check_size, sys};
use crate::Result;

const FD_SIZE: u32 = mem::size_of::<RawFd>() as u32;

/// What comes with a message, aligned as its header has to be.
#[repr(align(8))]
struct ControlRoom([u8; 24]);

fn message(range: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: plain data, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = range;
    message.msg_iovlen = 1;
    message
}

/// Sends a message, and a descriptor with it. All of it goes, or nothing.
pub(super) fn send(socket: RawFd, bytes: &[u8], fd: Option<RawFd>) -> Result<()> {
    let mut range = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut room = ControlRoom([0; 24]);
    let mut message = message(&mut range);
    if let Some(fd) = fd {
        message.msg_control = room.0.as_mut_ptr().cast();
        message.msg_controllen = room.0.len() as _;
        // SAFETY: the message has room for one descriptor behind its header, both written here.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(FD_SIZE) as _;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
        }
    }
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: a message of a range that is only read, and what was written above.
    let sent = check_size(unsafe { sys::sendmsg(socket, &raw const message, flags) })?;
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(libc::EMSGSIZE)
    }
}

/// As many descriptors as a message can bring: the kernel closes those for which there is no room, which may take as
/// long as closing them elsewhere.
const MOST_FDS: u32 = 253;

#[repr(align(8))]
struct Room([mem::MaybeUninit<u8>; ROOM]);

/// With their header, aligned.
const ROOM: usize = 1032;

// SAFETY: computes a size.
const _: () = assert!(ROOM >= unsafe { libc::CMSG_SPACE(MOST_FDS * FD_SIZE) } as usize);

/// The length of the next message, 0 at the end, and the descriptor that came with it, if one did: the caller's now.
/// `EBADMSG` if there were several, or the message is longer than this.
pub(super) fn receive(socket: RawFd, bytes: &mut [u8]) -> Result<(usize, Option<RawFd>)> {
    let mut range = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut room = Room([const { mem::MaybeUninit::uninit() }; ROOM]);
    let mut message = message(&mut range);
    message.msg_control = room.0.as_mut_ptr().cast();
    message.msg_controllen = room.0.len() as _;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: a message of a range that stays valid through the call.
    let n = check_size(unsafe { sys::recvmsg(socket, &raw mut message, flags) })?;
    // SAFETY: the kernel has filled it in.
    let fds = unsafe { descriptors(&message) };
    // There were more bytes. Without any descriptor, this process may have no more of them.
    let is_cut = |flag| message.msg_flags & flag != 0;
    match (fds, is_cut(libc::MSG_TRUNC)) {
        (Fds::None, false) => Ok((n, None)),
        (Fds::One(fd), false) if !is_cut(libc::MSG_CTRUNC) => Ok((n, Some(fd))),
        (Fds::None, true) => Err(libc::EBADMSG),
        (Fds::One(fd), _) => {
            let _ = close_elsewhere(vec![fd]);
            Err(libc::EBADMSG)
        }
        (Fds::Many(fds), _) => {
            let _ = close_elsewhere(fds);
            Err(libc::EBADMSG)
        }
    }
}

/// What came with a message.
enum Fds {
    None,
    One(RawFd),
    Many(Vec<RawFd>),
}

/// # Safety
/// The kernel has filled the message in.
unsafe fn descriptors(message: &libc::msghdr) -> Fds {
    // SAFETY: the caller's promise. No other kind of header is asked for.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        if header.is_null()
            || (*header).cmsg_level != libc::SOL_SOCKET
            || (*header).cmsg_type != libc::SCM_RIGHTS
        {
            return Fds::None;
        }
        let data = libc::CMSG_DATA(header).cast::<RawFd>();
        let bytes = ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
        match bytes / FD_SIZE as usize {
            0 => Fds::None,
            1 => Fds::One(data.read_unaligned()),
            n => Fds::Many((0..n).map(|i| data.add(i).read_unaligned()).collect()),
        }
    }
}
