//! Repeats what a crash, a lost message or a lost worker interrupted: releases expired leases and sends wake-ups.

use std::{sync::Arc, time::Duration};

use reelmill_platform::clock::Clock;

use crate::{
    db::Db, error::TranscodeError, sweeper_signal::SweeperSignal, tasks::LeaseReleaser, wake_ups::WakeUps,
};

/// Longest sleep: tasks queued by another process are seen within it.
const MAX_SLEEP: Duration = Duration::from_secs(5);
/// Shortest sleep, so that a task whose wake-up cannot be sent does not cause a busy loop.
const MIN_SLEEP: Duration = Duration::from_millis(250);

/// Sweeps over the tasks.
pub(crate) struct Sweeper {
    pub(crate) db: Db,
    pub(crate) releaser: Arc<LeaseReleaser>,
    pub(crate) wake_ups: WakeUps,
    pub(crate) clock: Clock,
    pub(crate) signal: SweeperSignal,
    pub(crate) lease_ttl_ms: i64,
}

impl Sweeper {
    /// Sweeps whenever tasks have changed or are due, for ever.
    pub(crate) async fn run(&self) {
        // Leases that expired while this role or its database was unavailable do not mean that their workers are lost:
        // those get the lifetime of a lease to reconnect.
        let mut grace_end = self.clock.now_millis() + self.lease_ttl_ms;
        loop {
            let releases_expired = self.clock.now_millis() >= grace_end;
            let sleep = match self.sweep(releases_expired).await {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::warn!(%error, "sweeping over the tasks failed: retrying");
                    grace_end = self.clock.now_millis() + self.lease_ttl_ms;
                    MAX_SLEEP
                }
            };
            tokio::select! {
                () = self.signal.woken() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Releases expired leases if `releases_expired`, sends due wake-ups, and returns the time until the next task is
    /// due.
    pub(crate) async fn sweep(&self, releases_expired: bool) -> Result<Duration, TranscodeError> {
        let now = self.clock.now_millis();
        if releases_expired {
            self.releaser.release_expired(now).await?;
        }
        self.wake_ups.send_due(now).await?;
        let next = self.db.next_task_time().await?;
        let sleep =
            next.map_or(MAX_SLEEP, |next| Duration::from_millis(u64::try_from(next - now).unwrap_or(0)));
        Ok(sleep.clamp(MIN_SLEEP, MAX_SLEEP))
    }
}
