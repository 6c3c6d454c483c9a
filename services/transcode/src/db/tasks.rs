//! Queries of tasks.

use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use super::{
    connection::{Db, Generation},
    entity::{JobRow, TaskRow, task},
};
use crate::{
    domain::{FailureCounts, JobState, TaskClass, TaskKind, TaskRules, TaskState, cost_of_kind, new_task_id},
    error::TranscodeError,
};

/// Expired tasks returned at once.
const EXPIRED_BATCH: u64 = 200;

/// Number of a generation's tasks by stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TaskCounts {
    /// PREPARE and ENCODE tasks that have not succeeded, and work units without a task.
    pub(crate) encoding: i64,
    /// PACKAGE tasks that have not succeeded.
    pub(crate) packaging: i64,
    /// All PACKAGE tasks.
    pub(crate) packages: i64,
}

/// A task of a job's current generation that waits and was never leased.
pub(crate) fn new_task(job: &JobRow, kind: TaskKind, index: i32) -> TaskRow {
    TaskRow {
        id: new_task_id(&job.id, job.generation, index),
        job_id: job.id.clone(),
        generation: job.generation,
        task_index: index,
        kind,
        state: TaskState::Waiting,
        owner: job.owner.clone(),
        class: TaskClass::Bulk,
        job_priority: job.priority,
        stage: 0,
        job_position: 0,
        cost: cost_of_kind(kind),
        virtual_start: 0,
        rendition_id: String::new(),
        required_build: String::new(),
        encoder_build: String::new(),
        worker: String::new(),
        start_nonce: None,
        fencing_token: 0,
        lease_expire_time: 0,
        attempt_failures: 0,
        dependency_failures: 0,
        file_failures: 0,
        excluded_worker: String::new(),
        excluded_until: 0,
        ready_time: 0,
    }
}

/// The PREPARE task of a job. It waits for earlier jobs of the owner if there are too many, unless the job was started
/// before.
pub(crate) fn first_task(job: &JobRow) -> TaskRow {
    let state = if job.state == JobState::Queued { TaskState::Held } else { TaskState::Waiting };
    TaskRow { state, class: TaskClass::Express, ..new_task(job, TaskKind::Prepare, 0) }
}

impl TaskRow {
    /// The task with these failures.
    pub(crate) fn with_failures(self, failures: FailureCounts) -> Self {
        let FailureCounts { attempts, dependency, file } = failures;
        Self { attempt_failures: attempts, dependency_failures: dependency, file_failures: file, ..self }
    }

    /// The properties that the rules depend on.
    pub(crate) fn rules(&self) -> TaskRules {
        TaskRules {
            state: self.state,
            fencing_token: self.fencing_token,
            lease_expire_time: self.lease_expire_time,
            failures: FailureCounts {
                attempts: self.attempt_failures,
                dependency: self.dependency_failures,
                file: self.file_failures,
            },
        }
    }
}

impl Db {
    /// A job's task.
    pub(crate) async fn task(&self, job: &str, id: &str) -> Result<Option<TaskRow>, TranscodeError> {
        Ok(task::Entity::find_by_id(id).filter(task::Column::JobId.eq(job)).one(&self.connection).await?)
    }

    /// The task that the StartTask call with this nonce leased.
    pub(crate) async fn task_of_nonce(&self, nonce: &str) -> Result<Option<TaskRow>, TranscodeError> {
        let task = task::Entity::find().filter(task::Column::StartNonce.eq(nonce));
        Ok(task.one(&self.connection).await?)
    }

    /// The number of a generation's tasks by stage.
    pub(crate) async fn task_counts(&self, generation: &Generation) -> Result<TaskCounts, TranscodeError> {
        // Read before the tasks: a work unit that gets a task between the two reads counts twice; the other way round it would
        // not count at all.
        let uncreated = self.job(&generation.job).await?.map_or(0, |job| uncreated_work_units(&job));
        task_counts(&self.connection, generation, uncreated).await
    }

    /// Indices of the work units whose tasks have succeeded.
    pub(crate) async fn completed_work_units(&self, job: &JobRow) -> Result<Vec<i32>, TranscodeError> {
        completed_work_units(&self.connection, job).await
    }

    /// Running tasks whose lease has expired: a page after an id.
    pub(crate) async fn expired_tasks(&self, now: i64, after: &str) -> Result<Vec<TaskRow>, TranscodeError> {
        let rows = task::Entity::find()
            .filter(expired(now))
            .filter(task::Column::Id.gt(after))
            .order_by_asc(task::Column::Id)
            .limit(EXPIRED_BATCH);
        Ok(rows.all(&self.connection).await?)
    }

    /// When the next retry delay ends or the next lease expires; none when there are no such tasks.
    pub(crate) async fn next_task_time(&self) -> Result<Option<i64>, TranscodeError> {
        let delayed = task::Entity::find()
            .filter(task::Column::State.eq(TaskState::Waiting))
            .filter(task::Column::ReadyTime.gt(0))
            .order_by_asc(task::Column::ReadyTime);
        let running = task::Entity::find()
            .filter(task::Column::State.eq(TaskState::Running))
            .order_by_asc(task::Column::LeaseExpireTime);
        let ready = delayed.limit(1).one(&self.connection).await?.map(|task| task.ready_time);
        let expiry = running.limit(1).one(&self.connection).await?.map(|task| task.lease_expire_time);
        Ok(ready.into_iter().chain(expiry).min())
    }
}

/// Number of a job's work units that have no task yet.
pub(super) fn uncreated_work_units(job: &JobRow) -> i64 {
    i64::from(job.work_units - job.created_work_units)
}

/// Counts a generation's tasks by stage, on a connection or within a transaction.
pub(super) async fn task_counts(
    connection: &impl ConnectionTrait,
    generation: &Generation,
    uncreated: i64,
) -> Result<TaskCounts, TranscodeError> {
    let rows: Vec<(TaskKind, TaskState, i64)> = task::Entity::find()
        .select_only()
        .column(task::Column::Kind)
        .column(task::Column::State)
        .column_as(task::Column::Id.count(), "count")
        .filter(of_generation(generation))
        .group_by(task::Column::Kind)
        .group_by(task::Column::State)
        .into_tuple()
        .all(connection)
        .await?;
    let mut counts = TaskCounts { encoding: uncreated, ..TaskCounts::default() };
    for (kind, state, count) in rows {
        let open = if state == TaskState::Succeeded { 0 } else { count };
        match kind {
            TaskKind::Package => {
                counts.packages += count;
                counts.packaging += open;
            }
            TaskKind::Prepare | TaskKind::Encode => counts.encoding += open,
        }
    }
    Ok(counts)
}

/// Indices of the work units whose tasks have succeeded, on a connection or within a transaction.
pub(super) async fn completed_work_units(
    connection: &impl ConnectionTrait,
    job: &JobRow,
) -> Result<Vec<i32>, TranscodeError> {
    let succeeded = of_generation(&Generation::of(job))
        .add(task::Column::Kind.eq(TaskKind::Encode))
        .add(task::Column::State.eq(TaskState::Succeeded));
    let rows = task::Entity::find().select_only().column(task::Column::TaskIndex).filter(succeeded);
    let mut completed: Vec<i32> = rows.into_tuple().all(connection).await?;
    completed.extend(job.folded_work_units.iter());
    Ok(completed)
}

pub(super) fn of_generation(generation: &Generation) -> Condition {
    Condition::all()
        .add(task::Column::JobId.eq(&generation.job))
        .add(task::Column::Generation.eq(generation.number))
}

fn expired(now: i64) -> Condition {
    Condition::all()
        .add(task::Column::State.eq(TaskState::Running))
        .add(task::Column::LeaseExpireTime.lte(now))
}
