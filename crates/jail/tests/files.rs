//! What a confined program reads, writes and changes.
#![cfg(target_os = "linux")]

mod common;

use common::{SECRET, Task, said};
use reelmill_jail::Mode;
use std::fs;
use std::os::unix::fs::symlink;

const READ: &str = "open(sys.argv[1]).read()";
const WRITE: &str = "open(sys.argv[1], 'w').write('changed')";

#[test]
fn the_scratch_folder_can_be_used_in_every_ordinary_way() {
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
fn nothing_outside_can_be_read() {
    let task = Task::new();
    let other = Task::new();
    fs::write(other.scratch.join("source.mp4"), SECRET).expect("written");
    let link = task.scratch.join("link");
    symlink(task.canary(), &link).expect("linked");
    let places = [
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
    for place in places {
        let place = place.to_str().expect("UTF-8");
        assert_eq!(task.attempt(READ, &[place]), "EACCES", "{place}");
    }
    for folder in
        ["/", "..", "/tmp", "/etc", "/root", "/home", "/proc", other.scratch.to_str().expect("UTF-8")]
    {
        assert_eq!(task.attempt("os.listdir(sys.argv[1])", &[folder]), "EACCES", "{folder}");
    }
}

#[test]
fn nothing_outside_can_be_written_made_or_removed() {
    let task = Task::new();
    let canary = task.canary();
    let link = task.scratch.join("link");
    symlink(&canary, &link).expect("linked");
    let new = task.outside.path().join("new");
    for place in [&canary, &link, &new] {
        assert_eq!(task.attempt(WRITE, &[place.to_str().expect("UTF-8")]), "EACCES", "{place:?}");
    }
    for act in ["os.remove('../canary')", "os.truncate('../canary', 0)", "os.mkdir('../new')"] {
        assert_eq!(task.attempt(act, &[]), "EACCES", "{act}");
    }
    for act in ["os.link('../canary', 'mine')", "os.rename('../canary', 'mine')"] {
        assert!(["EACCES", "EXDEV"].contains(&task.attempt(act, &[]).as_str()), "{act}");
    }
    for act in ["os.symlink('../canary', 'mine')", "os.mkfifo('pipe')"] {
        assert_eq!(task.attempt(act, &[]), "EACCES", "{act}");
    }
    assert_eq!(fs::read_to_string(&canary).expect("still there"), SECRET);
    assert!(!new.exists());
}

/// Landlock does not see these: without system calls refused, they work on every file of the user.
#[test]
fn modes_owners_times_and_attributes_change_nowhere() {
    let task = Task::new();
    let before = fs::metadata(task.canary()).expect("there");
    let acts = [
        "os.chmod('../canary', 0)",
        "os.chown('../canary', os.getuid(), os.getgid())",
        "os.utime('../canary', (0, 0))",
        "os.setxattr('../canary', 'user.mark', b'1')",
        "os.removexattr('../canary', 'user.mark')",
        "check(libc.fchmodat(-100, b'../canary', 0, 0))",
        "check(libc.syscall(452, -100, b'../canary', 0, 0))",
    ];
    for act in acts {
        assert_eq!(task.attempt(act, &[]), "EPERM", "{act}");
    }
    // setxattrat and removexattrat are newer than the list.
    for number in [463, 466] {
        let act = format!("check(libc.syscall({number}, -100, b'../canary', 0, b'user.mark', 0, 0))");
        assert_eq!(task.attempt(&act, &[]), "ENOSYS", "{act}");
    }
    let after = fs::metadata(task.canary()).expect("there");
    assert_eq!(before.permissions(), after.permissions());
    assert_eq!(before.modified().expect("known"), after.modified().expect("known"));
}

#[test]
fn what_is_named_as_readable_can_be_read_and_not_written() {
    let mut task = Task::new();
    task.confinement.read.push(task.canary());
    let canary = task.canary();
    let canary = canary.to_str().expect("UTF-8");
    assert_eq!(task.attempt(READ, &[canary]), "done");
    assert_eq!(task.attempt(WRITE, &[canary]), "EACCES");
}

#[test]
fn without_a_folder_nothing_is_written() {
    let mut task = Task::new();
    task.confinement.write = None;
    assert_eq!(task.attempt("open('one', 'w')", &[]), "EACCES");
}

#[test]
fn a_folder_that_is_not_there_stops_the_start() {
    let mut task = Task::new();
    task.confinement.write = Some(task.outside.path().join("gone"));
    let output = task.run("ffmpeg", &["-version"]);
    assert_eq!(output.status.code(), Some(125), "{}", said(&output));
    assert!(output.stdout.is_empty() && said(&output).contains("gone"), "{}", said(&output));
}

#[test]
fn switched_off_it_restricts_nothing_but_limits() {
    let mut task = Task::new();
    task.confinement.mode = Mode::Off;
    let canary = task.canary();
    let script = "cat \"$1\"; echo there > \"$2\"; ulimit -t; nice";
    let new = task.outside.path().join("new");
    let output =
        task.run("sh", &["-c", script, "sh", canary.to_str().expect("UTF-8"), new.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{SECRET}60\n10\n"));
    assert_eq!(fs::read_to_string(new).expect("written"), "there\n");
}
