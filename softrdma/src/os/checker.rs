// SPDX-License-Identifier: BSD-3-Clause

//! For tools that look for data races: what one thread has written before it hands something over, the thread that
//! takes it may read. helgrind and DRD (valgrind) know of pthread's locks only, ThreadSanitizer of what it has
//! compiled, and nothing of softrdma is either. Without these notes they would report whatever a program reads of
//! its own memory after a completion. Without such a tool they are a load and a branch.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

static IS_CHECKED: AtomicBool = AtomicBool::new(false);
static ON_VALGRIND: AtomicBool = AtomicBool::new(false);
/// Functions of ThreadSanitizer, NULL without it.
static RELEASE: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
static ACQUIRE: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

#[used]
#[unsafe(link_section = ".init_array")]
static FIND_TOOLS: extern "C" fn() = {
    extern "C" fn at_load() {
        let on_valgrind = valgrind::request(valgrind::RUNNING_ON_VALGRIND, 0) != 0;
        // SAFETY: both names end with a zero byte.
        let (release, acquire) = unsafe {
            (
                libc::dlsym(libc::RTLD_DEFAULT, c"__tsan_release".as_ptr()),
                libc::dlsym(libc::RTLD_DEFAULT, c"__tsan_acquire".as_ptr()),
            )
        };
        ON_VALGRIND.store(on_valgrind, Ordering::Relaxed);
        RELEASE.store(release, Ordering::Relaxed);
        ACQUIRE.store(acquire, Ordering::Relaxed);
        IS_CHECKED.store(
            on_valgrind || !release.is_null() && !acquire.is_null(),
            Ordering::Relaxed,
        );
    }
    at_load
};

pub(super) fn is_on_valgrind() -> bool {
    ON_VALGRIND.load(Ordering::Relaxed)
}

/// This thread is about to hand something over by way of `place`.
#[inline]
pub(crate) fn hands_over<T>(place: &T) {
    if IS_CHECKED.load(Ordering::Relaxed) {
        note(
            std::ptr::from_ref(place).addr(),
            valgrind::HAPPENS_BEFORE,
            &RELEASE,
        );
    }
}

/// This thread has taken what another one has handed over by way of `place`.
#[inline]
pub(crate) fn takes_over<T>(place: &T) {
    if IS_CHECKED.load(Ordering::Relaxed) {
        note(
            std::ptr::from_ref(place).addr(),
            valgrind::HAPPENS_AFTER,
            &ACQUIRE,
        );
    }
}

#[cold]
fn note(place: usize, request: usize, function: &AtomicPtr<c_void>) {
    if ON_VALGRIND.load(Ordering::Relaxed) {
        valgrind::request(request, place);
    }
    let function = function.load(Ordering::Relaxed);
    if !function.is_null() {
        // SAFETY: found by its name above, with this type in ThreadSanitizer's interface.
        let function: extern "C" fn(*mut c_void) = unsafe { std::mem::transmute(function) };
        function(std::ptr::without_provenance_mut(place));
    }
}

/// The interface of valgrind: a sequence of instructions that has no effect on a processor.
mod valgrind {
    pub(super) const RUNNING_ON_VALGRIND: usize = 0x1001;
    /// Numbers of helgrind, which DRD knows as well.
    pub(super) const HAPPENS_BEFORE: usize = 0x4847_0000 + 256 + 33;
    pub(super) const HAPPENS_AFTER: usize = HAPPENS_BEFORE + 1;

    /// The answer; 0 without valgrind.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn request(number: usize, argument: usize) -> usize {
        let block: [usize; 6] = [number, argument, 0, 0, 0, 0];
        let answer;
        // SAFETY: rotates a register by 128 bits, and exchanges another one with itself. valgrind reads the block.
        unsafe {
            std::arch::asm!(
                "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51",
                "xchg rbx, rbx",
                in("rax") block.as_ptr(),
                inout("rdx") 0_usize => answer,
            );
        }
        answer
    }

    /// The answer; 0 without valgrind.
    #[cfg(target_arch = "aarch64")]
    pub(super) fn request(number: usize, argument: usize) -> usize {
        let block: [usize; 6] = [number, argument, 0, 0, 0, 0];
        let answer;
        // SAFETY: rotates a register by 128 bits, and combines another one with itself. valgrind reads the block.
        unsafe {
            std::arch::asm!(
                "ror x12, x12, #3", "ror x12, x12, #13", "ror x12, x12, #51", "ror x12, x12, #61",
                "orr x10, x10, x10",
                in("x4") block.as_ptr(),
                inout("x3") 0_usize => answer,
            );
        }
        answer
    }

    /// Unknown here.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(super) fn request(_number: usize, _argument: usize) -> usize {
        0
    }
}
