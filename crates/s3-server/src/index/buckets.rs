//! Buckets in the index.

use s3s::s3_error;
use sea_orm::{ConnectionTrait, DbErr};

use super::{connection::Index, rows::sql};
use crate::{error::Result, timestamps::now_millis};

impl Index {
    /// Creates the bucket unless it exists. True if it is new.
    pub(crate) async fn ensure_bucket(&self, name: &str) -> std::result::Result<bool, DbErr> {
        let insert = "INSERT INTO bucket (name, create_time) VALUES (?, ?) ON CONFLICT DO NOTHING";
        let done = self.db.execute_raw(sql(insert, [name.into(), now_millis().into()])).await?;
        Ok(done.rows_affected() > 0)
    }

    /// Rejects a bucket that does not exist.
    pub(crate) async fn require_bucket(&self, name: &str) -> Result<()> {
        require_bucket(&self.db, name).await
    }
}

pub(super) async fn require_bucket(db: &impl ConnectionTrait, name: &str) -> Result<()> {
    match db.query_one_raw(sql("SELECT 1 FROM bucket WHERE name = ?", [name.into()])).await? {
        Some(_) => Ok(()),
        None => Err(s3_error!(NoSuchBucket, "The specified bucket does not exist.").into()),
    }
}
