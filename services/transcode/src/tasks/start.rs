//! StartTask: leases the task that is next for a worker.

use std::{sync::Arc, time::Duration};

use reelmill_platform::{clock::Clock, database::is_unique_violation};
use reelmill_proto::{
    std_duration,
    transcode::{StartTaskRequest, TaskClass as SlotClass},
};
use tokio::time::Instant;

use super::lease::LeasedTask;
use crate::{
    db::{Db, JobRow, LeaseRequest, TaskRow},
    domain::{JobEvent, JobState, LeaseLost, TaskClass, TaskState},
    error::TranscodeError,
    job_changes::JobChanges,
    scheduler::Scheduler,
    sweeper_signal::SweeperSignal,
};

/// Longest nonce of a StartTask call, bytes.
const MAX_NONCE_BYTES: usize = 64;
/// Longest name of a worker or an encoder build, bytes.
const MAX_NAME_BYTES: usize = 256;
/// Longest wait of a call.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Interval at which a waiting call asks again without having been woken.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(4);

/// Starts tasks.
pub(crate) struct TaskStarter {
    pub(crate) db: Db,
    pub(crate) changes: JobChanges,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) sweeper: SweeperSignal,
    pub(crate) clock: Clock,
    pub(crate) lease_ttl_ms: i64,
}

impl TaskStarter {
    /// Leases a task, or returns the lease of an earlier call with the same nonce; none if there is no task within the
    /// requested wait.
    pub(crate) async fn start(
        &self,
        request: &StartTaskRequest,
    ) -> Result<Option<LeasedTask>, TranscodeError> {
        let classes = check(request)?;
        if let Some(leased) = self.earlier_lease(request).await? {
            return Ok(Some(leased));
        }
        let wait = request.wait.as_ref().map_or(Duration::ZERO, |wait| std_duration(wait).min(MAX_WAIT));
        let deadline = Instant::now() + wait;
        loop {
            let express_task = self.scheduler.express_task();
            if let Some(leased) = self.start_next(request, classes).await? {
                return Ok(Some(leased));
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(None);
            }
            // A task that ended just now may have been the only one that the limits allowed.
            let next_poll = deadline.min(now + POLL_INTERVAL);
            tokio::select! {
                () = express_task => {}
                () = tokio::time::sleep_until(next_poll) => {}
            }
        }
    }

    /// The lease of an earlier call with the same nonce.
    async fn earlier_lease(&self, request: &StartTaskRequest) -> Result<Option<LeasedTask>, TranscodeError> {
        let Some(task) = self.db.task_of_nonce(&request.nonce).await? else { return Ok(None) };
        if task.state != TaskState::Running || task.worker != request.worker {
            return Err(LeaseLost.into());
        }
        let job = self.db.job(&task.job_id).await?.ok_or(LeaseLost)?;
        Ok(Some(LeasedTask { job, task }))
    }

    /// Leases the next task of the first class that has one.
    async fn start_next(
        &self,
        request: &StartTaskRequest,
        classes: &[TaskClass],
    ) -> Result<Option<LeasedTask>, TranscodeError> {
        for class in classes {
            let lease = LeaseRequest {
                class: *class,
                worker: &request.worker,
                encoder_build: &request.encoder_build,
                nonce: &request.nonce,
                lease_ttl_ms: self.lease_ttl_ms,
            };
            let task = match self.db.lease(lease).await {
                // The repeated call overtook this one.
                Err(TranscodeError::Database(error)) if is_unique_violation(&error) => {
                    return self.earlier_lease(request).await;
                }
                leased => leased?,
            };
            if let Some(task) = task {
                return self.started(task).await.map(Some);
            }
        }
        Ok(None)
    }

    /// Announces that a job is running.
    async fn started(&self, task: TaskRow) -> Result<LeasedTask, TranscodeError> {
        // The lease has an expiry, and a waiting task may take the place of this one.
        self.sweeper.wake();
        self.scheduler.request(&task.owner);
        let job = self.db.job(&task.job_id).await?.ok_or(LeaseLost)?;
        let job = if job.state == JobState::Queued { self.start_job(&job).await? } else { job };
        Ok(LeasedTask { job, task })
    }

    async fn start_job(&self, job: &JobRow) -> Result<JobRow, TranscodeError> {
        let mut transaction = self.db.lock_job(&job.id).await?;
        if transaction.advance(JobEvent::TaskStarted, self.clock.now_millis()) {
            return Ok(self.changes.commit(transaction).await?.row);
        }
        Ok(transaction.job.clone())
    }
}

/// Checks a request; returns the classes of tasks that it asks for.
fn check(request: &StartTaskRequest) -> Result<&'static [TaskClass], TranscodeError> {
    let within = |field: &'static str, value: &str, max: usize| {
        if value.is_empty() || value.len() > max {
            return Err(TranscodeError::field(field, format!("must be 1 to {max} bytes")));
        }
        Ok(())
    };
    within("nonce", &request.nonce, MAX_NONCE_BYTES)?;
    within("worker", &request.worker, MAX_NAME_BYTES)?;
    within("encoder_build", &request.encoder_build, MAX_NAME_BYTES)?;
    let slot = SlotClass::try_from(request.slot_class).unwrap_or_default();
    TaskClass::of_slot(slot).ok_or_else(|| TranscodeError::field("slot_class", "is required"))
}
