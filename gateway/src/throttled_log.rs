//! Warnings that would otherwise repeat with every call.

use std::sync::atomic::{AtomicI64, Ordering};

const INTERVAL_MILLIS: i64 = 10_000;

/// Lets one warning through in ten seconds.
#[derive(Debug)]
pub(crate) struct SparseLog {
    last_millis: AtomicI64,
}

impl SparseLog {
    pub(crate) const fn new() -> Self {
        Self { last_millis: AtomicI64::new(i64::MIN) }
    }

    /// Logs, unless it did so a moment ago.
    pub(crate) fn warn(&self, now_millis: i64, message: &str, cause: &dyn std::fmt::Display) {
        let last = self.last_millis.load(Ordering::Relaxed);
        let due = last == i64::MIN || now_millis.saturating_sub(last) >= INTERVAL_MILLIS;
        let swap =
            || self.last_millis.compare_exchange(last, now_millis, Ordering::Relaxed, Ordering::Relaxed);
        if due && swap().is_ok() {
            tracing::warn!(%cause, "{message}");
        }
    }
}
