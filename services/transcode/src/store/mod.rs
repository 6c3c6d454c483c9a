//! Jobs, tasks and recorded outputs in the database.

pub(crate) mod entity;
pub(crate) mod migration;
mod unit;

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, DatabaseConnection, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set, TransactionTrait as _,
    sea_query::Expr,
};

pub(crate) use self::{entity::job::Model as JobRow, entity::task::Model as TaskRow, unit::JobUnit};
use crate::{
    domain::{JobState, Lease, TaskState},
    error::TranscodeError,
    store::entity::{job, task},
};

/// The `kind` of a task that does a whole video.
pub(crate) const WHOLE_VIDEO: i32 = 1;

/// The database of the transcode role.
#[derive(Clone)]
pub(crate) struct Store {
    database: DatabaseConnection,
}

/// What a new job is made of.
pub(crate) struct NewJob {
    pub id: String,
    pub task_id: String,
    pub video: String,
    pub owner: String,
    pub request_id: String,
    pub source_key: String,
    pub source_size_bytes: i64,
    pub output_prefix: String,
    pub now: i64,
}

impl Store {
    pub(crate) fn new(database: DatabaseConnection) -> Self {
        Self { database }
    }

    /// Writes a job with its one task; the job that the same request made before, where there is one.
    pub(crate) async fn create_job(&self, new: NewJob) -> Result<JobRow, TranscodeError> {
        if let Some(made) = self.job_of_request(&new.request_id).await? {
            return Ok(made);
        }
        let request_id = new.request_id.clone();
        match self.insert_job(new).await {
            Err(TranscodeError::Database(error))
                if reelmill_platform::database::is_unique_violation(&error) =>
            {
                let made = self.job_of_request(&request_id).await?;
                made.ok_or(TranscodeError::Database(error))
            }
            inserted => inserted,
        }
    }

    async fn insert_job(&self, new: NewJob) -> Result<JobRow, TranscodeError> {
        let txn = self.database.begin().await?;
        let revision = unit::next_revision(&txn).await?;
        let row = JobRow {
            id: new.id,
            video: new.video,
            owner: new.owner,
            request_id: new.request_id,
            state: JobState::Queued as i32,
            source_key: new.source_key,
            source_size_bytes: new.source_size_bytes,
            output_prefix: new.output_prefix,
            created_at: new.now,
            started_at: None,
            ended_at: None,
            failure_reason: String::new(),
            failure_message: String::new(),
            detail: Vec::new(),
            recorded_prefix: String::new(),
            master_playlist: String::new(),
            poster: String::new(),
            output_size_bytes: 0,
            cleanup_due: None,
            revision,
        };
        job::Entity::insert(row.clone().into_active_model().reset_all()).exec_without_returning(&txn).await?;
        let first = TaskRow {
            id: new.task_id,
            job_id: row.id.clone(),
            kind: WHOLE_VIDEO,
            state: TaskState::Queued as i32,
            fencing_token: 0,
            lease_expires_at: 0,
            worker: String::new(),
            encoder_build: String::new(),
            failures: 0,
            send_due: new.now,
            sends: 0,
        };
        task::Entity::insert(first.into_active_model().reset_all()).exec_without_returning(&txn).await?;
        txn.commit().await?;
        Ok(row)
    }

    async fn job_of_request(&self, request_id: &str) -> Result<Option<JobRow>, TranscodeError> {
        Ok(job::Entity::find().filter(job::Column::RequestId.eq(request_id)).one(&self.database).await?)
    }

    /// A job.
    pub(crate) async fn job(&self, id: &str) -> Result<Option<JobRow>, TranscodeError> {
        Ok(job::Entity::find_by_id(id).one(&self.database).await?)
    }

    /// A task.
    pub(crate) async fn task(&self, id: &str) -> Result<Option<TaskRow>, TranscodeError> {
        Ok(task::Entity::find_by_id(id).one(&self.database).await?)
    }

    /// An owner's jobs older than `before`, the newest first. Ids grow with time.
    pub(crate) async fn jobs_of(
        &self,
        owner: &str,
        before: Option<&str>,
        limit: u64,
    ) -> Result<Vec<JobRow>, TranscodeError> {
        let mut wanted = Condition::all().add(job::Column::Owner.eq(owner));
        if let Some(before) = before {
            wanted = wanted.add(job::Column::Id.lt(before));
        }
        let rows = job::Entity::find().filter(wanted).order_by_desc(job::Column::Id).limit(limit);
        Ok(rows.all(&self.database).await?)
    }

    /// Jobs that changed after `revision`, the earliest change first.
    pub(crate) async fn jobs_since(&self, revision: i64, limit: u64) -> Result<Vec<JobRow>, TranscodeError> {
        let rows = job::Entity::find().filter(job::Column::Revision.gt(revision));
        Ok(rows.order_by_asc(job::Column::Revision).limit(limit).all(&self.database).await?)
    }

    /// Opens a transaction that holds one job.
    pub(crate) async fn hold(&self, job: &str) -> Result<JobUnit, TranscodeError> {
        let txn = self.database.begin().await?;
        let row = job::Entity::find_by_id(job).lock_exclusive().one(&txn).await?;
        let row = row.ok_or_else(|| TranscodeError::JobNotFound(crate::domain::job_name(job)))?;
        Ok(JobUnit::new(txn, row))
    }

    /// Moves a lease's end, if the lease still holds. Says whether it does.
    pub(crate) async fn renew(&self, task: &str, lease: Lease, until: i64) -> Result<bool, TranscodeError> {
        self.move_lease(held(task, lease), until).await
    }

    /// Brings a lease's end forward, if it still holds and ends later.
    pub(crate) async fn shorten(&self, task: &str, lease: Lease, until: i64) -> Result<bool, TranscodeError> {
        self.move_lease(held(task, lease).add(task::Column::LeaseExpiresAt.gt(until)), until).await
    }

    async fn move_lease(&self, wanted: Condition, until: i64) -> Result<bool, TranscodeError> {
        let moved = task::Entity::update_many()
            .col_expr(task::Column::LeaseExpiresAt, Expr::value(until))
            .filter(wanted)
            .exec(&self.database)
            .await?;
        Ok(moved.rows_affected > 0)
    }

    /// Queued tasks that the queue must be told of.
    pub(crate) async fn tasks_to_send(&self, now: i64) -> Result<Vec<TaskRow>, TranscodeError> {
        let due = Condition::all()
            .add(task::Column::State.eq(TaskState::Queued as i32))
            .add(task::Column::SendDue.lte(now));
        let rows = task::Entity::find().filter(due).order_by_asc(task::Column::SendDue).limit(200);
        Ok(rows.all(&self.database).await?)
    }

    /// Notes that the queue was told, and when to tell it again should nothing come of it.
    pub(crate) async fn sent(&self, task: &TaskRow, next_due: i64) -> Result<(), TranscodeError> {
        task::Entity::update_many()
            .col_expr(task::Column::SendDue, Expr::value(next_due))
            .col_expr(task::Column::Sends, Expr::value(task.sends.saturating_add(1)))
            .filter(task::Column::Id.eq(&task.id))
            .filter(task::Column::State.eq(TaskState::Queued as i32))
            .filter(task::Column::SendDue.eq(task.send_due))
            .exec(&self.database)
            .await?;
        Ok(())
    }

    /// Running tasks whose lease has ended.
    pub(crate) async fn tasks_expired(&self, now: i64) -> Result<Vec<TaskRow>, TranscodeError> {
        let expired = Condition::all()
            .add(task::Column::State.eq(TaskState::Running as i32))
            .add(task::Column::LeaseExpiresAt.lte(now));
        Ok(task::Entity::find().filter(expired).limit(200).all(&self.database).await?)
    }

    /// When the next queued task must be sent or the next lease ends; none when nothing is at hand.
    pub(crate) async fn next_due(&self) -> Result<Option<i64>, TranscodeError> {
        let first = |state: TaskState, column: task::Column| {
            task::Entity::find()
                .filter(task::Column::State.eq(state as i32))
                .order_by_asc(column)
                .limit(1)
                .one(&self.database)
        };
        let send = first(TaskState::Queued, task::Column::SendDue).await?.map(|task| task.send_due);
        let lease =
            first(TaskState::Running, task::Column::LeaseExpiresAt).await?.map(|task| task.lease_expires_at);
        Ok(send.into_iter().chain(lease).min())
    }

    /// Ended jobs whose leftovers must be removed from the store.
    pub(crate) async fn jobs_to_clean(&self, now: i64) -> Result<Vec<JobRow>, TranscodeError> {
        let due = job::Entity::find().filter(job::Column::CleanupDue.lte(now)).limit(50);
        Ok(due.all(&self.database).await?)
    }

    /// The highest fencing token that a job's tasks were leased with.
    pub(crate) async fn highest_token(&self, job: &str) -> Result<i64, TranscodeError> {
        let rows = task::Entity::find().filter(task::Column::JobId.eq(job)).all(&self.database).await?;
        Ok(rows.iter().map(|task| task.fencing_token).max().unwrap_or(0))
    }

    /// Notes that a job's leftovers were removed, and when to look again.
    pub(crate) async fn cleaned(&self, job: &JobRow, next: Option<i64>) -> Result<(), TranscodeError> {
        let mut row = job.clone().into_active_model();
        row.cleanup_due = Set(next);
        row.update(&self.database).await?;
        Ok(())
    }
}

fn held(task: &str, lease: Lease) -> Condition {
    Condition::all()
        .add(task::Column::Id.eq(task))
        .add(task::Column::FencingToken.eq(lease.fencing_token))
        .add(task::Column::State.eq(TaskState::Running as i32))
}
