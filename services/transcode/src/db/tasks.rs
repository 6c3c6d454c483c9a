//! Queries of tasks.

use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, sea_query::Expr,
};

use super::{
    connection::{Db, Generation},
    entity::{TaskRow, task},
};
use crate::{
    domain::{ExcludedWorker, FailureCounts, TaskKind, TaskRules, TaskState, new_task_id},
    error::TranscodeError,
};

/// Candidates returned at once to a worker: more than workers that ask at the same time.
const MAX_CANDIDATES: u64 = 16;
/// Expired tasks returned at once.
const EXPIRED_BATCH: u64 = 200;

/// Number of a generation's tasks by stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TaskCounts {
    /// PREPARE and ENCODE tasks that have not succeeded.
    pub(crate) encoding: i64,
    /// PACKAGE tasks that have not succeeded.
    pub(crate) packaging: i64,
    /// All PACKAGE tasks.
    pub(crate) packages: i64,
}

/// A queued task that was never leased.
pub(crate) fn new_task(generation: &Generation, kind: TaskKind, index: i32, now: i64) -> TaskRow {
    TaskRow {
        id: new_task_id(&generation.job, generation.number, index),
        job_id: generation.job.clone(),
        generation: generation.number,
        task_index: index,
        kind,
        state: TaskState::Queued,
        priority: 0,
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
        wake_up_time: now,
        wake_ups_sent: 0,
    }
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
            excluded: ExcludedWorker { worker: self.excluded_worker.clone(), until: self.excluded_until },
            ready_time: self.ready_time,
            required_build: self.required_build.clone(),
            wake_ups_sent: self.wake_ups_sent,
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

    /// Tasks that a worker with this name and encoder build can probably start, the most urgent first: by priority, then the
    /// oldest job first. [`TaskRules::may_start`] decides.
    ///
    /// A PREPARE task has priority 0, and the numbers of a long video's chunks increase: probing a new upload and
    /// encoding the first seconds of a video come before the later chunks of other videos.
    pub(crate) async fn startable_tasks(
        &self,
        now: i64,
        worker: &str,
        encoder_build: &str,
    ) -> Result<Vec<TaskRow>, TranscodeError> {
        let is_not_excluded = Condition::any()
            .add(task::Column::ExcludedWorker.ne(worker))
            .add(task::Column::ExcludedUntil.lte(now));
        let queued = Condition::all()
            .add(task::Column::State.eq(TaskState::Queued))
            .add(task::Column::ReadyTime.lte(now))
            .add(is_not_excluded);
        let rows = task::Entity::find()
            .filter(queued.add(task::Column::RequiredBuild.is_in(["", encoder_build])))
            .order_by_asc(task::Column::Priority)
            .order_by_asc(task::Column::JobId)
            .order_by_asc(task::Column::TaskIndex)
            .limit(MAX_CANDIDATES);
        Ok(rows.all(&self.connection).await?)
    }

    /// The number of a generation's tasks by stage.
    pub(crate) async fn task_counts(&self, generation: &Generation) -> Result<TaskCounts, TranscodeError> {
        task_counts(&self.connection, generation).await
    }

    /// Indices of the work units whose tasks have succeeded.
    pub(crate) async fn completed_work_units(
        &self,
        generation: &Generation,
    ) -> Result<Vec<i32>, TranscodeError> {
        let succeeded = of_generation(generation)
            .add(task::Column::Kind.eq(TaskKind::Encode))
            .add(task::Column::State.eq(TaskState::Succeeded));
        let rows = task::Entity::find().select_only().column(task::Column::TaskIndex).filter(succeeded);
        Ok(rows.into_tuple().all(&self.connection).await?)
    }

    /// Whether a worker with this encoder build has a lease, on any task.
    pub(crate) async fn is_build_active(
        &self,
        encoder_build: &str,
        now: i64,
    ) -> Result<bool, TranscodeError> {
        let leased = Condition::all()
            .add(task::Column::State.eq(TaskState::Running))
            .add(task::Column::EncoderBuild.eq(encoder_build))
            .add(task::Column::LeaseExpireTime.gt(now));
        Ok(task::Entity::find().filter(leased).limit(1).one(&self.connection).await?.is_some())
    }

    /// Queued tasks whose wake-up is due, the longest overdue first.
    pub(crate) async fn tasks_to_wake_up(
        &self,
        now: i64,
        limit: u64,
    ) -> Result<Vec<TaskRow>, TranscodeError> {
        let due = Condition::all()
            .add(task::Column::State.eq(TaskState::Queued))
            .add(task::Column::WakeUpTime.lte(now));
        let rows = task::Entity::find().filter(due).order_by_asc(task::Column::WakeUpTime).limit(limit);
        Ok(rows.all(&self.connection).await?)
    }

    /// Counts a wake-up that was sent for a task, and sets the time of the next one.
    pub(crate) async fn wake_up_sent(&self, task: &TaskRow, next: i64) -> Result<(), TranscodeError> {
        task::Entity::update_many()
            .col_expr(task::Column::WakeUpTime, Expr::value(next))
            .col_expr(task::Column::WakeUpsSent, Expr::value(task.wake_ups_sent.saturating_add(1)))
            .filter(task::Column::Id.eq(&task.id))
            .filter(task::Column::State.eq(TaskState::Queued))
            .filter(task::Column::WakeUpTime.eq(task.wake_up_time))
            .exec(&self.connection)
            .await?;
        Ok(())
    }

    /// Running tasks whose lease has expired.
    pub(crate) async fn expired_tasks(&self, now: i64) -> Result<Vec<TaskRow>, TranscodeError> {
        let rows = task::Entity::find().filter(expired(now)).limit(EXPIRED_BATCH);
        Ok(rows.all(&self.connection).await?)
    }

    /// When the next wake-up is due or the next lease expires; none when there are no such tasks.
    pub(crate) async fn next_task_time(&self) -> Result<Option<i64>, TranscodeError> {
        let first = |state: TaskState, column: task::Column| {
            task::Entity::find()
                .filter(task::Column::State.eq(state))
                .order_by_asc(column)
                .limit(1)
                .one(&self.connection)
        };
        let wake_up = first(TaskState::Queued, task::Column::WakeUpTime).await?;
        let expiry = first(TaskState::Running, task::Column::LeaseExpireTime).await?;
        let times = [wake_up.map(|task| task.wake_up_time), expiry.map(|task| task.lease_expire_time)];
        Ok(times.into_iter().flatten().min())
    }
}

/// Counts a generation's tasks by stage, on a connection or within a transaction.
pub(super) async fn task_counts(
    connection: &impl ConnectionTrait,
    generation: &Generation,
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
    let mut counts = TaskCounts::default();
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
