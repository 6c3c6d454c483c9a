//! What a confined program can do to other processes and to the kernel.
#![cfg(target_os = "linux")]

mod common;

use common::{Task, said};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};

#[test]
fn no_children_and_no_other_program() {
    let task = Task::new();
    assert_eq!(task.attempt("os.fork()", &[]), "EPERM");
    assert_eq!(task.attempt("os.posix_spawn(sys.executable, [sys.executable], {})", &[]), "EPERM");
    for program in ["/bin/sh", "/usr/bin/env", "/bin/true"] {
        assert_eq!(task.attempt(&format!("os.execv('{program}', ['x'])"), &[]), "EACCES", "{program}");
    }
    // The C library is a program, too, in a folder that can be read.
    let library =
        "os.execv(next(line.split()[-1] for line in open('/proc/self/maps') if 'libc' in line), ['x'])";
    assert_eq!(task.attempt(library, &[]), "EACCES");
    let made = task.scratch.join("made");
    std::fs::copy("/bin/true", &made).expect("copied");
    assert_eq!(task.attempt("os.execv('made', ['x'])", &[]), "EACCES");
    assert_eq!(task.attempt("os.memfd_create('x')", &[]), "EPERM");
}

#[test]
fn threads_work() {
    let task = Task::new();
    let script = "import threading\n\
                  done = []\n\
                  threads = [threading.Thread(target=lambda: done.append(1)) for _ in range(8)]\n\
                  [thread.start() for thread in threads]\n\
                  [thread.join() for thread in threads]\n\
                  print(len(done))\n";
    assert_eq!(task.python(script, &[]), "8");
}

/// A process of this user, in a group of its own.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn others_are_neither_signalled_nor_slowed_nor_traced() {
    let task = Task::new();
    let sleep = Command::new("sleep").arg("1000").stdout(Stdio::null()).process_group(0).spawn();
    let mut other = Other(sleep.expect("started"));
    let pid = other.0.id().to_string();
    let acts = [
        "os.kill(int(sys.argv[1]), signal.SIGTERM)",
        "os.kill(-int(sys.argv[1]), signal.SIGTERM)",
        // Signal 0 asks for the permission only: without the jail these would end the whole machine's.
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
    for act in acts {
        assert_eq!(task.attempt(act, &[&pid]), "EPERM", "{act}");
    }
    assert_eq!(other.0.try_wait().expect("known"), None, "it lives");
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("read");
    assert!(!limits.contains("Max open files            0"), "{limits}");
}

#[test]
fn itself_it_may_signal_and_renice() {
    let task = Task::new();
    assert_eq!(task.attempt("os.kill(os.getpid(), 0)", &[]), "done");
    assert_eq!(task.attempt("os.setpriority(os.PRIO_PROCESS, 0, 15)", &[]), "done");
    assert_eq!(task.attempt("resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))", &[]), "done");
    assert_eq!(task.attempt("os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})", &[]), "done");
    let mut command = task.python_command("import os; os.abort()", &[]);
    let output = command.output().expect("started");
    assert_eq!(output.status.signal(), Some(6), "{}", said(&output));
}

#[test]
fn root_is_nobody_special() {
    let task = Task::new();
    let script = "print([line.split()[1] for line in open('/proc/self/status') if line[:6] in\n\
                  ('CapPrm', 'CapEff', 'NoNewP', 'Seccom')])";
    let seen = task.python(script, &[]);
    assert!(seen.starts_with("['0000000000000000', '0000000000000000', '1', '2'"), "{seen}");
    assert_eq!(task.attempt("os.setpriority(os.PRIO_PROCESS, 0, -5)", &[]), "EACCES");
    let real_time = "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))";
    assert_eq!(task.attempt(real_time, &[]), "EPERM");
}

/// Numbers of x86-64; the list is the same elsewhere.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_kernel_is_small() {
    let task = Task::new();
    let refused = [
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
    for (name, number, argument) in refused {
        assert_eq!(
            task.attempt(&format!("check(libc.syscall({number}, {argument}, 0, 0, 0, 0))"), &[]),
            "EPERM",
            "{name}"
        );
    }
    for (name, number) in [("io_uring_setup", 425), ("clone3", 435), ("mseal", 462), ("nothing yet", 999)] {
        assert_eq!(
            task.attempt(&format!("check(libc.syscall({number}, 0, 0, 0, 0))"), &[]),
            "ENOSYS",
            "{name}"
        );
    }
    let mut x32 = task.python_command("import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)", &[]);
    let output = x32.output().expect("started");
    assert_eq!(output.status.signal(), Some(31), "{}", said(&output));
}

#[test]
fn pipes_go_through() {
    let task = Task::new();
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    let script = "import os, sys; os.write(int(sys.argv[1]), b'through'); print(sys.stdin.read().upper())";
    // A descriptor that is inherited under a number of its own, as ffmpeg's `pipe:3` is: the shell has
    // no other way to keep it than to name it.
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
    let output = child.wait_with_output().expect("ended");
    assert_eq!(said(&output).trim(), "QUESTION");
}
