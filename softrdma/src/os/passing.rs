// SPDX-License-Identifier: BSD-3-Clause

//! Messages of local sockets that bring descriptors, by the numbers that those have in the table of the calling
//! thread.

use std::mem;
use std::os::fd::RawFd;

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

/// The length of the next message, 0 at the end, and the descriptor that came with it, if one did: the caller's now.
/// `EBADMSG` if there were several, or the message is longer than this.
pub(super) fn receive(socket: RawFd, bytes: &mut [u8]) -> Result<(usize, Option<RawFd>)> {
    let mut range = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut room = ControlRoom([0; 24]);
    let mut message = message(&mut range);
    message.msg_control = room.0.as_mut_ptr().cast();
    // No more than one: the kernel would use what is there only to keep the next header aligned.
    // SAFETY: computes a size.
    message.msg_controllen = unsafe { libc::CMSG_LEN(FD_SIZE) } as _;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: a message of a range that stays valid through the call; the kernel has filled in what is looked at
    // afterwards.
    let (n, fd) = unsafe {
        let n = check_size(sys::recvmsg(socket, &raw mut message, flags))?;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let fd = if header.is_null() {
            None
        } else if (*header).cmsg_level != libc::SOL_SOCKET
            || (*header).cmsg_type != libc::SCM_RIGHTS
            || (*header).cmsg_len != libc::CMSG_LEN(FD_SIZE) as _
        {
            return Err(libc::EBADMSG);
        } else {
            Some(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned())
        };
        (n, fd)
    };
    // There were more descriptors, which the kernel has closed, or bytes. Without any, this process may have no
    // more descriptors.
    let has_more = |flag| message.msg_flags & flag != 0;
    if has_more(libc::MSG_TRUNC) || (fd.is_some() && has_more(libc::MSG_CTRUNC)) {
        if let Some(fd) = fd {
            // SAFETY: it has just come, and nobody knows it.
            unsafe { sys::close(fd) };
        }
        return Err(libc::EBADMSG);
    }
    Ok((n, fd))
}
