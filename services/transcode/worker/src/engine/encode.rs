//! Runs the one encoder of a share and pumps all that it writes.

use super::activity::Activity;
use super::process::{self, Ended, Limits, Process};
use super::progress::Lines;
use super::pump::{self, Outlet, PumpError, Track, TrackPlan};
use super::seek::{self, Way};
use super::stills::{self, Sheets};
use super::verdict::{self, Verdict};
use super::{Engine, Place, Session, crashed, store_unavailable, unreadable};
use reelmill_media::command::{self, EncodeCommand, FIRST_FD, Input, Stream};
use reelmill_media::fragments::{FragmentError, Shift};
use reelmill_media::plan::{Plan, WorkUnit};
use reelmill_media::{Failure, FailureKind};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinSet;

/// A share to make, and with what.
pub(super) struct Work<'a> {
    pub engine: &'a Engine,
    pub session: &'a Session,
    pub plan: &'a Plan,
    pub work_unit: &'a WorkUnit,
    pub recorded: &'a HashMap<String, u32>,
    pub place: &'a Place<'a>,
}

/// What one encoder made.
#[derive(Default)]
pub(super) struct Encoded {
    /// Rungs by their place in the plan.
    pub rungs: Vec<(usize, Track)>,
    /// Sound by its place in the plan.
    pub audio: Vec<(usize, Track)>,
    /// Whether much of what was decoded was damaged.
    pub damaged: bool,
    /// Whether a rung begins later than it should, because a seek went too far.
    pub missed_its_start: bool,
    /// Whether it ended early because a sound changes in mid-stream.
    pub audio_format_changes: bool,
}

impl Encoded {
    /// So many segments of each rendition are in the store.
    fn segments(&self) -> impl Iterator<Item = (&str, u32)> {
        let tracks = self.rungs.iter().chain(&self.audio);
        tracks.map(|(_, track)| (track.rendition.as_str(), track.segments))
    }

    /// What to tell the uploader.
    pub fn warning(&self) -> Option<Failure> {
        self.damaged.then(|| {
            Failure::new(
                FailureKind::PartlyDamaged,
                "Parts of the file are damaged. Where they were, the picture may stand still or look broken.",
            )
        })
    }
}

/// What one pump made.
enum Pumped {
    Track(Stream, Track),
    Other,
}

/// Encodes a share, putting segments as they are made.
pub(super) async fn encode(work: &Work<'_>, outlet: &Outlet) -> Result<Encoded, Failure> {
    let mut way = Way::Exact;
    let mut audio_format_changes = false;
    let mut recorded = work.recorded.clone();
    let end = seek::end(work.engine, work.session, work.plan, work.work_unit, work.place.scratch).await?;
    loop {
        let encoded = attempt(work, &recorded, outlet, way, end, audio_format_changes).await?;
        if encoded.audio_format_changes && !audio_format_changes {
            audio_format_changes = true;
            for (rendition, segments) in encoded.segments() {
                let known = recorded.entry(rendition.to_owned()).or_default();
                *known = segments.max(*known);
            }
            continue;
        }
        match way.surer().filter(|_| encoded.missed_its_start) {
            // No segment has been put: what does not begin where it should is kept back.
            Some(surer) => way = surer,
            None => return Ok(encoded),
        }
    }
}

async fn attempt(
    work: &Work<'_>,
    recorded: &HashMap<String, u32>,
    outlet: &Outlet,
    way: Way,
    end: Option<f64>,
    audio_format_changes: bool,
) -> Result<Encoded, Failure> {
    let Work { engine, session, plan, work_unit, place, .. } = work;
    let moment = match (&plan.video, work_unit.chunk) {
        (Some(video_plan), Some(chunk)) => video_plan.chunk_start(chunk),
        _ => 0.0,
    };
    let seek = seek::seek(engine, session, plan, moment - before(plan), way, place.scratch).await?;
    outlet.activity.touch();
    let input = Input { address: session.proxy.address(), seek, end, audio_format_changes };
    let EncodeCommand { args, streams } = command::encode(plan, work_unit, &input);
    let jailed = engine.jail.for_source(place.scratch, session.proxy.port(), limits(plan, work_unit));
    // What makes a long video playable goes before the long work on it.
    let jailed = jailed.urgent(work_unit.priority == 0 && !plan.is_single());
    let due = seek.map(|_| moment);
    let started = process::start(&jailed, &engine.ffmpeg, &args, FIRST_FD, streams.len());
    let (mut process, pipes) = started.map_err(|error| crashed(&error))?;
    let mut pumps = JoinSet::new();
    for (stream, pipe) in streams.into_iter().zip(pipes) {
        spawn(&mut pumps, work, recorded, outlet, due, stream, pipe);
    }
    let pumped = watch(&mut pumps, &mut process, &outlet.activity, engine.bounds.silence).await;
    if pumped.as_ref().is_ok_and(|encoded| encoded.missed_its_start) || pumped.is_err() {
        process.kill();
    }
    // Ending its pumps first closes the pipes, so the encoder cannot hang on a full one.
    pumps.shutdown().await;
    // With its pipes closed it has nothing left to do: what goes on all the same is ended.
    let ended = process.ended_within(engine.bounds.silence).await.map_err(|error| crashed(&error))?;
    if let Some(error) = session.reader.fault() {
        return Err(unreadable(&error));
    }
    let mut encoded = match pumped {
        Ok(encoded) => encoded,
        Err(Fault::Failed(failure)) => return Err(failure),
        // The encoder died in the middle of a segment: how it died says more.
        Err(Fault::CutShort(error)) => {
            judge(&ended, &Encoded::default(), work)?;
            return Err(crashed(&error));
        }
    };
    if !audio_format_changes && verdict::says_sound_changes(&ended) {
        encoded.audio_format_changes = true;
        return Ok(encoded);
    }
    encoded.missed_its_start |= is_empty(&encoded, work) && has_more_behind(work) && way != Way::Whole;
    if encoded.missed_its_start {
        return Ok(encoded);
    }
    encoded.damaged = judge(&ended, &encoded, work)? == Verdict::Damaged;
    Ok(encoded)
}

/// Seconds of picture that a chunk's first frame needs before it: to deinterlace it, one frame, however far the grid is off.
fn before(plan: &Plan) -> f64 {
    let interlaced = plan.source.video.as_ref().is_some_and(|video| video.interlaced);
    let video_plan = plan.video.as_ref().filter(|_| interlaced);
    video_plan.map_or(0.0, |video_plan| 2.0 / video_plan.rate.fps())
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
) -> Result<Encoded, Fault> {
    let mut encoded = Encoded::default();
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
                    FailureKind::EncoderStalled,
                    "The encoder made no progress. It is tried again.",
                )));
            }
        };
        match joined {
            Some(Ok(Ok(Pumped::Track(Stream::Rung(place), track)))) => encoded.rungs.push((place, track)),
            Some(Ok(Ok(Pumped::Track(Stream::Audio(place), track)))) => encoded.audio.push((place, track)),
            Some(Ok(Ok(_))) => {}
            Some(Ok(Err(error @ PumpError::Stream(_)))) => {
                // Cut short, the encoder has ended by itself; otherwise it writes what nobody reads.
                if !matches!(error, PumpError::Stream(FragmentError::CutShort)) {
                    process.kill();
                }
                cut_short.get_or_insert(error);
            }
            Some(Ok(Err(PumpError::Late))) => {
                process.kill();
                encoded.missed_its_start = true;
                return Ok(encoded);
            }
            Some(Ok(Err(PumpError::Sink(error)))) => return Err(Fault::Failed(store_unavailable(&error))),
            Some(Ok(Err(error))) => return Err(Fault::Failed(crashed(&error))),
            Some(Err(error)) => return Err(Fault::Failed(crashed(&error))),
            None => break,
        }
    }
    encoded.rungs.sort_by_key(|(place, _)| *place);
    encoded.audio.sort_by_key(|(place, _)| *place);
    cut_short.map_or(Ok(encoded), |error| Err(Fault::CutShort(error)))
}

fn spawn(
    pumps: &mut JoinSet<Result<Pumped, PumpError>>,
    work: &Work<'_>,
    recorded: &HashMap<String, u32>,
    outlet: &Outlet,
    due: Option<f64>,
    stream: Stream,
    pipe: pipe::Receiver,
) {
    let (plan, work_unit, outlet) = (work.plan, work.work_unit, outlet.clone());
    let track = |rendition: &str, first_segment: u32| TrackPlan {
        rendition: rendition.to_owned(),
        first_segment,
        heard: None,
        recorded: recorded.get(rendition).copied().unwrap_or(0),
        due: None,
        shift: Shift::default(),
        copy: None,
        longest_copy: work.engine.bounds.download,
    };
    // What the progressive files are joined of.
    let copy =
        |rendition: &str| plan.is_single().then(|| work.place.scratch.join(format!("{rendition}.fragments")));
    let chunk = plan.video.as_ref().and_then(|video_plan| video_plan.chunks.get(work_unit.chunk?)).copied();
    match stream {
        Stream::Rung(place) => {
            let rung = plan.video.as_ref().and_then(|video_plan| video_plan.rungs.get(place));
            let first = chunk.map_or(0, |chunk| chunk.first_segment);
            let id = rung.map_or("", |rung| &rung.id);
            let track = TrackPlan { due, shift: plan.rung_shift(place), copy: copy(id), ..track(id, first) };
            pumps.spawn(async move { Ok(Pumped::Track(stream, pump::track(pipe, track, outlet).await?)) });
        }
        Stream::Audio(place) => {
            let id = plan.audio.get(place).map_or("", |audio| &audio.id);
            let heard = work.place.progress.clone();
            // Any may have to stand in for the default one, when that can't be decoded.
            let shift = plan.audio_shift();
            let track = TrackPlan { copy: copy(id), heard: Some(heard), shift, ..track(id, 0) };
            pumps.spawn(async move { Ok(Pumped::Track(stream, pump::track(pipe, track, outlet).await?)) });
        }
        Stream::Subtitles(place) => {
            let id = plan.subtitles.get(place).map(|text| text.id.clone()).unwrap_or_default();
            let plan = plan.clone();
            pumps.spawn(async move {
                stills::subtitles(pipe, &id, &plan, &outlet).await?;
                Ok(Pumped::Other)
            });
        }
        Stream::Poster => {
            pumps.spawn(async move {
                stills::poster(pipe, &outlet).await?;
                Ok(Pumped::Other)
            });
        }
        Stream::Thumbnails => {
            let Some(sheets) = Sheets::of(plan, work_unit) else { return };
            pumps.spawn(async move {
                stills::thumbnails(pipe, sheets, &outlet).await?;
                Ok(Pumped::Other)
            });
        }
        Stream::Progress => {
            let lines = Lines::new(work.place.progress.clone());
            pumps.spawn(async move {
                read_progress(pipe, lines, &outlet.activity).await?;
                Ok(Pumped::Other)
            });
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
            lines.end();
            return Ok(());
        }
        if lines.push(&String::from_utf8_lossy(&chunk[..count]), Instant::now()) {
            activity.touch();
        }
    }
}

fn judge(ended: &Ended, encoded: &Encoded, work: &Work<'_>) -> Result<Verdict, Failure> {
    // A later chunk finds nothing where the file ends before it says. What is there counts.
    let later = work.work_unit.chunk.is_some_and(|chunk| chunk > 0);
    let only_text = work.work_unit.rungs.is_empty() && work.work_unit.audio.is_empty();
    verdict::encoding(ended, is_empty(encoded, work), later || only_text)
}

/// Whether nothing was made of what the share is there for.
fn is_empty(encoded: &Encoded, work: &Work<'_>) -> bool {
    let tracks = if work.work_unit.rungs.is_empty() { &encoded.audio } else { &encoded.rungs };
    tracks.iter().all(|(_, track)| track.segments == 0)
}

/// Whether the share is a chunk in the middle of the video: where it comes out empty the seek led into what can't be
/// decoded, and beginning earlier holds the last good picture in its place.
fn has_more_behind(work: &Work<'_>) -> bool {
    let chunks = work.plan.video.as_ref().map(|video_plan| video_plan.chunks.as_slice()).unwrap_or_default();
    let chunk = work.work_unit.chunk.filter(|&chunk| chunk > 0).and_then(|chunk| chunks.get(chunk));
    chunk.is_some_and(|chunk| chunk.frames.is_some())
}

/// CPU time by the pixels of a second of it, many times what any honest file needs; without a
/// playing time, enough for two hours of 1080p on the slowest of machines.
fn limits(plan: &Plan, work_unit: &WorkUnit) -> Limits {
    let stored = plan
        .source
        .video
        .as_ref()
        .filter(|_| work_unit.chunk.is_some())
        .map_or(0, |video| video.stored.pixels());
    let megapixels = stored.div_ceil(1_000_000).max(1);
    let slower = plan.video.as_ref().map_or(1, |video_plan| {
        let encodings =
            work_unit.rungs.iter().filter_map(|&rung| video_plan.rungs.get(rung)).map(|rung| &rung.encoding);
        encodings.map(|encoding| if encoding.codec == Default::default() { 1 } else { 6 }).max().unwrap_or(1)
    });
    let whole = plan.duration().unwrap_or(7200.0);
    let chunk = plan.video.as_ref().and_then(|video_plan| {
        let frames = video_plan.chunks.get(work_unit.chunk?)?.frames?;
        // What is decoded before the chunk comes on top.
        Some(video_plan.rate.seconds_of(frames) + 60.0)
    });
    let seconds = chunk.unwrap_or(whole).ceil() as u64;
    Limits {
        cpu_seconds: 300 + seconds * (20 + 10 * megapixels) * slower,
        memory_bytes: (6 << 30) + megapixels * (256 << 20),
        file_bytes: 0,
    }
}
