//! What is kept: uploads, videos, and how far the jobs were followed.
//!
//! Every stored change of a video takes a number from one counter, in its own transaction and before anything
//! else in it. The counter's row lock makes those transactions commit in the order of their numbers, so that
//! who has seen revision N has seen everything up to N.

mod entity;
mod jobs;
mod migration;
mod uploads;
mod videos;

pub(crate) use entity::{uploads as upload_row, videos as video_row};
pub(crate) use jobs::{Applied, JobUpdate};
pub(crate) use uploads::Created;

use reelmill_platform::database;
use sea_orm::{
    ColumnTrait as _, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait as _, ExprTrait as _,
    QueryFilter as _, sea_query::Expr,
};

use crate::UploadError;
use entity::counter;

/// The one counter there is.
const VIDEOS: &str = "videos";

/// The database of the service.
#[derive(Clone)]
pub(crate) struct Store {
    db: DatabaseConnection,
}

impl Store {
    pub(crate) async fn open(url: &str) -> Result<Self, UploadError> {
        Ok(Self { db: database::connect::<migration::Migrator>(url).await? })
    }
}

/// The number of the next change.
async fn next_revision(transaction: &DatabaseTransaction) -> Result<i64, DbErr> {
    counter::Entity::update_many()
        .col_expr(counter::Column::Value, Expr::col(counter::Column::Value).add(1))
        .filter(counter::Column::Id.eq(VIDEOS))
        .exec(transaction)
        .await?;
    let row = counter::Entity::find_by_id(VIDEOS).one(transaction).await?;
    row.map(|row| row.value).ok_or_else(|| DbErr::RecordNotFound("the counter of changes".to_owned()))
}
