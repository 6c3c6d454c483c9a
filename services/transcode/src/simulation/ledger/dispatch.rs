//! Queueing, leasing and renewing: what `db/dispatch.rs` and `db/dispatch_sql.rs` do.

use super::{
    Build, Change, Ledger, Task, TaskId, WorkerName,
    index::{WaitingKey, class_index},
};
use crate::{
    domain::{JobState, OwnerLimits, OwnerTasks, TaskClass, TaskKind, TaskState, VirtualTime},
    simulation::{event_queue::Millis, guards::Guard},
};

/// A worker's request for a task.
#[derive(Debug, Clone, Copy)]
pub(in crate::simulation) struct LeaseRequest {
    pub(in crate::simulation) class: TaskClass,
    pub(in crate::simulation) worker: WorkerName,
    pub(in crate::simulation) encoder_build: Build,
    pub(in crate::simulation) nonce: u64,
    pub(in crate::simulation) lease_ttl_ms: Millis,
}

/// A task was leased by this nonce before: the unique index on nonces.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::simulation) struct NonceUsed;

/// A queued task: its class and the build that it requires.
pub(in crate::simulation) type QueuedTask = (TaskClass, Build);

impl Ledger {
    /// Leases the queued task of a class that is next and that the worker can run.
    pub(in crate::simulation) fn lease(
        &mut self,
        request: &LeaseRequest,
        now: Millis,
    ) -> Result<Option<TaskId>, NonceUsed> {
        let Some(id) = self.next_startable(request, now) else { return Ok(None) };
        if self.guards.has(Guard::Nonce) && self.nonces.contains_key(&request.nonce) {
            return Err(NonceUsed);
        }
        Ok(self.start(id, request, now).then_some(id))
    }

    /// The queued task of a class that is next and that the worker can run.
    pub(in crate::simulation) fn next_startable(
        &self,
        request: &LeaseRequest,
        now: Millis,
    ) -> Option<TaskId> {
        let is_startable = |id: TaskId| {
            self.task(id)
                .is_some_and(|task| task.excluded_worker != request.worker || task.excluded_until <= now)
        };
        let first = |build: Build| {
            self.indices.queued(request.class, build).find(|(.., id)| is_startable(*id)).copied()
        };
        first(0).into_iter().chain(first(request.encoder_build)).min().map(|(.., id)| id)
    }

    /// Leases a task if it is queued; returns whether it was.
    pub(in crate::simulation) fn start(&mut self, id: TaskId, request: &LeaseRequest, now: Millis) -> bool {
        let checks_claim = self.guards.has(Guard::Claims);
        let Some(task) = self.task(id) else { return false };
        if checks_claim && task.state != TaskState::Queued || task.state == TaskState::Succeeded {
            return false;
        }
        let old_nonce = task.nonce;
        let expire_time = now + request.lease_ttl_ms;
        let leased = self.update(id, |task| {
            task.state = TaskState::Running;
            task.fencing_token += 1;
            task.lease_expire_time = expire_time;
            task.worker = request.worker;
            task.encoder_build = request.encoder_build;
            task.nonce = request.nonce;
            task.clone()
        });
        let Some(task) = leased else { return false };
        self.nonces.remove(&old_nonce);
        self.nonces.insert(request.nonce, id);
        self.changes.push(Change::Leased {
            task: id,
            class: task.class,
            owner: task.owner,
            cost: task.cost,
            token: task.fencing_token,
            nonce: request.nonce,
            worker: request.worker,
            expire_time,
        });
        true
    }

    /// The task that the StartTask call with this nonce leased.
    pub(in crate::simulation) fn task_of_nonce(&self, nonce: u64) -> Option<&Task> {
        self.task(*self.nonces.get(&nonce)?)
    }

    /// Whether a running task has this token, or fencing is taken out.
    fn has_lease(&self, id: TaskId, token: i64) -> bool {
        self.task(id).is_some_and(|task| {
            let is_current = task.fencing_token == token || !self.guards.has(Guard::Fencing);
            task.state == TaskState::Running && is_current
        })
    }

    /// Renews a lease; returns its expiry, none if it was lost.
    pub(in crate::simulation) fn renew(
        &mut self,
        id: TaskId,
        token: i64,
        ttl_ms: Millis,
        now: Millis,
    ) -> Option<Millis> {
        if !self.has_lease(id, token) {
            return None;
        }
        let expire_time = now + ttl_ms;
        self.update(id, |task| task.lease_expire_time = expire_time)?;
        self.changes.push(Change::Renewed { task: id, token, expire_time });
        Some(expire_time)
    }

    /// Shortens a lease to `ttl_ms` from now, unless it was renewed since it expired at `known`; returns whether it was
    /// shortened.
    pub(in crate::simulation) fn shorten(
        &mut self,
        id: TaskId,
        token: i64,
        known: Millis,
        ttl_ms: Millis,
        now: Millis,
    ) -> bool {
        let is_known = self.task(id).is_some_and(|task| task.lease_expire_time == known);
        if !is_known || !self.has_lease(id, token) || now + ttl_ms >= known {
            return false;
        }
        self.update(id, |task| task.lease_expire_time = now + ttl_ms).is_some()
    }

    /// Ends the retry delays that are over; returns the owners of the tasks.
    pub(in crate::simulation) fn end_retry_delays(&mut self, now: Millis) -> Vec<u32> {
        let mut owners = Vec::new();
        for id in self.indices.ended_delays(now) {
            let owner = self.update(id, |task| {
                task.ready_time = 0;
                task.owner
            });
            owners.extend(owner);
        }
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// Owners with tasks that wait to be queued.
    pub(in crate::simulation) fn waiting_owners(&self) -> Vec<u32> {
        let has_waiting = |owner: &super::index::OwnerIndex| {
            owner.waiting.iter().chain(&owner.held).any(|tasks| !tasks.is_empty())
        };
        let owners = (0..).zip(&self.indices.owners).filter(|(_, index)| has_waiting(index));
        owners.map(|(owner, _)| owner).collect()
    }

    /// Queues waiting tasks of an owner, as many as `limits` allow.
    pub(in crate::simulation) fn queue_tasks(&mut self, owner: u32, limits: OwnerLimits) -> Vec<QueuedTask> {
        let mut all_queued = Vec::new();
        for class in self.classes_to_queue(owner, limits) {
            let tasks = self.owner_tasks(owner, class);
            let index = self.owner_index(owner);
            let finish = index.virtual_finish[class_index(class)];
            let first_start = self.virtual_time(class).next_start(finish);
            let count = limits.tasks_to_queue(tasks);
            let is_fair = self.guards.has(Guard::FairOrder);
            let (mut next_start, mut queued) = (first_start, 0);
            for state in [TaskState::Waiting, TaskState::Held] {
                let left = count - queued;
                let count = match state {
                    TaskState::Held => limits.jobs_to_start(tasks, left),
                    _ => left,
                };
                for id in self.first_waiting(owner, class, state, count) {
                    let queued_task = self.update(id, |task| {
                        task.state = TaskState::Queued;
                        task.virtual_start = if is_fair { next_start } else { 0 };
                        next_start += task.cost;
                        (task.class, task.required_build)
                    });
                    all_queued.extend(queued_task);
                    queued += 1;
                    self.changes.push(Change::Queued { class, owner });
                }
            }
            if next_start > first_start {
                self.owner_index_mut(owner).virtual_finish[class_index(class)] = next_start;
            }
        }
        all_queued
    }

    /// The first waiting tasks of an owner, in the order in which they are queued.
    fn first_waiting(&self, owner: u32, class: TaskClass, state: TaskState, count: i64) -> Vec<TaskId> {
        let index = self.owner_index(owner);
        let waiting = if state == TaskState::Held { &index.held } else { &index.waiting };
        let count = usize::try_from(count).unwrap_or(0);
        waiting[class_index(class)].iter().take(count).map(|key: &WaitingKey| key.4).collect()
    }

    /// The classes in which the owner has waiting tasks, and few queued ones.
    fn classes_to_queue(&self, owner: u32, limits: OwnerLimits) -> Vec<TaskClass> {
        let index = self.owner_index(owner);
        let has_to_queue = |class: &TaskClass| {
            let class = class_index(*class);
            let queued = i64::try_from(index.queued[class].len()).unwrap_or(i64::MAX);
            let is_waiting = !index.waiting[class].is_empty() || !index.held[class].is_empty();
            is_waiting && limits.has_few_queued(queued.min(limits.queued))
        };
        TaskClass::ALL.into_iter().filter(has_to_queue).collect()
    }

    /// What an owner has queued and running.
    fn owner_tasks(&self, owner: u32, class: TaskClass) -> OwnerTasks {
        let index = self.owner_index(owner);
        let is_running = |id: &&TaskId| self.job(id.job).is_some_and(|job| job.state == JobState::Running);
        let starts_job = index.active_prepares.iter().filter(|id| !is_running(id)).count();
        OwnerTasks {
            queued: i64::try_from(index.queued[class_index(class)].len()).unwrap_or(i64::MAX),
            active: index.active,
            started_jobs: index.running_jobs + i64::try_from(starts_job).unwrap_or(i64::MAX),
        }
    }

    /// The virtual time of a class.
    fn virtual_time(&self, class: TaskClass) -> VirtualTime {
        let indices = &self.indices;
        VirtualTime {
            running: indices.last_running(class),
            queued: indices.first_queued(class),
            finish: indices.last_finish(class),
        }
    }

    /// Lets the queued tasks of an owner wait again.
    pub(in crate::simulation) fn unqueue_tasks(&mut self, owner: u32) {
        for class in TaskClass::ALL {
            let queued: Vec<TaskId> =
                self.owner_index(owner).queued[class_index(class)].iter().copied().collect();
            let mut first: Option<i64> = None;
            for id in queued {
                let is_new_job = self.job(id.job).is_some_and(|job| job.state == JobState::Queued);
                let start = self.update(id, |task| {
                    let starts_job = task.kind == TaskKind::Prepare && task.fencing_token == 0 && is_new_job;
                    task.state = if starts_job { TaskState::Held } else { TaskState::Waiting };
                    task.virtual_start
                });
                first = first.into_iter().chain(start).min();
            }
            if let Some(first) = first {
                self.owner_index_mut(owner).virtual_finish[class_index(class)] = first;
            }
        }
    }

    /// Running tasks whose lease has expired at `now`.
    pub(in crate::simulation) fn expired_tasks(&self, now: Millis) -> Vec<TaskId> {
        self.indices.expired(now)
    }

    /// When the next retry delay ends or the next lease expires; none when there are no such tasks.
    pub(in crate::simulation) fn next_task_time(&self) -> Option<Millis> {
        self.indices.next_time()
    }

    /// The builds that queued tasks require, at most `limit`.
    pub(in crate::simulation) fn queued_builds(&self, limit: usize) -> Vec<Build> {
        self.indices.queued_builds(limit)
    }

    /// Claims the sweep over the backlog if it is due at `now`; the next one is due at `next`.
    pub(in crate::simulation) fn claim_backlog_sweep(&mut self, now: Millis, next: Millis) -> bool {
        let is_due = self.backlog_sweep_time <= now;
        if is_due {
            self.backlog_sweep_time = next;
        }
        is_due
    }

    pub(super) fn owner_index(&self, owner: u32) -> &super::index::OwnerIndex {
        &self.indices.owners[usize::try_from(owner).unwrap_or(0)]
    }

    pub(super) fn owner_index_mut(&mut self, owner: u32) -> &mut super::index::OwnerIndex {
        &mut self.indices.owners[usize::try_from(owner).unwrap_or(0)]
    }
}
