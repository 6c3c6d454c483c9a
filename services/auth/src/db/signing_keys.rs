//! Signing keys: only when each was first used.

use sea_orm::{
    ActiveValue::Set,
    EntityTrait as _,
    sea_query::{Expr, OnConflict},
};

use super::{connection::Db, entity::signing_keys};
use crate::error::AuthError;

impl Db {
    /// When a key was first used: `now` for a new key, which is stored.
    pub async fn signing_key_create_time(&self, kid: &str, now: i64) -> Result<i64, AuthError> {
        let key = signing_keys::ActiveModel { kid: Set(kid.to_owned()), create_time: Set(now) };
        let mut keep = OnConflict::column(signing_keys::Column::Kid);
        // An update to the same value: replicas that start at the same time all find a row.
        keep.value(signing_keys::Column::Kid, Expr::value(kid));
        let insert = signing_keys::Entity::insert(key).on_conflict(keep);
        insert.exec_without_returning(&self.connection).await?;
        let row = signing_keys::Entity::find_by_id(kid).one(&self.connection).await?;
        Ok(row.map_or(now, |row| row.create_time))
    }
}
