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
/// The same of chunks throughout which one picture is shown. Not more, because a worker that finds them otherwise encodes all of
/// it.
const MAX_STILL_CHUNK_SEGMENTS: u64 = MAX_SLOW_CHUNK_SEGMENTS;
/// Frames by which times in the file and on the grid may differ.
const PAUSE_MARGIN_FRAMES: f64 = 2.0;
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

/// Merges chunks throughout which one picture is shown, between two frames of `pauses`: a chunk costs the start of an encoder,
/// and encodes one segment, however long it is.
pub(super) fn merge_still(chunks: &mut Vec<Chunk>, segment_frames: u32, pauses: &[(f64, f64)]) {
    let most = MAX_STILL_CHUNK_SEGMENTS * u64::from(segment_frames);
    // The pause in which a chunk lies. The last chunk has no end.
    let pause_of = |chunk: &Chunk| {
        let (from, to) = (chunk.first_frame as f64, (chunk.first_frame + chunk.frames?) as f64);
        pauses
            .iter()
            .position(|pause| pause.0 + PAUSE_MARGIN_FRAMES < from && to < pause.1 - PAUSE_MARGIN_FRAMES)
    };
    let mut merged: Vec<(Chunk, Option<usize>)> = Vec::with_capacity(chunks.len());
    for chunk in chunks.drain(..) {
        let pause = pause_of(&chunk);
        if let (Some(frames), Some((last, last_pause))) = (chunk.frames, merged.last_mut())
            && let Some(last_frames) = &mut last.frames
            && (pause.is_some() && pause == *last_pause && *last_frames + frames <= most)
        {
            *last_frames += frames;
            continue;
        }
        merged.push((chunk, pause));
    }
    chunks.extend(merged.into_iter().map(|(chunk, _)| chunk));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_still_joins_chunks_within_one_pause() {
        let cut = |pauses: &[(f64, f64)]| {
            // 100 segments of 4 s at 25 frames a second.
            let mut chunks = chunks(100, Some(10_000.0), true);
            let before = chunks.clone();
            merge_still(&mut chunks, 100, pauses);
            (before, chunks)
        };
        let (before, same) = cut(&[(0.0, 900.0)]);
        // Two of the first three chunks are within the pause.
        assert_eq!((&same[..1], &same[2..]), (&before[..1], &before[3..]));
        let (before, merged) = cut(&[(1000.0, 6000.0)]);
        // A continuous cut, of which the boundaries are some of those before.
        let ends: Vec<u64> =
            merged.iter().filter_map(|chunk| Some(chunk.first_frame + chunk.frames?)).collect();
        let starts: Vec<u64> = merged.iter().skip(1).map(|chunk| chunk.first_frame).collect();
        assert_eq!(ends, starts);
        let inside = |chunk: &&Chunk| chunk.first_frame > 1002 && chunk.first_frame < 5990;
        assert!(before.iter().filter(inside).count() > 4);
        assert_eq!(merged.iter().filter(inside).count(), 3, "{merged:?}");
        assert!(merged.iter().all(|chunk| before.iter().any(|one| one.first_segment == chunk.first_segment)));
        // Two pauses with a frame between them.
        let (_, two) = cut(&[(1000.0, 3500.0), (3500.0, 6000.0)]);
        assert!(two.iter().filter(inside).count() >= 3, "{two:?}");
    }

    #[test]
    fn merge_still_bounds_the_length_of_a_chunk() {
        let mut chunks = chunks(100, Some(1_000_000.0), true);
        merge_still(&mut chunks, 100, &[(0.0, 1_000_000.0)]);
        assert!(chunks.len() > 400 && chunks.len() < 500, "{}", chunks.len());
        assert!(chunks.iter().filter_map(|chunk| chunk.frames).all(|frames| frames <= 2_400));
    }
}
