//! What ffprobe says of a file, read into the few facts the plan needs, or a reason to refuse it.

use crate::geometry::{Orientation, Size, display_size};
use crate::rate::Rate;
use crate::{Failure, Reason};
use serde::Deserialize;

/// The most pixels a stored picture may have: 8192 x 4320.
pub const MAX_PIXELS: u64 = 35_389_440;
/// The longest playing time that is encoded, seconds.
pub const MAX_SECONDS: f64 = 12.0 * 3600.0;

/// A file that can be encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Container as ffprobe names it, as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// Playing time, seconds. None when the container does not say.
    pub duration: Option<f64>,
    /// The picture.
    pub video: Video,
    /// The sound, when there is any.
    pub audio: Option<Audio>,
}

/// The video stream that is encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Video {
    /// Index among all streams.
    pub index: u32,
    /// Codec as ffprobe names it, as `h264`.
    pub codec: String,
    /// Pixels as stored.
    pub stored: Size,
    /// Width over height of one pixel.
    pub pixel_aspect: (u32, u32),
    /// How it is turned to be shown.
    pub orientation: Orientation,
    /// The rate the container names.
    pub nominal_rate: Option<Rate>,
    /// Frames over time.
    pub mean_rate: Option<Rate>,
    /// Pixel format, as `yuv420p`.
    pub pixel_format: String,
    /// Whether lines alternate between two fields.
    pub interlaced: bool,
    /// Transfer characteristics, as `bt709` or `smpte2084`; empty when unknown.
    pub transfer: String,
    /// Seconds of this stream alone, when the container says.
    pub duration: Option<f64>,
}

impl Video {
    /// Pixels as shown: pixel aspect and orientation applied.
    pub fn shown(&self) -> Size {
        display_size(self.stored, self.pixel_aspect, self.orientation)
    }
}

/// The audio stream that is encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Audio {
    /// Index among all streams.
    pub index: u32,
    /// Codec as ffprobe names it, as `aac`.
    pub codec: String,
    /// Channels.
    pub channels: u32,
    /// Samples a second.
    pub sample_rate: u32,
}

/// Reads `ffprobe -show_streams -show_format -of json`.
///
/// # Errors
/// `FILE_NOT_VIDEO`, `FILE_TRUNCATED`, `NO_VIDEO_STREAM`, `CODEC_UNSUPPORTED`, `VIDEO_TOO_LARGE`, `LIMIT_EXCEEDED`.
pub fn parse(json: &[u8]) -> Result<Source, Failure> {
    let probed: Probed = serde_json::from_slice(json)
        .map_err(|_| Failure::new(Reason::FileNotVideo, "The file could not be read as a video."))?;
    let streams = &probed.streams;
    let video = read_video(choose_video(streams)?)?;
    let audio = choose_audio(streams);
    let duration = probed.duration(video.index, audio.as_ref().map(|audio| audio.index));
    if duration.is_some_and(|seconds| seconds > MAX_SECONDS) {
        return Err(Failure::new(
            Reason::LimitExceeded,
            "The video is longer than 12 hours. Cut it into shorter ones.",
        ));
    }
    Ok(Source { container: probed.format.format_name, duration, video, audio })
}

fn choose_video(streams: &[Stream]) -> Result<&Stream, Failure> {
    let pictures: Vec<_> =
        streams.iter().filter(|s| s.codec_type == "video" && s.disposition.attached_pic == 0).collect();
    let Some(first) = pictures.first() else {
        let message = if streams.is_empty() {
            return Err(Failure::new(
                Reason::FileTruncated,
                "The file has no streams. Its end may be missing.",
            ));
        } else if streams.iter().any(|s| s.codec_type == "audio") {
            "The file has sound but no picture. Upload a video."
        } else {
            "The file has no video stream. Upload a video."
        };
        return Err(Failure::new(Reason::NoVideoStream, message));
    };
    let usable: Vec<_> = pictures.iter().filter(|s| s.is_known()).collect();
    let Some(fallback) = usable.first() else {
        return Err(Failure::new(
            Reason::CodecUnsupported,
            format!("The video's codec ({}) is not supported. Convert it to H.264, say.", first.tag()),
        ));
    };
    Ok(usable.iter().find(|s| s.disposition.default != 0).unwrap_or(fallback))
}

fn read_video(stream: &Stream) -> Result<Video, Failure> {
    let stored = Size { width: stream.width.unwrap_or(0), height: stream.height.unwrap_or(0) };
    if stored.pixels() == 0 {
        return Err(Failure::new(
            Reason::DecodeFailed,
            "The video's picture size is missing: the file is damaged.",
        ));
    }
    if stored.pixels() > MAX_PIXELS || stored.width.max(stored.height) > 16_384 {
        return Err(Failure::new(
            Reason::VideoTooLarge,
            format!(
                "A picture of {} x {} pixels is too large. The limit is 8192 x 4320.",
                stored.width, stored.height
            ),
        ));
    }
    Ok(Video {
        index: stream.index,
        codec: stream.codec_name.clone().unwrap_or_default(),
        stored,
        pixel_aspect: stream.sample_aspect_ratio.as_deref().and_then(aspect).unwrap_or((1, 1)),
        orientation: stream.orientation(),
        nominal_rate: stream.r_frame_rate.as_deref().and_then(Rate::parse),
        mean_rate: stream.avg_frame_rate.as_deref().and_then(Rate::parse),
        pixel_format: stream.pix_fmt.clone().unwrap_or_default(),
        interlaced: matches!(stream.field_order.as_deref(), Some("tt" | "bb" | "tb" | "bt")),
        transfer: stream.color_transfer.clone().unwrap_or_default(),
        duration: stream.duration.as_deref().and_then(seconds),
    })
}

/// Sound that cannot be decoded is left out: a silent video is better than none.
fn choose_audio(streams: &[Stream]) -> Option<Audio> {
    let usable = |s: &&Stream| {
        s.codec_type == "audio" && s.is_known() && s.channels.unwrap_or(0) > 0 && s.sample_rate() > 0
    };
    let chosen =
        streams.iter().filter(usable).find(|s| s.disposition.default != 0).or(streams.iter().find(usable))?;
    Some(Audio {
        index: chosen.index,
        codec: chosen.codec_name.clone().unwrap_or_default(),
        channels: chosen.channels.unwrap_or(0),
        sample_rate: chosen.sample_rate(),
    })
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn seconds(text: &str) -> Option<f64> {
    number(text).filter(|&seconds| seconds >= 0.0)
}

fn aspect(text: &str) -> Option<(u32, u32)> {
    let (num, den) = text.split_once(':')?;
    Some((num.parse().ok().filter(|&n| n > 0)?, den.parse().ok().filter(|&n| n > 0)?))
}

/// `00000000:  0  65536  0` three times, as ffprobe prints a display matrix.
fn matrix(text: &str) -> Option<[i64; 9]> {
    let numbers: Vec<i64> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(_, row)| row.split_whitespace())
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    numbers.try_into().ok()
}

#[derive(Deserialize)]
struct Probed {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    format: Format,
}

impl Probed {
    /// When the last of the chosen streams ends. Where the container does not say it of each, it
    /// says it of the file, in which other streams may go on for longer.
    fn duration(&self, video: u32, audio: Option<u32>) -> Option<f64> {
        let start = self.format.start_time.as_deref().and_then(number).unwrap_or(0.0);
        let end = |index: u32| {
            let stream = self.streams.iter().find(|stream| stream.index == index)?;
            let length = stream.duration.as_deref().and_then(seconds)?;
            let begin = stream.start_time.as_deref().and_then(number).unwrap_or(start);
            Some(begin - start + length)
        };
        let ends: Option<Vec<f64>> = std::iter::once(video).chain(audio).map(end).collect();
        let last = ends.map(|ends| ends.into_iter().fold(0.0, f64::max));
        last.or(self.format.duration.as_deref().and_then(seconds)).filter(|&seconds| seconds > 0.0)
    }
}

#[derive(Deserialize, Default)]
struct Format {
    #[serde(default)]
    format_name: String,
    start_time: Option<String>,
    duration: Option<String>,
}

#[derive(Deserialize)]
struct Stream {
    index: u32,
    #[serde(default)]
    codec_type: String,
    codec_name: Option<String>,
    codec_tag_string: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    sample_aspect_ratio: Option<String>,
    r_frame_rate: Option<String>,
    avg_frame_rate: Option<String>,
    pix_fmt: Option<String>,
    field_order: Option<String>,
    color_transfer: Option<String>,
    start_time: Option<String>,
    duration: Option<String>,
    channels: Option<u32>,
    sample_rate: Option<String>,
    #[serde(default)]
    disposition: Disposition,
    #[serde(default)]
    side_data_list: Vec<SideData>,
}

#[derive(Deserialize, Default)]
struct Disposition {
    #[serde(default)]
    default: u8,
    #[serde(default)]
    attached_pic: u8,
}

#[derive(Deserialize)]
struct SideData {
    displaymatrix: Option<String>,
    rotation: Option<f64>,
}

impl Stream {
    fn is_known(&self) -> bool {
        self.codec_name.as_deref().is_some_and(|name| !matches!(name, "" | "unknown" | "none"))
    }

    fn tag(&self) -> &str {
        self.codec_tag_string.as_deref().filter(|tag| tag.is_ascii()).unwrap_or("unknown")
    }

    fn sample_rate(&self) -> u32 {
        self.sample_rate.as_deref().and_then(|rate| rate.parse().ok()).unwrap_or(0)
    }

    fn orientation(&self) -> Orientation {
        let found = |side: &SideData| {
            let by_matrix = side.displaymatrix.as_deref().and_then(matrix);
            by_matrix
                .map(|matrix| Orientation::from_matrix(&matrix))
                .or(side.rotation.map(Orientation::from_degrees))
        };
        self.side_data_list.iter().find_map(found).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::Reason;
    use crate::geometry::Orientation;
    use proptest::prelude::*;

    const PHONE: &str = r#"{"streams":[
      {"index":0,"codec_type":"audio","codec_name":"aac","channels":1,"sample_rate":"44100","disposition":{"default":1}},
      {"index":1,"codec_type":"video","codec_name":"mjpeg","width":100,"height":100,"disposition":{"attached_pic":1}},
      {"index":2,"codec_type":"video","codec_name":"h264","width":568,"height":320,"pix_fmt":"yuv420p",
       "sample_aspect_ratio":"1:1","r_frame_rate":"30000/1001","avg_frame_rate":"37200/1241","duration":"2.07",
       "field_order":"progressive","disposition":{"default":1},
       "side_data_list":[{"side_data_type":"Display Matrix",
         "displaymatrix":"\n00000000:            0       65536           0\n00000001:       -65536           0           0\n00000002:            0           0  1073741824\n",
         "rotation":-90}]}],
      "format":{"format_name":"mov,mp4","duration":"2.068333"}}"#;

    fn reason(json: &str) -> Reason {
        parse(json.as_bytes()).map(|source| source.container).expect_err("refused").reason
    }

    #[test]
    fn a_phone_video_is_read() {
        let source = parse(PHONE.as_bytes()).expect("probe");
        assert_eq!(source.video.index, 2, "the cover picture is no video");
        assert_eq!(source.video.orientation, Orientation::Clockwise);
        assert_eq!((source.video.shown().width, source.video.shown().height), (320, 568));
        assert_eq!(source.duration, Some(2.068333), "the sound's own is unknown");
        assert_eq!(source.audio.expect("audio").channels, 1);
    }

    #[test]
    fn only_the_chosen_streams_make_the_duration() {
        let streams = |audio: &str| {
            format!(
                r#"{{"streams":[
                {{"index":0,"codec_type":"video","codec_name":"h264","width":8,"height":8,"start_time":"1.5","duration":"13.0"}},
                {{"index":1,"codec_type":"audio","codec_name":"aac","channels":2,"sample_rate":"48000",
                  "start_time":"1.0"{audio}}},
                {{"index":2,"codec_type":"subtitle","duration":"16.57"}}],
                "format":{{"format_name":"mov","start_time":"1.0","duration":"16.57"}}}}"#
            )
        };
        let duration = |json: String| parse(json.as_bytes()).expect("probe").duration;
        assert_eq!(duration(streams(r#","duration":"13.1""#)), Some(13.5));
        assert_eq!(duration(streams("")), Some(16.57), "the sound's own is unknown");
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let with = |stream: &str| format!(r#"{{"streams":[{stream}],"format":{{"format_name":"x"}}}}"#);
        assert_eq!(reason("not json"), Reason::FileNotVideo);
        assert_eq!(reason("{}"), Reason::FileTruncated);
        let audio =
            r#"{"index":0,"codec_type":"audio","codec_name":"aac","channels":2,"sample_rate":"48000"}"#;
        assert_eq!(reason(&with(audio)), Reason::NoVideoStream);
        assert_eq!(reason(&with(r#"{"index":0,"codec_type":"data"}"#)), Reason::NoVideoStream);
        let vvc = r#"{"index":0,"codec_type":"video","codec_tag_string":"vvc1","width":8,"height":8}"#;
        assert_eq!(reason(&with(vvc)), Reason::CodecUnsupported);
        let huge = r#"{"index":0,"codec_type":"video","codec_name":"h264","width":16000,"height":16000}"#;
        assert_eq!(reason(&with(huge)), Reason::VideoTooLarge);
        let blank = r#"{"index":0,"codec_type":"video","codec_name":"h264","width":0,"height":0}"#;
        assert_eq!(reason(&with(blank)), Reason::DecodeFailed);
        let long = r#"{"streams":[{"index":0,"codec_type":"video","codec_name":"h264","width":16,"height":16}],
            "format":{"format_name":"x","duration":"80000"}}"#;
        assert_eq!(reason(long), Reason::LimitExceeded);
    }

    proptest! {
        #[test]
        fn any_values_are_answered(w in any::<u32>(), h in any::<u32>(), sar in "[0-9:]{0,12}",
                                   rate in "[0-9/.-]{0,12}", duration in "[0-9.eNaif+-]{0,8}") {
            let json = format!(
                r#"{{"streams":[{{"index":0,"codec_type":"video","codec_name":"h264","width":{w},"height":{h},
                "sample_aspect_ratio":"{sar}","r_frame_rate":"{rate}","duration":"{duration}"}}],
                "format":{{"format_name":"x","duration":"{duration}"}}}}"#
            );
            if let Ok(source) = parse(json.as_bytes()) {
                prop_assert!(source.video.shown().pixels() > 0);
                prop_assert!(source.duration.is_none_or(|seconds| seconds > 0.0));
            }
        }
    }
}
