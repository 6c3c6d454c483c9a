//! Probed sources of videos that are planned but not encoded.

use reelmill_media::probe;
use serde_json::{Value, json};

/// A video of a minute that is planned as a few work units: 360p, without sound.
pub fn small() -> anyhow::Result<Vec<u8>> {
    let video = json!({
        "index": 0, "codec_type": "video", "codec_name": "h264", "width": 640, "height": 360,
        "r_frame_rate": "25/1", "avg_frame_rate": "25/1", "pix_fmt": "yuv420p", "duration": "60",
    });
    source(&[video], "60")
}

/// 1080p30 with stereo sound.
pub fn with_sound(seconds: f64) -> anyhow::Result<Vec<u8>> {
    let seconds = seconds.to_string();
    let video = json!({
        "index": 0, "codec_type": "video", "codec_name": "h264", "width": 1920, "height": 1080,
        "r_frame_rate": "30/1", "avg_frame_rate": "30/1", "pix_fmt": "yuv420p", "duration": seconds,
    });
    let audio = json!({
        "index": 1, "codec_type": "audio", "codec_name": "aac", "channels": 2, "sample_rate": "48000",
        "tags": { "language": "eng" }, "duration": seconds,
    });
    source(&[video, audio], &seconds)
}

/// The source as workers send it by PlanJob.
fn source(streams: &[Value], seconds: &str) -> anyhow::Result<Vec<u8>> {
    let probed = json!({ "streams": streams, "format": { "format_name": "mov", "duration": seconds } });
    let source = probe::parse(probed.to_string().as_bytes(), None);
    Ok(serde_json::to_vec(&source.map_err(|failure| anyhow::anyhow!(failure.message))?)?)
}
