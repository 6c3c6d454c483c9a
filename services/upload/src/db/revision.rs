use sea_orm::{
    ActiveValue, DatabaseTransaction, DbErr, EntityTrait as _, ExprTrait as _,
    sea_query::{Expr, OnConflict},
};

use super::connection::Db;
use super::entity::owner_revisions::{ActiveModel, Column, Entity};

/// Takes the next revision of an owner's videos, and with it the lock that orders the transactions that change them.
pub(super) async fn next_revision(transaction: &DatabaseTransaction, owner: &str) -> Result<i64, DbErr> {
    let first = ActiveModel { owner: ActiveValue::Set(owner.to_owned()), revision: ActiveValue::Set(1) };
    let next = Expr::col((Entity, Column::Revision)).add(1);
    Entity::insert(first)
        .on_conflict(OnConflict::column(Column::Owner).value(Column::Revision, next).to_owned())
        .exec_without_returning(transaction)
        .await?;
    let row = Entity::find_by_id(owner).one(transaction).await?;
    row.map(|row| row.revision)
        .ok_or_else(|| DbErr::RecordNotFound(format!("the revision counter of {owner}")))
}

impl Db {
    /// The last revision of an owner's videos.
    pub(crate) async fn owner_revision(&self, owner: &str) -> Result<i64, DbErr> {
        let row = Entity::find_by_id(owner).one(&self.connection).await?;
        Ok(row.map_or(0, |row| row.revision))
    }
}
