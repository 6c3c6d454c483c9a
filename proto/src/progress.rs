//! Monotonic merging of progress reports.

use crate::generated::transcode::v1::Progress;

impl Progress {
    /// Raises percent, frames and segments to those of `other` where they are lower: reports may arrive late, and from
    /// more than one process. Measurements (rate, speed, remaining time) stay unchanged.
    pub fn raise(&mut self, other: &Self) {
        self.percent = self.percent.max(other.percent);
        self.frames = self.frames.max(other.frames);
        self.segments_ready = self.segments_ready.max(other.segments_ready);
    }
}
