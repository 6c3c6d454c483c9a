//! Divides the plan's work into tasks.

use super::model::{AudioPart, VideoPlan, WorkUnit};

/// Segments of the first part of long audio: enough to play until the rest is encoded.
const FIRST_AUDIO_SEGMENTS: u32 = 4;

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
    /// Whether long audio is encoded in two parts. Not that of MPEG streams, which may change its format or have gaps in it:
    /// then frames cannot be counted.
    pub splits_audio: bool,
}

/// The work units of a plan, in the order in which they are needed.
///
/// They start with what makes the video playable: the first segment of the lowest rung, and the audio, of a long video its
/// first segments. The chunks follow; of a short video too, so that it is soon playable and all cores work on it. A video of
/// one chunk is one work unit if it is small, or if its duration is not known.
pub(super) fn work_units(planned: &Tracks<'_>) -> Vec<WorkUnit> {
    let &Tracks { video, audio, subtitles, poster_seconds, is_duration_known, splits_audio } = planned;
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
        priority: 2 + u32::try_from(index).unwrap_or(u32::MAX - 2),
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
        work_units.extend(if splits_audio { long_tracks(tracks) } else { vec![tracks] });
    }
    work_units.extend(rest_of_first);
    work_units.extend((1..video.chunks.len()).map(chunk));
    work_units
}

/// The first segments of long audio, and the rest, which reads the source from its start, too: the sound is as if it were
/// encoded in one piece. Subtitles take as long as the rest.
fn long_tracks(tracks: WorkUnit) -> Vec<WorkUnit> {
    if tracks.audio.is_empty() {
        return vec![tracks];
    }
    let first = AudioPart { first_segment: 0, segments: Some(FIRST_AUDIO_SEGMENTS) };
    let rest = AudioPart { first_segment: FIRST_AUDIO_SEGMENTS, segments: None };
    vec![
        WorkUnit { audio_part: first, subtitles: Vec::new(), ..tracks.clone() },
        WorkUnit { audio_part: rest, ..tracks },
    ]
}

/// Whether the first frame at or after a time is in a chunk.
fn contains(video: &VideoPlan, chunk: usize, seconds: f64) -> bool {
    let frame = video.first_frame_from(seconds);
    let first = |chunk: usize| video.chunks.get(chunk).map(|chunk| chunk.first_frame);
    first(chunk).is_some_and(|first| first <= frame) && first(chunk + 1).is_none_or(|next| frame < next)
}
