//! Schema of the embedded queue.

use sea_orm_migration::prelude::*;

pub(super) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(CreateMessages)]
    }

    /// A table of its own, so that the queue can share a database with a service.
    fn migration_table_name() -> DynIden {
        "queue_migrations".into_iden()
    }
}

impl crate::database::Schema for Migrator {}

struct CreateMessages;

impl MigrationName for CreateMessages {
    fn name(&self) -> &str {
        "m20261122_000001_create_queue_messages"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateMessages {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let required = |name: &'static str| ColumnDef::new(name).big_integer().not_null().take();
        manager
            .create_table(
                Table::create()
                    .table("queue_messages")
                    .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
                    .col(ColumnDef::new("body").text().not_null())
                    .col(required("visible_at"))
                    .col(ColumnDef::new("receipt").text().not_null())
                    .col(required("receive_count"))
                    .col(required("dead"))
                    .take(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("queue_messages_by_visibility")
                    .table("queue_messages")
                    .col("dead")
                    .col("visible_at")
                    .take(),
            )
            .await
    }
}
