//! The tracks and programmes of a file: what is encoded, and what is left out.

use serde::{Deserialize, Serialize};

use super::description::{Description, Program, Stream};

/// Most tracks, and most programmes, that are listed.
const MAX_LISTED: usize = 64;

/// Tracks and programmes of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Video, audio and subtitle tracks in the order of the file; the first 64, and those that are encoded.
    pub tracks: Vec<Track>,
    /// Programmes of a broadcast, in the order of the file; the first 64, and the one that is encoded.
    pub programs: Vec<ProgramSummary>,
}

/// A track of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// Index among all streams.
    pub index: u32,
    /// What it contains.
    pub kind: TrackKind,
    /// Codec as ffprobe names it; empty if unknown.
    pub codec: String,
    /// Language as the file names it; empty if unknown.
    pub language: String,
    /// Title as the file names it; empty if it has none.
    pub title: String,
    /// Size of a stored frame; zero if it has none.
    pub width: u32,
    /// See `width`.
    pub height: u32,
    /// Number of channels; zero if it has none.
    pub channels: u32,
    /// Numbers of the programmes that it belongs to.
    pub programs: Vec<u32>,
    /// Whether it is encoded.
    pub is_used: bool,
}

/// What a track contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TrackKind {
    /// A moving picture, or a cover image.
    Video,
    /// Sound.
    Audio,
    /// Text, or pictures of text.
    Subtitle,
}

/// A programme of a broadcast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramSummary {
    /// Its number in the broadcast.
    pub number: u32,
    /// Name of the service; empty if it has none.
    pub title: String,
    /// Whether it is encoded.
    pub is_used: bool,
}

impl Contents {
    /// Lists what a file contains, before it is known what is encoded.
    pub(super) fn of(description: &Description) -> Self {
        let kind = |stream: &Stream| match stream.codec_type.as_str() {
            "video" => Some(TrackKind::Video),
            "audio" => Some(TrackKind::Audio),
            "subtitle" => Some(TrackKind::Subtitle),
            _ => None,
        };
        let tracks = description.streams.iter().filter_map(|stream| {
            let programs = description.programs.iter().filter(|program| program.has(stream.index));
            Some(Track {
                index: stream.index,
                kind: kind(stream)?,
                codec: stream.codec_name.clone().unwrap_or_default(),
                language: stream.language(),
                title: stream.title(),
                width: stream.width.unwrap_or(0),
                height: stream.height.unwrap_or(0),
                channels: stream.channels.unwrap_or(0),
                programs: programs.map(Program::number).take(MAX_LISTED).collect(),
                is_used: false,
            })
        });
        let programs = description.programs.iter().map(|program| ProgramSummary {
            number: program.number(),
            title: program.title(),
            is_used: false,
        });
        Self { tracks: tracks.collect(), programs: programs.collect() }
    }

    /// Marks the streams and the programme that are encoded; of the others, only the first ones stay listed.
    pub(super) fn mark_used(&mut self, streams: &[u32], program: Option<u32>) {
        for track in &mut self.tracks {
            track.is_used = streams.contains(&track.index);
        }
        for listed in &mut self.programs {
            listed.is_used = Some(listed.number) == program;
        }
        keep_first(&mut self.tracks, |track| track.is_used);
        keep_first(&mut self.programs, |program| program.is_used);
    }
}

fn keep_first<T>(items: &mut Vec<T>, is_used: impl Fn(&T) -> bool) {
    let mut position = 0;
    items.retain(|item| {
        position += 1;
        position <= MAX_LISTED || is_used(item)
    });
}
