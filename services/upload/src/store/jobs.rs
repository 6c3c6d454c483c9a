//! What jobs do to their videos.

use prost::Message as _;
use reelmill_proto::transcode::{Failure, Job, WatchJobsResponse};
use sea_orm::{
    ColumnTrait as _, Condition, DatabaseTransaction, DbErr, EntityTrait as _, QueryFilter as _,
    QuerySelect as _, TransactionTrait as _, sea_query::Expr,
};

use super::{
    Store,
    entity::{follower, videos},
    next_revision,
};
use crate::domain::{
    outputs::Outputs,
    video::{Event, State},
};

/// The follower's row for the transcode service.
pub(super) const TRANSCODE: &str = "transcode";

/// A job's change, as far as its video is concerned.
pub(crate) struct JobUpdate {
    /// Bare id of the video.
    pub video: String,
    /// `jobs/{job}`.
    pub job: String,
    pub revision: i64,
    pub event: Event,
    /// What is kept of the job but for its failure, which comes with the event.
    pub outcome: Job,
    pub outputs: Outputs,
    pub output_size_bytes: i64,
    /// When the job changed or ended, milliseconds.
    pub time: i64,
}

/// What became of a job's change.
pub(crate) enum Applied {
    /// The video changed.
    Changed(videos::Model),
    /// It was known already, or comes too late to matter.
    Known(videos::Model),
    /// There is no such video.
    Unknown,
}

impl Store {
    /// The revision to follow jobs from: nothing that a video still waits for lies before it.
    pub(crate) async fn follow_from(&self) -> Result<i64, DbErr> {
        let stored = follower::Entity::find_by_id(TRANSCODE).one(&self.db).await?;
        let waiting: Option<Option<i64>> = videos::Entity::find()
            .select_only()
            .column_as(videos::Column::JobRevision.min(), "least")
            .filter(videos::Column::State.eq(State::Processing))
            .filter(videos::Column::Job.is_not_null())
            .filter(videos::Column::DeleteTime.is_null())
            .into_tuple()
            .one(&self.db)
            .await?;
        let stored = stored.map_or(0, |row| row.revision);
        Ok(waiting.flatten().map_or(stored, |least| least.min(stored)))
    }

    /// Applies a job's change to its video, once, however often and in whatever order changes come.
    pub(crate) async fn apply_job(&self, update: &JobUpdate) -> Result<Applied, DbErr> {
        let transaction = self.db.begin().await?;
        follower::Entity::update_many()
            .col_expr(follower::Column::Revision, Expr::value(update.revision))
            .filter(follower::Column::Id.eq(TRANSCODE))
            .filter(follower::Column::Revision.lt(update.revision))
            .exec(&transaction)
            .await?;
        let applied = self.apply_in(&transaction, update).await?;
        transaction.commit().await?;
        Ok(applied)
    }

    async fn apply_in(
        &self,
        transaction: &DatabaseTransaction,
        update: &JobUpdate,
    ) -> Result<Applied, DbErr> {
        let find = || videos::Entity::find_by_id(&update.video);
        let Some(seen) = find().one(transaction).await? else { return Ok(Applied::Unknown) };
        let Some(next) = next_state(&seen, update) else { return Ok(Applied::Known(seen)) };
        if seen.delete_time.is_some() {
            adopt_orphan(transaction, &seen, update, next).await?;
            return Ok(Applied::Known(seen));
        }
        let revision = next_revision(transaction).await?;
        // The counter's lock keeps other replicas out from here on; until it was had they may have applied more.
        let Some(row) = find().one(transaction).await? else { return Ok(Applied::Unknown) };
        let Some(next) = next_state(&row, update) else { return Ok(Applied::Known(row)) };
        let changed = change(&row, update, next, revision).exec(transaction).await?;
        let now = find().one(transaction).await?;
        Ok(match now {
            Some(now) if changed.rows_affected == 1 => Applied::Changed(now),
            Some(now) => Applied::Known(now),
            None => Applied::Unknown,
        })
    }

    /// Records the job that was made for a video; its changes after `before_revision` are still to be applied.
    /// False where the video has its job already.
    pub(crate) async fn set_job(
        &self,
        video: &str,
        job: &str,
        before_revision: i64,
        now: i64,
    ) -> Result<bool, DbErr> {
        let transaction = self.db.begin().await?;
        let revision = next_revision(&transaction).await?;
        let jobless =
            || Condition::all().add(videos::Column::Id.eq(video)).add(videos::Column::Job.is_null());
        let set = videos::Entity::update_many()
            .col_expr(videos::Column::Job, Expr::value(Some(job.to_owned())))
            .col_expr(videos::Column::JobRevision, Expr::value(before_revision))
            .col_expr(videos::Column::Revision, Expr::value(revision))
            .filter(jobless())
            .filter(videos::Column::DeleteTime.is_null())
            .exec(&transaction)
            .await?;
        if set.rows_affected == 0 {
            // Deleted meanwhile: the cleanup must come again, to stop this job.
            videos::Entity::update_many()
                .col_expr(videos::Column::Job, Expr::value(Some(job.to_owned())))
                .col_expr(videos::Column::CleanupTime, Expr::value(Some(now)))
                .filter(jobless())
                .filter(videos::Column::DeleteTime.is_not_null())
                .exec(&transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(set.rows_affected == 1)
    }

    /// Fails a video whose job can't be made. False where it is not waiting for one any more.
    pub(crate) async fn fail_jobless(&self, video: &str, failure: Failure, now: i64) -> Result<bool, DbErr> {
        let Ok(next) = State::Processing.on(&Event::JobFailed(failure.clone())) else { return Ok(false) };
        let transaction = self.db.begin().await?;
        let revision = next_revision(&transaction).await?;
        let failed = videos::Entity::update_many()
            .col_expr(videos::Column::State, Expr::value(next))
            .col_expr(videos::Column::Revision, Expr::value(revision))
            .col_expr(videos::Column::Outcome, Expr::value(Some(kept(Job::default(), Some(failure)))))
            .col_expr(videos::Column::EndTime, Expr::value(Some(now)))
            .col_expr(videos::Column::CleanupTime, Expr::value(Some(now)))
            .filter(videos::Column::Id.eq(video))
            .filter(videos::Column::State.eq(State::Processing))
            .filter(videos::Column::Job.is_null())
            .filter(videos::Column::DeleteTime.is_null())
            .exec(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(failed.rows_affected == 1)
    }
}

/// The state after a job's change; none where that is known already, or comes too late to matter.
fn next_state(row: &videos::Model, update: &JobUpdate) -> Option<State> {
    row.state.on(&update.event).ok().filter(|_| row.job_revision < update.revision)
}

fn change(
    row: &videos::Model,
    update: &JobUpdate,
    next: State,
    revision: i64,
) -> sea_orm::UpdateMany<videos::Entity> {
    let failure = match &update.event {
        Event::JobFailed(failure) => Some(failure.clone()),
        _ => None,
    };
    let ended = next.is_final().then_some(update.time);
    let cleanup = (next == State::Failed).then_some(update.time);
    let outputs = outputs_of(row).then(update.outputs.clone(), next, update.time);
    let download_keys = (!outputs.download_keys.is_empty()).then(|| {
        let download_keys = outputs.download_keys.into_iter().collect();
        WatchJobsResponse { download_keys, ..WatchJobsResponse::default() }.encode_to_vec()
    });
    videos::Entity::update_many()
        .col_expr(videos::Column::State, Expr::value(next))
        .col_expr(videos::Column::Revision, Expr::value(revision))
        .col_expr(videos::Column::Job, Expr::value(Some(update.job.clone())))
        .col_expr(videos::Column::JobRevision, Expr::value(update.revision))
        .col_expr(videos::Column::Outcome, Expr::value(Some(kept(update.outcome.clone(), failure))))
        .col_expr(videos::Column::EndTime, Expr::value(ended))
        .col_expr(videos::Column::CleanupTime, Expr::value(cleanup))
        .col_expr(videos::Column::PlayableTime, Expr::value(outputs.playable_time))
        .col_expr(videos::Column::MasterPlaylistKey, Expr::value(outputs.master_playlist_key))
        .col_expr(videos::Column::PosterKey, Expr::value(outputs.poster_key))
        .col_expr(videos::Column::DashManifestKey, Expr::value(outputs.dash_manifest_key))
        .col_expr(videos::Column::ThumbnailsKey, Expr::value(outputs.thumbnails_key))
        .col_expr(videos::Column::DownloadKeys, Expr::value(download_keys))
        .col_expr(videos::Column::OutputSizeBytes, Expr::value(update.output_size_bytes))
        .filter(videos::Column::Id.eq(&row.id))
        .filter(videos::Column::State.eq(row.state))
        .filter(videos::Column::JobRevision.lt(update.revision))
        .filter(videos::Column::DeleteTime.is_null())
}

/// A job of a deleted video that nobody knew of: the cleanup must come again, to stop it.
async fn adopt_orphan(
    transaction: &DatabaseTransaction,
    row: &videos::Model,
    update: &JobUpdate,
    next: State,
) -> Result<(), DbErr> {
    if row.job.is_some() || next.is_final() {
        return Ok(());
    }
    videos::Entity::update_many()
        .col_expr(videos::Column::Job, Expr::value(Some(update.job.clone())))
        .col_expr(videos::Column::CleanupTime, Expr::value(Some(update.time)))
        .filter(videos::Column::Id.eq(&row.id))
        .filter(videos::Column::Job.is_null())
        .exec(transaction)
        .await?;
    Ok(())
}

/// What is kept of a job. How far it is changes too often to be kept.
fn kept(mut outcome: Job, failure: Option<Failure>) -> Vec<u8> {
    for rendition in &mut outcome.renditions {
        rendition.progress = None;
    }
    outcome.failure = failure;
    outcome.encode_to_vec()
}

/// What is known of a video's outputs while its job runs.
fn outputs_of(row: &videos::Model) -> Outputs {
    Outputs {
        playable_time: row.playable_time,
        master_playlist_key: row.master_playlist_key.clone(),
        poster_key: row.poster_key.clone(),
        ..Outputs::default()
    }
}
