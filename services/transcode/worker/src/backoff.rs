//! Backoff with jitter: the delays between retries, and a time limit for an operation that keeps failing.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

/// Delays without their jitter, which adds up to the delay itself: 100 to 200 ms, doubled with each
/// attempt up to 2.5 to 5 s.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_millis(2500);

/// An endless sequence of delays.
pub(crate) struct Backoff {
    delays: ExponentialBackoff,
    max: Duration,
}

impl Backoff {
    /// Starts with the shortest delay.
    pub(crate) fn new() -> Self {
        Self::between(BACKOFF_MIN, BACKOFF_MAX)
    }

    /// Starts with `min` and doubles up to `max`, both without their jitter.
    pub(crate) fn between(min: Duration, max: Duration) -> Self {
        let builder = ExponentialBuilder::new()
            .with_min_delay(min)
            .with_max_delay(max)
            .with_jitter()
            .without_max_times();
        Self { delays: builder.build(), max }
    }

    /// The delay before the next attempt.
    pub(crate) fn next_delay(&mut self) -> Duration {
        self.delays.next().unwrap_or(self.max)
    }
}

/// Retries of one operation, limited by the wall time since its first failure. The time of the attempts
/// themselves counts too, which is why `backon`'s own limit (the sum of the delays) is not used.
pub(crate) struct RetryWindow {
    window: Duration,
    first_failure: Option<Instant>,
    backoff: Backoff,
}

impl RetryWindow {
    /// Retries until `window` has passed since the first failure.
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, first_failure: None, backoff: Backoff::new() }
    }

    /// Call after a failure. Waits for the next attempt and returns true, or returns false at once when
    /// that attempt would be outside the window.
    pub(crate) async fn wait_for_retry(&mut self) -> bool {
        let first_failure = *self.first_failure.get_or_insert_with(Instant::now);
        let delay = self.backoff.next_delay();
        if first_failure.elapsed() + delay > self.window {
            return false;
        }
        tokio::time::sleep(delay).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;

    #[test]
    fn next_delay_doubles_within_its_bounds() {
        let mut backoff = Backoff::new();
        for floor in [100, 200, 400, 800, 1600, 2500, 2500] {
            let floor = Duration::from_millis(floor);
            let delay = backoff.next_delay();
            assert!((floor..=2 * floor).contains(&delay), "{delay:?} for {floor:?}");
        }
    }
}
