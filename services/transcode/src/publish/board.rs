//! What is known here of a job's recorded segments. Recorded rows never change, so only new ones are read.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher as _},
};

use reelmill_media::{
    plan::{AUDIO_SAMPLE_RATE, Plan},
    playlists::{Presentation, Segment, Track, TrackKind},
};

use crate::{
    domain::{Made, Role},
    error::TranscodeError,
    plans::Planned,
    store::{Generation, RecordedRow, Store},
};

/// Rows read at once.
const PAGE: u64 = 2000;

/// A job's tracks as far as they are recorded, and what was put of them.
pub(super) struct Board {
    pub generation: Generation,
    pub tracks: Vec<BoardTrack>,
    /// Hashes of the texts that this process put last, by name.
    put: HashMap<String, u64>,
}

/// A track of the plan.
pub(super) struct BoardTrack {
    /// As playlists name it; its segments are those from the first on without gaps.
    pub track: Track,
    /// Frames of each segment.
    pub frames: Vec<i32>,
    /// Whether there are segments behind a gap.
    pub has_gap: bool,
}

impl BoardTrack {
    /// Whether there is something of it to play.
    pub fn is_listed(&self) -> bool {
        let headed = matches!(self.track.kind, TrackKind::Subtitles { .. }) || !self.track.init.is_empty();
        headed && !self.track.segments.is_empty()
    }
}

impl Board {
    pub fn new(generation: Generation, planned: &Planned) -> Self {
        let tracks = tracks(&planned.plan)
            .into_iter()
            .map(|track| BoardTrack { track, frames: Vec::new(), has_gap: false })
            .collect();
        Self { generation, tracks, put: HashMap::new() }
    }

    /// Reads what was recorded since.
    pub async fn refresh(&mut self, store: &Store) -> Result<(), TranscodeError> {
        if self.tracks.iter().any(|track| track.track.init.is_empty()) {
            for init in store.recorded(&self.generation, Role::Init).await? {
                let found = self.tracks.iter_mut().find(|track| track.track.id == init.rendition);
                if let Some(BoardTrack { track, .. }) = found {
                    (track.init, track.codec) = (init.uri, init.codec);
                }
            }
        }
        for track in &mut self.tracks {
            track.refresh(store, &self.generation).await?;
        }
        Ok(())
    }

    /// What can be played so far; all there will be once `complete`.
    pub fn presentation(&self, complete: bool) -> Presentation {
        let end = |track: &Track| track.segments.last().map_or(0.0, |last| last.start + last.seconds);
        let listed = || self.tracks.iter().filter(|track| track.is_listed()).map(|track| &track.track);
        let whole = listed().map(end).fold(0.0, f64::max);
        let as_listed = |track: &Track| {
            let mut track = Track { complete, ..track.clone() };
            // A text whose own length is not known lasts as long as the video.
            if let [text] = &mut track.segments[..]
                && text.seconds <= 0.0
            {
                text.seconds = whole;
            }
            track
        };
        Presentation { tracks: listed().map(as_listed).collect(), complete }
    }

    /// What the verdict on the whole looks at.
    pub fn made(&self) -> Vec<Made<'_>> {
        let made = |track: &BoardTrack| track.is_listed() || track.has_gap;
        let tracks = self.tracks.iter().filter(|track| made(track));
        tracks
            .map(|track| Made {
                id: &track.track.id,
                segments: &track.track.segments,
                frames: &track.frames,
                has_gap: track.has_gap,
            })
            .collect()
    }

    /// The track of a rendition, where there is something of it to play.
    pub fn listed(&self, rendition: &str) -> Option<&BoardTrack> {
        self.tracks.iter().find(|track| track.track.id == rendition).filter(|track| track.is_listed())
    }

    /// Segments of the longest track, which is what a playlist's length goes by.
    pub fn longest(&self) -> usize {
        self.tracks.iter().map(|track| track.track.segments.len()).max().unwrap_or(0)
    }

    /// Whether a text differs from what this process put last under that name.
    pub fn differs(&self, name: &str, text: &str, cache_control: Option<&str>) -> bool {
        self.put.get(name) != Some(&hash(text, cache_control))
    }

    /// Notes that a text was put.
    pub fn was_put(&mut self, name: String, text: &str, cache_control: Option<&str>) {
        self.put.insert(name, hash(text, cache_control));
    }
}

impl BoardTrack {
    async fn refresh(&mut self, store: &Store, generation: &Generation) -> Result<(), TranscodeError> {
        loop {
            let next = self.next();
            let rows = store.segments(generation, &self.track.id, next, PAGE).await?;
            let read = rows.len() as u64;
            for row in rows {
                if row.sequence == self.next() {
                    self.frames.push(row.frames);
                    self.track.segments.push(segment(row));
                }
            }
            let added = i64::from(self.next()) - i64::from(next);
            self.has_gap = added < i64::try_from(read).unwrap_or(i64::MAX);
            if read < PAGE || self.has_gap {
                return Ok(());
            }
        }
    }

    fn next(&self) -> i32 {
        i32::try_from(self.track.segments.len()).unwrap_or(i32::MAX)
    }
}

fn segment(row: RecordedRow) -> Segment {
    let bytes = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    Segment {
        uri: row.uri,
        start: row.start,
        seconds: row.seconds,
        bytes: bytes(row.size_bytes),
        keyframe_bytes: bytes(row.keyframe_bytes),
    }
}

fn hash(text: &str, cache_control: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (text, cache_control).hash(&mut hasher);
    hasher.finish()
}

/// The tracks of a plan, with nothing in them.
fn tracks(plan: &Plan) -> Vec<Track> {
    let track = |id: &str, kind: TrackKind| Track {
        id: id.to_owned(),
        init: String::new(),
        codec: String::new(),
        presentation_time_offset: if matches!(kind, TrackKind::Subtitles { .. }) {
            0.0
        } else {
            plan.presentation_time_offset()
        },
        kind,
        segments: Vec::new(),
        complete: false,
    };
    let mut tracks = Vec::new();
    if let Some(video_plan) = &plan.video {
        for rung in &video_plan.rungs {
            let kind =
                TrackKind::Video { size: rung.size, rate: rung.rate(video_plan.rate), range: rung.range };
            tracks.push(track(&rung.id, kind));
        }
    }
    for audio in &plan.audio {
        // Stereo and surround of one source track are one track to the viewer, by one name.
        let first = plan.audio.iter().find(|first| first.index == audio.index).unwrap_or(audio);
        let kind = TrackKind::Audio {
            channels: audio.channels,
            sample_rate: AUDIO_SAMPLE_RATE,
            language: audio.language.clone(),
            name: first.name.clone(),
            default: first.default,
        };
        tracks.push(track(&audio.id, kind));
    }
    for text in &plan.subtitles {
        let kind = TrackKind::Subtitles {
            language: text.language.clone(),
            name: text.name.clone(),
            default: text.default,
            forced: text.forced,
        };
        tracks.push(track(&text.id, kind));
    }
    tracks
}
