//! Measures a rate over the last seconds.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Period over which the rate is measured.
const WINDOW: Duration = Duration::from_secs(5);

/// Rate of a growing quantity over the last seconds.
#[derive(Default)]
pub(crate) struct RateMeter {
    /// Values of the window, oldest first.
    samples: VecDeque<(Instant, f64)>,
}

impl RateMeter {
    /// Adds a value.
    pub(crate) fn add(&mut self, now: Instant, value: f64) {
        self.samples.push_back((now, value));
        while self.samples.front().is_some_and(|(first, _)| *first + WINDOW < now) {
            self.samples.pop_front();
        }
    }

    /// The latest value, or 0.
    pub(crate) fn last_value(&self) -> f64 {
        self.samples.back().map_or(0.0, |(_, value)| *value)
    }

    /// Whether a value was added after `time`.
    pub(crate) fn has_sample_since(&self, time: Instant) -> bool {
        self.samples.back().is_some_and(|(last, _)| *last > time)
    }

    /// Growth per second.
    pub(crate) fn per_second(&self) -> f64 {
        let (Some((from, before)), Some((to, after))) = (self.samples.front(), self.samples.back()) else {
            return 0.0;
        };
        let seconds = to.duration_since(*from).as_secs_f64();
        if seconds > 0.0 { (after - before).max(0.0) / seconds } else { 0.0 }
    }
}
