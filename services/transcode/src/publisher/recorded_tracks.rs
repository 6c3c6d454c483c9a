//! The recorded tracks of a job, cached by this process. Recorded outputs never change, so only new ones are read.

use std::collections::BTreeMap;

use reelmill_media::{
    geometry::Size,
    plan::{AUDIO_SAMPLE_RATE, Plan},
    playlists::{Presentation, Segment, Track, TrackKind, thumbnails::Sheet},
};

use crate::{
    db::{Db, Generation, ReadParts, RecordedOutput, RecordedSheet},
    domain::{OutputKind, TrackView},
    error::TranscodeError,
    plans::JobPlan,
};

/// The tracks of a generation as far as they are recorded.
pub(super) struct RecordedTracks {
    pub(super) generation: Generation,
    pub(super) tracks: Vec<RecordedTrack>,
    /// Sheets of thumbnails, by sequence number.
    sheets: BTreeMap<i32, Sheet>,
    read: ReadParts,
}

/// A planned track as far as it is recorded.
pub(super) struct RecordedTrack {
    /// The playlist model, with the segments from the first one without gaps.
    pub(super) track: Track,
    /// Number of frames of each segment.
    pub(super) frames: Vec<i32>,
    /// Recorded segments behind a gap, by sequence number.
    behind_gap: BTreeMap<i32, RecordedOutput>,
}

impl RecordedTrack {
    /// Whether it can be listed in playlists: it has segments, and an init segment unless it is subtitles.
    pub(super) fn is_listed(&self) -> bool {
        let has_init = self.is_subtitles() || !self.track.init.is_empty();
        has_init && !self.track.segments.is_empty()
    }

    pub(super) fn is_video(&self) -> bool {
        matches!(self.track.kind, TrackKind::Video { .. })
    }

    pub(super) fn is_audio(&self) -> bool {
        matches!(self.track.kind, TrackKind::Audio { .. })
    }

    pub(super) fn is_subtitles(&self) -> bool {
        matches!(self.track.kind, TrackKind::Subtitles { .. })
    }

    /// End of its last segment, seconds.
    pub(super) fn end_seconds(&self) -> f64 {
        self.track.segments.last().map_or(0.0, |last| last.start + last.seconds)
    }

    /// Size of its segments, bytes.
    pub(super) fn size_bytes(&self) -> i64 {
        let bytes = self.track.segments.iter().map(|segment| segment.bytes).sum::<u64>();
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }
}

impl RecordedTracks {
    /// The tracks of a plan, without segments.
    pub(super) fn new(generation: Generation, plan: &JobPlan) -> Self {
        let tracks = planned_tracks(&plan.plan).into_iter();
        let tracks =
            tracks.map(|track| RecordedTrack { track, frames: Vec::new(), behind_gap: BTreeMap::new() });
        let tracks = tracks.collect();
        Self { generation, tracks, sheets: BTreeMap::new(), read: ReadParts::default() }
    }

    /// Reads the outputs that were recorded since the last call.
    pub(super) async fn refresh(&mut self, db: &Db) -> Result<(), TranscodeError> {
        if self.tracks.iter().any(|track| track.track.init.is_empty()) {
            for init in db.outputs(&self.generation, OutputKind::Init).await? {
                let found = self.tracks.iter_mut().find(|track| track.track.id == init.rendition_id);
                if let Some(RecordedTrack { track, .. }) = found {
                    (track.init, track.codec) = (init.uri, init.codec);
                }
            }
        }
        for output in db.new_segments(&self.generation, &mut self.read).await? {
            if let Some(sheet) = output.sheet {
                self.sheets.insert(output.sequence, as_sheet(output, sheet));
            } else if let Some(track) =
                self.tracks.iter_mut().find(|track| track.track.id == output.rendition_id)
            {
                track.add(output);
            }
        }
        Ok(())
    }

    /// The sheets of thumbnails, by time.
    pub(super) fn sheets(&self) -> Vec<Sheet> {
        let mut sheets: Vec<_> = self.sheets.values().cloned().collect();
        sheets.sort_by(|a, b| a.start.total_cmp(&b.start));
        sheets
    }

    /// The listed tracks as a presentation; `complete` when no segments will follow.
    pub(super) fn presentation(&self, complete: bool) -> Presentation {
        let listed = || self.tracks.iter().filter(|track| track.is_listed());
        let end_seconds = listed().map(RecordedTrack::end_seconds).fold(0.0, f64::max);
        let as_presented = |recorded: &RecordedTrack| {
            let mut track = Track { complete, ..recorded.track.clone() };
            // Subtitles of unknown duration last as long as the video.
            if let [subtitles] = &mut track.segments[..]
                && subtitles.seconds <= 0.0
            {
                subtitles.seconds = end_seconds;
            }
            track
        };
        Presentation { tracks: listed().map(as_presented).collect(), complete }
    }

    /// The tracks as the final check sees them.
    pub(super) fn views(&self) -> Vec<TrackView<'_>> {
        let tracks = self.tracks.iter().filter(|track| track.is_listed() || track.has_gap());
        tracks
            .map(|track| TrackView {
                id: &track.track.id,
                segments: &track.track.segments,
                frames: &track.frames,
                has_gap: track.has_gap(),
            })
            .collect()
    }

    /// The track of a rendition, if it is listed.
    pub(super) fn listed(&self, rendition: &str) -> Option<&RecordedTrack> {
        self.tracks.iter().find(|track| track.track.id == rendition).filter(|track| track.is_listed())
    }

    /// Number of segments of the longest track.
    pub(super) fn max_segments(&self) -> usize {
        self.tracks.iter().map(|track| track.track.segments.len()).max().unwrap_or(0)
    }

    /// The audio track that is played unless the viewer chooses another: the default one, otherwise the first.
    pub(super) fn played_audio(&self, plan: &JobPlan) -> Option<&RecordedTrack> {
        let default = plan.default_audio().and_then(|index| self.listed(&plan.plan.audio[index].id));
        default.or_else(|| self.tracks.iter().find(|track| track.is_audio() && track.is_listed()))
    }
}

impl RecordedTrack {
    /// Whether more segments are recorded behind a gap.
    fn has_gap(&self) -> bool {
        !self.behind_gap.is_empty()
    }

    /// Adds a segment, unless it was added before.
    fn add(&mut self, output: RecordedOutput) {
        if output.sequence < self.next_sequence() {
            return;
        }
        self.behind_gap.insert(output.sequence, output);
        while let Some(next) = self.behind_gap.remove(&self.next_sequence()) {
            self.frames.push(next.frames);
            self.track.segments.push(segment(next));
        }
    }

    fn next_sequence(&self) -> i32 {
        i32::try_from(self.track.segments.len()).unwrap_or(i32::MAX)
    }
}

fn segment(output: RecordedOutput) -> Segment {
    let bytes = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    Segment {
        uri: output.uri,
        start: output.start_seconds,
        seconds: output.duration_seconds,
        bytes: bytes(output.size_bytes),
        keyframe_bytes: bytes(output.keyframe_bytes),
    }
}

fn as_sheet(output: RecordedOutput, sheet: RecordedSheet) -> Sheet {
    Sheet {
        start: output.start_seconds,
        interval: sheet.interval_seconds,
        count: sheet.count,
        columns: sheet.columns,
        tile: Size { width: sheet.width, height: sheet.height },
        uri: output.uri,
    }
}

/// The tracks of a plan, without segments.
fn planned_tracks(plan: &Plan) -> Vec<Track> {
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
        // Stereo and surround renditions of one source track have one name: to the viewer they are one track.
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
    for subtitles in &plan.subtitles {
        let kind = TrackKind::Subtitles {
            language: subtitles.language.clone(),
            name: subtitles.name.clone(),
            default: subtitles.default,
            forced: subtitles.forced,
        };
        tracks.push(track(&subtitles.id, kind));
    }
    tracks
}
