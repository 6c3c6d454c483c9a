//! The database seam: one URL a service, SQLite or Postgres, migrated on connect.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

pub use sea_orm;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    RuntimeErr, SqlErr, SqliteTransactionMode, SqlxError, TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;

/// How long a connection attempt may take, waiting for a free connection included.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long SQLite waits for a writer in another process.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const POSTGRES_CONNECTIONS: u32 = 10;
/// No statement of ours runs longer; migrations lift it for themselves.
const POSTGRES_STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// An idle connection may have died with its server; one used just now has not.
const PING_AFTER_IDLE: Duration = Duration::from_secs(5);
/// Codes of Postgres (its manual, appendix A) that mean the server's own state: it stops, stopped, starts, dropped
/// the connection, or has too many.
const AWAY_CODES: [&str; 6] = ["57P01", "57P02", "57P03", "57P04", "57P05", "53300"];
/// The class of its codes that mean the connection.
const AWAY_CLASS: &str = "08";
/// Any fixed number will do: all services of one database wait for the same lock while one migrates.
const MIGRATION_LOCK: i64 = 0x5245_454c_4d49_4c4c;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The URL names no backend there is.
    #[error("a database URL starts with `sqlite:` or `postgres:`, this one with `{0}:`")]
    Scheme(String),
    /// The file cannot be opened, or the server does not answer or lets nobody in.
    #[error("the database cannot be opened: {0}")]
    Unreachable(#[source] DbErr),
    /// A newer build has migrated it, and this one does not know what it holds.
    #[error("the database was written by a newer version of Reelmill (migration `{0}`): run that version")]
    Newer(String),
    /// A migration failed. Nothing of it was kept.
    #[error("the database could not be migrated: {0}")]
    Migration(#[source] DbErr),
}

/// Opens the database at `url` and brings it up to `M`'s last migration, all of it or nothing.
///
/// `sqlite:///path/to.db` creates the file (not its folder); `sqlite::memory:` is for tests. SQLite has **one**
/// connection, so that transactions wait for each other instead of failing as busy: inside a transaction use the
/// transaction alone, since the connection it came from is taken. Replicas may start at once: one of them migrates
/// and the others wait for it.
///
/// # Errors
/// [`DatabaseError::Newer`] when it holds a migration that `M` does not know.
pub async fn connect<M: MigratorTrait>(url: &str) -> Result<DatabaseConnection, DatabaseError> {
    let database = Database::connect(options(url)?).await.map_err(DatabaseError::Unreachable)?;
    migrate::<M>(&database).await?;
    Ok(database)
}

/// The URL of the SQLite database at `path`, whatever characters its folders' names are made of.
pub fn sqlite_url(path: &Path) -> String {
    let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3F");
    format!("sqlite://{path}")
}

/// Whether `error` says that a row with the same unique key is there already.
pub fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
}

/// Whether `error` says that the database cannot be reached or is not to be used just now, as opposed to having
/// refused what was asked: another attempt may do better.
pub fn is_away(error: &DbErr) -> bool {
    let cause = match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => return true,
        DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause)) => {
            cause.as_ref()
        }
        _ => return false,
    };
    match cause {
        SqlxError::Io(_)
        | SqlxError::Tls(_)
        | SqlxError::PoolTimedOut
        | SqlxError::PoolClosed
        | SqlxError::WorkerCrashed => true,
        SqlxError::Database(refusal) => refusal.code().is_some_and(|code| {
            AWAY_CODES.contains(&code.as_ref()) || code.len() == 5 && code.starts_with(AWAY_CLASS)
        }),
        _ => false,
    }
}

fn options(url: &str) -> Result<ConnectOptions, DatabaseError> {
    let scheme = url.split(':').next().unwrap_or_default();
    let mut options = ConnectOptions::new(url);
    options.sqlx_logging(false).acquire_timeout(ACQUIRE_TIMEOUT);
    match scheme {
        "sqlite" => options
            .max_connections(1)
            .min_connections(1)
            // A connection that is closed for being old would take `sqlite::memory:` with it.
            .idle_timeout(None)
            .max_lifetime(None)
            .map_sqlx_sqlite_opts(|sqlite| {
                sqlite
                    .create_if_missing(true)
                    .foreign_keys(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(SQLITE_BUSY_TIMEOUT)
            }),
        "postgres" | "postgresql" => options
            .max_connections(POSTGRES_CONNECTIONS)
            .statement_timeout(POSTGRES_STATEMENT_TIMEOUT)
            .test_before_acquire_if_idle_for(PING_AFTER_IDLE),
        other => return Err(DatabaseError::Scheme(other.to_owned())),
    };
    Ok(options)
}

async fn migrate<M: MigratorTrait>(database: &DatabaseConnection) -> Result<(), DatabaseError> {
    let transaction = begin_alone(database).await.map_err(DatabaseError::Migration)?;
    let applied = M::get_migration_models(&transaction).await.map_err(DatabaseError::Migration)?;
    let migrations = M::migrations();
    let known: HashSet<&str> = migrations.iter().map(|migration| migration.name()).collect();
    if let Some(unknown) = applied.into_iter().find(|model| !known.contains(model.version.as_str())) {
        return Err(DatabaseError::Newer(unknown.version));
    }
    M::up(&transaction, None).await.map_err(DatabaseError::Migration)?;
    transaction.commit().await.map_err(DatabaseError::Migration)
}

/// A transaction that no other replica's migration runs beside.
async fn begin_alone(database: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let options = TransactionOptions {
        // Taking SQLite's write lock at once: a reader that turns writer later could only fail as busy.
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let transaction = database.begin_with_options(options).await?;
    if database.get_database_backend() == DbBackend::Postgres {
        transaction.execute_unprepared("SET LOCAL statement_timeout = 0").await?;
        transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")).await?;
    }
    Ok(transaction)
}
