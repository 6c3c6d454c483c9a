//! Commits changes of jobs and announces them: to watchers, and to the background work of this process.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::{
    db::{JobDetails, JobTransaction},
    domain::{JobEvent, TaskState},
    error::TranscodeError,
    feed::JobFeed,
    progress::ProgressTracker,
    scheduler::Scheduler,
};

/// Commits and announces changes of jobs.
#[derive(Clone)]
pub(crate) struct JobChanges {
    feed: JobFeed,
    progress: Arc<ProgressTracker>,
    scheduler: Arc<Scheduler>,
    jobs_ended: Arc<Notify>,
}

impl JobChanges {
    /// `jobs_ended` wakes the cleanup.
    pub(crate) fn new(
        feed: JobFeed,
        progress: Arc<ProgressTracker>,
        scheduler: Arc<Scheduler>,
        jobs_ended: Arc<Notify>,
    ) -> Self {
        Self { feed, progress, scheduler, jobs_ended }
    }

    /// Commits a job under a new revision and announces it.
    pub(crate) async fn commit(&self, transaction: JobTransaction) -> Result<JobDetails, TranscodeError> {
        let details = transaction.commit().await?;
        self.announce(&details).await;
        Ok(details)
    }

    /// Commits changes of tasks and outputs; the job is committed and announced only if it began or stopped to wait.
    pub(crate) async fn commit_tasks(&self, transaction: JobTransaction) -> Result<(), TranscodeError> {
        if transaction.has_changed_waiting() {
            self.commit(transaction).await.map(drop)
        } else {
            transaction.commit_tasks().await
        }
    }

    /// Announces a committed job.
    pub(crate) async fn announce(&self, details: &JobDetails) {
        self.progress.job_committed(details);
        self.feed.publish(details).await;
        self.scheduler.request(&details.row.owner);
        if details.row.state.has_ended() {
            self.jobs_ended.notify_one();
        }
    }

    /// Fails a job with all its tasks.
    pub(crate) async fn fail(
        &self,
        mut transaction: JobTransaction,
        reason: &str,
        message: &str,
        now: i64,
    ) -> Result<(), TranscodeError> {
        if !transaction.advance(JobEvent::Failed, now) {
            return Ok(());
        }
        transaction.end_tasks(TaskState::Failed).await?;
        reason.clone_into(&mut transaction.job.failure_reason);
        message.clone_into(&mut transaction.job.failure_message);
        self.commit(transaction).await.map(drop)
    }
}
