//! Names and columns of both sides.

use crate::{
    db::TaskRow,
    domain::{TaskKind, TaskState, new_task_id},
    simulation::ledger::{Build, Task, TaskId, WorkerName},
};

pub(super) fn owner_name(owner: u32) -> String {
    format!("o{owner}")
}

pub(super) fn job_id(job: u32) -> String {
    format!("j{job:04}")
}

pub(super) fn real_id(id: TaskId) -> String {
    let number = |number: u32| i32::try_from(number).unwrap();
    new_task_id(&job_id(id.job), number(id.generation), number(id.index))
}

pub(super) fn build_name(build: Build) -> String {
    if build == 0 { String::new() } else { format!("b{build}") }
}

pub(super) fn worker_text(worker: WorkerName) -> String {
    if worker == 0 { String::new() } else { format!("w{worker}") }
}

/// The columns that dispatching depends on, of either side.
pub(super) type Columns =
    (TaskState, TaskKind, i64, i64, i64, [i32; 3], i64, (String, i64), (String, String));

pub(super) fn real_columns(row: &TaskRow) -> Columns {
    let failures = [row.attempt_failures, row.dependency_failures, row.file_failures];
    let excluded = (row.excluded_worker.clone(), row.excluded_until);
    let builds = (row.required_build.clone(), row.worker.clone());
    let TaskRow { state, kind, virtual_start, fencing_token, lease_expire_time, ready_time, .. } = *row;
    (state, kind, virtual_start, fencing_token, lease_expire_time, failures, ready_time, excluded, builds)
}

pub(super) fn ledger_columns(task: &Task) -> Columns {
    let failures = [task.failures.attempts, task.failures.dependency, task.failures.file];
    let excluded = (worker_text(task.excluded_worker), task.excluded_until);
    let builds = (build_name(task.required_build), worker_text(task.worker));
    let Task { state, kind, virtual_start, fencing_token, lease_expire_time, ready_time, .. } = *task;
    (state, kind, virtual_start, fencing_token, lease_expire_time, failures, ready_time, excluded, builds)
}
