//! What is known about a source file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{contents::Contents, hdr_metadata::HdrMetadata};
use crate::{
    geometry::{Orientation, Size, display_size, gcd},
    matroska::{self, TrackGeometry},
    rate::{Rate, output_rate},
};

/// The most pixels that a stored frame may have: 8192 x 4320.
pub const MAX_PIXELS: u64 = 35_389_440;
/// The longest side of a frame, pixels.
const MAX_SIDE_PIXELS: u32 = 16_384;
/// Tracks whose ends differ by at most this much end together, seconds.
pub const END_TOLERANCE_SECONDS: f64 = 0.06;
/// Below this rate a video is a sequence of still pictures, frames per second.
const RARE_FRAMES_FPS: f64 = 5.0;
/// A picture whose last frame is earlier than the container states by more than this is truncated, seconds.
const MAX_MISSING_FRAMES_SECONDS: f64 = 1.0;
/// Containers of broadcasts, as ffmpeg names them.
const BROADCAST_CONTAINERS: [&str; 2] = ["mpegts", "mpeg"];
/// ffmpeg's name of FLV.
const FLV: &str = "flv";
/// The longest duration that is encoded, seconds.
pub const MAX_SECONDS: f64 = 12.0 * 3600.0;

/// A file that can be encoded: it has a video stream, audio streams, or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Container as ffprobe names it, for example `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// Start time of the file: the time of its first packet, seconds.
    pub start_time: f64,
    /// The earliest start time of the chosen streams, seconds.
    pub first_stream_start: f64,
    /// Whether any stream has B-frames: its decode order differs from its presentation order.
    pub has_b_frames: bool,
    /// Duration, seconds. None if the container does not state it.
    pub duration: Option<f64>,
    /// Duration that the container states, seconds, if the end of the file is missing. Then `duration` is that of the rest.
    #[serde(default)]
    pub stated_duration: Option<f64>,
    /// Whether the end of the file is missing, by the size of the file.
    #[serde(default)]
    pub is_cut_off: bool,
    /// Duration that the header of a file states of which a part is missing, where ffprobe describes what is there, seconds.
    #[serde(default)]
    pub claimed_duration: Option<f64>,
    /// Whether the start of a chunk can be sought: not in a file without an index that states no duration.
    #[serde(default = "yes")]
    pub is_seekable: bool,
    /// Whether another recording follows in the file, which is left out.
    #[serde(default)]
    pub has_another_recording: bool,
    /// Indices of the chosen picture and sound of which the container states no end.
    #[serde(skip)]
    pub unknown_ends: Vec<u32>,
    /// Upper bound of the duration, from the size of the file, seconds.
    pub max_duration: f64,
    /// The video stream.
    pub video: Option<Video>,
    /// Every audio track that can be decoded, the one to play first at the front.
    pub audio: Vec<Audio>,
    /// Text subtitles.
    pub subtitles: Vec<Subtitles>,
    /// Index of the stream with the cover image, for example of an album.
    pub cover: Option<u32>,
    /// [`crate::OUTPUT_VERSION`] of the worker that probed the file.
    #[serde(default)]
    pub output_version: u32,
    /// Number of audio and subtitle tracks of its programme that were left out.
    #[serde(default)]
    pub skipped: usize,
    /// Number of programmes that were left out.
    #[serde(default)]
    pub other_programs: usize,
    /// Whether there are captions inside the picture.
    #[serde(default)]
    pub has_captions: bool,
    /// Whether its clock jumps ahead: the time between is left out.
    #[serde(default)]
    pub has_clock_gap: bool,
    /// Times between which no picture begins, seconds after its start, in order: those that are long and known.
    #[serde(default)]
    pub pauses: Vec<(f64, f64)>,
    /// Whether its tracks go on under other PIDs.
    #[serde(default)]
    pub merges_tracks: bool,
    /// Its tracks and programmes: what is encoded, and what is left out.
    #[serde(default)]
    pub contents: Contents,
    /// How far the file must be read to know all tracks, seconds, if further than usual.
    #[serde(default)]
    pub probed_seconds: Option<f64>,
}

/// The video stream that is encoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Video {
    /// Index among all streams.
    pub index: u32,
    /// Index among the video streams, without cover images.
    #[serde(default)]
    pub number: usize,
    /// Codec as ffprobe names it, for example `h264`.
    pub codec: String,
    /// Size of the stored frame.
    pub stored: Size,
    /// The part of the stored frame that is displayed; all of it if there is none.
    #[serde(default)]
    pub crop: Option<Crop>,
    /// Pixel aspect ratio: width and height of one pixel.
    pub pixel_aspect: (u32, u32),
    /// How the stored frame is rotated and mirrored for display.
    pub orientation: Orientation,
    /// Frame rate as the container states it.
    pub nominal_rate: Option<Rate>,
    /// Frames divided by duration.
    pub mean_rate: Option<Rate>,
    /// Pixel format, for example `yuv420p`.
    pub pixel_format: String,
    /// Whether frames may be interlaced. The decoder flags each frame that is.
    pub interlaced: bool,
    /// Whether later frames may be, although the first ones are not.
    #[serde(default)]
    pub may_turn_interlaced: bool,
    /// Whether the file states its colour space.
    pub has_colour_tags: bool,
    /// Dynamic range.
    pub range: VideoRange,
    /// Whether its colours can be decoded only by Dolby Vision, and so cannot be converted.
    #[serde(default)]
    pub needs_dolby_vision: bool,
    /// Static metadata of HDR10.
    #[serde(default)]
    pub hdr_metadata: HdrMetadata,
    /// Presentation time of its first frame, seconds, if the container states it.
    pub start: Option<f64>,
    /// Duration of this stream, seconds, if the container states it.
    pub duration: Option<f64>,
    /// Its end as the container states it, seconds after the start of the file.
    #[serde(default)]
    pub end: Option<f64>,
    /// End of its last frame, seconds after the start of the file, if it is shown until the end of the file.
    #[serde(default)]
    pub held_from: Option<f64>,
    /// Pixel aspect ratio of its frames, before any correction.
    #[serde(default = "square")]
    pub coded_aspect: (u32, u32),
    /// The rate in the busiest second of the samples that were looked at, if frames have no constant rate.
    #[serde(default)]
    pub busiest_rate: Option<Rate>,
    /// End of its last frame as the container states it, in the file's timestamps, if ffmpeg may underestimate it.
    /// [`crate::seek::last_frame_end`] checks it.
    #[serde(default)]
    pub stated_end: Option<f64>,
}

fn yes() -> bool {
    true
}

fn square() -> (u32, u32) {
    (1, 1)
}

/// Dynamic range, as `VIDEO-RANGE` of HLS names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum VideoRange {
    /// Standard dynamic range.
    #[default]
    Sdr,
    /// HDR by SMPTE ST 2084 (HDR10).
    Pq,
    /// HDR by ARIB STD-B67.
    Hlg,
}

impl VideoRange {
    /// The value in playlists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sdr => "SDR",
            Self::Pq => "PQ",
            Self::Hlg => "HLG",
        }
    }
}

impl Video {
    /// Display size: pixel aspect ratio and orientation applied.
    pub fn display_size(&self) -> Size {
        display_size(self.visible_size(), self.pixel_aspect, self.orientation)
    }

    /// Whether it is a sequence of still pictures, judging by its mean rate.
    fn has_rare_frames(&self) -> bool {
        self.mean_rate.is_some_and(|mean| mean.fps() < RARE_FRAMES_FPS)
    }

    /// Whether its frames have no constant rate, judging by its mean rate.
    pub fn has_variable_rate(&self) -> bool {
        self.nominal_rate.zip(self.mean_rate).is_none_or(|(nominal, mean)| !nominal.agrees_with(mean))
    }

    /// Size of the displayed part of the stored frame.
    pub fn visible_size(&self) -> Size {
        self.crop.map_or(self.stored, |crop| crop.size)
    }

    /// Takes over how the container displays the track, if that crops the frame.
    fn set_geometry(&mut self, track: &TrackGeometry) {
        let TrackGeometry { coded, left, top, visible, pixel_aspect } = *track;
        if coded != self.stored || visible == coded {
            return;
        }
        self.crop = Some(Crop { left, top, size: visible });
        self.pixel_aspect = reduced(pixel_aspect).unwrap_or((1, 1));
        if is_too_large(self.display_size()) {
            self.pixel_aspect = (1, 1);
        }
    }
}

/// A part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crop {
    /// First pixel from the left.
    pub left: u32,
    /// First line from the top.
    pub top: u32,
    /// Its size.
    pub size: Size,
}

/// A ratio in its lowest terms; none if it is zero, or too large.
fn reduced((width, height): (u64, u64)) -> Option<(u32, u32)> {
    let divisor = gcd(width, height);
    let part = |value: u64| u32::try_from(value / divisor).ok().filter(|&value| value > 0);
    Some((part(width)?, part(height)?))
}

/// Whether a frame is larger than those that are encoded.
pub(super) fn is_too_large(size: Size) -> bool {
    size.pixels() > MAX_PIXELS || size.width.max(size.height) > MAX_SIDE_PIXELS
}

/// An audio stream that is encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audio {
    /// Index among all streams.
    pub index: u32,
    /// Codec as ffprobe names it, for example `aac`.
    pub codec: String,
    /// Number of channels.
    pub channels: u32,
    /// Which of them are played.
    #[serde(default)]
    pub mix: Mix,
    /// Samples per second.
    pub sample_rate: u32,
    /// Whether it may end before the file does: then silence follows.
    #[serde(default)]
    pub ends_early: bool,
    /// Language as the file names it; empty if unknown.
    pub language: String,
    /// Title as the file names it; empty if it has none.
    pub title: String,
}

/// Which channels of an audio stream are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Mix {
    /// All, mixed by ffmpeg as the file's channel layout says.
    #[default]
    Standard,
    /// The first one: of ambisonics it is the sound of all directions.
    FirstChannel,
    /// The first two, because the file does not say what its many channels are.
    FirstTwoChannels,
}

impl Audio {
    /// Number of channels that are played.
    pub fn played_channels(&self) -> u32 {
        match self.mix {
            Mix::Standard => self.channels,
            Mix::FirstChannel => 1,
            Mix::FirstTwoChannels => 2,
        }
    }
}

/// A subtitle stream that is converted to WebVTT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subtitles {
    /// Index among all streams.
    pub index: u32,
    /// Language as the file names it; empty if unknown.
    pub language: String,
    /// Title as the file names it; empty if it has none.
    pub title: String,
    /// Displayed unless the viewer chooses otherwise.
    pub default: bool,
    /// Contains only what is needed to follow the original audio.
    pub forced: bool,
}

/// Whether a container is one of broadcasts: it has a clock instead of an index.
pub(super) fn is_broadcast(container: &str) -> bool {
    BROADCAST_CONTAINERS.contains(&container)
}

impl Source {
    /// Whether the file is a broadcast (MPEG-TS, MPEG-PS): it has a clock instead of an index.
    pub fn is_broadcast(&self) -> bool {
        is_broadcast(&self.container)
    }

    /// Takes over the cropping of a Matroska file, by its first bytes: ffmpeg before 7.1 does not read it.
    pub fn read_matroska_geometry(&mut self, head: &[u8]) {
        let Some(video) = self.video.as_mut().filter(|_| self.container.starts_with("matroska")) else {
            return;
        };
        if let Some(track) = matroska::video_tracks(head).get(video.number) {
            video.set_geometry(track);
        }
    }

    /// Treats the duration as unknown. A plan does not cut such a file into chunks.
    pub fn clear_duration(&mut self) {
        self.duration = None;
        if let Some(video) = &mut self.video {
            (video.duration, video.stated_end, video.end) = (None, None, None);
        }
        for audio in &mut self.audio {
            audio.ends_early = false;
        }
    }

    /// Takes the end of the file for missing from `end` on, seconds after its start.
    pub fn cut_off(&mut self, end: f64) {
        let Some(stated) = self.duration.filter(|&stated| end < stated) else { return };
        (self.stated_duration, self.duration) = (Some(stated), Some(end));
        if let Some(video) = &mut self.video {
            video.duration = video.duration.map(|seconds| seconds.min(end));
            video.end = video.end.filter(|&before| before < end);
            (video.stated_end, video.held_from) = (None, None);
        }
        for audio in &mut self.audio {
            audio.ends_early = false;
        }
    }

    /// Takes over where the last packets of the picture and the sound end, seconds after the start of the file, of which the
    /// container states no ends. A track that is not listed ends earlier than all that are.
    pub fn set_ends(&mut self, ends: &BTreeMap<u32, f64>) {
        let Some(mut duration) = self.duration.filter(|_| !ends.is_empty()) else { return };
        let picture = self.video.iter().map(|video| video.index);
        let tracks = picture.chain(self.audio.iter().map(|audio| audio.index));
        let ends_of_tracks: Vec<_> = tracks.map(|index| ends.get(&index).copied().unwrap_or(0.0)).collect();
        let last = ends_of_tracks.iter().copied().fold(0.0, f64::max);
        // The container's duration may be that of the track that ends first; in FLV it may count from zero instead of from the
        // first packet.
        let is_uneven = ends_of_tracks.iter().any(|end| last - end > MAX_MISSING_FRAMES_SECONDS);
        let is_still = self.video.as_ref().is_some_and(Video::has_rare_frames);
        let is_later = last < duration && self.container == FLV && !is_still;
        if (is_uneven || is_later) && (last - duration).abs() < MAX_MISSING_FRAMES_SECONDS {
            duration = last;
            self.duration = Some(duration);
        }
        if let Some(video) = &mut self.video {
            // A picture without a packet near the end of the file ends earlier: where, is found later.
            let is_unknown = self.unknown_ends.contains(&video.index);
            let end = ends.get(&video.index).copied().or(is_unknown.then_some(0.0));
            video.end = video.end.or(end);
        }
        for audio in self.audio.iter_mut().filter(|audio| self.unknown_ends.contains(&audio.index)) {
            audio.ends_early =
                ends.get(&audio.index).is_none_or(|end| duration - end > END_TOLERANCE_SECONDS);
        }
    }

    /// Takes over the measured duration instead of a stated one that is wrong.
    pub fn correct_duration(&mut self, seconds: f64) {
        self.duration = Some(seconds);
        if let Some(video) = &mut self.video {
            video.duration = video.duration.map(|stated| stated.min(seconds));
            video.stated_end = None;
        }
    }

    /// Takes over the duration that the header of a file states of which ffprobe has seen that the end is missing.
    pub fn claim_duration(&mut self, stated: f64) {
        if self.duration.is_some_and(|end| stated - end > MAX_MISSING_FRAMES_SECONDS) {
            self.stated_duration = Some(stated);
        }
    }

    /// Takes the end of the file for missing from `end` on, if the container states a clearly later one.
    pub fn cut_off_at(&mut self, end: f64) {
        if self.duration.is_some_and(|stated| stated - end > MAX_MISSING_FRAMES_SECONDS) {
            self.cut_off(end);
        }
    }

    /// Takes over where the last packet of the file ends, seconds after its start. If the container states a later end, the
    /// rest is missing; an earlier one is wrong.
    pub fn set_last_end(&mut self, end: f64) {
        match self.duration {
            None if end > 0.0 && end <= self.max_duration.min(MAX_SECONDS) => {
                (self.duration, self.is_seekable) = (Some(end), false);
            }
            Some(stated) if stated - end > MAX_MISSING_FRAMES_SECONDS => self.cut_off(end),
            Some(stated)
                if end - stated > MAX_MISSING_FRAMES_SECONDS && end <= self.max_duration.min(MAX_SECONDS) =>
            {
                self.duration = Some(end);
            }
            _ => {}
        }
    }

    /// Where the picture ends, in the file's timestamps, if the container says that other tracks last longer, or if frames
    /// are so rare that the last one may be shown for long.
    ///
    /// Some containers state it wrongly: [`Source::hold_picture`] tells where its last frame really is.
    pub fn early_picture_end(&self) -> Option<f64> {
        let (video, duration) = (self.video.as_ref()?, self.duration?);
        let end = video.end?;
        let is_early = duration - end > END_TOLERANCE_SECONDS || video.has_rare_frames();
        is_early.then_some(self.start_time + end)
    }

    /// Shows the last frame, which ends at `end` in the file's timestamps or later, as long as other tracks last.
    pub fn hold_picture(&mut self, end: f64) {
        let end = end - self.start_time;
        let (Some(video), Some(duration)) = (self.video.as_mut(), self.duration.as_mut()) else { return };
        if video.has_rare_frames() {
            // The last picture is shown, too, if the container does not say for how long.
            *duration = duration.max(end);
            video.held_from = Some(end);
            return;
        }
        // Frames that are not there although the container states them: the end of the file is missing.
        let missing = video.end.map_or(0.0, |stated| stated - end);
        if *duration - end > END_TOLERANCE_SECONDS && missing <= MAX_MISSING_FRAMES_SECONDS {
            video.held_from = Some(end);
        }
    }

    /// Whether frames have no constant rate, so that the rate of their busiest part must be looked for.
    pub fn has_unknown_rate(&self) -> bool {
        let rates = self.video.as_ref().and_then(|video| video.nominal_rate.zip(video.mean_rate));
        rates.is_some_and(|(nominal, mean)| {
            // A mean of several rates is stated as the rate, too.
            let is_unusual = nominal.agrees_with(mean) && !nominal.is_standard();
            let is_variable =
                !nominal.agrees_with(mean) && output_rate(Some(nominal), Some(mean), None) != nominal;
            is_unusual || is_variable
        })
    }
}
