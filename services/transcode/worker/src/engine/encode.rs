//! Runs the one encoder of a task and pumps all that it writes.

use super::activity::Activity;
use super::process::{self, Ended, Limits, Process};
use super::progress::{Lines, Progress};
use super::pump::{self, Outlet, PumpError, Track};
use super::source::SourceReader;
use super::verdict::{self, Encoded};
use super::{Engine, crashed, unreadable};
use bytes::Bytes;
use reelmill_media::command::{self, Encode, FIRST_FD, Stream};
use reelmill_media::fragments::FragmentError;
use reelmill_media::plan::Plan;
use reelmill_media::{Failure, Reason};
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinSet;

/// What one encoder made.
#[derive(Default)]
pub(super) struct Tracks {
    /// One a rung, in the plan's order.
    pub rungs: Vec<Track>,
    /// The sound; none when there was nothing in it.
    pub audio: Option<Track>,
    /// A JPEG; empty when there was no frame for it.
    pub poster: Bytes,
}

/// What one pump made.
enum Pumped {
    Track(Stream, Track),
    Poster(Bytes),
    Progress,
}

/// Encodes what is at `input` by `plan`, putting segments as they are made.
pub(super) async fn encode(
    engine: &Engine,
    plan: &Plan,
    input: &str,
    reader: &SourceReader,
    scratch: &Path,
    outlet: &Outlet,
    progress: &Progress,
) -> Result<Tracks, Failure> {
    let Encode { args, streams } = command::encode(plan, input);
    let limits = limits(plan);
    let started = process::start(&engine.ffmpeg, &args, &limits, scratch, FIRST_FD, streams.len());
    let (mut process, pipes) = started.map_err(|error| crashed(&error))?;
    let mut pumps = JoinSet::new();
    for (stream, pipe) in streams.into_iter().zip(pipes) {
        pumps.spawn(pump_one(
            stream,
            pipe,
            plan.clone(),
            scratch.to_owned(),
            outlet.clone(),
            progress.clone(),
        ));
    }
    let pumped = watch(&mut pumps, &mut process, &outlet.activity, engine.bounds.silence).await;
    if pumped.is_err() {
        process.kill();
    }
    // Ending its pumps first closes the pipes, so the encoder cannot hang on a full one.
    pumps.shutdown().await;
    let ended = process.ended().await.map_err(|error| crashed(&error))?;
    if let Some(error) = reader.fault() {
        return Err(unreadable(&error));
    }
    let tracks = match pumped {
        Ok(tracks) => tracks,
        Err(Fault::Failed(failure)) => return Err(failure),
        // The encoder died in the middle of a segment: how it died says more.
        Err(Fault::CutShort(error)) => {
            judge(&ended, &Tracks::default(), plan)?;
            return Err(crashed(&error));
        }
    };
    judge(&ended, &tracks, plan)?;
    Ok(tracks)
}

/// Why pumping stopped early.
enum Fault {
    Failed(Failure),
    CutShort(PumpError),
}

/// Collects what the pumps made, with an eye on silence.
async fn watch(
    pumps: &mut JoinSet<Result<Pumped, PumpError>>,
    process: &mut Process,
    activity: &Activity,
    silence: Duration,
) -> Result<Tracks, Fault> {
    let mut tracks = Tracks::default();
    let mut rungs = Vec::new();
    let mut cut_short = None;
    let mut tick = tokio::time::interval(Duration::from_secs(1).min(silence));
    loop {
        let joined = tokio::select! {
            joined = pumps.join_next() => joined,
            _ = tick.tick() => {
                if activity.silence() <= silence {
                    continue;
                }
                return Err(Fault::Failed(Failure::new(
                    Reason::EncoderStalled,
                    "The encoder made no progress. It is tried again.",
                )));
            }
        };
        match joined {
            Some(Ok(Ok(Pumped::Track(Stream::Rung(place), track)))) => rungs.push((place, track)),
            Some(Ok(Ok(Pumped::Track(_, track)))) => {
                tracks.audio = Some(track).filter(|track| !track.segments.is_empty());
            }
            Some(Ok(Ok(Pumped::Poster(image)))) => tracks.poster = image,
            Some(Ok(Ok(Pumped::Progress))) => {}
            Some(Ok(Err(error @ PumpError::Stream(_)))) => {
                // Cut short, the encoder has ended by itself; otherwise it writes what nobody reads.
                if !matches!(error, PumpError::Stream(FragmentError::CutShort)) {
                    process.kill();
                }
                cut_short.get_or_insert(error);
            }
            Some(Ok(Err(PumpError::Sink(error)))) => {
                tracing::warn!(%error, "an output could not be put");
                return Err(Fault::Failed(store_unavailable()));
            }
            Some(Ok(Err(error))) => return Err(Fault::Failed(crashed(&error))),
            Some(Err(error)) => return Err(Fault::Failed(crashed(&error))),
            None => break,
        }
    }
    rungs.sort_by_key(|(place, _)| *place);
    tracks.rungs = rungs.into_iter().map(|(_, track)| track).collect();
    cut_short.map_or(Ok(tracks), |error| Err(Fault::CutShort(error)))
}

/// Outputs cannot be put.
pub(super) fn store_unavailable() -> Failure {
    Failure::new(Reason::StoreUnavailable, "The object store did not take the outputs. It is tried again.")
}

async fn pump_one(
    stream: Stream,
    pipe: pipe::Receiver,
    plan: Plan,
    scratch: std::path::PathBuf,
    outlet: Outlet,
    progress: Progress,
) -> Result<Pumped, PumpError> {
    match stream {
        Stream::Rung(place) => {
            let folder = plan.rungs.get(place).map_or_else(|| place.to_string(), |rung| rung.id.clone());
            let file = scratch.join(format!("{folder}.fragments"));
            Ok(Pumped::Track(stream, pump::track(pipe, folder, file, outlet).await?))
        }
        Stream::Audio => {
            let file = scratch.join("audio.fragments");
            Ok(Pumped::Track(stream, pump::track(pipe, "audio".into(), file, outlet).await?))
        }
        Stream::Poster => Ok(Pumped::Poster(pump::poster(pipe).await?)),
        Stream::Progress => {
            read_progress(pipe, Lines::new(progress, plan.expected_frames()), &outlet.activity).await?;
            Ok(Pumped::Progress)
        }
    }
}

async fn read_progress(
    mut pipe: pipe::Receiver,
    mut lines: Lines,
    activity: &Activity,
) -> Result<(), PumpError> {
    let mut chunk = vec![0; 4096];
    loop {
        let count = pipe.read(&mut chunk).await.map_err(PumpError::Pipe)?;
        if count == 0 {
            return Ok(());
        }
        if lines.push(&String::from_utf8_lossy(&chunk[..count])) {
            activity.touch();
        }
    }
}

fn judge(ended: &Ended, tracks: &Tracks, plan: &Plan) -> Result<(), Failure> {
    let frames = tracks.rungs.iter().map(|track| track.frames).min().unwrap_or(0);
    let covered = tracks.rungs.iter().chain(&tracks.audio).map(Track::seconds).fold(0.0, f64::max);
    verdict::encoding(&Encoded { ended, frames, covered, expected: plan.duration })
}

/// CPU time by the pixels of a second of it, many times what any honest file needs; without a
/// playing time, enough for two hours of 1080p on the slowest of machines.
fn limits(plan: &Plan) -> Limits {
    let megapixels = plan.stored.pixels().div_ceil(1_000_000).max(1);
    let per_second = 20 + 10 * megapixels;
    let seconds = plan.duration.unwrap_or(7200.0).ceil() as u64;
    Limits {
        cpu_seconds: 300 + seconds * per_second,
        memory_bytes: (6 << 30) + megapixels * (256 << 20),
        file_bytes: 0,
    }
}
