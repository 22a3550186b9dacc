// SPDX-License-Identifier: BSD-3-Clause

//! The signals of a fault, which this library shares with the program.
//!
//! A fault in a routine of `guard` is this library's business. All others are the program's: the library
//! stands in front of `sigaction` and its relatives (`abi::signals`), keeps what the program asks for, and
//! installs its own handler with the program's flags and mask instead. So the program's handler is called as
//! the kernel would call it, and the program sees its own when it asks.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering, fence};
use std::{mem, ptr};

use super::guard::{self, Fault};
use super::signal_mask::{self, change_mask};
use super::{check, errno};
use crate::Result;

type Sigaction = unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;
type Info = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
type Plain = unsafe extern "C" fn(c_int);

const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Whether this is one of the signals that are shared.
pub(crate) fn is_shared(signal: c_int) -> bool {
    SIGNALS.contains(&signal)
}

// --- What the program asks for -----------------------------------------------------------------------

/// The program's action for one signal. The handler reads it while another thread, or the thread that it
/// interrupts, may change it: the new one is written beside the old one, and then counts.
struct Kept {
    actions: [UnsafeCell<mem::MaybeUninit<libc::sigaction>>; 2],
    /// 0: nothing is kept and the handler is not installed. The action that counts is the one of its parity.
    version: AtomicUsize,
}

// SAFETY: the cells are written under `CHANGING` only, and never the one that counts.
unsafe impl Sync for Kept {}

impl Kept {
    const fn new() -> Self {
        Self {
            actions: [const { UnsafeCell::new(mem::MaybeUninit::uninit()) }; 2],
            version: AtomicUsize::new(0),
        }
    }

    fn get(&self) -> Option<libc::sigaction> {
        loop {
            let version = self.version.load(Ordering::Acquire);
            if version == 0 {
                return None;
            }
            // SAFETY: written before the version was; if it is being written once more, then the version has
            // changed, and what was read is not looked at.
            let action = unsafe { self.actions[version & 1].get().read_volatile() };
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                // SAFETY: as above.
                return Some(unsafe { action.assume_init() });
            }
        }
    }

    /// Under `CHANGING` only.
    fn set(&self, action: libc::sigaction) {
        let version = self.version.load(Ordering::Relaxed) + 1;
        // SAFETY: nobody reads this one, or finds out that it has changed.
        unsafe {
            let place = self.actions[version & 1].get();
            place.write_volatile(mem::MaybeUninit::new(action));
        }
        self.version.store(version, Ordering::Release);
    }
}

static KEPT: [Kept; 2] = [const { Kept::new() }; 2];

fn kept(signal: c_int) -> Option<&'static Kept> {
    let index = SIGNALS.iter().position(|&shared| shared == signal)?;
    KEPT.get(index)
}

/// Held while an action is changed, with all signals blocked: a handler may do the same.
static CHANGING: AtomicBool = AtomicBool::new(false);
/// The process that the kept actions are of. A child that shares the memory of its parent until it executes
/// another program must not change them.
static OWNER: AtomicI32 = AtomicI32::new(0);

struct Changing(libc::sigset_t);

impl Changing {
    fn begin() -> Self {
        let before = change_mask(libc::SIG_SETMASK, Some(&signal_mask::all()));
        while CHANGING.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
        Self(before)
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        CHANGING.store(false, Ordering::Release);
        change_mask(libc::SIG_SETMASK, Some(&self.0));
    }
}

/// Whether the program has a handler that interrupts calls that wait (no `SA_RESTART`).
pub(crate) fn any_interrupts() -> bool {
    (1..=libc::SIGRTMAX()).any(interrupts)
}

fn interrupts(signal: c_int) -> bool {
    let mut action = mem::MaybeUninit::<libc::sigaction>::zeroed();
    let Some(real) = real() else { return true };
    // SAFETY: null, and room for an action, for which zeros are valid.
    let action = unsafe {
        if real(signal, ptr::null(), action.as_mut_ptr()) != 0 {
            return false;
        }
        action.assume_init()
    };
    !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
        && !is_own(&action)
        && action.sa_flags & libc::SA_RESTART == 0
}

/// Signals that have come, and whose handlers have not run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pending {
    pub(crate) any: bool,
    /// As `any_interrupts` means it.
    pub(crate) interrupts: bool,
}

/// What this thread would handle with another mask.
pub(crate) fn pending_but_for(mask: &libc::sigset_t) -> Pending {
    let mut all = mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: room for a set, for which zeros are valid; the kernel's is the first eight bytes of it.
    let bits = unsafe {
        libc::sigpending(all.as_mut_ptr());
        *all.as_ptr().cast::<u64>() & !*ptr::from_ref(mask).cast::<u64>()
    };
    Pending {
        any: bits != 0,
        interrupts: (1..=64).any(|signal| bits & (1 << (signal - 1)) != 0 && interrupts(signal)),
    }
}

/// The function of a name in the libraries behind this one. It is looked for when this library is loaded: signal
/// handlers may call these, and must not look for anything.
pub(crate) struct Next {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Next {
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            found: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// NULL if there is none.
    pub(crate) fn get(&self) -> *mut c_void {
        let mut found = self.found.load(Ordering::Acquire);
        if found.is_null() {
            // SAFETY: a string.
            found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
            self.found.store(found, Ordering::Release);
        }
        found
    }
}

/// The C library's `sigaction`, which this library stands in front of.
pub(crate) static REAL: Next = Next::new(c"sigaction");

fn real() -> Option<Sigaction> {
    // SAFETY: a function of this type, or null.
    unsafe { mem::transmute::<*mut c_void, Option<Sigaction>>(REAL.get()) }
}

fn change(signal: c_int, new: Option<&libc::sigaction>) -> Result<libc::sigaction> {
    let real = real().ok_or(libc::ENOSYS)?;
    let mut old = mem::MaybeUninit::<libc::sigaction>::zeroed();
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: null or an action, and room for another one, for which zeros are valid.
    unsafe {
        check(real(signal, new, old.as_mut_ptr()))?;
        Ok(old.assume_init())
    }
}

fn is_own(action: &libc::sigaction) -> bool {
    action.sa_sigaction == handle as Info as usize
}

/// Asks for the handler of this library in the way the program has asked for its own.
fn install(signal: c_int, program: &libc::sigaction) -> Result<()> {
    let mut own = *program;
    own.sa_sigaction = handle as Info as usize;
    own.sa_flags |= libc::SA_SIGINFO;
    // The kernel is to come back here for the next one.
    own.sa_flags &= !libc::SA_RESETHAND;
    if !is_function(program) {
        own.sa_flags |= libc::SA_ONSTACK;
    }
    change(signal, Some(&own)).map(|_| ())
}

fn is_function(action: &libc::sigaction) -> bool {
    action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN
}

/// Makes sure that the handler is there. To be called before memory is registered, each time: something may
/// have replaced it that does not ask the C library.
pub(crate) fn prepare() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    for signal in SIGNALS {
        let is_there = change(signal, None).is_ok_and(|current| is_own(&current));
        if is_there {
            continue;
        }
        let _changing = Changing::begin();
        OWNER.store(own_pid(), Ordering::Relaxed);
        if let (Some(kept), Ok(program)) = (kept(signal), change(signal, None)) {
            if !is_own(&program) {
                kept.set(program);
                // Without it, faults go to the program as they always did.
                let _ = install(signal, &program);
            }
        }
    }
}

/// In a child that was made by `fork`: the actions are its own from now on.
pub(crate) fn prepare_child() {
    CHANGING.store(false, Ordering::Relaxed);
    if OWNER.load(Ordering::Relaxed) != 0 {
        OWNER.store(own_pid(), Ordering::Relaxed);
    }
}

fn own_pid() -> i32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::getpid() }
}

/// What the program does by `sigaction`: `new` is what it asks for, if anything. What it had before.
pub(crate) fn action(signal: c_int, new: Option<&libc::sigaction>) -> Result<libc::sigaction> {
    let kept = kept(signal).filter(|kept| {
        kept.version.load(Ordering::Acquire) != 0 && OWNER.load(Ordering::Relaxed) == own_pid()
    });
    let Some(kept) = kept else {
        return change(signal, new);
    };
    let Some(new) = new else {
        return kept.get().ok_or(libc::EINVAL);
    };
    if is_own(new) {
        // It has got this library's handler from somewhere, and puts it back.
        return kept.get().ok_or(libc::EINVAL);
    }
    let _changing = Changing::begin();
    let old = kept.get().ok_or(libc::EINVAL)?;
    // First the one that counts: a fault in between must find a handler that is meant to be called.
    kept.set(*new);
    install(signal, new)?;
    Ok(old)
}

// --- The handler -------------------------------------------------------------------------------------

unsafe extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: this is a signal handler.
    if unsafe { guard::divert(signal, context) } {
        return;
    }
    let before = errno();
    let program = kept(signal).and_then(Kept::get);
    match program {
        Some(program) if is_function(&program) => {
            if program.sa_flags & libc::SA_RESETHAND != 0 {
                if let Some(kept) = kept(signal) {
                    let _changing = Changing::begin();
                    kept.set(default_action());
                }
            }
            set_errno(before);
            // SAFETY: the program's handler, of the type that it has said.
            unsafe {
                if program.sa_flags & libc::SA_SIGINFO != 0 {
                    mem::transmute::<usize, Info>(program.sa_sigaction)(signal, info, context);
                } else {
                    mem::transmute::<usize, Plain>(program.sa_sigaction)(signal);
                }
            }
        }
        // SAFETY: this is a signal handler.
        Some(program) if program.sa_sigaction == libc::SIG_IGN && unsafe { was_sent(info) } => {}
        // As without this handler: a fault happens once more, and a signal that was sent is sent once more.
        _ => {
            let _ = change(signal, Some(&default_action()));
            // SAFETY: this is a signal handler; the call has no pointers.
            unsafe {
                if was_sent(info) {
                    libc::syscall(
                        libc::SYS_tgkill,
                        own_pid(),
                        super::thread::own_tid(),
                        signal,
                    );
                }
            }
            set_errno(before);
        }
    }
}

/// By a process or a thread, and not by a fault.
///
/// # Safety
/// `info` is the second argument of a signal handler.
unsafe fn was_sent(info: *const libc::siginfo_t) -> bool {
    // SAFETY: the caller's promise.
    unsafe { (*info).si_code <= 0 }
}

fn default_action() -> libc::sigaction {
    // SAFETY: plain data, for which zeros are valid: the default action and an empty mask.
    unsafe { mem::zeroed() }
}

fn set_errno(errno: c_int) {
    // SAFETY: the place of this thread.
    unsafe { *libc::__errno_location() = errno };
}

// --- Masks -------------------------------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mask {
    Unknown,
    /// Both signals are delivered.
    Open,
    /// At least one is blocked: the kernel would end the process in a fault.
    Blocked,
}

thread_local! {
    static MASK: Cell<Mask> = const { Cell::new(Mask::Unknown) };
}

/// The program changes the mask of this thread, as it would by the C library: two signals are for its threads.
pub(crate) fn program_changes_mask(
    how: c_int,
    set: Option<&libc::sigset_t>,
    old: Option<&mut libc::sigset_t>,
) -> Result<()> {
    const OF_THE_C_LIBRARY: [c_int; 2] = [32, 33];
    let mut set = set.copied();
    if let Some(set) = set.as_mut().filter(|_| how != libc::SIG_UNBLOCK) {
        for signal in OF_THE_C_LIBRARY {
            // Not by `sigdelset`, which refuses them.
            let bits = ptr::from_mut(set).cast::<u64>();
            // SAFETY: the kernel's set is the first eight bytes.
            unsafe { *bits &= !(1 << (signal - 1)) };
        }
    }
    let new = set.as_ref().map_or(ptr::null(), ptr::from_ref);
    let old = old.map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: null or a set, and null or room for one.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, new, old, 8usize) };
    mask_changes();
    check(done as c_int).map(|_| ())
}

/// The program changes the mask of this thread, or the C library does so for it.
pub(crate) fn mask_changes() {
    MASK.set(Mask::Unknown);
}

#[cold]
fn look_at_the_mask() -> Mask {
    let mask = change_mask(libc::SIG_BLOCK, None);
    // SAFETY: a set that was filled in.
    let blocked = SIGNALS
        .iter()
        .any(|&signal| unsafe { libc::sigismember(&mask, signal) } == 1);
    let state = if blocked { Mask::Blocked } else { Mask::Open };
    MASK.set(state);
    state
}

/// Does something that may fault, with the signals of that unblocked.
pub(super) fn with_faults(does: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
    if !cfg!(target_arch = "x86_64") {
        return does();
    }
    let state = match MASK.get() {
        Mask::Unknown => look_at_the_mask(),
        state => state,
    };
    if state == Mask::Open {
        return does();
    }
    let mut faults = mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is made empty before anything is added.
    let faults = unsafe {
        libc::sigemptyset(faults.as_mut_ptr());
        for signal in SIGNALS {
            libc::sigaddset(faults.as_mut_ptr(), signal);
        }
        faults.assume_init()
    };
    let before = change_mask(libc::SIG_UNBLOCK, Some(&faults));
    let done = does();
    change_mask(libc::SIG_SETMASK, Some(&before));
    done
}
