//! What the two services and the sweeper share: jobs made, tasks sent, jobs ended.

use std::{sync::Arc, time::Duration};

use reelmill_platform::{clock::Clock, objects::Objects, queue::Queue};
use reelmill_proto::transcode::Job;
use tokio::sync::Notify;

use crate::{
    config::TranscodeConfig,
    convert::job_message,
    domain::{JobEvent, TaskState, task_name},
    error::TranscodeError,
    feed::Feed,
    plans::Plans,
    progress::Tracker,
    publish::Publisher,
    store::{JobRow, JobUnit, NewJob, Store, TaskRow},
};

/// How long the queue is trusted with a message before it is sent again; doubles each time.
const RESEND_MS: i64 = 60_000;

/// The parts of the transcode role.
pub(crate) struct Dispatch {
    pub config: TranscodeConfig,
    pub store: Store,
    pub plans: Plans,
    pub tracker: Arc<Tracker>,
    pub publisher: Publisher,
    pub feed: Feed,
    pub objects: Objects,
    pub queue: Arc<dyn Queue>,
    pub clock: Clock,
    /// Wakes the sweeper's watch over tasks before its time.
    pub woken: Notify,
    /// Wakes the cleaning of the store.
    pub ended: Notify,
}

impl Dispatch {
    /// Writes a job and sends its task. When the queue is away the job stands all the same: the
    /// sweeper sends it later.
    pub(crate) async fn create_job(&self, new: NewJob) -> Result<JobRow, TranscodeError> {
        let fresh = new.id.clone();
        let row = self.store.create_job(new).await?;
        if row.id == fresh {
            self.feed.changed(&row).await;
            self.woken.notify_one();
        }
        Ok(row)
    }

    /// The job as its callers see it, with how far it is.
    pub(crate) fn told(&self, row: &JobRow) -> Result<Job, TranscodeError> {
        let mut job = job_message(row)?;
        self.tracker.overlay(&row.id, &mut job);
        Ok(job)
    }

    /// Tells the queue of a queued task.
    pub(crate) async fn send(&self, task: &TaskRow) -> Result<(), TranscodeError> {
        self.queue.send(&task_name(&task.job_id, &task.id), Duration::ZERO).await?;
        let wait = RESEND_MS << task.sends.clamp(0, 6);
        self.store.sent(task, self.clock.now_millis().saturating_add(wait)).await
    }

    /// Ends a held job as failed, with all its tasks.
    pub(crate) async fn fail_job(
        &self,
        mut unit: JobUnit,
        reason: &str,
        message: &str,
    ) -> Result<(), TranscodeError> {
        if !unit.advance(JobEvent::TaskFailed, self.clock.now_millis()) {
            return Ok(());
        }
        unit.end_tasks(TaskState::Failed).await?;
        reason.clone_into(&mut unit.job.failure_reason);
        message.clone_into(&mut unit.job.failure_message);
        self.commit(unit).await.map(drop)
    }

    /// Commits a changed job and tells of it.
    pub(crate) async fn commit(&self, unit: JobUnit) -> Result<JobRow, TranscodeError> {
        let row = unit.commit().await?;
        self.feed.changed(&row).await;
        self.woken.notify_one();
        self.ended.notify_one();
        Ok(row)
    }
}
