//! The encoders' options: closed groups of pictures of one length, capped constant quality, a fixed number of
//! threads, so that bytes depend on the plan alone.

use super::words;
use crate::plan::{Codec, Rung};

/// The video encoder of a rung with `group` frames from one keyframe to the next.
pub(super) fn video(rung: &Rung, group: u32, threads: u32) -> Vec<String> {
    let encoding = &rung.encoding;
    let (preset, crf) = (&encoding.preset, encoding.crf);
    let (max, buffer) = (encoding.max_rate, encoding.buffer);
    words(&match encoding.codec {
        Codec::H264 => {
            let tuning = &encoding.tuning;
            let tuned = if tuning.is_empty() { String::new() } else { format!(" -x264-params {tuning}") };
            format!(
                "-c:v libx264 -threads {threads} -preset {preset}{tuned} -crf {crf} -maxrate {max} -bufsize {buffer} \
                 -g {group} -keyint_min {group} -sc_threshold 0"
            )
        }
        Codec::Hevc => format!(
            "-c:v libx265 -tag:v hvc1 -preset {preset} -crf {crf} -x265-params log-level=error:keyint={group}:\
             min-keyint={group}:scenecut=0:open-gop=0:frame-threads=1:pools={threads}:vbv-maxrate={}:vbv-bufsize={}",
            max / 1000,
            buffer / 1000
        ),
        Codec::Av1 => format!(
            "-c:v libsvtav1 -preset {preset} -crf {crf} -g {group} -svtav1-params \
             lp={threads}:keyint={group}:irefresh-type=2:scd=0:mbr={}",
            max / 1000
        ),
        Codec::Vp9 => format!(
            "-c:v libvpx-vp9 -threads {threads} -row-mt 1 -deadline good -cpu-used {preset} -crf {crf} -b:v {max} \
             -g {group} -keyint_min {group}"
        ),
    })
}
