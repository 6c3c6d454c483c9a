//! The last steps: a progressive MP4 a rung, the poster, and the playlists that tie it together.

use super::encode::{Tracks, store_unavailable};
use super::process::{self, Limits};
use super::progress::Progress;
use super::pump::{Outlet, Track};
use super::sink::Content;
use super::{Engine, Outcome, Output, RungOutcome, crashed};
use reelmill_media::plan::{Plan, Rung};
use reelmill_media::playlists::{Bandwidth, Variant, master, media};
use reelmill_media::{Failure, Reason, command};
use std::path::Path;
use std::time::Duration;

const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";
/// Name of the master playlist.
const MASTER: &str = "master.m3u8";
/// Name of the poster.
const POSTER: &str = "poster.jpg";

/// Puts what is still missing, the master playlist last: once it is there, all it names is.
pub(super) async fn package(
    engine: &Engine,
    plan: &Plan,
    tracks: &Tracks,
    scratch: &Path,
    outlet: &Outlet,
    progress: &Progress,
) -> Result<Outcome, Failure> {
    let mut outputs = Vec::new();
    for track in tracks.rungs.iter().chain(&tracks.audio) {
        outputs.extend(track_outputs(track));
        let text = media("init.mp4", &track.segments);
        outputs.push(put(outlet, format!("{}/index.m3u8", track.folder), text, PLAYLIST_TYPE).await?);
    }
    let poster = if tracks.poster.is_empty() { "" } else { POSTER };
    if !poster.is_empty() {
        let image = Content::Bytes(tracks.poster.clone());
        outputs.push(put_content(outlet, POSTER.into(), image, "image/jpeg").await?);
    }
    let mut rungs = Vec::new();
    for (rung, track) in plan.rungs.iter().zip(&tracks.rungs) {
        let output = progressive(engine, rung, track, tracks.audio.as_ref(), scratch, outlet).await?;
        rungs.push(describe(rung, track, tracks.audio.as_ref(), plan, output.size_bytes));
        outputs.push(output);
        progress.rungs_done(rungs.len(), plan.rungs.len());
    }
    let variants: Vec<_> = rungs.iter().map(variant).collect();
    let text = master(&variants, tracks.audio.as_ref().map(|_| "audio/index.m3u8"));
    outputs.push(put(outlet, MASTER.into(), text, PLAYLIST_TYPE).await?);
    progress.finished();
    Ok(Outcome { rungs, master_playlist: MASTER.into(), poster: poster.into(), outputs })
}

fn track_outputs(track: &Track) -> Vec<Output> {
    let init = Output { name: format!("{}/init.mp4", track.folder), size_bytes: track.init_bytes };
    let segments = track.segments.iter().map(|segment| Output {
        name: format!("{}/{}", track.folder, segment.name),
        size_bytes: segment.bytes,
    });
    std::iter::once(init).chain(segments).collect()
}

fn describe(rung: &Rung, track: &Track, audio: Option<&Track>, plan: &Plan, size_bytes: u64) -> RungOutcome {
    let sound = audio.map(|audio| Bandwidth::of(&audio.segments)).unwrap_or_default();
    let codecs = std::iter::once(track).chain(audio).map(|track| track.codec.as_str()).collect::<Vec<_>>();
    RungOutcome {
        id: rung.id.clone(),
        size: rung.size,
        frame_rate: plan.rate.fps(),
        codecs: codecs.join(","),
        bandwidth: Bandwidth::of(&track.segments).with(sound),
        size_bytes,
        frames: track.frames,
    }
}

fn variant(rung: &RungOutcome) -> Variant {
    Variant {
        uri: format!("{}/index.m3u8", rung.id),
        codecs: rung.codecs.clone(),
        bandwidth: rung.bandwidth,
        size: rung.size,
        frame_rate: rung.frame_rate,
    }
}

/// Joins a rung's fragments and the sound's into one MP4 and puts it. The rung's fragments are not
/// needed after that.
async fn progressive(
    engine: &Engine,
    rung: &Rung,
    track: &Track,
    audio: Option<&Track>,
    scratch: &Path,
    outlet: &Outlet,
) -> Result<Output, Failure> {
    let local = |track: &Track| {
        track.scratch.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let name = format!("{}.mp4", rung.id);
    let args = command::remux(&local(track), audio.map(local).as_deref(), &name);
    let limits = Limits {
        cpu_seconds: 600,
        memory_bytes: 4 << 30,
        // Tables of the index come on top of the media itself.
        file_bytes: 2 * (bytes_of(track) + audio.map_or(0, bytes_of)) + (64 << 20),
    };
    let started = process::start(&engine.ffmpeg, &args, &limits, scratch, command::FIRST_FD, 0);
    let (process, _no_pipes) = started.map_err(|error| crashed(&error))?;
    let ended = tokio::time::timeout(Duration::from_secs(1800), process.ended())
        .await
        .map_err(|_| Failure::new(Reason::EncoderStalled, "Joining the segments made no progress."))?
        .map_err(|error| crashed(&error))?;
    if !ended.status.success() {
        tracing::warn!(status = %ended.status, tail = ended.tail, "joining segments failed");
        return Err(crashed(&"joining the segments failed"));
    }
    let file = scratch.join(&name);
    let size = tokio::fs::metadata(&file).await.map_err(|error| crashed(&error))?.len();
    let output = put_content(outlet, name, Content::File(file.clone(), size), "video/mp4").await?;
    for done in [&file, &track.scratch] {
        tokio::fs::remove_file(done).await.map_err(|error| crashed(&error))?;
    }
    Ok(output)
}

fn bytes_of(track: &Track) -> u64 {
    track.segments.iter().map(|segment| segment.bytes).sum()
}

async fn put(outlet: &Outlet, name: String, text: String, kind: &'static str) -> Result<Output, Failure> {
    put_content(outlet, name, Content::Bytes(text.into()), kind).await
}

async fn put_content(
    outlet: &Outlet,
    name: String,
    content: Content,
    kind: &'static str,
) -> Result<Output, Failure> {
    let size_bytes = content.size();
    outlet.sink.put(&name, content, kind).await.map_err(|error| {
        tracing::warn!(%error, "an output could not be put");
        store_unavailable()
    })?;
    Ok(Output { name, size_bytes })
}
