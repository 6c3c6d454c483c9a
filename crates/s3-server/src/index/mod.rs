//! The index: which objects, uploads and parts exist, and of which blobs they are made.
//!
//! SQLite with one connection, so that transactions run one after the other, and
//! `synchronous=FULL`, so that what was answered survives a crash.

mod objects;
mod uploads;

use std::collections::HashSet;
use std::path::Path;

use s3s::s3_error;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    QueryResult, Statement, TransactionTrait, Value,
};

use crate::blobs::BlobId;
use crate::error::{OpenError, Result};
use crate::headers::now_millis;

pub(crate) use objects::{Extent, Found, NewObject, Object};
pub(crate) use uploads::{Completed, NewPart, Part, Upload};

/// The format this version writes, kept in SQLite's `user_version`.
const FORMAT: i64 = 1;

/// An object that is gone from the index, and the blobs that only it named.
pub(crate) struct Retired {
    pub(crate) object: i64,
    pub(crate) blobs: Vec<BlobId>,
}

/// The open index.
pub(crate) struct Index {
    db: DatabaseConnection,
}

impl Index {
    pub(crate) async fn open(path: &Path) -> std::result::Result<Self, OpenError> {
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

    async fn create_or_check_format(&self) -> std::result::Result<(), OpenError> {
        let txn = self.db.begin().await?;
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
            found => Err(OpenError::Newer { found, known: FORMAT }),
        }
    }

    /// Creates the bucket unless it exists. True if it is new.
    pub(crate) async fn ensure_bucket(&self, name: &str) -> std::result::Result<bool, DbErr> {
        let insert = "INSERT INTO bucket (name, created) VALUES (?, ?) ON CONFLICT DO NOTHING";
        let done = self.db.execute_raw(sql(insert, [name.into(), now_millis().into()])).await?;
        Ok(done.rows_affected() > 0)
    }

    /// Refuses a bucket that does not exist.
    pub(crate) async fn require_bucket(&self, name: &str) -> Result<()> {
        require_bucket(&self.db, name).await
    }

    /// The ids of all blobs that something names.
    pub(crate) async fn blobs(&self) -> std::result::Result<HashSet<String>, DbErr> {
        let rows =
            self.db.query_all_raw(sql("SELECT blob FROM extent UNION ALL SELECT blob FROM part", [])).await?;
        rows.iter().map(|row| row.try_get_by_index(0)).collect()
    }

    /// True if an object or a part names the blob. Reads the whole index: for rare doubts only.
    pub(crate) async fn names(&self, blob: &BlobId) -> std::result::Result<bool, DbErr> {
        let find =
            "SELECT 1 FROM extent WHERE blob = ?1 UNION ALL SELECT 1 FROM part WHERE blob = ?1 LIMIT 1";
        Ok(self.db.query_one_raw(sql(find, [blob.as_str().into()])).await?.is_some())
    }

    /// Makes the index fail as if the disk were full.
    #[cfg(test)]
    pub(crate) async fn limit_pages(&self, pages: u32) -> std::result::Result<(), DbErr> {
        self.db.execute_unprepared(&format!("PRAGMA max_page_count = {pages}")).await.map(drop)
    }

    async fn begin(&self) -> std::result::Result<DatabaseTransaction, DbErr> {
        self.db.begin().await
    }
}

async fn require_bucket(db: &impl ConnectionTrait, name: &str) -> Result<()> {
    match db.query_one_raw(sql("SELECT 1 FROM bucket WHERE name = ?", [name.into()])).await? {
        Some(_) => Ok(()),
        None => Err(s3_error!(NoSuchBucket, "The specified bucket does not exist.").into()),
    }
}

fn sql<const N: usize>(text: &str, values: [Value; N]) -> Statement {
    Statement::from_sql_and_values(DbBackend::Sqlite, text, values)
}

/// SQLite's integers are signed; sizes are not.
fn unsigned(row: &QueryResult, column: &str) -> std::result::Result<u64, DbErr> {
    let value: i64 = row.try_get("", column)?;
    u64::try_from(value).map_err(|e| DbErr::Custom(e.to_string()))
}

fn json<T: serde::de::DeserializeOwned>(row: &QueryResult, column: &str) -> std::result::Result<T, DbErr> {
    let text: String = row.try_get("", column)?;
    serde_json::from_str(&text).map_err(|e| DbErr::Json(e.to_string()))
}
