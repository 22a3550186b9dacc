// SPDX-License-Identifier: BSD-3-Clause

//! Prefetches memory: the processor loads several cache lines at the same time. Otherwise it would load one after the
//! other, each when an instruction needs it.

use std::ptr;

const LINE: usize = 64;

/// The first bytes of an object.
pub(crate) fn begin_of<T>(object: &T, bytes: usize) {
    let begin = ptr::from_ref(object).cast::<u8>();
    for offset in (0..bytes).step_by(LINE) {
        line(begin.wrapping_add(offset));
    }
}

/// What is at this address, whether or not there is something.
pub(crate) fn address(address: usize) {
    line(ptr::without_provenance(address));
}

#[cfg(target_arch = "x86_64")]
fn line(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: it makes no access that a program could see, and no fault.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
fn line(_at: *const u8) {}
