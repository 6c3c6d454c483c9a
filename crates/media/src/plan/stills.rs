//! Plans the poster and the thumbnails.

use super::{
    FRAME_TOLERANCE,
    model::{Poster, Thumbnails},
};
use crate::{
    geometry::Size,
    ladder::rung_size,
    probe::{MAX_SECONDS, Video},
    rate::Rate,
};

/// The long side of the poster, at most, pixels.
const POSTER_MAX_LONG_SIDE: u32 = 640;
/// The long side of a thumbnail, at most, pixels.
const THUMBNAIL_MAX_LONG_SIDE: u32 = 160;
/// The default poster is not later than this, so that it is available early, seconds.
const DEFAULT_POSTER_MAX_SECONDS: f64 = 12.0;
/// A shorter video has its first frame as the default poster, seconds: a clip of few frames may have no other.
const DEFAULT_POSTER_MIN_DURATION: f64 = 2.0;
/// The poster is at least this long before the end, seconds.
const POSTER_END_MARGIN_SECONDS: f64 = 0.5;

pub(super) fn poster(video: &Video, rate: Rate, duration: Option<f64>, requested: Option<f64>) -> Poster {
    let size = fitted(video.display_size(), POSTER_MAX_LONG_SIDE);
    let latest = duration.map(|seconds| (seconds - POSTER_END_MARGIN_SECONDS).max(0.0));
    let chosen = match requested {
        Some(requested) => requested.clamp(0.0, latest.unwrap_or(MAX_SECONDS)),
        None => duration
            .filter(|&seconds| seconds >= DEFAULT_POSTER_MIN_DURATION)
            .map_or(0.0, |seconds| (seconds * 0.1).min(DEFAULT_POSTER_MAX_SECONDS)),
    };
    // The frame displayed at that time: the next one may be in another chunk, or may not exist.
    let frame_time = rate.seconds_of((chosen * rate.fps() + FRAME_TOLERANCE) as u64);
    Poster { at_seconds: (frame_time * 1000.0).floor() / 1000.0, size }
}

/// `frames` is the length of the video, if it is known.
pub(super) fn thumbnails(display: Size, rate: Rate, segment_frames: u32, frames: Option<f64>) -> Thumbnails {
    let segments = frames.map_or(0.0, |frames| frames / f64::from(segment_frames));
    // From one per second for short videos to one per 32 seconds for the longest. Except for videos of one chunk the
    // interval divides the chunks' lengths, so that it is constant across chunks.
    let interval_frames = match segments {
        ..=8.0 => (rate.fps().round() as u32).max(1),
        ..=450.0 => segment_frames,
        ..=1800.0 => segment_frames * 2,
        ..=3600.0 => segment_frames * 4,
        _ => segment_frames * 8,
    };
    Thumbnails { interval_frames, size: fitted(display, THUMBNAIL_MAX_LONG_SIDE), columns: 5, rows: 5 }
}

/// The display size, scaled down so that its long side is at most `max_long_side`. Both sides are even.
fn fitted(display: Size, max_long_side: u32) -> Size {
    let long = display.width.max(display.height);
    let short = if long > max_long_side {
        u64::from(display.short()) * u64::from(max_long_side) / u64::from(long)
    } else {
        u64::from(display.short())
    };
    let short = u32::try_from(short & !1).unwrap_or(2).max(2);
    let size = rung_size(display, short).size;
    Size { width: size.width.min(max_long_side), height: size.height.min(max_long_side) }
}
