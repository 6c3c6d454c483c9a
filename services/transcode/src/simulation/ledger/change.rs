//! What transactions have committed, for an observer.

use super::{TaskId, WorkerName};
use crate::{
    domain::{JobState, TaskClass, TaskKind},
    simulation::event_queue::Millis,
};

/// A committed change. Fencing tokens of calls are those that the call presented.
#[derive(Debug, Clone, Copy)]
pub(in crate::simulation) enum Change {
    JobCreated {
        job: u32,
        owner: u32,
    },
    Planned {
        task: TaskId,
        token: i64,
    },
    Queued {
        class: TaskClass,
        owner: u32,
    },
    Leased {
        task: TaskId,
        class: TaskClass,
        owner: u32,
        cost: i64,
        token: i64,
        nonce: u64,
        worker: WorkerName,
        expire_time: Millis,
    },
    Renewed {
        task: TaskId,
        token: i64,
        expire_time: Millis,
    },
    Recorded {
        task: TaskId,
        token: i64,
        segment: u32,
    },
    Completed {
        task: TaskId,
        kind: TaskKind,
        token: i64,
    },
    /// An attempt failed, or its lease has expired.
    Released {
        task: TaskId,
        token: i64,
        has_expired: bool,
    },
    /// A permanent failure of the job of this task.
    GaveUp {
        task: TaskId,
        cause: GiveUpCause,
    },
    TasksEnded {
        job: u32,
    },
    JobEnded {
        job: u32,
        state: JobState,
    },
}

/// Why a job has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulation) enum GiveUpCause {
    /// Two attempts found the file faulty.
    File,
    /// Too many attempts were lost, or their encoder crashed.
    Attempts,
}
