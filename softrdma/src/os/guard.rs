// SPDX-License-Identifier: BSD-3-Clause

//! Copies from and to memory that may not be there.
//!
//! A program may unmap, protect or truncate memory while it is registered. The copy routines below are at known
//! addresses; when one of them faults, the handler in `signals` lets it continue at `failed`, and the copy
//! returns the signal instead of ending the process. On other processors the kernel copies, which fails with
//! `EFAULT`.

use std::sync::Once;

use super::{discard, own_memory, signals};

/// A copy or a store has met memory that cannot be accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The memory is mapped but its file does not reach as far.
    pub(super) behind_the_file: bool,
}

/// To be called before memory is registered, each time: the handler may have been replaced.
pub(crate) fn prepare() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: the handler does what a signal handler may do: stores to atomics.
        unsafe { libc::pthread_atfork(None, None, Some(prepare_child)) };
    });
    signals::prepare();
    own_memory::prepare();
}

/// In a child that was made by `fork`, all of this is its own.
extern "C" fn prepare_child() {
    signals::prepare_child();
    own_memory::prepare_child();
    discard::prepare_child();
}

/// Copies `n` bytes. After a fault any part of them may have been copied.
///
/// # Safety
/// No reference may exist to what is written, and the ranges must not overlap. Either of them may be memory of
/// the program that cannot be accessed.
pub(super) unsafe fn copy(to: *mut u8, from: *const u8, n: usize) -> Result<(), Fault> {
    // SAFETY: the caller's promise; a fault is answered by the handler.
    signals::with_faults(|| unsafe { machine::copy(to, from, n) })
}

/// Stores eight bytes at once.
///
/// # Safety
/// `at` must be aligned and no reference may exist to it. It may be memory that cannot be accessed.
pub(super) unsafe fn store(at: *mut u64, value: u64) -> Result<(), Fault> {
    // SAFETY: the caller's promise; a fault is answered by the handler.
    signals::with_faults(|| unsafe { machine::store(at, value) })
}

#[cfg(target_arch = "x86_64")]
pub(super) use machine::divert;

#[cfg(target_arch = "x86_64")]
mod machine {
    use std::ffi::c_int;

    use super::Fault;

    // Nothing is on the stack but the return address, wherever it faults, so that `failed` can return. Up to
    // 15 bytes go as two moves that may overlap, more in blocks of 64 and 16 and a last one that may overlap;
    // the last one is read first, before the loop changes the registers.
    std::arch::global_asm!(
        ".pushsection .text.softrdma_guarded,\"ax\",@progbits",
        ".p2align 4",
        ".globl softrdma_guarded_begin",
        ".hidden softrdma_guarded_begin",
        "softrdma_guarded_begin:",
        ".globl softrdma_guarded_copy",
        ".hidden softrdma_guarded_copy",
        ".type softrdma_guarded_copy,@function",
        "softrdma_guarded_copy:",
        ".cfi_startproc",
        "cmp rdx, 16",
        "jb 40f",
        "cmp rdx, 2048",
        "jae 30f",
        "movups xmm4, [rsi + rdx - 16]",
        "lea r8, [rdi + rdx - 16]",
        "sub rdx, 64",
        "jb 20f",
        "10:",
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + 16]",
        "movups xmm2, [rsi + 32]",
        "movups xmm3, [rsi + 48]",
        "movups [rdi], xmm0",
        "movups [rdi + 16], xmm1",
        "movups [rdi + 32], xmm2",
        "movups [rdi + 48], xmm3",
        "add rsi, 64",
        "add rdi, 64",
        "sub rdx, 64",
        "jae 10b",
        "20:",
        "cmp rdi, r8",
        "jae 21f",
        "movups xmm0, [rsi]",
        "movups [rdi], xmm0",
        "add rsi, 16",
        "add rdi, 16",
        "jmp 20b",
        "21:",
        "movups [r8], xmm4",
        "xor eax, eax",
        "ret",
        "30:",
        "mov rcx, rdx",
        "rep movsb",
        "xor eax, eax",
        "ret",
        "40:",
        "cmp rdx, 8",
        "jb 50f",
        "mov rax, [rsi]",
        "mov rcx, [rsi + rdx - 8]",
        "mov [rdi], rax",
        "mov [rdi + rdx - 8], rcx",
        "xor eax, eax",
        "ret",
        "50:",
        "cmp rdx, 4",
        "jb 60f",
        "mov eax, [rsi]",
        "mov ecx, [rsi + rdx - 4]",
        "mov [rdi], eax",
        "mov [rdi + rdx - 4], ecx",
        "xor eax, eax",
        "ret",
        "60:",
        "test rdx, rdx",
        "jz 61f",
        "mov al, [rsi]",
        "mov [rdi], al",
        "inc rsi",
        "inc rdi",
        "dec rdx",
        "jmp 60b",
        "61:",
        "xor eax, eax",
        "ret",
        ".cfi_endproc",
        ".size softrdma_guarded_copy, . - softrdma_guarded_copy",
        ".globl softrdma_guarded_store",
        ".hidden softrdma_guarded_store",
        ".type softrdma_guarded_store,@function",
        "softrdma_guarded_store:",
        ".cfi_startproc",
        "mov [rdi], rsi",
        "xor eax, eax",
        "ret",
        ".cfi_endproc",
        ".size softrdma_guarded_store, . - softrdma_guarded_store",
        ".globl softrdma_guarded_failed",
        ".hidden softrdma_guarded_failed",
        ".type softrdma_guarded_failed,@function",
        "softrdma_guarded_failed:",
        ".cfi_startproc",
        "ret",
        ".cfi_endproc",
        ".size softrdma_guarded_failed, . - softrdma_guarded_failed",
        ".popsection",
    );

    unsafe extern "C" {
        fn softrdma_guarded_begin();
        fn softrdma_guarded_copy(to: *mut u8, from: *const u8, n: usize) -> c_int;
        fn softrdma_guarded_store(at: *mut u64, value: u64) -> c_int;
        fn softrdma_guarded_failed();
    }

    fn outcome(signal: c_int) -> Result<(), Fault> {
        match signal {
            0 => Ok(()),
            signal => Err(Fault {
                behind_the_file: signal == libc::SIGBUS,
            }),
        }
    }

    pub(super) unsafe fn copy(to: *mut u8, from: *const u8, n: usize) -> Result<(), Fault> {
        // SAFETY: as the caller's.
        outcome(unsafe { softrdma_guarded_copy(to, from, n) })
    }

    pub(super) unsafe fn store(at: *mut u64, value: u64) -> Result<(), Fault> {
        // SAFETY: as the caller's.
        outcome(unsafe { softrdma_guarded_store(at, value) })
    }

    /// Lets the thread that has got this signal continue at the failure exit, if it is in one of the routines.
    /// It may be called in a signal handler.
    ///
    /// # Safety
    /// `context` is the third argument of a signal handler.
    pub(in super::super) unsafe fn divert(signal: c_int, context: *mut libc::c_void) -> bool {
        let begin = softrdma_guarded_begin as *const () as i64;
        let failed = softrdma_guarded_failed as *const () as i64;
        // SAFETY: the caller's promise.
        let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
        let at = &mut registers[libc::REG_RIP as usize];
        if !(begin..failed).contains(at) {
            return false;
        }
        *at = failed;
        registers[libc::REG_RAX as usize] = signal.into();
        true
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod machine {
    use super::Fault;
    use crate::os::own_memory;

    const FAULT: Fault = Fault {
        behind_the_file: false,
    };

    pub(super) unsafe fn copy(to: *mut u8, from: *const u8, n: usize) -> Result<(), Fault> {
        // SAFETY: as the caller's.
        match unsafe { own_memory::copy_by_kernel(to, from, n) } {
            Ok(()) => Ok(()),
            Err(libc::EFAULT) => Err(FAULT),
            // The kernel may not be asked.
            Err(_) => {
                // SAFETY: as the caller's, as far as is known.
                unsafe { std::ptr::copy_nonoverlapping(from, to, n) };
                Ok(())
            }
        }
    }

    pub(super) unsafe fn store(at: *mut u64, value: u64) -> Result<(), Fault> {
        let mut before = 0;
        // The kernel has no copy that is atomic. It can say whether the memory is there a moment before.
        // SAFETY: as the caller's.
        unsafe { copy((&raw mut before).cast(), at.cast(), 8) }?;
        // SAFETY: as the caller's.
        unsafe { std::sync::atomic::AtomicU64::from_ptr(at) }
            .store(value, std::sync::atomic::Ordering::Release);
        Ok(())
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn divert(_signal: std::ffi::c_int, _context: *mut libc::c_void) -> bool {
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::os::testing::Mapped;

    #[test]
    fn every_length_is_copied_and_nothing_around_it() {
        prepare();
        let from: Vec<u8> = (0..6000u32).map(|n| (n * 7 + n / 256) as u8).collect();
        let lengths = (0..700).chain([1023, 1024, 2047, 2048, 2049, 4096, 5000]);
        for (n, shift) in lengths.flat_map(|n| [(n, 0), (n, 3)]) {
            let mut to = vec![0xee; n + 40];
            // SAFETY: both are buffers of this test, long enough.
            let done = unsafe { copy(to[16..].as_mut_ptr(), from[shift..].as_ptr(), n) };
            assert_eq!(done, Ok(()));
            assert!(to[16..16 + n] == from[shift..shift + n], "{n}");
            assert!(
                to[..16]
                    .iter()
                    .chain(&to[16 + n..])
                    .all(|&byte| byte == 0xee)
            );
        }
    }

    #[test]
    fn memory_that_is_gone_is_no_more_than_an_error() {
        prepare();
        let mapped = Mapped::new(8192).unwrap();
        mapped.resize(4096).unwrap();
        let at = mapped.addr() as usize;
        let behind = std::ptr::with_exposed_provenance_mut::<u8>(at + 4096);
        let mut buffer = vec![0; 4096];
        for n in [1, 5, 8, 100, 2000, 4096] {
            // SAFETY: what cannot be accessed is what this is for.
            let (read, written) = unsafe {
                (
                    copy(buffer.as_mut_ptr(), behind, n),
                    copy(behind, buffer.as_ptr(), n),
                )
            };
            let fault = Err(Fault {
                behind_the_file: cfg!(target_arch = "x86_64"),
            });
            assert_eq!((read, written), (fault, fault));
            // SAFETY: nobody has anything at this address.
            let nowhere = unsafe { copy(buffer.as_mut_ptr(), std::ptr::without_provenance(64), n) };
            let fault = Fault {
                behind_the_file: false,
            };
            assert_eq!(nowhere, Err(fault));
        }
        // SAFETY: aligned.
        assert!(unsafe { store(behind.cast(), 1) }.is_err());
        // SAFETY: aligned, and there.
        assert!(unsafe { store(behind.wrapping_sub(8).cast(), 1) }.is_ok());
    }
}
