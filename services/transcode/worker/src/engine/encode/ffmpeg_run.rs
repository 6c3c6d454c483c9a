//! One run of ffmpeg.

use std::{collections::HashMap, time::Duration};

use reelmill_media::{
    Failure, FailureKind,
    command::{self, EncodeCommand, FIRST_FD, Input},
    fragments::FragmentError,
};
use tokio::task::JoinSet;

use crate::engine::{
    activity::Activity,
    encode::{
        encoded::Encoded,
        pipes::{PipeReaders, PipeResult, Read},
        process_limits,
        request::EncodeRequest,
    },
    exit_status::{self, Circumstances, ExitStatus},
    failure::{crashed, output_failed, source_unreadable},
    host_memory,
    output::upload_context::{UploadContext, UploadError},
    probe::seek::SeekStrategy,
    process::child::{self, Process, ProcessExit},
};

/// Interval at which the watchdog checks for activity.
const WATCHDOG_INTERVAL: Duration = Duration::from_secs(1);

/// What differs between runs of ffmpeg for one work unit.
pub(crate) struct FfmpegRun {
    /// Number of segments that are recorded already, by rendition.
    pub recorded: HashMap<String, u32>,
    pub strategy: SeekStrategy,
    /// Seek position, seconds after the start of the file.
    pub seek: Option<f64>,
    /// End of the last frame, in the file's timestamps.
    pub last_frame_end: Option<f64>,
    /// Whether the audio filters must accept format changes.
    pub audio_format_changes: bool,
}

/// Why reading the pipes ended early.
enum PipeError {
    Failed(Failure),
    /// A stream is incomplete: how ffmpeg exited says why.
    Incomplete(UploadError),
}

/// Runs ffmpeg and uploads what it encodes.
pub(crate) async fn run_ffmpeg(
    request: &EncodeRequest<'_>,
    run: &FfmpegRun,
    uploads: &UploadContext,
) -> Result<Encoded, Failure> {
    uploads.activity().touch();
    let (mut process, mut readers) = start(request, run, uploads)?;
    let stall_timeout = request.limits.stall_timeout;
    let read = read_pipes(&mut readers, &mut process, uploads.activity(), stall_timeout).await;
    if read.as_ref().is_ok_and(|encoded| encoded.starts_late) || read.is_err() {
        process.kill();
    }
    // Ending the readers closes the pipes, so that ffmpeg cannot block on a full one.
    readers.shutdown().await;
    // With its pipes closed ffmpeg has nothing left to do; it is killed if it does not exit.
    let exit = process.wait_or_kill(stall_timeout).await.map_err(|error| crashed(&error))?;
    if let Some(error) = request.session.reader().first_error() {
        return Err(source_unreadable(&error));
    }
    let mut encoded = match read {
        Ok(encoded) => encoded,
        Err(PipeError::Failed(failure)) => return Err(failure),
        Err(PipeError::Incomplete(error)) => {
            classify(&exit, &Encoded::default(), request)?;
            return Err(crashed(&error));
        }
    };
    if !run.audio_format_changes && exit_status::reports_audio_format_change(&exit) {
        encoded.has_audio_format_change = true;
        return Ok(encoded);
    }
    // A chunk in the middle of the video that is empty: the seek led to frames that cannot be decoded. An
    // earlier start repeats the last decodable frame instead.
    encoded.starts_late |=
        is_empty(&encoded, request) && request.is_middle_chunk() && run.strategy != SeekStrategy::FromStart;
    if encoded.starts_late {
        return Ok(encoded);
    }
    encoded.may_be_incomplete = !exit_status::is_explained_by_the_file(&exit);
    let status = classify(&exit, &encoded, request)?;
    encoded.is_damaged = status == ExitStatus::Damaged;
    encoded.is_cut_off = status == ExitStatus::CutOff;
    encoded.may_lack_data = exit_status::reports_skipped_bytes(&exit);
    Ok(encoded)
}

/// Starts ffmpeg, and a reader for each of its pipes.
fn start(
    request: &EncodeRequest<'_>,
    run: &FfmpegRun,
    uploads: &UploadContext,
) -> Result<(Process, JoinSet<PipeResult>), Failure> {
    let EncodeRequest { tools, session, plan, work_unit, scratch, .. } = request;
    let input = Input {
        address: session.uri(),
        seek: run.seek,
        end: run.last_frame_end,
        audio_format_changes: run.audio_format_changes,
    };
    let EncodeCommand { args, streams } = command::encode(plan, work_unit, &input);
    let limits = process_limits::process_limits(plan, work_unit);
    let is_urgent = plan.is_express(work_unit);
    let jailed = tools.jail.for_source(scratch, session.port(), limits).urgent(is_urgent);
    let started = child::start(&jailed, &tools.ffmpeg, &args, FIRST_FD, streams.len());
    let (process, pipes) = started.map_err(|error| crashed(&error))?;
    let mut readers = JoinSet::new();
    let expected_start = run.seek.map(|_| request.start_time());
    let reader = PipeReaders { request, recorded: &run.recorded, expected_start, uploads };
    for (stream, pipe) in streams.into_iter().zip(pipes) {
        reader.spawn(&mut readers, stream, pipe);
    }
    Ok((process, readers))
}

/// Collects the results of the readers, and fails when there is no activity for `stall_timeout`.
async fn read_pipes(
    readers: &mut JoinSet<PipeResult>,
    process: &mut Process,
    activity: &Activity,
    stall_timeout: Duration,
) -> Result<Encoded, PipeError> {
    let mut encoded = Encoded::default();
    let mut incomplete = None;
    let mut watchdog = tokio::time::interval(WATCHDOG_INTERVAL.min(stall_timeout));
    loop {
        let joined = tokio::select! {
            joined = readers.join_next() => joined,
            _ = watchdog.tick() => {
                if activity.idle() <= stall_timeout {
                    continue;
                }
                return Err(PipeError::Failed(Failure::new(
                    FailureKind::EncoderStalled,
                    "The encoder made no progress. The task is retried.",
                )));
            }
        };
        let Some(joined) = joined else { break };
        let result = joined.map_err(|error| PipeError::Failed(crashed(&error)))?;
        match result {
            Ok(Read::Rung(index, track)) => encoded.rungs.push((index, track)),
            Ok(Read::Audio(index, track)) => encoded.audio.push((index, track)),
            Ok(Read::IncompleteSubtitles) => encoded.lacks_subtitles = true,
            Ok(Read::Other) => {}
            Err(error @ UploadError::Stream(_)) => {
                // A stream that is cut short means that ffmpeg is exiting. Otherwise it would block on a pipe
                // that is not read.
                if !matches!(error, UploadError::Stream(FragmentError::CutShort)) {
                    process.kill();
                }
                incomplete.get_or_insert(error);
            }
            Err(UploadError::StartsLate) => {
                encoded.starts_late = true;
                return Ok(encoded);
            }
            Err(UploadError::Sink(error)) => {
                return Err(PipeError::Failed(output_failed(&error)));
            }
            Err(error) => return Err(PipeError::Failed(crashed(&error))),
        }
    }
    encoded.rungs.sort_by_key(|(index, _)| *index);
    encoded.audio.sort_by_key(|(index, _)| *index);
    incomplete.map_or(Ok(encoded), |error| Err(PipeError::Incomplete(error)))
}

fn classify(
    exit: &ProcessExit,
    encoded: &Encoded,
    request: &EncodeRequest<'_>,
) -> Result<ExitStatus, Failure> {
    // A later chunk is empty if the file ends earlier than its container states, and a later part of audio if that ends
    // before it. Audio of which nothing can be decoded is a failure, so that other tracks are tried without it.
    let has_only_subtitles = request.work_unit.rungs.is_empty() && request.work_unit.audio.is_empty();
    let is_ended_audio = request.is_later_audio() && exit.status.success();
    let may_be_empty = request.is_later_chunk() || is_ended_audio || has_only_subtitles;
    let circumstances = Circumstances {
        is_empty: is_empty(encoded, request),
        may_be_empty,
        is_cut_off: request.plan.source.stated_duration.is_some(),
        has_video: request.plan.source.video.is_some(),
        is_host_low: host_memory::is_low(),
    };
    match exit_status::classify_encode(exit, circumstances) {
        // The first part reports it, too, if it is more than the end that is missing.
        Err(failure) if request.is_later_audio() && failure.kind == FailureKind::FileTruncated => {
            Ok(ExitStatus::Damaged)
        }
        classified => classified,
    }
}

/// Whether no segment of the work unit's main tracks was encoded.
fn is_empty(encoded: &Encoded, request: &EncodeRequest<'_>) -> bool {
    let has_rungs = !request.work_unit.rungs.is_empty();
    let tracks = if has_rungs { &encoded.rungs } else { &encoded.audio };
    tracks.iter().all(|(_, track)| track.segments == 0)
}
