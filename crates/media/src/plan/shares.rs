//! Who makes what: the plan's work as tasks.

use super::{Picture, Poster};
use serde::{Deserialize, Serialize};

/// From so many pixels a second on, the first segment of the lowest rung is a task of its own.
const QUICK_PIXELS: f64 = 640.0 * 480.0 * 31.0;

/// One task's part of the work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
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
pub(super) fn shares(
    picture: Option<&Picture>,
    audio: usize,
    subtitles: usize,
    poster: Option<&Poster>,
) -> Vec<Share> {
    let sound = Share {
        audio: (0..audio).collect(),
        subtitles: (0..subtitles).collect(),
        priority: 1,
        ..Share::default()
    };
    let Some(picture) = picture else {
        return vec![Share { poster: poster.is_some(), priority: 0, ..sound }];
    };
    let rungs: Vec<usize> = (0..picture.rungs.len()).collect();
    let chunk = |place: usize| Share {
        chunk: Some(place),
        rungs: rungs.clone(),
        poster: poster.is_some_and(|poster| is_in(picture, place, poster.at_seconds)),
        thumbnails: true,
        priority: 2 + u32::try_from(place).unwrap_or(u32::MAX - 2),
        ..Share::default()
    };
    if picture.chunks.len() == 1 {
        return vec![Share { audio: sound.audio, subtitles: sound.subtitles, priority: 0, ..chunk(0) }];
    }
    let mut first = Share { priority: 0, ..chunk(0) };
    let mut shares = Vec::new();
    let pixels = picture.rungs.iter().map(|rung| rung.size.pixels()).max().unwrap_or(0) as f64;
    let mut rest = None;
    if rungs.len() > 1 && pixels * picture.rate.fps() > QUICK_PIXELS {
        let lowest = rungs.len() - 1;
        rest = Some(Share { rungs: rungs[..lowest].to_vec(), priority: 2, ..first.clone() });
        first = Share { chunk: Some(0), rungs: vec![lowest], ..Share::default() };
    }
    shares.push(first);
    if audio + subtitles > 0 {
        shares.push(sound);
    }
    shares.extend(rest);
    shares.extend((1..picture.chunks.len()).map(chunk));
    shares
}

/// Whether the frame that is shown at a moment, or the first one after it, is in a chunk.
fn is_in(picture: &Picture, chunk: usize, moment: f64) -> bool {
    let frame = picture.frame_from(moment);
    let first = |chunk: usize| picture.chunks.get(chunk).map(|chunk| chunk.first_frame);
    first(chunk).is_some_and(|first| first <= frame) && first(chunk + 1).is_none_or(|next| frame < next)
}
