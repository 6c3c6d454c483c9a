//! A transaction on one job, read under its lock. It can be committed in three ways: with the job under a new revision, so
//! that watchers are notified; with the job under its old revision; or without the job's row, after changes of tasks and
//! outputs only.

use reelmill_proto::transcode::{Failure, TranscodeOptions, Warning};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, DatabaseTransaction, DbErr, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, sea_query::Expr,
};

use super::{
    connection::Generation,
    entity::{
        JobRow, RenditionRow, TaskRow, WarningRow, job, job::IndexRanges, plan, rendition, task, warning,
    },
    job_details::{JobDetails, load_details},
    revisions::next_revision,
    tasks::{self, TaskCounts, first_task, uncreated_work_units},
};
use crate::{
    domain::{JobEvent, JobPriority, JobState, TaskKind, TaskState},
    error::TranscodeError,
};

/// Rows per INSERT statement: SQLite allows 32,766 values in one.
const INSERT_BATCH: usize = 1000;

/// A transaction that locks one job. Dropped without a commit, it is rolled back.
pub(crate) struct JobTransaction {
    pub(super) transaction: DatabaseTransaction,
    /// The job's row, to be changed in place.
    pub(crate) job: JobRow,
    has_changed_waiting: bool,
}

impl JobTransaction {
    pub(super) fn new(transaction: DatabaseTransaction, job: JobRow) -> Self {
        Self { transaction, job, has_changed_waiting: false }
    }

    /// One of the job's tasks, locked.
    pub(crate) async fn task(&self, id: &str) -> Result<Option<TaskRow>, TranscodeError> {
        let task = task::Entity::find_by_id(id).filter(task::Column::JobId.eq(&self.job.id));
        Ok(task.lock_exclusive().one(&self.transaction).await?)
    }

    /// Writes a task.
    pub(crate) async fn save_task(&self, row: TaskRow) -> Result<(), TranscodeError> {
        task::Entity::update(row.into_active_model().reset_all()).exec(&self.transaction).await?;
        Ok(())
    }

    /// Inserts tasks.
    pub(crate) async fn add_tasks(&self, rows: Vec<TaskRow>) -> Result<(), TranscodeError> {
        for batch in rows.chunks(INSERT_BATCH) {
            let batch = batch.iter().cloned().map(|row| row.into_active_model().reset_all());
            task::Entity::insert_many(batch).exec_without_returning(&self.transaction).await?;
        }
        Ok(())
    }

    /// The number of the current generation's tasks by stage.
    pub(crate) async fn task_counts(&self) -> Result<TaskCounts, TranscodeError> {
        tasks::task_counts(&self.transaction, &Generation::of(&self.job), uncreated_work_units(&self.job))
            .await
    }

    /// Indices of the current generation's work units whose tasks have succeeded.
    pub(crate) async fn completed_work_units(&self) -> Result<Vec<i32>, TranscodeError> {
        tasks::completed_work_units(&self.transaction, &self.job).await
    }

    /// Whether one of the current generation's tasks is running.
    pub(crate) async fn has_running_task(&self) -> Result<bool, TranscodeError> {
        let running =
            tasks::of_generation(&Generation::of(&self.job)).add(task::Column::State.eq(TaskState::Running));
        Ok(task::Entity::find().filter(running).limit(1).one(&self.transaction).await?.is_some())
    }

    /// Ends every task that has not ended.
    pub(crate) async fn end_tasks(&self, state: TaskState) -> Result<(), TranscodeError> {
        task::Entity::update_many()
            .col_expr(task::Column::State, Expr::value(state))
            .filter(task::Column::JobId.eq(&self.job.id))
            .filter(task::Column::State.is_in(TaskState::OPEN))
            .exec(&self.transaction)
            .await?;
        Ok(())
    }

    /// The current generation's plan, JSON.
    pub(crate) async fn plan(&self) -> Result<Option<String>, TranscodeError> {
        let key = (self.job.id.clone(), self.job.generation);
        Ok(plan::Entity::find_by_id(key).one(&self.transaction).await?.map(|row| row.plan))
    }

    /// Inserts the current generation's plan, JSON. The first of its work units has a task.
    pub(crate) async fn insert_plan(
        &mut self,
        json: String,
        work_units: usize,
    ) -> Result<(), TranscodeError> {
        let row = plan::Model { job_id: self.job.id.clone(), generation: self.job.generation, plan: json };
        let insert = plan::Entity::insert(row.into_active_model().reset_all());
        insert.exec_without_returning(&self.transaction).await?;
        self.job.planned = true;
        self.job.work_units = i32::try_from(work_units).unwrap_or(i32::MAX);
        self.job.created_work_units = 1;
        Ok(())
    }

    /// Notes that the first `count` work units have or had a task.
    pub(crate) async fn set_created_work_units(&mut self, count: i32) -> Result<(), TranscodeError> {
        self.job.created_work_units = count;
        job::Entity::update_many()
            .col_expr(job::Column::CreatedWorkUnits, Expr::value(count))
            .filter(job::Column::Id.eq(&self.job.id))
            .exec(&self.transaction)
            .await?;
        Ok(())
    }

    /// Notes that the playlists are to be written: if this process does not, another one will.
    pub(crate) async fn request_publication(&mut self, now: i64) -> Result<(), TranscodeError> {
        let since = self.job.unpublished_since.map_or(now, |before| now.max(before + 1));
        self.job.unpublished_since = Some(since);
        job::Entity::update_many()
            .col_expr(job::Column::UnpublishedSince, Expr::value(Some(since)))
            .filter(job::Column::Id.eq(&self.job.id))
            .exec(&self.transaction)
            .await?;
        Ok(())
    }

    /// Number of the current generation's ENCODE tasks that have not ended.
    pub(crate) async fn unfinished_encode_tasks(&self) -> Result<i32, TranscodeError> {
        let unfinished = task::Entity::find()
            .select_only()
            .column_as(task::Column::Id.count(), "tasks")
            .filter(tasks::of_generation(&Generation::of(&self.job)))
            .filter(task::Column::Kind.eq(TaskKind::Encode))
            .filter(task::Column::State.is_in(TaskState::OPEN));
        let count: Option<i64> = unfinished.into_tuple().one(&self.transaction).await?;
        Ok(i32::try_from(count.unwrap_or(0)).unwrap_or(i32::MAX))
    }

    /// The job's renditions, by position.
    pub(crate) async fn renditions(&self) -> Result<Vec<RenditionRow>, TranscodeError> {
        let rows = rendition::Entity::find().filter(rendition::Column::JobId.eq(&self.job.id));
        Ok(rows.order_by_asc(rendition::Column::Position).all(&self.transaction).await?)
    }

    /// Replaces the job's renditions.
    pub(crate) async fn replace_renditions(&self, rows: Vec<RenditionRow>) -> Result<(), TranscodeError> {
        rendition::Entity::delete_many()
            .filter(rendition::Column::JobId.eq(&self.job.id))
            .exec(&self.transaction)
            .await?;
        if !rows.is_empty() {
            let rows = rows.into_iter().map(|row| row.into_active_model().reset_all());
            rendition::Entity::insert_many(rows).exec_without_returning(&self.transaction).await?;
        }
        Ok(())
    }

    /// Writes a rendition.
    pub(crate) async fn save_rendition(&self, row: RenditionRow) -> Result<(), TranscodeError> {
        rendition::Entity::update(row.into_active_model().reset_all()).exec(&self.transaction).await?;
        Ok(())
    }

    /// Appends those of `warnings` that `select` returns, given the existing ones; returns whether there are any.
    pub(crate) async fn add_warnings(
        &self,
        warnings: &[Warning],
        select: impl Fn(&[WarningRow], &[Warning]) -> Vec<Warning>,
    ) -> Result<bool, TranscodeError> {
        if warnings.is_empty() {
            return Ok(false);
        }
        let existing = warning::Entity::find()
            .filter(warning::Column::JobId.eq(&self.job.id))
            .order_by_asc(warning::Column::Position);
        let existing = existing.all(&self.transaction).await?;
        let added = select(&existing, warnings);
        if added.is_empty() {
            return Ok(false);
        }
        let first = i32::try_from(existing.len()).unwrap_or(i32::MAX);
        let rows = (first..).zip(added).map(|(position, warning)| WarningRow {
            job_id: self.job.id.clone(),
            position,
            reason: warning.reason,
            message: warning.message,
        });
        let rows = rows.map(|row| row.into_active_model().reset_all());
        warning::Entity::insert_many(rows).exec_without_returning(&self.transaction).await?;
        Ok(true)
    }

    /// Begins the next generation: without tasks, plan and outputs. The renditions stay until the job is planned again.
    async fn restart(&mut self) -> Result<(), TranscodeError> {
        self.delete_work().await?;
        self.job.generation += 1;
        self.job.planned = false;
        self.job.work_units = 0;
        self.job.created_work_units = 0;
        self.job.folded_work_units = IndexRanges::default();
        Ok(())
    }

    /// Begins the next generation with its PREPARE task.
    pub(crate) async fn replan(&mut self) -> Result<(), TranscodeError> {
        self.restart().await?;
        self.job.replans += 1;
        self.add_tasks(vec![first_task(&self.job)]).await
    }

    /// Notes what the job waits for. It has waited since the first failure of an uninterrupted series.
    pub(crate) fn wait_for(&mut self, failure: &Failure, now: i64) {
        let is_same =
            self.job.waiting_reason == failure.reason && self.job.waiting_message == failure.message;
        if !is_same {
            self.job.waiting_reason.clone_from(&failure.reason);
            self.job.waiting_message.clone_from(&failure.message);
            self.job.waiting_since.get_or_insert(now);
            self.has_changed_waiting = true;
        }
    }

    /// Notes that the job waits for nothing: one of its tasks has made progress.
    pub(crate) fn stop_waiting(&mut self) {
        if self.job.waiting_since.take().is_some() {
            self.job.waiting_reason.clear();
            self.job.waiting_message.clear();
            self.has_changed_waiting = true;
        }
    }

    /// Whether the job began or stopped to wait in this transaction, so that its row must be committed.
    pub(crate) fn has_changed_waiting(&self) -> bool {
        self.has_changed_waiting
    }

    /// Queues a failed or cancelled job as a new generation, without anything of the earlier one. Returns whether the
    /// job's state allows it.
    pub(crate) async fn retry(
        &mut self,
        options: Option<&TranscodeOptions>,
        now: i64,
    ) -> Result<bool, TranscodeError> {
        if !self.advance(JobEvent::RetryRequested, now) {
            return Ok(false);
        }
        self.restart().await?;
        self.replace_renditions(Vec::new()).await?;
        self.delete_warnings().await?;
        self.job = self.job.clone().without_results();
        if let Some(options) = options {
            self.job = self.job.clone().with_options(Some(options));
        }
        self.add_tasks(vec![first_task(&self.job)]).await?;
        Ok(true)
    }

    /// Lets the job's tasks that were not started and require an encoder build wait until `ready_time`.
    pub(crate) async fn delay_tasks(
        &self,
        required_build: &str,
        ready_time: i64,
    ) -> Result<(), TranscodeError> {
        task::Entity::update_many()
            .col_expr(task::Column::State, Expr::value(TaskState::Waiting))
            .col_expr(task::Column::ReadyTime, Expr::value(ready_time))
            .filter(task::Column::JobId.eq(&self.job.id))
            .filter(task::Column::State.is_in([TaskState::Queued, TaskState::Waiting]))
            .filter(task::Column::RequiredBuild.eq(required_build))
            .exec(&self.transaction)
            .await?;
        Ok(())
    }

    /// Sets the priority of the job and of its tasks.
    pub(crate) async fn set_priority(&mut self, priority: JobPriority) -> Result<(), TranscodeError> {
        self.job.priority = priority;
        task::Entity::update_many()
            .col_expr(task::Column::JobPriority, Expr::value(priority))
            .filter(task::Column::JobId.eq(&self.job.id))
            .filter(task::Column::State.is_in(TaskState::OPEN))
            .exec(&self.transaction)
            .await?;
        Ok(())
    }

    /// Deletes the job and everything that belongs to it, and commits.
    pub(crate) async fn delete(self) -> Result<(), TranscodeError> {
        self.delete_work().await?;
        self.replace_renditions(Vec::new()).await?;
        self.delete_warnings().await?;
        job::Entity::delete_by_id(&self.job.id).exec(&self.transaction).await?;
        self.transaction.commit().await?;
        Ok(())
    }

    async fn delete_warnings(&self) -> Result<(), TranscodeError> {
        let warnings = warning::Entity::delete_many().filter(warning::Column::JobId.eq(&self.job.id));
        warnings.exec(&self.transaction).await?;
        Ok(())
    }

    /// Whether the job has not ended.
    pub(crate) fn is_open(&self) -> bool {
        !self.job.state.has_ended()
    }

    /// Applies an event to the job; returns whether its state changed.
    pub(crate) fn advance(&mut self, event: JobEvent, now: i64) -> bool {
        let Some(next) = self.job.state.on(event) else { return false };
        self.job.state = next;
        if next.has_ended() {
            self.job.end_time = Some(now);
            self.job.cleanup_time = Some(now);
            self.job.unpublished_since = None;
            self.stop_waiting();
        } else if next == JobState::Running {
            self.job.start_time.get_or_insert(now);
        }
        true
    }

    /// Commits changes of tasks and outputs. The job's row is not written.
    pub(crate) async fn commit_tasks(self) -> Result<(), TranscodeError> {
        self.transaction.commit().await?;
        Ok(())
    }

    /// Commits the job under its old revision: watchers are not notified.
    pub(crate) async fn commit_without_revision(self) -> Result<(), TranscodeError> {
        job::Entity::update(self.job.into_active_model().reset_all()).exec(&self.transaction).await?;
        self.transaction.commit().await?;
        Ok(())
    }

    /// Commits the job under a new revision.
    pub(crate) async fn commit(mut self) -> Result<JobDetails, TranscodeError> {
        self.job.revision = next_revision(&self.transaction, self.job.shard).await?;
        job::Entity::update(self.job.clone().into_active_model().reset_all()).exec(&self.transaction).await?;
        let not_found = || DbErr::RecordNotFound(format!("job {}", self.job.id));
        let details = load_details(&self.transaction, vec![self.job.clone()]).await?;
        let details = details.into_iter().next().ok_or_else(not_found)?;
        self.transaction.commit().await?;
        Ok(details)
    }
}
