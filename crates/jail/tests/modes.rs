//! What happens on kernels that have less. They are played by this process's own threads, which take
//! Landlock or seccomp away from themselves and from what they start.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod common;

use common::{SECRET, Task, said};
use reelmill_jail::{JailError, Mode, Support, check, support};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use std::thread;

const LANDLOCK: [i64; 3] =
    [libc::SYS_landlock_create_ruleset, libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self];

/// Runs `body` where the kernel does not have these calls.
fn without(calls: &[i64], body: impl FnOnce() + Send) {
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

fn read_canary(task: &Task) -> std::process::Output {
    let canary = task.canary();
    task.python_command("import sys; print(open(sys.argv[1]).read())", &[canary.to_str().expect("UTF-8")])
        .output()
        .expect("started")
}

#[test]
fn this_kernel_confines_all() {
    assert_eq!(support(), Support { files: true, ports: true, calls: true });
    assert_eq!(check(Mode::Required).expect("enough"), support());
    // Asking has cost this thread nothing.
    assert!(std::fs::read("/etc/passwd").is_ok());
    assert!(std::process::Command::new("true").status().expect("started").success());
}

#[test]
fn without_landlock_it_must_be_accepted() {
    without(&LANDLOCK, || {
        assert_eq!(support(), Support { files: false, ports: false, calls: true });
        let error = check(Mode::Required).expect_err("too little");
        assert!(matches!(error, JailError::Unsupported { mode: Mode::Required, .. }), "{error}");
        let text = error.to_string();
        for part in ["files", "TCP ports", "worker.jail = \"partial\"", "\"off\""] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("system calls"), "{text}");
        assert!(check(Mode::Partial).is_ok());

        let mut task = Task::new();
        let output = read_canary(&task);
        assert_eq!(output.status.code(), Some(125), "{}", said(&output));
        assert!(output.stdout.is_empty(), "{}", said(&output));
        task.confinement.mode = Mode::Partial;
        let output = read_canary(&task);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), SECRET, "{}", said(&output));
        assert_eq!(task.attempt("os.fork()", &[]), "EPERM");
    });
}

#[test]
fn without_seccomp_it_must_be_accepted() {
    without(&[libc::SYS_seccomp], || {
        assert_eq!(support(), Support { files: true, ports: true, calls: false });
        assert!(check(Mode::Required).is_err());
        let mut task = Task::new();
        assert_eq!(read_canary(&task).status.code(), Some(125));
        task.confinement.mode = Mode::Partial;
        let output = read_canary(&task);
        assert!(said(&output).contains("Permission denied"), "{}", said(&output));
    });
}

#[test]
fn with_neither_nothing_starts_but_what_is_switched_off() {
    without(&[&LANDLOCK[..], &[libc::SYS_seccomp]].concat(), || {
        assert_eq!(support(), Support::default());
        assert!(check(Mode::Partial).is_err());
        assert!(check(Mode::Off).is_ok());
        let mut task = Task::new();
        for (mode, code) in [(Mode::Required, 125), (Mode::Partial, 125), (Mode::Off, 0)] {
            task.confinement.mode = mode;
            let output = task.run("ffmpeg", &["-version"]);
            assert_eq!(output.status.code(), Some(code), "{mode}: {}", said(&output));
            assert_eq!(output.stdout.is_empty(), code != 0);
        }
    });
}

#[test]
fn a_mode_reads_as_it_is_written() {
    for mode in [Mode::Required, Mode::Partial, Mode::Off] {
        assert_eq!(mode.to_string().parse::<Mode>().expect("read"), mode);
    }
    assert!("Required".parse::<Mode>().is_err());
}
