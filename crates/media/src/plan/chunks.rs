//! Cuts a video into chunks, always at segment boundaries. The first chunks are short, so that it is soon playable, and the
//! last ones are shorter again, so that all workers, or all cores of one, finish at about the same time.

use serde::{Deserialize, Serialize};

/// A video of at most this many segments is short: about 30 seconds.
const SHORT_MAX_SEGMENTS: u64 = 8;
/// Sizes of the first chunks, segments.
const FIRST_CHUNKS_SEGMENTS: [u64; 3] = [1, 2, 4];
/// Size of the longest chunks, segments: about 30 seconds.
const MAX_CHUNK_SEGMENTS: u64 = 8;
/// The same of slides, which have at most so many frames a segment, two a second: as many as fit into a sheet of thumbnails.
const MAX_SLOW_CHUNK_SEGMENTS: u64 = 24;
const SLOW_SEGMENT_FRAMES: u32 = 8;
/// Size of the shortest of the last chunks, segments: each costs an encoder start and a seek.
const MIN_CHUNK_SEGMENTS: u64 = 5;
/// A chunk takes at most one part in this many of the rest, so that the last ones get shorter.
const REST_DIVISOR: u64 = 3;
/// A rest of at most this many segments is added to the chunk before.
const MAX_MERGED_REST_SEGMENTS: u64 = 2;

/// A part of the video, counted in frames on the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Index of its first frame.
    pub first_frame: u64,
    /// Number of frames. None: to the end of the video.
    pub frames: Option<u64>,
    /// Index of its first segment in each rung.
    pub first_segment: u32,
}

/// Cuts a video of about `frames` frames; a short one only if it is large, because each chunk costs an encoder start. The
/// last chunk has an open end, because the container may state a wrong duration.
pub(super) fn chunks(segment_frames: u32, frames: Option<f64>, is_large: bool) -> Vec<Chunk> {
    let whole = Chunk { first_frame: 0, frames: None, first_segment: 0 };
    let Some(frames) = frames else { return vec![whole] };
    let segments = segments_of(segment_frames, frames);
    let is_short = is_short(segments);
    if is_short && !is_large {
        return vec![whole];
    }
    let is_slow = segment_frames <= SLOW_SEGMENT_FRAMES;
    let longest = if is_slow { MAX_SLOW_CHUNK_SEGMENTS } else { MAX_CHUNK_SEGMENTS };
    let mut chunks = Vec::new();
    let mut next = 0;
    loop {
        let rest = segments - next;
        let (size, merged) = if is_short {
            (short_chunk(segments, chunks.len()), 0)
        } else {
            let even = rest.div_ceil(REST_DIVISOR).clamp(MIN_CHUNK_SEGMENTS, longest);
            (FIRST_CHUNKS_SEGMENTS.get(chunks.len()).copied().unwrap_or(even), MAX_MERGED_REST_SEGMENTS)
        };
        let is_last = rest <= size + merged;
        chunks.push(Chunk {
            first_frame: next * u64::from(segment_frames),
            frames: (!is_last).then_some(size * u64::from(segment_frames)),
            first_segment: u32::try_from(next).unwrap_or(u32::MAX),
        });
        if is_last {
            return chunks;
        }
        next += size;
    }
}

/// Number of segments of about `frames` frames.
pub(super) fn segments_of(segment_frames: u32, frames: f64) -> u64 {
    (frames / f64::from(segment_frames)).ceil() as u64
}

/// Whether a video of this many segments is short.
pub(super) fn is_short(segments: u64) -> bool {
    segments <= SHORT_MAX_SEGMENTS
}

/// Size of a chunk of a short video of `segments`, at most three: one core encodes the rest of the first chunk and the last
/// one, another core the second one.
fn short_chunk(segments: u64, chunk: usize) -> u64 {
    match chunk {
        0 => 1,
        1 if segments > 3 => segments / 2,
        _ => segments,
    }
}
