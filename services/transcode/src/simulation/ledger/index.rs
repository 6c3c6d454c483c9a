//! Indices of the tasks, by which the ledger finds in a few steps what the SQL finds by an index or an aggregate.

use std::collections::BTreeSet;

use super::{Build, Task, TaskId};
use crate::{
    domain::{TaskClass, TaskKind, TaskState},
    simulation::event_queue::Millis,
};

/// Encoder builds of a simulation, and the one that stands for any.
const BUILDS: usize = 4;
/// Classes of tasks.
const CLASSES: usize = TaskClass::ALL.len();

/// `virtual_start, job_priority, id`.
pub(super) type StartKey = (i64, i32, TaskId);
/// `job_priority, stage, job_id, job_position, id`.
pub(super) type WaitingKey = (i32, i32, u32, i32, TaskId);

/// What an owner has, by class.
#[derive(Default, Clone)]
pub(super) struct OwnerIndex {
    pub(super) waiting: [BTreeSet<WaitingKey>; CLASSES],
    pub(super) held: [BTreeSet<WaitingKey>; CLASSES],
    pub(super) queued: [BTreeSet<TaskId>; CLASSES],
    /// Running and queued tasks of both classes.
    pub(super) active: i64,
    /// PREPARE tasks among them.
    pub(super) active_prepares: BTreeSet<TaskId>,
    pub(super) running_jobs: i64,
    pub(super) virtual_finish: [i64; CLASSES],
}

/// The indices of all tasks.
pub(super) struct Indices {
    queued: [[BTreeSet<StartKey>; BUILDS]; CLASSES],
    running: [BTreeSet<(i64, TaskId)>; CLASSES],
    /// Of running tasks.
    expiries: BTreeSet<(Millis, TaskId)>,
    /// Ends of retry delays.
    delays: BTreeSet<(Millis, TaskId)>,
    pub(super) owners: Vec<OwnerIndex>,
}

/// Position of a class in arrays.
pub(super) fn class_index(class: TaskClass) -> usize {
    match class {
        TaskClass::Express => 0,
        TaskClass::Bulk => 1,
    }
}

fn start_key(task: &Task) -> StartKey {
    (task.virtual_start, task.priority as i32, task.id)
}

fn waiting_key(task: &Task) -> WaitingKey {
    (task.priority as i32, task.stage, task.id.job, task.position, task.id)
}

/// Inserts a key, or removes it.
fn set<K: Ord>(keys: &mut BTreeSet<K>, key: K, is_present: bool) {
    if is_present {
        keys.insert(key);
    } else {
        keys.remove(&key);
    }
}

impl Indices {
    pub(super) fn new(owners: u32) -> Self {
        let owners = usize::try_from(owners).unwrap_or(0);
        Self {
            queued: Default::default(),
            running: Default::default(),
            expiries: BTreeSet::new(),
            delays: BTreeSet::new(),
            owners: vec![OwnerIndex::default(); owners],
        }
    }

    pub(super) fn insert(&mut self, task: &Task) {
        self.set(task, true);
    }

    pub(super) fn remove(&mut self, task: &Task) {
        self.set(task, false);
    }

    fn set(&mut self, task: &Task, is_present: bool) {
        let class = class_index(task.class);
        let Some(owner) = usize::try_from(task.owner).ok().and_then(|owner| self.owners.get_mut(owner))
        else {
            return;
        };
        if matches!(task.state, TaskState::Queued | TaskState::Running) {
            owner.active += if is_present { 1 } else { -1 };
            if task.kind == TaskKind::Prepare {
                set(&mut owner.active_prepares, task.id, is_present);
            }
        }
        match task.state {
            TaskState::Waiting if task.ready_time > 0 => {
                set(&mut self.delays, (task.ready_time, task.id), is_present);
            }
            TaskState::Waiting => set(&mut owner.waiting[class], waiting_key(task), is_present),
            TaskState::Held => set(&mut owner.held[class], waiting_key(task), is_present),
            TaskState::Queued => {
                set(&mut owner.queued[class], task.id, is_present);
                let build = usize::from(task.required_build);
                set(&mut self.queued[class][build], start_key(task), is_present);
            }
            TaskState::Running => {
                set(&mut self.running[class], (task.virtual_start, task.id), is_present);
                set(&mut self.expiries, (task.lease_expire_time, task.id), is_present);
            }
            TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled => {}
        }
    }

    /// The queued tasks of a class that require a build, in the order in which they are leased.
    pub(super) fn queued(&self, class: TaskClass, build: Build) -> impl Iterator<Item = &StartKey> {
        self.queued[class_index(class)][usize::from(build)].iter()
    }

    /// Greatest virtual start time of the running tasks of a class.
    pub(super) fn last_running(&self, class: TaskClass) -> Option<i64> {
        self.running[class_index(class)].last().map(|(start, _)| *start)
    }

    /// Least virtual start time of the queued tasks of a class.
    pub(super) fn first_queued(&self, class: TaskClass) -> Option<i64> {
        self.queued[class_index(class)].iter().filter_map(BTreeSet::first).map(|(start, ..)| *start).min()
    }

    /// Greatest virtual finish time of the owners.
    pub(super) fn last_finish(&self, class: TaskClass) -> Option<i64> {
        self.owners.iter().map(|owner| owner.virtual_finish[class_index(class)]).max()
    }

    /// Number of queued tasks, up to a limit; with the builds that they require.
    pub(super) fn queued_builds(&self, limit: usize) -> Vec<Build> {
        let builds = self.queued.iter().flat_map(|builds| (0..).zip(builds));
        builds.flat_map(|(build, tasks)| std::iter::repeat_n(build, tasks.len())).take(limit).collect()
    }

    /// Running tasks whose lease has expired, by id.
    pub(super) fn expired(&self, now: Millis) -> Vec<TaskId> {
        let expired = self.expiries.iter().take_while(|(time, _)| *time <= now);
        let mut ids: Vec<TaskId> = expired.map(|(_, id)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Tasks whose retry delay is over.
    pub(super) fn ended_delays(&self, now: Millis) -> Vec<TaskId> {
        self.delays.iter().take_while(|(time, _)| *time <= now).map(|(_, id)| *id).collect()
    }

    /// When the next retry delay ends or the next lease expires.
    pub(super) fn next_time(&self) -> Option<Millis> {
        let first = |times: &BTreeSet<(Millis, TaskId)>| times.first().map(|(time, _)| *time);
        first(&self.expiries).into_iter().chain(first(&self.delays)).min()
    }
}
