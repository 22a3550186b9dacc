// SPDX-License-Identifier: BSD-3-Clause

//! Data Direct I/O: whether writes of a device end in the cache of an Intel processor. The PCI Express root port
//! above the device decides, and its configuration space tells.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The state of DDIO.
#[derive(Debug, PartialEq, Eq)]
pub enum Ddio {
    /// Writes end in the processor's cache.
    On {
        /// The PCI address of the root port.
        port: String,
    },
    /// They go to memory.
    Off {
        /// The PCI address of the root port.
        port: String,
    },
    /// It cannot be told.
    Unknown {
        /// Why not.
        why: String,
    },
}

impl Default for Ddio {
    fn default() -> Self {
        Self::Unknown {
            why: "this is no PCI device".into(),
        }
    }
}

const INTEL: u16 = 0x8086;

/// The root ports in which the register below has the meaning below: Xeon Scalable of the first and second
/// generation (Skylake, Cascade Lake). Later ones have DDIO as a setting of the whole machine, which no register
/// of a root port shows.
const ROOT_PORTS: [(u16, u16); 1] = [(0x2030, 0x2033)];

/// The registers PERFCTRLSTS_0 and _1, of 32 bits each, and what they say of writes: ordinary ones go to the
/// cache; those marked "no snoop" do; hints of the device for the cache (TPH) are ignored.
const PERFCTRLSTS: u64 = 0x180;
const USE_ALLOCATING_FLOW_WR: u64 = 1 << 7;
const NO_SNOOP_OP_WR_EN: u64 = 1 << 3;
const TPH_DIS: u64 = 1 << (32 + 8);

/// The PCI address at the end of a path in `/sys/devices`.
pub(super) fn address(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    is_address(name).then(|| name.to_owned())
}

/// `0000:3b:00.0`
fn is_address(name: &str) -> bool {
    let parts: Vec<&str> = name.split([':', '.']).collect();
    name.len() >= 12
        && parts.len() == 4
        && name.as_bytes()[name.len() - 2] == b'.'
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The uppermost PCI function on the way to a device.
fn root_port(function: &Path) -> Option<PathBuf> {
    function
        .ancestors()
        .filter(|path| address(path).is_some())
        .last()
        .map(Path::to_owned)
}

/// The state of DDIO for the PCI function of a device.
pub(super) fn ddio(function: Option<&Path>) -> Ddio {
    let Some(function) = function.filter(|function| address(function).is_some()) else {
        return Ddio::default();
    };
    let unknown = |why: String| Ddio::Unknown { why };
    let Some(root) = root_port(function).filter(|root| root != function) else {
        return unknown("the device is on no root port, as in a virtual machine".into());
    };
    let Some(port) = address(&root) else {
        return Ddio::default();
    };
    let config = match File::open(root.join("config")) {
        Ok(config) => config,
        Err(error) => {
            return unknown(format!(
                "the configuration space of root port {port}: {error}"
            ));
        }
    };
    let mut header = [0; 4];
    if let Err(error) = config.read_exact_at(&mut header, 0) {
        return unknown(format!(
            "the configuration space of root port {port}: {error}"
        ));
    }
    let [v0, v1, d0, d1] = header;
    let (vendor, device) = (u16::from_le_bytes([v0, v1]), u16::from_le_bytes([d0, d1]));
    if vendor != INTEL
        || !ROOT_PORTS
            .iter()
            .any(|&(first, last)| (first..=last).contains(&device))
    {
        return unknown(format!(
            "root port {port} ({vendor:04x}:{device:04x}) is none of those whose registers are known"
        ));
    }
    let mut registers = [0; 8];
    match config.read_exact_at(&mut registers, PERFCTRLSTS) {
        Ok(()) if all_writes_pass_the_cache(u64::from_le_bytes(registers)) => Ddio::Off { port },
        Ok(()) => Ddio::On { port },
        // Without privileges only the first 64 bytes can be read.
        Err(_) => unknown(format!(
            "only root may read that register of root port {port}"
        )),
    }
}

/// For the sake of the data, DDIO is off only if no kind of write can end in the cache.
fn all_writes_pass_the_cache(registers: u64) -> bool {
    registers & (USE_ALLOCATING_FLOW_WR | NO_SNOOP_OP_WR_EN | TPH_DIS) == TPH_DIS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ddio_is_off_only_if_all_three_bits_say_so() {
        assert!(all_writes_pass_the_cache(TPH_DIS));
        assert!(all_writes_pass_the_cache(TPH_DIS | 1));
        for registers in [
            0,
            USE_ALLOCATING_FLOW_WR,
            USE_ALLOCATING_FLOW_WR | TPH_DIS,
            NO_SNOOP_OP_WR_EN | TPH_DIS,
        ] {
            assert!(!all_writes_pass_the_cache(registers), "{registers:#x}");
        }
    }

    #[test]
    fn addresses_of_pci_functions_are_recognised() {
        for good in ["0000:3b:00.0", "10000:00:1f.7"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "pci0000:3a",
            "0000:3b:00",
            "infiniband",
            "0000:3b:00.0.1",
            "0000:xx:00.0",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn the_root_port_is_the_uppermost_function() {
        let function = Path::new("/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/0000:3c:01.0");
        assert_eq!(
            root_port(function).as_deref().and_then(address).as_deref(),
            Some("0000:3a:00.0")
        );
    }
}
