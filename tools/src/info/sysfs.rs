// SPDX-License-Identifier: BSD-3-Clause

//! RDMA devices as `/sys` shows them.

use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use super::{Device, Gid, Port, pci};

/// `/sys`, or a copy of it.
pub(super) struct Sys {
    root: PathBuf,
    /// What `/proc/self/mountinfo` says.
    mounts: String,
}

impl Sys {
    /// That of this machine.
    pub(super) fn here() -> Self {
        Self {
            root: "/sys".into(),
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
        }
    }

    /// A copy: DIR/sys, or DIR itself.
    pub(super) fn recorded(directory: &Path) -> Result<Self, String> {
        let inner = directory.join("sys");
        let root = if inner.is_dir() {
            inner
        } else {
            directory.to_owned()
        };
        match fs::read_dir(&root) {
            Ok(_) => {
                let mounts = directory.join("proc/self/mountinfo");
                Ok(Self {
                    root,
                    mounts: fs::read_to_string(mounts).unwrap_or_default(),
                })
            }
            Err(error) => Err(format!("{}: {error}", directory.display())),
        }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The names in a directory, sorted by their numbers; none if it is not there.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        list(&self.path(path))
    }

    /// The trimmed content of a file.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        read(&self.path(path))
    }

    /// Where a block device is mounted, and whether with DAX.
    pub(super) fn mount_of(&self, device: &str) -> Option<(String, bool)> {
        self.mounts.lines().find_map(|line| {
            let (mount, file_system) = line.split_once(" - ")?;
            let mut words = file_system.split(' ');
            let (_kind, source, options) = (words.next()?, words.next()?, words.next()?);
            // With dax=inode the files themselves say it.
            let dax = options
                .split(',')
                .any(|option| matches!(option, "dax" | "dax=always" | "dax=inode"));
            (source == device).then(|| Some((mount.split(' ').nth(4)?.to_owned(), dax)))?
        })
    }

    /// All devices.
    pub(super) fn devices(&self) -> Vec<Device> {
        self.list("class/infiniband")
            .iter()
            .filter_map(|name| self.device(name))
            .collect()
    }

    /// The device of this name, if the kernel has it.
    pub(super) fn device(&self, name: &str) -> Option<Device> {
        let class = format!("class/infiniband/{name}");
        let directory = fs::canonicalize(self.path(&class)).ok()?;
        let mut device = Device {
            name: name.to_owned(),
            ..Device::default()
        };

        // The symbolic link device leads to the PCI function. Devices of the kernel's own have none.
        let function = fs::canonicalize(directory.join("device")).ok();
        device.pci = function.as_deref().and_then(pci::address);
        if let Some(function) = &function {
            device.driver = link_name(&function.join("driver"));
            device.interfaces = list(&function.join("net"));
        }
        if let Some(parent) = read(&directory.join("parent")) {
            device.interfaces.push(parent);
        }
        device.ddio = pci::ddio(function.as_deref());

        for number in list(&directory.join("ports")) {
            let port = directory.join("ports").join(&number);
            let Ok(number) = number.parse() else { continue };
            let gids = gids(&port);
            for interface in gids.iter().filter_map(|gid| gid.interface.clone()) {
                device.interfaces.push(interface);
            }
            device.ports.push(Port {
                number,
                state: after_colon(read(&port.join("state"))),
                link_layer: read(&port.join("link_layer")).unwrap_or_else(|| "unknown".into()),
                rate: read(&port.join("rate")),
                gids,
            });
        }
        device.interfaces.sort();
        device.interfaces.dedup();
        for gid in device.ports.iter().flat_map(|port| &port.gids) {
            if let Some(address) = address_of_gid(gid, &device.ports) {
                if !device.addresses.contains(&address) {
                    device.addresses.push(address);
                }
            }
        }
        Some(device)
    }
}

fn gids(port: &Path) -> Vec<Gid> {
    let mut gids = Vec::new();
    for index in list(&port.join("gids")) {
        let Some(gid) =
            read(&port.join("gids").join(&index)).and_then(|text| text.parse::<Ipv6Addr>().ok())
        else {
            continue;
        };
        let Ok(number) = index.parse() else { continue };
        // Empty places of the table, and those that have a prefix only.
        if gid.is_unspecified() || gid.segments()[4..] == [0; 4] {
            continue;
        }
        gids.push(Gid {
            index: number,
            gid,
            kind: read(&port.join("gid_attrs/types").join(&index)),
            interface: read(&port.join("gid_attrs/ndevs").join(&index)),
        });
    }
    gids
}

/// GIDs of RoCE are made of IP addresses. Link-local ones need a scope, so they are of no use as addresses here.
fn address_of_gid(gid: &Gid, ports: &[Port]) -> Option<String> {
    if !ports.iter().any(|port| port.link_layer == "Ethernet") {
        return None;
    }
    match gid.gid.to_ipv4_mapped() {
        Some(address) => Some(address.to_string()),
        None if gid.gid.segments()[0] & 0xffc0 == 0xfe80 => None,
        None => Some(gid.gid.to_string()),
    }
}

/// `4: ACTIVE` is ACTIVE.
fn after_colon(text: Option<String>) -> String {
    match text {
        Some(text) => text
            .split_once(": ")
            .map_or(text.clone(), |(_, word)| word.to_owned()),
        None => "unknown".into(),
    }
}

/// The last part of what a symbolic link leads to.
pub(super) fn link_name(link: &Path) -> Option<String> {
    Some(fs::read_link(link).ok()?.file_name()?.to_str()?.to_owned())
}

pub(super) fn read(path: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&fs::read(path).ok()?)
        .trim()
        .to_owned();
    (!text.is_empty()).then_some(text)
}

pub(super) fn list(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = match fs::read_dir(path) {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect(),
        Err(_) => Vec::new(),
    };
    // region10 after region9
    names.sort_by_key(|name| {
        let digits = name
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(name.len());
        let (word, number) = name.split_at(digits);
        (
            word.to_owned(),
            number.parse::<u64>().unwrap_or(u64::MAX),
            name.clone(),
        )
    });
    names
}
