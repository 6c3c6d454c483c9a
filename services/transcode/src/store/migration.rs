//! The schema, step by step.

use sea_orm_migration::prelude::*;

/// All steps, in order.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(CreateTables)]
    }
}

struct CreateTables;

impl MigrationName for CreateTables {
    fn name(&self) -> &str {
        "transcode_0001_create_tables"
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
