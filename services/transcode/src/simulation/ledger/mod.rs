//! The ledger: the database of the simulation. Every method is one transaction, by the same rules as the SQL of
//! [`crate::db`], which `sql_tests` compares.

mod change;
mod dispatch;
mod index;
mod jobs;
mod publication;
#[cfg(test)]
mod sql_tests;
mod tasks;

use std::collections::{BTreeMap, HashMap};

use self::index::Indices;
pub(super) use self::{
    change::{Change, GiveUpCause},
    dispatch::{LeaseRequest, NonceUsed},
    publication::PublicationRead,
    tasks::{CompleteError, EncodeGrant, Presented},
};
use super::{event_queue::Millis, events::SlotAddress, guards::Guards, job_spec::JobSpec};
use crate::domain::{FailureCounts, JobPriority, JobState, TaskClass, TaskKind, TaskRules, TaskState};

/// Encoder build; 0 stands for any.
pub(super) type Build = u16;
/// Name of a worker process; 0 stands for none.
pub(super) type WorkerName = u64;

/// The name of a worker process.
pub(super) fn worker_name(slot: SlotAddress) -> WorkerName {
    (u64::try_from(slot.worker).unwrap_or(0) << 32) + u64::from(slot.process) + 1
}

/// Id of a task. Ordered as the ids of [`crate::domain::new_task_id`], if job ids have the order of the job numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TaskId {
    pub(super) job: u32,
    /// The text after the job's id, as a number of the same order.
    text: u64,
    pub(super) generation: u32,
    pub(super) index: u32,
}

impl TaskId {
    pub(super) fn new(job: u32, generation: u32, index: u32) -> Self {
        let mut bytes = [0; 8];
        for (byte, character) in bytes.iter_mut().zip(format!("{generation}t{index}").bytes()) {
            *byte = character;
        }
        Self { job, text: u64::from_be_bytes(bytes), generation, index }
    }
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "j{}g{}t{}", self.job, self.generation, self.index)
    }
}

/// A task: the columns of `tasks`, and its recorded segments.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) id: TaskId,
    pub(super) kind: TaskKind,
    pub(super) state: TaskState,
    pub(super) owner: u32,
    pub(super) class: TaskClass,
    pub(super) priority: JobPriority,
    pub(super) stage: i32,
    pub(super) position: i32,
    pub(super) cost: i64,
    pub(super) virtual_start: i64,
    pub(super) required_build: Build,
    pub(super) encoder_build: Build,
    pub(super) worker: WorkerName,
    pub(super) nonce: u64,
    pub(super) fencing_token: i64,
    pub(super) lease_expire_time: Millis,
    pub(super) failures: FailureCounts,
    pub(super) excluded_worker: WorkerName,
    pub(super) excluded_until: Millis,
    pub(super) ready_time: Millis,
    /// Fencing token of the attempt that recorded each segment.
    pub(super) segments: Vec<i64>,
}

impl Task {
    /// The properties that the rules depend on.
    pub(super) fn rules(&self) -> TaskRules {
        TaskRules {
            state: self.state,
            fencing_token: self.fencing_token,
            lease_expire_time: self.lease_expire_time,
            failures: self.failures,
        }
    }
}

/// A job: the columns of `jobs`, and its tasks.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) spec: JobSpec,
    pub(super) state: JobState,
    pub(super) generation: u32,
    pub(super) is_planned: bool,
    created_work_units: u32,
    unpublished_since: Option<Millis>,
    publisher: u64,
    publisher_expire_time: Millis,
    /// By index.
    tasks: BTreeMap<u32, Task>,
    /// Of all tasks, also of those that were removed: what the playlists list.
    recorded_segments: u32,
}

/// The database.
pub(super) struct Ledger {
    guards: Guards,
    jobs: Vec<Job>,
    indices: Indices,
    nonces: HashMap<u64, TaskId>,
    backlog_sweep_time: Millis,
    unpublished: std::collections::BTreeSet<(Millis, u32)>,
    open_jobs: usize,
    changes: Vec<Change>,
}

impl Ledger {
    /// An empty database of this many owners.
    pub(super) fn new(guards: Guards, owners: u32) -> Self {
        Self {
            guards,
            jobs: Vec::new(),
            indices: Indices::new(owners),
            nonces: HashMap::new(),
            backlog_sweep_time: 0,
            unpublished: std::collections::BTreeSet::new(),
            open_jobs: 0,
            changes: Vec::new(),
        }
    }

    /// What was committed since the last call.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Jobs that have not ended.
    pub(super) fn open_jobs(&self) -> usize {
        self.open_jobs
    }

    pub(super) fn job(&self, job: u32) -> Option<&Job> {
        self.jobs.get(usize::try_from(job).ok()?)
    }

    fn job_mut(&mut self, job: u32) -> Option<&mut Job> {
        self.jobs.get_mut(usize::try_from(job).ok()?)
    }

    /// A task, if it was not removed.
    pub(super) fn task(&self, id: TaskId) -> Option<&Task> {
        self.job(id.job)?.tasks.get(&id.index).filter(|task| task.id == id)
    }

    /// Changes a task and its place in the indices.
    fn update<T>(&mut self, id: TaskId, change: impl FnOnce(&mut Task) -> T) -> Option<T> {
        let job = self.jobs.get_mut(usize::try_from(id.job).ok()?)?;
        let task = job.tasks.get_mut(&id.index).filter(|task| task.id == id)?;
        self.indices.remove(task);
        let changed = change(task);
        self.indices.insert(task);
        Some(changed)
    }

    fn insert_task(&mut self, task: Task) {
        let Some(job) = self.job_mut(task.id.job) else { return };
        job.tasks.insert(task.id.index, task.clone());
        self.indices.insert(&task);
    }

    fn remove_task(&mut self, id: TaskId) {
        let Some(job) = self.job_mut(id.job) else { return };
        let Some(task) = job.tasks.remove(&id.index) else { return };
        self.indices.remove(&task);
        self.nonces.remove(&task.nonce);
    }
}
