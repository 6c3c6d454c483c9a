//! A work unit to encode.

use std::{collections::HashMap, path::Path};

use reelmill_media::plan::{Chunk, Plan, WorkUnit};

use crate::engine::{
    encode::encoded::Encoded, limits::EngineLimits, process::jail::Tools,
    progress::publisher::ProgressPublisher, source::session::Session,
};

/// A work unit to encode, and what its encoder uses.
#[derive(Clone)]
pub(crate) struct EncodeRequest<'a> {
    pub tools: &'a Tools,
    pub limits: EngineLimits,
    pub session: &'a Session,
    pub plan: &'a Plan,
    pub work_unit: WorkUnit,
    /// Number of the unit's segments that are recorded already, by rendition.
    pub recorded: &'a HashMap<String, u32>,
    pub scratch: &'a Path,
    pub progress: &'a ProgressPublisher,
}

impl EncodeRequest<'_> {
    /// The chunk of the video that is encoded.
    pub(crate) fn chunk(&self) -> Option<Chunk> {
        self.plan.video.as_ref().and_then(|video_plan| video_plan.chunks.get(self.work_unit.chunk?)).copied()
    }

    /// Start time of the chunk, or of the part of audio, seconds.
    pub(crate) fn start_time(&self) -> f64 {
        match (&self.plan.video, self.work_unit.chunk) {
            (Some(video_plan), Some(chunk)) => video_plan.chunk_start(chunk),
            _ => self.work_unit.audio_part.start_seconds(),
        }
    }

    /// End of the chunk, or of the part of audio, seconds, if it is not that of the file.
    pub(crate) fn end_time(&self) -> Option<f64> {
        let rate = self.plan.video.as_ref().map(|video_plan| video_plan.rate);
        match (rate, self.chunk()) {
            (Some(rate), Some(chunk)) => Some(rate.seconds_of(chunk.first_frame + chunk.frames?)),
            _ => None,
        }
    }

    /// Whether a part of audio has fewer segments than it should.
    pub(crate) fn lacks_audio(&self, encoded: &Encoded) -> bool {
        let expected = |audio: usize| self.plan.audio_segments(audio, self.work_unit.audio_part);
        encoded.audio.iter().any(|&(audio, ref track)| track.segments < expected(audio))
    }

    /// Whether the chunk is not the first one.
    pub(crate) fn is_later_chunk(&self) -> bool {
        self.work_unit.chunk.is_some_and(|chunk| chunk > 0)
    }

    /// Whether the audio is a part that is not the first one.
    pub(crate) fn is_later_audio(&self) -> bool {
        self.work_unit.audio_part.first_segment > 0
    }

    /// Whether the chunk is in the middle of the video.
    pub(crate) fn is_middle_chunk(&self) -> bool {
        self.is_later_chunk() && self.chunk().is_some_and(|chunk| chunk.frames.is_some())
    }
}
