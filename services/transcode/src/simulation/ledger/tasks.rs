//! The calls of a lease that lock its job: PlanJob, RecordOutputs, CompleteTask, FailTask, and the release of an expired
//! lease, as in [`crate::tasks`].

use super::{Build, Change, Ledger, Task, TaskId, change::GiveUpCause};
use crate::{
    domain::{
        Completion, FailureCounts, JobEvent, Lease, LeaseLost, RetryDecision, RetryPlacement, TaskKind,
        TaskRules, TaskState,
    },
    simulation::{event_queue::Millis, guards::Guard},
};

/// Succeeded tasks that are removed together, as in `db/recorded_outputs.rs`.
const FOLDED_TASKS: usize = 64;

/// The lease that a call presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulation) struct Presented {
    pub(in crate::simulation) task: TaskId,
    pub(in crate::simulation) token: i64,
}

/// What a worker needs to know of the task that it encodes.
#[derive(Debug, Clone, Copy)]
pub(in crate::simulation) struct EncodeGrant {
    pub(in crate::simulation) segments: u32,
    /// Segments that are recorded.
    pub(in crate::simulation) recorded: u32,
}

/// Why a task was not completed.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::simulation) enum CompleteError {
    LeaseLost,
    SegmentsMissing,
}

impl Ledger {
    /// Asks the rule of a call about the presented lease.
    fn check<T>(
        &self,
        presented: Presented,
        rule: impl FnOnce(&TaskRules, Lease) -> Result<T, LeaseLost>,
    ) -> Result<(&Task, T), LeaseLost> {
        let task = self.task(presented.task).ok_or(LeaseLost)?;
        let token = if self.guards.has(Guard::Fencing) { presented.token } else { task.fencing_token };
        let decision = rule(&task.rules(), Lease { fencing_token: token })?;
        Ok((task, decision))
    }

    /// The work of a task for its worker.
    pub(in crate::simulation) fn encode_grant(&self, id: TaskId) -> Option<EncodeGrant> {
        let (job, task) = (self.job(id.job)?, self.task(id)?);
        let recorded = u32::try_from(task.segments.len()).unwrap_or(u32::MAX);
        let recorded = if self.guards.has(Guard::Resume) { recorded } else { 0 };
        Some(EncodeGrant { segments: job.spec.work_unit(id.index).segments, recorded })
    }

    /// Plans the job of a PREPARE task, which becomes its first ENCODE task. A repeated call changes nothing.
    pub(in crate::simulation) fn plan(&mut self, presented: Presented) -> Result<(), LeaseLost> {
        let (task, ()) = self.check(presented, TaskRules::check)?;
        if task.kind != TaskKind::Prepare {
            return Ok(());
        }
        let (id, build) = (task.id, task.encoder_build);
        self.update(id, |task| {
            task.kind = TaskKind::Encode;
            task.required_build = build;
        });
        if let Some(job) = self.job_mut(id.job) {
            job.is_planned = true;
            job.created_work_units = 1;
        }
        self.create_tasks(id.job, build);
        self.advance(id.job, JobEvent::TaskStarted);
        self.changes.push(Change::Planned { task: id, token: presented.token });
        Ok(())
    }

    /// Records the segments of a task from `first` on, before `end`. Those that are recorded already stay unchanged.
    pub(in crate::simulation) fn record(
        &mut self,
        presented: Presented,
        first: u32,
        end: u32,
        now: Millis,
    ) -> Result<(), LeaseLost> {
        let (task, ()) = self.check(presented, TaskRules::check)?;
        let id = task.id;
        let known = u32::try_from(task.segments.len()).unwrap_or(u32::MAX);
        let has_failures = task.failures.attempts > 0;
        // Workers record in order and without gaps.
        let new = if first <= known { known.max(first)..end.max(known) } else { known..known };
        let is_new = !new.is_empty();
        for segment in new.clone() {
            self.changes.push(Change::Recorded { task: id, token: presented.token, segment });
        }
        if is_new {
            let added = new.len();
            self.update(id, |task| {
                task.segments.extend(std::iter::repeat_n(presented.token, added));
                if has_failures {
                    // Attempts that make progress are not futile.
                    task.failures.attempts = 0;
                }
            });
            if let Some(job) = self.job_mut(id.job) {
                job.recorded_segments += u32::try_from(added).unwrap_or(0);
            }
        }
        self.request_publication(id.job, now);
        Ok(())
    }

    /// Completes a task of which `encoded` segments were encoded; returns whether the job has no unfinished task left.
    pub(in crate::simulation) fn complete(
        &mut self,
        presented: Presented,
        encoded: u32,
        now: Millis,
    ) -> Result<bool, CompleteError> {
        let lost = |LeaseLost| CompleteError::LeaseLost;
        let (task, completion) = self.check(presented, TaskRules::may_complete).map_err(lost)?;
        if completion == Completion::Repeated {
            return Ok(false);
        }
        if u32::try_from(task.segments.len()).unwrap_or(0) < encoded {
            return Err(CompleteError::SegmentsMissing);
        }
        let (id, kind, build) = (task.id, task.kind, task.required_build);
        self.update(id, |task| task.state = TaskState::Succeeded);
        self.changes.push(Change::Completed { task: id, kind, token: presented.token });
        if kind == TaskKind::Encode {
            self.create_tasks(id.job, build);
            self.fold_tasks(id.job);
        }
        self.request_publication(id.job, now);
        let counts = self.job(id.job).map(super::Job::counts);
        Ok(counts.is_some_and(|counts| counts.encoding + counts.packaging == 0))
    }

    /// Removes the succeeded ENCODE tasks once there are enough of them.
    fn fold_tasks(&mut self, number: u32) {
        let Some(job) = self.job(number) else { return };
        let is_succeeded = |task: &&Task| task.kind == TaskKind::Encode && task.state == TaskState::Succeeded;
        let succeeded: Vec<TaskId> = job.tasks.values().filter(is_succeeded).map(|task| task.id).collect();
        if succeeded.len() < FOLDED_TASKS {
            return;
        }
        for id in succeeded {
            self.remove_task(id);
        }
    }

    /// The rules of a task whose lease is valid.
    pub(in crate::simulation) fn checked_rules(
        &self,
        presented: Presented,
    ) -> Result<(TaskRules, TaskKind), LeaseLost> {
        let (task, ()) = self.check(presented, TaskRules::check)?;
        Ok((task.rules(), task.kind))
    }

    /// Applies the decision about a failed or lost attempt, as `TaskFailer::apply`; returns the queued task to
    /// announce.
    pub(in crate::simulation) fn apply(
        &mut self,
        presented: Presented,
        decision: &RetryDecision,
        cause: GiveUpCause,
        has_expired: bool,
        now: Millis,
    ) -> Option<(crate::domain::TaskClass, Build)> {
        let id = presented.task;
        let kind = self.task(id)?.kind;
        self.changes.push(Change::Released { task: id, token: presented.token, has_expired });
        match *decision {
            RetryDecision::Retry { failures, delay_ms, excludes_worker } => {
                self.retry(id, failures, RetryPlacement::of(delay_ms, excludes_worker, now))
            }
            RetryDecision::GiveUp if kind == TaskKind::Package => {
                // The rendition has no download.
                self.update(id, |task| task.state = TaskState::Succeeded);
                self.request_publication(id.job, now);
                None
            }
            RetryDecision::GiveUp => {
                self.fail_job(id, cause);
                None
            }
        }
    }

    fn retry(
        &mut self,
        id: TaskId,
        failures: FailureCounts,
        placement: RetryPlacement,
    ) -> Option<(crate::domain::TaskClass, Build)> {
        let RetryPlacement { state, ready_time, excluded_until } = placement;
        let queued = self.update(id, |task| {
            task.state = state;
            task.ready_time = ready_time;
            task.excluded_worker = if excluded_until > 0 { task.worker } else { 0 };
            task.excluded_until = excluded_until;
            task.failures = failures;
            (task.class, task.required_build)
        });
        queued.filter(|_| state == TaskState::Queued)
    }
}
