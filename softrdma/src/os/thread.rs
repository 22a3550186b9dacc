// SPDX-License-Identifier: BSD-3-Clause

//! The I/O thread, and what is done when the process exits.
//!
//! A thread inherits from its maker what is meant for that one alone: real-time policy, a CPU of its own, a
//! nice value, blocked signals. A program whose threads poll on CPUs of their own would keep an I/O thread with
//! their attributes from ever running. So it is made with the attributes of the process. The memory policy stays:
//! usually it is one of the whole process (`numactl`).

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{checker, signal_mask};
use crate::Result;

const STACK: usize = 256 * 1024;
/// The kernel's default, in nanoseconds.
const TIMER_SLACK: libc::c_ulong = 50_000;
type Body = Box<dyn FnOnce() + Send>;

/// Starts a thread that has the attributes of the process, and takes none of the program's signals.
pub(crate) fn spawn(
    name: &'static std::ffi::CStr,
    body: impl FnOnce() + Send + 'static,
) -> Result<()> {
    let body: Body = Box::new(move || {
        // SAFETY: a string of fewer than 16 bytes; a number.
        unsafe {
            libc::prctl(libc::PR_SET_NAME, name.as_ptr());
            libc::prctl(libc::PR_SET_TIMERSLACK, TIMER_SLACK);
        }
        take_nice_value_of_process();
        take_short_slices();
        body();
    });
    let body = Box::into_raw(Box::new(body));
    // A thread inherits the signal mask of its maker.
    let created = with_signals_blocked(|| match create(&Attributes::of_process(), body) {
        0 => 0,
        // A sandbox may not let a thread have them. It may do without them.
        _ => create(&Attributes::inherited(), body),
    });
    if created == 0 {
        Ok(())
    } else {
        // SAFETY: there is no thread that it belongs to.
        drop(unsafe { Box::from_raw(body) });
        Err(created)
    }
}

/// The calling thread wakes at the times that it asks for, and not up to 50 microseconds later.
pub(crate) fn wake_in_time() {
    // SAFETY: a number.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}

fn create(attributes: &Attributes, body: *mut Body) -> c_int {
    let mut thread = MaybeUninit::uninit();
    // SAFETY: room for the answer, initialised attributes, and what the function takes. If it fails, the body is
    // still the caller's.
    unsafe {
        libc::pthread_create(
            thread.as_mut_ptr(),
            &raw const attributes.0,
            run,
            body.cast(),
        )
    }
}

extern "C" fn run(body: *mut c_void) -> *mut c_void {
    let _table = Table::of_this_thread();
    // SAFETY: made by `spawn` for this thread.
    let body = unsafe { Box::from_raw(body.cast::<Body>()) };
    signal_mask::change_mask(libc::SIG_UNBLOCK, Some(&signal_mask::synchronous()));
    // A panic is a bug. It has been reported, and must not unwind into C.
    let _ = panic::catch_unwind(AssertUnwindSafe(body));
    std::ptr::null_mut()
}

/// The beginning of the table of a thread's thread-local variables. The C library has a pointer to the second entry
/// only, and valgrind takes memory that nothing points to the beginning of for lost. So it is kept for as long as
/// the thread runs.
struct Table(usize);

static TABLES: Mutex<Vec<usize>> = Mutex::new(Vec::new());

impl Table {
    fn of_this_thread() -> Option<Self> {
        const ENTRY: usize = 2 * size_of::<usize>();
        let first = second_entry()?.wrapping_sub(ENTRY);
        TABLES.lock().push(first);
        Some(Self(first))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let mut tables = TABLES.lock();
        if let Some(index) = tables.iter().position(|&table| table == self.0) {
            tables.swap_remove(index);
        }
    }
}

/// Where the C library has that pointer is fixed for each architecture, since linkers and compilers know it.
#[cfg(all(target_env = "gnu", any(target_arch = "x86_64", target_arch = "s390x")))]
fn second_entry() -> Option<usize> {
    // SAFETY: the thread's control block begins with a pointer to itself and this one.
    Some(unsafe {
        *std::ptr::with_exposed_provenance::<usize>(libc::pthread_self() as usize).add(1)
    })
}

#[cfg(all(target_env = "gnu", target_arch = "aarch64"))]
fn second_entry() -> Option<usize> {
    let pointer: *const usize;
    // SAFETY: reads a register.
    unsafe { std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nomem, nostack)) };
    // SAFETY: what it points to begins with this pointer.
    Some(unsafe { *pointer })
}

#[cfg(not(all(
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "s390x", target_arch = "aarch64")
)))]
fn second_entry() -> Option<usize> {
    None
}

fn with_signals_blocked<T>(body: impl FnOnce() -> T) -> T {
    let before = signal_mask::change_mask(libc::SIG_SETMASK, Some(&signal_mask::all()));
    let done = body();
    signal_mask::change_mask(libc::SIG_SETMASK, Some(&before));
    done
}

struct Attributes(libc::pthread_attr_t);

impl Attributes {
    /// Of a thread that nobody joins.
    fn inherited() -> Self {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initialised by the first call, which cannot fail in the GNU C library.
        unsafe {
            libc::pthread_attr_init(attributes.as_mut_ptr());
            libc::pthread_attr_setdetachstate(
                attributes.as_mut_ptr(),
                libc::PTHREAD_CREATE_DETACHED,
            );
            Self(attributes.assume_init())
        }
    }

    fn of_process() -> Self {
        let mut new = Self::inherited();
        let attributes = &raw mut new.0;
        let cpus = Cpus::of_process();
        // SAFETY: initialised attributes, plain data, and a set of this size.
        unsafe {
            let param: libc::sched_param = std::mem::zeroed();
            // It includes the thread-local variables of all libraries: there may be too many.
            libc::pthread_attr_setstacksize(attributes, STACK);
            libc::pthread_attr_setinheritsched(attributes, libc::PTHREAD_EXPLICIT_SCHED);
            libc::pthread_attr_setschedpolicy(attributes, libc::SCHED_OTHER);
            libc::pthread_attr_setschedparam(attributes, &raw const param);
            pthread_attr_setaffinity_np(attributes, size_of_val(&cpus.0), cpus.0.as_ptr());
        }
        new
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used any more.
        unsafe { libc::pthread_attr_destroy(&raw mut self.0) };
    }
}

unsafe extern "C" {
    fn pthread_attr_setaffinity_np(
        attributes: *mut libc::pthread_attr_t,
        size: usize,
        cpus: *const u64,
    ) -> c_int;
}

/// A set of CPUs. The kernel takes sets of any size.
struct Cpus([u64; CPU_WORDS]);

const CPU_WORDS: usize = 128;

/// Those that the process was allowed when this library was loaded: the program has not restricted itself yet,
/// but whoever started it may have (`taskset`).
static AT_LOAD: [AtomicU64; CPU_WORDS] = [const { AtomicU64::new(0) }; CPU_WORDS];

#[used]
#[unsafe(link_section = ".init_array")]
static REMEMBER_CPUS: extern "C" fn() = {
    extern "C" fn at_load() {
        let cpus = Cpus::of(0);
        for (kept, word) in AT_LOAD.iter().zip(cpus.0) {
            kept.store(word, Ordering::Relaxed);
        }
    }
    at_load
};

impl Cpus {
    /// Of a thread; 0: the calling one.
    fn of(thread: libc::pid_t) -> Self {
        let mut cpus = Self([0; CPU_WORDS]);
        // SAFETY: room for a set of this size.
        unsafe {
            let (size, at) = (size_of_val(&cpus.0), cpus.0.as_mut_ptr());
            libc::syscall(libc::SYS_sched_getaffinity, thread, size, at);
        }
        cpus
    }

    /// What any thread of the process is known to be allowed. The kernel leaves out what it forbids.
    fn of_process() -> Self {
        let (main, own) = (Self::of(main_thread()), Self::of(0));
        let mut all = Self([0; CPU_WORDS]);
        let known = AT_LOAD.iter().zip(main.0).zip(own.0);
        for (word, ((at_load, main), own)) in all.0.iter_mut().zip(known) {
            *word = at_load.load(Ordering::Relaxed) | main | own;
        }
        all
    }
}

/// On how many processors the calling thread may run.
pub(crate) fn processors() -> u32 {
    Cpus::of(0).0.iter().map(|word| word.count_ones()).sum()
}

/// It keeps its number, and what the kernel knows of it, after it has ended.
fn main_thread() -> libc::pid_t {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::getpid() }
}

/// The nice value of the main thread. The system may not permit a better one than that of the maker.
fn take_nice_value_of_process() {
    // SAFETY: no pointers.
    unsafe {
        let of_process = libc::getpriority(libc::PRIO_PROCESS, main_thread() as libc::id_t);
        if of_process != libc::getpriority(libc::PRIO_PROCESS, 0) {
            libc::setpriority(libc::PRIO_PROCESS, 0, of_process);
        }
    }
}

/// `struct sched_attr` of the kernel, in its first form.
#[repr(C)]
#[derive(Default)]
struct SchedulingAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// Of a thread with default policy: its time slice in nanoseconds. Kernels before 6.12 take no notice.
    runtime: u64,
    deadline: u64,
    period: u64,
}

impl SchedulingAttributes {
    fn of_this_thread() -> Option<Self> {
        let mut own = Self::default();
        let size = size_of::<Self>();
        // SAFETY: room of this size.
        let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut own, size, 0) };
        (got == 0).then_some(own)
    }
}

/// The shortest slice that there is.
const SLICE: u64 = 100_000;

/// The thread works for microseconds at a time, for which others wait. With a shorter slice than theirs it gets a
/// processor when it wakes; otherwise it would wait until a thread that polls has used up its own, some milliseconds.
/// It gets no more of the processor for that.
fn take_short_slices() {
    // valgrind does not know the call, and complains.
    if checker::is_on_valgrind() {
        return;
    }
    if let Some(mut own) = SchedulingAttributes::of_this_thread() {
        own.runtime = SLICE;
        // SAFETY: plain data of the size that it says. It does without, should the system not permit it.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const own, 0) };
    }
}

/// Runs a function when the process exits.
pub(crate) fn at_exit(function: extern "C" fn()) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the function is there as long as this library, which is never unloaded.
        unsafe { libc::atexit(function) };
    });
}

/// The number of this thread, which is there as long as the thread: that of the process goes with the main one.
pub(crate) fn own_tid() -> i32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// Tells a thread from all others that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadMark(usize);

impl ThreadMark {
    /// Costs no system call: the address of what only this thread has.
    pub(crate) fn own() -> Self {
        thread_local! {
            static PLACE: u8 = const { 0 };
        }
        Self(PLACE.with(|place| std::ptr::from_ref(place).addr()))
    }
}
