//! Fallback for tracks that cannot be decoded: they stop ffmpeg before the first frame. A video without some of
//! its audio or subtitles is better than none.

use reelmill_media::{
    Failure, FailureKind,
    plan::{Plan, WorkUnit},
};

use crate::engine::{
    encode::{encoded::Encoded, request::EncodeRequest, retries::encode_with_retries, warnings},
    output::upload_context::UploadContext,
};

/// A work unit without some tracks, and what they are.
type Reduced = (WorkUnit, Vec<&'static str>);

/// Encodes a work unit, if necessary without the tracks that cannot be decoded. Returns a warning for each kind
/// that was left out.
pub(crate) async fn encode_decodable_tracks(
    mut request: EncodeRequest<'_>,
    uploads: &UploadContext,
) -> Result<(Encoded, Vec<Failure>), Failure> {
    let mut warnings = Vec::new();
    let mut reduced = reduced_work_units(request.plan, &request.work_unit).into_iter();
    loop {
        uploads.activity().touch();
        let failure = match encode_with_retries(&request, uploads).await {
            Ok(mut encoded) => {
                encoded.may_be_incomplete |= !warnings.is_empty();
                return Ok((encoded, warnings));
            }
            Err(failure) => failure,
        };
        // A track whose samples are all in the missing part of a truncated file cannot be decoded, either.
        let is_undecodable = matches!(
            failure.kind,
            FailureKind::DecodeFailed | FailureKind::CodecUnsupported | FailureKind::FileTruncated
        );
        if !is_undecodable {
            return Err(failure);
        }
        match reduced.next() {
            Some((work_unit, skipped)) => {
                request.work_unit = work_unit;
                warnings = skipped.into_iter().map(warnings::track_skipped).collect();
            }
            // The audio of a video: other work units encode the rungs.
            None if request.work_unit.rungs.is_empty() && request.plan.video.is_some() => {
                let encoded = Encoded { may_be_incomplete: true, ..Encoded::default() };
                return Ok((encoded, vec![warnings::track_skipped("audio")]));
            }
            None => return Err(failure),
        }
    }
}

/// The work unit without the tracks that may be the cause, beginning with the least important ones: subtitles,
/// the cover image, some of the audio tracks, all audio.
fn reduced_work_units(plan: &Plan, work_unit: &WorkUnit) -> Vec<Reduced> {
    let mut reduced: Vec<Reduced> = Vec::new();
    let is_audio_only = work_unit.rungs.is_empty() && plan.video.is_none();
    let has_media = !work_unit.rungs.is_empty() || !work_unit.audio.is_empty();
    let (mut rest, mut skipped) = (work_unit.clone(), Vec::new());
    if !rest.subtitles.is_empty() && has_media {
        rest.subtitles.clear();
        skipped.push("subtitles");
        reduced.push((rest.clone(), skipped.clone()));
    }
    if is_audio_only && rest.poster {
        rest.poster = false;
        skipped.push("cover");
        reduced.push((rest.clone(), skipped.clone()));
    }
    // ffmpeg does not report which audio track failed: try the main one only, then all others.
    skipped.push("audio");
    if let [main, others @ ..] = &work_unit.audio[..]
        && !others.is_empty()
    {
        reduced.push((WorkUnit { audio: vec![*main], ..rest.clone() }, skipped.clone()));
        reduced.push((WorkUnit { audio: others.to_vec(), ..rest.clone() }, skipped.clone()));
    }
    if !rest.rungs.is_empty() && !rest.audio.is_empty() {
        reduced.push((WorkUnit { audio: Vec::new(), ..rest }, skipped));
    }
    reduced
}
