//! Short runs of the suite: seven videos and six faults of different kinds; two long videos and failing encoders.

use std::process::Command;

/// One of each kind: a worker, a service, the database, the queue, the object store, a clock.
const FAULTS: &str =
    "kill-worker,pause-transcode,restart-postgres,queue-purged,objects-500,clock-ahead-upload";

/// Exit code, standard output and standard error of a run.
fn chaos(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_reelmill-chaos")).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Asserts that a run found nothing, injected all faults, and ended with a line that starts with `result`.
fn assert_is_clean(args: &[&str], faults: usize, result: &str) {
    let (code, stdout, stderr) = chaos(args);
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
    let last: Vec<&str> = stdout.lines().rev().take(2).collect();
    let injected = format!("chaos: injected {faults} of {faults} faults");
    assert!(last[0].starts_with(result) && last[1] == injected, "{stdout}");
}

#[test]
fn chaos_with_six_faults_loses_nothing() {
    let only = format!("only={FAULTS}");
    assert_is_clean(
        &["seed=3", "jobs=7", "faults=6", "seconds=25", "longest=6", "settle=90", &only],
        6,
        "chaos: jobs 7 ready 6 failed-own-fault 1 lost 0 ",
    );
}

#[test]
fn chaos_with_encoders_that_fail_in_later_chunks_loses_nothing() {
    // With this seed both videos are uploaded within three seconds, and each worker's encoder fails at least twice, in the
    // first and in later chunks. A worker takes no tasks while its encoder fails, so that many short faults hit more tasks.
    assert_is_clean(
        &[
            "seed=174",
            "jobs=2",
            "faults=8",
            "seconds=12",
            "exactly=2",
            "settle=90",
            "only=ffmpeg-broken",
            "clips=long",
        ],
        8,
        "chaos: jobs 2 ready 2 failed-own-fault 0 lost 0 ",
    );
}

#[test]
fn chaos_list_names_the_faults() {
    let (code, stdout, _) = chaos(&["list"]);
    assert!(code == Some(0) && FAULTS.split(',').all(|name| stdout.contains(name)), "{stdout}");
}

#[test]
fn chaos_with_unknown_name_is_refused_and_lists_the_known_ones() {
    let (code, stdout, stderr) = chaos(&["only=kill-wroker"]);
    assert!(code == Some(2) && stdout.is_empty() && stderr.contains("kill-worker"), "{stdout}\n{stderr}");
}

#[test]
fn chaos_help_lists_the_settings() {
    let (code, stdout, _) = chaos(&["--help"]);
    assert!(code == Some(0) && stdout.contains("settle=N"), "{stdout}");
}
