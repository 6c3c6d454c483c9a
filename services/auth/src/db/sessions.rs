//! Sessions.

use sea_orm::{
    ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, sea_query::Expr,
};

use super::{
    connection::Db,
    entity::{refresh_tokens, sessions},
};
use crate::{error::AuthError, refresh_token::RefreshToken};

impl Db {
    /// Inserts a session with its first refresh token.
    pub async fn insert_session(
        &self,
        session: sessions::Model,
        token: &RefreshToken,
    ) -> Result<(), AuthError> {
        let transaction = self.begin().await?;
        let token = refresh_tokens::Model::unused(token, &session);
        let insert = sessions::Entity::insert(session.into_active_model());
        insert.exec_without_returning(&transaction).await?;
        let insert = refresh_tokens::Entity::insert(token.into_active_model());
        insert.exec_without_returning(&transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Deletes a user's expired sessions. Their tokens are deleted by cascade.
    pub async fn delete_expired_sessions(&self, user: &str, now: i64) -> Result<(), AuthError> {
        sessions::Entity::delete_many()
            .filter(sessions::Column::UserId.eq(user))
            .filter(sessions::Column::ExpireTime.lte(now))
            .exec(&self.connection)
            .await?;
        Ok(())
    }

    /// Loads a session.
    pub async fn session(&self, id: &str) -> Result<Option<sessions::Model>, AuthError> {
        Ok(sessions::Entity::find_by_id(id).one(&self.connection).await?)
    }

    /// Lists the user's live sessions, newest first.
    pub async fn live_sessions(&self, user: &str, now: i64) -> Result<Vec<sessions::Model>, AuthError> {
        let live = sessions::Entity::find()
            .filter(sessions::Column::UserId.eq(user))
            .filter(sessions::Column::EndTime.is_null())
            .filter(sessions::Column::ExpireTime.gt(now))
            .order_by_desc(sessions::Column::CreateTime)
            .order_by_desc(sessions::Column::Id);
        Ok(live.all(&self.connection).await?)
    }

    /// Ends one of the user's sessions, unless it has ended already. Returns whether the user has such a session.
    pub async fn end_session(&self, id: &str, user: &str, now: i64) -> Result<bool, AuthError> {
        let ended = sessions::Entity::update_many()
            .col_expr(sessions::Column::EndTime, Expr::value(now))
            .filter(sessions::Column::Id.eq(id))
            .filter(sessions::Column::UserId.eq(user))
            .filter(sessions::Column::EndTime.is_null())
            .exec(&self.connection)
            .await?;
        if ended.rows_affected > 0 {
            return Ok(true);
        }
        let own = sessions::Entity::find_by_id(id).filter(sessions::Column::UserId.eq(user));
        Ok(own.count(&self.connection).await? > 0)
    }

    /// Ends all of the user's live sessions. Returns how many.
    pub async fn end_all_sessions(&self, user: &str, now: i64) -> Result<u64, AuthError> {
        let ended = sessions::Entity::update_many()
            .col_expr(sessions::Column::EndTime, Expr::value(now))
            .filter(sessions::Column::UserId.eq(user))
            .filter(sessions::Column::EndTime.is_null())
            .filter(sessions::Column::ExpireTime.gt(now))
            .exec(&self.connection)
            .await?;
        Ok(ended.rows_affected)
    }

    /// Ids of the user's sessions that were ended at `since` or later.
    pub async fn sessions_ended_since(&self, user: &str, since: i64) -> Result<Vec<String>, AuthError> {
        let ids = sessions::Entity::find()
            .select_only()
            .column(sessions::Column::Id)
            .filter(sessions::Column::UserId.eq(user))
            .filter(sessions::Column::EndTime.gte(since))
            .into_tuple::<String>();
        Ok(ids.all(&self.connection).await?)
    }
}
