//! Loads the task of a lease and asks the domain whether the lease is valid.

use reelmill_proto::transcode::Lease as LeaseMessage;

use crate::{
    db::{Db, JobRow, JobTransaction, TaskRow},
    domain::{Lease, LeaseLost, TaskRules, task_name_ids},
    error::TranscodeError,
};

/// The lease that a call presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PresentedLease {
    pub(super) job: String,
    pub(super) task: String,
    pub(super) lease: Lease,
}

impl PresentedLease {
    /// Parses the lease of a request.
    pub(super) fn parse(message: Option<&LeaseMessage>) -> Result<Self, TranscodeError> {
        let message = message.ok_or_else(|| TranscodeError::field("lease", "is required"))?;
        let (job, task) =
            task_name_ids(&message.task).ok_or_else(|| TranscodeError::TaskNotFound(message.task.clone()))?;
        Ok(Self {
            job: job.to_owned(),
            task: task.to_owned(),
            lease: Lease { fencing_token: message.fencing_token },
        })
    }
}

/// A task and its job: as read, or as written by the call that returns it.
pub(crate) struct LeasedTask {
    pub(crate) job: JobRow,
    pub(crate) task: TaskRow,
}

/// A task in the transaction that locks its job.
pub(super) struct LockedTask {
    pub(super) transaction: JobTransaction,
    pub(super) task: TaskRow,
}

/// Access to tasks by lease.
#[derive(Clone)]
pub(crate) struct Leases {
    db: Db,
}

impl Leases {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    /// Locks the job of a lease, loads the task, and asks the domain: `rule` is one of [`TaskRules`]'s methods.
    ///
    /// # Errors
    /// The rule's error, or [`LeaseLost`] when the task is gone: its job was restarted.
    pub(super) async fn lock<T>(
        &self,
        presented: &PresentedLease,
        rule: impl FnOnce(&TaskRules, Lease) -> Result<T, LeaseLost>,
    ) -> Result<(LockedTask, T), TranscodeError> {
        let transaction = self.db.lock_job(&presented.job).await.map_err(|error| match error {
            TranscodeError::JobNotFound(_) => LeaseLost.into(),
            other => other,
        })?;
        let task = transaction.task(&presented.task).await?.ok_or(LeaseLost)?;
        let decision = rule(&task.rules(), presented.lease)?;
        Ok((LockedTask { transaction, task }, decision))
    }

    /// The task and job of a valid lease, without a lock: for calls that change nothing.
    pub(super) async fn check(&self, presented: &PresentedLease) -> Result<LeasedTask, TranscodeError> {
        let task = self.db.task(&presented.job, &presented.task).await?.ok_or(LeaseLost)?;
        task.rules().check(presented.lease)?;
        let job = self.db.job(&presented.job).await?.ok_or(LeaseLost)?;
        Ok(LeasedTask { job, task })
    }
}
