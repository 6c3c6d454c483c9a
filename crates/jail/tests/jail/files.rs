//! File access of a confined program.

use std::{fs, os::unix::fs::symlink};

use reelmill_jail::Mode;

use crate::support::{SECRET, Task, stderr};

const READ: &str = "open(sys.argv[1]).read()";
const WRITE: &str = "open(sys.argv[1], 'w').write('changed')";

#[test]
fn scratch_folder_allows_ordinary_file_operations() {
    let task = Task::new();
    let script = "import os\n\
                  open('one', 'w').write('1')\n\
                  open('one', 'a').write('23')\n\
                  os.truncate('one', 2)\n\
                  os.mkdir('folder')\n\
                  os.rename('one', 'folder/two')\n\
                  print(open('folder/two').read(), os.listdir('folder'), os.stat('folder/two').st_size)\n\
                  os.remove('folder/two')\n\
                  os.rmdir('folder')\n\
                  open('/dev/null', 'w').write('x')\n\
                  open('/dev/urandom', 'rb').read(1)\n";
    assert_eq!(task.python(script, &[]), "12 ['two'] 2");
    assert_eq!(fs::read_dir(&task.scratch).expect("read").count(), 0);
}

#[test]
fn read_outside_confinement_is_denied() {
    let task = Task::new();
    let other = Task::new();
    fs::write(other.scratch.join("source.mp4"), SECRET).expect("written");
    let link = task.scratch.join("link");
    symlink(task.canary(), &link).expect("linked");
    let paths = [
        task.canary(),
        link,
        "../canary".into(),
        other.scratch.join("source.mp4"),
        format!("/proc/self/root{}", task.canary().display()).into(),
        "/etc/passwd".into(),
        "/proc/1/status".into(),
        "/proc/self/environ".into(),
        "/dev/kmsg".into(),
    ];
    for path in paths {
        let path = path.to_str().expect("UTF-8");
        assert_eq!(task.attempt(READ, &[path]), "EACCES", "{path}");
    }
}

#[test]
fn list_folder_outside_confinement_is_denied() {
    let task = Task::new();
    let other = Task::new();
    for folder in
        ["/", "..", "/tmp", "/etc", "/root", "/home", "/proc", other.scratch.to_str().expect("UTF-8")]
    {
        assert_eq!(task.attempt("os.listdir(sys.argv[1])", &[folder]), "EACCES", "{folder}");
    }
}

#[test]
fn change_outside_confinement_is_denied() {
    let task = Task::new();
    let canary = task.canary();
    let link = task.scratch.join("link");
    symlink(&canary, &link).expect("linked");
    let new = task.outside.path().join("new");
    for path in [&canary, &link, &new] {
        assert_eq!(task.attempt(WRITE, &[path.to_str().expect("UTF-8")]), "EACCES", "{path:?}");
    }
    for action in ["os.remove('../canary')", "os.truncate('../canary', 0)", "os.mkdir('../new')"] {
        assert_eq!(task.attempt(action, &[]), "EACCES", "{action}");
    }
    for action in ["os.link('../canary', 'mine')", "os.rename('../canary', 'mine')"] {
        assert!(["EACCES", "EXDEV"].contains(&task.attempt(action, &[]).as_str()), "{action}");
    }
    for action in ["os.symlink('../canary', 'mine')", "os.mkfifo('pipe')"] {
        assert_eq!(task.attempt(action, &[]), "EACCES", "{action}");
    }
    assert_eq!(fs::read_to_string(&canary).expect("unchanged"), SECRET);
    assert!(!new.exists());
}

/// Landlock does not restrict these: only the seccomp filter denies them.
#[test]
fn change_of_mode_owner_time_or_attribute_is_denied() {
    let task = Task::new();
    let before = fs::metadata(task.canary()).expect("exists");
    let actions = [
        "os.chmod('../canary', 0)",
        "os.chown('../canary', os.getuid(), os.getgid())",
        "os.utime('../canary', (0, 0))",
        "os.setxattr('../canary', 'user.mark', b'1')",
        "os.removexattr('../canary', 'user.mark')",
        "check(libc.fchmodat(-100, b'../canary', 0, 0))",
        "check(libc.syscall(452, -100, b'../canary', 0, 0))",
    ];
    for action in actions {
        assert_eq!(task.attempt(action, &[]), "EPERM", "{action}");
    }
    // setxattrat and removexattrat are newer than the deny list.
    for number in [463, 466] {
        let action = format!("check(libc.syscall({number}, -100, b'../canary', 0, b'user.mark', 0, 0))");
        assert_eq!(task.attempt(&action, &[]), "ENOSYS", "{action}");
    }
    let after = fs::metadata(task.canary()).expect("exists");
    assert_eq!(before.permissions(), after.permissions());
    assert_eq!(before.modified().expect("known"), after.modified().expect("known"));
}

#[test]
fn readable_path_can_be_read_but_not_written() {
    let mut task = Task::new();
    task.confinement.read.push(task.canary());
    let canary = task.canary();
    let canary = canary.to_str().expect("UTF-8");
    assert_eq!(task.attempt(READ, &[canary]), "done");
    assert_eq!(task.attempt(WRITE, &[canary]), "EACCES");
}

#[test]
fn write_without_writable_folder_is_denied() {
    let mut task = Task::new();
    task.confinement.write = None;
    assert_eq!(task.attempt("open('one', 'w')", &[]), "EACCES");
}

#[test]
fn start_with_missing_folder_fails() {
    let mut task = Task::new();
    task.confinement.write = Some(task.outside.path().join("gone"));
    let output = task.run("ffmpeg", &["-version"]);
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(output.stdout.is_empty() && stderr(&output).contains("gone"), "{}", stderr(&output));
}

#[test]
fn mode_off_applies_only_limits() {
    let mut task = Task::new();
    task.confinement.mode = Mode::Off;
    let canary = task.canary();
    let script = "cat \"$1\"; echo new > \"$2\"; ulimit -t; nice";
    let new = task.outside.path().join("new");
    let output =
        task.run("sh", &["-c", script, "sh", canary.to_str().expect("UTF-8"), new.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{SECRET}60\n10\n"));
    assert_eq!(fs::read_to_string(new).expect("written"), "new\n");
}
