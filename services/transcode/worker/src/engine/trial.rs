//! Whether this machine can encode anything at all: without a source, so that no file is to blame.

use super::Engine;
use super::process::{self, Limits};
use reelmill_media::command;
use reelmill_media::plan::Codec;
use std::io::Error;
use std::path::Path;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

/// What must find room in the scratch folder, bytes: a few segments of the largest rung.
const ROOM: usize = 16 << 20;

pub(super) async fn trial(engine: &Engine, scratch: &Path) -> Result<(), String> {
    has_room(scratch).await.map_err(|error| format!("the scratch folder takes nothing: {error}"))?;
    let limits = Limits { cpu_seconds: 60, memory_bytes: 4 << 30, file_bytes: 0 };
    let jailed = engine.jail.for_files(scratch, limits);
    let args = command::trial(Codec::default());
    let started = process::start(&jailed, &engine.ffmpeg, &args, command::FIRST_FD, 0);
    let (process, _no_pipes) = started.map_err(|error| format!("the encoder can't be started: {error}"))?;
    let ended = process.ended_within(engine.bounds.probe).await;
    let ended = ended.map_err(|error| format!("the encoder's end can't be told: {error}"))?;
    if !ended.status.success() {
        return Err(format!("the encoder ended with {}: {}", ended.status, ended.tail));
    }
    Ok(())
}

async fn has_room(scratch: &Path) -> Result<(), Error> {
    let path = scratch.join("room");
    let mut file = File::create(&path).await?;
    file.write_all(&vec![0; ROOM]).await?;
    file.sync_all().await?;
    fs::remove_file(path).await
}
