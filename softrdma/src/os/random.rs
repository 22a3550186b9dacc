// SPDX-License-Identifier: BSD-3-Clause

//! Numbers that a peer cannot guess.

use super::check_size;
use crate::Result;

pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut to = [0u8; N];
    // SAFETY: N bytes of room. Up to 256 bytes come at once.
    let got = check_size(unsafe { libc::getrandom(to.as_mut_ptr().cast(), N, 0) })?;
    if got == N { Ok(to) } else { Err(libc::EIO) }
}
