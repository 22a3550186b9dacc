// SPDX-License-Identifier: BSD-3-Clause

//! The launcher: its command line, its checks of programs and libraries, and what the program gets.

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const LAUNCHER: &str = env!("CARGO_BIN_EXE_softrdma");

/// A directory that is removed at the end of the test.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = env::temp_dir().join(format!("softrdma-launcher-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(fs::canonicalize(path).unwrap())
    }

    fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    fn file(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let draft = self.join("draft");
        fs::write(&draft, content).unwrap();
        let path = self.copy(&draft, name);
        fs::remove_file(draft).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// `cp` makes the copy. If this process did, a test on another thread could fork while the file is open for
    /// writing, and executing the file would fail with `ETXTBSY` until that child has closed it.
    fn copy(&self, from: impl AsRef<Path>, name: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut cp = Command::new("cp");
        let copied = cp.arg("--").arg(from.as_ref()).arg(&path).status().unwrap();
        assert!(copied.success(), "cp to {}", path.display());
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The library that belongs to this build.
fn library() -> PathBuf {
    let directory = Path::new(LAUNCHER).parent().unwrap();
    let mut candidates: Vec<_> = ["deps/libsoftrdma.so", "libsoftrdma.so"]
        .iter()
        .map(|name| directory.join(name))
        .filter(|path| path.is_file())
        .collect();
    candidates.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    candidates
        .pop()
        .expect("cargo builds the library with the tests")
}

/// The launcher, in an environment without settings.
fn softrdma(launcher: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(launcher);
    for name in [
        "SOFTRDMA_TRACE",
        "SOFTRDMA_FAIL",
        "SOFTRDMA_CAPS",
        "SOFTRDMA_MR_EOPNOTSUPP",
    ] {
        command.env_remove(name);
    }
    command
        .env_remove("SOFTRDMA_LIBRARY")
        .env_remove("LD_PRELOAD")
        .stdin(Stdio::null());
    command
}

fn run<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = softrdma(LAUNCHER);
    command.arg("run").args(arguments);
    command
}

/// The standard output; the command must succeed.
fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The exit status must be this one, and standard error must contain these words.
fn refused(command: &mut Command, status: i32, words: &[&str]) -> Output {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{command:?}: {text}");
    for word in words {
        assert!(
            text.contains(word),
            "{command:?}: '{word}' is not in: {text}"
        );
    }
    output
}

/// Prints to standard error directly: cargo hides what a passing test prints.
fn skip(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\nskipped: {what}: {why}");
}

/// Compiles a C program; `None`, with a message, if that is not possible.
fn compile(directory: &Directory, name: &str, source: &str, options: &[&str]) -> Option<PathBuf> {
    let program = directory.join(name);
    let source = directory.file(&format!("{name}.c"), source, 0o644);
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let output = Command::new(compiler)
        .arg("-o")
        .arg(&program)
        .arg(source)
        .args(options)
        .output();
    match output {
        Ok(output) if output.status.success() => Some(program),
        Ok(output) => {
            skip(name, &String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            skip(name, &format!("no C compiler: {error}"));
            None
        }
    }
}

fn is_root() -> bool {
    // SAFETY: it has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

const NOBODY: u32 = 65534;

// --- The command line ------------------------------------------------------------------------------

#[test]
fn help_shows_examples() {
    for arguments in [&["--help"][..], &["-h"], &["run", "--help"], &["run", "-h"]] {
        let help = stdout(softrdma(LAUNCHER).args(arguments));
        assert!(
            help.contains("softrdma run -- ./server 127.0.0.1 7204"),
            "{help}"
        );
        assert!(help.lines().all(|line| line.len() < 100), "{help}");
    }
    let version = stdout(softrdma(LAUNCHER).arg("--version"));
    assert_eq!(
        version,
        concat!("softrdma ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

/// The names that begin with `SOFTRDMA_`, in the order in which a text first has them.
fn variables_of(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices("SOFTRDMA_") {
        let end = |byte: char| !(byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == '_');
        let name: &str = text[at..].split(end).next().unwrap();
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// The string literals of all sources in a directory that are names of variables.
fn variables_of_sources(directory: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            variables_of_sources(&path, names);
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        for (at, _) in source.match_indices("\"SOFTRDMA_") {
            let (literal, _) = source[at + 1..].split_once('"').unwrap();
            if variables_of(literal) == [literal] {
                names.push(literal.to_owned());
            }
        }
    }
}

#[test]
fn help_and_manual_page_list_the_variables_that_the_code_reads() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut read = Vec::new();
    variables_of_sources(&project.join("src"), &mut read);
    read.sort();
    read.dedup();
    assert!(read.len() >= 8, "{read:?}");

    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    for arguments in [&["--help"][..], &["run", "--help"]] {
        let help = stdout(softrdma(LAUNCHER).args(arguments));
        let (_, list) = help.split_once("\nEnvironment:\n").expect("a list");
        assert_eq!(sorted(variables_of(list)), read, "{arguments:?}");
        // Each has its default, before the next one begins.
        for part in list.split("\n  SOFTRDMA_").skip(1) {
            assert!(part.contains("(default: "), "{part}");
        }
    }
    let page = fs::read_to_string(project.join("../doc/man/softrdma.1")).unwrap();
    let (_, section) = page.split_once(".SH ENVIRONMENT").unwrap();
    let (section, _) = section.split_once("\n.SH ").unwrap();
    let tags: String = section
        .lines()
        .filter(|line| line.starts_with(".B SOFTRDMA_"))
        .collect();
    assert_eq!(sorted(variables_of(&tags)), read, "softrdma.1");
}

#[test]
fn calls_lists_the_calls() {
    let calls = stdout(softrdma(LAUNCHER).arg("calls"));
    assert!(
        calls.lines().any(|line| line == "ibv_reg_mr ENOMEM"),
        "{calls}"
    );
    assert!(
        calls
            .lines()
            .any(|line| line == "rdma_destroy_qp (cannot fail)"),
        "{calls}"
    );
}

#[test]
fn a_bad_command_line_is_refused() {
    refused(&mut run(&["--strict=x", "true"]), 2, &["report", "abort"]);
    refused(&mut softrdma(LAUNCHER), 2, &["Usage"]);
    refused(softrdma(LAUNCHER).arg("rum"), 2, &["'run'"]);
    refused(&mut run::<&str>(&[]), 2, &["PROGRAM"]);
    refused(&mut run(&["--"]), 2, &["PROGRAM"]);
    refused(&mut run(&["--trace"]), 2, &["--trace"]);
    refused(&mut run(&["--bad", "true"]), 2, &["--bad"]);
    let refuse_fail = |fault, words| refused(&mut run(&["--fail", fault, "true"]), 2, words);
    refuse_fail("ibv_reg_mr", &["ibv_reg_mr:2:ENOMEM"]);
    refuse_fail("ibv_regmr:1:EIO", &["did you mean ibv_reg_mr?"]);
    refuse_fail("malloc:1:EIO", &["softrdma calls"]);
    refuse_fail("ibv_reg_mr:1:ENOMEN", &["did you mean ENOMEM?"]);
    refuse_fail("ibv_reg_mr:0:EIO", &["1 is the first"]);
    refuse_fail("ibv_reg_mr:99999999999999999999:EIO", &["not the number"]);
    refuse_fail("rdma_destroy_qp:1:EIO", &["cannot fail"]);
    refused(
        &mut run(&["--caps", "odp,warp", "true"]),
        2,
        &["'warp'", "atomic-write"],
    );
}

#[test]
fn settings_of_the_environment_are_checked_too() {
    for (name, value) in [
        ("SOFTRDMA_FAIL", "ibv_reg_mr"),
        ("SOFTRDMA_CAPS", "warp"),
        ("SOFTRDMA_MR_EOPNOTSUPP", "yes"),
        ("SOFTRDMA_SOCKET_ONLY", "x"),
        ("SOFTRDMA_CM_TIMEOUT_MS", "-1"),
    ] {
        refused(run(&["true"]).env(name, value), 2, &[name]);
        // Without the launcher the library reports it, before the program starts.
        let mut alone = softrdma("echo");
        alone
            .env("LD_PRELOAD", library())
            .env(name, value)
            .arg("started");
        let output = refused(&mut alone, 2, &["softrdma: ", name]);
        assert_eq!(output.stdout, b"");
    }
    let trace = "/nowhere/trace";
    refused(
        run(&["true"]).env("SOFTRDMA_TRACE", trace),
        125,
        &["softrdma: ", trace, "cannot be written"],
    );
}

#[test]
fn unwritable_stderr_changes_no_exit_status() {
    let full = || fs::File::create("/dev/full").unwrap();
    let status = |command: &mut Command| command.stderr(full()).status().unwrap().code();
    assert_eq!(status(&mut run(&["--caps", "warp", "true"])), Some(2));
    assert_eq!(status(run(&["true"]).env("SOFTRDMA_CAPS", "warp")), Some(2));
    let directory = Directory::new("full");
    let source = r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <errno.h>
        int main(void)
        {
            int (*rsocket)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_DEFAULT, "rsocket");
            return rsocket(0, 0, 0) == -1 && errno == ENOSYS ? 7 : 1;
        }"#;
    if let Some(program) = compile(&directory, "rsocket", source, &[]) {
        assert_eq!(status(&mut run(&[program])), Some(7));
    }
}

// --- What the program gets --------------------------------------------------------------------------

#[test]
fn options_become_variables() {
    let directory = Directory::new("variables");
    let mut command = run(&[
        "--trace",
        "t.%p",
        "--fail",
        "ibv_reg_mr:2:enomem",
        "--fail",
        "any:7",
    ]);
    command.args([
        "--caps",
        "flush,odp",
        "--mr-eopnotsupp",
        "--leaks",
        "--strict",
    ]);
    command.args(["--", "env"]);
    let variables = stdout(command.current_dir(&directory.0));
    let has = |line: &str| {
        assert!(
            variables.lines().any(|l| l == line),
            "{line} not in {variables}"
        )
    };
    has(&format!(
        "SOFTRDMA_TRACE={}",
        directory.join("t.%p").display()
    ));
    has("SOFTRDMA_FAIL=ibv_reg_mr:2:ENOMEM,any:7");
    has("SOFTRDMA_CAPS=odp,flush");
    has("SOFTRDMA_MR_EOPNOTSUPP=1");
    has("SOFTRDMA_LEAKS=1");
    has("SOFTRDMA_STRICT=report");
    let variables = stdout(&mut run(&["--strict=abort", "env"]));
    assert!(variables.contains("SOFTRDMA_STRICT=abort\n"), "{variables}");
}

#[test]
fn without_options_the_environment_is_kept() {
    let variables = stdout(&mut run(&["env"]));
    assert!(!variables.contains("SOFTRDMA_"), "{variables}");

    let mut command = run(&["--caps", "flush", "env"]);
    command
        .env("SOFTRDMA_CAPS", "odp")
        .env("SOFTRDMA_FAIL", "any:100");
    let variables = stdout(&mut command);
    assert!(variables.contains("SOFTRDMA_CAPS=flush\n"), "{variables}");
    assert!(variables.contains("SOFTRDMA_FAIL=any:100\n"), "{variables}");
}

#[test]
fn the_library_is_loaded_in_front_of_others() {
    let maps = stdout(&mut run(&["cat", "/proc/self/maps"]));
    assert!(
        maps.contains(library().file_name().unwrap().to_str().unwrap()),
        "{maps}"
    );

    let other = "/nonexistent/other.so";
    let preload = stdout(run(&["sh", "-c", "echo $LD_PRELOAD"]).env("LD_PRELOAD", other));
    let (first, rest) = preload.trim().split_once(':').unwrap();
    assert!(first.ends_with("/libsoftrdma.so"), "{preload}");
    assert_eq!(rest, other);
}

#[test]
fn the_program_replaces_the_launcher() {
    let child = run(&["sh", "-c", "echo $$"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{id}\n"));

    let status = run(&["sh", "-c", "exit 7"]).status().unwrap();
    assert_eq!(status.code(), Some(7));
    let status = run(&["sh", "-c", "kill -9 $$"]).status().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGKILL));
}

#[test]
fn sigpipe_is_ignored_only_if_it_was_before() {
    // Rust programs ignore SIGPIPE; the program must not, unless it was ignored before.
    let status = run(&["sh", "-c", "kill -PIPE $$; echo alive"])
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(libc::SIGPIPE));

    let script = "trap '' PIPE; exec \"$0\" run -- sh -c 'kill -PIPE $$; echo alive'";
    let output = stdout(softrdma("sh").args(["-c", script, LAUNCHER]));
    assert_eq!(output, "alive\n");
}

#[test]
fn arguments_arrive_as_they_are() {
    let strange = OsString::from_vec(b"\xff\n\"' *".to_vec());
    let mut command = run(&["--", "printf", "<%s>", "a b", "", "-n", "--trace", "--"]);
    let output = command.arg(&strange).output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"<a b><><-n><--trace><--><\xff\n\"' *>");
    assert_eq!(stdout(&mut run(&["printf", "%s", "--trace"])), "--trace");
}

#[test]
fn a_trace_file_is_emptied_first() {
    let directory = Directory::new("emptied");
    let trace = directory.file("trace", "of an earlier run\n", 0o644);
    stdout(run(&["--trace", "trace", "true"]).current_dir(&directory.0));
    assert_eq!(fs::read(&trace).unwrap(), b"");
    // What is not a regular file is left alone, and opening it does not block.
    stdout(&mut run(&["--trace", "/dev/null", "true"]));
    // A program that makes no call leaves no file behind.
    stdout(run(&["--trace", "t.%p", "true"]).current_dir(&directory.0));
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
}

#[test]
fn a_trace_on_standard_output_is_in_order_with_the_programs_output() {
    let directory = Directory::new("stdout");
    let source = r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <stdio.h>
        int main(void)
        {
            void *(*create)(void) = (void *(*)(void))dlsym(RTLD_DEFAULT, "rdma_create_event_channel");
            puts("before");
            fflush(stdout);
            create();
            puts("after");
            return 0;
        }"#;
    let Some(program) = compile(&directory, "channel", source, &[]) else {
        return;
    };
    let log = directory.file("log", "", 0o644);
    let mut output = fs::File::create(&log).unwrap();
    output.write_all(b"first\n").unwrap();
    let mut command = run(&["--trace", "/dev/stdout"]);
    let status = command.arg(program).stdout(output).status().unwrap();
    assert!(status.success());
    assert_eq!(
        fs::read_to_string(&log).unwrap(),
        "first\nbefore\nrdma_create_event_channel() = ok (event_channel=#1)\nafter\n"
    );
}

#[test]
fn an_incomplete_trace_is_reported_once() {
    let directory = Directory::new("incomplete");
    let source = r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        int main(void)
        {
            void *(*create)(void) = (void *(*)(void))dlsym(RTLD_DEFAULT, "rdma_create_event_channel");
            create();
            create();
            return 0;
        }"#;
    if let Some(program) = compile(&directory, "channel", source, &[]) {
        let mut command = run(&["--trace", "/dev/full"]);
        let output = command.arg(program).output().unwrap();
        assert!(output.status.success());
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.contains("not complete"), "{message}");
    }
}

#[test]
fn a_trace_file_that_cannot_be_written_is_refused() {
    let directory = Directory::new("unwritable");
    for name in ["nowhere/trace", "nowhere/trace.%p", "."] {
        let mut command = run(&["--trace", name, "echo", "started"]);
        let output = refused(
            command.current_dir(&directory.0),
            125,
            &["trace file", name],
        );
        assert_eq!(output.stdout, b"");
    }
}

// --- Which program ---------------------------------------------------------------------------------

#[test]
fn a_program_is_found_as_a_shell_finds_it() {
    let directory = Directory::new("found");
    directory.file("not-executable", "", 0o644);
    fs::create_dir(directory.join("directory")).unwrap();
    fs::create_dir(directory.join("bin")).unwrap();
    directory.file("bin/tool", "#!/bin/sh\necho tool\n", 0o755);
    directory.file("tool", "in the way", 0o644);
    let at = |arguments: &[&str]| {
        let mut command = run(arguments);
        command.current_dir(&directory.0);
        command.env(
            "PATH",
            format!("{}:bin:/bin:/usr/bin", directory.0.display()),
        );
        command
    };
    refused(&mut at(&["nonexistent"]), 127, &["nonexistent", "PATH"]);
    refused(&mut at(&["./nonexistent"]), 127, &["No such file"]);
    refused(&mut at(&[""]), 127, &["empty"]);
    refused(&mut at(&["tool/x"]), 127, &["Not a directory"]);
    refused(&mut at(&["./not-executable"]), 126, &["Permission denied"]);
    refused(&mut at(&["not-executable"]), 126, &["Permission denied"]);
    refused(&mut at(&["./directory"]), 126, &["directory"]);
    refused(&mut at(&["/dev/null"]), 126, &["not a file"]);
    assert_eq!(stdout(&mut at(&["tool"])), "tool\n");
}

#[test]
fn scripts_run_in_their_interpreter() {
    let directory = Directory::new("scripts");
    let has = "case $LD_PRELOAD in *libsoftrdma.so*) echo yes;; esac\n";
    let program = |name: &str, head: &str| directory.file(name, &format!("{head}{has}"), 0o755);
    assert_eq!(
        stdout(&mut run(&[program("plain", "#!/bin/sh\n")])),
        "yes\n"
    );
    assert_eq!(
        stdout(&mut run(&[program("blanks", "#! \t/bin/sh -e\n")])),
        "yes\n"
    );
    assert_eq!(stdout(&mut run(&[program("none", "")])), "yes\n");
    let chain = format!("#!{}\n", directory.join("plain").display());
    assert_eq!(stdout(&mut run(&[program("chain", &chain)])), "yes\n");

    let script = program("missing", "#!/nonexistent/interpreter\n");
    refused(&mut run(&[script]), 126, &["/nonexistent/interpreter"]);
    let script = program("empty", "#!\n");
    refused(&mut run(&[script]), 126, &["interpreter"]);
    let itself = directory.join("itself");
    let script = program("itself", &format!("#!{}\n", itself.display()));
    refused(&mut run(&[script]), 126, &["too many"]);
    let data = directory.file("data", "\u{1}\u{0}\u{0}data", 0o755);
    refused(&mut run(&[data]), 126, &["neither"]);
}

const DO_NOTHING: &str = "int main(void)\n{\n\treturn 0;\n}\n";

#[test]
fn a_static_program_is_refused() {
    let directory = Directory::new("static");
    for option in ["-static", "-static-pie"] {
        let Some(program) = compile(
            &directory,
            &format!("program{option}"),
            DO_NOTHING,
            &[option],
        ) else {
            continue;
        };
        refused(
            &mut run(&[&program]),
            121,
            &["is statically linked: softrdma can", option],
        );
        let script = format!("#!{}\n", program.display());
        let script = directory.file("script", &script, 0o755);
        refused(&mut run(&[script]), 121, &["statically linked", option]);
    }
}

/// A program with this text in its constants, as one with a static libibverbs or librdmacm has.
fn with_text(text: &str) -> String {
    format!(
        "#include <stdio.h>\nint main(int argc, char *argv[])\n{{\n\t(void)argv;\n\t\
         return argc > 5 ? puts(\"{text}\") : 0;\n}}\n"
    )
}

#[test]
fn a_program_with_a_static_libibverbs_or_librdmacm_is_named() {
    let directory = Directory::new("static-verbs");
    let of_libibverbs = "libibverbs: Warning: no userspace device-specific driver found for %s\\n";
    let of_librdmacm =
        "librdmacm: Warning: discarding unmatched event - rdma_destroy_id may hang.\\n";
    let not_of_it = "libibverbs: Warning: no device";
    // Far into the file, and across the end of a piece that is read at once.
    let behind = |length| format!("{}{of_libibverbs}", "x".repeat(length));
    for (name, text, options, library) in [
        ("first", of_libibverbs.to_owned(), &["-s"][..], "libibverbs"),
        ("second", of_librdmacm.to_owned(), &["-s"], "librdmacm"),
        (
            "fully",
            of_libibverbs.to_owned(),
            &["-static"],
            "libibverbs",
        ),
        ("behind", behind(300_000), &[], "libibverbs"),
        ("across", behind((1 << 18) - 50), &[], "libibverbs"),
    ] {
        if let Some(program) = compile(&directory, name, &with_text(&text), options) {
            let linked = format!("is statically linked with {library}: softrdma can");
            refused(&mut run(&[&program]), 121, &[name, &linked]);
        }
    }
    if let Some(program) = compile(&directory, "other", &with_text(not_of_it), &[]) {
        stdout(&mut run(&[&program]));
    }
    // The launcher searches for these messages, and must not find them in itself.
    stdout(&mut run(&[LAUNCHER, "run", "true"]));
}

#[test]
fn a_program_is_refused_with_the_real_static_libibverbs_and_not_with_the_shared_one() {
    let directory = Directory::new("real-static-verbs");
    let source = r#"
        #include <infiniband/verbs.h>
        int main(void)
        {
            int count = 0;
            return ibv_get_device_list(&count) != 0 && count == 1 ? 0 : 1;
        }"#;
    if let Some(program) = compile(&directory, "shared", source, &["-libverbs"]) {
        stdout(&mut run(&[&program]));
    }
    // libibverbs itself is linked statically, its providers and their libraries as pkg-config lists them.
    let libs = Command::new("pkg-config")
        .args(["--static", "--libs", "libibverbs"])
        .output();
    let Some(libs) = libs.ok().filter(|output| output.status.success()) else {
        return skip("a static libibverbs", "pkg-config does not know libibverbs");
    };
    let libs = String::from_utf8(libs.stdout).unwrap();
    let mut options = vec!["-Wl,-Bstatic", "-libverbs", "-Wl,-Bdynamic"];
    options.extend(libs.split_whitespace().filter(|lib| *lib != "-libverbs"));
    if let Some(program) = compile(&directory, "static", source, &options) {
        refused(
            &mut run(&[&program]),
            121,
            &["statically linked with libibverbs"],
        );
    }
}

#[test]
fn a_dynamic_program_and_the_loader_itself_run() {
    let directory = Directory::new("dynamic");
    for option in ["-no-pie", "-pie"] {
        if let Some(program) = compile(
            &directory,
            &format!("program{option}"),
            DO_NOTHING,
            &[option],
        ) {
            stdout(&mut run(&[&program]));
        }
    }
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    if loader.exists() && cfg!(target_arch = "x86_64") {
        let preload = stdout(run(&[loader]).args(["/bin/sh", "-c", "cat /proc/self/maps"]));
        assert!(preload.contains("libsoftrdma.so"), "{preload}");
    } else {
        skip("the loader as a program", "not known by its name here");
    }
}

/// A copy of a program, with some bytes changed.
fn patched(directory: &Directory, name: &str, at: u64, bytes: &[u8]) -> PathBuf {
    let path = directory.copy("/bin/true", name);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(bytes, at).unwrap();
    path
}

#[test]
fn a_program_for_another_processor_is_refused() {
    let directory = Directory::new("processor");
    let s390x = patched(&directory, "s390x", 18, &[22, 0]);
    refused(&mut run(&[s390x]), 123, &["s390x"]);
    let big_endian = patched(&directory, "big-endian", 5, &[2]);
    refused(&mut run(&[big_endian]), 123, &["is for"]);
    let class = patched(
        &directory,
        "class",
        4,
        &[if cfg!(target_pointer_width = "64") {
            1
        } else {
            2
        }],
    );
    refused(&mut run(&[class]), 123, &["is for"]);
}

#[test]
fn a_broken_program_is_refused() {
    let directory = Directory::new("broken");
    let object = patched(&directory, "object", 16, &[1, 0]);
    refused(&mut run(&[object]), 126, &["not a program"]);
    let far = patched(&directory, "far", 32, &[0xff; 8]);
    refused(&mut run(&[far]), 126, &["invalid ELF file"]);
    let whole = fs::read("/bin/true").unwrap();
    for length in [4, 15, 16, 40, 63, 64, 80, 200, 900] {
        let path = directory.join(format!("first-{length}"));
        fs::write(&path, &whole[..length]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        refused(&mut run(&[path]), 126, &["invalid ELF file"]);
    }
}

#[test]
fn a_program_for_another_c_library_is_refused() {
    let directory = Directory::new("libc");
    let loader = directory.copy("/bin/true", "ld-other.so.1");
    let option = format!("-Wl,--dynamic-linker={}", loader.display());
    if let Some(program) = compile(&directory, "other", DO_NOTHING, &[&option]) {
        refused(
            &mut run(&[&program]),
            121,
            &["another C library", "ld-other.so.1"],
        );
        fs::remove_file(loader).unwrap();
        refused(&mut run(&[&program]), 126, &["its dynamic loader"]);
    }
}

#[test]
fn a_program_that_gains_privileges_is_refused() {
    if !is_root() {
        let programs = [
            "/usr/bin/su",
            "/usr/bin/passwd",
            "/usr/bin/mount",
            "/usr/bin/chsh",
        ];
        let set_user_id = |path: &&&str| {
            fs::metadata(path).is_ok_and(|file| file.mode() & libc::S_ISUID != 0 && file.uid() == 0)
        };
        match programs.iter().find(set_user_id) {
            Some(program) => {
                refused(&mut run(&[program]), 122, &["set-user-ID"]);
            }
            None => skip("set-user-ID", "not root, and there is no such program"),
        }
        return;
    }
    let directory = Directory::new("privileges");
    let launcher = directory.copy(LAUNCHER, "bin/softrdma");
    directory.copy(library(), "bin/libsoftrdma.so");
    let as_nobody = |program: &Path| {
        let mut command = softrdma(&launcher);
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        command.arg("run").arg(program);
        command
    };
    let with_mode = |name: &str, mode| {
        let path = directory.copy("/bin/true", name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let user = with_mode("user", 0o4755);
    refused(&mut as_nobody(&user), 122, &["set-user-ID"]);
    let group = with_mode("group", 0o2755);
    refused(&mut as_nobody(&group), 122, &["set-group-ID"]);
    let script = directory.file("script", &format!("#!{}\n", user.display()), 0o755);
    refused(&mut as_nobody(&script), 122, &["set-user-ID"]);
    // These gain no privileges.
    stdout(&mut run(&[&user]));
    stdout(&mut run(&[&group]));
    stdout(&mut as_nobody(&with_mode("plain", 0o755)));
    stdout(&mut as_nobody(&directory.file(
        "script",
        "#!/bin/sh\n",
        0o4755,
    )));

    let capable = with_mode("capable", 0o755);
    let set = Command::new("setcap")
        .arg("cap_net_raw+ep")
        .arg(&capable)
        .status();
    if set.is_ok_and(|status| status.success()) {
        refused(&mut as_nobody(&capable), 122, &["setcap"]);
    } else {
        skip("file capabilities", "setcap does not work here");
    }
}

// --- Which library ---------------------------------------------------------------------------------

#[test]
fn the_library_is_found_beside_the_launcher() {
    let multiarch = format!(
        "lib/{}-linux-gnu/softrdma/libsoftrdma.so",
        env::consts::ARCH
    );
    for (test, library_name) in [
        ("bin/libsoftrdma.so", "beside"),
        ("bin/deps/libsoftrdma.so", "deps"),
        ("lib/libsoftrdma.so", "lib"),
        ("lib/softrdma/libsoftrdma.so", "private"),
        ("lib64/softrdma/libsoftrdma.so", "lib64"),
        (&multiarch, "multiarch"),
    ]
    .map(|(name, test)| (test, name))
    {
        let directory = Directory::new(test);
        let launcher = directory.copy(LAUNCHER, "bin/softrdma");
        let there = directory.copy(library(), library_name);
        let print = ["run", "sh", "-c", "echo $LD_PRELOAD"];
        let preload = stdout(softrdma(&launcher).args(print));
        assert_eq!(Path::new(preload.trim()), there);
        // The launcher may be called through a symbolic link.
        let link = directory.join("link");
        symlink(&launcher, &link).unwrap();
        assert_eq!(stdout(softrdma(&link).args(print)), preload);
    }
}

/// The library that cargo links has the functions without their versions.
#[test]
fn a_library_without_the_versions_stands_under_no_other_name() {
    let directory = Directory::new("names");
    let launcher = directory.copy(LAUNCHER, "bin/softrdma");
    directory.copy(library(), "lib/libsoftrdma.so");
    let names = directory.join("lib/sonames");
    fs::create_dir(&names).unwrap();
    for name in ["libibverbs.so.1", "librdmacm.so.1"] {
        symlink("../libsoftrdma.so", names.join(name)).unwrap();
    }
    let output = softrdma(&launcher)
        .args(["run", "sh", "-c", "echo $LD_LIBRARY_PATH"])
        .env("LD_LIBRARY_PATH", "/other")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("libibverbs.so.1 of this machine has a function"),
        "{errors}"
    );
    assert_eq!(output.stdout, b"/other\n");
}

#[test]
fn a_library_that_cannot_be_used_is_refused() {
    let directory = Directory::new("library");
    let launcher = directory.copy(LAUNCHER, "bin/softrdma");
    let words = ["libsoftrdma.so was not found", "SOFTRDMA_LIBRARY"];
    refused(softrdma(&launcher).args(["run", "true"]), 120, &words);

    let named = |path: &Path| {
        let mut command = run(&["sh", "-c", "echo $LD_PRELOAD"]);
        command.env("SOFTRDMA_LIBRARY", path);
        command
    };
    refused(
        &mut named(Path::new("/nonexistent/libsoftrdma.so")),
        120,
        &["SOFTRDMA_LIBRARY", "No such file"],
    );
    let text = directory.file(
        "text",
        "no library, but a text that is longer than a header",
        0o755,
    );
    refused(&mut named(&text), 120, &["not an ELF file"]);
    let object = patched(&directory, "object", 16, &[1, 0]);
    refused(&mut named(&object), 120, &["not a shared library"]);
    let spaced = directory.copy(library(), "with space.so");
    refused(&mut named(&spaced), 120, &["space"]);
    let other = directory.copy(library(), "other.so");
    assert_eq!(Path::new(stdout(&mut named(&other)).trim()), other);
    let relative = stdout(named(Path::new("other.so")).current_dir(&directory.0));
    assert_eq!(Path::new(relative.trim()), other);
}

#[test]
fn a_library_for_another_processor_is_refused() {
    let directory = Directory::new("mismatch");
    let library = directory.copy(library(), "libsoftrdma.so");
    let file = fs::File::options().write(true).open(&library).unwrap();
    file.write_all_at(&[22, 0], 18).unwrap();
    refused(
        run(&["true"]).env("SOFTRDMA_LIBRARY", library),
        123,
        &["softrdma is for s390x"],
    );
}
