//! Conformance of database connections and migrations, on SQLite and Postgres.

use std::time::Duration;

use reelmill_platform::database::{
    self, DatabaseError, Schema, begin_snapshot, is_unavailable, is_unique_violation,
};
use reelmill_testkit::shared;
use rstest::rstest;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement, TransactionTrait};
use sea_orm_migration::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

#[derive(Clone, Copy)]
enum Backend {
    Sqlite,
    Postgres,
}

struct TestDatabase {
    url: String,
    _folder: TempDir,
}

impl Backend {
    async fn create(self) -> TestDatabase {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = match self {
            Self::Sqlite => database::sqlite_url(&folder.path().join("service.db")),
            Self::Postgres => {
                let name = format!("d{}", Uuid::new_v4().simple());
                shared::postgres().await.create_database(&name).await.expect("a database")
            }
        };
        TestDatabase { url, _folder: folder }
    }
}

struct First;
struct Second;
struct Broken;

impl MigrationName for First {
    fn name(&self) -> &str {
        "m1_counters"
    }
}

impl MigrationName for Second {
    fn name(&self) -> &str {
        "m2_more"
    }
}

impl MigrationName for Broken {
    fn name(&self) -> &str {
        "m2_broken"
    }
}

async fn run(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    manager.get_connection().execute_unprepared(sql).await.map(drop)
}

#[async_trait::async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "CREATE TABLE counters (name TEXT PRIMARY KEY, count BIGINT NOT NULL)").await?;
        run(manager, "INSERT INTO counters (name, count) VALUES ('a', 0)").await
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Second {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "CREATE TABLE more (id BIGINT PRIMARY KEY)").await
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Broken {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "CREATE TABLE half (id BIGINT PRIMARY KEY)").await?;
        run(manager, "CREATE NONSENSE").await
    }
}

struct Old;
struct New;
struct BrokenBuild;

impl MigratorTrait for Old {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First)]
    }
}

impl Schema for Old {}

impl MigratorTrait for New {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First), Box::new(Second)]
    }
}

impl Schema for New {}

impl MigratorTrait for BrokenBuild {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First), Box::new(Broken)]
    }
}

impl Schema for BrokenBuild {}

/// Alters a table of `Old`.
struct Altering;

struct Alter;

impl MigrationName for Alter {
    fn name(&self) -> &str {
        "m2_alter"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Alter {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let add = "ALTER TABLE counters ADD COLUMN added integer";
        manager.get_connection().execute_unprepared(add).await.map(drop)
    }
}

impl MigratorTrait for Altering {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First), Box::new(Alter)]
    }
}

impl Schema for Altering {}

/// Like `New`, but `Old` lacks something.
struct Contracted;

impl MigratorTrait for Contracted {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        New::migrations()
    }
}

impl Schema for Contracted {
    const MINIMUM_MIGRATIONS: usize = 2;
}

async fn count<C: ConnectionTrait>(database: &C, sql: &str) -> Result<i64, DbErr> {
    let statement = Statement::from_string(database.get_database_backend(), sql);
    let row = database.query_one_raw(statement).await?.expect("a row");
    row.try_get("", "count")
}

async fn connect<M: Schema>(target: &TestDatabase) -> DatabaseConnection {
    database::connect::<M>(&target.url).await.expect("connected")
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_migrates_once_and_keeps_data(#[case] backend: Backend) {
    let target = backend.create().await;
    let old = connect::<Old>(&target).await;
    old.execute_unprepared("UPDATE counters SET count = 7").await.expect("updated");
    let new = connect::<New>(&target).await;
    assert_eq!(count(&new, "SELECT count FROM counters").await, Ok(7));
    assert_eq!(count(&new, "SELECT COUNT(*) AS count FROM more").await, Ok(0));
    let again = connect::<New>(&target).await;
    assert_eq!(count(&again, "SELECT count FROM counters").await, Ok(7));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn insert_with_existing_key_is_a_unique_violation(#[case] backend: Backend) {
    let target = backend.create().await;
    let database = connect::<Old>(&target).await;
    let twice = database.execute_unprepared("INSERT INTO counters (name, count) VALUES ('a', 1)").await;
    assert!(is_unique_violation(&twice.expect_err("a duplicate key")));
    let wrong = database.execute_unprepared("INSERT INTO counters (name, count) VALUES ('b', NULL)").await;
    let wrong = wrong.expect_err("a missing value");
    assert!(!is_unique_violation(&wrong) && !is_unavailable(&wrong), "{wrong:?}");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_to_a_newer_schema_is_an_error_below_its_minimum_only(#[case] backend: Backend) {
    let target = backend.create().await;
    connect::<New>(&target).await;
    let old = connect::<Old>(&target).await;
    assert_eq!(count(&old, "SELECT COUNT(*) AS count FROM more").await, Ok(0));
    connect::<Contracted>(&target).await;
    let error = database::connect::<Old>(&target.url).await.expect_err("a newer schema");
    assert!(matches!(&error, DatabaseError::Newer(migration) if migration == "m2_more"), "{error:?}");
    assert!(!error.to_string().contains('\n'));
    // The minimum does not decrease.
    connect::<New>(&target).await;
    assert!(database::connect::<Old>(&target.url).await.is_err());
}

/// A replica of the release before that reads a table for long does not make all others wait behind the migration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migration_waits_for_locks_in_short_turns() {
    let target = Backend::Postgres.create().await;
    let old = connect::<Old>(&target).await;
    let reading = old.begin().await.expect("a transaction");
    reading.execute_unprepared("LOCK TABLE counters IN ACCESS SHARE MODE").await.expect("locked");
    let url = target.url.clone();
    let migrating = tokio::spawn(async move { database::connect::<Altering>(&url).await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!migrating.is_finished());
    reading.rollback().await.expect("released");
    let migrated = tokio::time::timeout(Duration::from_secs(10), migrating).await.expect("it is tried again");
    let database = migrated.expect("no panic").expect("connected");
    assert_eq!(count(&database, "SELECT COUNT(added) AS count FROM counters").await, Ok(0));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_from_concurrent_replicas_migrates_once(#[case] backend: Backend) {
    let target = backend.create().await;
    let replicas = (0..6).map(|_| {
        let url = target.url.clone();
        tokio::spawn(async move { database::connect::<New>(&url).await })
    });
    for replica in futures::future::join_all(replicas).await {
        let database = replica.expect("no panic").expect("connected");
        assert_eq!(count(&database, "SELECT COUNT(*) AS count FROM counters").await, Ok(1));
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_with_a_failing_migration_rolls_back(#[case] backend: Backend) {
    let target = backend.create().await;
    let error = database::connect::<BrokenBuild>(&target.url).await.expect_err("a failing migration");
    assert!(matches!(error, DatabaseError::Migration(_)), "{error:?}");
    let repaired = connect::<New>(&target).await;
    assert_eq!(count(&repaired, "SELECT COUNT(*) AS count FROM counters").await, Ok(1));
    assert!(count(&repaired, "SELECT COUNT(*) AS count FROM half").await.is_err());
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_transactions_all_commit(#[case] backend: Backend) {
    let target = backend.create().await;
    let database = connect::<Old>(&target).await;
    let writers = (0..20).map(|_| {
        let database = database.clone();
        tokio::spawn(async move {
            let transaction = database.begin().await?;
            // Serialised by the row lock in Postgres, and by the single connection in SQLite.
            transaction.execute_unprepared("UPDATE counters SET count = count + 0").await?;
            let before = count(&transaction, "SELECT count FROM counters").await?;
            transaction.execute_unprepared(&format!("UPDATE counters SET count = {}", before + 1)).await?;
            transaction.commit().await
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer.expect("no panic").expect("committed");
    }
    assert_eq!(count(&database, "SELECT count FROM counters").await, Ok(20));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn begin_snapshot_reads_one_snapshot(#[case] backend: Backend) {
    let target = backend.create().await;
    let database = connect::<Old>(&target).await;
    let other = connect::<Old>(&target).await;
    let snapshot = begin_snapshot(&database).await.expect("begun");
    assert_eq!(count(&snapshot, "SELECT count FROM counters").await, Ok(0));
    other.execute_unprepared("UPDATE counters SET count = 1").await.expect("updated");
    assert_eq!(count(&snapshot, "SELECT count FROM counters").await, Ok(0));
    snapshot.commit().await.expect("committed");
    assert_eq!(count(&database, "SELECT count FROM counters").await, Ok(1));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn begin_snapshot_cancelled_at_any_point_leaves_no_open_transaction(#[case] backend: Backend) {
    let target = backend.create().await;
    let database = connect::<Old>(&target).await;
    let other = connect::<Old>(&target).await;
    for round in 0_u32..200 {
        let cancel_after = Duration::from_micros(u64::from(round) * 10);
        let _ = tokio::time::timeout(cancel_after, begin_snapshot(&database)).await;
        // Not committed, if it runs in a transaction that was left open.
        let update = format!("UPDATE counters SET count = {round}");
        database.execute_unprepared(&update).await.expect("updated");
        assert_eq!(count(&other, "SELECT count FROM counters").await, Ok(i64::from(round)));
    }
}

#[tokio::test]
async fn connect_to_sqlite_sets_durability_and_foreign_keys() {
    let target = Backend::Sqlite.create().await;
    let database = connect::<Old>(&target).await;
    for (pragma, value) in [("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 10_000)] {
        let statement = Statement::from_string(database.get_database_backend(), format!("PRAGMA {pragma}"));
        let row = database.query_one_raw(statement).await.expect("an answer").expect("a row");
        assert_eq!(row.try_get_by_index::<i64>(0), Ok(value), "{pragma}");
    }
    let statement = Statement::from_string(database.get_database_backend(), "PRAGMA journal_mode");
    let row = database.query_one_raw(statement).await.expect("an answer").expect("a row");
    assert_eq!(row.try_get_by_index::<String>(0), Ok("wal".to_owned()));
}

#[tokio::test]
async fn is_unavailable_is_true_for_terminated_connections() {
    let target = Backend::Postgres.create().await;
    let database = connect::<Old>(&target).await;
    let ended = database.execute_unprepared("SELECT pg_terminate_backend(pg_backend_pid())").await;
    let ended = ended.expect_err("the connection was terminated");
    assert!(is_unavailable(&ended), "{ended:?}");
    assert_eq!(count(&database, "SELECT count FROM counters").await, Ok(0), "a new connection works");
    database.clone().close().await.expect("closed");
    let closed = count(&database, "SELECT count FROM counters").await.expect_err("a closed pool");
    assert!(is_unavailable(&closed), "{closed:?}");
}

#[tokio::test]
async fn sqlite_url_escapes_special_characters() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a b?c%20#ü.db");
    database::connect::<Old>(&database::sqlite_url(&path)).await.expect("connected");
    assert!(path.exists());
}

#[tokio::test]
async fn connect_to_sqlite_in_memory_keeps_its_tables() {
    let database = database::connect::<Old>("sqlite::memory:").await.expect("connected");
    assert_eq!(count(&database, "SELECT count FROM counters").await, Ok(0));
}

#[tokio::test]
async fn connect_to_an_unreachable_database_fails_in_bounded_time() {
    assert!(matches!(database::connect::<Old>("mysql://127.0.0.1/a").await, Err(DatabaseError::Scheme(_))));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let nowhere = format!("sqlite://{}/missing/service.db", folder.path().display());
    assert!(matches!(database::connect::<Old>(&nowhere).await, Err(DatabaseError::Unreachable(_))));
    let refused = database::connect::<Old>("postgres://nobody:secret@127.0.0.1:1/none");
    let error = tokio::time::timeout(Duration::from_secs(30), refused)
        .await
        .expect("bounded")
        .expect_err("no server");
    assert!(matches!(error, DatabaseError::Unreachable(_)), "{error:?}");
    assert!(!error.to_string().contains("secret"));
}

/// A process that stops between two statements of a transaction, for example because its host died, holds its locks for
/// some seconds only.
#[tokio::test]
async fn transaction_that_stops_between_two_statements_releases_its_locks() {
    let target = Backend::Postgres.create().await;
    let database = connect::<Old>(&target).await;
    let stopped = database.begin().await.expect("begins");
    stopped.execute_unprepared("UPDATE counters SET count = 1").await.expect("locks the row");
    let started = std::time::Instant::now();
    let update = async || database.execute_unprepared("UPDATE counters SET count = 2").await;
    // The first wait may end with its own timeout.
    let error = update().await.err();
    assert!(error.as_ref().is_none_or(is_unavailable), "{error:?}");
    update().await.expect("the lock is released");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    let ended = stopped.commit().await;
    assert!(ended.is_err(), "the stopped transaction was rolled back");
}
