//! The plan of a job as a pure function: from a probed source and options to every decision. It is computed once, stored,
//! and sent to every worker of the job, so that outputs of different workers fit together.

mod chunks;
mod encoding;
mod model;
mod planner;
mod renditions;
mod stills;
mod work_units;

pub use chunks::Chunk;
pub use encoding::{Codec, Encoding, Options, Preset};
pub use model::{
    AudioPart, AudioRendition, HeldPicture, Plan, Poster, Rung, SubtitleRendition, Thumbnails, VideoPlan,
    WorkUnit,
};
pub use planner::plan;

/// Seconds between keyframes, and so per segment, rounded to whole frames.
pub const SEGMENT_SECONDS: u32 = 4;
/// Sample rate of encoded audio, samples per second.
pub const AUDIO_SAMPLE_RATE: u32 = 48_000;
/// Samples of an AAC frame.
pub(crate) const AUDIO_FRAME_SAMPLES: u32 = 1024;
/// Encoded frames of a segment of audio: the muxer ends a segment with the first one that ends after [`SEGMENT_SECONDS`].
pub(crate) const AUDIO_SEGMENT_FRAMES: u32 =
    (SEGMENT_SECONDS * AUDIO_SAMPLE_RATE).div_ceil(AUDIO_FRAME_SAMPLES);
/// Tolerance for rounding errors when a time is converted to frames, frames.
const FRAME_TOLERANCE: f64 = 1e-6;

#[cfg(test)]
mod tests;
