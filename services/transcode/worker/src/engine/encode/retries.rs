//! Repeats ffmpeg when it landed after the keyframe, or when an audio track changes its format.

use reelmill_media::Failure;

use crate::engine::{
    encode::{
        encoded::Encoded,
        ffmpeg_run::{FfmpegRun, run_ffmpeg},
        request::EncodeRequest,
    },
    output::upload_context::UploadContext,
    probe::{
        prober::Prober,
        seek::{SeekFinder, SeekStrategy},
    },
};

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
    loop {
        let first_needed = request.start_time() - deinterlacer_lead(request);
        run.seek = finder.position(first_needed, run.strategy).await?;
        let encoded = run_ffmpeg(request, &run, uploads).await?;
        if encoded.has_audio_format_change && !run.audio_format_changes {
            run.audio_format_changes = true;
            // The segments of the failed run are uploaded; the same ones follow.
            for (rendition, segments) in encoded.segments() {
                let recorded = run.recorded.entry(rendition.to_owned()).or_default();
                *recorded = segments.max(*recorded);
            }
            continue;
        }
        match run.strategy.safer().filter(|_| encoded.starts_late) {
            // Nothing of a late rung has been uploaded.
            Some(safer) => run.strategy = safer,
            None => return Ok(encoded),
        }
    }
}

/// Seconds of video that a chunk's first frame needs before it: one frame for the deinterlacer, and one because
/// the grid may be off by up to a frame.
fn deinterlacer_lead(request: &EncodeRequest<'_>) -> f64 {
    let plan = request.plan;
    let interlaced = plan.source.video.as_ref().is_some_and(|video| video.interlaced);
    let video_plan = plan.video.as_ref().filter(|_| interlaced);
    video_plan.map_or(0.0, |video_plan| 2.0 / video_plan.rate.fps())
}
