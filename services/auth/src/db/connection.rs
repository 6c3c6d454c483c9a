use reelmill_platform::database;
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait as _,
};

use super::migration::Migrator;
use crate::error::AuthError;

/// The auth database.
#[derive(Clone)]
pub(crate) struct Db {
    pub(super) connection: DatabaseConnection,
}

impl Db {
    /// Opens and migrates the database.
    pub async fn open(url: &str) -> Result<Self, AuthError> {
        Ok(Self { connection: database::connect::<Migrator>(url).await? })
    }

    /// Begins a transaction that reads before it writes. On SQLite it takes the write lock at once: upgrading a read
    /// lock fails as busy if another process has written in between.
    pub(super) async fn begin(&self) -> Result<DatabaseTransaction, AuthError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(self.connection.begin_with_options(options).await?)
    }
}
