//! Jobs: creation, start, priority, cancellation, failure; and the rows of their tasks.

use super::{Change, Job, Ledger, Task, TaskId, change::GiveUpCause};
use crate::{
    domain::{
        FailureCounts, JobEvent, JobPriority, JobState, TaskClass, TaskKind, TaskState, cost_of_kind,
        work_units_to_create,
    },
    simulation::{event_queue::Millis, job_spec::JobSpec},
};

/// Number of a generation's tasks by stage, as in `db/tasks.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulation) struct TaskCounts {
    pub(in crate::simulation) encoding: u32,
    pub(in crate::simulation) packaging: u32,
    pub(in crate::simulation) packages: u32,
}

impl Job {
    /// A task of the current generation that waits and was never leased.
    fn new_task(&self, number: u32, kind: TaskKind, index: u32) -> Task {
        Task {
            id: TaskId::new(number, self.generation, index),
            kind,
            state: TaskState::Waiting,
            owner: self.spec.owner,
            class: TaskClass::Bulk,
            priority: self.spec.priority,
            stage: 0,
            position: 0,
            cost: cost_of_kind(kind),
            virtual_start: 0,
            required_build: 0,
            encoder_build: 0,
            worker: 0,
            nonce: 0,
            fencing_token: 0,
            lease_expire_time: 0,
            failures: FailureCounts::default(),
            excluded_worker: 0,
            excluded_until: 0,
            ready_time: 0,
            segments: Vec::new(),
        }
    }

    /// The PREPARE task of a queued job.
    fn first_task(&self, number: u32) -> Task {
        Task {
            state: TaskState::Held,
            class: TaskClass::Express,
            ..self.new_task(number, TaskKind::Prepare, 0)
        }
    }

    pub(super) fn counts(&self) -> TaskCounts {
        let uncreated = if self.is_planned { self.spec.work_units - self.created_work_units } else { 0 };
        let mut counts = TaskCounts { encoding: uncreated, packaging: 0, packages: 0 };
        for task in self.tasks.values() {
            let open = u32::from(task.state != TaskState::Succeeded);
            if task.kind == TaskKind::Package {
                counts.packages += 1;
                counts.packaging += open;
            } else {
                counts.encoding += open;
            }
        }
        counts
    }
}

impl Ledger {
    /// Inserts a job with its PREPARE task; returns its number.
    pub(in crate::simulation) fn create_job(&mut self, spec: JobSpec) -> u32 {
        let number = u32::try_from(self.jobs.len()).unwrap_or(u32::MAX);
        let owner = spec.owner;
        let job = Job {
            spec,
            state: JobState::Queued,
            generation: 0,
            is_planned: false,
            created_work_units: 0,
            unpublished_since: None,
            publisher: 0,
            publisher_expire_time: 0,
            tasks: std::collections::BTreeMap::new(),
            recorded_segments: 0,
        };
        let first = job.first_task(number);
        self.jobs.push(job);
        self.insert_task(first);
        self.open_jobs += 1;
        self.changes.push(Change::JobCreated { job: number, owner });
        number
    }

    /// Applies an event to a job; returns whether its state changed.
    pub(in crate::simulation) fn advance(&mut self, number: u32, event: JobEvent) -> bool {
        let Some(job) = self.job_mut(number) else { return false };
        let Some(next) = job.state.on(event) else { return false };
        let (before, owner) = (job.state, job.spec.owner);
        job.state = next;
        let index = self.owner_index_mut(owner);
        index.running_jobs += i64::from(next == JobState::Running) - i64::from(before == JobState::Running);
        if next.has_ended() {
            self.set_unpublished(number, None);
            self.open_jobs -= 1;
            self.changes.push(Change::JobEnded { job: number, state: next });
        }
        true
    }

    /// Notes that the playlists are to be written.
    pub(super) fn request_publication(&mut self, number: u32, now: Millis) {
        let before = self.job(number).and_then(|job| job.unpublished_since);
        self.set_unpublished(number, Some(before.map_or(now, |before| now.max(before + 1))));
    }

    pub(super) fn set_unpublished(&mut self, number: u32, since: Option<Millis>) {
        let Some(job) = self.job_mut(number) else { return };
        let before = std::mem::replace(&mut job.unpublished_since, since);
        if let Some(before) = before {
            self.unpublished.remove(&(before, number));
        }
        if let Some(since) = since {
            self.unpublished.insert((since, number));
        }
    }

    /// Inserts the tasks of the next work units if few are left.
    pub(super) fn create_tasks(&mut self, number: u32, required_build: super::Build) {
        let Some(job) = self.job(number) else { return };
        let signed = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        if job.created_work_units >= job.spec.work_units {
            return;
        }
        let is_unfinished =
            |task: &&Task| task.kind == TaskKind::Encode && TaskState::OPEN.contains(&task.state);
        let unfinished = u32::try_from(job.tasks.values().filter(is_unfinished).count()).unwrap_or(u32::MAX);
        let new = work_units_to_create(
            signed(job.created_work_units),
            signed(job.spec.work_units),
            signed(unfinished),
        );
        let mut tasks = Vec::new();
        for index in new.clone().filter_map(|index| u32::try_from(index).ok()) {
            let unit = job.spec.work_unit(index);
            tasks.push(Task {
                class: unit.class,
                stage: unit.stage,
                position: unit.position,
                cost: job.spec.cost(&unit),
                required_build,
                ..job.new_task(number, TaskKind::Encode, index)
            });
        }
        if let Some(job) = self.job_mut(number) {
            job.created_work_units = u32::try_from(new.end).unwrap_or(job.created_work_units);
        }
        for task in tasks {
            self.insert_task(task);
        }
    }

    /// Creates the PACKAGE tasks of a job.
    pub(super) fn create_package_tasks(&mut self, number: u32) {
        let Some(job) = self.job(number) else { return };
        let first = job.spec.work_units;
        let tasks: Vec<Task> = (first..first + job.spec.packages)
            .map(|index| job.new_task(number, TaskKind::Package, index))
            .collect();
        for task in tasks {
            self.insert_task(task);
        }
    }

    /// Sets the priority of a job and of its tasks; returns whether it has not ended.
    pub(in crate::simulation) fn set_priority(&mut self, number: u32, priority: JobPriority) -> bool {
        let Some(job) = self.job_mut(number).filter(|job| !job.state.has_ended()) else { return false };
        job.spec.priority = priority;
        for id in self.open_tasks(number) {
            self.update(id, |task| task.priority = priority);
        }
        true
    }

    /// Cancels a job; returns whether it had not ended.
    pub(in crate::simulation) fn cancel(&mut self, number: u32) -> bool {
        self.advance(number, JobEvent::CancelRequested) && {
            self.end_tasks(number, TaskState::Cancelled);
            true
        }
    }

    /// Queues a failed or cancelled job as a new generation; returns whether its state allows it.
    pub(in crate::simulation) fn retry_job(&mut self, number: u32) -> bool {
        if !self.advance(number, JobEvent::RetryRequested) {
            return false;
        }
        let tasks: Vec<TaskId> =
            self.job(number).into_iter().flat_map(|job| job.tasks.values()).map(|task| task.id).collect();
        for id in tasks {
            self.remove_task(id);
        }
        let Some(job) = self.job_mut(number) else { return false };
        job.generation += 1;
        job.is_planned = false;
        job.created_work_units = 0;
        job.recorded_segments = 0;
        let first = job.first_task(number);
        let owner = job.spec.owner;
        self.insert_task(first);
        self.open_jobs += 1;
        self.changes.push(Change::JobCreated { job: number, owner });
        true
    }

    /// Fails a job with all its tasks.
    pub(in crate::simulation) fn fail_job(&mut self, task: TaskId, cause: GiveUpCause) {
        self.changes.push(Change::GaveUp { task, cause });
        if self.advance(task.job, JobEvent::Failed) {
            self.end_tasks(task.job, TaskState::Failed);
        }
    }

    fn end_tasks(&mut self, number: u32, state: TaskState) {
        for id in self.open_tasks(number) {
            self.update(id, |task| task.state = state);
        }
        self.changes.push(Change::TasksEnded { job: number });
    }

    fn open_tasks(&self, number: u32) -> Vec<TaskId> {
        let tasks = self.job(number).into_iter().flat_map(|job| job.tasks.values());
        tasks.filter(|task| TaskState::OPEN.contains(&task.state)).map(|task| task.id).collect()
    }
}
