//! Subtitles: one WebVTT file per track.

use reelmill_media::plan::Plan;
use tokio::{io::AsyncReadExt, net::unix::pipe};

use crate::engine::output::{
    sink::{Content, Output, OutputKind},
    upload_context::{UploadContext, UploadError},
};

/// Longest WebVTT file; the rest is cut off.
const MAX_VTT_BYTES: u64 = 8 * 1024 * 1024;
/// Clock rate of MPEG timestamps, Hz.
const MPEG_CLOCK_HZ: f64 = 90_000.0;

/// Uploads a subtitle track, unless it has no cues.
pub(crate) async fn upload_subtitles(
    pipe: pipe::Receiver,
    rendition: &str,
    plan: &Plan,
    context: &UploadContext,
) -> Result<(), UploadError> {
    let mut vtt = Vec::new();
    pipe.take(MAX_VTT_BYTES).read_to_end(&mut vtt).await.map_err(UploadError::Pipe)?;
    if !vtt.windows(3).any(|window| window == b"-->") {
        return Ok(());
    }
    let vtt = with_timestamp_map(vtt, plan.presentation_time_offset());
    let seconds = plan.duration().unwrap_or(0.0);
    let output = Output {
        name: format!("{rendition}/text.vtt"),
        size_bytes: vtt.len() as u64,
        rendition: rendition.to_owned(),
        kind: OutputKind::Segment { sequence: 0, start: 0.0, seconds, frames: 1, keyframe_bytes: 0 },
    };
    Ok(context.upload(output, Content::Bytes(vtt.into()), "text/vtt").await?)
}

/// Adds the header that maps cue times to the segments' timestamps (RFC 8216, section 3.5), if these do not
/// begin at zero.
fn with_timestamp_map(vtt: Vec<u8>, presentation_time_offset: f64) -> Vec<u8> {
    let end_of_header = vtt.iter().position(|&byte| byte == b'\n');
    let Some(end) = end_of_header.filter(|_| presentation_time_offset > 0.0) else { return vtt };
    let (header, cues) = vtt.split_at(end + 1);
    let ticks = presentation_time_offset * MPEG_CLOCK_HZ;
    let map = format!("X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:{ticks:.0}\n");
    [header, map.as_bytes(), cues].concat()
}
