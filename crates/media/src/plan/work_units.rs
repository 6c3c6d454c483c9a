//! Divides the plan's work into tasks.

use super::model::{VideoPlan, WorkUnit};

/// The work units of a plan, in the order in which they are needed.
///
/// They start with what makes the video playable: the first segment of the lowest rung, and the audio, which is never cut.
/// The chunks follow; of a short video too, so that it is soon playable and all cores work on it. A video of one chunk is one work unit if it is small, or if its duration is not known.
pub(super) fn work_units(
    video: Option<&VideoPlan>,
    audio: usize,
    subtitles: usize,
    poster_seconds: f64,
    is_duration_known: bool,
) -> Vec<WorkUnit> {
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
        work_units.push(tracks);
    }
    work_units.extend(rest_of_first);
    work_units.extend((1..video.chunks.len()).map(chunk));
    work_units
}

/// Whether the first frame at or after a time is in a chunk.
fn contains(video: &VideoPlan, chunk: usize, seconds: f64) -> bool {
    let frame = video.first_frame_from(seconds);
    let first = |chunk: usize| video.chunks.get(chunk).map(|chunk| chunk.first_frame);
    first(chunk).is_some_and(|first| first <= frame) && first(chunk + 1).is_none_or(|next| frame < next)
}
