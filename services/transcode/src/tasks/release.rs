//! Releases leases: those that have expired, and soon those whose report stream broke.

use std::{sync::Arc, time::Duration};

use reelmill_proto::Reason;

use super::{
    fail::TaskFailer,
    lease::{LockedTask, PresentedLease},
};
use crate::{
    db::{Db, TaskRow},
    error::TranscodeError,
    sweeper_signal::SweeperSignal,
};

/// Message of a job whose workers were lost on every attempt.
const WORKERS_LOST: &str = "the workers that encoded this video were lost on every attempt; \
                            the file may need more memory or time than they have";

/// Releases leases.
pub(crate) struct LeaseReleaser {
    pub(crate) db: Db,
    pub(crate) failer: Arc<TaskFailer>,
    pub(crate) sweeper: SweeperSignal,
    pub(crate) lease_after_disconnect: Duration,
    pub(crate) max_failures: i32,
}

impl LeaseReleaser {
    /// Releases every lease that has expired at `now`: each task is retried, or its job fails. A failure for one job is
    /// logged and repeated by the next call.
    pub(crate) async fn release_expired(&self, now: i64) -> Result<(), TranscodeError> {
        let mut last = String::new();
        loop {
            let tasks = self.db.expired_tasks(now, &last).await?;
            let Some(last_task) = tasks.last() else { return Ok(()) };
            last.clone_from(&last_task.id);
            for task in tasks {
                if let Err(error) = self.release(&task, now).await {
                    tracing::warn!(job = task.job_id, %error, "an expired lease was not released: retrying later");
                }
            }
        }
    }

    async fn release(&self, expired: &TaskRow, now: i64) -> Result<(), TranscodeError> {
        let transaction = self.db.lock_job(&expired.job_id).await?;
        let Some(task) = transaction.task(&expired.id).await? else { return Ok(()) };
        let rules = task.rules();
        if !rules.is_expired(now) {
            return Ok(());
        }
        tracing::info!(
            job = task.job_id,
            worker = task.worker,
            failures = task.attempt_failures,
            "a worker was lost"
        );
        let locked = LockedTask { transaction, task };
        let decision = rules.decide_lost(self.max_failures);
        self.failer.apply(locked, decision, Reason::WorkerLost.as_str_name(), WORKERS_LOST).await?;
        Ok(())
    }

    /// Shortens a lease after its report stream broke, unless another stream has renewed it since `last_renewal`, the
    /// expiry set by the broken stream.
    pub(super) async fn shorten(
        &self,
        presented: &PresentedLease,
        last_renewal: i64,
    ) -> Result<(), TranscodeError> {
        let ttl_ms = i64::try_from(self.lease_after_disconnect.as_millis()).unwrap_or(i64::MAX);
        if self.db.shorten(&presented.task, presented.lease, last_renewal, ttl_ms).await? {
            self.sweeper.wake();
        }
        Ok(())
    }
}
