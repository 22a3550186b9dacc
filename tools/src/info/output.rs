// SPDX-License-Identifier: BSD-3-Clause

//! The report as text and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Capabilities, Ddio, Device, Outcome, Report};
use crate::units::size_text;

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

impl Outcome {
    fn text(&self) -> String {
        match self {
            Self::Works => "yes".into(),
            Self::Fails(why) => format!("no: {why}"),
            Self::Unknown => "not known".into(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Works => json!({ "works": true }),
            Self::Fails(why) => json!({ "works": false, "why": why }),
            Self::Unknown => Value::Null,
        }
    }
}

impl Ddio {
    fn text(&self) -> String {
        match self {
            Self::On { port } => format!("on (root port {port})"),
            Self::Off { port } => format!("off (root port {port})"),
            Self::Unknown { why } => format!("not known: {why}"),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::On { port } => json!({ "state": "on", "root_port": port }),
            Self::Off { port } => json!({ "state": "off", "root_port": port }),
            Self::Unknown { why } => json!({ "state": null, "why": why }),
        }
    }
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let mut out = Lines(String::new());
        match (&self.sysroot, &self.library) {
            (Some(sysroot), _) => out.row(0, "machine", format!("recorded in {sysroot}")),
            (None, Some((path, own))) => {
                out.row(
                    0,
                    "librpma",
                    format!("{path}{}", if *own { "" } else { " (the original)" }),
                );
            }
            (None, None) => {}
        }
        for device in &self.devices {
            self.device(device, &mut out);
        }
        self.memory(&mut out);
        self.pmem(&mut out);

        for problem in &self.problems {
            let kind = if problem.prevents { "problem" } else { "note" };
            out.line(0, "");
            out.line(0, &format!("{kind}: {}", problem.what));
            for line in &problem.advice {
                out.line(if line.starts_with("$ ") { 6 } else { 2 }, line);
            }
        }
        out.line(0, "");
        let verdict = match (self.works(), self.sysroot.is_some()) {
            (true, false) => "librpma can work here.".into(),
            (true, true) => "librpma can work there, as far as /sys tells.".into(),
            (false, recorded) => {
                let why: Vec<&str> = self
                    .problems
                    .iter()
                    .filter(|problem| problem.prevents)
                    .map(|problem| problem.what.as_str())
                    .collect();
                let place = if recorded { "there" } else { "here" };
                format!("librpma cannot work {place}: {}.", why.join("; "))
            }
        };
        out.line(0, &verdict);
        out.0
    }

    fn device(&self, device: &Device, out: &mut Lines) {
        out.line(0, "");
        out.row(0, "device", &device.name);
        match (&device.pci, &device.driver) {
            (Some(pci), Some(driver)) => {
                out.row(2, "PCI function", format!("{pci} (driver {driver})"))
            }
            (Some(pci), None) => out.row(2, "PCI function", pci),
            (None, _) => out.row(2, "PCI function", "none: a software device"),
        }
        for port in &device.ports {
            let rate = port
                .rate
                .as_ref()
                .map(|rate| format!(", {rate}"))
                .unwrap_or_default();
            out.row(
                2,
                &format!("port {}", port.number),
                format!("{}, {}{rate}", port.state, port.link_layer),
            );
            for gid in &port.gids {
                let mut text = gid.gid.to_string();
                for more in [&gid.kind, &gid.interface].into_iter().flatten() {
                    text += &format!(", {more}");
                }
                out.row(4, &format!("GID {}", gid.index), text);
            }
        }
        if !device.interfaces.is_empty() {
            out.row(2, "interfaces", device.interfaces.join(", "));
        }
        out.row(
            2,
            "addresses",
            if device.addresses.is_empty() {
                "none".into()
            } else {
                device.addresses.join(", ")
            },
        );
        if let Some(caps) = &device.capabilities {
            let original = self.library.as_ref().is_some_and(|(_, own)| !own);
            let native = |native| match (native, original) {
                (true, false) => "native",
                (true, true) => "native (the original uses it only if it was built for it)",
                (false, _) => "emulated",
            };
            out.row(2, "atomic write", native(caps.native_atomic_write));
            out.row(2, "flush", native(caps.native_flush));
            out.row(2, "on-demand paging", yes(caps.on_demand_paging));
            out.row(
                2,
                "largest queues",
                format!(
                    "{} requests, {} completions",
                    caps.max_queue, caps.max_completions
                ),
            );
            out.row(2, "largest message", size_text(caps.max_message));
            let unlimited = caps.max_region >= 1 << 63;
            out.row(
                2,
                "largest region",
                if unlimited {
                    "not limited".into()
                } else {
                    size_text(caps.max_region)
                },
            );
            out.row(2, "registers memory", caps.memory.text());
        }
        out.row(2, "DDIO", device.ddio.text());
        let (direct, why) = device.direct_write(&self.pmem);
        out.row(
            2,
            "direct write to pmem",
            format!("{}: {why}", direct.map_or("not known", yes)),
        );
    }

    fn memory(&self, out: &mut Lines) {
        if self.memlock.is_none() && self.file_memory.is_none() {
            return;
        }
        out.line(0, "");
        out.line(0, "memory");
        match self.memlock {
            Some(Some(limit)) => out.row(2, "may be locked", size_text(limit)),
            Some(None) => out.row(2, "may be locked", "all"),
            None => {}
        }
        if let Some((outcome, directory)) = &self.file_memory {
            out.row(
                2,
                "ordinary files",
                format!("{} (tried in {directory})", outcome.text()),
            );
        }
    }

    fn pmem(&self, out: &mut Lines) {
        out.line(0, "");
        if self.pmem.is_empty() {
            out.row(0, "persistent memory", "none");
            return;
        }
        out.line(0, "persistent memory");
        for region in &self.pmem {
            let node = region
                .node
                .as_ref()
                .map(|node| format!(", NUMA node {node}"))
                .unwrap_or_default();
            out.row(2, &region.name, format!("{}{node}", size_text(region.size)));
            out.row(4, "safe from power loss", region.domain.text());
            for namespace in &region.namespaces {
                let device = namespace
                    .device
                    .as_ref()
                    .map(|device| format!(", {device}"))
                    .unwrap_or_default();
                let dax = match (namespace.dax, &namespace.mount) {
                    (Some(false), _) => ", but its driver has no DAX".into(),
                    (_, Some((place, true))) => format!(", mounted with DAX at {place}"),
                    (_, Some((place, false))) => format!(", mounted without DAX at {place}"),
                    _ => String::new(),
                };
                out.row(
                    4,
                    &namespace.name,
                    format!(
                        "{}, {}{device}{dax}",
                        namespace.mode,
                        size_text(namespace.size)
                    ),
                );
            }
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "works": self.works(),
            "sysroot": self.sysroot,
            "library": self.library.as_ref().map(|(path, own)| json!({ "path": path, "original": !own })),
            "address": self.addr,
            "devices": self.devices.iter().map(|device| self.device_json(device)).collect::<Vec<_>>(),
            "unusable_devices": self.unusable,
            "memlock": match self.memlock {
                Some(limit) => json!({ "limited": limit.is_some(), "bytes": limit }),
                None => Value::Null,
            },
            "file_memory": self.file_memory.as_ref().map(|(outcome, directory)| {
                json!({ "registers": outcome.json(), "directory": directory })
            }),
            "persistent_memory": self.pmem.iter().map(|region| json!({
                "name": region.name,
                "bytes": region.size,
                "persistence_domain": match region.domain {
                    super::PersistenceDomain::CpuCache => Some("cpu_cache"),
                    super::PersistenceDomain::MemoryController => Some("memory_controller"),
                    super::PersistenceDomain::Unknown => None,
                },
                "numa_node": region.node,
                "namespaces": region.namespaces.iter().map(|namespace| json!({
                    "name": namespace.name,
                    "mode": namespace.mode,
                    "bytes": namespace.size,
                    "device": namespace.device,
                    "dax": namespace.dax,
                    "mount": namespace.mount.as_ref().map(|(place, dax)| json!({ "path": place, "dax": dax })),
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "problems": self.problems.iter().map(|problem| json!({
                "prevents": problem.prevents,
                "what": problem.what,
                "advice": problem.advice,
            })).collect::<Vec<_>>(),
        })
    }

    fn device_json(&self, device: &Device) -> Value {
        let (direct, why) = device.direct_write(&self.pmem);
        json!({
            "name": device.name,
            "pci": device.pci,
            "driver": device.driver,
            "interfaces": device.interfaces,
            "addresses": device.addresses,
            "ports": device.ports.iter().map(|port| json!({
                "number": port.number,
                "state": port.state,
                "link_layer": port.link_layer,
                "rate": port.rate,
                "gids": port.gids.iter().map(|gid| json!({
                    "index": gid.index,
                    "gid": gid.gid.to_string(),
                    "type": gid.kind,
                    "interface": gid.interface,
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "capabilities": device.capabilities.as_ref().map(Capabilities::json),
            "ddio": device.ddio.json(),
            "direct_write_to_pmem": { "value": direct, "why": why },
        })
    }
}

impl Capabilities {
    fn json(&self) -> Value {
        json!({
            "native_atomic_write": self.native_atomic_write,
            "native_flush": self.native_flush,
            "on_demand_paging": self.on_demand_paging,
            "max_queue": self.max_queue,
            "max_completions": self.max_completions,
            "max_message_bytes": self.max_message,
            "max_region_bytes": self.max_region,
            "memory": self.memory.json(),
        })
    }
}

/// Text in lines with two columns.
struct Lines(String);

impl Lines {
    fn line(&mut self, indent: usize, text: &str) {
        // Writing to a string cannot fail.
        let _ = if text.is_empty() {
            writeln!(self.0)
        } else {
            writeln!(self.0, "{:indent$}{text}", "")
        };
    }

    fn row(&mut self, indent: usize, name: &str, value: impl AsRef<str>) {
        let width = 24usize.saturating_sub(indent);
        self.line(indent, &format!("{name:width$} {}", value.as_ref()));
    }
}
