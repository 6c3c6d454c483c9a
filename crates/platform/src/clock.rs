//! Injected wall-clock time, which tests advance instead of sleeping.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
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

/// A wall clock: the system's, one that follows another host's, or a manual one for tests. Clones share the time.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    source: Source,
}

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<AtomicI64>),
    Following(Arc<Mutex<Reading>>),
}

/// A reading of another host's clock.
#[derive(Clone, Copy, Debug)]
struct Reading {
    read_at: Instant,
    millis: i64,
}

impl Reading {
    fn now(millis: i64) -> Self {
        Self { read_at: Instant::now(), millis }
    }
}

impl Clock {
    /// The system clock.
    pub fn system() -> Self {
        Self { source: Source::System }
    }

    /// A clock that is at `start_millis` (Unix, milliseconds) until it is advanced.
    pub fn manual(start_millis: i64) -> Self {
        Self { source: Source::Manual(Arc::new(AtomicI64::new(start_millis))) }
    }

    /// A clock that follows another host's, for example the database server's, which is at `millis` now. It goes on by
    /// itself, whatever happens to this system's clock.
    pub fn following(millis: i64) -> Self {
        Self { source: Source::Following(Arc::new(Mutex::new(Reading::now(millis)))) }
    }

    /// Sets a following clock to a new reading. No effect on others.
    pub fn follow(&self, millis: i64) {
        if let Source::Following(reading) = &self.source {
            *reading.lock().unwrap_or_else(PoisonError::into_inner) = Reading::now(millis);
        }
    }

    /// Whether it is a manual clock.
    pub fn is_manual(&self) -> bool {
        matches!(self.source, Source::Manual(_))
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_millis(&self) -> i64 {
        match &self.source {
            Source::System => now_millis(),
            Source::Manual(time) => time.load(Ordering::SeqCst),
            Source::Following(reading) => {
                let Reading { read_at, millis } = *reading.lock().unwrap_or_else(PoisonError::into_inner);
                millis.saturating_add(duration_millis(read_at.elapsed()))
            }
        }
    }

    /// Advances a manual clock. No effect on others.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(time) = &self.source {
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

    #[test]
    fn following_clock_goes_on_from_its_last_reading() {
        let clock = Clock::following(5_000);
        let clone = clock.clone();
        assert!((5_000..6_000).contains(&clone.now_millis()));
        clock.follow(100_000);
        assert!((100_000..101_000).contains(&clone.now_millis()));
    }
}
