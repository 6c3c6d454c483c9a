//! One transaction over one job: read under its lock, changed, and committed with a new revision.

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, DatabaseTransaction, EntityTrait as _, ExprTrait as _,
    IntoActiveModel as _, QueryFilter as _, QuerySelect as _,
    sea_query::{Expr, OnConflict},
};

use super::{
    Generation, JobRow, RecordedRow, Stage, TaskRow,
    entity::{counter, job, plan, recorded, task},
    tasks,
};
use crate::{
    domain::{JobEvent, JobState, Task, TaskState, advance_job},
    error::TranscodeError,
};

/// How many rows go into one insert: SQLite takes 32,766 values a statement.
const ROWS_AN_INSERT: usize = 1000;

/// A job held by a transaction. Dropped without a commit, nothing has happened.
pub(crate) struct JobUnit {
    txn: DatabaseTransaction,
    /// The job's row, to be changed in place.
    pub(crate) job: JobRow,
}

impl JobUnit {
    pub(crate) fn new(txn: DatabaseTransaction, job: JobRow) -> Self {
        Self { txn, job }
    }

    /// One of the job's tasks, with what the rules look at.
    pub(crate) async fn task(&self, id: &str) -> Result<(TaskRow, Task), TranscodeError> {
        let row = task::Entity::find_by_id(id).lock_exclusive().one(&self.txn).await?;
        let row = row.ok_or_else(|| TranscodeError::TaskNotFound(id.to_owned()))?;
        let rules = Task {
            state: TaskState::from_stored(row.state).unwrap_or(TaskState::Failed),
            fencing_token: row.fencing_token,
            lease_expires_at: row.lease_expires_at,
            failures: row.failures,
            ready_at: row.ready_at,
        };
        Ok((row, rules))
    }

    /// Writes a task back.
    pub(crate) async fn save_task(&self, row: TaskRow) -> Result<(), TranscodeError> {
        task::Entity::update(row.into_active_model().reset_all()).exec(&self.txn).await?;
        Ok(())
    }

    /// Adds tasks.
    pub(crate) async fn add_tasks(&self, rows: Vec<TaskRow>) -> Result<(), TranscodeError> {
        for batch in rows.chunks(ROWS_AN_INSERT) {
            let batch = batch.iter().cloned().map(|row| row.into_active_model().reset_all());
            task::Entity::insert_many(batch).exec_without_returning(&self.txn).await?;
        }
        Ok(())
    }

    /// How far the present generation's tasks are.
    pub(crate) async fn stage(&self) -> Result<Stage, TranscodeError> {
        tasks::stage(&self.txn, &Generation::of(&self.job)).await
    }

    /// Whether a worker has, or had, one of the job's tasks in hand.
    pub(crate) async fn has_running_task(&self) -> Result<bool, TranscodeError> {
        let running = tasks::in_generation(&Generation::of(&self.job))
            .add(task::Column::State.eq(TaskState::Running as i32));
        Ok(task::Entity::find().filter(running).limit(1).one(&self.txn).await?.is_some())
    }

    /// Stores the present generation's plan.
    pub(crate) async fn put_plan(&mut self, json: Vec<u8>) -> Result<(), TranscodeError> {
        let row = plan::Model { job_id: self.job.id.clone(), generation: self.job.generation, plan: json };
        plan::Entity::insert(row.into_active_model().reset_all()).exec_without_returning(&self.txn).await?;
        self.job.planned = true;
        Ok(())
    }

    /// Records objects; what is recorded already is left as it is.
    pub(crate) async fn record(&self, rows: Vec<RecordedRow>) -> Result<(), TranscodeError> {
        let key = [
            recorded::Column::JobId,
            recorded::Column::Generation,
            recorded::Column::Rendition,
            recorded::Column::Role,
            recorded::Column::Sequence,
        ];
        for batch in rows.chunks(ROWS_AN_INSERT) {
            let batch = batch.iter().cloned().map(|row| row.into_active_model().reset_all());
            recorded::Entity::insert_many(batch)
                .on_conflict(OnConflict::columns(key).do_nothing().to_owned())
                .exec_without_returning(&self.txn)
                .await?;
        }
        Ok(())
    }

    /// Begins the next generation: without tasks, without a plan, with nothing recorded.
    pub(crate) async fn restart(&mut self) -> Result<(), TranscodeError> {
        let job = &self.job.id;
        task::Entity::delete_many().filter(task::Column::JobId.eq(job)).exec(&self.txn).await?;
        recorded::Entity::delete_many().filter(recorded::Column::JobId.eq(job)).exec(&self.txn).await?;
        plan::Entity::delete_many().filter(plan::Column::JobId.eq(job)).exec(&self.txn).await?;
        self.job.generation += 1;
        self.job.planned = false;
        Ok(())
    }

    /// Ends every task that has not ended.
    pub(crate) async fn end_tasks(&self, state: TaskState) -> Result<(), TranscodeError> {
        task::Entity::update_many()
            .col_expr(task::Column::State, Expr::value(state as i32))
            .filter(task::Column::JobId.eq(&self.job.id))
            .filter(task::Column::State.is_in([TaskState::Queued as i32, TaskState::Running as i32]))
            .exec(&self.txn)
            .await?;
        Ok(())
    }

    /// Whether the job has not ended.
    pub(crate) fn is_open(&self) -> bool {
        JobState::from_stored(self.job.state).is_some_and(|state| !state.has_ended())
    }

    /// Moves the job on; says whether that changed anything.
    pub(crate) fn advance(&mut self, event: JobEvent, now: i64) -> bool {
        let state = JobState::from_stored(self.job.state).unwrap_or(JobState::Failed);
        let Some(next) = advance_job(state, event) else { return false };
        self.job.state = next as i32;
        if next == JobState::Running {
            self.job.started_at.get_or_insert(now);
        }
        if next.has_ended() {
            self.job.ended_at = Some(now);
            self.job.cleanup_due = Some(now);
        }
        true
    }

    /// Commits what was done to tasks, leaving the job as it was.
    pub(crate) async fn commit_tasks(self) -> Result<(), TranscodeError> {
        self.txn.commit().await?;
        Ok(())
    }

    /// Writes the job and commits. Its revision stays: nobody hears of it.
    pub(crate) async fn note(self) -> Result<(), TranscodeError> {
        job::Entity::update(self.job.into_active_model().reset_all()).exec(&self.txn).await?;
        self.txn.commit().await?;
        Ok(())
    }

    /// Writes the job under a new revision and commits.
    pub(crate) async fn commit(mut self) -> Result<JobRow, TranscodeError> {
        self.job.revision = next_revision(&self.txn).await?;
        job::Entity::update(self.job.clone().into_active_model().reset_all()).exec(&self.txn).await?;
        self.txn.commit().await?;
        Ok(self.job)
    }
}

/// The next revision. The counter's row stays locked until the transaction ends, so that revisions
/// become visible in their order.
pub(super) async fn next_revision(txn: &DatabaseTransaction) -> Result<i64, TranscodeError> {
    counter::Entity::update_many()
        .col_expr(counter::Column::Revision, Expr::col(counter::Column::Revision).add(1))
        .filter(counter::Column::Id.eq(1))
        .exec(txn)
        .await?;
    let row = counter::Entity::find_by_id(1).one(txn).await?;
    row.map(|row| row.revision)
        .ok_or_else(|| sea_orm::DbErr::RecordNotFound("the revision counter".to_owned()).into())
}
