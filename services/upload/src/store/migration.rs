//! How the tables came to be.

use sea_orm_migration::{
    prelude::*,
    schema::{
        big_integer, big_integer_null, blob_null, integer, string, string_len, string_len_null, string_null,
    },
};

use super::entity::{counter, follower, uploads, videos};

/// All migrations of the upload database.
pub(crate) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Begin), Box::new(Playable)]
    }
}

struct Begin;

impl MigrationName for Begin {
    fn name(&self) -> &str {
        "m0001_begin"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Begin {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(uploads_table()).await?;
        manager.create_table(videos_table()).await?;
        for (table, value) in [("counter", "value"), ("follower", "revision")] {
            let row = Table::create()
                .table(Alias::new(table))
                .col(string_len("id", 32).primary_key())
                .col(big_integer(value))
                .to_owned();
            manager.create_table(row).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        manager.exec_stmt(first_row(counter::Entity, counter::Column::Value, super::VIDEOS)).await?;
        manager
            .exec_stmt(first_row(follower::Entity, follower::Column::Revision, super::jobs::TRANSCODE))
            .await
    }
}

/// Options, and what is known of outputs before the job's end.
struct Playable;

impl MigrationName for Playable {
    fn name(&self) -> &str {
        "m0002_playable"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Playable {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use videos::Column;
        let text = |column| ColumnDef::new(column).text().to_owned();
        let columns = [
            blob_null(Column::Options),
            big_integer_null(Column::CompleteTime),
            big_integer_null(Column::PlayableTime),
            text(Column::DashManifestKey),
            text(Column::ThumbnailsKey),
            blob_null(Column::DownloadKeys),
        ];
        let add = |table: TableRef, column| Table::alter().table(table).add_column(column).to_owned();
        let complete_time = big_integer_null(uploads::Column::CompleteTime);
        manager.alter_table(add(uploads::Entity.into_table_ref(), complete_time)).await?;
        // SQLite takes one column at a time.
        for column in columns {
            manager.alter_table(add(videos::Entity.into_table_ref(), column)).await?;
        }
        Ok(())
    }
}

fn first_row(table: impl IntoTableRef, value: impl IntoIden, id: &str) -> InsertStatement {
    Query::insert()
        .into_table(table)
        .columns([Alias::new("id").into_iden(), value.into_iden()])
        .values_panic([id.into(), 0_i64.into()])
        .to_owned()
}

fn uploads_table() -> TableCreateStatement {
    use uploads::Column;
    Table::create()
        .table(uploads::Entity)
        .col(string_len(Column::Id, 64).primary_key())
        .col(string_len(Column::VideoId, 64))
        .col(string_len(Column::Owner, 64))
        .col(string_len_null(Column::RequestId, 64))
        .col(string_len(Column::State, 16))
        .col(string(Column::FileName))
        .col(big_integer(Column::SizeBytes))
        .col(big_integer(Column::PartSizeBytes))
        .col(integer(Column::PartCount))
        .col(ColumnDef::new(Column::StoreUploadId).text())
        .col(blob_null(Column::ClaimedParts))
        .col(big_integer(Column::CreateTime))
        .col(big_integer(Column::UpdateTime))
        .col(big_integer(Column::ExpireTime))
        .to_owned()
}

fn videos_table() -> TableCreateStatement {
    use videos::Column;
    Table::create()
        .table(videos::Entity)
        .col(string_len(Column::Id, 64).primary_key())
        .col(string_len(Column::Owner, 64))
        .col(string(Column::DisplayName))
        .col(string_len(Column::State, 16))
        .col(big_integer(Column::SizeBytes))
        .col(string_len(Column::UploadId, 64))
        .col(big_integer(Column::CreateTime))
        .col(big_integer_null(Column::EndTime))
        .col(big_integer(Column::Revision))
        .col(string_null(Column::Job))
        .col(big_integer(Column::JobRevision))
        .col(blob_null(Column::Outcome))
        .col(ColumnDef::new(Column::MasterPlaylistKey).text())
        .col(ColumnDef::new(Column::PosterKey).text())
        .col(big_integer(Column::OutputSizeBytes))
        .col(big_integer_null(Column::DeleteTime))
        .col(big_integer_null(Column::CleanupTime))
        .to_owned()
}

/// Each serves one question: the page of a list, what changed since, what is due.
fn indexes() -> Vec<IndexCreateStatement> {
    let on = |name: &str, table: TableRef| Index::create().name(name).table(table).to_owned();
    let uploads = || uploads::Entity.into_table_ref();
    let videos = || videos::Entity.into_table_ref();
    vec![
        on("uploads_request", uploads())
            .col(uploads::Column::Owner)
            .col(uploads::Column::RequestId)
            .unique()
            .to_owned(),
        on("uploads_page", uploads())
            .col(uploads::Column::Owner)
            .col(uploads::Column::CreateTime)
            .col(uploads::Column::Id)
            .to_owned(),
        on("uploads_state", uploads())
            .col(uploads::Column::State)
            .col(uploads::Column::UpdateTime)
            .to_owned(),
        on("videos_page", videos())
            .col(videos::Column::Owner)
            .col(videos::Column::CreateTime)
            .col(videos::Column::Id)
            .to_owned(),
        on("videos_changed", videos()).col(videos::Column::Owner).col(videos::Column::Revision).to_owned(),
        on("videos_state", videos()).col(videos::Column::State).to_owned(),
        on("videos_cleanup", videos()).col(videos::Column::CleanupTime).to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use sea_orm::{ConnectionTrait as _, Database, EntityTrait as _};

    use super::*;
    use crate::domain::outputs::is_playable;

    #[tokio::test]
    async fn videos_of_the_first_version_go_on_playing() {
        let database = Database::connect("sqlite::memory:").await.unwrap();
        Migrator::up(&database, Some(1)).await.unwrap();
        let rows = "INSERT INTO videos (id, owner, display_name, state, size_bytes, upload_id, create_time, \
                    revision, job_revision, output_size_bytes, master_playlist_key) VALUES \
                    ('v', 'ada', 'clip', 'READY', 1, 'u', 1, 1, 1, 1, 'outputs/v/1/master.m3u8')";
        database.execute_unprepared(rows).await.unwrap();
        let uploads = "INSERT INTO uploads (id, video_id, owner, state, file_name, size_bytes, part_size_bytes, \
                       part_count, create_time, update_time, expire_time) VALUES \
                       ('u', 'v', 'ada', 'COMPLETED', 'clip.mov', 1, 1, 1, 1, 1, 1)";
        database.execute_unprepared(uploads).await.unwrap();
        Migrator::up(&database, None).await.unwrap();
        let video = videos::Entity::find_by_id("v").one(&database).await.unwrap().unwrap();
        assert!(is_playable(video.state, video.playable_time));
        assert_eq!((video.options, video.download_keys, video.complete_time), (None, None, None));
        let upload = uploads::Entity::find_by_id("u").one(&database).await.unwrap().unwrap();
        assert_eq!(upload.complete_time, None);
    }
}
