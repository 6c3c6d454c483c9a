//! CompleteTask: records a task's last outputs and ends it.

use std::{collections::HashMap, sync::Arc};

use reelmill_platform::clock::Clock;
use reelmill_proto::transcode::{CompleteTaskRequest, Warning};

use super::{
    lease::{Leases, LockedTask, PresentedLease},
    recorded_outputs::recorded_outputs,
    work_unit_tasks::create_tasks,
};
use crate::{
    db::{JobTransaction, RecordedOutput, TaskRow},
    domain::{Completion, TaskKind, TaskRules, TaskState},
    error::TranscodeError,
    job_changes::JobChanges,
    plans::Plans,
    progress::ProgressTracker,
    publisher::PublicationSchedule,
    scheduler::Scheduler,
    warnings::not_yet_reported,
};

/// Most warnings of one task.
const MAX_WARNINGS: usize = 50;
/// Longest reason of a warning, bytes.
const MAX_REASON_LEN: usize = 64;

/// Completes tasks.
pub(crate) struct TaskCompleter {
    pub(crate) leases: Leases,
    pub(crate) plans: Arc<Plans>,
    pub(crate) changes: JobChanges,
    pub(crate) progress: Arc<ProgressTracker>,
    pub(crate) publications: Arc<PublicationSchedule>,
    pub(crate) clock: Clock,
    pub(crate) scheduler: Arc<Scheduler>,
}

impl TaskCompleter {
    /// Completes a task. The publisher finishes its job once all tasks are completed.
    pub(crate) async fn complete(&self, request: &CompleteTaskRequest) -> Result<(), TranscodeError> {
        let presented = PresentedLease::parse(request.lease.as_ref())?;
        check_warnings(&request.warnings)?;
        let (locked, completion) = self.leases.lock(&presented, TaskRules::may_complete).await?;
        // Also for a repetition: the first call may have been cut off between its commit and this.
        if completion == Completion::Now && self.complete_locked(locked, request).await? {
            self.publications.request_now(&presented.job);
        } else {
            self.publications.request(&presented.job);
        }
        Ok(())
    }

    /// Checks that the segments that a worker has encoded are recorded.
    async fn check_segments(
        &self,
        transaction: &JobTransaction,
        task: &TaskRow,
        encoded: &HashMap<String, i32>,
    ) -> Result<(), TranscodeError> {
        if encoded.is_empty() {
            return Ok(());
        }
        let plan = self.plans.require_in(transaction).await?;
        let recorded = transaction.segments_of_task(task.task_index).await?;
        let sequences = recorded.into_iter().filter_map(RecordedOutput::into_segment);
        let recorded = plan.allowed_outputs(task).recorded_counts(sequences);
        match incomplete_rendition(encoded, &recorded) {
            Some(rendition) => Err(TranscodeError::SegmentsMissing(rendition.to_owned())),
            None => Ok(()),
        }
    }

    /// Returns whether the job has no unfinished task left, so that the publisher takes its next step.
    async fn complete_locked(
        &self,
        locked: LockedTask,
        request: &CompleteTaskRequest,
    ) -> Result<bool, TranscodeError> {
        if locked.task.kind == TaskKind::Prepare {
            return Err(TranscodeError::field("lease", "is the lease of a task that was not planned"));
        }
        let outputs = recorded_outputs(&self.plans, &locked, &request.outputs).await?;
        let LockedTask { mut transaction, task } = locked;
        transaction.stop_waiting();
        transaction.record_outputs(task.task_index, outputs).await?;
        self.check_segments(&transaction, &task, &request.segments).await?;
        let task = TaskRow { state: TaskState::Succeeded, ..task };
        transaction.save_task(task.clone()).await?;
        if task.kind == TaskKind::Encode {
            let plan = self.plans.require_in(&transaction).await?;
            create_tasks(&mut transaction, &plan.plan, &task.required_build).await?;
            transaction.fold_tasks().await?;
        }
        let counts = transaction.task_counts().await?;
        transaction.request_publication(self.clock.now_millis()).await?;
        if transaction.add_warnings(&request.warnings, not_yet_reported).await? {
            self.changes.commit(transaction).await?;
        } else {
            self.changes.commit_tasks(transaction).await?;
        }
        self.progress.task_completed(&task);
        // A waiting task may take its place within its owner's limit.
        self.scheduler.request(&task.owner);
        Ok(counts.encoding + counts.packaging == 0)
    }
}

/// The first rendition that lacks segments, by what was encoded and what is recorded.
fn incomplete_rendition<'a>(
    encoded: &'a HashMap<String, i32>,
    recorded: &HashMap<String, i32>,
) -> Option<&'a str> {
    let is_incomplete =
        |(rendition, count): &(&String, &i32)| recorded.get(*rendition).copied().unwrap_or(0) < **count;
    encoded.iter().filter(is_incomplete).map(|(rendition, _)| rendition.as_str()).min()
}

fn check_warnings(warnings: &[Warning]) -> Result<(), TranscodeError> {
    // A worker may be newer than this service: its reasons need not be known here.
    let has_valid_reason = |warning: &Warning| {
        let is_allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        (1..=MAX_REASON_LEN).contains(&warning.reason.len()) && warning.reason.bytes().all(is_allowed)
    };
    if warnings.len() > MAX_WARNINGS || !warnings.iter().all(has_valid_reason) {
        let message = format!("must be at most {MAX_WARNINGS}, each with a reason in UPPER_SNAKE_CASE");
        return Err(TranscodeError::field("warnings", message));
    }
    Ok(())
}
