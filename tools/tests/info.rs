// SPDX-License-Identifier: BSD-3-Clause

//! `rpma-info --sysroot` on machines that are described in `machines/`. A line there is `PATH = CONTENT`,
//! `PATH -> TARGET` (a symbolic link) or `PATH : SIZE OFFSET=BYTES…` (hexadecimal bytes; the rest is zero).

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

struct Machine(PathBuf);

impl Machine {
    fn new(name: &str, test: &str) -> Self {
        let root = env::temp_dir().join(format!("rpma-info-{}-{test}-{name}", std::process::id()));
        let recording = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/machines")
            .join(name);
        for line in fs::read_to_string(recording)
            .unwrap()
            .lines()
            .filter(|line| !line.starts_with('#'))
        {
            let path = root.join(line.split(' ').next().unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if let Some((_, target)) = line.split_once(" -> ") {
                // Links need not lead anywhere; the directory that this one names may be made later.
                symlink(target, path).unwrap();
            } else if let Some((_, text)) = line.split_once(" = ") {
                fs::write(path, format!("{text}\n")).unwrap();
            } else {
                let (_, bytes) = line.split_once(" : ").expect(line);
                fs::write(path, content(bytes)).unwrap();
            }
        }
        Self(root)
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_rpma-info"))
            .arg("--sysroot")
            .arg(&self.0)
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
        )
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn content(text: &str) -> Vec<u8> {
    let mut words = text.split(' ');
    let mut bytes = vec![0; words.next().unwrap().parse().unwrap()];
    for word in words {
        let (offset, hex) = word.split_once('=').unwrap();
        let offset = usize::from_str_radix(offset, 16).unwrap();
        for (at, digits) in hex.as_bytes().chunks(2).enumerate() {
            bytes[offset + at] =
                u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        }
    }
    bytes
}

/// Exit status, report for people, report for programs.
fn of(name: &str, test: &str) -> (i32, String, Value) {
    let machine = Machine::new(name, test);
    let (status, text) = machine.run(&[]);
    let (same, json) = machine.run(&["--json"]);
    assert_eq!(status, same);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["works"], status == 0);
    // Every problem stands in the text, with what to do.
    for problem in json["problems"].as_array().unwrap() {
        assert!(text.contains(problem["what"].as_str().unwrap()), "{text}");
        let advice = problem["advice"].as_array().unwrap();
        assert!(!advice.is_empty());
        for line in advice {
            assert!(text.contains(line.as_str().unwrap()), "{text}");
        }
    }
    (status, text, json)
}

fn problems(json: &Value) -> String {
    json["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| format!("{}\n", problem["what"]))
        .collect()
}

#[test]
fn ddio_on_means_no_direct_write() {
    let (status, text, json) = of("xeon-adr-ddio-on", "ddio-on");
    assert_eq!(status, 0, "{text}");
    let device = &json["devices"][0];
    assert_eq!(device["name"], "mlx5_0");
    assert_eq!(device["pci"], "0000:3b:00.0");
    assert_eq!(device["driver"], "mlx5_core");
    assert_eq!(device["interfaces"], serde_json::json!(["ens1f0"]));
    assert_eq!(device["addresses"], serde_json::json!(["192.168.1.5"]));
    assert_eq!(device["ports"][0]["state"], "ACTIVE");
    assert_eq!(
        device["ports"][0]["gids"].as_array().unwrap().len(),
        2,
        "the empty place is left out"
    );
    assert_eq!(
        device["ddio"],
        serde_json::json!({ "state": "on", "root_port": "0000:3a:00.0" })
    );
    assert_eq!(device["direct_write_to_pmem"]["value"], false);
    assert!(
        text.contains("turn DDIO off for root port 0000:3a:00.0"),
        "{text}"
    );

    let regions = json["persistent_memory"].as_array().unwrap();
    assert_eq!(regions.len(), 2);
    assert_eq!(regions[0]["persistence_domain"], "memory_controller");
    let namespaces = regions[0]["namespaces"].as_array().unwrap();
    assert_eq!(namespaces.len(), 1, "the one of size 0 is left out");
    assert_eq!(namespaces[0]["mode"], "fsdax");
    assert_eq!(namespaces[0]["device"], "pmem0");
    assert_eq!(namespaces[0]["dax"], true);
    assert!(problems(&json).contains("region1 has no namespace"));
}

#[test]
fn ddio_off_means_direct_write() {
    let (status, text, json) = of("xeon-adr-ddio-off", "ddio-off");
    assert_eq!(status, 0, "{text}");
    assert_eq!(json["devices"][0]["ddio"]["state"], "off");
    assert_eq!(json["devices"][0]["direct_write_to_pmem"]["value"], true);
    assert_eq!(problems(&json), "");
}

#[test]
fn without_privileges_ddio_is_not_known() {
    let (status, text, json) = of("xeon-adr-not-root", "not-root");
    assert_eq!(status, 0, "{text}");
    assert_eq!(json["devices"][0]["ddio"]["state"], Value::Null);
    assert_eq!(
        json["devices"][0]["direct_write_to_pmem"]["value"],
        Value::Null
    );
    assert!(text.contains("$ sudo rpma-info"), "{text}");
    assert!(problems(&json).contains("namespace0.0 cannot be mapped: its mode is sector"));
}

#[test]
fn eadr_means_direct_write_whatever_ddio_is() {
    let (status, text, json) = of("xeon-eadr-infiniband", "eadr");
    assert_eq!(status, 0, "{text}");
    let device = &json["devices"][0];
    assert!(device["ddio"]["state"].is_null(), "{device}");
    assert_eq!(device["direct_write_to_pmem"]["value"], true);
    assert_eq!(device["ports"][0]["link_layer"], "InfiniBand");
    assert_eq!(
        device["addresses"],
        serde_json::json!([]),
        "GIDs of InfiniBand are no IP addresses"
    );
    assert_eq!(
        json["persistent_memory"][0]["namespaces"][0]["device"],
        "dax0.0"
    );
    assert_eq!(problems(&json), "");
}

#[test]
fn registers_of_other_root_ports_are_not_guessed() {
    let (status, text, json) = of("epyc", "epyc");
    assert_eq!(status, 0, "{text}");
    assert!(
        problems(&json).contains("/dev/pmem0 is mounted at /mnt/pmem without DAX"),
        "{text}"
    );
    assert_eq!(json["devices"][0]["ddio"]["state"], Value::Null);
    assert!(
        json["devices"][0]["ddio"]["why"]
            .as_str()
            .unwrap()
            .contains("1022:1483"),
        "{text}"
    );
    assert_eq!(
        json["devices"][0]["direct_write_to_pmem"]["value"],
        Value::Null
    );
}

#[test]
fn a_port_that_is_down_prevents_librpma() {
    let (status, text, json) = of("port-down", "down");
    assert_eq!(status, 1);
    assert!(
        problems(&json).contains("no port is active (mlx5_0 1: DOWN)"),
        "{text}"
    );
    assert!(
        text.ends_with("librpma cannot work there: no port is active (mlx5_0 1: DOWN).\n"),
        "{text}"
    );
}

#[test]
fn an_interface_without_an_address_prevents_librpma() {
    let (status, text, json) = of("no-address", "no-address");
    assert_eq!(status, 1);
    assert!(
        problems(&json).contains("no device with an active port has an IP address"),
        "{text}"
    );
}

#[test]
fn software_devices_write_through_the_cache() {
    let (status, text, json) = of("rxe", "rxe");
    assert_eq!(status, 0, "{text}");
    let device = &json["devices"][0];
    assert_eq!(device["pci"], Value::Null);
    assert_eq!(device["interfaces"], serde_json::json!(["eth0"]));
    assert_eq!(device["addresses"], serde_json::json!(["10.0.0.1"]));
    assert_eq!(device["direct_write_to_pmem"]["value"], false);
}

#[test]
fn without_a_device_three_ways_are_shown() {
    let (status, text, json) = of("nothing", "nothing");
    assert_eq!(status, 1);
    assert!(problems(&json).contains("there is no RDMA device"));
    for way in ["softrdma run -- ", "type rxe netdev", "type siw netdev"] {
        assert!(text.contains(way), "{text}");
    }
}

#[test]
fn an_address_selects_a_device() {
    let machine = Machine::new("rxe", "address");
    assert_eq!(machine.run(&["10.0.0.1"]).0, 0);
    let (status, text) = machine.run(&["10.0.0.2"]);
    assert_eq!(status, 1);
    assert!(
        text.contains("no RDMA device has the address 10.0.0.2"),
        "{text}"
    );
}

#[test]
fn bad_arguments_are_refused() {
    for arguments in [
        &["--sysroot", "/nonexistent"][..],
        &["--nonsense"],
        &["a", "b"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_rpma-info"))
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn help_shows_examples() {
    for option in ["-h", "--help"] {
        let output = Command::new(env!("CARGO_BIN_EXE_rpma-info"))
            .arg(option)
            .output()
            .unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("softrdma run -- rpma-info"), "{text}");
    }
}
