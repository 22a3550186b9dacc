// SPDX-License-Identifier: BSD-3-Clause

//! The settings: their form in the launcher's options and in the environment.

use std::env;
use std::ffi::{OsStr, OsString, c_int};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::calls::{self, Call, Kind};
use super::errno::Errno;
use super::fault::FabricFault;
use super::pace::Link;
use super::stamp::Stamps;
use super::units::Span;

/// The environment variable with the name of the trace file.
pub const TRACE: &str = "SOFTRDMA_TRACE";
/// The environment variable that is 1 if the lines of the trace have times.
pub const TRACE_TIMES: &str = "SOFTRDMA_TRACE_TIMES";
/// The environment variable that is 1 if the lines of the trace have thread numbers.
pub const TRACE_THREADS: &str = "SOFTRDMA_TRACE_THREADS";
/// The environment variable with the failures, separated by commas.
pub const FAIL: &str = "SOFTRDMA_FAIL";
/// The environment variable with the faults of the device, connections and peers, separated by commas.
pub const FAULT: &str = "SOFTRDMA_FAULT";
/// The environment variable with the seed of random faults.
pub const SEED: &str = "SOFTRDMA_SEED";
/// The environment variable with the latency of the link.
pub const DELAY: &str = "SOFTRDMA_DELAY";
/// The environment variable with the bandwidth of the link.
pub const BANDWIDTH: &str = "SOFTRDMA_BANDWIDTH";
/// The environment variable with the capabilities, separated by commas.
pub const CAPS: &str = "SOFTRDMA_CAPS";
/// The environment variable that is 1 if memory can be registered for on-demand paging only.
pub const MR_EOPNOTSUPP: &str = "SOFTRDMA_MR_EOPNOTSUPP";
/// The environment variable that is 1 if the program's objects are to be listed at exit.
pub const LEAKS: &str = "SOFTRDMA_LEAKS";
/// The environment variable that says what is done with what a device would punish.
pub const STRICT: &str = "SOFTRDMA_STRICT";
/// The environment variable that is 1 if connections stay on TCP, also within one host.
pub const SOCKET_ONLY: &str = "SOFTRDMA_SOCKET_ONLY";
/// The environment variable that is 0 if the side that owns memory does all that its peers ask for.
pub const DIRECT: &str = "SOFTRDMA_DIRECT";
/// The environment variable that says how long a client waits for an answer, in milliseconds.
pub const CM_TIMEOUT_MS: &str = "SOFTRDMA_CM_TIMEOUT_MS";

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where the trace goes; may have `%p` in it.
    pub trace: Option<PathBuf>,
    /// What its lines show besides the calls.
    pub trace_stamps: Stamps,
    /// The failures to inject.
    pub faults: Vec<Fault>,
    /// The faults of the device, connections and peers to inject.
    pub fabric_faults: Vec<FabricFault>,
    /// The seed of those that are random.
    pub seed: Option<u64>,
    /// The link that requests take.
    pub link: Link,
    /// The optional capabilities that the device reports.
    pub caps: Caps,
    /// Registering memory fails with `EOPNOTSUPP` unless it is for on-demand paging.
    pub mr_eopnotsupp: bool,
    /// Objects that the program has not destroyed are listed at exit.
    pub leaks: bool,
    /// What is done when the program does what a device would punish.
    pub strict: Strict,
    /// Connections use TCP only, also within one host.
    pub socket_only: bool,
    /// Writes, reads and flushes are executed by the side that owns the memory, also within one host.
    pub not_direct: bool,
    /// How long a client waits for an answer, if not the default.
    pub cm_timeout: Option<Duration>,
}

impl Settings {
    /// Reads them from the environment.
    pub fn from_environment() -> Result<Self, String> {
        Self::from_variables(|name| env::var_os(name))
    }

    /// Whether a seed has to be chosen.
    pub fn lacks_seed(&self) -> bool {
        self.seed.is_none() && self.fabric_faults.iter().any(FabricFault::is_random)
    }

    /// Reads them from variables. An empty variable counts as not set.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, String> {
        let value = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| -> Result<Option<String>, String> {
            value(name)
                .map(|value| {
                    value
                        .into_string()
                        .map_err(|_| format!("{name}: not UTF-8"))
                })
                .transpose()
        };
        let flag_or = |name: &str, default| match text(name)?.as_deref() {
            None => Ok(default),
            Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(other) => Err(format!("{name}: '{other}' is neither 0 nor 1")),
        };
        let flag = |name: &str| flag_or(name, false);
        let mut faults = Vec::new();
        for fault in text(FAIL)?.iter().flat_map(|list| list.split(',')) {
            faults.push(fault.parse().map_err(|why| format!("{FAIL}: {why}"))?);
        }
        let mut fabric_faults = Vec::new();
        for fault in text(FAULT)?.iter().flat_map(|list| list.split(',')) {
            fabric_faults.push(fault.parse().map_err(|why| format!("{FAULT}: {why}"))?);
        }
        let seed = |text: String| {
            let seed = text.parse();
            seed.map_err(|_| format!("{SEED}: '{text}' is not a number from 0 to {}", u64::MAX))
        };
        Ok(Self {
            trace: value(TRACE).map(PathBuf::from),
            trace_stamps: Stamps {
                times: flag(TRACE_TIMES)?,
                threads: flag(TRACE_THREADS)?,
            },
            faults,
            fabric_faults,
            seed: text(SEED)?.map(seed).transpose()?,
            link: Link {
                delay: parsed(DELAY, text(DELAY)?)?
                    .map(|Span(delay)| delay)
                    .unwrap_or_default(),
                bandwidth: parsed(BANDWIDTH, text(BANDWIDTH)?)?,
            },
            caps: match text(CAPS)? {
                Some(list) => list.parse().map_err(|why| format!("{CAPS}: {why}"))?,
                None => Caps::default(),
            },
            mr_eopnotsupp: flag(MR_EOPNOTSUPP)?,
            leaks: flag(LEAKS)?,
            strict: match text(STRICT)?.as_deref() {
                None | Some("0") => Strict::Off,
                Some("1") => Strict::Report,
                Some(name) => name.parse().map_err(|why| format!("{STRICT}: {why}"))?,
            },
            socket_only: flag(SOCKET_ONLY)?,
            not_direct: !flag_or(DIRECT, true)?,
            cm_timeout: text(CM_TIMEOUT_MS)?
                .map(|text| milliseconds(&text))
                .transpose()?,
        })
    }
}

/// A value of its type, if there is one.
fn parsed<T: FromStr<Err = String>>(name: &str, text: Option<String>) -> Result<Option<T>, String> {
    text.map(|text| text.parse().map_err(|why| format!("{name}: {why}")))
        .transpose()
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let number: u32 = text
        .parse()
        .map_err(|_| format!("{CM_TIMEOUT_MS}: '{text}' is not a number of milliseconds"))?;
    Ok(Duration::from_millis(number.into()))
}

/// The optional capabilities of the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// On-demand paging.
    pub odp: bool,
    /// Native atomic write.
    pub atomic_write: bool,
    /// Native flush.
    pub flush: bool,
}

impl FromStr for Caps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut caps = Self::default();
        for name in text.split(',').filter(|name| !name.is_empty()) {
            match name {
                "odp" => caps.odp = true,
                "atomic-write" => caps.atomic_write = true,
                "flush" => caps.flush = true,
                _ => {
                    return Err(format!(
                        "unknown capability '{name}'; the capabilities are odp, atomic-write and flush"
                    ));
                }
            }
        }
        Ok(caps)
    }
}

impl fmt::Display for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.odp, "odp"),
            (self.atomic_write, "atomic-write"),
            (self.flush, "flush"),
        ];
        let mut between = "";
        for (_, name) in names.iter().filter(|(has, _)| *has) {
            write!(f, "{between}{name}")?;
            between = ",";
        }
        Ok(())
    }
}

/// What is done when the program does what a device would punish, and softrdma otherwise forgives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strict {
    /// Nothing: it is not looked for.
    #[default]
    Off,
    /// A line on standard error; the call or request fails as on a device.
    Report,
    /// A line, and then the process aborts, so that a debugger stops there.
    Abort,
}

impl FromStr for Strict {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "report" => Ok(Self::Report),
            "abort" => Ok(Self::Abort),
            _ => Err(format!("'{text}' is neither report nor abort")),
        }
    }
}

impl fmt::Display for Strict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "0",
            Self::Report => "report",
            Self::Abort => "abort",
        })
    }
}

/// A failure to inject: `CALL:N[:ERRNO]`, where `CALL` may be `any`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The call, or `None` for `any`.
    pub call: Option<&'static Call>,
    /// Which of the calls fails; 1 is the first.
    pub nth: u64,
    /// The error, or `None` for the default error of the call.
    pub errno: Option<c_int>,
}

impl Fault {
    /// Whether this failure counts the call.
    pub(super) fn counts(&self, call: &'static Call) -> bool {
        match self.call {
            Some(wanted) => wanted == call,
            None => matches!(call.kind, Kind::Fails(_)),
        }
    }

    /// The error that the call fails with.
    pub(super) fn errno_for(&self, call: &Call) -> c_int {
        match (self.errno, call.kind) {
            (Some(errno), _) | (None, Kind::Fails(errno) | Kind::OnlyByName(errno)) => errno,
            (None, Kind::Void) => libc::EIO,
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (Some(name), Some(nth), errno, None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(format!(
                "'{text}' is not of the form CALL:N:ERRNO, for example ibv_reg_mr:2:ENOMEM"
            ));
        };
        Ok(Self {
            call: parse_call(name)?,
            nth: match nth.parse() {
                Ok(nth) if nth > 0 => nth,
                _ => {
                    return Err(format!(
                        "'{text}': '{nth}' is not the number of a call (1 is the first)"
                    ));
                }
            },
            errno: errno.map(|errno| parse_errno(text, errno)).transpose()?,
        })
    }
}

fn parse_call(name: &str) -> Result<Option<&'static Call>, String> {
    if name == "any" {
        return Ok(None);
    }
    match calls::find(name) {
        Some(call) if call.kind == Kind::Void => {
            Err(format!("{name} returns nothing, so it cannot fail"))
        }
        Some(call) => Ok(Some(call)),
        None => Err(match calls::similar(name) {
            Some(call) => format!("unknown call '{name}'; did you mean {}?", call.name),
            None => format!("unknown call '{name}'; 'softrdma calls' lists all calls"),
        }),
    }
}

fn parse_errno(text: &str, errno: &str) -> Result<c_int, String> {
    if let Some(Errno(number)) = Errno::parse(errno) {
        return Ok(number);
    }
    let upper = errno.to_ascii_uppercase();
    let similar = Errno::names()
        .map(|name| (calls::distance(&upper, name), name))
        .filter(|(distance, _)| *distance <= 2)
        .min_by_key(|(distance, _)| *distance);
    Err(match similar {
        Some((_, name)) => format!("'{text}': unknown error '{errno}'; did you mean {name}?"),
        None => {
            format!("'{text}': '{errno}' is not an error name such as ENOMEM, nor an error number")
        }
    })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.call.map_or("any", |call| call.name);
        write!(f, "{name}:{}", self.nth)?;
        match self.errno {
            Some(errno) => write!(f, ":{}", Errno(errno)),
            None => Ok(()),
        }
    }
}

/// Whether the name of a trace file has `%p` in it: a file for each process.
pub fn for_each_process(trace: &Path) -> bool {
    trace_file(trace, 1) != trace_file(trace, 2)
}

/// The trace file of a process: `%p` is its id, and `%%` a percent sign.
pub fn trace_file(trace: &Path, pid: u32) -> PathBuf {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    let pattern: &OsStr = trace.as_os_str();
    let mut name = Vec::with_capacity(pattern.len() + 8);
    let mut bytes = pattern.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'%', Some(b'p')) => {
                bytes.next();
                name.extend(pid.to_string().bytes());
            }
            (b'%', Some(b'%')) => {
                bytes.next();
                name.push(b'%');
            }
            _ => name.push(byte),
        }
    }
    OsString::from_vec(name).into()
}
