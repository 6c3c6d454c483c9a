//! FailTask: retries a failed task, or fails its job.

use std::sync::Arc;

use reelmill_platform::clock::Clock;
use reelmill_proto::{
    Reason,
    transcode::{FailTaskRequest, FailureCause, Warning},
};

use super::lease::{Leases, LockedTask, PresentedLease};
use crate::{
    db::{QueuedTask, TaskRow},
    domain::{RetryDecision, RetryPlacement, TaskKind, TaskRules, TaskState},
    error::TranscodeError,
    job_changes::JobChanges,
    progress::ProgressTracker,
    publisher::PublicationSchedule,
    scheduler::Scheduler,
    sweeper_signal::SweeperSignal,
    warnings::not_yet_reported,
};

/// Attempts of a PACKAGE task for which no worker has disk space, apart from the last one: about a quarter of an hour.
const MAX_JOINS_WITHOUT_ROOM: i32 = 12;
/// Message of a job that failed after retries: each worker's own message is about that worker.
const RETRIES_EXHAUSTED: &str = "every attempt to encode this video failed, for a reason that is not the file; \
                                 retry it later, or ask the operator of this system";

/// Fails tasks.
pub(crate) struct TaskFailer {
    pub(crate) leases: Leases,
    pub(crate) changes: JobChanges,
    pub(crate) progress: Arc<ProgressTracker>,
    pub(crate) publications: Arc<PublicationSchedule>,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) sweeper: SweeperSignal,
    pub(crate) clock: Clock,
    pub(crate) max_failures: i32,
    /// A random number between 0 and 1.
    pub(crate) jitter: fn() -> f64,
}

impl TaskFailer {
    /// Takes a worker's failure of a task; returns whether the task will be retried.
    pub(crate) async fn fail(&self, request: &FailTaskRequest) -> Result<bool, TranscodeError> {
        let presented = PresentedLease::parse(request.lease.as_ref())?;
        let failure =
            request.failure.as_ref().ok_or_else(|| TranscodeError::field("failure", "is required"))?;
        let cause = request.cause();
        if cause == FailureCause::Unspecified {
            return Err(TranscodeError::field("cause", "is required"));
        }
        let (mut locked, ()) = self.leases.lock(&presented, TaskRules::check).await?;
        if cause == FailureCause::Dependency {
            locked.transaction.wait_for(failure, self.clock.now_millis());
        }
        let mut decision = locked.task.rules().decide_failed(cause, self.max_failures, (self.jitter)());
        let has_no_room = failure.reason == Reason::HostResourcesExhausted.as_str_name();
        if locked.task.kind == TaskKind::Package
            && has_no_room
            && locked.task.dependency_failures >= MAX_JOINS_WITHOUT_ROOM
        {
            // Perhaps no worker has as much disk space: the video plays without this download.
            decision = RetryDecision::GiveUp;
        }
        let message = if cause == FailureCause::File { &failure.message } else { RETRIES_EXHAUSTED };
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
            RetryDecision::Retry { failures, delay_ms, excludes_worker } => {
                tracing::info!(job = locked.task.job_id, reason, ?failures, delay_ms, "a task is retried");
                let now = self.clock.now_millis();
                let RetryPlacement { state, ready_time, excluded_until } =
                    RetryPlacement::of(delay_ms, excludes_worker, now);
                let excluded_worker =
                    if excludes_worker { locked.task.worker.clone() } else { String::new() };
                let task = TaskRow {
                    state,
                    ready_time,
                    excluded_worker,
                    excluded_until,
                    ..locked.task.with_failures(failures)
                };
                locked.transaction.save_task(task.clone()).await?;
                self.changes.commit_tasks(locked.transaction).await?;
                if state == TaskState::Queued {
                    let queued =
                        QueuedTask { class: task.class, required_build: task.required_build.clone() };
                    self.scheduler.announce(&[queued]);
                } else {
                    self.sweeper.wake();
                }
                self.scheduler.request(&task.owner);
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

    /// Completes a PACKAGE task without its file: the video plays, but the rendition has no download.
    async fn skip_download(&self, locked: LockedTask) -> Result<(), TranscodeError> {
        let LockedTask { mut transaction, task } = locked;
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
        transaction.request_publication(self.clock.now_millis()).await?;
        self.changes.commit(transaction).await?;
        self.progress.task_completed(&task);
        self.publications.request(&task.job_id);
        Ok(())
    }
}
