//! A short run of the suite: six faults of different kinds, six videos.

use std::process::Command;

/// One of each kind: a worker, a service, the database, the queue, the object store, a clock.
const FAULTS: &str =
    "kill-worker,pause-transcode,restart-postgres,queue-purged,objects-500,clock-ahead-upload";

#[test]
fn chaos_with_six_faults_loses_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_reelmill-chaos"))
        .args(["seed=3", "jobs=7", "faults=6", "seconds=25", "longest=6", "settle=90"])
        .arg(format!("only={FAULTS}"))
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let last = stdout.lines().last().unwrap_or_default();
    assert!(last.starts_with("chaos: jobs 7 ready 6 failed-own-fault 1 lost 0 "), "{stdout}");
    assert_eq!(stdout.lines().filter(|line| line.contains(" begin ")).count(), 6, "{stdout}");
}

#[test]
fn chaos_list_names_the_faults() {
    let output = Command::new(env!("CARGO_BIN_EXE_reelmill-chaos")).arg("list").output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && FAULTS.split(',').all(|name| stdout.contains(name)), "{stdout}");
}
