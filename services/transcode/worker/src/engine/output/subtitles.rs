//! Subtitles: one WebVTT file per track.

use reelmill_media::{plan::Plan, subtitles::to_webvtt};
use tokio::{
    io::{AsyncReadExt, copy, sink},
    net::unix::pipe,
};

use crate::engine::output::{
    sink::{Content, Output, OutputKind},
    upload_context::{UploadContext, UploadError},
};

/// Most bytes of a track's events that are read; the rest is left out.
const MAX_EVENT_BYTES: u64 = 16 * 1024 * 1024;

/// Uploads a subtitle track, unless it has no cues. Returns whether text was lost.
pub(crate) async fn upload_subtitles(
    mut pipe: pipe::Receiver,
    rendition: &str,
    plan: &Plan,
    context: &UploadContext,
) -> Result<bool, UploadError> {
    let mut events = Vec::new();
    (&mut pipe).take(MAX_EVENT_BYTES).read_to_end(&mut events).await.map_err(UploadError::Pipe)?;
    // ffmpeg would stop at a pipe that is closed.
    let left_out = copy(&mut pipe, &mut sink()).await.map_err(UploadError::Pipe)?;
    if left_out > 0 {
        let end = events.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        events.truncate(end);
    }
    let converted = to_webvtt(&events, plan.presentation_time_offset());
    let is_incomplete = left_out > 0 || converted.lost_events > 0;
    if converted.cues == 0 {
        return Ok(is_incomplete);
    }
    let seconds = plan.duration().unwrap_or(0.0);
    let output = Output {
        name: format!("{rendition}/text.vtt"),
        size_bytes: converted.webvtt.len() as u64,
        rendition: rendition.to_owned(),
        kind: OutputKind::Segment { sequence: 0, start: 0.0, seconds, frames: 1, keyframe_bytes: 0 },
    };
    context.upload(output, Content::Bytes(converted.webvtt.into()), "text/vtt").await?;
    Ok(is_incomplete)
}
