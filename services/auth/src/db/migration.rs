//! The schema.

use sea_orm_migration::prelude::*;

/// Migrations of the auth database.
pub(crate) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(CreateTables)]
    }
}

impl reelmill_platform::database::Schema for Migrator {}

struct CreateTables;

impl MigrationName for CreateTables {
    fn name(&self) -> &str {
        "m0001_create_tables"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateTables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [users(), sessions(), refresh_tokens(), signing_keys()] {
            manager.create_table(table).await?;
        }
        manager.create_index(index("sessions", "sessions_by_user", &["user_id", "create_time"])).await?;
        manager
            .create_index(index(
                "refresh_tokens",
                "refresh_tokens_by_session",
                &["session_id", "expire_time"],
            ))
            .await
    }
}

fn text(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.text().not_null();
    column
}

fn unix_millis(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.big_integer().not_null();
    column
}

fn unix_millis_null(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.big_integer().null();
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

/// Foreign key from `column` of `table` to `owner`; deletes cascade.
fn owned(table: &'static str, column: &'static str, owner: &'static str) -> ForeignKeyCreateStatement {
    let mut key = ForeignKey::create();
    key.from(Alias::new(table), Alias::new(column))
        .to(Alias::new(owner), Alias::new("id"))
        .on_delete(ForeignKeyAction::Cascade);
    key
}

fn users() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("users"))
        .col(text("id").primary_key())
        .col(text("email"))
        .col(text("email_key").unique_key())
        .col(text("display_name"))
        .col(text("password_hash"))
        .col(unix_millis("create_time"))
        .to_owned()
}

fn sessions() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("sessions"))
        .col(text("id").primary_key())
        .col(text("user_id"))
        .col(unix_millis("create_time"))
        .col(unix_millis("refresh_time"))
        .col(unix_millis("expire_time"))
        .col(unix_millis_null("end_time"))
        .col(text("user_agent"))
        .foreign_key(&mut owned("sessions", "user_id", "users"))
        .to_owned()
}

fn refresh_tokens() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("refresh_tokens"))
        .col(text("jti").primary_key())
        .col(text("session_id"))
        .col(text("secret_hash"))
        .col(unix_millis("expire_time"))
        .col(unix_millis_null("use_time"))
        .foreign_key(&mut owned("refresh_tokens", "session_id", "sessions"))
        .to_owned()
}

fn signing_keys() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("signing_keys"))
        .col(text("kid").primary_key())
        .col(unix_millis("create_time"))
        .to_owned()
}
