//! What services rely on when they connect, on SQLite and Postgres.

use std::time::Duration;

use reelmill_platform::database::{self, DatabaseError, is_away, is_unique_violation};
use reelmill_testkit::shared;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement, TransactionTrait};
use sea_orm_migration::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

#[derive(Clone, Copy)]
enum Backend {
    Sqlite,
    Postgres,
}

crate::on_every_backend!(
    sqlite = crate::database::Backend::Sqlite,
    postgres = crate::database::Backend::Postgres
    => [
        connecting_migrates_and_connecting_again_changes_nothing,
        a_second_row_with_the_same_key_is_a_unique_violation,
        a_newer_database_is_refused_in_one_line,
        replicas_that_start_at_once_migrate_once,
        a_migration_that_fails_leaves_nothing_behind,
        concurrent_transactions_all_succeed,
    ]
);

struct Place {
    url: String,
    _folder: TempDir,
}

impl Backend {
    async fn place(self) -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = match self {
            Self::Sqlite => database::sqlite_url(&folder.path().join("service.db")),
            Self::Postgres => {
                let name = format!("d{}", Uuid::new_v4().simple());
                shared::postgres().await.create_database(&name).await.expect("a database")
            }
        };
        Place { url, _folder: folder }
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

impl MigratorTrait for New {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First), Box::new(Second)]
    }
}

impl MigratorTrait for BrokenBuild {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First), Box::new(Broken)]
    }
}

async fn count<C: ConnectionTrait>(database: &C, sql: &str) -> Result<i64, DbErr> {
    let statement = Statement::from_string(database.get_database_backend(), sql);
    let row = database.query_one_raw(statement).await?.expect("a row");
    row.try_get("", "count")
}

async fn connect<M: MigratorTrait>(place: &Place) -> DatabaseConnection {
    database::connect::<M>(&place.url).await.expect("connected")
}

async fn connecting_migrates_and_connecting_again_changes_nothing(backend: Backend) {
    let place = backend.place().await;
    let old = connect::<Old>(&place).await;
    old.execute_unprepared("UPDATE counters SET count = 7").await.expect("updated");
    let new = connect::<New>(&place).await;
    assert_eq!(count(&new, "SELECT count FROM counters").await, Ok(7));
    assert_eq!(count(&new, "SELECT COUNT(*) AS count FROM more").await, Ok(0));
    let again = connect::<New>(&place).await;
    assert_eq!(count(&again, "SELECT count FROM counters").await, Ok(7));
}

async fn a_second_row_with_the_same_key_is_a_unique_violation(backend: Backend) {
    let place = backend.place().await;
    let database = connect::<Old>(&place).await;
    let twice = database.execute_unprepared("INSERT INTO counters (name, count) VALUES ('a', 1)").await;
    assert!(is_unique_violation(&twice.expect_err("the key is taken")));
    let wrong = database.execute_unprepared("INSERT INTO counters (name, count) VALUES ('b', NULL)").await;
    let wrong = wrong.expect_err("a count is needed");
    assert!(!is_unique_violation(&wrong) && !is_away(&wrong), "{wrong:?}");
}

async fn a_newer_database_is_refused_in_one_line(backend: Backend) {
    let place = backend.place().await;
    connect::<New>(&place).await;
    let error = database::connect::<Old>(&place.url).await.expect_err("it is newer");
    assert!(matches!(&error, DatabaseError::Newer(migration) if migration == "m2_more"), "{error:?}");
    assert!(!error.to_string().contains('\n'));
}

async fn replicas_that_start_at_once_migrate_once(backend: Backend) {
    let place = backend.place().await;
    let replicas = (0..6).map(|_| {
        let url = place.url.clone();
        tokio::spawn(async move { database::connect::<New>(&url).await })
    });
    for replica in futures::future::join_all(replicas).await {
        let database = replica.expect("no panic").expect("connected");
        assert_eq!(count(&database, "SELECT COUNT(*) AS count FROM counters").await, Ok(1));
    }
}

async fn a_migration_that_fails_leaves_nothing_behind(backend: Backend) {
    let place = backend.place().await;
    let error = database::connect::<BrokenBuild>(&place.url).await.expect_err("it is broken");
    assert!(matches!(error, DatabaseError::Migration(_)), "{error:?}");
    let repaired = connect::<New>(&place).await;
    assert_eq!(count(&repaired, "SELECT COUNT(*) AS count FROM counters").await, Ok(1));
    assert!(count(&repaired, "SELECT COUNT(*) AS count FROM half").await.is_err());
}

async fn concurrent_transactions_all_succeed(backend: Backend) {
    let place = backend.place().await;
    let database = connect::<Old>(&place).await;
    let writers = (0..20).map(|_| {
        let database = database.clone();
        tokio::spawn(async move {
            let transaction = database.begin().await?;
            // Postgres: the row's lock orders them; SQLite: the one connection does.
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

#[tokio::test]
async fn sqlite_is_durable_and_keeps_foreign_keys() {
    let place = Backend::Sqlite.place().await;
    let database = connect::<Old>(&place).await;
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
async fn a_server_that_ends_connections_is_away() {
    let place = Backend::Postgres.place().await;
    let database = connect::<Old>(&place).await;
    let ended = database.execute_unprepared("SELECT pg_terminate_backend(pg_backend_pid())").await;
    let ended = ended.expect_err("its connection is gone");
    assert!(is_away(&ended), "{ended:?}");
    assert_eq!(count(&database, "SELECT count FROM counters").await, Ok(0), "the next one is not used");
    database.clone().close().await.expect("closed");
    let closed = count(&database, "SELECT count FROM counters").await.expect_err("it is closed");
    assert!(is_away(&closed), "{closed:?}");
}

#[tokio::test]
async fn a_path_may_hold_any_character() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a b?c%20#ü.db");
    database::connect::<Old>(&database::sqlite_url(&path)).await.expect("connected");
    assert!(path.exists());
}

#[tokio::test]
async fn a_database_in_memory_outlives_idle_time() {
    let database = database::connect::<Old>("sqlite::memory:").await.expect("connected");
    assert_eq!(count(&database, "SELECT count FROM counters").await, Ok(0));
}

#[tokio::test]
async fn what_cannot_be_opened_is_an_error_in_bounded_time() {
    assert!(matches!(database::connect::<Old>("mysql://127.0.0.1/a").await, Err(DatabaseError::Scheme(_))));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let nowhere = format!("sqlite://{}/missing/service.db", folder.path().display());
    assert!(matches!(database::connect::<Old>(&nowhere).await, Err(DatabaseError::Unreachable(_))));
    let refused = database::connect::<Old>("postgres://nobody:secret@127.0.0.1:1/none");
    let error = tokio::time::timeout(Duration::from_secs(30), refused)
        .await
        .expect("bounded")
        .expect_err("nobody there");
    assert!(matches!(error, DatabaseError::Unreachable(_)), "{error:?}");
    assert!(!error.to_string().contains("secret"));
}
