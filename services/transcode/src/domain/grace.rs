//! The grace period of the sweeper.

/// A sleep that is longer than requested by this much means that the process was stopped, milliseconds. Less than an
/// expired lease needs to be renewed when the process continues.
const STOPPED_AFTER_MS: i64 = 3000;

/// Time in which the sweeper does not take workers for lost. Leases that expired while this process was stopped, or it or
/// its database was unavailable, do not mean that their workers are lost: those get the lifetime of a lease to reconnect.
/// Times are Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grace {
    lease_ttl_ms: i64,
    end: i64,
    /// When the next sweep begins at the latest; none during a sweep.
    latest_wake: Option<i64>,
}

impl Grace {
    /// Begins at the start of the process.
    pub(crate) fn begin(now: i64, lease_ttl_ms: i64) -> Self {
        Self { lease_ttl_ms, end: now + lease_ttl_ms, latest_wake: Some(now) }
    }

    /// Begins again, after a sweep has failed.
    pub(crate) fn restart(&mut self, now: i64) {
        self.end = now + self.lease_ttl_ms;
    }

    /// The sweeper sleeps, for `sleep_ms` at most.
    pub(crate) fn sleeps(&mut self, now: i64, sleep_ms: i64) {
        self.latest_wake = Some(now + sleep_ms);
    }

    /// Whether it has not ended when a sweep begins. It begins again if the process was stopped since the last one.
    pub(crate) fn is_running(&mut self, now: i64) -> bool {
        if self.latest_wake.take().is_some_and(|latest| now > latest + STOPPED_AFTER_MS) {
            self.restart(now);
        }
        now < self.end
    }
}

#[cfg(test)]
mod tests {
    use super::Grace;

    #[test]
    fn grace_begins_with_the_process_and_after_a_failure() {
        let mut grace = Grace::begin(0, 15_000);
        assert!(grace.is_running(0) && grace.is_running(14_999) && !grace.is_running(15_000));
        grace.restart(20_000);
        assert!(grace.is_running(34_999) && !grace.is_running(35_000));
    }

    #[test]
    fn grace_begins_again_after_the_process_was_stopped() {
        let mut grace = Grace::begin(0, 15_000);
        assert!(grace.is_running(0));
        grace.sleeps(20_000, 5000);
        assert!(!grace.is_running(26_000), "a busy host");
        grace.sleeps(26_000, 5000);
        assert!(grace.is_running(60_000) && grace.is_running(74_999) && !grace.is_running(75_000));
    }
}
