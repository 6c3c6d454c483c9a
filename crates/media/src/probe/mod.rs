//! What ffprobe says of a file, read into the few facts the plan needs, or a reason to refuse it.

mod description;
mod hdr_metadata;

pub use hdr_metadata::{HdrMetadata, parse_hdr_metadata};

use crate::geometry::{Orientation, Size, display_size};
use crate::rate::Rate;
use crate::{Failure, FailureKind};
use description::{Probed, Stream};
use serde::{Deserialize, Serialize};

/// The most pixels a stored picture may have: 8192 x 4320.
pub const MAX_PIXELS: u64 = 35_389_440;
/// The longest playing time that is encoded, seconds.
pub const MAX_SECONDS: f64 = 12.0 * 3600.0;
/// The most audio tracks, and the most subtitle tracks, that are kept.
const MAX_TRACKS: usize = 8;
/// So much more a container may claim than [`MAX_SECONDS`], for the last frames of what was cut to that length.
const CLAIM_SLACK: f64 = 60.0;
/// Beyond so many seconds a claim that leaves a file fewer than [`FEWEST_BITS`] a second is not believed.
const BELIEVED_SECONDS: f64 = 60.0;
/// Bits a second that every real video has.
const FEWEST_BITS: f64 = 1000.0;
/// Codecs of pictures that may be woven of two fields without the container saying so; their frames tell.
const OFTEN_INTERLACED: [&str; 3] = ["dvvideo", "mpeg2video", "vc1"];
/// Codecs of subtitles that are text, and so can become WebVTT.
const TEXT_CODECS: [&str; 7] = ["mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text"];

/// A file that can be encoded: it has a picture, or sound, or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Container as ffprobe names it, as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// The time of its first packet, seconds.
    pub start: f64,
    /// The time at which the first of the chosen streams begins, seconds.
    pub first: f64,
    /// Whether any stream is decoded in another order than it is shown in.
    pub reorders: bool,
    /// Playing time, seconds. None when the container does not say.
    pub duration: Option<f64>,
    /// The longest that a file of this size can be, seconds.
    pub longest: f64,
    /// The picture.
    pub video: Option<Video>,
    /// The sound: every track that can be decoded, the one to play first.
    pub audio: Vec<Audio>,
    /// Text subtitles.
    pub subtitles: Vec<Subtitles>,
    /// Index of a still that stands for the file, as a record's cover.
    pub cover: Option<u32>,
    /// Of the worker that looked: its [`crate::OUTPUT_VERSION`].
    #[serde(default)]
    pub output_version: u32,
    /// Tracks of sound and text that are not kept.
    #[serde(default)]
    pub skipped: usize,
}

/// The video stream that is encoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Whether lines may alternate between two fields. Of each frame the decoder knows it.
    pub interlaced: bool,
    /// Whether the file says how colours are coded.
    pub tagged: bool,
    /// Range of brightness.
    pub range: VideoRange,
    /// Whether its colours are of a kind that can't be converted: Dolby's own.
    #[serde(default)]
    pub needs_dolby_vision: bool,
    /// What an HDR10 picture says of its light.
    #[serde(default)]
    pub hdr_metadata: HdrMetadata,
    /// When its first frame is shown, seconds, when the container says.
    pub start: Option<f64>,
    /// Seconds of this stream alone, when the container says.
    pub duration: Option<f64>,
    /// When its last picture ends as the container says, in the file's own times, where ffmpeg may take it for shorter;
    /// [`crate::seek::last_frame_end`] tells whether that can be believed.
    #[serde(default)]
    pub stated_end: Option<f64>,
}

/// Range of brightness, as playlists name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum VideoRange {
    /// Standard.
    #[default]
    Sdr,
    /// High, by SMPTE ST 2084 (HDR10).
    Pq,
    /// High, by ARIB STD-B67.
    Hlg,
}

impl VideoRange {
    /// The name in playlists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sdr => "SDR",
            Self::Pq => "PQ",
            Self::Hlg => "HLG",
        }
    }
}

impl Video {
    /// Pixels as shown: pixel aspect and orientation applied.
    pub fn shown(&self) -> Size {
        display_size(self.stored, self.pixel_aspect, self.orientation)
    }
}

/// An audio stream that is encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audio {
    /// Index among all streams.
    pub index: u32,
    /// Codec as ffprobe names it, as `aac`.
    pub codec: String,
    /// Channels.
    pub channels: u32,
    /// Samples a second.
    pub sample_rate: u32,
    /// Language as the file names it; empty when it does not.
    pub language: String,
    /// Title as the file names it; empty when it does not.
    pub title: String,
}

/// A text stream that is kept as WebVTT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subtitles {
    /// Index among all streams.
    pub index: u32,
    /// Language as the file names it; empty when it does not.
    pub language: String,
    /// Title as the file names it; empty when it does not.
    pub title: String,
    /// Shown unless the viewer says otherwise.
    pub default: bool,
    /// Only what must be read to follow.
    pub forced: bool,
}

impl Source {
    /// Takes the playing time for unknown: the file is not cut then.
    pub fn clear_duration(&mut self) {
        self.duration = None;
        if let Some(video) = &mut self.video {
            (video.duration, video.stated_end) = (None, None);
        }
    }
}

/// Reads `ffprobe -show_streams -show_format -show_packets -of json`; of the packets the first ones are enough.
///
/// # Errors
/// `FILE_NOT_VIDEO`, `FILE_TRUNCATED`, `NO_VIDEO_STREAM`, `CODEC_UNSUPPORTED`, `VIDEO_TOO_LARGE`, `LIMIT_EXCEEDED`.
pub fn parse(json: &[u8]) -> Result<Source, Failure> {
    let probed: Probed = serde_json::from_slice(json)
        .map_err(|_| Failure::new(FailureKind::FileNotVideo, "The file could not be read as a video."))?;
    let streams = &probed.streams;
    let audio = choose_audio(streams);
    let mut video = choose_video(streams, !audio.is_empty())?.map(read_video).transpose()?;
    let longest = probed.longest();
    if let Some(video) = &mut video {
        video.duration = video.duration.filter(|&seconds| seconds <= longest.min(MAX_SECONDS + CLAIM_SLACK));
        let stated = video.start.zip(video.duration).map(|(start, duration)| start + duration);
        video.stated_end = stated.filter(|_| !probed.has_steady_packets(video));
    }
    let chosen: Vec<u32> = match &video {
        Some(video) => std::iter::once(video.index).chain(audio.first().map(|audio| audio.index)).collect(),
        None => audio.iter().map(|audio| audio.index).collect(),
    };
    let duration = probed.duration(&chosen).filter(|&seconds| seconds <= longest);
    if duration.is_some_and(|seconds| seconds > MAX_SECONDS + CLAIM_SLACK) {
        return Err(Failure::new(
            FailureKind::LimitExceeded,
            "The video is longer than 12 hours. Cut it into shorter ones.",
        ));
    }
    let subtitles: Vec<_> = streams.iter().filter_map(Stream::subtitles).take(MAX_TRACKS).collect();
    let heard_or_read =
        streams.iter().filter(|stream| matches!(stream.codec_type.as_str(), "audio" | "subtitle")).count();
    let cover = streams.iter().find(|stream| stream.disposition.attached_pic != 0 && stream.is_known());
    Ok(Source {
        start: probed.start(),
        first: probed
            .first(video.iter().map(|video| video.index).chain(audio.iter().map(|audio| audio.index))),
        reorders: streams.iter().any(|stream| stream.has_b_frames > 0),
        duration,
        longest,
        output_version: crate::OUTPUT_VERSION,
        skipped: heard_or_read - audio.len() - subtitles.len(),
        video,
        audio,
        subtitles,
        cover: cover.map(|stream| stream.index),
        container: probed.format.format_name,
    })
}

/// The picture to encode; none where sound is all there is.
fn choose_video(streams: &[Stream], has_audio: bool) -> Result<Option<&Stream>, Failure> {
    let pictures: Vec<_> =
        streams.iter().filter(|s| s.codec_type == "video" && s.disposition.attached_pic == 0).collect();
    let Some(first) = pictures.first() else {
        return match streams {
            _ if has_audio => Ok(None),
            [] => Err(Failure::new(
                FailureKind::FileTruncated,
                "The file has no streams. Its end may be missing.",
            )),
            _ => Err(Failure::new(
                FailureKind::NoVideoStream,
                "The file has neither picture nor sound to play.",
            )),
        };
    };
    let usable: Vec<_> = pictures.iter().filter(|s| s.is_known()).collect();
    let Some(fallback) = usable.first() else {
        return Err(Failure::new(
            FailureKind::CodecUnsupported,
            format!("The video's codec ({}) is not supported. Convert it to H.264, say.", first.tag()),
        ));
    };
    Ok(Some(usable.iter().find(|s| s.disposition.default != 0).unwrap_or(fallback)))
}

fn read_video(stream: &Stream) -> Result<Video, Failure> {
    let stored = Size { width: stream.width.unwrap_or(0), height: stream.height.unwrap_or(0) };
    if stored.pixels() == 0 {
        return Err(Failure::new(
            FailureKind::DecodeFailed,
            "The video's picture size is missing: the file is damaged.",
        ));
    }
    if is_too_large(stored) {
        return Err(Failure::new(
            FailureKind::VideoTooLarge,
            format!(
                "A picture of {} x {} pixels is too large. The limit is 8192 x 4320.",
                stored.width, stored.height
            ),
        ));
    }
    let mut video = Video {
        index: stream.index,
        codec: stream.codec_name.clone().unwrap_or_default(),
        stored,
        pixel_aspect: stream.sample_aspect_ratio.as_deref().and_then(aspect).unwrap_or((1, 1)),
        orientation: stream.orientation(),
        nominal_rate: stream.r_frame_rate.as_deref().and_then(Rate::parse),
        mean_rate: stream.avg_frame_rate.as_deref().and_then(Rate::parse),
        pixel_format: stream.pix_fmt.clone().unwrap_or_default(),
        interlaced: stream.may_be_interlaced(),
        tagged: stream.color_space.as_deref().is_some_and(|space| !matches!(space, "unknown" | "gbr")),
        range: match stream.color_transfer.as_deref() {
            Some("smpte2084") => VideoRange::Pq,
            Some("arib-std-b67") => VideoRange::Hlg,
            _ => VideoRange::Sdr,
        },
        needs_dolby_vision: stream.is_dolby_vision_alone(),
        hdr_metadata: HdrMetadata::default(),
        start: stream.start_time.as_deref().and_then(number),
        duration: stream.duration.as_deref().and_then(seconds),
        stated_end: None,
    };
    if is_too_large(video.shown()) {
        // Only a broken file's pixels are that long.
        video.pixel_aspect = (1, 1);
    }
    Ok(video)
}

fn is_too_large(size: Size) -> bool {
    size.pixels() > MAX_PIXELS || size.width.max(size.height) > 16_384
}

/// Every track that can be decoded, the one to play first. A track that can't is left out: a silent video is
/// better than none.
fn choose_audio(streams: &[Stream]) -> Vec<Audio> {
    let usable = |s: &&Stream| {
        s.codec_type == "audio" && s.is_known() && s.channels.unwrap_or(0) > 0 && s.sample_rate() > 0
    };
    let mut chosen: Vec<_> = streams.iter().filter(usable).collect();
    // Stable: among several defaults, or none, the first comes first.
    chosen.sort_by_key(|stream| stream.disposition.default == 0);
    let audio = |stream: &Stream| Audio {
        index: stream.index,
        codec: stream.codec_name.clone().unwrap_or_default(),
        channels: stream.channels.unwrap_or(0),
        sample_rate: stream.sample_rate(),
        language: stream.language(),
        title: stream.title(),
    };
    chosen.into_iter().take(MAX_TRACKS).map(audio).collect()
}

/// A finite number, as ffprobe prints times.
pub(crate) fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn seconds(text: &str) -> Option<f64> {
    number(text).filter(|&seconds| seconds >= 0.0)
}

fn aspect(text: &str) -> Option<(u32, u32)> {
    let (num, den) = text.split_once(':')?;
    Some((num.parse().ok().filter(|&n| n > 0)?, den.parse().ok().filter(|&n| n > 0)?))
}

#[cfg(test)]
mod tests;
