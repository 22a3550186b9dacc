// SPDX-License-Identifier: BSD-3-Clause

//! What librpma finds on a machine, and what to do about what it does not find.

mod advice;
mod live;
mod output;
mod pci;
mod pmem;
mod sysfs;
mod verbs;

use std::path::Path;

pub use advice::Problem;
pub use pci::Ddio;
pub use pmem::{Namespace, PersistenceDomain, Region};

/// All that `rpma-info` tells.
#[derive(Debug, Default)]
pub struct Report {
    /// The directory of a recorded `/sys`, or none for this machine.
    pub sysroot: Option<String>,
    /// The path of the librpma in use, and whether it is this project's; none for a recorded `/sys`.
    pub library: Option<(String, bool)>,
    /// The address that was asked for.
    pub addr: Option<String>,
    /// The RDMA devices.
    pub devices: Vec<Device>,
    /// Devices that the kernel has and libibverbs does not.
    pub unusable: Vec<String>,
    /// How much memory the process may lock, for each process; none if it is not limited.
    pub memlock: Option<Option<u64>>,
    /// Whether memory of an ordinary file can be registered, and in which directory that was tried.
    pub file_memory: Option<(Outcome, String)>,
    /// The regions of persistent memory.
    pub pmem: Vec<Region>,
    /// What is missing.
    pub problems: Vec<Problem>,
}

/// A device for RDMA.
#[derive(Debug, Default)]
pub struct Device {
    /// Its name, such as mlx5_0.
    pub name: String,
    /// The driver of its PCI function.
    pub driver: Option<String>,
    /// The address of its PCI function.
    pub pci: Option<String>,
    /// The network interfaces that belong to it.
    pub interfaces: Vec<String>,
    /// Its ports.
    pub ports: Vec<Port>,
    /// The addresses by which librpma finds it. Of a recorded device, those that its GIDs are made of.
    pub addresses: Vec<String>,
    /// What librpma makes of it; none if that is not known, as of a recorded device.
    pub capabilities: Option<Capabilities>,
    /// Whether its writes go to a processor's cache.
    pub ddio: Ddio,
}

/// A port of a device.
#[derive(Debug, Default)]
pub struct Port {
    /// Its number, from 1.
    pub number: u32,
    /// ACTIVE, DOWN, …
    pub state: String,
    /// Ethernet or InfiniBand.
    pub link_layer: String,
    /// For example 100 Gb/sec (4X EDR).
    pub rate: Option<String>,
    /// Its addresses in RDMA networks.
    pub gids: Vec<Gid>,
}

/// An address in an RDMA network.
#[derive(Debug)]
pub struct Gid {
    /// Its place in the table.
    pub index: u32,
    /// As an IPv6 address.
    pub gid: std::net::Ipv6Addr,
    /// RoCE v2, for example.
    pub kind: Option<String>,
    /// The network interface.
    pub interface: Option<String>,
}

/// What librpma makes of a device.
#[derive(Debug, Default)]
pub struct Capabilities {
    /// The device writes 8 bytes in one piece by an operation of its own.
    pub native_atomic_write: bool,
    /// The device has a flush.
    pub native_flush: bool,
    /// It can register memory without pinning it.
    pub on_demand_paging: bool,
    /// The largest queue of requests.
    pub max_queue: u64,
    /// The largest completion queue.
    pub max_completions: u64,
    /// The largest message.
    pub max_message: u64,
    /// The largest memory region.
    pub max_region: u64,
    /// Whether private memory can be registered.
    pub memory: Outcome,
}

/// Whether something worked when it was tried, or why not.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was not tried.
    #[default]
    Unknown,
    /// It worked.
    Works,
    /// It failed.
    Fails(String),
}

impl Report {
    /// Of this machine; with an address, of the device that has it or through which it is reached.
    pub fn of_this_machine(addr: Option<&str>) -> Self {
        let mut report = live::report(addr);
        report.problems = advice::problems(&report);
        report
    }

    /// Of a machine whose `/sys` was recorded.
    pub fn of_sysroot(sysroot: &Path, addr: Option<&str>) -> Result<Self, String> {
        let sys = sysfs::Sys::recorded(sysroot)?;
        let mut devices = sys.devices();
        if let Some(addr) = addr {
            devices.retain(|device| device.addresses.iter().any(|own| own == addr));
        }
        let mut report = Self {
            sysroot: Some(sysroot.display().to_string()),
            addr: addr.map(str::to_owned),
            devices,
            pmem: pmem::regions(&sys),
            ..Self::default()
        };
        report.problems = advice::problems(&report);
        Ok(report)
    }

    /// Whether librpma can work here.
    pub fn works(&self) -> bool {
        !self.problems.iter().any(|problem| problem.prevents)
    }
}

impl Device {
    /// Whether a port is active.
    pub fn is_active(&self) -> bool {
        self.ports.iter().any(|port| port.state == "ACTIVE")
    }

    /// Whether it is that of softrdma, which needs no memory to be locked.
    fn is_softrdma(&self) -> bool {
        self.name.starts_with("softrdma")
    }

    /// Whether it is no hardware: the kernel or a library does its work.
    pub fn is_software(&self) -> bool {
        self.pci.is_none()
    }

    /// Whether what is written through this device goes to persistent memory directly, and why.
    pub fn direct_write(&self, pmem: &[Region]) -> (Option<bool>, String) {
        let usable: Vec<&Region> = pmem
            .iter()
            .filter(|region| region.is_persistent())
            .collect();
        if usable.is_empty() {
            return (Some(false), "there is no persistent memory".into());
        }
        if usable
            .iter()
            .all(|region| region.domain == PersistenceDomain::CpuCache)
        {
            return (
                Some(true),
                "the processors' caches are flushed at power failure (eADR)".into(),
            );
        }
        if usable
            .iter()
            .any(|region| region.domain == PersistenceDomain::Unknown)
        {
            return (
                None,
                "the persistence domain of the memory is not known".into(),
            );
        }
        if self.is_software() {
            return (
                Some(false),
                "a processor does the writes of this device, into its cache".into(),
            );
        }
        match &self.ddio {
            Ddio::Off { .. } => (
                Some(true),
                "DDIO is off: writes go past the processor's cache".into(),
            ),
            Ddio::On { .. } => (
                Some(false),
                "DDIO is on: writes end in the processor's cache".into(),
            ),
            Ddio::Unknown { why } => (None, format!("the state of DDIO is not known: {why}")),
        }
    }
}
