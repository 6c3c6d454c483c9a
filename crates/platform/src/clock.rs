//! Injected wall-clock time, which tests advance instead of sleeping.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The system time, in milliseconds since the Unix epoch.
pub fn now_millis() -> i64 {
    // A system time before 1970 counts as 1970.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A duration in whole milliseconds, at most `i64::MAX`.
pub fn duration_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A wall clock: the system's, or a manual one for tests. Clones share the time.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The system clock.
    pub fn system() -> Self {
        Self { manual: None }
    }

    /// A clock that is at `start_millis` (Unix, milliseconds) until it is advanced.
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

    /// Advances a manual clock. No effect on the system clock.
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
    fn advance_moves_a_manual_clock_and_its_clones() {
        let clock = Clock::manual(1_000);
        let clone = clock.clone();
        assert_eq!(clone.now_millis(), 1_000);
        clock.advance(Duration::from_secs(2));
        assert_eq!(clone.now_millis(), 3_000);
    }
}
