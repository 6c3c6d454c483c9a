//! A task's progress at one time.

use std::time::Duration;

/// A task's progress at one time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// 0 to 100, never decreasing.
    pub percent: f64,
    /// Frames of the plan's grid that were encoded, never decreasing.
    pub frames: u64,
    /// Frames per second of wall time.
    pub fps: f64,
    /// Seconds of media per second of wall time.
    pub speed: f64,
    /// Estimated remaining time.
    pub eta: Option<Duration>,
}

impl Snapshot {
    /// Updates `percent` and `eta`. `done`, `total` and `per_second` are in frames or in seconds of media; a
    /// completed total is `total_percent`. Without a total nothing changes.
    pub(crate) fn advance(&mut self, done: f64, total: Option<f64>, per_second: f64, total_percent: f64) {
        let Some(total) = total else { return };
        let fraction = (done / total.max(0.001)).clamp(0.0, 1.0);
        self.percent = self.percent.max(fraction * total_percent);
        let remaining = total - done;
        let seconds = (per_second > 0.0 && remaining >= 0.0).then(|| remaining / per_second);
        self.eta = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    }
}
