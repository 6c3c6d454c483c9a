//! Modes on kernels that lack Landlock or seccomp, simulated by threads whose own seccomp filter hides
//! those system calls from them and from what they start.

use std::{
    process::{Command, Output},
    thread,
};

use reelmill_jail::{JailError, Mode, Support, check, support};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::support::{SECRET, Task, stderr};

const LANDLOCK: [i64; 3] =
    [libc::SYS_landlock_create_ruleset, libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self];

/// Runs `body` on a thread for which these system calls do not exist.
fn without_calls(calls: &[i64], body: impl FnOnce() + Send) {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let action = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().expect("known");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch).expect("valid");
    let program: BpfProgram = filter.try_into().expect("compiled");
    let run = || {
        apply_filter(&program).expect("applied");
        body();
    };
    thread::scope(|scope| scope.spawn(run).join().expect("passed"));
}

fn read_canary(task: &Task) -> Output {
    let canary = task.canary();
    task.python_command("import sys; print(open(sys.argv[1]).read())", &[canary.to_str().expect("UTF-8")])
        .output()
        .expect("started")
}

#[test]
fn support_on_full_kernel_returns_everything() {
    assert_eq!(support(), Support { files: true, ports: true, syscalls: true });
    assert_eq!(check(Mode::Required).expect("enough"), support());
    // The calling thread is not restricted.
    assert!(std::fs::read("/etc/passwd").is_ok());
    assert!(Command::new("true").status().expect("started").success());
}

#[test]
fn check_without_landlock_names_what_is_missing() {
    without_calls(&LANDLOCK, || {
        assert_eq!(support(), Support { files: false, ports: false, syscalls: true });
        let error = check(Mode::Required).expect_err("unsupported");
        assert!(matches!(error, JailError::Unsupported { mode: Mode::Required, .. }), "{error}");
        let text = error.to_string();
        for part in ["files", "TCP ports", "worker.jail = \"partial\"", "\"off\""] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("system calls"), "{text}");
        assert!(check(Mode::Partial).is_ok());
    });
}

#[test]
fn kernel_without_landlock_fails_required_and_runs_partial() {
    without_calls(&LANDLOCK, || {
        let mut task = Task::new();
        let output = read_canary(&task);
        assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
        assert!(output.stdout.is_empty(), "{}", stderr(&output));
        task.confinement.mode = Mode::Partial;
        let output = read_canary(&task);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), SECRET, "{}", stderr(&output));
        assert_eq!(task.attempt("os.fork()", &[]), "EPERM");
    });
}

#[test]
fn kernel_without_seccomp_fails_required_and_runs_partial() {
    without_calls(&[libc::SYS_seccomp], || {
        assert_eq!(support(), Support { files: true, ports: true, syscalls: false });
        assert!(check(Mode::Required).is_err());
        let mut task = Task::new();
        assert_eq!(read_canary(&task).status.code(), Some(125));
        task.confinement.mode = Mode::Partial;
        let output = read_canary(&task);
        assert!(stderr(&output).contains("Permission denied"), "{}", stderr(&output));
    });
}

#[test]
fn kernel_without_landlock_and_seccomp_runs_only_mode_off() {
    without_calls(&[&LANDLOCK[..], &[libc::SYS_seccomp]].concat(), || {
        assert_eq!(support(), Support::default());
        assert!(check(Mode::Partial).is_err());
        assert!(check(Mode::Off).is_ok());
        let mut task = Task::new();
        for (mode, code) in [(Mode::Required, 125), (Mode::Partial, 125), (Mode::Off, 0)] {
            task.confinement.mode = mode;
            let output = task.run("ffmpeg", &["-version"]);
            assert_eq!(output.status.code(), Some(code), "{mode}: {}", stderr(&output));
            assert_eq!(output.stdout.is_empty(), code != 0);
        }
    });
}
