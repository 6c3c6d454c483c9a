//! Where decoding of a later part begins: which keyframe, and how far to seek for it.

use crate::probe::{Source, number};

/// Seconds for which the last picture of a file may be held.
pub const LONGEST_HOLD: f64 = 1.0;

/// A keyframe of the picture, in the file's own times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keyframe {
    /// When it is shown.
    pub shown: f64,
    /// When it is decoded.
    pub decoded: f64,
    /// When the next keyframe is shown, as far as is known.
    pub next: Option<f64>,
}

/// Reads `ffprobe -show_entries packet=pts_time,dts_time,flags -of csv=p=0` of the picture: the last keyframe that is
/// shown at or before `moment`.
pub fn last_keyframe(packets: &str, moment: f64) -> Option<Keyframe> {
    // Times are printed to the microsecond.
    let due = moment + 0.000_001;
    let keyframe = |line: &str| {
        let mut fields = line.split(',');
        let (pts, dts, flags) = (fields.next()?, fields.next()?, fields.next()?);
        // Some containers give keyframes no time of showing.
        let shown = number(pts).or(number(dts))?;
        flags.starts_with('K').then(|| (shown, number(dts).unwrap_or(shown)))
    };
    let keyframes = || packets.lines().filter_map(keyframe);
    let (shown, decoded) =
        keyframes().filter(|&(shown, _)| shown <= due).max_by(|a, b| a.0.total_cmp(&b.0))?;
    let next = keyframes().map(|(shown, _)| shown).filter(|&later| later > due).reduce(f64::min);
    Some(Keyframe { shown, decoded, next })
}

/// Where the picture ends that is `stated` to end then, from the same list of its last packets: the last of them is shown
/// before it, by no more than [`LONGEST_HOLD`], and lasts at least as long as the one before, or `frame` seconds where
/// that is less. A file of which the end is missing goes no further than it can.
pub fn last_frame_end(packets: &str, stated: f64, frame: f64) -> Option<f64> {
    let shown = |line: &str| {
        let mut fields = line.split(',');
        number(fields.next()?).or(number(fields.next()?))
    };
    let mut shown: Vec<f64> = packets.lines().filter_map(shown).collect();
    shown.sort_by(f64::total_cmp);
    let last = shown.pop()?;
    let length = shown.last().map_or(frame, |before| frame.min(last - before));
    // Times are printed to the microsecond.
    (-0.000_001..=LONGEST_HOLD + 0.000_001).contains(&(stated - last)).then_some(stated.max(last + length))
}

/// Where to seek, in seconds after the file's start, so that decoding begins with `key` and not with the keyframe
/// before it, as far as the container's demuxer can be trusted with that; none to begin at the beginning.
pub fn seek_to(source: &Source, key: &Keyframe) -> Option<f64> {
    /// ffmpeg seeks so much earlier than it is told where streams reorder, except in MP4.
    const EARLIER: f64 = 3.0 / 23.0;
    let earlier = if source.reorders { EARLIER } else { 0.0 };
    let before_next = |at: f64| key.next.map_or(at, |next| at.min((next - 0.001).max(key.shown)));
    let at = match family(source) {
        "mov" => key.shown + 0.001,
        "matroska" => before_next(key.shown + earlier + 0.001),
        "flv" => before_next(key.decoded + earlier + 0.001),
        _ => return seek_with_margin(source, key),
    };
    Some(at - source.start).filter(|&seek| seek > 0.0)
}

/// Whether the container lists its keyframes with exact times, so that its demuxer lands on one.
pub fn lists_keyframes(source: &Source) -> bool {
    family(source) == "mov"
}

/// The first of the names that the demuxer goes by.
fn family(source: &Source) -> &str {
    source.container.split(',').next().unwrap_or_default()
}

/// The same with a margin that has never been too small, at the price of a group of pictures decoded in vain.
pub fn seek_with_margin(source: &Source, key: &Keyframe) -> Option<f64> {
    const MARGIN: f64 = 0.3;
    Some(key.decoded - MARGIN - source.start).filter(|&seek| seek > 0.0)
}

#[cfg(test)]
mod tests {
    use super::{Keyframe, last_frame_end, last_keyframe, lists_keyframes, seek_to};
    use crate::probe::parse;

    #[test]
    fn the_keyframe_before_a_moment_is_found() {
        let packets =
            "0.066,0.000,K__\n0.200,0.033,___\n2.066,2.000,K__\nN/A,2.1,___\n4.066,4.000,K_\njunk\n";
        let found = |moment| last_keyframe(packets, moment).map(|key| (key.shown, key.decoded, key.next));
        assert_eq!(found(4.0), Some((2.066, 2.0, Some(4.066))));
        assert_eq!(found(4.066), Some((4.066, 4.0, None)));
        assert_eq!(found(0.0), None);
        let avi = last_keyframe("N/A,1.0,K__", 1.0).expect("keyframe");
        assert_eq!((avi.shown, avi.decoded), (1.0, 1.0));
    }

    #[test]
    fn the_last_picture_ends_when_the_container_says_so() {
        let packets = "1.0,0.8,K__\n1.4,0.9,___\n1.2,1.0,___\nN/A,1.1,___\njunk\n";
        let ends = |stated| last_frame_end(packets, stated, 0.1).map(|end| (end * 1000.0).round());
        assert_eq!((ends(1.5), ends(2.4)), (Some(1500.0), Some(2400.0)));
        assert_eq!((ends(1.4), ends(1.42)), (Some(1500.0), Some(1500.0)), "it is seen");
        let slowly = last_frame_end(packets, 1.5, 1.0).map(|end| (end * 1000.0).round());
        assert_eq!(slowly, Some(1600.0), "a grid that leaves pictures out needs no more than the file has");
        assert_eq!(last_frame_end("1.4,0.9,K__\n", 1.4, 0.1), Some(1.5));
        assert_eq!(ends(1.3), None, "it says less than there is");
        assert_eq!(ends(2.5), None, "the rest of the file is missing");
        assert_eq!(last_frame_end("", 1.0, 0.1), None);
    }

    #[test]
    fn each_container_is_sought_in_its_own_way() {
        let json = |format: &str| {
            format!(
                r#"{{"streams":[{{"index":0,"codec_type":"video","codec_name":"h264","width":8,"height":8,
                "has_b_frames":2,"start_time":"1.5"}}],"format":{{"format_name":"{format}","start_time":"1.0"}}}}"#
            )
        };
        let key = Keyframe { shown: 9.0, decoded: 8.9, next: Some(9.1) };
        let seek = |format: &str| {
            let source = parse(json(format).as_bytes()).expect("probe");
            assert_eq!((source.first, source.reorders), (1.5, true));
            assert_eq!(lists_keyframes(&source), format == "mov,mp4");
            seek_to(&source, &key).map(|seek| (seek * 1000.0).round())
        };
        assert_eq!(seek("mov,mp4"), Some(8001.0));
        assert_eq!(seek("matroska,webm"), Some(8099.0), "before the next one");
        assert_eq!(seek("mpegts"), Some(7600.0));
    }
}
