//! Where a long video is cut: always at segment boundaries, the first pieces short, so that it plays at once.

use serde::{Deserialize, Serialize};

/// Seconds of a video that is not cut.
const WHOLE_SECONDS: u64 = 30;
/// Segments of the first chunks; the last number is that of all that follow, about 30 seconds.
const SEGMENTS: [u64; 4] = [1, 2, 4, 8];

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
    let longest = SEGMENTS[SEGMENTS.len() - 1];
    let mut chunks = Vec::new();
    let mut first = 0;
    let mut sizes = SEGMENTS.into_iter().chain(std::iter::repeat(longest));
    loop {
        let size = sizes.next().unwrap_or(longest);
        // A last chunk of a segment or two is not worth a task of its own.
        let is_last = first + size + longest / 4 >= segments;
        chunks.push(Chunk {
            first_frame: first * u64::from(segment_frames),
            frames: (!is_last).then_some(size * u64::from(segment_frames)),
            first_segment: u32::try_from(first).unwrap_or(u32::MAX),
        });
        if is_last {
            return chunks;
        }
        first += size;
    }
}
