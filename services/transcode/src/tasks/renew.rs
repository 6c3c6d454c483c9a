//! Renews the lease of a task whose worker reports.

use reelmill_platform::clock::Clock;

use super::lease::{LeasedTask, Leases, LockedTask, PresentedLease};
use crate::{db::TaskRow, domain::TaskRules, error::TranscodeError};

/// Renews leases.
#[derive(Clone)]
pub(crate) struct LeaseRenewer {
    pub(crate) leases: Leases,
    pub(crate) clock: Clock,
    pub(crate) lease_ttl_ms: i64,
}

impl LeaseRenewer {
    /// Renews a valid lease; returns the task with its new expiry.
    pub(super) async fn renew(&self, presented: &PresentedLease) -> Result<LeasedTask, TranscodeError> {
        let (locked, ()) = self.leases.lock(presented, TaskRules::check).await?;
        let LockedTask { transaction, task } = locked;
        let lease_expire_time = self.clock.now_millis().saturating_add(self.lease_ttl_ms);
        let task = TaskRow { lease_expire_time, ..task };
        let job = transaction.job.clone();
        transaction.save_task(task.clone()).await?;
        transaction.commit_tasks().await?;
        Ok(LeasedTask { job, task })
    }
}
