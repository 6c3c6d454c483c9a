//! Encoder options: closed GOPs of constant length, capped constant quality, and a fixed number of threads, so that the
//! output bytes depend on the plan only.
//!
//! x264 and SVT-AV1 have one thread each. With more, the bits that a rate cap leaves for a frame depend on the progress of
//! other threads (`update_vbv_plan` in x264's ratecontrol.c): where the cap is reached, no two runs produce the same bytes.
//! A worker has as many slots as cores, and the only task of a job has threads for decoding and tone mapping besides. x265
//! has `const-vbv` for this; libvpx is deterministic by default.

use super::args::words;
use crate::{
    plan::{Codec, Rung},
    probe::{HdrMetadata, VideoRange},
};

/// Options of the video encoder of a rung, with a keyframe every `gop` frames.
pub(super) fn encoder_args(
    rung: &Rung,
    gop: u32,
    threads: u32,
    hdr_metadata: Option<&HdrMetadata>,
) -> Vec<String> {
    let encoding = &rung.encoding;
    let (preset, crf) = (&encoding.preset, encoding.crf);
    let (max, buffer) = (encoding.max_rate, encoding.buffer);
    words(&match encoding.codec {
        Codec::H264 => {
            let tuning = &encoding.tuning;
            let b_frames = if encoding.no_b_frames { " -bf 0" } else { "" };
            let params = if tuning.is_empty() { String::new() } else { format!(" -x264-params {tuning}") };
            format!(
                "-c:v libx264 -threads 1 -a53cc 0 -preset {preset}{params}{b_frames} -crf {crf} -maxrate {max} -bufsize {buffer} \
                 -g {gop} -keyint_min {gop} -sc_threshold 0"
            )
        }
        Codec::Hevc => format!(
            "-c:v libx265 -tag:v hvc1 -preset {preset} -crf {crf} -x265-params log-level=error:keyint={gop}:\
             min-keyint={gop}:scenecut=0:open-gop=0:frame-threads=1:pools={threads}:const-vbv=1:vbv-maxrate={}:vbv-bufsize={}{}{}",
            max / 1000,
            buffer / 1000,
            if encoding.no_b_frames { ":bframes=0" } else { "" },
            hdr_metadata.filter(|_| rung.range == VideoRange::Pq).map(hdr10_params).unwrap_or_default()
        ),
        Codec::Av1 => format!(
            "-c:v libsvtav1 -preset {preset} -crf {crf} -g {gop} -svtav1-params \
             lp=1:keyint={gop}:irefresh-type=2:scd=0:mbr={}",
            max / 1000
        ),
        Codec::Vp9 => format!(
            "-c:v libvpx-vp9 -threads {threads} -row-mt 1 -deadline good -cpu-used {preset} -crf {crf} -b:v {max} \
             -g {gop} -keyint_min {gop}"
        ),
    })
}

/// x265's parameters for the HDR metadata of the source. Values that the source does not state are left out: displays
/// then use their defaults.
fn hdr10_params(metadata: &HdrMetadata) -> String {
    let display = metadata.display.map(|[gx, gy, bx, by, rx, ry, wx, wy, max, min]| {
        format!(":master-display=G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({max},{min})")
    });
    let content = metadata.content.map(|(max_cll, max_fall)| format!(":max-cll={max_cll},{max_fall}"));
    display.into_iter().chain(content).collect()
}
