//! Limits that bite, and helpers that do not start what they should not.
#![cfg(target_os = "linux")]

mod common;

use common::{Task, encode, said};
use reelmill_jail::Mode;
use std::os::unix::process::ExitStatusExt;

const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

#[test]
fn cpu_time_ends() {
    let mut task = Task::new();
    task.confinement.limits.cpu_seconds = 1;
    let output = task.python_command("while True: pass", &[]).output().expect("started");
    assert_eq!(output.status.signal(), Some(SIGXCPU), "{}", said(&output));
}

#[test]
fn memory_ends() {
    let mut task = Task::new();
    task.confinement.limits.memory_bytes = 512 << 20;
    let script = "try:\n\x20   bytearray(1 << 30)\n\x20   print('got it')\nexcept MemoryError:\n\x20   print('none left')";
    assert_eq!(task.python(script, &[]), "none left");
    task.confinement.limits.memory_bytes = 4 << 30;
    assert_eq!(task.python(script, &[]), "got it");
}

#[test]
fn files_end() {
    let mut task = Task::new();
    task.confinement.limits.file_bytes = 100_000;
    let output = task.run("ffmpeg", &encode(&["-c:v", "rawvideo"], "100", "large.mkv"));
    // ffmpeg may ignore the signal and see the error.
    let ended = output.status.signal() == Some(SIGXFSZ) || said(&output).contains("File too large");
    assert!(ended && !output.status.success(), "{}: {}", output.status, said(&output));
    let size = task.scratch.join("large.mkv").metadata().expect("there").len();
    assert!((1..=100_000).contains(&size), "{size}");
}

#[test]
fn open_files_end() {
    let mut task = Task::new();
    task.confinement.limits.open_files = 16;
    let script = "import os\n\
                  try:\n\
                  \x20   print([os.dup(0) for _ in range(16)])\n\
                  except OSError as error:\n\
                  \x20   print(error.errno)\n";
    assert_eq!(task.python(script, &[]), "24");
}

#[test]
fn it_is_nice_and_leaves_no_core() {
    let task = Task::new();
    let script = "import os, resource; print(os.nice(0), resource.getrlimit(resource.RLIMIT_CORE),\
                  resource.getrlimit(resource.RLIMIT_CPU))";
    assert_eq!(task.python(script, &[]), "10 (1, 1) (60, 70)");
}

/// A limit that is there already is not raised, even by root.
#[test]
fn a_lower_limit_stays() {
    let task = Task::new();
    let inner =
        task.python_command("import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))", &[]);
    let mut outer = std::process::Command::new("sh");
    outer.args(["-c", "ulimit -n 100; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    let output = outer.current_dir(&task.scratch).output().expect("started");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "(100, 100)", "{}", said(&output));
}

#[test]
fn what_cannot_be_started_is_told() {
    let mut task = Task::new();
    let line = |text: &str| text.starts_with("reelmill-jail: ") && text.lines().count() == 1;
    // A script, which would need a shell.
    let script = task.scratch.join("script");
    std::fs::write(&script, "#!/bin/sh\necho ran\n").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("set");
    for mode in [Mode::Required, Mode::Partial, Mode::Off] {
        task.confinement.mode = mode;
        // Relative paths lead into the folder of hostile files, even if something is there.
        for absent in ["reelmill-no-such-program", "./script", "folder/script", "/reelmill/none", "/tmp"] {
            let output = task.run(absent, &[]);
            assert_eq!(output.status.code(), Some(127), "{mode} {absent}: {}", said(&output));
            assert!(line(&said(&output)) && output.stdout.is_empty(), "{}", said(&output));
        }
    }
    task.confinement.mode = Mode::Required;
    let output = task.run(script.to_str().expect("UTF-8"), &[]);
    assert_eq!(output.status.code(), Some(125), "{}", said(&output));
    assert!(line(&said(&output)) && said(&output).contains("ELF"), "{}", said(&output));
    let bare = std::process::Command::new(env!("CARGO_BIN_EXE_reelmill-jail")).output().expect("started");
    assert_eq!(bare.status.code(), Some(125));
    assert!(line(&said(&bare)), "{}", said(&bare));
}
