//! Divides the plan's work into tasks.

use super::model::{VideoPlan, WorkUnit};

/// If the highest rung has more pixels per second than this, the lowest rung of the first chunk is a task of its own.
const SPLIT_FIRST_CHUNK_ABOVE_PIXELS_PER_SECOND: f64 = 640.0 * 480.0 * 31.0;

/// The work units of a plan, in the order in which they are needed.
///
/// A short video is one work unit. A long one starts with what makes it playable: the first segment of the lowest rung,
/// and the audio, which is never cut. Its chunks follow.
pub(super) fn work_units(
    video: Option<&VideoPlan>,
    audio: usize,
    subtitles: usize,
    poster_seconds: f64,
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
    if video.chunks.len() == 1 {
        return vec![WorkUnit { audio: tracks.audio, subtitles: tracks.subtitles, priority: 0, ..chunk(0) }];
    }
    let mut first = WorkUnit { priority: 0, ..chunk(0) };
    let mut work_units = Vec::new();
    let pixels = video.rungs.iter().map(|rung| rung.size.pixels()).max().unwrap_or(0) as f64;
    let mut rest_of_first = None;
    if rungs.len() > 1 && pixels * video.rate.fps() > SPLIT_FIRST_CHUNK_ABOVE_PIXELS_PER_SECOND {
        let lowest = rungs.len() - 1;
        rest_of_first = Some(WorkUnit { rungs: rungs[..lowest].to_vec(), priority: 2, ..first.clone() });
        first = WorkUnit { chunk: Some(0), rungs: vec![lowest], ..WorkUnit::default() };
    }
    work_units.push(first);
    if audio + subtitles > 0 {
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
