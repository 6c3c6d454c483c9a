//! The database interface: one URL a service, SQLite or Postgres, migrated on connect.

use std::{collections::HashSet, path::Path, time::Duration};

pub use sea_orm;
use sea_orm::{
    ColumnTrait, Condition, ConnectOptions, ConnectionTrait, Database, DatabaseConnection,
    DatabaseTransaction, DbBackend, DbErr, RuntimeErr, SqlErr, SqliteTransactionMode, SqlxError, Statement,
    TransactionOptions, TransactionTrait,
    sqlx::{
        self, PgConnection, Row as _,
        sqlite::{SqliteJournalMode, SqliteSynchronous},
    },
};
use sea_orm_migration::MigratorTrait;

/// Time limit of an attempt to reach a server when the process starts.
const WAIT_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause between two attempts to reach a server that is unavailable when the process starts.
const WAIT_INTERVAL: Duration = Duration::from_secs(1);
/// Time limit for getting a connection, including the wait for a free one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long SQLite waits for a lock that another process holds.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Size of the connection pool.
const POSTGRES_CONNECTIONS: u32 = 10;
/// Time limit of a statement. Migrations run without one.
const POSTGRES_STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a statement waits for a lock, and how long a transaction may be idle before the server ends it: a process whose
/// host died between two statements holds its locks no longer than this.
const POSTGRES_LOCK_TIMEOUT: Duration = Duration::from_secs(8);
/// Postgres settings (manual, section 20.3) by which the server notices within ten seconds that a client's host is gone.
const POSTGRES_KEEPALIVE: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "4"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10000"),
];
/// Idle time after which a connection is pinged before use, because its server may have restarted.
const PING_AFTER_IDLE: Duration = Duration::from_secs(5);
/// Postgres error codes (manual, appendix A) for a server that shuts down, starts, terminated the connection or an idle
/// transaction, or has too many connections, for a lock that was not granted in time, and for a deadlock.
const UNAVAILABLE_CODES: [&str; 9] =
    ["57P01", "57P02", "57P03", "57P04", "57P05", "53300", "25P03", "55P03", "40P01"];
/// Class of Postgres error codes for connection failures.
const CONNECTION_FAILURE_CLASS: &str = "08";
/// Key of the advisory lock that serialises the migrations of a database. Arbitrary, but fixed.
const MIGRATION_LOCK_KEY: i64 = 0x5245_454c_4d49_4c4c;

/// How long a migration waits for the lock on a table.
const MIGRATION_LOCK_TIMEOUT: Duration = Duration::from_secs(4);
const MIGRATION_RETRIES: u32 = 20;
const MIGRATION_RETRY_DELAY: Duration = Duration::from_secs(1);
/// The table with the number of migrations that a release must know to use the schema.
const CREATE_MINIMUM_TABLE: &str =
    "CREATE TABLE IF NOT EXISTS schema_minimum (migrations integer NOT NULL PRIMARY KEY)";

/// The migrations of a service's database. They are applied while replicas of the release before still run: one release
/// only adds to the schema (*expand*), a later one removes what is no longer used (*contract*) and raises the minimum.
pub trait Schema: MigratorTrait {
    /// Number of migrations that a release must know to use the schema after all of these.
    const MINIMUM_MIGRATIONS: usize = 1;
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The URL names an unknown backend.
    #[error("a database URL starts with `sqlite:` or `postgres:`, this one with `{0}:`")]
    Scheme(String),
    /// The file cannot be opened, or the server is unreachable or rejects the login.
    #[error("the database cannot be opened: {0}")]
    Unreachable(#[source] DbErr),
    /// A newer release has removed something from the schema that this one needs.
    #[error("the database was written by a newer version of Reelmill (migration `{0}`): run that version")]
    Newer(String),
    /// A migration failed and was rolled back.
    #[error("the database could not be migrated: {0}")]
    Migration(#[source] DbErr),
}

/// Opens the database at `url` and applies the migrations of `S`, all in one transaction.
///
/// `sqlite:///path/to.db` creates the file (not its folder); `sqlite::memory:` is for tests. SQLite has **one**
/// connection, so that transactions wait for each other instead of failing as busy. Within a transaction, use only the
/// transaction: its connection is the only one. Replicas may start concurrently: one migrates, the others wait.
///
/// # Errors
/// [`DatabaseError::Newer`] if migrations were applied that `S` does not know, and it knows less than their minimum.
pub async fn connect<S: Schema>(url: &str) -> Result<DatabaseConnection, DatabaseError> {
    let database = Database::connect(options(url)?).await.map_err(DatabaseError::Unreachable)?;
    migrate::<S>(&database).await?;
    Ok(database)
}

/// Waits until the server of a Postgres database accepts connections: it may be restarting, or start later than this process.
///
/// # Errors
/// [`DatabaseError::Unreachable`] if the server rejects the login, or does not know the database.
pub async fn wait_until_available(url: &str) -> Result<(), DatabaseError> {
    let mut options = options(url)?;
    if !url.starts_with("postgres") {
        return Ok(());
    }
    options.max_connections(1).acquire_timeout(WAIT_ACQUIRE_TIMEOUT);
    loop {
        match Database::connect(options.clone()).await {
            Ok(connection) => return connection.close().await.map_err(DatabaseError::Unreachable),
            Err(DbErr::Conn(RuntimeErr::SqlxError(cause))) if is_server_unavailable(&cause) => {
                tracing::warn!(error = %cause, "the database is unavailable: waiting for it");
                tokio::time::sleep(WAIT_INTERVAL).await;
            }
            Err(error) => return Err(DatabaseError::Unreachable(error)),
        }
    }
}

/// More connections to a database that [`connect`] has opened, for statements that must not wait for others: on Postgres a
/// pool of their own, on SQLite the same connection.
pub async fn reserve(
    database: &DatabaseConnection,
    url: &str,
    connections: u32,
) -> Result<DatabaseConnection, DatabaseError> {
    if database.get_database_backend() == DbBackend::Sqlite {
        return Ok(database.clone());
    }
    let mut options = options(url)?;
    options.max_connections(connections);
    Database::connect(options).await.map_err(DatabaseError::Unreachable)
}

/// Begins a transaction whose queries all read the same snapshot. It must not write.
///
pub async fn begin_snapshot(database: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let transaction = database.begin().await?;
    // Every transaction of SQLite is a snapshot.
    if database.get_database_backend() == DbBackend::Postgres {
        transaction.execute_unprepared("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    }
    Ok(transaction)
}

/// The URL of the SQLite database at `path`, with special characters escaped.
pub fn sqlite_url(path: &Path) -> String {
    let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3F");
    format!("sqlite://{path}")
}

/// Whether `error` is a violation of a unique key.
pub fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
}

/// Whether the database is unreachable or temporarily unavailable, as opposed to having rejected the statement: a retry
/// may succeed.
pub fn is_unavailable(error: &DbErr) -> bool {
    let cause = match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => return true,
        DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause)) => {
            cause.as_ref()
        }
        _ => return false,
    };
    is_server_unavailable(cause)
}

fn is_server_unavailable(cause: &SqlxError) -> bool {
    match cause {
        SqlxError::Io(_)
        | SqlxError::Tls(_)
        | SqlxError::PoolTimedOut
        | SqlxError::PoolClosed
        | SqlxError::WorkerCrashed => true,
        SqlxError::Database(error) => error.code().is_some_and(|code| {
            UNAVAILABLE_CODES.contains(&code.as_ref())
                || code.len() == 5 && code.starts_with(CONNECTION_FAILURE_CLASS)
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
            // Closing the connection would drop a `sqlite::memory:` database.
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
            .test_before_acquire_if_idle_for(PING_AFTER_IDLE)
            .map_sqlx_postgres_opts(|postgres| {
                let lock_timeout = POSTGRES_LOCK_TIMEOUT.as_millis().to_string();
                let timeouts = ["lock_timeout", "idle_in_transaction_session_timeout"];
                postgres
                    .options(timeouts.map(|setting| (setting, lock_timeout.clone())))
                    .options(POSTGRES_KEEPALIVE)
            })
            .map_sqlx_postgres_pool_opts(|pool| {
                pool.after_release(|connection, _| Box::pin(is_outside_transaction(connection)))
            }),
        other => return Err(DatabaseError::Scheme(other.to_owned())),
    };
    Ok(options)
}

/// Whether a released connection may be used again. If the start of a transaction is cancelled after BEGIN was sent, sqlx
/// does not roll it back: the next statements on the connection would be part of a transaction that is never committed.
async fn is_outside_transaction(connection: &mut PgConnection) -> Result<bool, SqlxError> {
    // Equal in a statement that is its own transaction. By the simple query protocol, because each message of the
    // extended one has a statement time of its own.
    let row = sqlx::raw_sql("SELECT now() = statement_timestamp()").fetch_one(connection).await?;
    let is_outside: bool = row.try_get(0)?;
    if !is_outside {
        tracing::warn!("closing a connection that was released within a transaction");
    }
    Ok(is_outside)
}

async fn migrate<S: Schema>(database: &DatabaseConnection) -> Result<(), DatabaseError> {
    let mut attempts = 0;
    loop {
        match try_migrate::<S>(database).await {
            // Replicas of the release before hold a lock on a table. Waiting for it longer would stop all of them.
            Err(DatabaseError::Migration(error))
                if is_unavailable(&error) && attempts < MIGRATION_RETRIES =>
            {
                attempts += 1;
                tracing::warn!(%error, attempts, "the database could not be migrated: retrying");
                tokio::time::sleep(MIGRATION_RETRY_DELAY).await;
            }
            result => return result,
        }
    }
}

async fn try_migrate<S: Schema>(database: &DatabaseConnection) -> Result<(), DatabaseError> {
    let failed = DatabaseError::Migration;
    let transaction = begin_exclusive(database).await.map_err(failed)?;
    let applied = S::get_migration_models(&transaction).await.map_err(failed)?;
    let migrations = S::migrations();
    let known: HashSet<&str> = migrations.iter().map(|migration| migration.name()).collect();
    let is_unknown = |version: &String| !known.contains(version.as_str());
    let applied: Vec<String> = applied.into_iter().map(|model| model.version).collect();
    if let Some(unknown) = applied.iter().find(|version| is_unknown(version)) {
        // A newer release is being rolled out, or was. Its schema may still have all that this one needs.
        let has_all = known.iter().all(|name| applied.iter().any(|version| version == name));
        let minimum = minimum_migrations(&transaction).await.map_err(failed)?;
        if has_all && minimum.is_some_and(|minimum| known.len() >= minimum) {
            tracing::info!(migration = unknown, "the database has the schema of a newer release");
            return Ok(());
        }
        return Err(DatabaseError::Newer(unknown.clone()));
    }
    if database.get_database_backend() == DbBackend::Postgres {
        let timeout = format!("SET LOCAL lock_timeout = {}", MIGRATION_LOCK_TIMEOUT.as_millis());
        transaction.execute_unprepared(&timeout).await.map_err(failed)?;
    }
    S::up(&transaction, None).await.map_err(failed)?;
    store_minimum_migrations(&transaction, S::MINIMUM_MIGRATIONS).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// Number of migrations that a release must know to use the schema; none before one has stored it.
async fn minimum_migrations(transaction: &DatabaseTransaction) -> Result<Option<usize>, DbErr> {
    transaction.execute_unprepared(CREATE_MINIMUM_TABLE).await?;
    let select = "SELECT migrations FROM schema_minimum";
    let statement = Statement::from_string(transaction.get_database_backend(), select);
    let Some(row) = transaction.query_one_raw(statement).await? else { return Ok(None) };
    let migrations: i32 = row.try_get("", "migrations")?;
    Ok(usize::try_from(migrations).ok())
}

async fn store_minimum_migrations(transaction: &DatabaseTransaction, minimum: usize) -> Result<(), DbErr> {
    if minimum_migrations(transaction).await?.is_some_and(|stored| stored >= minimum) {
        return Ok(());
    }
    transaction.execute_unprepared("DELETE FROM schema_minimum").await?;
    let insert = format!("INSERT INTO schema_minimum (migrations) VALUES ({minimum})");
    transaction.execute_unprepared(&insert).await.map(drop)
}

/// Begins a transaction that excludes the migrations of other replicas.
async fn begin_exclusive(database: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let options = TransactionOptions {
        // Takes SQLite's write lock at once: upgrading a read lock later could fail as busy.
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let transaction = database.begin_with_options(options).await?;
    if database.get_database_backend() == DbBackend::Postgres {
        transaction.execute_unprepared("SET LOCAL statement_timeout = 0").await?;
        transaction.execute_unprepared("SET LOCAL lock_timeout = 0").await?;
        transaction.execute_unprepared("SET LOCAL idle_in_transaction_session_timeout = 0").await?;
        transaction
            .execute_unprepared(&format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK_KEY})"))
            .await?;
    }
    Ok(transaction)
}

/// Selects the rows after a position (creation time in Unix milliseconds, id) in a list that is sorted by both, oldest
/// first; without a position, all rows.
pub fn after_in_ascending_list<C: ColumnTrait>(
    position: Option<(i64, &str)>,
    create_time: C,
    id: C,
) -> Condition {
    let Some((time, last_id)) = position else { return Condition::all() };
    let same_time = Condition::all().add(create_time.eq(time)).add(id.gt(last_id));
    Condition::any().add(create_time.gt(time)).add(same_time)
}

/// Selects the rows after a position (creation time in Unix milliseconds, id) in a list that is sorted by both, newest
/// first; without a position, all rows.
pub fn after_in_list<C: ColumnTrait>(position: Option<(i64, &str)>, create_time: C, id: C) -> Condition {
    let Some((time, last_id)) = position else { return Condition::all() };
    let same_time = Condition::all().add(create_time.eq(time)).add(id.lt(last_id));
    Condition::any().add(create_time.lt(time)).add(same_time)
}
