//! Progress that is told more than once, and by more than one process.

use crate::transcode::Progress;

impl Progress {
    /// Takes from `other` what never goes back, where it is further: percent, frames and segments. What was measured
    /// (rate, speed, time left) stays this one's.
    pub fn raise(&mut self, other: &Self) {
        self.percent = self.percent.max(other.percent);
        self.frames = self.frames.max(other.frames);
        self.segments_ready = self.segments_ready.max(other.segments_ready);
    }
}
