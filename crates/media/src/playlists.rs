//! HLS playlists (RFC 8216 and its successor draft), as text.

use crate::geometry::Size;
use crate::plan::SEGMENT_SECONDS;
use std::fmt::Write;

/// A media segment as a playlist lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Address, relative to the playlist.
    pub name: String,
    /// How long it is, seconds.
    pub seconds: f64,
    /// Size, bytes.
    pub bytes: u64,
}

/// Bit rates of a list of segments, bits a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
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
        let rate = |bytes: u64, seconds: f64| {
            if seconds > 0.0 { (bytes as f64 * 8.0 / seconds).ceil() as u64 } else { 0 }
        };
        let mut peak = 0;
        for (place, segment) in segments.iter().enumerate() {
            let short = segment.seconds < f64::from(SEGMENT_SECONDS) / 2.0;
            let before = place.checked_sub(1).and_then(|place| segments.get(place)).filter(|_| short);
            let (bytes, seconds) = before.map_or((segment.bytes, segment.seconds), |before| {
                (segment.bytes + before.bytes, segment.seconds + before.seconds)
            });
            peak = peak.max(rate(bytes, seconds));
        }
        let bytes = segments.iter().map(|segment| segment.bytes).sum();
        let average = rate(bytes, segments.iter().map(|segment| segment.seconds).sum());
        Self { peak: peak.max(average), average }
    }

    /// Both played at once.
    pub fn with(self, other: Self) -> Self {
        Self { peak: self.peak + other.peak, average: self.average + other.average }
    }
}

/// The text of a finished media playlist.
pub fn media(init: &str, segments: &[Segment]) -> String {
    let longest = segments.iter().map(|segment| segment.seconds).fold(1.0, f64::max);
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:1\n\
         #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"{init}\"\n",
        longest.round() as u64
    );
    for segment in segments {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "#EXTINF:{:.6},\n{}", segment.seconds, segment.name);
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

/// A rung as the master playlist lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Address of its media playlist.
    pub uri: String,
    /// RFC 6381 codec strings of video and audio, separated by commas.
    pub codecs: String,
    /// Bit rates of video and audio together.
    pub bandwidth: Bandwidth,
    /// Pixels.
    pub size: Size,
    /// Frames a second.
    pub frame_rate: f64,
}

/// The text of a master playlist; `audio` is the address of the sound's media playlist.
pub fn master(variants: &[Variant], audio: Option<&str>) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    if let Some(uri) = audio {
        let _infallible = writeln!(
            text,
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Audio\",DEFAULT=YES,AUTOSELECT=YES,\
             CHANNELS=\"2\",URI=\"{uri}\""
        );
    }
    for variant in variants {
        let group = if audio.is_some() { ",AUDIO=\"audio\"" } else { "" };
        let _infallible = writeln!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\",RESOLUTION={}x{},\
             FRAME-RATE={:.3}{group}\n{}",
            variant.bandwidth.peak,
            variant.bandwidth.average,
            variant.codecs,
            variant.size.width,
            variant.size.height,
            variant.frame_rate,
            variant.uri
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Bandwidth, Segment, Variant, master, media};
    use crate::geometry::Size;
    use proptest::prelude::*;

    fn segment(name: &str, seconds: f64, bytes: u64) -> Segment {
        Segment { name: name.into(), seconds, bytes }
    }

    #[test]
    fn a_media_playlist() {
        let text = media("init.mp4", &[segment("seg_00001.m4s", 4.004, 9), segment("seg_00002.m4s", 0.5, 9)]);
        assert_eq!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:1\n\
             #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"init.mp4\"\n\
             #EXTINF:4.004000,\nseg_00001.m4s\n#EXTINF:0.500000,\nseg_00002.m4s\n#EXT-X-ENDLIST\n"
        );
    }

    #[test]
    fn a_master_playlist() {
        let variant = Variant {
            uri: "720p/index.m3u8".into(),
            codecs: "avc1.64001f,mp4a.40.2".into(),
            bandwidth: Bandwidth { peak: 3_000_000, average: 2_000_000 },
            size: Size { width: 1280, height: 720 },
            frame_rate: 30_000.0 / 1001.0,
        };
        assert_eq!(
            master(&[variant], Some("audio/index.m3u8")),
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Audio\",DEFAULT=YES,AUTOSELECT=YES,\
             CHANNELS=\"2\",URI=\"audio/index.m3u8\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=3000000,AVERAGE-BANDWIDTH=2000000,CODECS=\"avc1.64001f,mp4a.40.2\",\
             RESOLUTION=1280x720,FRAME-RATE=29.970,AUDIO=\"audio\"\n720p/index.m3u8\n"
        );
    }

    #[test]
    fn a_short_last_segment_is_no_peak() {
        let measured = Bandwidth::of(&[segment("a", 4.0, 4_000), segment("b", 0.1, 1_000)]);
        assert_eq!(measured, Bandwidth { peak: 9_757, average: 9_757 });
    }

    proptest! {
        #[test]
        fn peak_is_never_below_average(parts in proptest::collection::vec((0.01f64..9.0, 1u64..1 << 30), 1..50)) {
            let segments: Vec<_> = parts.into_iter().map(|(seconds, bytes)| segment("s", seconds, bytes)).collect();
            let measured = Bandwidth::of(&segments);
            prop_assert!(measured.peak >= measured.average && measured.average > 0);
        }
    }
}
