// SPDX-License-Identifier: BSD-3-Clause

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use super::errno::Errno;
use super::settings::{
    BANDWIDTH, CAPS, CM_TIMEOUT_MS, DELAY, FAIL, FAULT, MR_EOPNOTSUPP, SEED, SOCKET_ONLY, STRICT,
    TRACE, TRACE_THREADS, TRACE_TIMES,
};
use super::*;

fn settings(variables: &[(&str, &str)]) -> Result<Settings, String> {
    Settings::from_variables(|name| {
        let (_, value) = variables.iter().find(|(n, _)| *n == name)?;
        Some(OsString::from(value))
    })
}

struct Observed {
    state: State,
    file: PathBuf,
}

impl Observed {
    fn new(test: &str, fail: &str) -> Self {
        Self::with(test, &[(FAIL, fail)])
    }

    fn with(test: &str, variables: &[(&str, &str)]) -> Self {
        let file = std::env::temp_dir().join(format!("softrdma-{}-{test}", std::process::id()));
        let mut all = vec![(TRACE, file.to_str().unwrap())];
        all.extend(variables);
        let settings = settings(&all).unwrap();
        Self {
            state: State::new(settings),
            file,
        }
    }

    fn call(&self, name: &'static str) -> Result<(), c_int> {
        self.state.observe(name, |_| (), || Ok(()), |_, _| true)
    }

    fn lines(&self) -> Vec<String> {
        let trace = fs::read_to_string(&self.file).unwrap_or_default();
        trace.lines().map(str::to_owned).collect()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

#[test]
fn calls_are_sorted_and_unique() {
    assert!(CALLS.is_sorted_by(|a, b| a.name < b.name));
    for call in CALLS {
        assert_eq!(calls::find(call.name), Some(call));
    }
    assert_eq!(calls::find("ibv_reg"), None);
}

#[test]
fn a_line_has_name_arguments_and_result() {
    let it = Observed::new("line", "");
    let args = |args: &mut Args| {
        args.num("length", 4096_u64);
        args.bits("access", 0b101, names::ACCESS);
        args.bits("none", 0, names::ACCESS);
        args.bits("unnamed", 1 << 1 | 1 << 40, names::ACCESS);
        args.one_of("opcode", 4, names::WR_OPCODE);
        args.one_of("opcode", 77, names::WR_OPCODE);
        args.flags("mask", 0x1f);
        args.num("negative", -1_i32);
        args.text("text", "a\nb = ok\u{7f}");
    };
    let result = it.state.observe(
        "ibv_reg_mr",
        args,
        || Err::<(), _>(libc::EFAULT),
        |_, _| true,
    );
    assert_eq!(result, Err(libc::EFAULT));
    it.call("ibv_dealloc_pd").unwrap();
    let event = |value: &u64, line: &mut Args| {
        line.one_of("event", *value, names::CM_EVENT);
        line.num("status", 0);
        true
    };
    let result = it
        .state
        .observe("rdma_get_cm_event", |_| (), || Ok(9_u64), event);
    assert_eq!(result, Ok(9));
    assert_eq!(
        it.lines(),
        [
            "ibv_reg_mr(length=4096, access=LOCAL_WRITE|REMOTE_READ, none=0, \
             unnamed=REMOTE_WRITE|0x10000000000, opcode=RDMA_READ, opcode=77, mask=0x1f, negative=-1, \
             text=a\\nb = ok\\u{7f}) = EFAULT",
            "ibv_dealloc_pd() = ok",
            "rdma_get_cm_event() = ok (event=ESTABLISHED, status=0)",
        ]
    );
}

#[test]
fn a_line_has_time_and_thread_when_asked_for() {
    let it = Observed::with("stamped", &[(TRACE_TIMES, "1"), (TRACE_THREADS, "1")]);
    it.call("ibv_dealloc_pd").unwrap();
    thread::scope(|scope| {
        scope.spawn(|| it.call("ibv_alloc_pd").unwrap());
    });
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let mut threads = Vec::new();
    for (line, call) in it
        .lines()
        .iter()
        .zip(["ibv_dealloc_pd() = ok", "ibv_alloc_pd() = ok"])
    {
        let (time, rest) = line.split_once(" T").unwrap();
        assert!(
            (now - 60.0..=now).contains(&time.parse().unwrap()),
            "{line}"
        );
        let (thread, rest) = rest.split_once(' ').unwrap();
        threads.push(thread.parse::<u64>().unwrap());
        let (rest, took) = rest.split_once(" <").unwrap();
        assert_eq!(rest, call);
        let took: f64 = took.strip_suffix('>').unwrap().parse().unwrap();
        assert!((0.0..60.0).contains(&took), "{line}");
    }
    assert_eq!(threads.len(), 2);
    assert_ne!(threads[0], threads[1]);
}

#[test]
fn polling_without_result_writes_no_line() {
    let it = Observed::new("vain", "ibv_poll_cq:5:EAGAIN");
    let mut results = [Ok(0), Ok(3), Err(libc::EAGAIN), Err(libc::EIO)].into_iter();
    let mut poll = || {
        let body = || results.next().unwrap();
        it.state.poll(
            "ibv_poll_cq",
            |_| (),
            body,
            |n, line| {
                line.num("found", *n);
                *n > 0
            },
        )
    };
    assert_eq!(poll(), Ok(0));
    assert_eq!(poll(), Ok(3));
    assert_eq!(poll(), Err(libc::EAGAIN));
    assert_eq!(poll(), Err(libc::EIO));
    assert_eq!(poll(), Err(libc::EAGAIN));
    assert_eq!(
        it.lines(),
        [
            "ibv_poll_cq() = ok (found=3)",
            "ibv_poll_cq() = EIO",
            "ibv_poll_cq() = EAGAIN (injected)",
        ]
    );
}

#[test]
fn the_nth_call_fails_and_nothing_else_happens() {
    let it = Observed::new("nth", "ibv_reg_mr:2:EPERM,ibv_reg_mr:4,ibv_alloc_pd:1:77");
    let done = Cell::new(0);
    let register = || {
        let body = || {
            done.set(done.get() + 1);
            Ok(())
        };
        it.state.observe("ibv_reg_mr", |_| (), body, |_, _| true)
    };
    assert_eq!(register(), Ok(()));
    assert_eq!(it.call("ibv_alloc_pd"), Err(77));
    assert_eq!(register(), Err(libc::EPERM));
    assert_eq!(register(), Ok(()));
    assert_eq!(register(), Err(libc::ENOMEM));
    assert_eq!(register(), Ok(()));
    assert_eq!(done.get(), 3);
    assert_eq!(
        it.lines(),
        [
            "ibv_reg_mr() = ok",
            "ibv_alloc_pd() = ENOMSG (injected)"
                .replace("ENOMSG", &Errno(77).to_string())
                .as_str(),
            "ibv_reg_mr() = EPERM (injected)",
            "ibv_reg_mr() = ok",
            "ibv_reg_mr() = ENOMEM (injected)",
            "ibv_reg_mr() = ok",
        ]
    );
}

#[test]
fn any_counts_calls_that_can_fail_and_does_not_depend_on_timing() {
    let it = Observed::new("any", "any:3");
    assert_eq!(it.call("ibv_get_device_list"), Ok(()));
    assert_eq!(it.call("ibv_poll_cq"), Ok(()));
    assert_eq!(it.call("rdma_ack_cm_event"), Ok(()));
    assert_eq!(it.call("rdma_destroy_qp"), Ok(()));
    assert_eq!(it.call("ibv_alloc_pd"), Ok(()));
    assert_eq!(it.call("ibv_dealloc_pd"), Err(libc::EBUSY));
    assert_eq!(it.call("ibv_dealloc_pd"), Ok(()));
}

#[test]
fn polling_fails_when_it_is_named() {
    let it = Observed::new("polling", "ibv_poll_cq:2");
    assert_eq!(it.call("ibv_poll_cq"), Ok(()));
    assert_eq!(it.call("ibv_poll_cq"), Err(libc::EIO));
}

#[test]
fn a_nested_call_is_neither_counted_nor_traced() {
    let it = Observed::new("within", "any:2");
    let outer = || {
        assert_eq!(it.call("ibv_create_cq"), Ok(()));
        assert_eq!(it.call("ibv_create_qp"), Ok(()));
        Ok(())
    };
    assert_eq!(
        it.state
            .observe("rdma_create_qp", |_| (), outer, |_, _| true),
        Ok(())
    );
    assert_eq!(it.lines(), ["rdma_create_qp() = ok"]);
    assert_eq!(it.call("ibv_alloc_pd"), Err(libc::ENOMEM));
}

#[test]
fn lines_of_threads_stay_whole() {
    let it = Arc::new(Observed::new("threads", ""));
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let it = Arc::clone(&it);
            thread::spawn(move || {
                for _ in 0..200 {
                    let args = |args: &mut Args| args.text("x", &thread.to_string().repeat(60));
                    it.state
                        .observe("ibv_post_send", args, || Ok(()), |_, _| true)
                        .unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let mut lines = it.lines();
    assert_eq!(lines.len(), 8 * 200);
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 8);
    assert!(lines.iter().all(|line| line.ends_with(") = ok")));
}

#[test]
fn each_process_has_its_file() {
    let file = |name: &str| settings::trace_file(Path::new(name), 42);
    assert_eq!(file("t.%p"), Path::new("t.42"));
    assert_eq!(file("%p%p"), Path::new("4242"));
    assert_eq!(file("100%%p"), Path::new("100%p"));
    assert_eq!(file("50%"), Path::new("50%"));
    assert_eq!(file("%d"), Path::new("%d"));
    assert!(settings::for_each_process(Path::new("t.%p")));
    assert!(!settings::for_each_process(Path::new("t.%%p")));
}

#[test]
fn settings_are_read() {
    assert_eq!(settings(&[]), Ok(Settings::default()));
    let empty = [(TRACE, ""), (FAIL, ""), (CAPS, ""), (MR_EOPNOTSUPP, "")];
    assert_eq!(settings(&empty), Ok(Settings::default()));
    let read = settings(&[
        (TRACE, "calls.txt"),
        (FAIL, "ibv_reg_mr:2:enomem,any:7"),
        (FAULT, "event:rejected:2,peer-dies:random:1/9"),
        (DELAY, "5us"),
        (BANDWIDTH, "10Gbit"),
        (CAPS, "odp,flush"),
        (MR_EOPNOTSUPP, "1"),
        (SOCKET_ONLY, "0"),
        (CM_TIMEOUT_MS, "500"),
    ])
    .unwrap();
    assert_eq!(read.trace, Some("calls.txt".into()));
    let faults: Vec<_> = read.faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults, ["ibv_reg_mr:2:ENOMEM", "any:7"]);
    let faults: Vec<_> = read.fabric_faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults, ["event:rejected:2", "peer-dies:random:1/9"]);
    assert!(read.lacks_seed());
    assert_eq!(read.link.delay, Duration::from_micros(5));
    assert_eq!(read.link.bandwidth, "10Gbit".parse().ok());
    assert_eq!(read.caps.to_string(), "odp,flush");
    assert!(read.mr_eopnotsupp);
    assert!(!read.socket_only);
    assert_eq!(read.cm_timeout, Some(Duration::from_millis(500)));
}

#[test]
fn strict_mode_has_two_ways() {
    let strict = |value: &str| settings(&[(STRICT, value)]).map(|settings| settings.strict);
    assert_eq!(strict(""), Ok(Strict::Off));
    assert_eq!(strict("0"), Ok(Strict::Off));
    assert_eq!(strict("1"), Ok(Strict::Report));
    for mode in [Strict::Report, Strict::Abort] {
        assert_eq!(strict(&mode.to_string()), Ok(mode));
    }
}

#[test]
fn bad_settings_are_refused() {
    let refused = |name: &str, value: &str, why: &str| {
        let problem = settings(&[(name, value)]).unwrap_err();
        assert!(problem.starts_with(name), "{problem}");
        assert!(problem.contains(why), "{problem}");
    };
    refused(FAIL, "ibv_reg_mr", "of the form");
    refused(FAIL, "ibv_reg_mr:1:EIO:x", "of the form");
    refused(FAIL, "ibv_reg_mr:0:EIO", "1 is the first");
    refused(FAIL, "ibv_reg_mr:x:EIO", "1 is the first");
    refused(FAIL, "ibv_reg_mr:1:", "is not an error name");
    refused(FAIL, "ibv_reg_mr:1:-5", "is not an error name");
    refused(FAIL, "ibv_reg_mr:1:0", "is not an error name");
    refused(FAIL, "ibv_reg_mr:1:EIO,", "of the form");
    refused(FAIL, "ibv_reg_mr:1:ENOMEN", "did you mean ENOMEM?");
    refused(FAIL, "ibv_regmr:1:EIO", "did you mean ibv_reg_mr?");
    refused(FAIL, "printf:1:EIO", "softrdma calls");
    refused(FAIL, "rdma_destroy_qp:1:EIO", "cannot fail");
    refused(FAULT, "event:rejected,", "unknown kind of fault ''");
    refused(FAULT, "event:rejekted", "did you mean rejected?");
    refused(DELAY, "5", "'5' is not a duration");
    refused(BANDWIDTH, "10G", "'10G' is not a bandwidth");
    refused(SEED, "-1", "'-1' is not a number");
    refused(SEED, "x", "'x' is not a number");
    refused(CAPS, "odb", "'odb'");
    refused(MR_EOPNOTSUPP, "yes", "'yes'");
    refused(SOCKET_ONLY, "x", "'x'");
    refused(STRICT, "yes", "neither report nor abort");
    refused(TRACE_TIMES, "yes", "'yes'");
    refused(TRACE_THREADS, "2", "'2'");
    refused(CM_TIMEOUT_MS, "abc", "'abc'");
    refused(CM_TIMEOUT_MS, "-1", "'-1'");
}

#[test]
fn errors_have_names() {
    assert_eq!(Errno(libc::ENOMEM).to_string(), "ENOMEM");
    assert_eq!(Errno(libc::EAGAIN).to_string(), "EAGAIN");
    assert_eq!(Errno(libc::EOPNOTSUPP).to_string(), "EOPNOTSUPP");
    assert_eq!(Errno(4000).to_string(), "4000");
    assert_eq!(Errno::parse("12"), Some(Errno(12)));
    assert_eq!(Errno::parse("ENOTSUP"), Some(Errno(libc::EOPNOTSUPP)));
    assert_eq!(Errno::parse("5000"), None);
    for name in Errno::names() {
        assert!(Errno::parse(name).is_some());
    }
}
