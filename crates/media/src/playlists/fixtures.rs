//! Tracks and presentations for tests.

use super::{Presentation, Segment, Track, TrackKind};
use crate::{geometry::Size, probe::VideoRange, rate::Rate};

/// `count` segments of 4 s and one of 1 s, each under the prefix of an attempt.
pub(super) fn segments(id: &str, count: u32, bytes: u64) -> Vec<Segment> {
    let one = |number: u32, seconds: f64| Segment {
        uri: format!("{}a/{id}/seg_{number:05}.m4s", number / 2),
        start: f64::from(number) * 4.0,
        seconds,
        bytes,
        keyframe_bytes: bytes / 10,
    };
    (0..count).map(|number| one(number, 4.0)).chain([one(count, 1.0)]).collect()
}

pub(super) fn rung(short: u32, bytes: u64, range: VideoRange) -> Track {
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

pub(super) fn audio(number: u32, channels: u32, language: &str, name: &str) -> Track {
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

pub(super) fn subtitles(number: u32, language: &str, name: &str, forced: bool) -> Track {
    let id = format!("subtitles-{number}");
    Track {
        init: String::new(),
        codec: String::new(),
        kind: TrackKind::Subtitles { language: language.into(), name: name.into(), default: false, forced },
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

pub(super) fn presentation(tracks: Vec<Track>) -> Presentation {
    Presentation { tracks, complete: true }
}
