use sea_orm::{
    ColumnTrait as _, DatabaseTransaction, DbErr, EntityTrait as _, ExprTrait as _, QueryFilter as _,
    sea_query::Expr,
};

use super::entity::counters::{self, VIDEO_REVISION};

/// Takes the next revision, and with it the lock that orders the transactions that change videos.
pub(super) async fn next_revision(transaction: &DatabaseTransaction) -> Result<i64, DbErr> {
    counters::Entity::update_many()
        .col_expr(counters::Column::Value, Expr::col(counters::Column::Value).add(1))
        .filter(counters::Column::Name.eq(VIDEO_REVISION))
        .exec(transaction)
        .await?;
    let row = counters::Entity::find_by_id(VIDEO_REVISION).one(transaction).await?;
    row.map(|row| row.value).ok_or_else(|| DbErr::RecordNotFound("the video revision counter".to_owned()))
}
