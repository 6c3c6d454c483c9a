//! Videos: deletion, cleanup, missing jobs. Reads of whole videos are in `video_details.rs`.

use sea_orm::{
    ColumnTrait as _, DatabaseTransaction, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, TransactionTrait as _, sea_query::Expr,
};

use super::{
    connection::Db,
    entity::{uploads, videos},
    revision::next_revision,
};
use crate::domain::{
    upload_state::{UploadEvent, UploadState},
    video_state::VideoState,
};

impl Db {
    /// Loads a video, deleted or not.
    pub(crate) async fn video(&self, id: &str) -> Result<Option<videos::Model>, DbErr> {
        videos::Entity::find_by_id(id).one(&self.connection).await
    }

    /// Lists videos after an id, deleted or not, by their ids.
    pub(crate) async fn videos_by_id(&self, after: &str, limit: u64) -> Result<Vec<videos::Model>, DbErr> {
        videos::Entity::find()
            .filter(videos::Column::Id.gt(after))
            .order_by_asc(videos::Column::Id)
            .limit(limit)
            .all(&self.connection)
            .await
    }

    /// Marks a video as deleted and schedules its cleanup. Returns `false` if it was deleted before.
    pub(crate) async fn delete_video(&self, video: &videos::Model, now: i64) -> Result<bool, DbErr> {
        let transaction = self.connection.begin().await?;
        let revision = next_revision(&transaction, &video.owner).await?;
        if !mark_deleted(&transaction, &video.id, revision, now).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        for state in [UploadState::Open, UploadState::Completing] {
            let Ok(next) = state.on(UploadEvent::Delete) else { continue };
            uploads::Entity::update_many()
                .col_expr(uploads::Column::State, Expr::value(next))
                .col_expr(uploads::Column::UpdateTime, Expr::value(now))
                .filter(uploads::Column::VideoId.eq(&video.id))
                .filter(uploads::Column::State.eq(state))
                .exec(&transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Lists PROCESSING videos that have no job yet.
    pub(crate) async fn videos_without_job(&self, limit: u64) -> Result<Vec<videos::Model>, DbErr> {
        videos::Entity::find()
            .filter(videos::Column::State.eq(VideoState::Processing))
            .filter(videos::Column::Job.is_null())
            .filter(videos::Column::DeleteTime.is_null())
            .limit(limit)
            .all(&self.connection)
            .await
    }

    /// Lists videos whose cleanup is due.
    pub(crate) async fn videos_to_clean_up(&self, now: i64, limit: u64) -> Result<Vec<videos::Model>, DbErr> {
        videos::Entity::find()
            .filter(videos::Column::CleanupTime.lte(now))
            .order_by_asc(videos::Column::CleanupTime)
            .limit(limit)
            .all(&self.connection)
            .await
    }

    /// Schedules the next cleanup, or none, unless the cleanup was rescheduled since `seen` was read.
    pub(crate) async fn reschedule_cleanup(
        &self,
        seen: &videos::Model,
        next: Option<i64>,
    ) -> Result<(), DbErr> {
        videos::Entity::update_many()
            .col_expr(videos::Column::CleanupTime, Expr::value(next))
            .filter(videos::Column::Id.eq(&seen.id))
            .filter(videos::Column::CleanupTime.eq(seen.cleanup_time))
            .exec(&self.connection)
            .await?;
        Ok(())
    }

    /// Removes the rows of a deleted video.
    pub(crate) async fn purge_video(&self, id: &str) -> Result<(), DbErr> {
        let transaction = self.connection.begin().await?;
        uploads::Entity::delete_many().filter(uploads::Column::VideoId.eq(id)).exec(&transaction).await?;
        videos::Entity::delete_by_id(id).exec(&transaction).await?;
        transaction.commit().await
    }
}

/// Marks a video as deleted and schedules its cleanup. Returns `false` if it was deleted before.
pub(super) async fn mark_deleted(
    transaction: &DatabaseTransaction,
    video: &str,
    revision: i64,
    now: i64,
) -> Result<bool, DbErr> {
    let marked = videos::Entity::update_many()
        .col_expr(videos::Column::DeleteTime, Expr::value(Some(now)))
        .col_expr(videos::Column::CleanupTime, Expr::value(Some(now)))
        .col_expr(videos::Column::Revision, Expr::value(revision))
        .filter(videos::Column::Id.eq(video))
        .filter(videos::Column::DeleteTime.is_null())
        .exec(transaction)
        .await?;
    Ok(marked.rows_affected == 1)
}
