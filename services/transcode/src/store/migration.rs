//! The schema, step by step.

use sea_orm_migration::prelude::*;

/// All steps, in order.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(CreateTables), Box::new(ManyTasks)]
    }
}

struct CreateTables;

struct ManyTasks;

impl MigrationName for CreateTables {
    fn name(&self) -> &str {
        "transcode_0001_create_tables"
    }
}

impl MigrationName for ManyTasks {
    fn name(&self) -> &str {
        "transcode_0002_many_tasks"
    }
}

fn text(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.text();
    column
}

fn number(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.big_integer();
    column
}

fn small(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.integer().not_null();
    column
}

fn bytes(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.blob();
    column
}

fn index(table: &'static str, name: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(name).table(Alias::new(table));
    for column in columns {
        index.col(Alias::new(*column));
    }
    index
}

fn jobs() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("jobs"))
        .col(text("id").not_null().primary_key())
        .col(text("video").not_null())
        .col(text("owner").not_null())
        .col(text("request_id").not_null().unique_key())
        .col(small("state"))
        .col(text("source_key").not_null())
        .col(number("source_size_bytes").not_null())
        .col(text("output_prefix").not_null())
        .col(number("created_at").not_null())
        .col(number("started_at"))
        .col(number("ended_at"))
        .col(text("failure_reason").not_null())
        .col(text("failure_message").not_null())
        .col(bytes("detail").not_null())
        .col(text("recorded_prefix").not_null())
        .col(text("master_playlist").not_null())
        .col(text("poster").not_null())
        .col(number("output_size_bytes").not_null())
        .col(number("cleanup_due"))
        .col(number("revision").not_null())
        .to_owned()
}

fn tasks() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("tasks"))
        .col(text("id").not_null().primary_key())
        .col(text("job_id").not_null())
        .col(small("kind"))
        .col(small("state"))
        .col(number("fencing_token").not_null())
        .col(number("lease_expires_at").not_null())
        .col(text("worker").not_null())
        .col(text("encoder_build").not_null())
        .col(small("failures"))
        .col(number("send_due").not_null())
        .col(small("sends"))
        .to_owned()
}

fn outputs() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("outputs"))
        .col(text("task_id").not_null())
        .col(text("key").not_null())
        .col(number("size_bytes").not_null())
        .primary_key(Index::create().col(Alias::new("task_id")).col(Alias::new("key")))
        .to_owned()
}

#[async_trait::async_trait]
impl MigrationTrait for CreateTables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(jobs()).await?;
        manager.create_index(index("jobs", "jobs_by_owner", &["owner", "id"])).await?;
        manager.create_index(index("jobs", "jobs_by_revision", &["revision"])).await?;
        manager.create_index(index("jobs", "jobs_by_cleanup", &["cleanup_due"])).await?;
        manager.create_table(tasks()).await?;
        manager.create_index(index("tasks", "tasks_by_job", &["job_id"])).await?;
        manager.create_index(index("tasks", "tasks_to_send", &["state", "send_due"])).await?;
        manager.create_index(index("tasks", "tasks_leased", &["state", "lease_expires_at"])).await?;
        manager.create_table(outputs()).await?;
        let counter = Table::create()
            .table(Alias::new("counter"))
            .col(small("id").primary_key())
            .col(number("revision").not_null())
            .to_owned();
        manager.create_table(counter).await?;
        let first = Query::insert()
            .into_table(Alias::new("counter"))
            .columns([Alias::new("id"), Alias::new("revision")])
            .values_panic([1.into(), 0_i64.into()])
            .to_owned();
        manager.execute(first).await
    }
}

fn real(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.double().not_null();
    column
}

fn flag(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.boolean().not_null();
    column
}

fn plans() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("plans"))
        .col(text("job_id").not_null())
        .col(small("generation"))
        .col(bytes("plan").not_null())
        .primary_key(Index::create().col(Alias::new("job_id")).col(Alias::new("generation")))
        .to_owned()
}

fn recorded() -> TableCreateStatement {
    let mut key = Index::create();
    for column in ["job_id", "generation", "rendition", "role", "sequence"] {
        key.col(Alias::new(column));
    }
    Table::create()
        .table(Alias::new("recorded"))
        .col(text("job_id").not_null())
        .col(small("generation"))
        .col(text("rendition").not_null())
        .col(small("role"))
        .col(small("sequence"))
        .col(text("task_id").not_null())
        .col(text("uri").not_null())
        .col(number("size_bytes").not_null())
        .col(real("start"))
        .col(real("seconds"))
        .col(small("frames"))
        .col(number("keyframe_bytes").not_null())
        .col(text("codec").not_null())
        .col(bytes("sheet"))
        .primary_key(&mut key)
        .to_owned()
}

#[async_trait::async_trait]
impl MigrationTrait for ManyTasks {
    /// Tasks and jobs from before are of generation 0, without a plan: a task that was queued then is prepared like
    /// a new one.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let jobs = [
            small("generation").default(0).to_owned(),
            flag("planned").default(false).to_owned(),
            number("playable_at"),
            bytes("keys"),
            text("publisher").not_null().default("").to_owned(),
            number("publish_until").not_null().default(0).to_owned(),
        ];
        let tasks = [
            small("generation").default(0).to_owned(),
            small("ordinal").default(0).to_owned(),
            small("priority").default(0).to_owned(),
            number("ready_at").not_null().default(0).to_owned(),
            text("required_build").not_null().default("").to_owned(),
            text("rendition").not_null().default("").to_owned(),
        ];
        // SQLite adds one column a statement.
        for (table, column) in
            jobs.into_iter().map(|c| ("jobs", c)).chain(tasks.into_iter().map(|c| ("tasks", c)))
        {
            manager
                .alter_table(Table::alter().table(Alias::new(table)).add_column(column).to_owned())
                .await?;
        }
        let urgent = &["state", "priority", "job_id", "ordinal"];
        manager.create_index(index("tasks", "tasks_by_urgency", urgent)).await?;
        manager.create_index(index("jobs", "jobs_by_state", &["state"])).await?;
        manager.create_table(plans()).await?;
        manager.create_table(recorded()).await
    }
}

#[cfg(test)]
mod tests {
    use reelmill_platform::database::{connect, sea_orm::ConnectionTrait as _};
    use reelmill_testkit::Postgres;

    use super::{CreateTables, MigrationTrait, Migrator, MigratorTrait};
    use crate::{
        domain::TaskKind,
        store::{Generation, Store},
    };

    /// A job that was queued, and one that had succeeded, before there were plans.
    const ROWS: [&str; 3] = [
        "INSERT INTO jobs VALUES ('a', 'videos/a', 'ann', 'a', 1, 'k', 9, 'o/', 1, NULL, NULL, '', '', '', '',
                                  '', '', 0, NULL, 1)",
        "INSERT INTO jobs VALUES ('b', 'videos/b', 'ann', 'b', 4, 'k', 9, 'o/', 1, 2, 3, '', '', '', 'o/b/1/',
                                  'master.m3u8', '', 7, 3, 2)",
        "INSERT INTO tasks VALUES ('t1', 'a', 1, 1, 0, 0, '', '', 0, 1, 0)",
    ];

    /// The schema as it was then.
    struct Before;

    impl MigratorTrait for Before {
        fn migrations() -> Vec<Box<dyn MigrationTrait>> {
            vec![Box::new(CreateTables)]
        }
    }

    async fn old_rows_are_kept(url: &str) {
        let database = connect::<Before>(url).await.unwrap();
        for row in ROWS {
            database.execute_unprepared(row).await.unwrap();
        }
        Migrator::up(&database, None).await.unwrap();
        let store = Store::new(database.clone());
        let [task] = &store.startable(10, "any").await.unwrap()[..] else { panic!("one task") };
        assert_eq!((task.id.as_str(), TaskKind::from_stored(task.kind)), ("t1", Some(TaskKind::Prepare)));
        let (queued, done) = (store.job("a").await.unwrap().unwrap(), store.job("b").await.unwrap().unwrap());
        assert!(!queued.planned && queued.generation == 0 && queued.playable_at.is_none());
        let told = crate::convert::feed_message(&done).unwrap();
        assert_eq!(told.master_playlist_key, "o/b/1/master.m3u8");
        assert_eq!(store.recorded_size(&Generation::of(&done)).await.unwrap(), 0);
        assert_eq!(store.jobs_under_way().await.unwrap(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn old_rows_are_kept_on_sqlite() {
        old_rows_are_kept("sqlite::memory:").await;
    }

    #[tokio::test]
    async fn old_rows_are_kept_on_postgres() {
        let postgres = Postgres::start().await.unwrap();
        let url = postgres.create_database("transcode").await.unwrap();
        old_rows_are_kept(&url).await;
    }

    /// Only one process puts a job's playlists, until it lets go or its claim runs out.
    #[tokio::test]
    async fn a_claim_keeps_others_out() {
        let database = connect::<Migrator>("sqlite::memory:").await.unwrap();
        let row = ROWS[0].replace("NULL, 1)", "NULL, 1, 0, true, NULL, NULL, '', 0)");
        database.execute_unprepared(&row).await.unwrap();
        let store = Store::new(database);
        let claim =
            async |who: &str, now: i64| store.claim_publication("a", who, now, now + 30).await.unwrap();
        assert!(claim("one", 0).await && claim("one", 10).await);
        assert!(!claim("two", 39).await);
        assert!(claim("two", 40).await, "it ran out");
        store.release_publication("a", "one").await.unwrap();
        assert!(!claim("one", 41).await, "another's is not released");
        store.release_publication("a", "two").await.unwrap();
        assert!(claim("one", 41).await);
    }
}
