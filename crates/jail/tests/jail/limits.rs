//! Resource limits, and programs that the helper refuses to start.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::PathBuf,
    process::Command,
};

use reelmill_jail::Mode;

use crate::support::{Task, encode, stderr};

const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

#[test]
fn program_over_cpu_limit_is_killed() {
    let mut task = Task::new();
    task.confinement.limits.cpu_seconds = 1;
    let output = task.python_command("while True: pass", &[]).output().expect("started");
    assert_eq!(output.status.signal(), Some(SIGXCPU), "{}", stderr(&output));
}

#[test]
fn allocation_over_memory_limit_fails() {
    let mut task = Task::new();
    task.confinement.limits.memory_bytes = 512 << 20;
    let script = "try:\n\x20   bytearray(1 << 30)\n\x20   print('allocated')\nexcept MemoryError:\n\x20   print('failed')";
    assert_eq!(task.python(script, &[]), "failed");
    task.confinement.limits.memory_bytes = 4 << 30;
    assert_eq!(task.python(script, &[]), "allocated");
}

#[test]
fn write_over_file_size_limit_fails() {
    let mut task = Task::new();
    task.confinement.limits.file_bytes = 100_000;
    let output = task.run("ffmpeg", &encode(&["-c:v", "rawvideo"], "100", "large.mkv"));
    // ffmpeg may ignore the signal and see the error.
    let failed = output.status.signal() == Some(SIGXFSZ) || stderr(&output).contains("File too large");
    assert!(failed && !output.status.success(), "{}: {}", output.status, stderr(&output));
    let size = task.scratch.join("large.mkv").metadata().expect("exists").len();
    assert!((1..=100_000).contains(&size), "{size}");
}

#[test]
fn open_over_open_files_limit_fails() {
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
fn limits_of_program_include_niceness_and_no_core_dump() {
    let task = Task::new();
    let script = "import os, resource; print(os.nice(0), resource.getrlimit(resource.RLIMIT_CORE),\
                  resource.getrlimit(resource.RLIMIT_CPU))";
    assert_eq!(task.python(script, &[]), "10 (1, 1) (60, 70)");
}

/// An existing limit is not raised, even by root.
#[test]
fn lower_existing_limit_is_kept() {
    let task = Task::new();
    let inner =
        task.python_command("import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))", &[]);
    let mut outer = Command::new("sh");
    outer.args(["-c", "ulimit -n 100; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    let output = outer.current_dir(&task.scratch).output().expect("started");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "(100, 100)", "{}", stderr(&output));
}

/// The helper reports an error as one line.
fn is_error_line(text: &str) -> bool {
    text.starts_with("reelmill-jail: ") && text.lines().count() == 1
}

/// Writes an executable shell script into the scratch folder.
fn write_script(task: &Task) -> PathBuf {
    let script = task.scratch.join("script");
    fs::write(&script, "#!/bin/sh\necho ran\n").expect("written");
    fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("set");
    script
}

/// Relative paths would lead into the folder of hostile files, so they are not found even if they exist.
#[test]
fn start_of_unknown_program_or_relative_path_returns_not_found() {
    let mut task = Task::new();
    write_script(&task);
    for mode in [Mode::Required, Mode::Partial, Mode::Off] {
        task.confinement.mode = mode;
        for absent in ["reelmill-no-such-program", "./script", "folder/script", "/reelmill/none", "/tmp"] {
            let output = task.run(absent, &[]);
            assert_eq!(output.status.code(), Some(127), "{mode} {absent}: {}", stderr(&output));
            assert!(is_error_line(&stderr(&output)) && output.stdout.is_empty(), "{}", stderr(&output));
        }
    }
}

/// A script would need a shell.
#[test]
fn start_of_script_returns_error() {
    let task = Task::new();
    let script = write_script(&task);
    let output = task.run(script.to_str().expect("UTF-8"), &[]);
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(is_error_line(&stderr(&output)) && stderr(&output).contains("ELF"), "{}", stderr(&output));
}

#[test]
fn start_without_arguments_returns_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_reelmill-jail")).output().expect("started");
    assert_eq!(output.status.code(), Some(125));
    assert!(is_error_line(&stderr(&output)), "{}", stderr(&output));
}
