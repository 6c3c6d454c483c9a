//! StartTask: leases the most urgent task that a worker can run.

use std::sync::Arc;

use reelmill_platform::{clock::Clock, database::is_unique_violation};
use reelmill_proto::transcode::StartTaskRequest;

use super::lease::LeasedTask;
use crate::{
    db::{Db, Generation, JobTransaction, TaskRow, new_task},
    domain::{JobEvent, Lease, LeaseError, TaskKind, TaskState, task_name_ids},
    error::TranscodeError,
    job_changes::JobChanges,
    progress::ProgressTracker,
    sweeper_signal::SweeperSignal,
};

/// Longest nonce of a StartTask call, bytes.
const MAX_NONCE_BYTES: usize = 64;
/// Reads of the most urgent tasks per call: other workers may lease all of one read before this one does.
const MAX_ROUNDS: usize = 3;

/// Starts tasks.
pub(crate) struct TaskStarter {
    pub(crate) db: Db,
    pub(crate) changes: JobChanges,
    pub(crate) progress: Arc<ProgressTracker>,
    pub(crate) sweeper: SweeperSignal,
    pub(crate) clock: Clock,
    pub(crate) lease_ttl_ms: i64,
}

impl TaskStarter {
    /// Leases a task, or returns the lease of an earlier call with the same nonce.
    pub(crate) async fn start(&self, request: &StartTaskRequest) -> Result<LeasedTask, TranscodeError> {
        if request.nonce.is_empty() || request.nonce.len() > MAX_NONCE_BYTES {
            return Err(TranscodeError::field("nonce", format!("must be 1 to {MAX_NONCE_BYTES} bytes")));
        }
        if let Some(leased) = self.earlier_lease(request).await? {
            return Ok(leased);
        }
        match self.start_any(request).await {
            // The repeated call overtook this one.
            Err(TranscodeError::Database(error)) if is_unique_violation(&error) => {
                self.earlier_lease(request).await?.ok_or(TranscodeError::Database(error))
            }
            started => started,
        }
    }

    /// The lease of an earlier call with the same nonce.
    async fn earlier_lease(&self, request: &StartTaskRequest) -> Result<Option<LeasedTask>, TranscodeError> {
        let Some(task) = self.db.task_of_nonce(&request.nonce).await? else { return Ok(None) };
        if task.state != TaskState::Running || task.worker != request.worker {
            return Err(LeaseError::Lost.into());
        }
        let job = self.db.job(&task.job_id).await?.ok_or(LeaseError::Lost)?;
        Ok(Some(LeasedTask { job, task }))
    }

    /// Leases the most urgent task. The requested one is only a hint that there is work.
    async fn start_any(&self, request: &StartTaskRequest) -> Result<LeasedTask, TranscodeError> {
        let not_found = || TranscodeError::TaskNotFound(request.task.clone());
        let (job, task) = task_name_ids(&request.task).ok_or_else(not_found)?;
        let hint = self.db.task(job, task).await?.ok_or_else(not_found)?;
        if let Some(leased) = self.restart_stranded_job(&hint, request).await? {
            return Ok(leased);
        }
        for _ in 0..MAX_ROUNDS {
            let candidates = self
                .db
                .startable_tasks(self.clock.now_millis(), &request.worker, &request.encoder_build)
                .await?;
            if candidates.is_empty() {
                break;
            }
            for candidate in candidates {
                if let Some(leased) = self.lease_candidate(&candidate, request).await? {
                    return Ok(leased);
                }
            }
        }
        // There is no task for this worker: say why it does not get the requested one.
        let hint = self.db.task(job, task).await?.ok_or_else(not_found)?;
        let decision =
            hint.rules().may_start(self.clock.now_millis(), &request.worker, &request.encoder_build);
        Err(decision.err().unwrap_or(LeaseError::Leased).into())
    }

    /// Leases a candidate; none if it cannot be started any more.
    async fn lease_candidate(
        &self,
        candidate: &TaskRow,
        request: &StartTaskRequest,
    ) -> Result<Option<LeasedTask>, TranscodeError> {
        let mut transaction = self.db.lock_job(&candidate.job_id).await?;
        let Some(task) = transaction.task(&candidate.id).await? else { return Ok(None) };
        if !transaction.is_open() {
            return Ok(None);
        }
        let now = self.clock.now_millis();
        let Ok(lease) = task.rules().may_start(now, &request.worker, &request.encoder_build) else {
            return Ok(None);
        };
        let job_changed = transaction.advance(JobEvent::TaskStarted, now);
        self.lease(transaction, task, lease, request, job_changed).await.map(Some)
    }

    /// Writes a lease and commits; announces the job if it has changed.
    async fn lease(
        &self,
        transaction: JobTransaction,
        task: TaskRow,
        lease: Lease,
        request: &StartTaskRequest,
        job_changed: bool,
    ) -> Result<LeasedTask, TranscodeError> {
        let task = TaskRow {
            state: TaskState::Running,
            fencing_token: lease.fencing_token,
            lease_expire_time: self.clock.now_millis().saturating_add(self.lease_ttl_ms),
            worker: request.worker.clone(),
            encoder_build: request.encoder_build.clone(),
            start_nonce: Some(request.nonce.clone()),
            ..task
        };
        transaction.save_task(task.clone()).await?;
        let job = if job_changed {
            self.changes.commit(transaction).await?.row
        } else {
            let job = transaction.job.clone();
            transaction.commit_tasks().await?;
            job
        };
        // The lease has an expiry.
        self.sweeper.wake();
        Ok(LeasedTask { job, task })
    }

    /// Restarts a job whose tasks wait for an encoder build that no worker seems to have any more, and leases its first
    /// task. What was published plays until it is overwritten.
    async fn restart_stranded_job(
        &self,
        hint: &TaskRow,
        request: &StartTaskRequest,
    ) -> Result<Option<LeasedTask>, TranscodeError> {
        let build = &request.encoder_build;
        if !hint.rules().is_stranded(build) {
            return Ok(None);
        }
        let now = self.clock.now_millis();
        // Workers with the required build may be busy with other jobs.
        if self.db.is_build_active(&hint.required_build, now).await? {
            return Ok(None);
        }
        let mut transaction = self.db.lock_job(&hint.job_id).await?;
        let Some(task) = transaction.task(&hint.id).await? else { return Ok(None) };
        let is_stranded = transaction.is_open() && task.rules().is_stranded(build);
        if !is_stranded || transaction.has_running_task().await? {
            return Ok(None);
        }
        tracing::warn!(
            job = task.job_id,
            build = task.required_build,
            "no worker has the encoder build that this job was started with: the job is restarted"
        );
        transaction.restart().await?;
        let first = new_task(&Generation::of(&transaction.job), TaskKind::Prepare, 0, now);
        transaction.add_tasks(vec![first.clone()]).await?;
        self.progress.job_restarted(&task.job_id);
        let lease = first.rules().may_start(now, &request.worker, build)?;
        self.lease(transaction, first, lease, request, true).await.map(Some)
    }
}
