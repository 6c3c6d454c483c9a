//! The database connection, its format, and queries over all blobs.

use std::{collections::HashSet, path::Path};

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbErr,
    TransactionTrait,
    sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous},
};

use super::rows::sql;
use crate::{blobs::BlobId, error::OpenError};

/// The format this version writes, stored in SQLite's `user_version`.
const FORMAT: i64 = 2;

/// The open index.
pub(crate) struct Index {
    pub(super) db: DatabaseConnection,
}

impl Index {
    pub(crate) async fn open(path: &Path) -> Result<Self, OpenError> {
        let mut options = ConnectOptions::new("sqlite://index.db");
        let path = path.to_owned();
        options
            .max_connections(1)
            .min_connections(1)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .sqlx_logging(false)
            .map_sqlx_sqlite_opts(move |sqlite| {
                sqlite
                    .filename(&path)
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
            });
        let index = Self { db: Database::connect(options).await? };
        index.create_or_check_format().await?;
        Ok(index)
    }

    async fn create_or_check_format(&self) -> Result<(), OpenError> {
        let txn = self.begin().await?;
        let found = match txn.query_one_raw(sql("PRAGMA user_version", [])).await? {
            Some(row) => row.try_get_by_index::<i32>(0)?.into(),
            None => 0,
        };
        match found {
            0 => {
                txn.execute_unprepared(include_str!("schema.sql")).await?;
                txn.execute_unprepared(&format!("PRAGMA user_version = {FORMAT}")).await?;
                txn.commit().await?;
                Ok(())
            }
            FORMAT => Ok(()),
            found if found < FORMAT => Err(OpenError::OlderFormat { found, supported: FORMAT }),
            found => Err(OpenError::NewerFormat { found, supported: FORMAT }),
        }
    }

    /// The ids of all blobs that an object or a part references.
    pub(crate) async fn referenced_blobs(&self) -> Result<HashSet<String>, DbErr> {
        let rows =
            self.db.query_all_raw(sql("SELECT blob FROM extent UNION ALL SELECT blob FROM part", [])).await?;
        rows.iter().map(|row| row.try_get_by_index(0)).collect()
    }

    /// True if an object or a part references the blob. Scans the whole index: for rare errors only.
    pub(crate) async fn references(&self, blob: &BlobId) -> Result<bool, DbErr> {
        let find =
            "SELECT 1 FROM extent WHERE blob = ?1 UNION ALL SELECT 1 FROM part WHERE blob = ?1 LIMIT 1";
        Ok(self.db.query_one_raw(sql(find, [blob.as_str().into()])).await?.is_some())
    }

    pub(super) async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        self.db.begin().await
    }

    /// Limits the size of the database, so that writes fail as on a full disk.
    #[cfg(test)]
    pub(crate) async fn limit_pages(&self, pages: u32) -> Result<(), DbErr> {
        self.db.execute_unprepared(&format!("PRAGMA max_page_count = {pages}")).await.map(drop)
    }
}
