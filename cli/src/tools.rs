//! What must stand beside the binary.

use std::process::Stdio;

use anyhow::bail;
use tokio::process::Command;

/// Checks that ffmpeg and ffprobe are there and start.
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
            Ok(status) => bail!("{program} does not work ({status}); set {key} to one that does"),
            Err(error) => bail!("{program} cannot be started ({error}); install ffmpeg or set {key}"),
        }
    }
    Ok(())
}
