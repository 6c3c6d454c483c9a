//! Divides the plan's work into tasks.

use super::model::{AudioPart, VideoPlan, WorkUnit};

/// Segments of the first part of long audio: enough to play until the rest is encoded.
const FIRST_AUDIO_SEGMENTS: u32 = 4;
/// Segments of a later part, if those can be sought: about ten minutes. A worker that is lost costs no more than that.
const LATER_AUDIO_SEGMENTS: u32 = 150;

/// What is divided into work units.
pub(super) struct Tracks<'a> {
    pub video: Option<&'a VideoPlan>,
    /// Number of audio renditions.
    pub audio: usize,
    /// Number of subtitle renditions.
    pub subtitles: usize,
    /// Time of the poster, seconds.
    pub poster_seconds: f64,
    pub is_duration_known: bool,
    /// How audio is cut.
    pub audio_cut: AudioCut,
}

/// How audio is cut into parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum AudioCut {
    /// Not at all.
    Whole,
    /// Into the first segments and the rest, which reads the source from its start, too: the sound is as if it were encoded
    /// in one piece.
    FirstAndRest,
    /// Into the first segments and parts of about ten minutes, each of which is sought; for audio of this many seconds.
    Sought { seconds: f64 },
}

/// The work units of a plan, in the order in which they are needed.
///
/// They start with what makes the video playable: the first segment of the lowest rung, and the audio, of a long video its
/// first segments. The chunks follow; of a short video too, so that it is soon playable and all cores work on it. A video of
/// one chunk is one work unit if it is small, or if its duration is not known.
pub(super) fn work_units(planned: &Tracks<'_>) -> Vec<WorkUnit> {
    let &Tracks { video, audio, subtitles, poster_seconds, is_duration_known, audio_cut } = planned;
    let tracks = WorkUnit {
        audio: (0..audio).collect(),
        subtitles: (0..subtitles).collect(),
        priority: 1,
        ..WorkUnit::default()
    };
    let Some(video) = video else {
        return vec![WorkUnit { poster: true, priority: 0, ..tracks }];
    };
    let rungs: Vec<usize> = (0..video.rungs.len()).collect();
    let chunk = |index: usize| WorkUnit {
        chunk: Some(index),
        rungs: rungs.clone(),
        poster: contains(video, index, poster_seconds),
        thumbnails: true,
        priority: chunk_priority(index),
        ..WorkUnit::default()
    };
    let splits_first = rungs.len() > 1 && video.is_large();
    if video.chunks.len() == 1 && !(splits_first && is_duration_known) {
        return vec![WorkUnit { audio: tracks.audio, subtitles: tracks.subtitles, priority: 0, ..chunk(0) }];
    }
    let mut first = WorkUnit { priority: 0, ..chunk(0) };
    let mut work_units = Vec::new();
    let mut rest_of_first = None;
    if splits_first {
        let lowest = rungs.len() - 1;
        rest_of_first = Some(WorkUnit { rungs: rungs[..lowest].to_vec(), priority: 2, ..first.clone() });
        first = WorkUnit { chunk: Some(0), rungs: vec![lowest], ..WorkUnit::default() };
    }
    // The first work unit of a video of one segment reads all of it anyway.
    let has_own_tracks = audio + subtitles > 0 && video.chunks.len() > 1;
    if !has_own_tracks {
        first.audio.clone_from(&tracks.audio);
        first.subtitles.clone_from(&tracks.subtitles);
    }
    work_units.push(first);
    if has_own_tracks {
        work_units.extend(cut_tracks(tracks, audio_cut, video));
    }
    work_units.extend(rest_of_first);
    work_units.extend((1..video.chunks.len()).map(chunk));
    // A stable sort: audio goes before the chunk that it is played with.
    work_units.sort_by_key(|unit| unit.priority);
    work_units
}

/// The work units of audio and subtitles.
fn cut_tracks(tracks: WorkUnit, cut: AudioCut, video: &VideoPlan) -> Vec<WorkUnit> {
    if tracks.audio.is_empty() || cut == AudioCut::Whole {
        return vec![tracks];
    }
    let audio = WorkUnit { subtitles: Vec::new(), ..tracks.clone() };
    let first = AudioPart { first_segment: 0, segments: Some(FIRST_AUDIO_SEGMENTS) };
    let mut units = vec![WorkUnit { audio_part: first, ..audio.clone() }];
    let AudioCut::Sought { seconds } = cut else {
        // Subtitles take as long as the rest.
        let rest = AudioPart { first_segment: FIRST_AUDIO_SEGMENTS, segments: None };
        units.push(WorkUnit { audio_part: rest, ..tracks });
        return units;
    };
    if !tracks.subtitles.is_empty() {
        units.push(WorkUnit { audio: Vec::new(), ..tracks });
    }
    let parts = later_audio_parts(seconds);
    units.extend(parts.map(|part| {
        let chunk = video.chunk_at(part.start_seconds());
        WorkUnit { audio_part: part, priority: chunk_priority(chunk), ..audio.clone() }
    }));
    units
}

/// The parts after the first one. The last one has an open end, because the container may state a wrong duration.
fn later_audio_parts(seconds: f64) -> impl Iterator<Item = AudioPart> {
    let segments = (AudioPart::segments_of(seconds)).saturating_sub(FIRST_AUDIO_SEGMENTS);
    let parts = segments.div_ceil(LATER_AUDIO_SEGMENTS).max(1);
    let size = segments.div_ceil(parts);
    (0..parts).map(move |part| AudioPart {
        first_segment: FIRST_AUDIO_SEGMENTS + part * size,
        segments: (part + 1 < parts).then_some(size),
    })
}

fn chunk_priority(chunk: usize) -> u32 {
    2 + u32::try_from(chunk).unwrap_or(u32::MAX - 2)
}

/// Whether the first frame at or after a time is in a chunk.
fn contains(video: &VideoPlan, chunk: usize, seconds: f64) -> bool {
    let frame = video.first_frame_from(seconds);
    let first = |chunk: usize| video.chunks.get(chunk).map(|chunk| chunk.first_frame);
    first(chunk).is_some_and(|first| first <= frame) && first(chunk + 1).is_none_or(|next| frame < next)
}
