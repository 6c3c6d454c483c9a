//! The encoders' options: closed groups of pictures of one length, capped constant quality, a fixed number of
//! threads, so that bytes depend on the plan alone.
//!
//! x264 and SVT-AV1 have one thread each. With more, what a cap leaves for a picture depends on how far another thread is
//! with its own (`update_vbv_plan` of x264's ratecontrol.c): wherever a cap is reached, no two runs give the same bytes. A
//! worker has as many slots as cores, and a task that is alone has threads for decoding and tone mapping besides. x265 has `const-vbv` against it; libvpx gives the same bytes as it is.

use super::words;
use crate::plan::{Codec, Rung};
use crate::probe::{HdrMetadata, VideoRange};

/// The video encoder of a rung with `group` frames from one keyframe to the next.
pub(super) fn video(
    rung: &Rung,
    group: u32,
    threads: u32,
    hdr_metadata: Option<&HdrMetadata>,
) -> Vec<String> {
    let encoding = &rung.encoding;
    let (preset, crf) = (&encoding.preset, encoding.crf);
    let (max, buffer) = (encoding.max_rate, encoding.buffer);
    words(&match encoding.codec {
        Codec::H264 => {
            let tuning = &encoding.tuning;
            let order = if encoding.in_order { " -bf 0" } else { "" };
            let tuned = if tuning.is_empty() { String::new() } else { format!(" -x264-params {tuning}") };
            format!(
                "-c:v libx264 -threads 1 -a53cc 0 -preset {preset}{tuned}{order} -crf {crf} -maxrate {max} -bufsize {buffer} \
                 -g {group} -keyint_min {group} -sc_threshold 0"
            )
        }
        Codec::Hevc => format!(
            "-c:v libx265 -tag:v hvc1 -preset {preset} -crf {crf} -x265-params log-level=error:keyint={group}:\
             min-keyint={group}:scenecut=0:open-gop=0:frame-threads=1:pools={threads}:const-vbv=1:vbv-maxrate={}:vbv-bufsize={}{}{}",
            max / 1000,
            buffer / 1000,
            if encoding.in_order { ":bframes=0" } else { "" },
            hdr_metadata.filter(|_| rung.range == VideoRange::Pq).map(hdr10).unwrap_or_default()
        ),
        Codec::Av1 => format!(
            "-c:v libsvtav1 -preset {preset} -crf {crf} -g {group} -svtav1-params \
             lp=1:keyint={group}:irefresh-type=2:scd=0:mbr={}",
            max / 1000
        ),
        Codec::Vp9 => format!(
            "-c:v libvpx-vp9 -threads {threads} -row-mt 1 -deadline good -cpu-used {preset} -crf {crf} -b:v {max} \
             -g {group} -keyint_min {group}"
        ),
    })
}

/// What x265 is to say of the light: the source's own words. Nothing where it says nothing: a display then takes its
/// own measure.
fn hdr10(hdr_metadata: &HdrMetadata) -> String {
    let display = hdr_metadata.display.map(|[gx, gy, bx, by, rx, ry, wx, wy, max, min]| {
        format!(":master-display=G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({max},{min})")
    });
    let content = hdr_metadata.content.map(|(most, mean)| format!(":max-cll={most},{mean}"));
    display.into_iter().chain(content).collect()
}
