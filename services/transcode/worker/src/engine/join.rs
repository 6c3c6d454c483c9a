//! One progressive MP4 a rendition: its segments and the sound's joined without encoding anything again.

use super::encode::Encoded;
use super::process::{self, Limits};
use super::pump::{Outlet, Track, scratch_file};
use super::sink::{Content, Output, Role};
use super::source::{SourceError, fetch_whole};
use super::{Engine, Place, SourceAddress, crashed, store_unavailable, unreadable};
use futures::{StreamExt, TryStreamExt, stream};
use reelmill_media::plan::Plan;
use reelmill_media::{Failure, FailureKind, command};
use std::path::Path;
use std::time::Duration;
use tokio::fs;
use tokio::io::AsyncWriteExt;

/// Segments that are read at once.
const READS: usize = 4;
/// How long joining may take; it reads and writes files only.
const LONGEST: Duration = Duration::from_secs(1800);

/// Files of a rendition in the scratch folder.
struct Parts<'a> {
    rendition: &'a str,
    video: Option<String>,
    audio: Option<String>,
    bytes: u64,
}

/// Joins what was just encoded, from the copies in the scratch folder.
pub(super) async fn join_local(
    engine: &Engine,
    plan: &Plan,
    encoded: &Encoded,
    outlet: &Outlet,
    place: &Place<'_>,
) -> Result<Vec<Failure>, Failure> {
    let sound = encoded.audio.iter().map(|(_, track)| track).find(|track| track.segments > 0);
    let name = |track: &Track| {
        let name = track.copy.as_deref().and_then(Path::file_name);
        name.map(|name| name.to_string_lossy().into_owned())
    };
    let mut warnings = Vec::new();
    let bytes = |track: &Track| track.bytes;
    for (_, rung) in &encoded.rungs {
        let parts = Parts {
            rendition: &rung.rendition,
            video: name(rung),
            audio: sound.and_then(name),
            bytes: rung.bytes + sound.map_or(0, bytes),
        };
        warnings.extend(join(engine, &parts, outlet, place).await?);
        // Not needed any more.
        if let Some(copy) = &rung.copy {
            fs::remove_file(copy).await.map_err(|error| crashed(&error))?;
        }
    }
    if plan.video.is_none()
        && let Some(sound) = sound
    {
        let parts =
            Parts { rendition: &sound.rendition, video: None, audio: name(sound), bytes: sound.bytes };
        warnings.extend(join(engine, &parts, outlet, place).await?);
    }
    Ok(warnings)
}

/// Joins what is in the store: an initialisation segment and media segments each.
pub(super) async fn join_stored(
    engine: &Engine,
    rendition: &str,
    video: Option<Vec<SourceAddress>>,
    audio: Option<Vec<SourceAddress>>,
    outlet: &Outlet,
    place: &Place<'_>,
) -> Result<Option<Failure>, Failure> {
    let size =
        |parts: &Option<Vec<SourceAddress>>| parts.iter().flatten().map(|part| part.size_bytes).sum::<u64>();
    let bytes = size(&video) + size(&audio);
    if bytes > engine.bounds.download {
        return Ok(Some(too_large(rendition)));
    }
    let mut names = [None, None];
    for (name, (file, parts)) in
        names.iter_mut().zip([("video.fragments", video), ("audio.fragments", audio)])
    {
        if let Some(parts) = parts {
            fetch(engine, parts, &place.scratch.join(file)).await?;
            *name = Some(file.to_owned());
        }
    }
    let [video, audio] = names;
    join(engine, &Parts { rendition, video, audio, bytes }, outlet, place).await
}

async fn fetch(engine: &Engine, parts: Vec<SourceAddress>, file: &Path) -> Result<(), Failure> {
    let mut copy = scratch_file(file).await.map_err(|error| crashed(&error))?;
    let patience = engine.bounds.patience;
    let mut pieces = stream::iter(parts)
        .map(|part| fetch_whole(&engine.http, part.uri, part.size_bytes, patience))
        .buffered(READS);
    while let Some(bytes) = pieces.try_next().await.map_err(|error: SourceError| unreadable(&error))? {
        copy.write_all(&bytes).await.map_err(|error| crashed(&error))?;
    }
    copy.flush().await.map_err(|error| crashed(&error))
}

async fn join(
    engine: &Engine,
    parts: &Parts<'_>,
    outlet: &Outlet,
    place: &Place<'_>,
) -> Result<Option<Failure>, Failure> {
    if parts.bytes > engine.bounds.download {
        return Ok(Some(too_large(parts.rendition)));
    }
    let name = format!("{}.mp4", parts.rendition);
    let args = command::remux(parts.video.as_deref(), parts.audio.as_deref(), &name);
    let limits = Limits {
        cpu_seconds: 600,
        memory_bytes: 4 << 30,
        // Tables of the index come on top of the media itself.
        file_bytes: 2 * parts.bytes + (64 << 20),
    };
    let jailed = engine.jail.for_files(place.scratch, limits);
    let started = process::start(&jailed, &engine.ffmpeg, &args, command::FIRST_FD, 0);
    let (process, _no_pipes) = started.map_err(|error| crashed(&error))?;
    let ended = tokio::time::timeout(LONGEST, process.ended())
        .await
        .map_err(|_| Failure::new(FailureKind::EncoderStalled, "Joining the segments made no progress."))?
        .map_err(|error| crashed(&error))?;
    if !ended.status.success() {
        tracing::warn!(status = %ended.status, tail = ended.tail, "joining segments failed");
        // What ffmpeg itself gave up it gives up again, unless there was no room for it.
        let for_good = ended.status.code() == Some(1) && !ended.tail.contains("No space left on device");
        return if for_good { Ok(Some(unjoined(parts.rendition))) } else { Err(crashed(&"joining failed")) };
    }
    let file = place.scratch.join(&name);
    let size = fs::metadata(&file).await.map_err(|error| crashed(&error))?.len();
    let rendition = parts.rendition.to_owned();
    let output = Output { name, size_bytes: size, rendition, role: Role::Progressive };
    let put = outlet.put(output, Content::File(file.clone(), size), "video/mp4").await;
    put.map_err(|error| store_unavailable(&error))?;
    fs::remove_file(&file).await.map_err(|error| crashed(&error))?;
    Ok(None)
}

fn unjoined(rendition: &str) -> Failure {
    Failure::new(
        FailureKind::DownloadFailed,
        format!(
            "The {rendition} rendition could not be joined into a single file, so there is none to download."
        ),
    )
}

fn too_large(rendition: &str) -> Failure {
    Failure::new(
        FailureKind::DownloadTooLarge,
        format!("The {rendition} rendition is too large for a single file, so there is none to download."),
    )
}
