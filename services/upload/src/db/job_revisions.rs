//! Applies revisions of transcode jobs to their videos.

use reelmill_proto::{transcode::Failure, unix_millis};
use sea_orm::{
    ActiveModelTrait as _, ActiveValue, ColumnTrait as _, Condition, DatabaseTransaction, DbErr,
    EntityTrait as _, ExprTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, TransactionTrait as _,
    sea_query::{Expr, OnConflict},
};

use super::{
    connection::Db,
    entity::{applied_revisions, videos},
    revision::next_revision,
    video_details::{replace_renditions, replace_warnings},
};
use crate::domain::{
    job_revision::JobRevision,
    outputs::Outputs,
    video_state::{VideoEvent, VideoState},
};

/// Result of [`Db::apply_job_revision`].
pub(crate) enum ApplyOutcome {
    /// The video changed.
    Changed(videos::Model),
    /// The revision was applied before, or the video has ended.
    Unchanged(videos::Model),
    /// There is no such video.
    VideoNotFound,
}

impl Db {
    /// The highest applied revision of each shard of the jobs, by shard.
    pub(crate) async fn applied_revisions(&self) -> Result<Vec<i64>, DbErr> {
        let mut revisions = Vec::new();
        for row in applied_revisions::Entity::find().all(&self.connection).await? {
            let Ok(shard) = usize::try_from(row.shard) else { continue };
            if revisions.len() <= shard {
                revisions.resize(shard + 1, 0);
            }
            revisions[shard] = row.revision;
        }
        Ok(revisions)
    }

    /// Applies a revision of a job to its video exactly once, whatever the order and number of deliveries.
    pub(crate) async fn apply_job_revision(
        &self,
        reported: &JobRevision,
        now: i64,
    ) -> Result<ApplyOutcome, DbErr> {
        let transaction = self.connection.begin().await?;
        raise_applied_revision(&transaction, reported.shard, reported.revision).await?;
        let outcome = apply(&transaction, reported, None, now).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    /// Applies a revision of a job that was asked for, unless the video has changed since it was `known`. It may be lower
    /// than the video's: the jobs were restored. Earlier revisions of other jobs may not have been applied yet.
    pub(crate) async fn apply_checked_job(
        &self,
        reported: &JobRevision,
        known: &videos::Model,
        now: i64,
    ) -> Result<ApplyOutcome, DbErr> {
        let transaction = self.connection.begin().await?;
        let outcome = apply(&transaction, reported, Some(known), now).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    /// PROCESSING videos with a job: a page after an id.
    pub(crate) async fn videos_with_running_job(
        &self,
        after: &str,
        limit: u64,
    ) -> Result<Vec<videos::Model>, DbErr> {
        videos::Entity::find()
            .filter(videos::Column::State.eq(VideoState::Processing))
            .filter(videos::Column::Job.is_not_null())
            .filter(videos::Column::DeleteTime.is_null())
            .filter(videos::Column::Id.gt(after))
            .order_by_asc(videos::Column::Id)
            .limit(limit)
            .all(&self.connection)
            .await
    }

    /// Forgets the job of a PROCESSING video, so that it gets a new one. Returns `false` if the video has changed.
    pub(crate) async fn forget_job(&self, video: &videos::Model) -> Result<bool, DbErr> {
        let updated = videos::Entity::update_many()
            .col_expr(videos::Column::Job, Expr::value(None::<String>))
            .col_expr(videos::Column::JobRevision, Expr::value(0_i64))
            .filter(videos::Column::Id.eq(&video.id))
            .filter(videos::Column::State.eq(VideoState::Processing))
            .filter(videos::Column::Job.eq(video.job.clone()))
            .filter(videos::Column::JobRevision.eq(video.job_revision))
            .exec(&self.connection)
            .await?;
        Ok(updated.rows_affected == 1)
    }

    /// Stores the job of a video. Revisions after `before_revision` are still to be applied. Returns `false` if the video
    /// has a job already or was deleted.
    pub(crate) async fn set_job(
        &self,
        video: &videos::Model,
        job: &str,
        before_revision: i64,
        now: i64,
    ) -> Result<bool, DbErr> {
        let transaction = self.connection.begin().await?;
        let revision = next_revision(&transaction, &video.owner).await?;
        let has_no_job =
            || Condition::all().add(videos::Column::Id.eq(&video.id)).add(videos::Column::Job.is_null());
        let stored = videos::Entity::update_many()
            .col_expr(videos::Column::Job, Expr::value(Some(job.to_owned())))
            .col_expr(videos::Column::JobRevision, Expr::value(before_revision))
            .col_expr(videos::Column::Revision, Expr::value(revision))
            .filter(has_no_job())
            .filter(videos::Column::DeleteTime.is_null())
            .exec(&transaction)
            .await?;
        if stored.rows_affected == 0 {
            // Deleted in the meantime: another cleanup must cancel the job.
            videos::Entity::update_many()
                .col_expr(videos::Column::Job, Expr::value(Some(job.to_owned())))
                .col_expr(videos::Column::CleanupTime, Expr::value(Some(now)))
                .filter(has_no_job())
                .filter(videos::Column::DeleteTime.is_not_null())
                .exec(&transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(stored.rows_affected == 1)
    }

    /// Fails a PROCESSING video whose job was rejected. Returns `false` if it no longer waits for a job.
    pub(crate) async fn fail_without_job(
        &self,
        video: &videos::Model,
        failure: Failure,
        now: i64,
    ) -> Result<bool, DbErr> {
        let failed = VideoState::Processing.on(&VideoEvent::JobFailed(failure.clone()));
        let Ok(failed) = failed else { return Ok(false) };
        let transaction = self.connection.begin().await?;
        let revision = next_revision(&transaction, &video.owner).await?;
        let updated = videos::Entity::update_many()
            .col_expr(videos::Column::State, Expr::value(failed))
            .col_expr(videos::Column::Revision, Expr::value(revision))
            .col_expr(videos::Column::FailureReason, Expr::value(Some(failure.reason)))
            .col_expr(videos::Column::FailureMessage, Expr::value(Some(failure.message)))
            .col_expr(videos::Column::EndTime, Expr::value(Some(now)))
            .col_expr(videos::Column::CleanupTime, Expr::value(Some(now)))
            .filter(videos::Column::Id.eq(&video.id))
            .filter(videos::Column::State.eq(VideoState::Processing))
            .filter(videos::Column::Job.is_null())
            .filter(videos::Column::DeleteTime.is_null())
            .exec(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(updated.rows_affected == 1)
    }
}

/// Raises the applied revision of a shard.
async fn raise_applied_revision(
    transaction: &DatabaseTransaction,
    shard: i32,
    revision: i64,
) -> Result<(), DbErr> {
    use applied_revisions::{ActiveModel, Column, Entity};
    let row = ActiveModel { shard: ActiveValue::Set(shard), revision: ActiveValue::Set(revision) };
    let is_lower = Expr::col((Entity, Column::Revision)).lt(revision);
    Entity::insert(row)
        .on_conflict(
            OnConflict::column(Column::Shard)
                .update_column(Column::Revision)
                .action_and_where(is_lower)
                .to_owned(),
        )
        .exec_without_returning(transaction)
        .await?;
    Ok(())
}

async fn apply(
    transaction: &DatabaseTransaction,
    reported: &JobRevision,
    known: Option<&videos::Model>,
    now: i64,
) -> Result<ApplyOutcome, DbErr> {
    let find = || videos::Entity::find_by_id(&reported.video);
    let Some(seen) = find().one(transaction).await? else { return Ok(ApplyOutcome::VideoNotFound) };
    let Some(next) = next_state(&seen, reported, known) else { return Ok(ApplyOutcome::Unchanged(seen)) };
    if seen.delete_time.is_some() {
        adopt_orphaned_job(transaction, &seen, reported, next, now).await?;
        return Ok(ApplyOutcome::Unchanged(seen));
    }
    let revision = next_revision(transaction, &seen.owner).await?;
    // Read again under the revision lock: another replica may have applied a revision in the meantime.
    let Some(row) = find().one(transaction).await? else { return Ok(ApplyOutcome::VideoNotFound) };
    let Some(next) = next_state(&row, reported, known) else { return Ok(ApplyOutcome::Unchanged(row)) };
    let changed = update_video(transaction, &row, reported, next, revision, now).await?;
    Ok(match find().one(transaction).await? {
        Some(row) if changed => ApplyOutcome::Changed(row),
        Some(row) => ApplyOutcome::Unchanged(row),
        None => ApplyOutcome::VideoNotFound,
    })
}

/// The state after a revision. `None` if the revision was applied before, the video has changed since it was `known`, or it
/// has ended.
fn next_state(
    row: &videos::Model,
    reported: &JobRevision,
    known: Option<&videos::Model>,
) -> Option<VideoState> {
    let is_new = match known {
        Some(known) => row.job_revision == known.job_revision && row.job.as_ref() == Some(&reported.job),
        None => row.job_revision < reported.revision,
    };
    row.state.on(&reported.event).ok().filter(|_| is_new)
}

/// Writes a revision of the job to the video, its renditions and its warnings. Returns `false` if the video was deleted.
async fn update_video(
    transaction: &DatabaseTransaction,
    row: &videos::Model,
    reported: &JobRevision,
    next: VideoState,
    revision: i64,
    now: i64,
) -> Result<bool, DbErr> {
    let failure = match &reported.event {
        VideoEvent::JobFailed(failure) => Some(failure.clone()),
        _ => None,
    };
    // A retried job begins without outputs.
    let before = if row.state == VideoState::Failed { Outputs::default() } else { outputs_of(row) };
    let outputs = before.updated(reported.outputs.clone(), next, now);
    let mut video = row.clone();
    video.state = next;
    video.revision = revision;
    video.job = Some(reported.job.clone());
    video.job_revision = reported.revision;
    (video.failure_reason, video.failure_message) =
        failure.map(|failure| (failure.reason, failure.message)).unzip();
    let waiting = reported.waiting.clone().filter(|_| next == VideoState::Processing);
    video.waiting_since = waiting.as_ref().and_then(|waiting| waiting.since_time.as_ref()).map(unix_millis);
    (video.waiting_reason, video.waiting_message) =
        waiting.map(|waiting| (waiting.reason, waiting.message)).unzip();
    video.end_time = next.has_ended().then_some(now);
    video.cleanup_time = (next == VideoState::Failed).then_some(now);
    video.playable_time = outputs.playable_time;
    video.master_playlist_key = outputs.master_playlist_key;
    video.poster_key = outputs.poster_key;
    video.dash_manifest_key = outputs.dash_manifest_key;
    video.thumbnails_key = outputs.thumbnails_key;
    video.output_size_bytes = reported.output_size_bytes;
    video.set_source(reported.source.as_ref());
    if let Some(options) = reported.options.clone() {
        video.set_encoding_options(options);
    }
    let updated = videos::Entity::update_many()
        .set(video.into_active_model().reset_all())
        .filter(videos::Column::Id.eq(&row.id))
        .filter(videos::Column::State.eq(row.state))
        .filter(videos::Column::JobRevision.eq(row.job_revision))
        .filter(videos::Column::DeleteTime.is_null())
        .exec(transaction)
        .await?;
    if updated.rows_affected != 1 {
        return Ok(false);
    }
    let download_key = |rendition: &str| outputs.download_keys.get(rendition).cloned();
    replace_renditions(transaction, &row.id, &reported.renditions, download_key).await?;
    replace_warnings(transaction, &row.id, &reported.warnings).await?;
    Ok(true)
}

/// Stores the job of a deleted video that had none, and schedules another cleanup to cancel it.
async fn adopt_orphaned_job(
    transaction: &DatabaseTransaction,
    row: &videos::Model,
    reported: &JobRevision,
    next: VideoState,
    now: i64,
) -> Result<(), DbErr> {
    if row.job.is_some() || next.has_ended() {
        return Ok(());
    }
    videos::Entity::update_many()
        .col_expr(videos::Column::Job, Expr::value(Some(reported.job.clone())))
        .col_expr(videos::Column::CleanupTime, Expr::value(Some(now)))
        .filter(videos::Column::Id.eq(&row.id))
        .filter(videos::Column::Job.is_null())
        .exec(transaction)
        .await?;
    Ok(())
}

/// The stored outputs of a video whose job is running.
fn outputs_of(row: &videos::Model) -> Outputs {
    Outputs {
        playable_time: row.playable_time,
        master_playlist_key: row.master_playlist_key.clone(),
        poster_key: row.poster_key.clone(),
        ..Outputs::default()
    }
}
