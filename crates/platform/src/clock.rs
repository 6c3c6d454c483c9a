//! Time as a value that is handed in, so that tests move it instead of sleeping.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The system's wall clock, in milliseconds since the Unix epoch.
pub fn now_millis() -> i64 {
    // A machine whose clock stands before 1970 is treated as standing at 1970.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A duration in whole milliseconds, at most `i64::MAX`.
pub fn duration_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A wall clock: the system's, or one that tests move by hand. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { manual: None }
    }

    /// A clock that stands at `start_millis` (Unix, milliseconds) until it is advanced.
    pub fn manual(start_millis: i64) -> Self {
        Self { manual: Some(Arc::new(AtomicI64::new(start_millis))) }
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_millis(&self) -> i64 {
        match &self.manual {
            Some(time) => time.load(Ordering::SeqCst),
            None => now_millis(),
        }
    }

    /// Moves a manual clock forward; the system's clock is not ours to move, so there it does nothing.
    pub fn advance(&self, by: Duration) {
        if let Some(time) = &self.manual {
            time.fetch_add(duration_millis(by), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand_and_for_all_its_clones() {
        let clock = Clock::manual(1_000);
        let seen_elsewhere = clock.clone();
        assert_eq!(seen_elsewhere.now_millis(), 1_000);
        clock.advance(Duration::from_secs(2));
        assert_eq!(seen_elsewhere.now_millis(), 3_000);
    }
}
