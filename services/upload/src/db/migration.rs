//! The schema.

use sea_orm_migration::{
    prelude::*,
    schema::{
        big_integer, big_integer_null, binary_null, boolean, boolean_null, double, double_null, integer,
        integer_null, json, string_len, string_len_null, text, text_null,
    },
};

use super::entity::{
    applied_revisions, claimed_parts, owner_revisions, uploads, video_renditions, video_warnings, videos,
};

const ID_CHARS: u32 = 64;
const ENUM_CHARS: u32 = 16;

/// Migrations of the upload database.
pub(crate) struct Migrator;

#[async_trait::async_trait]
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
        let tables = [
            uploads_table(),
            claimed_parts_table(),
            videos_table(),
            video_renditions_table(),
            video_warnings_table(),
            owner_revisions_table(),
            applied_revisions_table(),
        ];
        for table in tables {
            manager.create_table(table).await?;
        }
        for index in uploads_indexes().into_iter().chain(videos_indexes()) {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn uploads_table() -> TableCreateStatement {
    use uploads::Column;
    Table::create()
        .table(uploads::Entity)
        .col(string_len(Column::Id, ID_CHARS).primary_key())
        .col(string_len(Column::VideoId, ID_CHARS))
        .col(string_len(Column::Owner, ID_CHARS))
        .col(string_len_null(Column::RequestId, 64))
        .col(string_len(Column::State, ENUM_CHARS))
        .col(text(Column::FileName))
        .col(big_integer(Column::SizeBytes))
        .col(big_integer(Column::PartSizeBytes))
        .col(integer(Column::PartCount))
        .col(text_null(Column::MultipartUploadId))
        .col(big_integer_null(Column::CompleteTime))
        .col(big_integer(Column::CreateTime))
        .col(big_integer(Column::UpdateTime))
        .col(big_integer(Column::ExpireTime))
        .to_owned()
}

fn claimed_parts_table() -> TableCreateStatement {
    use claimed_parts::{Column, Entity};
    Table::create()
        .table(Entity)
        .col(string_len(Column::UploadId, ID_CHARS))
        .col(integer(Column::PartNumber))
        .col(text(Column::Etag))
        .primary_key(Index::create().col(Column::UploadId).col(Column::PartNumber))
        .foreign_key(
            ForeignKey::create()
                .from(Entity, Column::UploadId)
                .to(uploads::Entity, uploads::Column::Id)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}

fn videos_table() -> TableCreateStatement {
    use videos::Column;
    Table::create()
        .table(videos::Entity)
        .col(string_len(Column::Id, ID_CHARS).primary_key())
        .col(string_len(Column::Owner, ID_CHARS))
        .col(text(Column::DisplayName))
        .col(string_len(Column::State, ENUM_CHARS))
        .col(big_integer(Column::SizeBytes))
        .col(string_len(Column::UploadId, ID_CHARS))
        .col(big_integer(Column::CreateTime))
        .col(big_integer_null(Column::CompleteTime))
        .col(big_integer_null(Column::PlayableTime))
        .col(big_integer_null(Column::EndTime))
        .col(big_integer_null(Column::DeleteTime))
        .col(big_integer_null(Column::CleanupTime))
        .col(big_integer(Column::Revision))
        .col(string_len_null(Column::Profile, ENUM_CHARS))
        .col(string_len_null(Column::Preset, ENUM_CHARS))
        .col(json(Column::Rungs))
        .col(boolean(Column::KeepHdr))
        .col(big_integer_null(Column::PosterTimeNanos))
        .col(integer_null(Column::SourceProgram))
        .col(text_null(Column::Job))
        .col(big_integer(Column::JobRevision))
        .col(text_null(Column::FailureReason))
        .col(text_null(Column::FailureMessage))
        .col(text_null(Column::WaitingReason))
        .col(text_null(Column::WaitingMessage))
        .col(big_integer_null(Column::WaitingSince))
        .col(text_null(Column::MasterPlaylistKey))
        .col(text_null(Column::PosterKey))
        .col(text_null(Column::DashManifestKey))
        .col(text_null(Column::ThumbnailsKey))
        .col(big_integer(Column::OutputSizeBytes))
        .col(text_null(Column::SourceContainer))
        .col(text_null(Column::SourceVideoCodec))
        .col(text_null(Column::SourceAudioCodec))
        .col(integer_null(Column::SourceWidth))
        .col(integer_null(Column::SourceHeight))
        .col(integer_null(Column::SourceRotationDegrees))
        .col(double_null(Column::SourceFrameRate))
        .col(big_integer_null(Column::SourceDurationNanos))
        .col(text_null(Column::SourcePixelFormat))
        .col(text_null(Column::SourceVideoRange))
        .col(boolean_null(Column::SourceInterlaced))
        .col(integer_null(Column::SourceAudioTracks))
        .col(integer_null(Column::SourceSubtitleTracks))
        .col(binary_null(Column::SourceContents))
        .to_owned()
}

fn video_renditions_table() -> TableCreateStatement {
    use video_renditions::{Column, Entity};
    Table::create()
        .table(Entity)
        .col(string_len(Column::VideoId, ID_CHARS))
        .col(integer(Column::RenditionIndex))
        .col(text(Column::RenditionId))
        .col(string_len(Column::Kind, ENUM_CHARS))
        .col(string_len(Column::State, ENUM_CHARS))
        .col(integer(Column::Width))
        .col(integer(Column::Height))
        .col(double(Column::FrameRate))
        .col(text(Column::Codecs))
        .col(big_integer(Column::BandwidthBps))
        .col(big_integer(Column::AverageBandwidthBps))
        .col(big_integer(Column::SizeBytes))
        .col(text(Column::Language))
        .col(integer(Column::Channels))
        .col(text(Column::VideoRange))
        .col(text_null(Column::DownloadKey))
        .primary_key(Index::create().col(Column::VideoId).col(Column::RenditionIndex))
        .foreign_key(
            ForeignKey::create()
                .from(Entity, Column::VideoId)
                .to(videos::Entity, videos::Column::Id)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}

fn video_warnings_table() -> TableCreateStatement {
    use video_warnings::{Column, Entity};
    Table::create()
        .table(Entity)
        .col(string_len(Column::VideoId, ID_CHARS))
        .col(integer(Column::WarningIndex))
        .col(text(Column::Reason))
        .col(text(Column::Message))
        .primary_key(Index::create().col(Column::VideoId).col(Column::WarningIndex))
        .foreign_key(
            ForeignKey::create()
                .from(Entity, Column::VideoId)
                .to(videos::Entity, videos::Column::Id)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}

fn owner_revisions_table() -> TableCreateStatement {
    use owner_revisions::{Column, Entity};
    Table::create()
        .table(Entity)
        .col(string_len(Column::Owner, ID_CHARS).primary_key())
        .col(big_integer(Column::Revision))
        .to_owned()
}

fn applied_revisions_table() -> TableCreateStatement {
    use applied_revisions::{Column, Entity};
    Table::create()
        .table(Entity)
        .col(integer(Column::Shard).primary_key())
        .col(big_integer(Column::Revision))
        .to_owned()
}

fn uploads_indexes() -> [IndexCreateStatement; 3] {
    use uploads::Column;
    let index = |name| Index::create().name(name).table(uploads::Entity).to_owned();
    [
        index("uploads_by_request_id").col(Column::Owner).col(Column::RequestId).unique().to_owned(),
        // Pages of ListUploadSessions.
        index("uploads_by_create_time").col(Column::Owner).col(Column::CreateTime).col(Column::Id).to_owned(),
        // Expired and stuck uploads.
        index("uploads_by_state").col(Column::State).col(Column::UpdateTime).to_owned(),
    ]
}

fn videos_indexes() -> [IndexCreateStatement; 4] {
    use videos::Column;
    let index = |name| Index::create().name(name).table(videos::Entity).to_owned();
    [
        // Pages of ListVideos.
        index("videos_by_create_time").col(Column::Owner).col(Column::CreateTime).col(Column::Id).to_owned(),
        // Changes for WatchVideos.
        index("videos_by_revision").col(Column::Owner).col(Column::Revision).to_owned(),
        index("videos_by_state").col(Column::State).to_owned(),
        index("videos_by_cleanup_time").col(Column::CleanupTime).to_owned(),
    ]
}
