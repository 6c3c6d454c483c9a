//! An observer of all commits that keeps its own state and checks the invariants.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    context::EncodedSegment,
    event_queue::Millis,
    job_spec::{FileFault, JobSpec},
    ledger::{Change, GiveUpCause, TaskId, WorkerName},
};
use crate::domain::{JobState, TaskKind};

/// An invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// A job ends READY, or FAILED for its own fault.
    Lost,
    /// Nothing is completed, recorded or leased twice.
    Doubled,
    /// What is finished is not encoded again.
    ReEncoded,
    /// Everything ends once the faults have ended.
    Stuck,
    /// An owner with one video behind others' 10,000 gets its first segment within the express bound.
    FirstSegmentLate,
    /// Every owner with queued tasks gets its share of the slots.
    ShareTooSmall,
}

/// A violated invariant.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The invariant.
    pub invariant: Invariant,
    /// What happened.
    pub detail: String,
    /// The simulated time, milliseconds.
    pub time: i64,
}

/// The state of a task by the changes that were committed.
#[derive(Debug)]
struct ObservedTask {
    /// Of the newest lease.
    token: i64,
    expire_time: Millis,
    worker: WorkerName,
    nonce: u64,
    /// Whether the newest lease was neither released nor completed.
    is_leased: bool,
    is_completed: bool,
    /// When the newest lease was renewed last.
    renewed: Option<Millis>,
    /// Token of the attempt that recorded each segment.
    segments: Vec<i64>,
    /// Segments that were recorded when the newest lease was granted.
    recorded_before: usize,
}

/// The newest lease of a task.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownLease {
    pub(super) token: i64,
    pub(super) worker: WorkerName,
    /// When it was renewed last.
    pub(super) renewed: Option<Millis>,
}

/// Ends of jobs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ends {
    /// READY.
    pub ready: u64,
    /// FAILED because the file is faulty.
    pub failed_own_fault: u64,
    /// FAILED after too many lost attempts without progress.
    pub failed_lost_attempts: u64,
    /// CANCELLED by the owner.
    pub cancelled: u64,
}

#[derive(Default)]
struct ObservedJob {
    tasks: Vec<TaskId>,
    gave_up: Option<GiveUpCause>,
}

/// The observer.
pub(super) struct Observer {
    lost_attempts_may_fail: bool,
    tasks: HashMap<TaskId, ObservedTask>,
    jobs: BTreeMap<u32, ObservedJob>,
    /// Tasks that are leased, by the nonce of their StartTask call.
    nonces: HashMap<u64, TaskId>,
    cancelled: HashSet<u32>,
    pub(super) ends: Ends,
    pub(super) completed_tasks: u64,
    pub(super) violation: Option<Violation>,
}

impl Observer {
    pub(super) fn new(lost_attempts_may_fail: bool) -> Self {
        Self {
            lost_attempts_may_fail,
            tasks: HashMap::new(),
            jobs: BTreeMap::new(),
            nonces: HashMap::new(),
            cancelled: HashSet::new(),
            ends: Ends::default(),
            completed_tasks: 0,
            violation: None,
        }
    }

    /// Notes a violation, if it is the first.
    pub(super) fn violated(&mut self, time: Millis, invariant: Invariant, detail: impl FnOnce() -> String) {
        self.violation.get_or_insert_with(|| Violation { invariant, detail: detail(), time });
    }

    /// The owner cancels a job.
    pub(super) fn cancel_requested(&mut self, job: u32) {
        self.cancelled.insert(job);
    }

    /// The newest lease of a task, while it is held.
    pub(super) fn lease(&self, task: TaskId) -> Option<KnownLease> {
        let observed = self.tasks.get(&task).filter(|observed| observed.is_leased)?;
        Some(KnownLease { token: observed.token, worker: observed.worker, renewed: observed.renewed })
    }

    /// Checks a committed change.
    pub(super) fn observe(&mut self, now: Millis, change: &Change, jobs: &[JobSpec]) {
        match *change {
            Change::JobCreated { job, .. } => {
                self.jobs.insert(job, ObservedJob::default());
            }
            Change::Leased { task, token, nonce, worker, expire_time, .. } => {
                self.leased(now, task, KnownLease { token, worker, renewed: None }, nonce, expire_time);
            }
            Change::Renewed { task, token, expire_time } => {
                if let Some(observed) = self.valid_lease(now, task, token, "renewed") {
                    observed.expire_time = expire_time;
                    observed.renewed = Some(now);
                }
            }
            Change::Planned { task, token } => {
                self.valid_lease(now, task, token, "planned its job");
            }
            Change::Recorded { task, token, segment } => self.recorded(now, task, token, segment),
            Change::Completed { task, kind, token } => self.completed(now, task, kind, token, jobs),
            Change::Released { task, token, .. } => {
                if let Some(observed) = self.valid_lease(now, task, token, "released") {
                    observed.is_leased = false;
                    let nonce = observed.nonce;
                    self.nonces.remove(&nonce);
                }
            }
            Change::GaveUp { task, cause } => {
                self.jobs.entry(task.job).or_default().gave_up = Some(cause);
            }
            Change::TasksEnded { job } => self.release_all(job),
            Change::JobEnded { job, state } => self.job_ended(now, job, state, jobs),
            Change::Queued { .. } => {}
        }
    }

    fn leased(&mut self, now: Millis, task: TaskId, lease: KnownLease, nonce: u64, expire_time: Millis) {
        let KnownLease { token, worker, .. } = lease;
        let other = self.nonces.insert(nonce, task).filter(|other| *other != task);
        if let Some(other) = other {
            self.violated(now, Invariant::Doubled, || {
                format!("one StartTask call has leased {other} and {task}")
            });
        }
        let is_new = !self.tasks.contains_key(&task);
        let observed = self.tasks.entry(task).or_insert_with(|| ObservedTask {
            token: 0,
            expire_time: 0,
            worker,
            nonce,
            is_leased: false,
            is_completed: false,
            renewed: None,
            segments: Vec::new(),
            recorded_before: 0,
        });
        let (old_token, was_leased, was_completed) =
            (observed.token, observed.is_leased, observed.is_completed);
        let old_nonce = std::mem::replace(&mut observed.nonce, nonce);
        (observed.token, observed.worker, observed.expire_time, observed.renewed) =
            (token, worker, expire_time, None);
        observed.is_leased = true;
        observed.recorded_before = observed.segments.len();
        if old_nonce != nonce {
            self.nonces.remove(&old_nonce);
        }
        if is_new {
            self.jobs.entry(task.job).or_default().tasks.push(task);
        }
        if was_completed {
            self.violated(now, Invariant::ReEncoded, || {
                format!("{task} was leased again after its completion")
            });
        }
        if was_leased {
            self.violated(now, Invariant::Doubled, || {
                format!("{task} was leased under token {token} while token {old_token} is valid")
            });
        }
        if token <= old_token {
            self.violated(now, Invariant::Doubled, || format!("{task}: token {token} follows {old_token}"));
        }
    }

    /// The task, if `token` is that of its newest lease and this is valid.
    fn valid_lease(
        &mut self,
        now: Millis,
        task: TaskId,
        token: i64,
        done: &str,
    ) -> Option<&mut ObservedTask> {
        let is_valid =
            self.tasks.get(&task).is_some_and(|observed| observed.is_leased && observed.token == token);
        if !is_valid {
            let newest = self.tasks.get(&task).map_or(0, |observed| observed.token);
            self.violated(now, Invariant::Doubled, || {
                format!("{task}: token {token} {done}, but the newest lease is {newest}, or it has ended")
            });
            return None;
        }
        self.tasks.get_mut(&task)
    }

    fn recorded(&mut self, now: Millis, task: TaskId, token: i64, segment: u32) {
        let Some(observed) = self.valid_lease(now, task, token, "recorded a segment") else { return };
        let expected = u32::try_from(observed.segments.len()).unwrap_or(u32::MAX);
        if segment == expected {
            observed.segments.push(token);
        } else {
            self.violated(now, Invariant::Doubled, || {
                format!("{task}: segment {segment} was recorded after {expected} segments")
            });
        }
    }

    fn completed(&mut self, now: Millis, task: TaskId, kind: TaskKind, token: i64, jobs: &[JobSpec]) {
        let Some(observed) = self.valid_lease(now, task, token, "completed it") else { return };
        observed.is_leased = false;
        observed.is_completed = true;
        let (nonce, segments) = (observed.nonce, observed.segments.len());
        self.completed_tasks += 1;
        self.nonces.remove(&nonce);
        let spec = usize::try_from(task.job).ok().and_then(|job| jobs.get(job));
        let expected = spec.map_or(0, |spec| spec.work_unit(task.index).segments);
        if kind != TaskKind::Package && u32::try_from(segments) != Ok(expected) {
            self.violated(now, Invariant::Lost, || {
                format!("{task} was completed with {segments} of {expected} segments")
            });
        }
    }

    /// Checks a segment that an attempt has encoded.
    pub(super) fn encoded(&mut self, now: Millis, encoded: &EncodedSegment) {
        let EncodedSegment { task, token, segment } = *encoded;
        let Some(observed) = self.tasks.get(&task) else { return };
        let was_recorded = usize::try_from(segment).is_ok_and(|segment| segment < observed.recorded_before);
        if observed.token == token && was_recorded {
            self.violated(now, Invariant::ReEncoded, || {
                format!(
                    "{task}: segment {segment} was recorded before, and encoded again under token {token}"
                )
            });
        }
    }

    /// A job ended with all its tasks.
    fn release_all(&mut self, job: u32) {
        let Some(observed) = self.jobs.get(&job) else { return };
        for task in &observed.tasks {
            if let Some(observed) = self.tasks.get_mut(task) {
                observed.is_leased = false;
                self.nonces.remove(&observed.nonce);
            }
        }
    }

    fn job_ended(&mut self, now: Millis, job: u32, state: JobState, jobs: &[JobSpec]) {
        let observed = self.jobs.remove(&job).unwrap_or_default();
        let Some(spec) = usize::try_from(job).ok().and_then(|job| jobs.get(job)) else { return };
        match state {
            JobState::Succeeded => {
                self.ends.ready += 1;
                if spec.fault != FileFault::None {
                    self.violated(now, Invariant::Lost, || {
                        format!("job {job} is READY, but its file is faulty: {:?}", spec.fault)
                    });
                }
                let completed = observed.tasks.iter().filter(|task| {
                    task.index < spec.work_units && self.tasks.get(task).is_some_and(|task| task.is_completed)
                });
                let completed = completed.count();
                if u32::try_from(completed) != Ok(spec.work_units) {
                    self.violated(now, Invariant::Lost, || {
                        format!("job {job} is READY with {completed} of {} work units", spec.work_units)
                    });
                }
            }
            JobState::Failed => self.job_failed(now, job, observed.gave_up, spec),
            JobState::Cancelled if self.cancelled.contains(&job) => self.ends.cancelled += 1,
            state => {
                self.violated(now, Invariant::Lost, || format!("job {job} ended as {state:?} by itself"));
            }
        }
        self.forget(&observed.tasks);
    }

    fn job_failed(&mut self, now: Millis, job: u32, cause: Option<GiveUpCause>, spec: &JobSpec) {
        let expected = match spec.fault {
            FileFault::None => None,
            FileFault::Probe | FileFault::WorkUnit(_) => Some(GiveUpCause::File),
            FileFault::Crashes(_) => Some(GiveUpCause::Attempts),
        };
        if cause.is_some() && cause == expected {
            self.ends.failed_own_fault += 1;
            return;
        }
        if cause == Some(GiveUpCause::Attempts) {
            self.ends.failed_lost_attempts += 1;
            if self.lost_attempts_may_fail {
                return;
            }
        }
        self.violated(now, Invariant::Lost, || {
            format!("job {job} is FAILED ({cause:?}), which is not the fault of its file: {:?}", spec.fault)
        });
    }

    fn forget(&mut self, tasks: &[TaskId]) {
        for task in tasks {
            if let Some(observed) = self.tasks.remove(task) {
                self.nonces.remove(&observed.nonce);
            }
        }
    }
}
