//! Warnings that would otherwise repeat with every call.

use std::{
    fmt::Display,
    sync::atomic::{AtomicI64, Ordering},
};

use reelmill_platform::clock::Clock;

/// Minimum time between two warnings, milliseconds.
const INTERVAL_MILLIS: i64 = 10_000;

/// Logs at most one warning per 10 s and drops the others.
pub(crate) struct ThrottledLog {
    clock: Clock,
    last_millis: AtomicI64,
}

impl ThrottledLog {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, last_millis: AtomicI64::new(i64::MIN) }
    }

    /// Logs the warning unless one was logged in the last 10 s.
    pub(crate) fn warn(&self, message: &str, cause: &(dyn Display + Sync)) {
        let now_millis = self.clock.now_millis();
        let last = self.last_millis.load(Ordering::Relaxed);
        let due = last == i64::MIN || now_millis.saturating_sub(last) >= INTERVAL_MILLIS;
        let swap =
            || self.last_millis.compare_exchange(last, now_millis, Ordering::Relaxed, Ordering::Relaxed);
        if due && swap().is_ok() {
            tracing::warn!(%cause, "{message}");
        }
    }
}
