//! Checks that the configured ffmpeg and ffprobe can be executed.

use std::process::Stdio;

use anyhow::bail;
use tokio::process::Command;

/// Runs both with `-version`.
pub async fn check(ffmpeg: &str, ffprobe: &str) -> anyhow::Result<()> {
    for (key, program) in [("worker.ffmpeg", ffmpeg), ("worker.ffprobe", ffprobe)] {
        let started = Command::new(program)
            .arg("-version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await;
        match started {
            Ok(status) if status.success() => {}
            Ok(status) => bail!("{program} fails ({status}); set {key} to one that works"),
            Err(error) => bail!("{program} cannot be executed ({error}); install ffmpeg or set {key}"),
        }
    }
    Ok(())
}
