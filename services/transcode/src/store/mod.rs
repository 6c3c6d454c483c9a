//! Jobs, plans, tasks and recorded outputs in the database.

pub(crate) mod entity;
pub(crate) mod migration;
mod recorded;
mod tasks;
mod unit;

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, DatabaseConnection, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set, TransactionTrait as _,
    sea_query::Expr,
};

pub(crate) use self::{
    entity::job::Model as JobRow, entity::recorded::Model as RecordedRow, entity::task::Model as TaskRow,
    tasks::Stage, unit::JobUnit,
};
use crate::{
    domain::{JobState, TaskKind, TaskState, new_task_id},
    error::TranscodeError,
    store::entity::{job, task},
};

/// The database of the transcode role.
#[derive(Clone)]
pub(crate) struct Store {
    database: DatabaseConnection,
}

/// One start of a job: what tasks, plan and outputs belong to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Generation {
    pub job: String,
    pub number: i32,
}

impl Generation {
    /// The present one of a job.
    pub(crate) fn of(job: &JobRow) -> Self {
        Self { job: job.id.clone(), number: job.generation }
    }
}

/// What a new job is made of.
pub(crate) struct NewJob {
    pub id: String,
    pub video: String,
    pub owner: String,
    pub request_id: String,
    pub source_key: String,
    pub source_size_bytes: i64,
    pub output_prefix: String,
    /// As in the job's row.
    pub detail: Vec<u8>,
    pub now: i64,
}

/// A task that was never leased.
pub(crate) fn new_task(of: &Generation, kind: TaskKind, ordinal: i32, now: i64) -> TaskRow {
    TaskRow {
        id: new_task_id(&of.job, of.number, ordinal),
        job_id: of.job.clone(),
        kind: kind as i32,
        state: TaskState::Queued as i32,
        fencing_token: 0,
        lease_expires_at: 0,
        worker: String::new(),
        encoder_build: String::new(),
        failures: 0,
        send_due: now,
        sends: 0,
        generation: of.number,
        ordinal,
        priority: 0,
        ready_at: 0,
        required_build: String::new(),
        rendition: String::new(),
    }
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
            detail: new.detail,
            recorded_prefix: String::new(),
            master_playlist: String::new(),
            poster: String::new(),
            output_size_bytes: 0,
            cleanup_due: None,
            revision,
            generation: 0,
            planned: false,
            playable_at: None,
            keys: None,
            publisher: String::new(),
            publish_until: 0,
        };
        job::Entity::insert(row.clone().into_active_model().reset_all()).exec_without_returning(&txn).await?;
        let first = new_task(&Generation::of(&row), TaskKind::Prepare, 0, new.now);
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

    /// Running jobs that have not changed after `revision`.
    pub(crate) async fn running_until(&self, revision: i64) -> Result<Vec<JobRow>, TranscodeError> {
        let running = job::Entity::find()
            .filter(job::Column::State.eq(JobState::Running as i32))
            .filter(job::Column::Revision.lte(revision));
        Ok(running.all(&self.database).await?)
    }

    /// Ids of the running jobs that have a plan.
    pub(crate) async fn jobs_under_way(&self) -> Result<Vec<String>, TranscodeError> {
        let under_way = job::Entity::find()
            .select_only()
            .column(job::Column::Id)
            .filter(job::Column::State.eq(JobState::Running as i32))
            .filter(job::Column::Planned.eq(true));
        Ok(under_way.into_tuple().all(&self.database).await?)
    }

    /// Opens a transaction that holds one job.
    pub(crate) async fn hold(&self, job: &str) -> Result<JobUnit, TranscodeError> {
        let txn = self.database.begin().await?;
        let row = job::Entity::find_by_id(job).lock_exclusive().one(&txn).await?;
        let row = row.ok_or_else(|| TranscodeError::JobNotFound(crate::domain::job_name(job)))?;
        Ok(JobUnit::new(txn, row))
    }

    /// Makes a process the one that puts a job's playlists; says whether it is. The row is not held meanwhile: a
    /// slow store must not keep anybody from the database, and SQLite has one connection.
    pub(crate) async fn claim_publication(
        &self,
        job: &str,
        publisher: &str,
        now: i64,
        until: i64,
    ) -> Result<bool, TranscodeError> {
        let free = Condition::any()
            .add(job::Column::Publisher.eq(publisher))
            .add(job::Column::PublishUntil.lte(now));
        let claimed = job::Entity::update_many()
            .col_expr(job::Column::Publisher, Expr::value(publisher))
            .col_expr(job::Column::PublishUntil, Expr::value(until))
            .filter(job::Column::Id.eq(job))
            .filter(free)
            .exec(&self.database)
            .await?;
        Ok(claimed.rows_affected > 0)
    }

    /// Lets others put a job's playlists.
    pub(crate) async fn release_publication(&self, job: &str, publisher: &str) -> Result<(), TranscodeError> {
        job::Entity::update_many()
            .col_expr(job::Column::PublishUntil, Expr::value(0_i64))
            .filter(job::Column::Id.eq(job))
            .filter(job::Column::Publisher.eq(publisher))
            .exec(&self.database)
            .await?;
        Ok(())
    }

    /// Ended jobs whose leftovers must be removed from the store.
    pub(crate) async fn jobs_to_clean(&self, now: i64) -> Result<Vec<JobRow>, TranscodeError> {
        let due = job::Entity::find().filter(job::Column::CleanupDue.lte(now)).limit(50);
        Ok(due.all(&self.database).await?)
    }

    /// Notes that a job's leftovers were removed, and when to look again.
    pub(crate) async fn cleaned(&self, job: &JobRow, next: Option<i64>) -> Result<(), TranscodeError> {
        let mut row = job.clone().into_active_model();
        row.cleanup_due = Set(next);
        row.update(&self.database).await?;
        Ok(())
    }
}
