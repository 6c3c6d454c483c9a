//! How long, and how often, something that failed is tried again.

use std::time::Duration;
use tokio::time::Instant;

/// The patience with one thing that fails.
pub(crate) struct Patience {
    lasts: Duration,
    /// When it failed first.
    since: Option<Instant>,
    failures: u32,
}

impl Patience {
    /// Patience that lasts so long from the first failure on.
    pub(crate) fn new(lasts: Duration) -> Self {
        Self { lasts, since: None, failures: 0 }
    }

    /// Notes a failure. Waits until it is time for another attempt, or tells at once that there is none.
    pub(crate) async fn try_again(&mut self) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.failures += 1;
        let pause = pause(self.failures);
        if since.elapsed() + pause > self.lasts {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

/// Doubling pauses up to five seconds.
pub(crate) fn pause(attempt: u32) -> Duration {
    Duration::from_millis((100u64 << attempt.min(10)).min(5000))
}
