//! Repeats ffmpeg when it landed after the keyframe, or when an audio track changes its format.

use reelmill_media::{
    Failure,
    clock::MAX_GAP_SECONDS,
    plan::{Chunk, Plan},
    seek,
};

use crate::engine::{
    encode::{
        encoded::Encoded,
        ffmpeg_run::{FfmpegRun, run_ffmpeg},
        request::EncodeRequest,
    },
    output::upload_context::UploadContext,
    probe::{
        prober::Prober,
        seek::{SeekFinder, SeekStrategy, Window},
    },
};

/// Seconds of audio that are decoded before the first frame that is encoded.
const AUDIO_LEAD_SECONDS: f64 = 2.0;
/// The same if that was too little.
const WIDE_AUDIO_LEAD_SECONDS: f64 = 30.0;
/// How much longer than the picture sound may last at the start of a gap, or begin earlier at its end, seconds.
const GAP_MARGIN_SECONDS: f64 = 30.0;

/// Encodes a work unit with the fastest seek that yields all frames.
pub(crate) async fn encode_with_retries(
    request: &EncodeRequest<'_>,
    uploads: &UploadContext,
) -> Result<Encoded, Failure> {
    let finder = SeekFinder {
        prober: Prober { tools: request.tools, session: request.session, scratch: request.scratch },
        plan: request.plan,
        max_list_bytes: request.limits.max_packet_list_bytes,
    };
    let mut run = FfmpegRun {
        recorded: request.recorded.clone(),
        // Some files have keyframes from which they cannot be decoded. A short video need not be sought.
        strategy: if request.plan.is_short() { SeekStrategy::FromStart } else { SeekStrategy::Exact },
        seek: None,
        last_frame_end: finder.last_frame_end(&request.work_unit).await?,
        audio_format_changes: false,
    };
    let mut still = None;
    loop {
        run.seek = if let Some(chunk) = request.chunk() {
            let time = request.start_time() - deinterlacer_lead(request);
            let position = finder.position(time, run.strategy).await?;
            if still.is_none()
                && let Some(window) = position.window.filter(|_| request.is_middle_chunk())
            {
                still = still_chunk(request, &finder, &chunk, window).await;
            }
            position.seek
        } else {
            audio_position(request, run.strategy)
        };
        let plan = still.as_ref().map_or(request.plan, |still| &still.plan);
        let mut encoded = run_ffmpeg(&EncodeRequest { plan, ..request.clone() }, &run, uploads).await?;
        encoded.gap = still.as_ref().and_then(|still| still.gap);
        let is_format_changed = encoded.has_audio_format_change && !run.audio_format_changes;
        // Its end may be silence that sound follows.
        let is_cut_short = run.seek.is_some() && request.lacks_audio(&encoded) && !encoded.starts_late;
        if is_format_changed || is_cut_short {
            run.audio_format_changes |= is_format_changed;
            run.strategy = if is_cut_short { SeekStrategy::FromStart } else { run.strategy };
            encoded.add_to(&mut run.recorded);
            continue;
        }
        match run.strategy.safer().filter(|_| encoded.starts_late) {
            // Nothing of a late rung has been uploaded.
            Some(safer) => run.strategy = safer,
            None => {
                if encoded.may_lack_data && !encoded.is_damaged {
                    encoded.is_damaged =
                        finder.lacks_data(request.start_time(), request.end_time()).await.unwrap_or(false);
                }
                return Ok(encoded);
            }
        }
    }
}

/// A chunk throughout which one picture is shown.
struct StillChunk {
    /// Its first segment stands for all of them.
    plan: Plan,
    /// Times between which nothing is recorded, if it is for long and this is the first such chunk, seconds.
    gap: Option<(f64, f64)>,
}

async fn still_chunk(
    request: &EncodeRequest<'_>,
    finder: &SeekFinder<'_>,
    chunk: &Chunk,
    window: Window,
) -> Option<StillChunk> {
    let index = request.work_unit.chunk.unwrap_or_default();
    let plan = request.plan.with_still_chunk(index)?;
    // A packet list that fails costs no more than the encode of the whole chunk.
    let (from, to) = finder.pause(chunk, window).await.ok().flatten()?;
    let start_before = request.plan.video.as_ref().map_or(0.0, |video| video.chunk_start(index - 1));
    // Without sound, a picture that is shown for long looks the same.
    let is_reported = !request.plan.source.audio.is_empty()
        && to - from > MAX_GAP_SECONDS
        && from >= start_before
        && !finder.has_sound(from + GAP_MARGIN_SECONDS, to - GAP_MARGIN_SECONDS).await.unwrap_or(true);
    Some(StillChunk { plan, gap: is_reported.then_some((from, to)) })
}

/// Where a later part of audio is sought.
fn audio_position(request: &EncodeRequest<'_>, strategy: SeekStrategy) -> Option<f64> {
    let lead = match strategy {
        SeekStrategy::Exact => AUDIO_LEAD_SECONDS,
        SeekStrategy::WideMargin => WIDE_AUDIO_LEAD_SECONDS,
        SeekStrategy::FromStart => return None,
    };
    if !request.is_later_audio() {
        return None;
    }
    seek::seek_audio(&request.plan.source, request.start_time() + request.plan.time_origin, lead)
}

/// Seconds of video that a chunk's first frame needs before it: one frame for the deinterlacer, and one because
/// the grid may be off by up to a frame.
fn deinterlacer_lead(request: &EncodeRequest<'_>) -> f64 {
    let plan = request.plan;
    let interlaced =
        plan.source.video.as_ref().is_some_and(|video| video.interlaced || video.may_turn_interlaced);
    let video_plan = plan.video.as_ref().filter(|_| interlaced);
    video_plan.map_or(0.0, |video_plan| 2.0 / video_plan.rate.fps())
}
