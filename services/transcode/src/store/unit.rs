//! One transaction over one job: read under its lock, changed, and committed with a new revision.

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, DatabaseTransaction, EntityTrait as _, ExprTrait as _,
    IntoActiveModel as _, QueryFilter as _, QuerySelect as _, sea_query::Expr,
};

use super::{
    JobRow, TaskRow,
    entity::{counter, job, output, task},
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
        };
        Ok((row, rules))
    }

    /// Writes a task back.
    pub(crate) async fn save_task(&self, row: TaskRow) -> Result<(), TranscodeError> {
        task::Entity::update(row.into_active_model().reset_all()).exec(&self.txn).await?;
        Ok(())
    }

    /// Whether every task of the job has succeeded.
    pub(crate) async fn all_succeeded(&self) -> Result<bool, TranscodeError> {
        let open = task::Entity::find()
            .filter(task::Column::JobId.eq(&self.job.id))
            .filter(task::Column::State.ne(TaskState::Succeeded as i32));
        Ok(open.one(&self.txn).await?.is_none())
    }

    /// Records objects as outputs of a task.
    pub(crate) async fn record_outputs(&self, rows: Vec<output::Model>) -> Result<(), TranscodeError> {
        for batch in rows.chunks(ROWS_AN_INSERT) {
            let batch = batch.iter().cloned().map(|row| row.into_active_model().reset_all());
            output::Entity::insert_many(batch).exec_without_returning(&self.txn).await?;
        }
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
