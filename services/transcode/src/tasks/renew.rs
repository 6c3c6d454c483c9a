//! Renews the lease of a task whose worker reports.

use super::lease::PresentedLease;
use crate::{
    db::{Db, TaskRow},
    domain::LeaseLost,
    error::TranscodeError,
};

/// Renews leases.
#[derive(Clone)]
pub(crate) struct LeaseRenewer {
    pub(crate) db: Db,
    pub(crate) lease_ttl_ms: i64,
}

impl LeaseRenewer {
    /// Renews a valid lease; returns the task with its new expiry. The job is not locked: a renewal waits for nobody.
    pub(super) async fn renew(&self, presented: &PresentedLease) -> Result<TaskRow, TranscodeError> {
        let renewed = self.db.renew(&presented.task, presented.lease, self.lease_ttl_ms).await?;
        Ok(renewed.filter(|task| task.job_id == presented.job).ok_or(LeaseLost)?)
    }
}
