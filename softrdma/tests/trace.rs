// SPDX-License-Identifier: BSD-3-Clause

//! Traces and injected failures of a C program under the launcher.

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use softrdma::instrument::CALLS;

/// Lists the devices as often as each argument says, and prints whether that worked; with `f` the rest
/// happens in a child, with `c` all descriptors but the standard ones are closed first, and with `t`
/// four threads list 100 times each. With `o` it opens the device and makes a domain, and with `d` it gives
/// back the domain. With `r` it makes requests between two domains.
const PROGRAM: &str = r#"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <infiniband/verbs.h>

static void
list(void)
{
	int count = -1;
	struct ibv_device **devices;

	errno = 0;
	devices = ibv_get_device_list(&count);
	printf("%s\n", devices ? count > 0 ? "listed" : "empty" : strerror(errno));
	fflush(stdout);
	if (devices)
		ibv_free_device_list(devices);
}

static void *
list_often(void *unused)
{
	for (int i = 0; i < 100; i++)
		ibv_free_device_list(ibv_get_device_list(NULL));
	return unused;
}

static void
make_requests(void)
{
	static _Alignas(4096) char mem[4096];
	struct ibv_device **devices = ibv_get_device_list(NULL);
	struct ibv_context *context = ibv_open_device(devices[0]);
	struct ibv_pd *first = ibv_alloc_pd(context);
	struct ibv_pd *second = ibv_alloc_pd(context);
	struct ibv_mr *mr = ibv_reg_mr(second, mem, sizeof(mem), IBV_ACCESS_LOCAL_WRITE);
	struct ibv_srq_init_attr srq_attr = {.attr = {.max_wr = 4, .max_sge = 1}};
	struct ibv_srq *srq = ibv_create_srq(second, &srq_attr);
	struct ibv_cq *cq = ibv_create_cq(context, 4, NULL, NULL, 0);
	struct ibv_qp_init_attr qp_attr = {
		.send_cq = cq, .recv_cq = cq, .srq = srq, .qp_type = IBV_QPT_RC,
		.cap = {.max_send_wr = 4, .max_send_sge = 1, .max_inline_data = 8},
	};
	struct ibv_qp *qp = ibv_create_qp(second, &qp_attr);
	struct ibv_sge sge = {.addr = (uintptr_t)mem + 64, .length = 32, .lkey = mr->lkey};
	struct ibv_recv_wr recv = {.wr_id = 7, .sg_list = &sge, .num_sge = 1}, *bad_recv;
	struct ibv_send_wr send = {.wr_id = 8, .sg_list = &sge, .num_sge = 1}, *bad_send;

	ibv_advise_mr(second, IBV_ADVISE_MR_ADVICE_PREFETCH, 0, &sge, 1);
	ibv_post_srq_recv(srq, &recv, &bad_recv);
	sge.addr = (uintptr_t)mem + 4090;
	recv.wr_id = (uintptr_t)mem;
	ibv_post_srq_recv(srq, &recv, &bad_recv);
	sge.lkey = 0;
	ibv_post_srq_recv(srq, &recv, &bad_recv);
	/* none of these is in a state for it */
	send.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
	send.imm_data = htobe32(0x10203);
	send.send_flags = IBV_SEND_INLINE;
	send.wr.rdma.remote_addr = (uintptr_t)mem + 256;
	memcpy(mem, "foobar", 6);
	sge = (struct ibv_sge){.addr = (uintptr_t)mem, .length = 6};
	ibv_post_send(qp, &send, &bad_send);
	ibv_destroy_qp(qp);
	ibv_destroy_cq(cq);
	ibv_destroy_srq(srq);
	ibv_dereg_mr(mr);
	ibv_dealloc_pd(second);
	ibv_dealloc_pd(first);
	ibv_close_device(context);
	ibv_free_device_list(devices);
}

int
main(int argc, char *argv[])
{
	pthread_t threads[4];
	struct ibv_device **devices;
	struct ibv_pd *pd = NULL;

	for (int i = 1; i < argc; i++) {
		pid_t child;
		int status;

		switch (argv[i][0]) {
		case 'f':
			child = fork();
			if (child < 0)
				return 1;
			if (child > 0)
				return waitpid(child, &status, 0) == child && status == 0 ? 0 : 1;
			break;
		case 'c':
			for (int fd = 3; fd < 1024; fd++)
				close(fd);
			break;
		case 't':
			for (int t = 0; t < 4; t++)
				pthread_create(&threads[t], NULL, list_often, NULL);
			for (int t = 0; t < 4; t++)
				pthread_join(threads[t], NULL);
			break;
		case 'o':
			devices = ibv_get_device_list(NULL);
			pd = ibv_alloc_pd(ibv_open_device(devices[0]));
			ibv_free_device_list(devices);
			break;
		case 'r':
			make_requests();
			break;
		case 'd':
			ibv_dealloc_pd(pd);
			break;
		default:
			for (int n = atoi(argv[i]); n > 0; n--)
				list();
		}
	}

	return 0;
}
"#;

/// The program, and a directory for its files.
struct Fixture(PathBuf);

impl Fixture {
    fn new(test: &str) -> Self {
        let directory =
            env::temp_dir().join(format!("softrdma-trace-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("program.c"), PROGRAM).unwrap();
        let compiled = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()))
            .args(["-o", "program", "program.c", "-libverbs", "-pthread"])
            .current_dir(&directory)
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{compiled:?}");
        Self(directory)
    }

    fn run(&self, options: &[&str], arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_softrdma"));
        for name in [
            "TRACE",
            "TRACE_TIMES",
            "TRACE_THREADS",
            "FAIL",
            "FAULT",
            "SEED",
            "CAPS",
            "MR_EOPNOTSUPP",
            "LEAKS",
            "LIBRARY",
        ] {
            command.env_remove(format!("SOFTRDMA_{name}"));
        }
        command
            .arg("run")
            .args(options)
            .arg("./program")
            .args(arguments);
        command
            .current_dir(&self.0)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The program's standard output; it must succeed and print nothing on standard error.
    fn output(&self, options: &[&str], arguments: &[&str]) -> Vec<String> {
        let output = self.run(options, arguments);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        lines(&output.stdout)
    }

    fn trace(&self, name: &str) -> Vec<String> {
        lines(&fs::read(self.0.join(name)).unwrap())
    }

    /// The files of a trace with one for each process.
    fn traces(&self) -> Vec<Vec<String>> {
        let mut files: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("trace."))
            .collect();
        files.sort_by_key(|name| name.len());
        files.iter().map(|name| self.trace(name)).collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lines(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8(text.to_vec()).unwrap();
    text.lines().map(str::to_owned).collect()
}

const LIST: &str = "ibv_get_device_list() = ok";

#[test]
fn the_device_is_listed() {
    let it = Fixture::new("device");
    assert_eq!(it.output(&[], &["1"]), ["listed"]);
}

#[test]
fn calls_are_traced_in_order() {
    let it = Fixture::new("order");
    it.output(&["--trace", "trace"], &["2"]);
    assert_eq!(it.trace("trace"), [LIST, LIST]);
    // A second run empties the file, and without the option there is no trace.
    it.output(&["--trace", "trace"], &["1"]);
    assert_eq!(it.trace("trace"), [LIST]);
    it.output(&[], &["1"]);
    assert_eq!(it.trace("trace"), [LIST]);
}

#[test]
fn lines_show_times_and_threads_when_asked() {
    let it = Fixture::new("stamps");
    let options = ["--trace", "trace", "--trace-times", "--trace-threads"];
    it.output(&options, &["1", "t"]);
    let mut threads = BTreeSet::new();
    for line in it.trace("trace") {
        let words: Vec<_> = line.splitn(3, ' ').collect();
        assert!(words[0].parse::<f64>().unwrap() > 1e9, "{line}");
        threads.insert(words[1].to_owned());
        let (call, took) = words[2].split_once(" <").unwrap();
        assert_eq!(call, LIST);
        assert!(took.ends_with('>'), "{line}");
    }
    let threads: Vec<_> = threads.iter().map(String::as_str).collect();
    assert_eq!(threads, ["T1", "T2", "T3", "T4", "T5"]);

    it.output(&["--trace", "trace", "--trace-threads"], &["1"]);
    assert_eq!(it.trace("trace"), [format!("T1 {LIST}")]);
}

#[test]
fn two_runs_have_the_same_trace() {
    let it = Fixture::new("same");
    it.output(&["--trace", "one"], &["3"]);
    it.output(&["--trace", "other"], &["3"]);
    assert_eq!(it.trace("one"), it.trace("other"));
}

#[test]
fn the_nth_call_fails() {
    let it = Fixture::new("fail");
    let options = ["--trace", "trace", "--fail", "ibv_get_device_list:2:EPERM"];
    let output = it.output(&options, &["3"]);
    assert_eq!(output, ["listed", "Operation not permitted", "listed"]);
    let failed = "ibv_get_device_list() = EPERM (injected)";
    assert_eq!(it.trace("trace"), [LIST, failed, LIST]);

    // Without ERRNO, the call fails with its default error.
    assert_eq!(
        it.output(&["--fail", "any:2"], &["3"])[1],
        "Cannot allocate memory"
    );
    let options = [
        "--fail",
        "any:1:5",
        "--fail",
        "ibv_get_device_list:2:ENODEV",
    ];
    assert_eq!(
        it.output(&options, &["3"]),
        ["Input/output error", "No such device", "listed"]
    );
    assert_eq!(
        it.output(&["--fail", "ibv_get_device_list:4"], &["3"]),
        ["listed"; 3]
    );
}

#[test]
fn the_seed_of_random_faults_is_printed_once_unless_it_was_given() {
    let it = Fixture::new("seed");
    let random = ["--fault", "completion:random:1/2:GENERAL_ERR"];
    let output = it.run(&random, &["1", "f", "1"]);
    let printed = lines(&output.stderr);
    assert_eq!(printed.len(), 1, "{printed:?}");
    let (_, seed) = printed[0].rsplit_once(" (--seed ").unwrap();
    assert!(
        seed.split(' ').next().unwrap().parse::<u64>().is_ok(),
        "{seed}"
    );

    let output = it.run(&[random[0], random[1], "--seed", "7"], &["1"]);
    assert!(output.stderr.is_empty(), "{output:?}");
    // Without chance there is no seed.
    it.output(&["--fault", "completion:1:GENERAL_ERR"], &["1"]);
}

#[test]
fn a_bad_fault_is_refused() {
    let it = Fixture::new("bad-fault");
    for (options, why) in [
        (["--fault", "evnt:rejected"], "did you mean event?"),
        (["--seed", "x"], "'x'"),
    ] {
        let output = it.run(&options, &["1"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(why),
            "{output:?}"
        );
    }
}

#[test]
fn a_child_counts_for_itself_and_has_its_own_trace() {
    let it = Fixture::new("child");
    let options = ["--trace", "trace.%p", "--fail", "ibv_get_device_list:3:EIO"];
    let output = it.output(&options, &["2", "f", "2"]);
    assert_eq!(output, ["listed"; 4]);
    assert_eq!(it.traces(), [[LIST, LIST], [LIST, LIST]]);

    it.output(&["--trace", "one"], &["1", "f", "1"]);
    assert_eq!(it.trace("one"), [LIST, LIST]);
}

#[test]
fn a_program_may_close_all_descriptors() {
    let it = Fixture::new("closed");
    assert_eq!(
        it.output(&["--trace", "trace"], &["1", "c", "1"]),
        ["listed"; 2]
    );
    assert_eq!(it.trace("trace"), [LIST, LIST]);
}

#[test]
fn objects_have_numbers_and_memory_has_offsets() {
    let it = Fixture::new("requests");
    it.output(&["--trace", "trace"], &["r"]);
    let expected = [
        "ibv_get_device_list() = ok",
        "ibv_open_device() = ok (context=#1)",
        "ibv_alloc_pd() = ok (pd=#1)",
        "ibv_alloc_pd() = ok (pd=#2)",
        "ibv_reg_mr(pd=#2, length=4096, access=LOCAL_WRITE) = ok (mr=#1)",
        "ibv_create_srq(pd=#2, max_wr=4, max_sge=1, srq_limit=0) = ok (srq=#1)",
        "ibv_create_cq(cqe=4, comp_channel=none, comp_vector=0) = ok (cq=#1)",
        "ibv_create_qp(pd=#2, qp_type=RC, max_send_wr=4, max_recv_wr=0, max_send_sge=1, \
         max_recv_sge=0, max_inline_data=8, sq_sig_all=0, send_cq=#1, recv_cq=#1, srq=#1) = ok (qp=#1)",
        "ibv_advise_mr(pd=#2, advice=0, flags=0x0, num_sge=1, length=32, mr=#1, offset=64) = EOPNOTSUPP",
        "ibv_post_srq_recv(srq=#1, wr_id=7, num_sge=1, length=32, mr=#1, offset=64) = ok",
        "ibv_post_srq_recv(srq=#1, num_sge=1, length=32, mr=#1, offset=outside) = ok",
        "ibv_post_srq_recv(srq=#1, num_sge=1, length=32, mr=unknown) = ok",
        // The hash of "foobar" is a published one of FNV-1a.
        "ibv_post_send(qp=#1, wr_id=8, opcode=RDMA_WRITE_WITH_IMM, send_flags=INLINE, num_sge=1, \
         length=6, data=0xbf9cf968, remote_page_offset=0x100, imm_data=0x10203) = EINVAL",
        "ibv_destroy_qp(qp=#1) = ok",
        "ibv_destroy_cq(cq=#1) = ok",
        "ibv_destroy_srq(srq=#1) = ok",
        "ibv_dereg_mr(mr=#1) = ok",
        "ibv_dealloc_pd(pd=#2) = ok",
        "ibv_dealloc_pd(pd=#1) = ok",
        "ibv_close_device(context=#1) = ok",
    ];
    assert_eq!(it.trace("trace"), expected);
    // The memory region of the next round has another number.
    it.output(&["--trace", "trace"], &["r", "r"]);
    assert!(
        it.trace("trace")
            .contains(&"ibv_dereg_mr(mr=#2) = ok".to_owned())
    );
}

#[test]
fn objects_not_destroyed_are_listed() {
    let it = Fixture::new("leaks");
    let told = |arguments: &[&str]| lines(&it.run(&["--leaks"], arguments).stderr);
    assert_eq!(
        told(&["o"]),
        ["softrdma: not destroyed: 1 ibv_context, 1 ibv_pd"]
    );
    assert_eq!(
        told(&["o", "d"]),
        ["softrdma: not destroyed: 1 ibv_context"]
    );
    assert_eq!(told(&["1"]), [""; 0]);
    // Only the process that has created the object lists it.
    assert_eq!(told(&["o", "f", "1"]).len(), 1);
    assert_eq!(lines(&it.run(&[], &["o"]).stderr), [""; 0]);
}

#[test]
fn lines_of_threads_are_whole() {
    let it = Fixture::new("threads");
    it.output(&["--trace", "trace", "--fail", "any:1000"], &["t"]);
    assert_eq!(it.trace("trace"), [LIST; 400]);
}

#[test]
fn an_unwritable_trace_is_reported_once() {
    let it = Fixture::new("unwritable");
    let output = Command::new(env!("CARGO_BIN_EXE_softrdma"))
        .args(["run", "./program", "3"])
        // Nobody can create a file in this directory.
        .env("SOFTRDMA_TRACE", "/proc/trace")
        .current_dir(&it.0)
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(lines(&output.stdout), ["listed"; 3]);
    let text = lines(&output.stderr);
    assert_eq!(text.len(), 1, "{text:?}");
    assert!(text[0].contains("/proc/trace"), "{text:?}");
}

fn is_call(name: &str) -> bool {
    let is_c = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (name.starts_with("ibv_") || name.starts_with("rdma_")) && name.chars().all(is_c)
}

#[test]
fn the_list_of_calls_is_that_of_the_sources() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/abi");
    let mut quoted = BTreeSet::new();
    for file in fs::read_dir(directory).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        quoted.extend(
            text.split('"')
                .filter(|name| is_call(name))
                .map(str::to_owned),
        );
    }
    let (listed, of_the_system): (BTreeSet<_>, BTreeSet<_>) = CALLS
        .iter()
        .map(|call| call.name.to_owned())
        .partition(|name| is_call(name));
    assert_eq!(quoted, listed);
    assert!(of_the_system.iter().eq(["process_vm_readv"]));
}

/// Every exported C function is in the list of calls, or in a list of those that are never traced.
#[test]
fn every_exported_function_is_in_the_list() {
    // These release or look up something that the program already has.
    const NOT_CALLS: &[&str] = &[
        "ibv_event_type_str",
        "ibv_free_device_list",
        "ibv_get_device_guid",
        "ibv_get_device_index",
        "ibv_get_device_name",
        "ibv_get_pkey_index",
        "ibv_get_sysfs_path",
        "ibv_is_fork_initialized",
        "ibv_node_type_str",
        "ibv_port_state_str",
        "ibv_qp_to_qp_ex",
        "ibv_query_qp_data_in_order",
        "ibv_rate_to_mbps",
        "ibv_rate_to_mult",
        "ibv_read_sysfs_file",
        "ibv_wc_status_str",
        "ibv_wr_opcode_str",
        "rdma_event_str",
        "rdma_free_devices",
        "rdma_get_dst_port",
        "rdma_get_src_port",
    ];
    // Functions that only report that they are not supported.
    let unsupported = include_str!("../src/abi/unsupported.rs");
    let unsupported: Vec<_> = unsupported
        .split(|c: char| c.is_whitespace() || c == ':')
        .collect();
    let directory = Path::new(env!("CARGO_BIN_EXE_softrdma")).parent().unwrap();
    let library = ["deps/libsoftrdma.so", "libsoftrdma.so"].map(|name| directory.join(name));
    let library = library.iter().find(|path| path.is_file()).unwrap();
    let nm = Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(library)
        .output();
    let symbols = match nm {
        Ok(output) if output.status.success() => lines(&output.stdout),
        other => {
            // To standard error directly: cargo hides what a passing test prints.
            let _ = writeln!(io::stderr(), "\nskipped: nm does not work here: {other:?}");
            return;
        }
    };
    let exported: Vec<_> = symbols
        .iter()
        .filter_map(|line| line.split_whitespace().nth(2))
        .filter(|name| is_call(name))
        .collect();
    assert!(exported.contains(&"ibv_get_device_list"));
    for name in exported {
        let traced = CALLS.iter().any(|call| call.name == name);
        let known = NOT_CALLS.contains(&name) || unsupported.contains(&name);
        assert!(
            traced != known,
            "{name}: traced: {traced}, known not to be: {known}"
        );
    }
}
