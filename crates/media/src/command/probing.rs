//! ffprobe commands.

use super::args::{InputFile, probe_limits, words};
use crate::probe::MAX_PIXELS;

/// How far a probe reads if tracks begin late, seconds.
const DEEP_PROBE_SECONDS: f64 = 600.0;

/// Samples of a file in which packets are counted, and their length, seconds.
const SAMPLES: u32 = 48;
const PICTURE_SAMPLES: u32 = 16;
const SAMPLE_SECONDS: f64 = 3.0;

/// How far a file is read to know its tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeDepth {
    /// As far as ffmpeg reads by default: 5 MB, or 5 s.
    Usual,
    /// 256 MB, or ten minutes.
    Deep,
}

/// Arguments of an ffprobe that describes `input` as JSON, including its first packets, for [`crate::probe::parse`].
pub fn probe(input: InputFile<'_>, depth: ProbeDepth) -> Vec<String> {
    let mut args = words(
        "-v error -show_streams -show_programs -show_format -show_packets -read_intervals %+#4 -of json",
    );
    if depth == ProbeDepth::Deep {
        args.extend(probe_limits(DEEP_PROBE_SECONDS));
    }
    args.extend(["-max_pixels".into(), MAX_PIXELS.to_string()]);
    args.extend(input.args());
    args
}

/// Arguments of an ffprobe that prints the HDR metadata of the first frame of stream `index`, for
/// [`crate::probe::parse_hdr_metadata`].
pub fn hdr_metadata(input: InputFile<'_>, index: u32) -> Vec<String> {
    let mut args = words("-v error -show_frames -show_streams -read_intervals %+#1 -of json -select_streams");
    args.push(index.to_string());
    args.extend(["-max_pixels".into(), MAX_PIXELS.to_string()]);
    args.extend(input.args());
    args
}

/// Arguments of an ffprobe that lists the packets of stream `index` in samples of the file, for
/// [`crate::rate::busiest_rate`]. `start` in the file's timestamps; `duration` in seconds.
pub fn packet_samples(input: InputFile<'_>, index: u32, start: f64, duration: f64) -> Vec<String> {
    packet_list(input, index, &samples(start, duration, SAMPLES))
}

/// Arguments of an ffprobe that lists the packets of all pictures in samples of the file, for
/// [`crate::probe::packet_counts`].
pub fn picture_samples(input: InputFile<'_>, start: f64, duration: f64) -> Vec<String> {
    let mut args = words("-v error -show_entries packet=stream_index,pts_time -of csv=p=0 -select_streams v");
    args.extend(["-read_intervals".into(), samples(start, duration, PICTURE_SAMPLES)]);
    args.extend(input.args());
    args
}

fn samples(start: f64, duration: f64, count: u32) -> String {
    let step = duration / f64::from(count);
    let intervals = (0..count).map(|sample| {
        let from = start + f64::from(sample) * step;
        format!("{from:.6}%{:.6}", from + step.min(SAMPLE_SECONDS))
    });
    intervals.collect::<Vec<_>>().join(",")
}

/// Arguments of an ffprobe that lists the packets of stream `index` between two times in the file's timestamps, for
/// [`crate::seek::last_keyframe`] and [`crate::seek::last_frame_end`].
pub fn packets(input: InputFile<'_>, index: u32, from: f64, to: f64) -> Vec<String> {
    packet_list(input, index, &format!("{from:.6}%{to:.6}"))
}

/// Arguments of an ffprobe that lists `count` packets of stream `index` from a time in the file's timestamps on, for
/// [`crate::seek::pause`].
pub fn packets_from(input: InputFile<'_>, index: u32, from: f64, count: usize) -> Vec<String> {
    packet_list(input, index, &format!("{from:.6}%+#{count}"))
}

/// Arguments of an ffprobe that lists the packets of all streams from a time in the file's timestamps on, for
/// [`crate::tail::packet_ends`].
pub fn last_packets(input: InputFile<'_>, from: f64) -> Vec<String> {
    let mut args =
        words("-v error -show_entries packet=stream_index,pts_time,dts_time,duration_time -of csv=p=0");
    args.extend(["-read_intervals".into(), format!("{from:.6}%")]);
    args.extend(input.args());
    args
}

fn packet_list(input: InputFile<'_>, index: u32, intervals: &str) -> Vec<String> {
    let mut args = words("-v error -show_entries packet=pts_time,dts_time,flags -of csv=p=0 -select_streams");
    args.push(index.to_string());
    args.extend(["-read_intervals".into(), intervals.into()]);
    args.extend(input.args());
    args
}
