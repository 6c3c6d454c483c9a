//! Self-test: whether this machine can encode at all. Without a source, so that no file can be the cause of a
//! failure.

use std::{io, path::Path, time::Duration};

use reelmill_media::{command, plan::Codec};
use tokio::{
    fs::{self, File},
    io::AsyncWriteExt,
    time::timeout,
};

use crate::engine::process::{
    child,
    jail::{ProcessLimits, Tools},
};

/// Written to the scratch folder: as much as a few segments of the largest rung.
const SCRATCH_TEST_BLOCKS: usize = 16;
const SCRATCH_TEST_BLOCK_BYTES: usize = 1 << 20;
const LIMITS: ProcessLimits = ProcessLimits { cpu_seconds: 60, memory_bytes: 4 << 30, file_bytes: 0 };

/// Writes to the scratch folder and encodes test images, with `limit` for each.
///
/// # Errors
/// Why this machine cannot encode, for its log.
pub(crate) async fn run(tools: &Tools, scratch: &Path, limit: Duration) -> Result<(), String> {
    match timeout(limit, write_to(scratch)).await {
        Ok(written) => written.map_err(|error| format!("the scratch folder cannot be written: {error}"))?,
        Err(_) => return Err("the scratch folder does not respond".into()),
    }
    let jailed = tools.jail.for_files(scratch, LIMITS);
    let args = command::self_test(Codec::default());
    let started = child::start(&jailed, &tools.ffmpeg, &args, command::FIRST_FD, 0);
    let (process, _no_pipes) = started.map_err(|error| format!("the encoder cannot be started: {error}"))?;
    match timeout(limit, process.wait()).await {
        // A busy machine may be this slow. A broken encoder fails quickly.
        Err(_) => Ok(()),
        Ok(Err(error)) => Err(format!("the encoder's exit status is unknown: {error}")),
        Ok(Ok(exit)) if exit.status.success() => Ok(()),
        Ok(Ok(exit)) => Err(format!("the encoder exited with {}: {}", exit.status, exit.stderr_tail)),
    }
}

async fn write_to(scratch: &Path) -> io::Result<()> {
    let path = scratch.join("self-test");
    let mut file = File::create(&path).await?;
    // Random data, which no file system compresses.
    let mut block = vec![0; SCRATCH_TEST_BLOCK_BYTES];
    rand::fill(&mut block[..]);
    for _ in 0..SCRATCH_TEST_BLOCKS {
        file.write_all(&block).await?;
    }
    file.sync_all().await?;
    fs::remove_file(path).await
}
