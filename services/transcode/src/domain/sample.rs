//! A plan for tests of the rules.

use reelmill_media::{
    plan::{Options, Plan, plan},
    probe,
};

/// Plan of a video with one audio track.
pub(crate) fn planned(height: u32, fps: u32, seconds: f64, channels: u32) -> Plan {
    let (rate, length) = (format!("{fps}/1"), seconds.to_string());
    let probed = serde_json::json!({
        "streams": [
            {
                "index": 0, "codec_type": "video", "codec_name": "h264",
                "width": height * 16 / 9, "height": height, "r_frame_rate": rate, "avg_frame_rate": rate,
                "pix_fmt": "yuv420p", "duration": length,
            },
            {
                "index": 1, "codec_type": "audio", "codec_name": "aac", "channels": channels,
                "sample_rate": "48000", "tags": { "title": "Main" }, "duration": length,
            },
        ],
        "format": { "format_name": "mov", "duration": length },
    });
    let source = probe::parse(probed.to_string().as_bytes(), None).expect("valid probe output");
    plan(&source, &Options { threads: 2, ..Options::default() })
}
