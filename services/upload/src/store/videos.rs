//! The catalogue.

use sea_orm::{
    ColumnTrait as _, Condition, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, TransactionTrait as _, sea_query::Expr,
};

use super::{
    Store,
    entity::{uploads, videos},
    next_revision,
    uploads::mark_deleted,
};
use crate::domain::{
    names::Cursor,
    upload::{self, Event},
    video::State,
};

impl Store {
    /// A video, deleted or not.
    pub(crate) async fn video(&self, id: &str) -> Result<Option<videos::Model>, DbErr> {
        videos::Entity::find_by_id(id).one(&self.db).await
    }

    /// A page of the owner's videos, the newest first.
    pub(crate) async fn videos(
        &self,
        owner: &str,
        after: Option<&Cursor>,
        limit: u64,
    ) -> Result<Vec<videos::Model>, DbErr> {
        let mut query = videos::Entity::find()
            .filter(videos::Column::Owner.eq(owner))
            .filter(videos::Column::DeleteTime.is_null());
        if let Some(Cursor { create_time, id }) = after {
            query = query.filter(
                Condition::any().add(videos::Column::CreateTime.lt(*create_time)).add(
                    Condition::all()
                        .add(videos::Column::CreateTime.eq(*create_time))
                        .add(videos::Column::Id.lt(id)),
                ),
            );
        }
        query
            .order_by_desc(videos::Column::CreateTime)
            .order_by_desc(videos::Column::Id)
            .limit(limit)
            .all(&self.db)
            .await
    }

    /// The owner's videos, deleted ones too, that changed after `revision`, in the order of the changes.
    pub(crate) async fn changed_since(
        &self,
        owner: &str,
        revision: i64,
        limit: u64,
    ) -> Result<Vec<videos::Model>, DbErr> {
        videos::Entity::find()
            .filter(videos::Column::Owner.eq(owner))
            .filter(videos::Column::Revision.gt(revision))
            .order_by_asc(videos::Column::Revision)
            .limit(limit)
            .all(&self.db)
            .await
    }

    /// Deletes a video for its owner, at once; its objects are due for removal. False where it was
    /// deleted before.
    pub(crate) async fn delete_video(&self, id: &str, now: i64) -> Result<bool, DbErr> {
        let transaction = self.db.begin().await?;
        let revision = next_revision(&transaction).await?;
        if !mark_deleted(&transaction, id, revision, now).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        for state in [upload::State::Open, upload::State::Completing] {
            let Ok(next) = state.on(Event::Delete) else { continue };
            uploads::Entity::update_many()
                .col_expr(uploads::Column::State, Expr::value(next))
                .col_expr(uploads::Column::UpdateTime, Expr::value(now))
                .filter(uploads::Column::VideoId.eq(id))
                .filter(uploads::Column::State.eq(state))
                .exec(&transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Videos that wait for a job they have not got.
    pub(crate) async fn jobless_videos(&self, limit: u64) -> Result<Vec<videos::Model>, DbErr> {
        videos::Entity::find()
            .filter(videos::Column::State.eq(State::Processing))
            .filter(videos::Column::Job.is_null())
            .filter(videos::Column::DeleteTime.is_null())
            .limit(limit)
            .all(&self.db)
            .await
    }

    /// Videos whose objects are due for removal.
    pub(crate) async fn cleanups(&self, now: i64, limit: u64) -> Result<Vec<videos::Model>, DbErr> {
        videos::Entity::find()
            .filter(videos::Column::CleanupTime.lte(now))
            .order_by_asc(videos::Column::CleanupTime)
            .limit(limit)
            .all(&self.db)
            .await
    }

    /// The objects of `seen` were removed; they are due again at `next`, or never.
    pub(crate) async fn cleaned(&self, seen: &videos::Model, next: Option<i64>) -> Result<(), DbErr> {
        videos::Entity::update_many()
            .col_expr(videos::Column::CleanupTime, Expr::value(next))
            .filter(videos::Column::Id.eq(&seen.id))
            .filter(videos::Column::CleanupTime.eq(seen.cleanup_time))
            .exec(&self.db)
            .await?;
        Ok(())
    }

    /// Forgets a deleted video.
    pub(crate) async fn forget(&self, id: &str) -> Result<(), DbErr> {
        let transaction = self.db.begin().await?;
        uploads::Entity::delete_many().filter(uploads::Column::VideoId.eq(id)).exec(&transaction).await?;
        videos::Entity::delete_by_id(id).exec(&transaction).await?;
        transaction.commit().await
    }
}
