//! A presentation: what there is to play of one video.

use serde::{Deserialize, Serialize};

use super::text::escape_uri;
use crate::{geometry::Size, probe::VideoRange, rate::Rate};

/// The tracks of one video that can be played so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Presentation {
    /// Video, audio and subtitle tracks.
    pub tracks: Vec<Track>,
    /// Whether every track is complete and none will be added.
    pub complete: bool,
}

impl Presentation {
    /// End of the longest video or audio track, seconds.
    pub fn end_seconds(&self) -> f64 {
        let played = self.tracks.iter().filter(|track| !track.is_subtitles());
        let ends = played.filter_map(|track| track.segments.last().map(|last| last.start + last.seconds));
        ends.fold(0.0, f64::max)
    }
}

/// A rung, an audio track or a subtitle track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// Name within the presentation and of its playlist: `720p`, `audio-0`, `subtitles-0`.
    pub id: String,
    /// URL of the initialisation segment; empty for subtitles.
    pub init: String,
    /// RFC 6381 codec string; empty for subtitles, whose segments are WebVTT files.
    pub codec: String,
    /// What it contains.
    pub kind: TrackKind,
    /// Presentation time at which it starts in its segments, seconds; 0 for subtitles.
    #[serde(default)]
    pub presentation_time_offset: f64,
    /// Its segments from the first on, without gaps.
    pub segments: Vec<Segment>,
    /// Whether no segment will be added.
    pub complete: bool,
}

/// What a track contains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackKind {
    /// Video.
    Video {
        /// Frame size.
        size: Size,
        /// Frame rate.
        rate: Rate,
        /// Dynamic range.
        range: VideoRange,
    },
    /// Audio. The stereo and the surround version of one source track have the same language and name.
    Audio {
        /// Number of channels.
        channels: u32,
        /// Samples per second.
        sample_rate: u32,
        /// BCP 47 or ISO 639-2; empty if unknown.
        language: String,
        /// As the source names it; may be empty.
        name: String,
        /// Played unless the viewer chooses another.
        default: bool,
    },
    /// Subtitles.
    Subtitles {
        /// BCP 47 or ISO 639-2; empty if unknown.
        language: String,
        /// As the source names it; may be empty.
        name: String,
        /// Displayed unless the viewer chooses otherwise.
        default: bool,
        /// Contains only what is needed to follow the original audio.
        forced: bool,
    },
}

/// A media segment as playlists list it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// URL, relative to the presentation's root.
    pub uri: String,
    /// Start time, seconds.
    pub start: f64,
    /// Duration, seconds.
    pub seconds: f64,
    /// Size, bytes.
    pub bytes: u64,
    /// Bytes from its start to the end of its first frame, a keyframe; 0 if unknown.
    pub keyframe_bytes: u64,
}

impl Track {
    /// Name of its HLS media playlist.
    pub fn playlist(&self) -> String {
        format!("{}.m3u8", escape_uri(&self.id))
    }

    /// Name of its HLS I-frame playlist.
    pub fn iframe_playlist(&self) -> String {
        format!("{}.iframes.m3u8", escape_uri(&self.id))
    }

    /// Pixels of a video frame; 0 for audio and subtitles.
    pub(super) fn pixels(&self) -> u64 {
        if let TrackKind::Video { size, .. } = &self.kind { size.pixels() } else { 0 }
    }

    pub(super) fn is_video(&self) -> bool {
        matches!(self.kind, TrackKind::Video { .. })
    }

    pub(super) fn is_subtitles(&self) -> bool {
        matches!(self.kind, TrackKind::Subtitles { .. })
    }

    /// Whether the source marks it as default.
    pub(super) fn is_default(&self) -> bool {
        match self.kind {
            TrackKind::Video { .. } => false,
            TrackKind::Audio { default, .. } | TrackKind::Subtitles { default, .. } => default,
        }
    }

    /// Whether the source marks it as forced.
    pub(super) fn is_forced(&self) -> bool {
        matches!(self.kind, TrackKind::Subtitles { forced: true, .. })
    }

    /// End of its last segment, seconds.
    pub(super) fn end(&self) -> f64 {
        self.segments.last().map_or(0.0, |last| last.start + last.seconds)
    }
}
