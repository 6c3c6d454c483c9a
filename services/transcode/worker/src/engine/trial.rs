//! Whether this machine can encode anything at all: without a source, so that no file is to blame.

use super::Engine;
use super::process::{self, Limits};
use reelmill_media::command;
use reelmill_media::plan::Codec;
use std::io::Error;
use std::path::Path;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// What must find room in the scratch folder, a few segments of the largest rung: so many blocks of so many bytes.
const BLOCKS: usize = 16;
const BLOCK: usize = 1 << 20;

pub(super) async fn trial(engine: &Engine, scratch: &Path) -> Result<(), String> {
    match timeout(engine.bounds.probe, has_room(scratch)).await {
        Ok(taken) => taken.map_err(|error| format!("the scratch folder takes nothing: {error}"))?,
        Err(_) => return Err("the scratch folder does not answer".into()),
    }
    let limits = Limits { cpu_seconds: 60, memory_bytes: 4 << 30, file_bytes: 0 };
    let jailed = engine.jail.for_files(scratch, limits);
    let args = command::self_test(Codec::default());
    let started = process::start(&jailed, &engine.ffmpeg, &args, command::FIRST_FD, 0);
    let (process, _no_pipes) = started.map_err(|error| format!("the encoder can't be started: {error}"))?;
    match timeout(engine.bounds.probe, process.ended()).await {
        // A machine with much to do may be this slow; one that is broken is quick.
        Err(_) => Ok(()),
        Ok(Err(error)) => Err(format!("the encoder's end can't be told: {error}")),
        Ok(Ok(ended)) if ended.status.success() => Ok(()),
        Ok(Ok(ended)) => Err(format!("the encoder ended with {}: {}", ended.status, ended.tail)),
    }
}

async fn has_room(scratch: &Path) -> Result<(), Error> {
    let path = scratch.join("room");
    let mut file = File::create(&path).await?;
    // Random: no file system makes less of it.
    let mut block = vec![0; BLOCK];
    rand::fill(&mut block[..]);
    for _ in 0..BLOCKS {
        file.write_all(&block).await?;
    }
    file.sync_all().await?;
    fs::remove_file(path).await
}
