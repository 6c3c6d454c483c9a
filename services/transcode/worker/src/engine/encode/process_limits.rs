//! Resource limits of an encoder.

use reelmill_media::plan::{Codec, Plan, WorkUnit};

use crate::engine::process::jail::ProcessLimits;

/// Assumed duration of a source whose container states none, seconds.
const DEFAULT_DURATION: f64 = 7200.0;
/// Seconds of video that may be decoded before a chunk.
const CHUNK_LEAD: f64 = 60.0;
const BASE_CPU_SECONDS: u64 = 300;
/// CPU seconds per second of media, and on top for each million source pixels.
const CPU_SECONDS_PER_SECOND: u64 = 20;
const CPU_SECONDS_PER_MEGAPIXEL_SECOND: u64 = 10;
/// Factor for codecs that encode slower than the default one.
const SLOW_CODEC_FACTOR: u64 = 6;
const BASE_MEMORY_BYTES: u64 = 6 << 30;
const MEMORY_BYTES_PER_MEGAPIXEL: u64 = 256 << 20;

/// Limits far above what any valid source needs, by resolution, duration and codec.
pub(crate) fn process_limits(plan: &Plan, work_unit: &WorkUnit) -> ProcessLimits {
    let video = plan.source.video.as_ref().filter(|_| work_unit.chunk.is_some());
    let megapixels = video.map_or(0, |video| video.stored.pixels()).div_ceil(1_000_000).max(1);
    let seconds = chunk_seconds(plan, work_unit).or(plan.duration()).unwrap_or(DEFAULT_DURATION);
    let cpu_seconds_per_second = CPU_SECONDS_PER_SECOND + CPU_SECONDS_PER_MEGAPIXEL_SECOND * megapixels;
    ProcessLimits {
        cpu_seconds: BASE_CPU_SECONDS
            + seconds.ceil() as u64 * cpu_seconds_per_second * codec_factor(plan, work_unit),
        memory_bytes: BASE_MEMORY_BYTES + megapixels * MEMORY_BYTES_PER_MEGAPIXEL,
        file_bytes: 0,
    }
}

/// Duration of the work unit's chunk and of what is decoded before it; `None` if the chunk ends with the video.
fn chunk_seconds(plan: &Plan, work_unit: &WorkUnit) -> Option<f64> {
    let video_plan = plan.video.as_ref()?;
    let frames = video_plan.chunks.get(work_unit.chunk?)?.frames?;
    Some(video_plan.rate.seconds_of(frames) + CHUNK_LEAD)
}

fn codec_factor(plan: &Plan, work_unit: &WorkUnit) -> u64 {
    let Some(video_plan) = &plan.video else { return 1 };
    let rungs = work_unit.rungs.iter().filter_map(|&rung| video_plan.rungs.get(rung));
    let is_slow = |codec: Codec| codec != Codec::default();
    rungs.map(|rung| if is_slow(rung.encoding.codec) { SLOW_CODEC_FACTOR } else { 1 }).max().unwrap_or(1)
}
