//! Where a long video is cut: always at segment boundaries; the first pieces short, so that it plays at once, and the
//! last ones shorter again, so that many workers end together.

use serde::{Deserialize, Serialize};

/// Seconds of a video that is not cut.
const WHOLE_SECONDS: u64 = 30;
/// Segments of the first chunks.
const FIRST: [u64; 3] = [1, 2, 4];
/// Segments of the longest chunks: about 30 seconds.
const LONGEST: u64 = 8;
/// Segments of the shortest of the last chunks: each costs the start of an encoder and a seek.
const SHORTEST: u64 = 5;
/// From where on chunks shrink: each is that part of what is left.
const PARTS: u64 = 3;
/// So few segments are not worth a chunk of their own.
const REST: u64 = 2;

/// A stretch of the picture, counted in frames of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its first frame.
    pub first_frame: u64,
    /// How many it has. None: to the end, wherever that is.
    pub frames: Option<u64>,
    /// Its first segment's place in each rung.
    pub first_segment: u32,
}

/// Cuts a video of about so many frames. Only the last chunk's end is open, since a container may be wrong about it.
pub(super) fn chunks(segment_frames: u32, length: Option<f64>) -> Vec<Chunk> {
    let whole = Chunk { first_frame: 0, frames: None, first_segment: 0 };
    let Some(length) = length else { return vec![whole] };
    let segments = (length / f64::from(segment_frames)).ceil() as u64;
    if segments * u64::from(super::SEGMENT_SECONDS) <= WHOLE_SECONDS + 2 {
        return vec![whole];
    }
    let mut chunks = Vec::new();
    let mut next = 0;
    loop {
        let left = segments - next;
        let size = FIRST.get(chunks.len()).copied();
        let size = size.unwrap_or_else(|| left.div_ceil(PARTS).clamp(SHORTEST, LONGEST));
        let is_last = left <= size + REST;
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
