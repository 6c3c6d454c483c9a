//! What a worker's lease lets it do.

use crate::{
    convert::Detail,
    dispatch::Dispatch,
    domain::{Lease, LeaseError, Task, TaskKind, TaskState, Verdict, task_id},
    error::TranscodeError,
    store::{JobRow, JobUnit, TaskRow},
};
use reelmill_proto::{
    Reason,
    transcode::{CompleteTaskRequest, FailTaskRequest, Lease as LeaseMessage, Warning},
};

/// What is said of a video whose task failed too often for reasons that were not the file's.
const GAVE_UP: &str = "this failed again and again, for a reason that does not lie in the file; \
                       upload it again later, or ask whoever runs this system";

/// How many warnings one task may give.
const MAX_WARNINGS: usize = 50;

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
    /// The task and job of a lease that holds just now.
    pub(crate) async fn leased(&self, task: &str, lease: Lease) -> Result<Leased, TranscodeError> {
        // A task that is gone was taken away when its job started anew.
        let task = self.store.task(task).await?.ok_or(LeaseError::Lost)?;
        let holds = task.state == TaskState::Running as i32 && task.fencing_token == lease.fencing_token;
        if !holds {
            return Err(LeaseError::Lost.into());
        }
        let job = self.store.job(&task.job_id).await?;
        let job = job.ok_or_else(|| TranscodeError::JobNotFound(task.job_id.clone()))?;
        Ok(Leased { job, task })
    }

    /// The same, held until the transaction ends.
    pub(crate) async fn hold_leased(
        &self,
        task: &str,
        lease: Lease,
    ) -> Result<(JobUnit, TaskRow), TranscodeError> {
        let unit = self.hold_of(task).await?;
        let (row, rules) = held(&unit, task).await?;
        rules.check(lease)?;
        Ok((unit, row))
    }

    async fn hold_of(&self, task: &str) -> Result<JobUnit, TranscodeError> {
        let row = self.store.task(task).await?.ok_or(LeaseError::Lost)?;
        self.store.hold(&row.job_id).await
    }

    /// Moves a lease's end; LEASE_LOST when it no longer holds. Answers the new end.
    pub(crate) async fn renew(&self, task: &str, lease: Lease) -> Result<i64, TranscodeError> {
        let until = self.clock.now_millis() + self.lease_ms();
        let held = self.store.renew(task, lease, until).await?;
        if held { Ok(until) } else { Err(LeaseError::Lost.into()) }
    }

    /// Records a task's last outputs and ends it. What follows for its job is the publisher's to find out.
    pub(crate) async fn complete_task(&self, request: CompleteTaskRequest) -> Result<(), TranscodeError> {
        let (task, lease) = shown(request.lease.as_ref())?;
        check_warnings(&request.warnings)?;
        let seen = self.store.task(&task).await?.ok_or(LeaseError::Lost)?;
        if seen.state == TaskState::Succeeded as i32 && seen.fencing_token == lease.fencing_token {
            // The first call may have been cut off between its commit and its telling.
            self.publisher.touch(&seen.job_id);
            return Ok(());
        }
        let rows = self.rows(&self.leased(&task, lease).await?, &request.outputs).await?;
        let (mut unit, row) = self.hold_leased(&task, lease).await?;
        if row.kind == TaskKind::Prepare as i32 {
            return Err(TranscodeError::field("lease", "is of a task that was not planned"));
        }
        unit.record(rows).await?;
        unit.save_task(TaskRow { state: TaskState::Succeeded as i32, ..row.clone() }).await?;
        let mut detail = Detail::of(&unit.job)?;
        if detail.warn(&request.warnings) {
            unit.job.detail = detail.stored();
            self.commit(unit).await?;
        } else {
            unit.commit_tasks().await?;
        }
        self.tracker.made(&row);
        self.publisher.touch(&row.job_id);
        Ok(())
    }

    /// Queues a task again, or fails its job. Says whether it will be tried again.
    pub(crate) async fn fail_task(&self, request: FailTaskRequest) -> Result<bool, TranscodeError> {
        let (task, lease) = shown(request.lease.as_ref())?;
        let failure = request.failure.ok_or_else(|| TranscodeError::field("failure", "is required"))?;
        let (unit, mut row) = self.hold_leased(&task, lease).await?;
        let (_, rules) = held(&unit, &task).await?;
        let verdict = match (request.retryable, Reason::from_str_name(&failure.reason)) {
            (false, _) => Verdict::GiveUp,
            (true, Some(Reason::WorkerStopped)) => rules.hand_back(),
            (true, _) => rules.retry(self.config.max_failures),
        };

        match verdict {
            Verdict::GiveUp if row.kind == TaskKind::Package as i32 => {
                self.do_without(unit, row).await?;
                Ok(false)
            }
            Verdict::GiveUp => {
                let message = if request.retryable { GAVE_UP } else { &failure.message };
                self.fail_job(unit, &failure.reason, message).await?;
                Ok(false)
            }
            Verdict::Retry { failures, delay_ms } => {
                tracing::info!(job = row.job_id, reason = failure.reason, "a task is tried again");
                row.state = TaskState::Queued as i32;
                row.failures = failures;
                row.ready_at = self.clock.now_millis() + delay_ms;
                row.send_due = row.ready_at;
                row.sends = 0;
                unit.save_task(row).await?;
                unit.commit_tasks().await?;
                self.woken.notify_one();
                Ok(true)
            }
        }
    }

    /// Ends a PACKAGE task that came to nothing. The video plays without a file to download.
    pub(crate) async fn do_without(&self, mut unit: JobUnit, task: TaskRow) -> Result<(), TranscodeError> {
        tracing::warn!(job = task.job_id, rendition = task.rendition, "there is no file to download");
        let warning = Warning {
            reason: Reason::DownloadFailed.as_str_name().to_owned(),
            message: format!(
                "The {} rendition could not be joined into a single file, so there is none to download.",
                task.rendition
            ),
        };
        let mut detail = Detail::of(&unit.job)?;
        detail.warn(&[warning]);
        unit.job.detail = detail.stored();
        let done = TaskRow { state: TaskState::Succeeded as i32, ..task };
        unit.save_task(done.clone()).await?;
        self.commit(unit).await?;
        self.tracker.made(&done);
        self.publisher.touch(&done.job_id);
        Ok(())
    }

    pub(crate) fn lease_ms(&self) -> i64 {
        i64::try_from(self.config.lease.as_millis()).unwrap_or(i64::MAX)
    }
}

/// A held job's task; a task that is gone was taken away when its job started anew.
async fn held(unit: &JobUnit, task: &str) -> Result<(TaskRow, Task), TranscodeError> {
    unit.task(task).await.map_err(|error| match error {
        TranscodeError::TaskNotFound(_) => LeaseError::Lost.into(),
        other => other,
    })
}

fn check_warnings(warnings: &[Warning]) -> Result<(), TranscodeError> {
    let named = |warning: &Warning| {
        let word = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        (1..=64).contains(&warning.reason.len()) && warning.reason.bytes().all(word)
    };
    if warnings.len() > MAX_WARNINGS || !warnings.iter().all(named) {
        let message = format!("must be at most {MAX_WARNINGS}, each with a reason in UPPER_SNAKE_CASE");
        return Err(TranscodeError::field("warnings", message));
    }
    Ok(())
}
