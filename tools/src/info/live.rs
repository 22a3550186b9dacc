// SPDX-License-Identifier: BSD-3-Clause

//! This machine: libibverbs lists the devices, librpma is asked what it makes of them.

use std::env;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

use super::sysfs::Sys;
use super::{Capabilities, Device, Outcome, Report, pmem, verbs};
use crate::memory::Mapping;
use crate::rpma::{self, Context, Peer, usage};

/// How much memory is registered to see whether it works.
const TRIAL: usize = 64 << 10;

pub(super) fn report(addr: Option<&str>) -> Report {
    // What fails here is told in the report, and says nothing in the log of the system.
    rpma::log(false);
    let sys = Sys::here();
    let (path, own) = rpma::library();
    let mut report = Report {
        library: path.map(|path| (path, own)),
        addr: addr.map(str::to_owned),
        memlock: Some(memlock()),
        pmem: pmem::regions(&sys),
        ..Report::default()
    };

    let named: Vec<(IpAddr, String)> = addresses()
        .into_iter()
        .filter_map(|address| {
            Some((
                address,
                device_name(Context::local(&address.to_string()).ok()?),
            ))
        })
        .collect();
    let wanted = addr.map(|addr| {
        Context::local(addr)
            .or_else(|_| Context::remote(addr))
            .ok()
            .map(device_name)
    });

    for opened in verbs::devices().unwrap_or_default() {
        let open = match opened {
            Ok(open) => open,
            Err((name, error)) => {
                report.unusable.push(format!("{name}: {error}"));
                continue;
            }
        };
        if wanted
            .as_ref()
            .is_some_and(|wanted| wanted.as_deref() != Some(&open.name))
        {
            continue;
        }
        let mut device = sys.device(&open.name).unwrap_or_else(|| Device {
            name: open.name.clone(),
            ..Device::default()
        });
        if device.ports.is_empty() {
            device.ports = open.ports();
        }
        device.addresses = named
            .iter()
            .filter(|(_, name)| *name == open.name)
            .map(|(address, _)| address.to_string())
            .collect();
        device.capabilities = open
            .capabilities()
            .ok()
            .map(|caps| asked(caps, &open, &mut report.file_memory));
        report.devices.push(device);
    }
    // On softrdma the devices of the kernel are hidden on purpose.
    let hidden = report.devices.iter().any(Device::is_softrdma);
    for device in sys.devices() {
        let known = |text: &String| text.split(':').next() == Some(&device.name);
        if addr.is_none()
            && !hidden
            && !report.devices.iter().any(|other| other.name == device.name)
            && !report.unusable.iter().any(known)
        {
            report
                .unusable
                .push(format!("{}: libibverbs does not list it", device.name));
        }
    }
    rpma::log(true);
    report
}

/// What librpma says of a device.
fn asked(
    mut caps: Capabilities,
    open: &verbs::Open,
    file: &mut Option<(Outcome, String)>,
) -> Capabilities {
    let context = open.context();
    caps.on_demand_paging = context.is_odp_capable().unwrap_or(false);
    let peer = match Peer::new(context) {
        Ok(peer) => peer,
        Err(failure) => {
            caps.memory = Outcome::Fails(failure.to_string());
            return caps;
        }
    };
    caps.memory = Mapping::anonymous(TRIAL).map_or_else(
        |error| Outcome::Fails(error.to_string()),
        |mapping| register(&peer, mapping),
    );
    // That depends on the kernel and the file system, hardly on the device.
    if file.is_none() && caps.memory == Outcome::Works {
        *file = directories().into_iter().find_map(|directory| {
            let outcome = of_file(&peer, &directory)?;
            Some((outcome, directory.display().to_string()))
        });
    }
    caps
}

fn register(peer: &Arc<Peer>, mapping: Mapping) -> Outcome {
    let all = usage::READ_SRC
        | usage::READ_DST
        | usage::WRITE_SRC
        | usage::WRITE_DST
        | usage::FLUSH_TYPE_VISIBILITY;
    match rpma::Region::new(peer, Arc::new(mapping), all) {
        Ok(_) => Outcome::Works,
        Err(failure) => Outcome::Fails(failure.to_string()),
    }
}

/// Memory of a file on disk, as a program has it that does without persistent memory. None if no such file can be
/// made in the directory.
fn of_file(peer: &Arc<Peer>, directory: &Path) -> Option<Outcome> {
    if is_in_memory(directory)? {
        return None;
    }
    let mapped = Mapping::unnamed_file(directory, TRIAL);
    mapped.ok().map(|mapping| register(peer, mapping))
}

fn directories() -> Vec<PathBuf> {
    let from = |name| env::var_os(name).map(PathBuf::from);
    let all = [
        from("TMPDIR"),
        Some("/var/tmp".into()),
        env::current_dir().ok(),
        from("HOME"),
    ];
    all.into_iter().flatten().collect()
}

/// Whether a directory is on no disk: its files can always be registered.
fn is_in_memory(directory: &Path) -> Option<bool> {
    let directory = CString::new(directory.as_os_str().as_bytes()).ok()?;
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: a string and room for the result.
    if unsafe { libc::statfs(directory.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: numbers, which the call has set.
    let kind = unsafe { stat.assume_init() }.f_type;
    Some([libc::TMPFS_MAGIC, libc::HUGETLBFS_MAGIC].contains(&kind))
}

/// None if there is no limit.
fn memlock() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: room for the result.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    (failed == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

fn device_name(context: Context) -> String {
    // SAFETY: an open device, whose name is a string.
    unsafe {
        CStr::from_ptr((*(*context.as_ptr()).device).name.as_ptr())
            .to_string_lossy()
            .into_owned()
    }
}

/// The addresses of this machine's interfaces, without those that need a scope.
fn addresses() -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    let mut list = ptr::null_mut();
    // SAFETY: room for the list.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return addresses;
    }
    let mut at = list;
    while !at.is_null() {
        // SAFETY: elements of the list, whose addresses are what their families say.
        let address = unsafe {
            let interface = &*at;
            at = interface.ifa_next;
            if interface.ifa_addr.is_null() || interface.ifa_flags & libc::IFF_UP as u32 == 0 {
                continue;
            }
            match i32::from((*interface.ifa_addr).sa_family) {
                libc::AF_INET => {
                    let of: libc::sockaddr_in = ptr::read_unaligned(interface.ifa_addr.cast());
                    IpAddr::V4(Ipv4Addr::from(u32::from_be(of.sin_addr.s_addr)))
                }
                libc::AF_INET6 => {
                    let of: libc::sockaddr_in6 = ptr::read_unaligned(interface.ifa_addr.cast());
                    IpAddr::V6(Ipv6Addr::from(of.sin6_addr.s6_addr))
                }
                _ => continue,
            }
        };
        let scoped = matches!(address, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80);
        if !scoped && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    // SAFETY: not used any more.
    unsafe { libc::freeifaddrs(list) };
    addresses
}
