// SPDX-License-Identifier: BSD-3-Clause

//! What is missing, and what to do about it.

use super::{Ddio, Device, Outcome, Report};
use crate::units::size_text;

/// Something that is missing.
#[derive(Debug)]
pub struct Problem {
    /// Whether librpma cannot work because of it.
    pub prevents: bool,
    /// In a sentence.
    pub what: String,
    /// What to do: paragraphs, or commands (which begin with `$ `).
    pub advice: Vec<String>,
}

/// Less than this is what systems set without thinking of RDMA: often 8 MiB, formerly 64 KiB.
const SMALL_MEMLOCK: u64 = 256 << 20;

fn problem(prevents: bool, what: impl Into<String>, advice: &[&str]) -> Problem {
    Problem {
        prevents,
        what: what.into(),
        advice: advice.iter().map(|&line| line.to_owned()).collect(),
    }
}

pub(super) fn problems(report: &Report) -> Vec<Problem> {
    let mut problems = Vec::new();
    devices(report, &mut problems);
    memory(report, &mut problems);
    persistent_memory(report, &mut problems);
    problems
}

fn devices(report: &Report, problems: &mut Vec<Problem>) {
    let many = report.unusable.len();
    if many > 0 {
        let what = format!("libibverbs cannot use {}", report.unusable.join("; "));
        problems.push(problem(
            report.devices.is_empty(),
            what,
            &[
                "Its library for this device may be missing (Debian: the package ibverbs-providers), the kernel \
                 modules for programs not loaded, or /dev/infiniband not accessible:",
                "$ sudo modprobe ib_uverbs && sudo modprobe rdma_ucm",
                "$ ls -l /dev/infiniband",
            ],
        ));
    }
    if report.devices.is_empty() {
        match (&report.addr, many) {
            (Some(addr), _) => problems.push(problem(
                true,
                format!("no RDMA device has the address {addr}, and through none can it be reached"),
                &[
                    "rpma-info without an address shows all devices and their addresses.",
                    "On softrdma every address of this machine can be used:",
                    &format!("$ softrdma run -- rpma-info {addr}"),
                ],
            )),
            (None, 0) => problems.push(problem(
                true,
                "there is no RDMA device",
                &[
                    "To run a program without one, as any user, on softrdma (both ends of a connection):",
                    "$ softrdma run -- PROGRAM",
                    "To make one in the kernel for a network interface, here eth0, as root: rxe (RoCE)",
                    "$ sudo modprobe rdma_rxe && sudo rdma link add rxe0 type rxe netdev eth0",
                    "or siw (iWARP), where the kernel has it (Debian's has not)",
                    "$ sudo modprobe siw && sudo rdma link add siw0 type siw netdev eth0",
                ],
            )),
            (None, _) => {}
        }
        return;
    }
    if !report.devices.iter().any(Device::is_active) {
        let states: Vec<String> = report
            .devices
            .iter()
            .flat_map(|device| {
                device
                    .ports
                    .iter()
                    .map(move |port| format!("{} {}: {}", device.name, port.number, port.state))
            })
            .collect();
        problems.push(problem(
            true,
            format!("no port is active ({})", states.join(", ")),
            &[
                "Ethernet: is the cable there, and the network interface up?",
                "$ sudo ip link set dev INTERFACE up",
                "InfiniBand: a port in state INIT waits for a subnet manager, such as opensm.",
            ],
        ));
    } else if !report
        .devices
        .iter()
        .any(|device| device.is_active() && addressable(device, report))
    {
        problems.push(problem(
            true,
            "no device with an active port has an IP address",
            &[
                "librpma finds devices by the IP addresses of their network interfaces:",
                "$ sudo ip address add ADDRESS/24 dev INTERFACE",
                "For InfiniBand this is the interface that the kernel module ib_ipoib makes.",
                "If there is one, the RDMA connection manager may be missing:",
                "$ sudo modprobe rdma_ucm",
            ],
        ));
    }
}

/// The IP addresses of InfiniBand and iWARP interfaces are not in `/sys`.
fn addressable(device: &Device, report: &Report) -> bool {
    !device.addresses.is_empty()
        || report.sysroot.is_some()
            && device
                .ports
                .iter()
                .all(|port| port.link_layer != "Ethernet")
        || report.addr.is_some()
}

fn memory(report: &Report, problems: &mut Vec<Problem>) {
    let failure =
        report
            .devices
            .iter()
            .find_map(|device| match &device.capabilities.as_ref()?.memory {
                Outcome::Fails(why) => Some((&device.name, why)),
                _ => None,
            });
    let raise: [&str; 4] = [
        "Registered memory is locked. To raise the limit for a shell, for users and for a service:",
        "$ ulimit -l unlimited",
        "$ echo '* - memlock unlimited' | sudo tee /etc/security/limits.d/rdma.conf",
        "LimitMEMLOCK=infinity in the unit of systemd; --ulimit memlock=-1 for docker run.",
    ];
    if let Some((name, why)) = failure {
        problems.push(problem(
            true,
            format!("{name} registers no memory: {why}"),
            &raise,
        ));
    }
    if let Some(Some(limit)) = report.memlock {
        if limit < SMALL_MEMLOCK && report.devices.iter().any(|device| !device.is_softrdma()) {
            problems.push(problem(
                false,
                format!("only {} may be locked", size_text(limit)),
                &raise,
            ));
        }
    }
    if let Some((Outcome::Fails(why), directory)) = &report.file_memory {
        problems.push(problem(
            false,
            format!("memory of an ordinary file (in {directory}) cannot be registered: {why}"),
            &[
                "Kernels since 6.5 refuse to lock pages of files for writing, since the file system could not see \
                 what the device writes. Use persistent memory (fsdax with on-demand paging, or devdax), memory \
                 files (/dev/shm, hugetlbfs), or private memory that the program saves itself.",
            ],
        ));
    }
}

fn persistent_memory(report: &Report, problems: &mut Vec<Problem>) {
    for region in &report.pmem {
        if region.namespaces.is_empty() && region.size > 0 {
            problems.push(problem(
                false,
                format!("{} has no namespace", region.name),
                &[
                    "To make one, for files or as one device:",
                    &format!(
                        "$ sudo ndctl create-namespace --region={} --mode=fsdax",
                        region.name
                    ),
                    &format!(
                        "$ sudo ndctl create-namespace --region={} --mode=devdax",
                        region.name
                    ),
                ],
            ));
        }
        for namespace in &region.namespaces {
            if let (Some((place, false)), "fsdax", Some(device)) =
                (&namespace.mount, namespace.mode.as_str(), &namespace.device)
            {
                problems.push(problem(
                    false,
                    format!("/dev/{device} is mounted at {place} without DAX: its files are in the page cache"),
                    &["To mount it with DAX:", &format!("$ sudo umount {place} && sudo mount -o dax /dev/{device} {place}")],
                ));
            }
            if !matches!(namespace.mode.as_str(), "fsdax" | "devdax") {
                problems.push(problem(
                    false,
                    format!(
                        "{} cannot be mapped: its mode is {}",
                        namespace.name, namespace.mode
                    ),
                    &[
                        "To change the mode (all data in it is lost):",
                        &format!(
                            "$ sudo ndctl create-namespace --force --reconfig={} --mode=fsdax",
                            namespace.name
                        ),
                    ],
                ));
            }
        }
    }
    let fsdax = report
        .pmem
        .iter()
        .flat_map(|region| &region.namespaces)
        .any(|namespace| namespace.mode == "fsdax");
    for device in &report.devices {
        if report.pmem.is_empty() {
            break;
        }
        if fsdax
            && device
                .capabilities
                .as_ref()
                .is_some_and(|caps| !caps.on_demand_paging)
        {
            problems.push(problem(
                false,
                format!(
                    "{} has no on-demand paging: files on fsdax cannot be registered",
                    device.name
                ),
                &["Use a namespace of the mode devdax for this device."],
            ));
        }
        let (direct, why) = device.direct_write(&report.pmem);
        if direct == Some(true) {
            continue;
        }
        let mut advice = vec![
            "A flush to persistence must not be offered to clients (rpma_peer_cfg_set_direct_write_to_pmem). Let \
             the server make data persistent when a message asks for it."
                .to_owned(),
        ];
        match &device.ddio {
            Ddio::On { port } => advice.push(format!(
                "Or turn DDIO off for root port {port}, in the firmware's setup if it has that, and see that \
                 this is safe on your platform."
            )),
            Ddio::Unknown { why } if why.starts_with("only root") => {
                advice.push("To know more:".into());
                advice.push("$ sudo rpma-info".into());
            }
            _ => {}
        }
        let sure = if direct.is_none() {
            "it is not known whether writes go"
        } else {
            "writes do not go"
        };
        problems.push(Problem {
            prevents: false,
            what: format!(
                "{}: {sure} to persistent memory directly: {why}",
                device.name
            ),
            advice,
        });
    }
}
