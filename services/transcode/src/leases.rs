//! What a worker's lease lets it do.

use crate::{
    convert,
    dispatch::Dispatch,
    domain::{JobEvent, Lease, LeaseRefusal, TaskState, Verdict, output_key, task_id},
    error::TranscodeError,
    outputs::attempt_prefix,
    store::{JobRow, JobUnit, TaskRow, entity::output},
};
use reelmill_proto::transcode::{
    CompleteTaskRequest, FailTaskRequest, Lease as LeaseMessage, Output, Rendition, SourceInfo,
    StartTaskRequest,
};

/// The reason a worker gives that was told to stop and hands its task back.
const WORKER_STOPPED: &str = "WORKER_STOPPED";

/// What is said of a video whose task failed too often for reasons that were not the file's.
const GAVE_UP: &str = "this failed again and again, for a reason that does not lie in the file; \
                       upload it again later, or ask whoever runs this system";

/// A leased task with its job.
pub(crate) struct Leased {
    pub job: JobRow,
    pub task: TaskRow,
}

/// The task id and lease that a message shows.
pub(crate) fn shown(lease: Option<&LeaseMessage>) -> Result<(String, Lease), TranscodeError> {
    let lease = lease.ok_or_else(|| TranscodeError::field("lease", "is required"))?;
    let task = task_id(&lease.task).ok_or_else(|| TranscodeError::TaskNotFound(lease.task.clone()))?;
    Ok((task.to_owned(), Lease { fencing_token: lease.fencing_token }))
}

impl Dispatch {
    /// Leases a task to a worker.
    pub(crate) async fn start_task(&self, request: &StartTaskRequest) -> Result<Leased, TranscodeError> {
        let unknown = || TranscodeError::TaskNotFound(request.task.clone());
        let id = task_id(&request.task).ok_or_else(unknown)?;
        let job = self.store.task(id).await?.ok_or_else(unknown)?.job_id;
        let mut unit = self.store.hold(&job).await?;
        let (mut row, task) = unit.task(id).await?;
        let now = self.clock.now_millis();
        let lease = task.start(now)?;
        if task.state == TaskState::Running {
            row.failures += 1;
        }
        row.state = TaskState::Running as i32;
        row.fencing_token = lease.fencing_token;
        row.lease_expires_at = now + self.lease_ms();
        row.worker.clone_from(&request.worker);
        row.encoder_build.clone_from(&request.encoder_build);
        unit.save_task(row.clone()).await?;
        let job = if unit.advance(JobEvent::TaskStarted, now) {
            self.commit(unit).await?
        } else {
            let job = unit.job.clone();
            unit.commit_tasks().await?;
            job
        };
        self.woken.notify_one();
        Ok(Leased { job, task: row })
    }

    /// The job of a lease that holds.
    pub(crate) async fn leased(&self, task: &str, lease: Lease) -> Result<Leased, TranscodeError> {
        let (unit, row) = self.hold_leased(task, lease).await?;
        Ok(Leased { job: unit.job.clone(), task: row })
    }

    async fn hold_leased(&self, task: &str, lease: Lease) -> Result<(JobUnit, TaskRow), TranscodeError> {
        let unit = self.hold_of(task).await?;
        let (row, rules) = unit.task(task).await?;
        rules.check(lease)?;
        Ok((unit, row))
    }

    async fn hold_of(&self, task: &str) -> Result<JobUnit, TranscodeError> {
        let row = self.store.task(task).await?;
        let row = row.ok_or_else(|| TranscodeError::TaskNotFound(task.to_owned()))?;
        self.store.hold(&row.job_id).await
    }

    /// Stores what a worker found out of the source and plans to make of it.
    pub(crate) async fn record_plan(
        &self,
        task: &str,
        lease: Lease,
        renditions: Vec<Rendition>,
        source: Option<SourceInfo>,
    ) -> Result<JobRow, TranscodeError> {
        let (mut unit, _) = self.hold_leased(task, lease).await?;
        unit.job.detail = convert::detail(renditions, source);
        self.commit(unit).await
    }

    /// Moves a lease's end; LEASE_LOST when it no longer holds. Answers the new end.
    pub(crate) async fn renew(&self, task: &str, lease: Lease) -> Result<i64, TranscodeError> {
        let until = self.clock.now_millis() + self.lease_ms();
        let held = self.store.renew(task, lease, until).await?;
        if held { Ok(until) } else { Err(LeaseRefusal::Lost.into()) }
    }

    /// Records a task's outputs, and ends its job with its last task.
    pub(crate) async fn complete_task(&self, request: CompleteTaskRequest) -> Result<(), TranscodeError> {
        let (task, lease) = shown(request.lease.as_ref())?;
        let mut unit = self.hold_of(&task).await?;
        let (mut row, rules) = unit.task(&task).await?;
        if rules.completed_by(lease) {
            // The first call may have been cut off between its commit and its telling.
            self.feed.changed(&unit.job).await;
            return Ok(());
        }
        rules.check(lease)?;
        let prefix = attempt_prefix(&unit.job, lease.fencing_token);
        let recorded = recorded(&task, &prefix, &request)?;
        unit.job.output_size_bytes += recorded.iter().map(|output| output.size_bytes).sum::<i64>();
        unit.record_outputs(recorded).await?;
        row.state = TaskState::Succeeded as i32;
        unit.save_task(row).await?;
        unit.job.recorded_prefix = prefix;
        unit.job.master_playlist = request.master_playlist;
        unit.job.poster = request.poster;
        unit.job.detail = convert::detail(request.renditions, request.source);
        if unit.all_succeeded().await? {
            unit.advance(JobEvent::AllTasksSucceeded, self.clock.now_millis());
        }
        self.commit(unit).await.map(drop)
    }

    /// Queues a task again, or fails its job. Says whether it will be tried again.
    pub(crate) async fn fail_task(&self, request: FailTaskRequest) -> Result<bool, TranscodeError> {
        let (task, lease) = shown(request.lease.as_ref())?;
        let failure = request.failure.ok_or_else(|| TranscodeError::field("failure", "is required"))?;
        let (unit, mut row) = self.hold_leased(&task, lease).await?;
        let (_, rules) = unit.task(&task).await?;
        let verdict = match (request.retryable, failure.reason.as_str()) {
            (false, _) => Verdict::GiveUp,
            (true, WORKER_STOPPED) => rules.hand_back(),
            (true, _) => rules.retry(self.config.max_failures),
        };

        match verdict {
            Verdict::GiveUp => {
                let message = if request.retryable { GAVE_UP } else { &failure.message };
                self.fail_job(unit, &failure.reason, message).await?;
                Ok(false)
            }
            Verdict::Retry { failures, delay_ms } => {
                tracing::info!(job = row.job_id, reason = failure.reason, "a task is tried again");
                row.state = TaskState::Queued as i32;
                row.failures = failures;
                row.send_due = self.clock.now_millis() + delay_ms;
                row.sends = 0;
                unit.save_task(row).await?;
                unit.commit_tasks().await?;
                self.woken.notify_one();
                Ok(true)
            }
        }
    }

    pub(crate) fn lease_ms(&self) -> i64 {
        i64::try_from(self.config.lease.as_millis()).unwrap_or(i64::MAX)
    }
}

fn recorded(
    task: &str,
    prefix: &str,
    request: &CompleteTaskRequest,
) -> Result<Vec<output::Model>, TranscodeError> {
    let row = |made: &Output| {
        let key =
            output_key(prefix, &made.name).ok_or_else(|| TranscodeError::field("outputs", &made.name))?;
        Ok(output::Model { task_id: task.to_owned(), key, size_bytes: made.size_bytes.max(0) })
    };
    let names = |name: &str| request.outputs.iter().any(|made| made.name == name);
    if !names(&request.master_playlist) {
        return Err(TranscodeError::field("master_playlist", "is not among the outputs"));
    }
    if !request.poster.is_empty() && !names(&request.poster) {
        return Err(TranscodeError::field("poster", "is not among the outputs"));
    }
    request.outputs.iter().map(row).collect()
}
