//! Encodes one work unit: the whole video, or a chunk of it, with the renditions that the plan assigns to it.
//!
//! `fallback` leaves out tracks that keep ffmpeg from decoding anything; `retries` repeats ffmpeg with a safer
//! seek or changed audio filters; `ffmpeg_run` is one run of ffmpeg, whose pipes `pipes` reads.

pub(crate) mod encoded;
pub(crate) mod fallback;
pub(crate) mod ffmpeg_run;
pub(crate) mod pipes;
pub(crate) mod process_limits;
pub(crate) mod request;
pub(crate) mod retries;
pub(crate) mod warnings;

use reelmill_media::Failure;

use crate::engine::{
    encode::{encoded::Encoded, request::EncodeRequest},
    output::upload_context::UploadContext,
};

/// Encodes a work unit and uploads its outputs. Returns warnings for the uploader.
pub(crate) async fn encode(
    request: EncodeRequest<'_>,
    uploads: &UploadContext,
) -> Result<(Encoded, Vec<Failure>), Failure> {
    let plan = request.plan;
    let is_later_audio = request.is_later_audio();
    let is_first = request.work_unit.priority == 0;
    let (encoded, mut warnings) = fallback::encode_decodable_tracks(request, uploads).await?;
    // Audio that ends before its later part is complete.
    if !is_later_audio && encoded.audio.iter().any(|(_, track)| track.segments == 0) {
        warnings.push(warnings::track_skipped("audio"));
    }
    if encoded.lacks_subtitles {
        warnings.push(warnings::subtitles_incomplete());
    }
    warnings.extend(encoded.gap.map(|(from, to)| warnings::time_gap(from, to)));
    if encoded.is_cut_off && (plan.duration().is_none() || !plan.source.is_seekable) {
        // A stated duration tells how much is missing; this file states none.
        warnings.push(warnings::cut_off());
    }
    if encoded.is_damaged {
        warnings.push(warnings::partly_damaged());
    }
    // Once per job, not once per work unit.
    if is_first {
        warnings.extend(warnings::about_source(&plan.source));
    }
    Ok((encoded, warnings))
}
