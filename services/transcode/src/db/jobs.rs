//! Queries of jobs.

use reelmill_mesh::paging::Cursor;
use reelmill_platform::database::{
    after_in_ascending_list, after_in_list, begin_snapshot, is_unique_violation,
};
use reelmill_proto::{seconds, transcode::TranscodeOptions};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _, Order,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Select, TransactionTrait as _, sea_query::Expr,
};

use super::{
    connection::{Db, Generation},
    entity::{JobRow, job, plan, task},
    job_details::{JobDetails, load_details},
    job_transaction::JobTransaction,
    revisions::{next_revision, shard_of},
    tasks::first_task,
};
use crate::{
    domain::{JobPriority, JobState, job_name},
    error::TranscodeError,
};

/// Ended jobs returned at once for cleanup.
const CLEANUP_BATCH: u64 = 50;
/// Jobs returned at once for publication.
const PUBLICATION_BATCH: u64 = 200;

/// Input of [`Db::create_job`].
pub(crate) struct NewJob {
    pub(crate) id: String,
    pub(crate) video: String,
    pub(crate) owner: String,
    pub(crate) request_id: String,
    pub(crate) source_key: String,
    pub(crate) source_size_bytes: i64,
    pub(crate) output_prefix: String,
    pub(crate) options: Option<TranscodeOptions>,
    pub(crate) priority: JobPriority,
    pub(crate) now: i64,
}

/// Which jobs of an owner are listed, and in which order.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobFilter {
    /// Empty for any.
    pub(crate) states: Vec<JobState>,
    /// Empty for any.
    pub(crate) video: String,
    /// Unix milliseconds, like the next one.
    pub(crate) created_after: Option<i64>,
    pub(crate) created_before: Option<i64>,
    pub(crate) oldest_first: bool,
}

impl JobFilter {
    fn condition(&self) -> Condition {
        let mut condition = Condition::all();
        if !self.states.is_empty() {
            condition = condition.add(job::Column::State.is_in(self.states.iter().copied()));
        }
        if !self.video.is_empty() {
            condition = condition.add(job::Column::Video.eq(&self.video));
        }
        condition
            .add_option(self.created_after.map(|time| job::Column::CreateTime.gte(time)))
            .add_option(self.created_before.map(|time| job::Column::CreateTime.lt(time)))
    }
}

impl NewJob {
    fn into_row(self, shard: i32, revision: i64) -> JobRow {
        let row = JobRow {
            id: self.id,
            video: self.video,
            owner: self.owner,
            request_id: self.request_id,
            state: JobState::Queued,
            shard,
            revision,
            generation: 0,
            priority: self.priority,
            replans: 0,
            planned: false,
            work_units: 0,
            created_work_units: 0,
            folded_work_units: job::IndexRanges::default(),
            create_time: self.now,
            start_time: None,
            playable_time: None,
            end_time: None,
            failure_reason: String::new(),
            failure_message: String::new(),
            waiting_reason: String::new(),
            waiting_message: String::new(),
            waiting_since: None,
            source_key: self.source_key,
            source_size_bytes: self.source_size_bytes,
            output_prefix: self.output_prefix,
            option_profile: None,
            option_preset: None,
            option_rungs: None,
            option_keep_hdr: None,
            option_poster_seconds: None,
            option_source_program: None,
            source_container: None,
            source_video_codec: None,
            source_audio_codec: None,
            source_width: None,
            source_height: None,
            source_rotation_degrees: None,
            source_frame_rate: None,
            source_duration_seconds: None,
            source_pixel_format: None,
            source_video_range: None,
            source_interlaced: None,
            source_audio_tracks: None,
            source_subtitle_tracks: None,
            source_contents: None,
            progress_percent: 0.0,
            progress_frames: 0,
            progress_segments_ready: 0,
            progress_writer: String::new(),
            master_playlist_key: String::new(),
            dash_manifest_key: String::new(),
            thumbnails_key: String::new(),
            poster_key: String::new(),
            output_size_bytes: 0,
            unpublished_since: None,
            publisher: String::new(),
            publisher_expire_time: 0,
            cleanup_time: None,
        };
        row.with_options(self.options.as_ref())
    }
}

impl JobRow {
    /// The job with these encoding options.
    pub(super) fn with_options(self, options: Option<&TranscodeOptions>) -> Self {
        Self {
            option_profile: options.map(|options| options.profile().into()),
            option_preset: options.map(|options| options.preset().into()),
            option_rungs: options.map(|options| job::Rungs(options.rungs.clone())),
            option_keep_hdr: options.map(|options| options.keep_hdr),
            option_poster_seconds: options.and_then(|options| options.poster_time.as_ref()).map(seconds),
            option_source_program: options.map(|options| options.source_program),
            ..self
        }
    }

    /// The job as it was when it was created, apart from its identity, revision and generation.
    pub(super) fn without_results(self) -> Self {
        let new = NewJob {
            id: self.id.clone(),
            video: self.video.clone(),
            owner: self.owner.clone(),
            request_id: self.request_id.clone(),
            source_key: self.source_key.clone(),
            source_size_bytes: self.source_size_bytes,
            output_prefix: self.output_prefix.clone(),
            options: None,
            priority: self.priority,
            now: self.create_time,
        };
        Self {
            generation: self.generation,
            option_profile: self.option_profile,
            option_preset: self.option_preset,
            option_rungs: self.option_rungs,
            option_keep_hdr: self.option_keep_hdr,
            option_poster_seconds: self.option_poster_seconds,
            option_source_program: self.option_source_program,
            ..new.into_row(self.shard, self.revision)
        }
    }
}

impl Db {
    /// Inserts a job with its PREPARE task; returns the job of the same `request_id` if there is one.
    pub(crate) async fn create_job(&self, new: NewJob) -> Result<JobDetails, TranscodeError> {
        let request_id = new.request_id.clone();
        if let Some(existing) = self.job_of_request(&request_id).await? {
            return Ok(existing);
        }
        match self.insert_job(new).await {
            // Another call with the same request id was faster.
            Err(TranscodeError::Database(error)) if is_unique_violation(&error) => {
                self.job_of_request(&request_id).await?.ok_or(TranscodeError::Database(error))
            }
            inserted => inserted,
        }
    }

    async fn insert_job(&self, new: NewJob) -> Result<JobDetails, TranscodeError> {
        let transaction = self.connection.begin().await?;
        let shard = shard_of(&new.id);
        let row = new.into_row(shard, next_revision(&transaction, shard).await?);
        let insert = job::Entity::insert(row.clone().into_active_model().reset_all());
        insert.exec_without_returning(&transaction).await?;
        let insert = task::Entity::insert(first_task(&row).into_active_model().reset_all());
        insert.exec_without_returning(&transaction).await?;
        transaction.commit().await?;
        Ok(JobDetails { row, renditions: Vec::new(), warnings: Vec::new() })
    }

    async fn job_of_request(&self, request_id: &str) -> Result<Option<JobDetails>, TranscodeError> {
        let job = job::Entity::find().filter(job::Column::RequestId.eq(request_id));
        Ok(self.details(job).await?.pop())
    }

    /// The row of a job.
    pub(crate) async fn job(&self, id: &str) -> Result<Option<JobRow>, TranscodeError> {
        Ok(job::Entity::find_by_id(id).one(&self.connection).await?)
    }

    /// A generation's plan, JSON.
    pub(crate) async fn plan(&self, generation: &Generation) -> Result<Option<String>, TranscodeError> {
        let key = (generation.job.clone(), generation.number);
        Ok(plan::Entity::find_by_id(key).one(&self.connection).await?.map(|row| row.plan))
    }

    /// A job with its child rows.
    pub(crate) async fn job_details(&self, id: &str) -> Result<Option<JobDetails>, TranscodeError> {
        Ok(self.details(job::Entity::find_by_id(id)).await?.pop())
    }

    /// The jobs with these ids, in no order.
    pub(crate) async fn jobs_by_id(&self, ids: &[&str]) -> Result<Vec<JobDetails>, TranscodeError> {
        self.details(job::Entity::find().filter(job::Column::Id.is_in(ids.iter().copied()))).await
    }

    /// An owner's jobs that match a filter, after the cursor.
    pub(crate) async fn jobs_of_owner(
        &self,
        owner: &str,
        filter: &JobFilter,
        after: Option<&Cursor>,
        limit: u64,
    ) -> Result<Vec<JobDetails>, TranscodeError> {
        let order = if filter.oldest_first { Order::Asc } else { Order::Desc };
        let position = after.map(Cursor::position);
        let after = if filter.oldest_first {
            after_in_ascending_list(position, job::Column::CreateTime, job::Column::Id)
        } else {
            after_in_list(position, job::Column::CreateTime, job::Column::Id)
        };
        let jobs = job::Entity::find()
            .filter(job::Column::Owner.eq(owner))
            .filter(filter.condition())
            .filter(after)
            .order_by(job::Column::CreateTime, order.clone())
            .order_by(job::Column::Id, order)
            .limit(limit);
        self.details(jobs).await
    }

    /// Ids of the running jobs that have a plan: a page after an id.
    pub(crate) async fn running_planned_jobs(&self, after: &str) -> Result<Vec<String>, TranscodeError> {
        let running = job::Entity::find()
            .select_only()
            .column(job::Column::Id)
            .filter(job::Column::State.eq(JobState::Running))
            .filter(job::Column::Planned.eq(true))
            .filter(job::Column::Id.gt(after))
            .order_by_asc(job::Column::Id)
            .limit(PUBLICATION_BATCH);
        Ok(running.into_tuple().all(&self.connection).await?)
    }

    /// Ids of jobs with changes that were not published since `before`, the oldest changes first.
    pub(crate) async fn jobs_to_publish(&self, before: i64) -> Result<Vec<String>, TranscodeError> {
        let unpublished = job::Entity::find()
            .select_only()
            .column(job::Column::Id)
            .filter(job::Column::UnpublishedSince.lte(before))
            .order_by_asc(job::Column::UnpublishedSince)
            .limit(PUBLICATION_BATCH);
        Ok(unpublished.into_tuple().all(&self.connection).await?)
    }

    /// Ids of the jobs of a video.
    pub(crate) async fn jobs_of_video(&self, video: &str) -> Result<Vec<String>, TranscodeError> {
        let jobs =
            job::Entity::find().select_only().column(job::Column::Id).filter(job::Column::Video.eq(video));
        Ok(jobs.into_tuple().all(&self.connection).await?)
    }

    /// Begins a transaction that locks a job.
    pub(crate) async fn lock_job(&self, id: &str) -> Result<JobTransaction, TranscodeError> {
        let transaction = self.connection.begin().await?;
        let row = job::Entity::find_by_id(id).lock_exclusive().one(&transaction).await?;
        let row = row.ok_or_else(|| TranscodeError::JobNotFound(job_name(id)))?;
        Ok(JobTransaction::new(transaction, row))
    }

    /// Claims the publication of a job's playlists for a process; returns whether it has the claim. The row is not
    /// locked during the publication: a slow object store must not block the database, and SQLite has one connection.
    pub(crate) async fn claim_publication(
        &self,
        job: &str,
        process: &str,
        now: i64,
        expire_time: i64,
    ) -> Result<bool, TranscodeError> {
        let is_free = Condition::any()
            .add(job::Column::Publisher.eq(process))
            .add(job::Column::PublisherExpireTime.lte(now));
        let claimed = job::Entity::update_many()
            .col_expr(job::Column::Publisher, Expr::value(process))
            .col_expr(job::Column::PublisherExpireTime, Expr::value(expire_time))
            .filter(job::Column::Id.eq(job))
            .filter(is_free)
            .exec(&self.connection)
            .await?;
        Ok(claimed.rows_affected > 0)
    }

    /// Whether a process has a claim on a job's playlists.
    pub(crate) async fn has_publication_claim(
        &self,
        job: &str,
        process: &str,
        now: i64,
    ) -> Result<bool, TranscodeError> {
        let row = job::Entity::find_by_id(job).one(&self.connection).await?;
        Ok(row.is_some_and(|row| row.publisher == process && row.publisher_expire_time > now))
    }

    /// Releases a process's claim on a job's playlists. The changes up to `published` are published.
    pub(crate) async fn release_publication(
        &self,
        job: &str,
        process: &str,
        published: Option<i64>,
    ) -> Result<(), TranscodeError> {
        if published.is_some() {
            job::Entity::update_many()
                .col_expr(job::Column::UnpublishedSince, Expr::value(None::<i64>))
                .filter(job::Column::Id.eq(job))
                .filter(job::Column::UnpublishedSince.eq(published))
                .exec(&self.connection)
                .await?;
        }
        job::Entity::update_many()
            .col_expr(job::Column::PublisherExpireTime, Expr::value(0_i64))
            .filter(job::Column::Id.eq(job))
            .filter(job::Column::Publisher.eq(process))
            .exec(&self.connection)
            .await?;
        Ok(())
    }

    /// Ended jobs with unreferenced objects to remove.
    pub(crate) async fn jobs_to_clean(&self, now: i64) -> Result<Vec<JobDetails>, TranscodeError> {
        let due = job::Entity::find()
            .filter(job::Column::CleanupTime.lte(now))
            .order_by_asc(job::Column::CleanupTime)
            .limit(CLEANUP_BATCH);
        self.details(due).await
    }

    /// Sets when a job is to be cleaned up next; none when it is done. Not if the job was retried since it was read.
    pub(crate) async fn set_cleanup_time(
        &self,
        job: &JobRow,
        cleanup_time: Option<i64>,
    ) -> Result<(), TranscodeError> {
        job::Entity::update_many()
            .col_expr(job::Column::CleanupTime, Expr::value(cleanup_time))
            .filter(job::Column::Id.eq(&job.id))
            .filter(job::Column::EndTime.eq(job.end_time))
            .exec(&self.connection)
            .await?;
        Ok(())
    }

    /// Reads jobs with their child rows, all from one snapshot.
    pub(super) async fn details(&self, jobs: Select<job::Entity>) -> Result<Vec<JobDetails>, TranscodeError> {
        let snapshot = begin_snapshot(&self.connection).await?;
        let rows = jobs.all(&snapshot).await?;
        let details = load_details(&snapshot, rows).await?;
        snapshot.commit().await?;
        Ok(details)
    }
}
