//! Repeats what a crash, a lost message or a lost worker interrupted: releases expired leases, ends retry delays, and queues
//! waiting tasks.

use std::{sync::Arc, time::Duration};

use reelmill_platform::clock::{Clock, duration_millis};

use crate::{
    db::Db, domain::Grace, error::TranscodeError, scheduler::Scheduler, sweeper_signal::SweeperSignal,
    tasks::LeaseReleaser, workers::StrandedJobs,
};

/// Longest sleep: leases and delays of other processes are seen within it.
pub(crate) const MAX_SLEEP: Duration = Duration::from_secs(5);
/// Shortest sleep.
pub(crate) const MIN_SLEEP: Duration = Duration::from_millis(50);
/// Interval of the sweeps over the backlog, by one process at a time, milliseconds.
pub(crate) const BACKLOG_INTERVAL_MS: i64 = 30_000;

/// Sweeps over the tasks.
pub(crate) struct Sweeper {
    pub(crate) db: Db,
    pub(crate) releaser: Arc<LeaseReleaser>,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) stranded_jobs: StrandedJobs,
    pub(crate) clock: Clock,
    pub(crate) signal: SweeperSignal,
    pub(crate) lease_ttl_ms: i64,
}

impl Sweeper {
    /// Sweeps whenever tasks have changed or are due, for ever.
    pub(crate) async fn run(&self) {
        // Apart: a slow sweep over the backlog does not delay the release of leases.
        tokio::join!(self.run_tasks(), self.run_backlog());
    }

    async fn run_tasks(&self) {
        let mut grace = Grace::begin(self.clock.now_millis(), self.lease_ttl_ms);
        loop {
            let is_in_grace = grace.is_running(self.clock.now_millis());
            let sleep = match self.sweep_tasks(is_in_grace).await {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::warn!(%error, "sweeping over the tasks failed: retrying");
                    grace.restart(self.clock.now_millis());
                    MAX_SLEEP
                }
            };
            grace.sleeps(self.clock.now_millis(), duration_millis(sleep));
            tokio::select! {
                () = self.signal.woken() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    async fn run_backlog(&self) {
        // Workers had no opportunity to register while this role was unavailable.
        let mut grace = Grace::begin(self.clock.now_millis(), self.lease_ttl_ms);
        loop {
            let now = self.clock.now_millis();
            if let Err(error) = self.sweep_backlog_if_due(now, grace.is_running(now)).await {
                tracing::warn!(%error, "sweeping over the backlog failed: retrying");
                grace.restart(self.clock.now_millis());
            }
            grace.sleeps(self.clock.now_millis(), duration_millis(MAX_SLEEP));
            tokio::time::sleep(MAX_SLEEP).await;
        }
    }

    /// Sweeps once. Workers are not taken for lost while `is_in_grace`.
    pub(crate) async fn sweep(&self, is_in_grace: bool) -> Result<(), TranscodeError> {
        self.sweep_tasks(is_in_grace).await?;
        self.sweep_backlog_if_due(self.clock.now_millis(), is_in_grace).await
    }

    /// Releases expired leases and ends retry delays; returns the time until the next lease or delay ends.
    async fn sweep_tasks(&self, is_in_grace: bool) -> Result<Duration, TranscodeError> {
        let now = self.clock.now_millis();
        if !is_in_grace {
            self.releaser.release_expired(now).await?;
        }
        // A failure of this does not mean that workers could not renew their leases.
        if let Err(error) = self.end_retry_delays().await {
            tracing::warn!(%error, "retry delays were not ended: retrying");
        }
        let next = self.db.next_task_time().await?;
        let sleep =
            next.map_or(MAX_SLEEP, |next| Duration::from_millis(u64::try_from(next - now).unwrap_or(0)));
        Ok(sleep.clamp(MIN_SLEEP, MAX_SLEEP))
    }

    async fn sweep_backlog_if_due(&self, now: i64, is_in_grace: bool) -> Result<(), TranscodeError> {
        if !self.db.claim_backlog_sweep(now, now + BACKLOG_INTERVAL_MS).await? {
            return Ok(());
        }
        self.scheduler.request_all().await?;
        if !is_in_grace {
            self.stranded_jobs.sweep(now).await?;
        }
        self.scheduler.replenish_wake_ups().await.map(drop)
    }

    /// Requests the owners of tasks whose retry delay is over.
    pub(crate) async fn end_retry_delays(&self) -> Result<(), TranscodeError> {
        for owner in self.db.end_retry_delays().await? {
            self.scheduler.request(&owner);
        }
        Ok(())
    }
}
