//! What players are given: HLS playlists, the DASH manifest and the thumbnails' index, as text. All
//! lie at the root of the presentation and name segments by addresses relative to it.

pub mod dash;
pub mod hls;
mod language;
mod renditions;
pub mod thumbnails;
mod variants;
mod xml;

use crate::geometry::Size;
use crate::plan::SEGMENT_SECONDS;
use crate::probe::VideoRange;
use crate::rate::Rate;
use serde::{Deserialize, Serialize};

/// The longest name of a track that is shown, characters.
const LONGEST_NAME: usize = 80;

/// All there is to play of one video, so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Presentation {
    /// Picture, sound and text.
    pub tracks: Vec<Track>,
    /// Whether every track is, and none will be added.
    pub complete: bool,
}

/// A rung, an audio track or a subtitle track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// Name within the presentation and of its playlist: `720p`, `audio-0`, `subtitles-0`.
    pub id: String,
    /// Address of the initialisation segment; empty for subtitles.
    pub init: String,
    /// RFC 6381 codec string; empty for subtitles, whose segments are plain WebVTT.
    pub codec: String,
    /// What it holds.
    pub kind: TrackKind,
    /// When it begins in its segments' own times, seconds; 0 for subtitles.
    #[serde(default)]
    pub presentation_time_offset: f64,
    /// Its segments from the first on, without gaps.
    pub segments: Vec<Segment>,
    /// Whether no segment will be added.
    pub complete: bool,
}

/// What a track holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackKind {
    /// Picture.
    Video {
        /// Pixels.
        size: Size,
        /// Frames a second.
        rate: Rate,
        /// Range of brightness.
        range: VideoRange,
    },
    /// Sound. The stereo and the surround version of one source track have the same language and name.
    Audio {
        /// Channels.
        channels: u32,
        /// Samples a second.
        sample_rate: u32,
        /// BCP 47 or ISO 639-2; empty when unknown.
        language: String,
        /// As the source names it; may be empty.
        name: String,
        /// Whether it plays unless the viewer chooses another.
        default: bool,
    },
    /// Text.
    Subtitles {
        /// BCP 47 or ISO 639-2; empty when unknown.
        language: String,
        /// As the source names it; may be empty.
        name: String,
        /// Whether it is shown unless the viewer says otherwise.
        default: bool,
        /// Whether it holds only what must be read to follow.
        forced: bool,
    },
}

/// A media segment as playlists list it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Address, relative to the presentation's root.
    pub uri: String,
    /// When it begins, seconds.
    pub start: f64,
    /// How long it is, seconds.
    pub seconds: f64,
    /// Size, bytes.
    pub bytes: u64,
    /// Bytes from its start to the end of its first frame, a keyframe; 0 when unknown.
    pub keyframe_bytes: u64,
}

impl Track {
    /// Name of its HLS media playlist.
    pub fn playlist(&self) -> String {
        format!("{}.m3u8", address(&self.id))
    }

    /// Name of its HLS I-frame playlist.
    pub fn iframe_playlist(&self) -> String {
        format!("{}.iframes.m3u8", address(&self.id))
    }

    /// Pixels of a picture; none for sound and text.
    fn pixels(&self) -> u64 {
        if let TrackKind::Video { size, .. } = &self.kind { size.pixels() } else { 0 }
    }

    fn is_video(&self) -> bool {
        matches!(self.kind, TrackKind::Video { .. })
    }

    fn is_subtitles(&self) -> bool {
        matches!(self.kind, TrackKind::Subtitles { .. })
    }

    /// When its last segment ends, seconds.
    fn end(&self) -> f64 {
        self.segments.last().map_or(0.0, |last| last.start + last.seconds)
    }
}

/// Bit rates of a list of segments, bits a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bandwidth {
    /// The most that any segment needs.
    pub peak: u64,
    /// All bits over all time.
    pub average: u64,
}

impl Bandwidth {
    /// Measures segments. One that is shorter than half of the usual length counts together with
    /// its predecessor: its own rate says nothing of what a player must fetch in time.
    pub fn of(segments: &[Segment]) -> Self {
        Self::by(segments, |segment| segment.bytes)
    }

    /// Measures the keyframes at the start of segments.
    fn of_keyframes(segments: &[Segment]) -> Self {
        Self::by(segments, |segment| segment.keyframe_bytes)
    }

    fn by(segments: &[Segment], bytes: impl Fn(&Segment) -> u64) -> Self {
        let rate = |bytes: f64, seconds: f64| {
            if seconds > 0.0 { (bytes * 8.0 / seconds).ceil() as u64 } else { 0 }
        };
        let (mut peak, mut all_bytes, mut all_seconds) = (0, 0.0, 0.0);
        let mut before = None;
        for segment in segments {
            let this = (bytes(segment) as f64, segment.seconds);
            let short = segment.seconds < f64::from(SEGMENT_SECONDS) / 2.0;
            let (wide, long) = before.filter(|_| short).unwrap_or((0.0, 0.0));
            peak = peak.max(rate(this.0 + wide, this.1 + long));
            (all_bytes, all_seconds) = (all_bytes + this.0, all_seconds + this.1);
            before = Some(this);
        }
        let average = rate(all_bytes, all_seconds);
        Self { peak: peak.max(average), average }
    }

    /// Both played at once.
    pub fn with(self, other: Self) -> Self {
        Self {
            peak: self.peak.saturating_add(other.peak),
            average: self.average.saturating_add(other.average),
        }
    }

    /// What either needs at most.
    fn max(self, other: Self) -> Self {
        Self { peak: self.peak.max(other.peak), average: self.average.max(other.average) }
    }
}

/// A relative address as playlists may hold it: whatever RFC 3986 has no place for is
/// percent-encoded, so that no quote or line break gets through.
fn address(uri: &str) -> String {
    let mut text = String::with_capacity(uri.len());
    for byte in uri.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&()*+,;=:@%?".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// A name from the source as players may show it. Quotes and control characters would end a
/// playlist's attribute, braces are taken for variables, and some characters turn or hide text.
fn shown(name: &str) -> String {
    let plain = |c: char| match c {
        '"' => '\'',
        '{' => '(',
        '}' => ')',
        '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => ' ',
        '\u{feff}' | '\u{fffe}' | '\u{ffff}' => ' ',
        c if c.is_control() => ' ',
        c => c,
    };
    let spaced: String = name.chars().map(plain).collect();
    let joined = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.chars().take(LONGEST_NAME).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Bandwidth, Presentation, Segment, Track, TrackKind, address, shown};
    use crate::geometry::Size;
    use crate::probe::VideoRange;
    use crate::rate::Rate;
    use proptest::prelude::*;

    /// `count` segments of 4 s and one of 1 s, under the prefix of an attempt each.
    pub(crate) fn segments(id: &str, count: u32, bytes: u64) -> Vec<Segment> {
        let one = |number: u32, seconds: f64| Segment {
            uri: format!("{}a/{id}/seg_{number:05}.m4s", number / 2),
            start: f64::from(number) * 4.0,
            seconds,
            bytes,
            keyframe_bytes: bytes / 10,
        };
        (0..count).map(|number| one(number, 4.0)).chain([one(count, 1.0)]).collect()
    }

    pub(crate) fn rung(short: u32, bytes: u64, range: VideoRange) -> Track {
        let id = format!("{short}p");
        Track {
            init: format!("0a/{id}/init.mp4"),
            codec: "avc1.64001f".into(),
            kind: TrackKind::Video {
                size: Size { width: short / 9 * 16, height: short },
                rate: Rate::new(30_000, 1001).expect("a rate"),
                range,
            },
            presentation_time_offset: 0.0,
            segments: segments(&id, 2, bytes),
            complete: true,
            id,
        }
    }

    pub(crate) fn audio(number: u32, channels: u32, language: &str, name: &str) -> Track {
        let id = format!("audio-{number}");
        Track {
            init: format!("0a/{id}/init.mp4"),
            codec: "mp4a.40.2".into(),
            kind: TrackKind::Audio {
                channels,
                sample_rate: 48_000,
                language: language.into(),
                name: name.into(),
                default: false,
            },
            presentation_time_offset: 0.0,
            segments: segments(&id, 2, 8_000 * u64::from(channels)),
            complete: true,
            id,
        }
    }

    pub(crate) fn subtitles(number: u32, language: &str, name: &str, forced: bool) -> Track {
        let id = format!("subtitles-{number}");
        Track {
            init: String::new(),
            codec: String::new(),
            kind: TrackKind::Subtitles {
                language: language.into(),
                name: name.into(),
                default: false,
                forced,
            },
            presentation_time_offset: 0.0,
            segments: vec![Segment {
                uri: format!("0a/{id}.vtt"),
                start: 0.0,
                seconds: 9.0,
                bytes: 90,
                keyframe_bytes: 0,
            }],
            complete: true,
            id,
        }
    }

    pub(crate) fn presentation(tracks: Vec<Track>) -> Presentation {
        Presentation { tracks, complete: true }
    }

    #[test]
    fn a_short_last_segment_is_no_peak() {
        let mut two = segments("a", 1, 4_000);
        (two[1].seconds, two[1].bytes) = (0.1, 1_000);
        assert_eq!(Bandwidth::of(&two), Bandwidth { peak: 9_757, average: 9_757 });
        assert_eq!(Bandwidth::of(&[]), Bandwidth::default());
    }

    #[test]
    fn names_and_addresses_are_cleaned() {
        assert_eq!(
            shown(" Director's \"cut\"\r\n#EXT-X-ENDLIST {$a}\u{0}"),
            "Director's 'cut' #EXT-X-ENDLIST ($a)"
        );
        assert_eq!(shown("a\u{202e}b\u{85}c\u{2028}d"), "a b c d");
        assert_eq!(shown(&"é".repeat(300)).chars().count(), 80);
        assert_eq!(address("3f2a.1/720p/seg_00001.m4s"), "3f2a.1/720p/seg_00001.m4s");
        assert_eq!(address("a b\n\"#<é"), "a%20b%0A%22%23%3C%C3%A9");
    }

    #[test]
    fn a_presentation_is_stored_and_read_back() {
        let whole = presentation(vec![
            rung(720, 9, VideoRange::Hlg),
            audio(0, 6, "deu", "Ton"),
            subtitles(0, "", "", true),
        ]);
        let text = serde_json::to_string(&whole).expect("written");
        assert_eq!(serde_json::from_str::<Presentation>(&text).expect("read"), whole);
    }

    proptest! {
        #[test]
        fn peak_is_never_below_average(parts in proptest::collection::vec((0.01f64..9.0, 1u64..1 << 30), 1..50)) {
            let part = |(seconds, bytes)| Segment { seconds, bytes, ..segments("s", 0, 0)[0].clone() };
            let measured = Bandwidth::of(&parts.into_iter().map(part).collect::<Vec<_>>());
            prop_assert!(measured.peak >= measured.average && measured.average > 0);
        }
    }
}
