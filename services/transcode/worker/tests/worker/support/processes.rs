//! The engine's child processes, found by their working folder.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Number of processes whose working folder is `folder` or below it.
pub fn count_processes_in(folder: &Path) -> usize {
    pids_in(folder).len()
}

/// Sends SIGTERM to the processes in `folder`, as a service manager does.
pub fn terminate_processes_in(folder: &Path) {
    let pids = pids_in(folder);
    assert!(!pids.is_empty(), "no process is running in {}", folder.display());
    let status = Command::new("kill").arg("-TERM").args(pids).status().expect("kill");
    assert!(status.success());
}

/// Process ids of those whose working folder is `folder` or below it.
pub fn pids_in(folder: &Path) -> Vec<String> {
    let folder = folder.canonicalize().expect("folder");
    let running = std::fs::read_dir("/proc").expect("proc").filter_map(Result::ok);
    running
        .filter(|process| {
            std::fs::read_link(process.path().join("cwd")).is_ok_and(|path| path.starts_with(&folder))
        })
        .map(|process| process.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Waits until `condition` is true, at most `limit`.
pub async fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
