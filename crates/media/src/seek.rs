//! Where decoding of a chunk starts: which keyframe, and the time to seek to for it. And where the last frame ends.

use crate::probe::{Source, number, packet_times};

/// The longest time for which the last frame of a file may be repeated, seconds.
pub const MAX_LAST_FRAME_SECONDS: f64 = 1.0;
/// ffprobe prints times to the microsecond.
const TIME_RESOLUTION_SECONDS: f64 = 0.000_001;
/// Seeking this much after a keyframe selects it in spite of rounded timestamps.
const SEEK_EPSILON_SECONDS: f64 = 0.001;
/// ffmpeg seeks this much earlier than requested if a stream has B-frames, except in MP4.
const B_FRAME_SEEK_SECONDS: f64 = 3.0 / 23.0;
/// Safety margin of [`seek_with_margin`]. No container has needed more.
const SEEK_MARGIN_SECONDS: f64 = 0.3;

/// A keyframe, in the file's timestamps, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keyframe {
    /// Presentation time.
    pub pts: f64,
    /// Decode time.
    pub dts: f64,
    /// Presentation time of the next keyframe, if known.
    pub next_pts: Option<f64>,
}

/// Parses `ffprobe -show_entries packet=pts_time,dts_time,flags -of csv=p=0` of the video stream: returns the last
/// keyframe presented at or before `time`.
pub fn last_keyframe(packets: &str, time: f64) -> Option<Keyframe> {
    let due = time + TIME_RESOLUTION_SECONDS;
    let keyframe = |line: &str| {
        let mut fields = line.split(',');
        let (pts, dts, flags) = (fields.next()?, fields.next()?, fields.next()?);
        // Some containers have no presentation time for keyframes.
        let pts = number(pts).or(number(dts))?;
        flags.starts_with('K').then(|| (pts, number(dts).unwrap_or(pts)))
    };
    let keyframes = || packets.lines().filter_map(keyframe);
    let (pts, dts) = keyframes().filter(|&(pts, _)| pts <= due).max_by(|a, b| a.0.total_cmp(&b.0))?;
    let next_pts = keyframes().map(|(pts, _)| pts).filter(|&later| later > due).reduce(f64::min);
    Some(Keyframe { pts, dts, next_pts })
}

/// The end of a video whose container states `stated`, from a list of its last packets in the same format.
///
/// None if the last frame starts after `stated`, or more than [`MAX_LAST_FRAME_SECONDS`] before it: then the end of the
/// file is missing. The last frame lasts at least as long as the one before, but `frame` seconds are enough.
pub fn last_frame_end(packets: &str, stated: f64, frame: f64) -> Option<f64> {
    let mut pts: Vec<f64> = packet_times(packets).collect();
    pts.sort_by(f64::total_cmp);
    let last = pts.pop()?;
    let duration = pts.last().map_or(frame, |before| frame.min(last - before));
    (-TIME_RESOLUTION_SECONDS..=MAX_LAST_FRAME_SECONDS + TIME_RESOLUTION_SECONDS)
        .contains(&(stated - last))
        .then_some(stated.max(last + duration))
}

/// The end of a picture that ends before other tracks do, from a list of its last packets in the same format: its last frame
/// is shown for `frame` seconds at least.
pub fn picture_end(packets: &str, frame: f64) -> Option<f64> {
    packet_times(packets).reduce(f64::max).map(|last| last + frame)
}

/// Whether a list of packets in the same format has one at or after `time`: a list from there on may begin earlier.
pub fn has_packet_from(packets: &str, time: f64) -> bool {
    packet_times(packets).any(|packet| packet >= time)
}

/// The longest time between consecutive packets of a list in the same format, seconds.
pub fn longest_gap(packets: &str) -> f64 {
    let mut times: Vec<f64> = packet_times(packets).collect();
    times.sort_by(f64::total_cmp);
    times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
}

/// Times between which a list of packets in the same format has none, if they are more than `longer_than` apart, seconds. None
/// if a time is unknown, as in [`pause`].
pub fn pauses(packets: &str, longer_than: f64) -> Vec<(f64, f64)> {
    if packets.lines().any(|line| line.split(',').next().and_then(number).is_none()) {
        return Vec::new();
    }
    let mut times: Vec<f64> = packet_times(packets).collect();
    times.sort_by(f64::total_cmp);
    let pairs = times.windows(2).map(|pair| (pair[0], pair[1]));
    pairs.filter(|(from, to)| to - from > longer_than).collect()
}

/// Times of the last frame that is displayed by `from` and the first one at or after `until`, seconds, from a list of packets in
/// the same format. None if one is displayed between them, or if there is none before or after, or none of known time.
pub fn pause(packets: &str, from: f64, until: f64) -> Option<(f64, f64)> {
    let (mut before, mut after) = (f64::NEG_INFINITY, f64::INFINITY);
    for line in packets.lines() {
        let time = number(line.split(',').next()?)?;
        if time <= from {
            before = before.max(time);
        } else if time >= until {
            after = after.min(time);
        } else {
            return None;
        }
    }
    (before.is_finite() && after.is_finite()).then_some((before, after))
}

/// Where to seek, seconds after the file's start, so that decoding starts with `key` and not with the keyframe before
/// it, as exactly as the container's demuxer allows. None to start at the beginning.
pub fn seek_to(source: &Source, key: &Keyframe) -> Option<f64> {
    let earlier = if source.has_b_frames { B_FRAME_SEEK_SECONDS } else { 0.0 };
    let before_next =
        |at: f64| key.next_pts.map_or(at, |next| at.min((next - SEEK_EPSILON_SECONDS).max(key.pts)));
    let at = match demuxer(source) {
        "mov" => key.pts + SEEK_EPSILON_SECONDS,
        "matroska" => before_next(key.pts + earlier + SEEK_EPSILON_SECONDS),
        "flv" => before_next(key.dts + earlier + SEEK_EPSILON_SECONDS),
        _ => return seek_with_margin(source, key),
    };
    Some(at - source.start_time).filter(|&seek| seek > 0.0)
}

/// Where to seek for `key` with a safety margin, at the cost of decoding one GOP more. None to start at the beginning.
pub fn seek_with_margin(source: &Source, key: &Keyframe) -> Option<f64> {
    Some(key.dts - SEEK_MARGIN_SECONDS - source.start_time).filter(|&seek| seek > 0.0)
}

/// Whether the container indexes its keyframes with exact times, so that its demuxer seeks to one.
pub fn lists_keyframes(source: &Source) -> bool {
    demuxer(source) == "mov"
}

/// Whether audio can be decoded from any time on with the same samples as from the start: its times are exact.
pub fn can_seek_audio(source: &Source) -> bool {
    lists_keyframes(source)
}

/// Where to seek for audio that is needed from `time` of the file on, with a number of seconds before it that a decoder needs
/// to be as if it had decoded everything. None to start at the beginning.
pub fn seek_audio(source: &Source, time: f64, lead: f64) -> Option<f64> {
    Some(time - lead - source.start_time).filter(|&seek| seek > 0.0 && can_seek_audio(source))
}

/// The first name of ffmpeg's demuxer.
fn demuxer(source: &Source) -> &str {
    source.container.split(',').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Keyframe, last_frame_end, last_keyframe, lists_keyframes, longest_gap, pause, seek_to};
    use crate::probe::parse;

    #[test]
    fn pauses_are_longer_than_asked_and_in_order() {
        let list = "1.0,0,K\n90.0,1,_\n2.0,2,_\n91.0,3,_\n200.0,4,K\n";
        assert_eq!(super::pauses(list, 64.0), [(2.0, 90.0), (91.0, 200.0)]);
        assert_eq!(super::pauses(list, 100.0), [(91.0, 200.0)]);
        assert_eq!(super::pauses("", 64.0), []);
        assert_eq!(super::pauses("1.0,0,K\nN/A,2,_\n200.0,4,K\n", 64.0), []);
    }

    #[test]
    fn last_keyframe_returns_the_one_at_or_before_the_time() {
        let packets =
            "0.066,0.000,K__\n0.200,0.033,___\n2.066,2.000,K__\nN/A,2.1,___\n4.066,4.000,K_\njunk\n";
        let found = |time| last_keyframe(packets, time).map(|key| (key.pts, key.dts, key.next_pts));
        assert_eq!(found(4.0), Some((2.066, 2.0, Some(4.066))));
        assert_eq!(found(4.066), Some((4.066, 4.0, None)));
        assert_eq!(found(0.0), None);
        let avi = last_keyframe("N/A,1.0,K__", 1.0).expect("keyframe");
        assert_eq!((avi.pts, avi.dts), (1.0, 1.0));
    }

    #[test]
    fn last_frame_end_is_the_stated_end_if_plausible() {
        let packets = "1.0,0.8,K__\n1.4,0.9,___\n1.2,1.0,___\nN/A,1.1,___\njunk\n";
        let ends = |stated| last_frame_end(packets, stated, 0.1).map(|end| (end * 1000.0).round());
        assert_eq!((ends(1.5), ends(2.4)), (Some(1500.0), Some(2400.0)));
        assert_eq!(
            (ends(1.4), ends(1.42)),
            (Some(1500.0), Some(1500.0)),
            "at least the duration of the frame before"
        );
        let long_frame = last_frame_end(packets, 1.5, 1.0).map(|end| (end * 1000.0).round());
        assert_eq!(long_frame, Some(1600.0), "a longer output frame needs no more than the file has");
        assert_eq!(last_frame_end("1.4,0.9,K__\n", 1.4, 0.1), Some(1.5));
        assert_eq!(ends(1.3), None, "frames follow the stated end");
        assert_eq!(ends(2.5), None, "the end of the file is missing");
        assert_eq!(last_frame_end("", 1.0, 0.1), None);
    }

    #[test]
    fn pause_requires_frames_before_and_after_and_none_between() {
        let packets = "1.0,0.8,K__\n1.4,0.9,___\n1.2,1.0,___\n9.4,9.1,___\n9.2,9.2,___\n";
        assert_eq!(pause(packets, 1.5, 9.0), Some((1.4, 9.2)));
        assert_eq!(pause(packets, 1.3, 9.0), None, "a frame at 1.4");
        assert_eq!(pause(packets, 1.5, 9.3), None, "a frame at 9.2");
        assert_eq!(pause(packets, 1.5, 10.0), None);
        assert_eq!(
            (pause(packets, 0.5, 0.9), pause(packets, 10.0, 11.0)),
            (None, None),
            "one side is missing"
        );
        assert_eq!(
            pause("1.0,0.8,K__\nN/A,0.9,___\n9.0,9.0,___\n", 1.5, 9.0),
            None,
            "a frame of unknown time"
        );
        assert_eq!(pause("", 1.5, 9.0), None);
    }

    #[test]
    fn longest_gap_is_between_neighbours_in_time() {
        assert_eq!(longest_gap("1.0,1.0,K__\n9.0,2.0,___\n3.0,3.0,___\n"), 6.0);
        assert_eq!((longest_gap(""), longest_gap("1.0,1.0,K__\n")), (0.0, 0.0));
    }

    #[test]
    fn seek_to_depends_on_the_container() {
        let json = |format: &str| {
            format!(
                r#"{{"streams":[{{"index":0,"codec_type":"video","codec_name":"h264","width":8,"height":8,
                "has_b_frames":2,"start_time":"1.5"}}],"format":{{"format_name":"{format}","start_time":"1.0"}}}}"#
            )
        };
        let key = Keyframe { pts: 9.0, dts: 8.9, next_pts: Some(9.1) };
        let seek = |format: &str| {
            let source = parse(json(format).as_bytes(), None).expect("probe");
            assert_eq!((source.first_stream_start, source.has_b_frames), (1.5, true));
            assert_eq!(lists_keyframes(&source), format == "mov,mp4");
            seek_to(&source, &key).map(|seek| (seek * 1000.0).round())
        };
        assert_eq!(seek("mov,mp4"), Some(8001.0));
        assert_eq!(seek("matroska,webm"), Some(8099.0), "before the next keyframe");
        assert_eq!(seek("mpegts"), Some(7600.0));
    }
}
