// SPDX-License-Identifier: BSD-3-Clause

//! Persistent memory as the kernel's nvdimm subsystem shows it.

use super::sysfs::Sys;

/// A range of persistent memory.
#[derive(Debug)]
pub struct Region {
    /// region0
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// Where data is safe from a power failure.
    pub domain: PersistenceDomain,
    /// The NUMA node.
    pub node: Option<String>,
    /// What it is divided into.
    pub namespaces: Vec<Namespace>,
}

/// How far data must have come to survive a power failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersistenceDomain {
    /// Into a processor's cache (eADR).
    CpuCache,
    /// To the memory controller (ADR).
    MemoryController,
    /// The platform does not say.
    Unknown,
}

impl PersistenceDomain {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::CpuCache => "processor caches (eADR)",
            Self::MemoryController => "memory controller (ADR)",
            Self::Unknown => "unknown",
        }
    }
}

/// A part of a region.
#[derive(Debug)]
pub struct Namespace {
    /// namespace0.0
    pub name: String,
    /// fsdax, devdax, sector or raw.
    pub mode: String,
    /// In bytes.
    pub size: u64,
    /// pmem0 or dax0.0, if there is one.
    pub device: Option<String>,
    /// Whether files on it can be mapped without a page cache; not known of other modes than fsdax.
    pub dax: Option<bool>,
    /// Where it is mounted, and whether files there can be mapped without a page cache.
    pub mount: Option<(String, bool)>,
}

impl Region {
    /// Not one that was made of ordinary memory for a trial (`memmap=`, an emulator) whose contents are lost. The
    /// kernel does not tell those apart, so all count.
    pub fn is_persistent(&self) -> bool {
        self.size > 0
    }
}

/// All regions.
pub(super) fn regions(sys: &Sys) -> Vec<Region> {
    let bus = "bus/nd/devices";
    let names = sys.list(bus);
    let mut regions = Vec::new();
    for name in names.iter().filter(|name| name.starts_with("region")) {
        let read = |file: &str| sys.read(&format!("{bus}/{name}/{file}"));
        let domain = match read("persistence_domain").as_deref() {
            Some("cpu_cache") => PersistenceDomain::CpuCache,
            Some("memory_controller") => PersistenceDomain::MemoryController,
            _ => PersistenceDomain::Unknown,
        };
        let prefix = format!("namespace{}.", &name["region".len()..]);
        regions.push(Region {
            name: name.clone(),
            size: number(read("size")),
            domain,
            node: read("numa_node").filter(|node| node != "-1"),
            namespaces: names
                .iter()
                .filter(|name| name.starts_with(&prefix))
                .filter_map(|name| namespace(sys, bus, name))
                .collect(),
        });
    }
    regions
}

fn namespace(sys: &Sys, bus: &str, name: &str) -> Option<Namespace> {
    let read = |file: &str| sys.read(&format!("{bus}/{name}/{file}"));
    // The kernel keeps one of size 0 ready for the next.
    let size = number(read("size"));
    if size == 0 {
        return None;
    }
    // A namespace that is claimed (holder) has its device below the claimer: pfn0.0, btt0.0 or dax0.0.
    let holder = read("holder");
    let mut mode = match read("mode").as_deref() {
        Some("memory" | "fsdax") => "fsdax",
        Some("dax" | "devdax") => "devdax",
        Some("safe" | "sector") => "sector",
        Some("raw") => "raw",
        _ => "unknown",
    };
    let claimed = holder.as_deref().unwrap_or(name);
    if mode == "unknown" {
        mode = match claimed {
            claimed if claimed.starts_with("pfn") => "fsdax",
            claimed if claimed.starts_with("dax") => "devdax",
            claimed if claimed.starts_with("btt") => "sector",
            _ => "unknown",
        };
    }
    let block = sys
        .list(&format!("{bus}/{claimed}/block"))
        .into_iter()
        .next();
    let dax = block
        .as_ref()
        .filter(|_| mode == "fsdax")
        .and_then(|block| sys.read(&format!("block/{block}/queue/dax")))
        .map(|dax| dax == "1");
    let device = block.or_else(|| {
        let character = format!("dax{}", name.strip_prefix("namespace")?);
        (mode == "devdax").then_some(character)
    });
    let mount = device
        .as_ref()
        .and_then(|device| sys.mount_of(&format!("/dev/{device}")));
    Some(Namespace {
        name: name.to_owned(),
        mode: mode.into(),
        size,
        device,
        dax,
        mount,
    })
}

fn number(text: Option<String>) -> u64 {
    let Some(text) = text else { return 0 };
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap_or(0),
        None => text.parse().unwrap_or(0),
    }
}
