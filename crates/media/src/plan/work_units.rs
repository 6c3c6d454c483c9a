//! Who makes what: the plan's work as tasks.

use super::{Poster, VideoPlan};
use serde::{Deserialize, Serialize};

/// From so many pixels a second on, the first segment of the lowest rung is a task of its own.
const QUICK_PIXELS: f64 = 640.0 * 480.0 * 31.0;

/// One task's part of the work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkUnit {
    /// The stretch of the picture.
    pub chunk: Option<usize>,
    /// The rungs, by their place in the plan.
    pub rungs: Vec<usize>,
    /// The sound, all of it, by place.
    pub audio: Vec<usize>,
    /// The text, all of it, by place.
    pub subtitles: Vec<usize>,
    /// Whether the poster is made.
    pub poster: bool,
    /// Whether thumbnails are made.
    pub thumbnails: bool,
    /// How soon it is wanted; lower is sooner.
    pub priority: u32,
}

/// The shares of a plan, in the order they are wanted.
///
/// A short video is one share. A long one begins with what makes it playable: the first segment of the lowest rung, and
/// the sound, which is never cut. Then come its chunks.
pub(super) fn work_units(
    video_plan: Option<&VideoPlan>,
    audio: usize,
    subtitles: usize,
    poster: Option<&Poster>,
) -> Vec<WorkUnit> {
    let sound = WorkUnit {
        audio: (0..audio).collect(),
        subtitles: (0..subtitles).collect(),
        priority: 1,
        ..WorkUnit::default()
    };
    let Some(video_plan) = video_plan else {
        return vec![WorkUnit { poster: poster.is_some(), priority: 0, ..sound }];
    };
    let rungs: Vec<usize> = (0..video_plan.rungs.len()).collect();
    let chunk = |place: usize| WorkUnit {
        chunk: Some(place),
        rungs: rungs.clone(),
        poster: poster.is_some_and(|poster| is_in(video_plan, place, poster.at_seconds)),
        thumbnails: true,
        priority: 2 + u32::try_from(place).unwrap_or(u32::MAX - 2),
        ..WorkUnit::default()
    };
    if video_plan.chunks.len() == 1 {
        return vec![WorkUnit { audio: sound.audio, subtitles: sound.subtitles, priority: 0, ..chunk(0) }];
    }
    let mut first = WorkUnit { priority: 0, ..chunk(0) };
    let mut work_units = Vec::new();
    let pixels = video_plan.rungs.iter().map(|rung| rung.size.pixels()).max().unwrap_or(0) as f64;
    let mut rest = None;
    if rungs.len() > 1 && pixels * video_plan.rate.fps() > QUICK_PIXELS {
        let lowest = rungs.len() - 1;
        rest = Some(WorkUnit { rungs: rungs[..lowest].to_vec(), priority: 2, ..first.clone() });
        first = WorkUnit { chunk: Some(0), rungs: vec![lowest], ..WorkUnit::default() };
    }
    work_units.push(first);
    if audio + subtitles > 0 {
        work_units.push(sound);
    }
    work_units.extend(rest);
    work_units.extend((1..video_plan.chunks.len()).map(chunk));
    work_units
}

/// Whether the frame that is shown at a moment, or the first one after it, is in a chunk.
fn is_in(video_plan: &VideoPlan, chunk: usize, moment: f64) -> bool {
    let frame = video_plan.frame_from(moment);
    let first = |chunk: usize| video_plan.chunks.get(chunk).map(|chunk| chunk.first_frame);
    first(chunk).is_some_and(|first| first <= frame) && first(chunk + 1).is_none_or(|next| frame < next)
}
