//! FailTask: retries a failed task, or fails its job.

use std::sync::Arc;

use reelmill_platform::clock::Clock;
use reelmill_proto::{
    Reason,
    transcode::{FailTaskRequest, Warning},
};

use super::lease::{Leases, LockedTask, PresentedLease};
use crate::{
    db::TaskRow,
    domain::{RetryDecision, TaskKind, TaskRules, TaskState},
    error::TranscodeError,
    job_changes::JobChanges,
    progress::ProgressTracker,
    publisher::PublicationSchedule,
    sweeper_signal::SweeperSignal,
    warnings::not_yet_reported,
};

/// Message of a job that failed after retries: each worker's own message is about that worker.
const RETRIES_EXHAUSTED: &str = "every attempt to encode this video failed, for a reason that is not the file; \
                                 upload it again later, or ask the operator of this system";

/// Fails tasks.
pub(crate) struct TaskFailer {
    pub(crate) leases: Leases,
    pub(crate) changes: JobChanges,
    pub(crate) progress: Arc<ProgressTracker>,
    pub(crate) publications: Arc<PublicationSchedule>,
    pub(crate) sweeper: SweeperSignal,
    pub(crate) clock: Clock,
    pub(crate) max_failures: i32,
}

impl TaskFailer {
    /// Takes a worker's failure of a task; returns whether the task will be retried.
    pub(crate) async fn fail(&self, request: &FailTaskRequest) -> Result<bool, TranscodeError> {
        let presented = PresentedLease::parse(request.lease.as_ref())?;
        let failure =
            request.failure.as_ref().ok_or_else(|| TranscodeError::field("failure", "is required"))?;
        let (locked, ()) = self.leases.lock(&presented, TaskRules::check).await?;
        let reason = Reason::from_str_name(&failure.reason);
        let decision = locked.task.rules().decide_failed(request.retryable, reason, self.max_failures);
        let message = if request.retryable { RETRIES_EXHAUSTED } else { &failure.message };
        self.apply(locked, decision, &failure.reason, message).await
    }

    /// Applies the decision about a failed or lost attempt; returns whether the task will be retried. `reason` and
    /// `message` are those of the job if it fails.
    pub(super) async fn apply(
        &self,
        locked: LockedTask,
        decision: RetryDecision,
        reason: &str,
        message: &str,
    ) -> Result<bool, TranscodeError> {
        match decision {
            RetryDecision::Retry { failures, delay_ms } => {
                tracing::info!(job = locked.task.job_id, reason, failures, "a task is retried");
                self.requeue(locked, failures, delay_ms).await?;
                Ok(true)
            }
            RetryDecision::GiveUp if locked.task.kind == TaskKind::Package => {
                self.skip_download(locked).await?;
                Ok(false)
            }
            RetryDecision::GiveUp => {
                let now = self.clock.now_millis();
                self.changes.fail(locked.transaction, reason, message, now).await?;
                Ok(false)
            }
        }
    }

    async fn requeue(&self, locked: LockedTask, failures: i32, delay_ms: i64) -> Result<(), TranscodeError> {
        let LockedTask { transaction, task } = locked;
        let ready_time = self.clock.now_millis() + delay_ms;
        let task = TaskRow {
            state: TaskState::Queued,
            failures,
            ready_time,
            wake_up_time: ready_time,
            wake_ups_sent: 0,
            ..task
        };
        transaction.save_task(task).await?;
        transaction.commit_tasks().await?;
        self.sweeper.wake();
        Ok(())
    }

    /// Completes a PACKAGE task without its file: the video plays, but the rendition has no download.
    async fn skip_download(&self, locked: LockedTask) -> Result<(), TranscodeError> {
        let LockedTask { transaction, task } = locked;
        tracing::warn!(job = task.job_id, rendition = task.rendition_id, "a rendition has no download");
        let warning = Warning {
            reason: Reason::DownloadFailed.as_str_name().to_owned(),
            message: format!(
                "The {} rendition could not be joined into a single file, so there is none to download.",
                task.rendition_id
            ),
        };
        transaction.add_warnings(&[warning], not_yet_reported).await?;
        let task = TaskRow { state: TaskState::Succeeded, ..task };
        transaction.save_task(task.clone()).await?;
        self.changes.commit(transaction).await?;
        self.progress.task_completed(&task);
        self.publications.request(&task.job_id);
        Ok(())
    }
}
