//! The outputs of a work unit as a worker records them.

use std::ops::Range;

use reelmill_media::plan::{Plan, WorkUnit};
use reelmill_proto::transcode::{InitSegment, MediaSegment, Output, Poster, ThumbnailSheet, output::Kind};

use super::{FRAME_RATE, SECONDS, VIDEO_SEGMENT_SECONDS};

/// Of 1024 samples at 48 kHz.
const AUDIO_SEGMENT_FRAMES: f64 = 188.0;
const AUDIO_SEGMENT_SECONDS: f64 = AUDIO_SEGMENT_FRAMES * 1024.0 / 48_000.0;
const AUDIO_SEGMENT_BYTES: i64 = 64_000;

pub(super) fn total_segments(seconds: f64) -> i32 {
    (SECONDS / seconds).ceil() as i32
}

/// Sequence numbers of a work unit's segments.
pub(super) fn segment_range(plan: &Plan, work_unit: &WorkUnit) -> Range<i32> {
    let Some((video, chunk)) = plan.video.as_ref().zip(work_unit.chunk) else {
        let (total, part) = (total_segments(AUDIO_SEGMENT_SECONDS), work_unit.audio_part);
        let end = part.segments.map_or(total, |segments| (part.first_segment + segments) as i32);
        return part.first_segment as i32..end;
    };
    let total = total_segments(VIDEO_SEGMENT_SECONDS);
    let first = |chunk: usize| video.chunks.get(chunk).map_or(total, |chunk| chunk.first_segment as i32);
    first(chunk)..first(chunk + 1)
}

/// Ids of the renditions that a work unit encodes.
pub(super) fn renditions(plan: &Plan, work_unit: &WorkUnit) -> Vec<String> {
    let rungs =
        plan.video.iter().flat_map(|video| work_unit.rungs.iter().map(|&rung| video.rungs[rung].id.clone()));
    rungs.chain(work_unit.audio.iter().map(|&audio| plan.audio[audio].id.clone())).collect()
}

/// The outputs of a work unit in the order in which they are recorded: the rungs of a chunk are encoded together.
pub(super) fn outputs(
    plan: &Plan,
    work_unit: &WorkUnit,
    range: &Range<i32>,
    renditions: &[String],
) -> Vec<Output> {
    let mut outputs = Vec::new();
    for id in renditions {
        let is_audio = plan.audio.iter().any(|audio| audio.id == *id);
        let codec = if is_audio { "mp4a.40.2" } else { "avc1.640028" }.to_owned();
        outputs.push(output(id, &format!("{id}/init.mp4"), 800, Kind::Init(InitSegment { codec })));
    }
    if work_unit.poster {
        outputs.push(output("", "poster.jpg", 60_000, Kind::Poster(Poster {})));
    }
    outputs.extend(
        range.clone().flat_map(|sequence| renditions.iter().map(move |id| segment(plan, id, sequence))),
    );
    outputs.extend(work_unit.thumbnails.then(|| sheet(plan, work_unit, range)).flatten());
    outputs
}

fn segment(plan: &Plan, id: &str, sequence: i32) -> Output {
    let rungs = plan.video.iter().flat_map(|video| &video.rungs);
    let rung = rungs.into_iter().find(|rung| rung.id == id);
    // About one byte a pixel: 4 Mbit/s of 1080p.
    let size = rung.map_or(AUDIO_SEGMENT_BYTES, |rung| rung.size.pixels() as i64);
    let (seconds, frames) = match rung {
        Some(_) => (VIDEO_SEGMENT_SECONDS, FRAME_RATE * VIDEO_SEGMENT_SECONDS),
        None => (AUDIO_SEGMENT_SECONDS, AUDIO_SEGMENT_FRAMES),
    };
    let size = size * (700 + i64::from(sequence) * 7919 % 600) / 1000;
    let segment = MediaSegment {
        sequence,
        start_seconds: f64::from(sequence) * seconds,
        seconds,
        frames: frames as i32,
        keyframe_bytes: size / 20,
    };
    output(id, &format!("{id}/seg_{:05}.m4s", sequence + 1), size, Kind::Segment(segment))
}

/// The sheet of thumbnails of a chunk.
fn sheet(plan: &Plan, work_unit: &WorkUnit, range: &Range<i32>) -> Option<Output> {
    let (video, chunk) = plan.video.as_ref().zip(work_unit.chunk)?;
    let interval_seconds = f64::from(video.thumbnails.interval_frames) / FRAME_RATE;
    let sheet = ThumbnailSheet {
        sequence: chunk as i32,
        start_seconds: f64::from(range.start) * VIDEO_SEGMENT_SECONDS,
        interval_seconds,
        count: (range.len() as f64 * VIDEO_SEGMENT_SECONDS / interval_seconds).ceil() as i32,
        columns: video.thumbnails.columns as i32,
        width: video.thumbnails.size.width as i32,
        height: video.thumbnails.size.height as i32,
    };
    Some(output("", &format!("thumbnails/sheet_{chunk:05}.jpg"), 20_000, Kind::Thumbnails(sheet)))
}

pub(super) fn output(rendition: &str, name: &str, size_bytes: i64, kind: Kind) -> Output {
    Output { name: name.to_owned(), size_bytes, rendition_id: rendition.to_owned(), kind: Some(kind) }
}
