//! Upload sessions.

use reelmill_platform::database::is_unique_violation;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, DatabaseTransaction, DbErr, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, TransactionTrait as _,
    sea_query::Expr,
};

use super::{
    Store,
    entity::{uploads, videos},
    next_revision,
};
use crate::domain::{
    names::Cursor,
    upload::{Event, State},
    video,
};

/// How an upload came to be there.
pub(crate) enum Created {
    /// It was made now.
    New(uploads::Model),
    /// An earlier call with the same idempotency key made it.
    Before(uploads::Model),
}

impl Store {
    /// Writes an upload and its video, unless the idempotency key was used before.
    pub(crate) async fn create(
        &self,
        upload: uploads::Model,
        mut video: videos::Model,
    ) -> Result<Created, DbErr> {
        if let Some(before) = self.upload_by_request(&upload).await? {
            return Ok(Created::Before(before));
        }
        let transaction = self.db.begin().await?;
        video.revision = next_revision(&transaction).await?;
        match uploads::Entity::insert(upload.clone().into_active_model())
            .exec_without_returning(&transaction)
            .await
        {
            Err(error) if is_unique_violation(&error) => {
                transaction.rollback().await?;
                // Another call with the same key was faster.
                let before = self.upload_by_request(&upload).await?;
                return before.map(Created::Before).ok_or(error);
            }
            inserted => inserted?,
        };
        videos::Entity::insert(video.into_active_model()).exec_without_returning(&transaction).await?;
        transaction.commit().await?;
        Ok(Created::New(upload))
    }

    async fn upload_by_request(&self, upload: &uploads::Model) -> Result<Option<uploads::Model>, DbErr> {
        let Some(request_id) = &upload.request_id else { return Ok(None) };
        uploads::Entity::find()
            .filter(uploads::Column::Owner.eq(&upload.owner))
            .filter(uploads::Column::RequestId.eq(request_id))
            .one(&self.db)
            .await
    }

    pub(crate) async fn upload(&self, id: &str) -> Result<Option<uploads::Model>, DbErr> {
        uploads::Entity::find_by_id(id).one(&self.db).await
    }

    /// A page of the owner's uploads that have not ended, the newest first.
    pub(crate) async fn open_uploads(
        &self,
        owner: &str,
        after: Option<&Cursor>,
        limit: u64,
    ) -> Result<Vec<uploads::Model>, DbErr> {
        let mut query = uploads::Entity::find()
            .filter(uploads::Column::Owner.eq(owner))
            .filter(uploads::Column::State.is_in([State::Open, State::Completing]));
        if let Some(Cursor { create_time, id }) = after {
            query = query.filter(
                Condition::any().add(uploads::Column::CreateTime.lt(*create_time)).add(
                    Condition::all()
                        .add(uploads::Column::CreateTime.eq(*create_time))
                        .add(uploads::Column::Id.lt(id)),
                ),
            );
        }
        query
            .order_by_desc(uploads::Column::CreateTime)
            .order_by_desc(uploads::Column::Id)
            .limit(limit)
            .all(&self.db)
            .await
    }

    /// Changes the store's id of the multipart upload, if it still is `before` and the upload is open.
    pub(crate) async fn set_store_upload(
        &self,
        id: &str,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Result<bool, DbErr> {
        let unchanged = match before {
            None => uploads::Column::StoreUploadId.is_null(),
            Some(before) => uploads::Column::StoreUploadId.eq(before),
        };
        let changed = uploads::Entity::update_many()
            .col_expr(uploads::Column::StoreUploadId, Expr::value(after.map(str::to_owned)))
            .filter(uploads::Column::Id.eq(id))
            .filter(uploads::Column::State.eq(State::Open))
            .filter(unchanged)
            .exec(&self.db)
            .await?;
        Ok(changed.rows_affected == 1)
    }

    /// Begins to complete an upload, or takes a broken call over, if it still is as `seen`. The moment that
    /// counts as the completion's is that of the first call since the upload was open.
    pub(crate) async fn claim(
        &self,
        seen: &uploads::Model,
        claimed_parts: Vec<u8>,
        now: i64,
    ) -> Result<Option<uploads::Model>, DbErr> {
        let Ok(next) = seen.state.on(Event::Complete) else { return Ok(None) };
        // Each claim has its own time, so that a slow one can't end the claim of its successor.
        let update_time = now.max(seen.update_time + 1);
        let complete_time = seen.complete_time.filter(|_| seen.state == State::Completing).or(Some(now));
        let changed = uploads::Entity::update_many()
            .col_expr(uploads::Column::State, Expr::value(next))
            .col_expr(uploads::Column::UpdateTime, Expr::value(update_time))
            .col_expr(uploads::Column::ClaimedParts, Expr::value(Some(claimed_parts.clone())))
            .col_expr(uploads::Column::CompleteTime, Expr::value(complete_time))
            .filter(uploads::Column::Id.eq(&seen.id))
            .filter(uploads::Column::State.eq(seen.state))
            .filter(uploads::Column::UpdateTime.eq(seen.update_time))
            .exec(&self.db)
            .await?;
        let mut claimed = seen.clone();
        claimed.state = next;
        claimed.update_time = update_time;
        claimed.claimed_parts = Some(claimed_parts);
        claimed.complete_time = complete_time;
        Ok((changed.rows_affected == 1).then_some(claimed))
    }

    /// Lets a claimed upload take parts again.
    pub(crate) async fn reopen(&self, claimed: &uploads::Model, now: i64) -> Result<(), DbErr> {
        let Ok(next) = claimed.state.on(Event::Reopen) else { return Ok(()) };
        uploads::Entity::update_many()
            .col_expr(uploads::Column::State, Expr::value(next))
            .col_expr(uploads::Column::UpdateTime, Expr::value(now.max(claimed.update_time + 1)))
            .col_expr(uploads::Column::ClaimedParts, Expr::value(None::<Vec<u8>>))
            .col_expr(uploads::Column::CompleteTime, Expr::value(None::<i64>))
            .filter(uploads::Column::Id.eq(&claimed.id))
            .filter(uploads::Column::State.eq(claimed.state))
            .filter(uploads::Column::UpdateTime.eq(claimed.update_time))
            .exec(&self.db)
            .await?;
        Ok(())
    }

    /// The file is whole: ends the upload and moves its video on, in one transaction. False where the
    /// upload is not being completed any more.
    pub(crate) async fn finish(&self, upload: &uploads::Model, now: i64) -> Result<bool, DbErr> {
        let (Ok(ended), Ok(processing)) =
            (State::Completing.on(Event::Finish), video::State::Uploading.on(&video::Event::Uploaded))
        else {
            return Ok(false);
        };
        let transaction = self.db.begin().await?;
        let revision = next_revision(&transaction).await?;
        let finished = uploads::Entity::update_many()
            .col_expr(uploads::Column::State, Expr::value(ended))
            .col_expr(uploads::Column::UpdateTime, Expr::value(now))
            .col_expr(uploads::Column::ClaimedParts, Expr::value(None::<Vec<u8>>))
            .filter(uploads::Column::Id.eq(&upload.id))
            .filter(uploads::Column::State.eq(State::Completing))
            .exec(&transaction)
            .await?;
        let moved = videos::Entity::update_many()
            .col_expr(videos::Column::State, Expr::value(processing))
            .col_expr(videos::Column::Revision, Expr::value(revision))
            .col_expr(videos::Column::CompleteTime, Expr::value(upload.complete_time))
            .filter(videos::Column::Id.eq(&upload.video_id))
            .filter(videos::Column::State.eq(video::State::Uploading))
            .filter(videos::Column::DeleteTime.is_null())
            .exec(&transaction)
            .await?;
        if finished.rows_affected != 1 || moved.rows_affected != 1 {
            transaction.rollback().await?;
            return Ok(false);
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Gives an open upload up: its video exists no more. False where it is not open.
    pub(crate) async fn abort(&self, upload: &uploads::Model, now: i64) -> Result<bool, DbErr> {
        let Ok(next) = upload.state.on(Event::Abort) else { return Ok(false) };
        let transaction = self.db.begin().await?;
        let revision = next_revision(&transaction).await?;
        let aborted = uploads::Entity::update_many()
            .col_expr(uploads::Column::State, Expr::value(next))
            .col_expr(uploads::Column::UpdateTime, Expr::value(now))
            .filter(uploads::Column::Id.eq(&upload.id))
            .filter(uploads::Column::State.eq(upload.state))
            .exec(&transaction)
            .await?;
        if aborted.rows_affected != 1 {
            transaction.rollback().await?;
            return Ok(false);
        }
        mark_deleted(&transaction, &upload.video_id, revision, now).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Takes back an upload that could not be opened, and sets its idempotency key free.
    pub(crate) async fn take_back(&self, upload: &uploads::Model, now: i64) -> Result<(), DbErr> {
        if self.abort(upload, now).await? {
            uploads::ActiveModel {
                id: sea_orm::Set(upload.id.clone()),
                request_id: sea_orm::Set(None),
                ..Default::default()
            }
            .update(&self.db)
            .await?;
        }
        Ok(())
    }

    /// Open uploads whose time is over.
    pub(crate) async fn expired_uploads(&self, now: i64, limit: u64) -> Result<Vec<uploads::Model>, DbErr> {
        uploads::Entity::find()
            .filter(uploads::Column::State.eq(State::Open))
            .filter(uploads::Column::ExpireTime.lte(now))
            .limit(limit)
            .all(&self.db)
            .await
    }

    /// Uploads that have been completing since before `before`: whoever did it is gone.
    pub(crate) async fn stuck_uploads(&self, before: i64, limit: u64) -> Result<Vec<uploads::Model>, DbErr> {
        uploads::Entity::find()
            .filter(uploads::Column::State.eq(State::Completing))
            .filter(uploads::Column::UpdateTime.lte(before))
            .limit(limit)
            .all(&self.db)
            .await
    }
}

/// A video that exists no more for its owner, and whose objects are due for removal.
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
