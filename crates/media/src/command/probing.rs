//! ffprobe commands.

use super::args::{demuxer_limits, probe_limits, words};
use crate::probe::MAX_PIXELS;

/// How far a probe reads if tracks begin late, seconds.
const DEEP_PROBE_SECONDS: f64 = 600.0;

/// How far a file is read to know its tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeDepth {
    /// As far as ffmpeg reads by default: 5 MB, or 5 s.
    Usual,
    /// 256 MB, or ten minutes.
    Deep,
}

/// Arguments of an ffprobe that describes `input` as JSON, including its first packets, for [`crate::probe::parse`].
pub fn probe(input: &str, depth: ProbeDepth) -> Vec<String> {
    let mut args = words(
        "-v error -show_streams -show_programs -show_format -show_packets -read_intervals %+#4 -of json",
    );
    args.extend(demuxer_limits());
    if depth == ProbeDepth::Deep {
        args.extend(probe_limits(DEEP_PROBE_SECONDS));
    }
    args.extend(["-max_pixels".into(), MAX_PIXELS.to_string(), "-i".into(), input.into()]);
    args
}

/// Arguments of an ffprobe that prints the HDR metadata of the first frame of stream `index`, for
/// [`crate::probe::parse_hdr_metadata`].
pub fn hdr_metadata(input: &str, index: u32) -> Vec<String> {
    let mut args = words("-v error -show_frames -show_streams -read_intervals %+#1 -of json -select_streams");
    args.push(index.to_string());
    args.extend(demuxer_limits());
    args.extend(["-max_pixels".into(), MAX_PIXELS.to_string(), "-i".into(), input.into()]);
    args
}

/// Arguments of an ffprobe that lists the packets of stream `index` between two times in the file's timestamps, for
/// [`crate::seek::last_keyframe`] and [`crate::seek::last_frame_end`].
pub fn packets(input: &str, index: u32, from: f64, to: f64) -> Vec<String> {
    let mut args = words("-v error -show_entries packet=pts_time,dts_time,flags -of csv=p=0 -select_streams");
    args.push(index.to_string());
    args.push("-read_intervals".into());
    args.push(format!("{from:.6}%{to:.6}"));
    args.extend(demuxer_limits());
    args.extend(["-i".into(), input.into()]);
    args
}
