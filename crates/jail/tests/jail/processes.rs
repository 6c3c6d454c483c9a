//! Other processes, and the kernel, as seen by a confined program.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, Stdio},
};

use crate::support::{Task, stderr};

const SIGABRT: i32 = 6;
const SIGSYS: i32 = 31;

#[test]
fn child_process_is_denied() {
    let task = Task::new();
    assert_eq!(task.attempt("os.fork()", &[]), "EPERM");
    assert_eq!(task.attempt("os.posix_spawn(sys.executable, [sys.executable], {})", &[]), "EPERM");
}

#[test]
fn exec_of_other_program_is_denied() {
    let task = Task::new();
    for program in ["/bin/sh", "/usr/bin/env", "/bin/true"] {
        assert_eq!(task.attempt(&format!("os.execv('{program}', ['x'])"), &[]), "EACCES", "{program}");
    }
    // The C library is executable, too, and in a readable folder.
    let library =
        "os.execv(next(line.split()[-1] for line in open('/proc/self/maps') if 'libc' in line), ['x'])";
    assert_eq!(task.attempt(library, &[]), "EACCES");
    fs::copy("/bin/true", task.scratch.join("copy")).expect("copied");
    assert_eq!(task.attempt("os.execv('copy', ['x'])", &[]), "EACCES");
    assert_eq!(task.attempt("os.memfd_create('x')", &[]), "EPERM");
}

#[test]
fn thread_can_be_started() {
    let task = Task::new();
    let script = "import threading\n\
                  done = []\n\
                  threads = [threading.Thread(target=lambda: done.append(1)) for _ in range(8)]\n\
                  [thread.start() for thread in threads]\n\
                  [thread.join() for thread in threads]\n\
                  print(len(done))\n";
    assert_eq!(task.python(script, &[]), "8");
}

/// An unconfined process of the same user, in its own process group. Killed on drop.
struct OtherProcess(Child);

impl Drop for OtherProcess {
    fn drop(&mut self) {
        // An error means that it has exited.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn signal_priority_and_trace_of_other_process_are_denied() {
    let task = Task::new();
    let sleep = Command::new("sleep").arg("1000").stdout(Stdio::null()).process_group(0).spawn();
    let mut other = OtherProcess(sleep.expect("started"));
    let pid = other.0.id().to_string();
    let actions = [
        "os.kill(int(sys.argv[1]), signal.SIGTERM)",
        "os.kill(-int(sys.argv[1]), signal.SIGTERM)",
        // Signal 0 only checks permission: any other signal would end every process if not confined.
        "os.kill(0, 0)",
        "os.kill(-1, 0)",
        "signal.pidfd_send_signal(os.pidfd_open(int(sys.argv[1])), signal.SIGTERM)",
        "resource.prlimit(int(sys.argv[1]), resource.RLIMIT_NOFILE, (0, 0))",
        "os.setpriority(os.PRIO_PROCESS, int(sys.argv[1]), 19)",
        "os.setpriority(os.PRIO_PGRP, int(sys.argv[1]), 19)",
        "os.sched_setaffinity(int(sys.argv[1]), {0})",
        "fcntl.fcntl(0, fcntl.F_SETOWN, int(sys.argv[1]))",
        "check(libc.ptrace(16, int(sys.argv[1]), 0, 0))",
    ];
    for action in actions {
        assert_eq!(task.attempt(action, &[&pid]), "EPERM", "{action}");
    }
    assert_eq!(other.0.try_wait().expect("known"), None, "it still runs");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("read");
    assert!(!limits.contains("Max open files            0"), "{limits}");
}

#[test]
fn program_can_signal_renice_and_limit_itself() {
    let task = Task::new();
    assert_eq!(task.attempt("os.kill(os.getpid(), 0)", &[]), "done");
    assert_eq!(task.attempt("os.setpriority(os.PRIO_PROCESS, 0, 15)", &[]), "done");
    assert_eq!(task.attempt("resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))", &[]), "done");
    assert_eq!(task.attempt("os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})", &[]), "done");
    let output = task.python_command("import os; os.abort()", &[]).output().expect("started");
    assert_eq!(output.status.signal(), Some(SIGABRT), "{}", stderr(&output));
}

#[test]
fn root_has_no_privileges() {
    let task = Task::new();
    let script = "print([line.split()[1] for line in open('/proc/self/status') if line[:6] in\n\
                  ('CapPrm', 'CapEff', 'NoNewP', 'Seccom')])";
    let seen = task.python(script, &[]);
    assert!(seen.starts_with("['0000000000000000', '0000000000000000', '1', '2'"), "{seen}");
    assert_eq!(task.attempt("os.setpriority(os.PRIO_PROCESS, 0, -5)", &[]), "EACCES");
    let real_time = "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))";
    assert_eq!(task.attempt(real_time, &[]), "EPERM");
}

/// Call numbers of x86-64; the deny list is the same on AArch64.
#[cfg(target_arch = "x86_64")]
#[test]
fn listed_system_calls_fail_with_eperm() {
    let task = Task::new();
    let denied = [
        ("unshare", 272, 0x1000_0000),
        ("userfaultfd", 323, 0),
        ("bpf", 321, 0),
        ("perf_event_open", 298, 0),
        ("keyctl", 250, 0),
        ("personality", 135, 0x0004_0000),
        ("shmget", 29, 0),
        ("vfork", 58, 0),
        ("clone without a thread", 56, 17),
        ("inotify_init", 253, 0),
    ];
    for (name, number, argument) in denied {
        let call = format!("check(libc.syscall({number}, {argument}, 0, 0, 0, 0))");
        assert_eq!(task.attempt(&call, &[]), "EPERM", "{name}");
    }
}

/// Call numbers of x86-64.
#[cfg(target_arch = "x86_64")]
#[test]
fn hidden_and_newer_system_calls_fail_with_enosys() {
    let task = Task::new();
    for (name, number) in [("io_uring_setup", 425), ("clone3", 435), ("mseal", 462), ("not assigned", 999)] {
        let call = format!("check(libc.syscall({number}, 0, 0, 0, 0, 0))");
        assert_eq!(task.attempt(&call, &[]), "ENOSYS", "{name}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn x32_system_call_kills_the_process() {
    let task = Task::new();
    let mut x32 = task.python_command("import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)", &[]);
    let output = x32.output().expect("started");
    assert_eq!(output.status.signal(), Some(SIGSYS), "{}", stderr(&output));
}

#[test]
fn inherited_pipes_reach_the_program() {
    let task = Task::new();
    let (mut reader, writer) = io::pipe().expect("pipe");
    let script = "import os, sys; os.write(int(sys.argv[1]), b'through'); print(sys.stdin.read().upper())";
    // Inherits a descriptor with a fixed number, as ffmpeg's `pipe:3`: the shell redirects it to 7.
    let inner = task.python_command(script, &["7"]);
    let mut outer = Command::new("sh");
    outer.args(["-c", "exec 7>&1 1>&2 2>/dev/null; exec \"$@\"", "sh"]).arg(inner.get_program());
    outer.args(inner.get_args()).current_dir(&task.scratch);
    outer.stdin(Stdio::piped()).stdout(writer).stderr(Stdio::piped());
    let mut child = outer.spawn().expect("started");
    drop(outer);
    child.stdin.take().expect("piped").write_all(b"question").expect("written");
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("read");
    assert_eq!(text, "through");
    let output = child.wait_with_output().expect("exited");
    assert_eq!(stderr(&output).trim(), "QUESTION");
}
