//! Table rows. Times are Unix milliseconds; ids have no collection prefix.

/// Upload sessions.
pub(crate) mod uploads {
    use sea_orm::entity::prelude::*;

    use crate::domain::upload_state::UploadState;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "uploads")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub video_id: String,
        pub owner: String,
        /// Idempotency key; unique per owner.
        pub request_id: Option<String>,
        pub state: UploadState,
        pub file_name: String,
        pub size_bytes: i64,
        pub part_size_bytes: i64,
        pub part_count: i32,
        /// Upload id in the object store. `None` until the multipart upload is created.
        pub multipart_upload_id: Option<String>,
        /// When completion was first requested. `None` while OPEN.
        pub complete_time: Option<i64>,
        pub create_time: i64,
        /// When the state last changed. Unique to each completion claim: the fencing token of the claim.
        pub update_time: i64,
        pub expire_time: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Parts that the client claims to have sent, while the upload is COMPLETING: whoever takes over an abandoned claim
/// checks the same parts.
pub(crate) mod claimed_parts {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "claimed_parts")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub upload_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub part_number: i32,
        /// Without quotes.
        pub etag: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Videos. A deleted video's row is kept until its last cleanup.
pub(crate) mod videos {
    use sea_orm::{FromJsonQueryResult, entity::prelude::*};
    use serde::{Deserialize, Serialize};

    use crate::domain::{
        encoding_options::{Preset, Profile},
        video_state::VideoState,
    };

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "videos")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub owner: String,
        pub display_name: String,
        pub state: VideoState,
        pub size_bytes: i64,
        pub upload_id: String,
        pub create_time: i64,
        /// When completion of the upload was requested.
        pub complete_time: Option<i64>,
        /// When the first segments could be played.
        pub playable_time: Option<i64>,
        /// When the video became READY or FAILED.
        pub end_time: Option<i64>,
        /// When the video was deleted: from then on it does not exist for its owner.
        pub delete_time: Option<i64>,
        /// When the video's objects are next to be deleted.
        pub cleanup_time: Option<i64>,
        pub revision: i64,

        /// Requested encoding options; `None` follows the configuration.
        pub profile: Option<Profile>,
        pub preset: Option<Preset>,
        pub rungs: Rungs,
        pub keep_hdr: bool,
        pub poster_time_nanos: Option<i64>,
        pub source_program: Option<i32>,

        /// `jobs/{job}`
        pub job: Option<String>,
        /// Highest applied revision of the job.
        pub job_revision: i64,
        pub failure_reason: Option<String>,
        pub failure_message: Option<String>,
        /// Name of a `reelmill.error.v1.Reason`; NULL unless the job waits for a dependency, like the next two.
        pub waiting_reason: Option<String>,
        pub waiting_message: Option<String>,
        pub waiting_since: Option<i64>,

        pub master_playlist_key: Option<String>,
        pub poster_key: Option<String>,
        pub dash_manifest_key: Option<String>,
        pub thumbnails_key: Option<String>,
        pub output_size_bytes: i64,

        /// The probed source. All are `None` until it is probed; only the duration may stay unknown.
        pub source_container: Option<String>,
        pub source_video_codec: Option<String>,
        pub source_audio_codec: Option<String>,
        pub source_width: Option<i32>,
        pub source_height: Option<i32>,
        pub source_rotation_degrees: Option<i32>,
        #[sea_orm(column_type = "Double", nullable)]
        pub source_frame_rate: Option<f64>,
        pub source_duration_nanos: Option<i64>,
        pub source_pixel_format: Option<String>,
        pub source_video_range: Option<String>,
        pub source_interlaced: Option<bool>,
        pub source_audio_tracks: Option<i32>,
        pub source_subtitle_tracks: Option<i32>,
        /// Tracks and programmes: a SourceInfo with these two fields, Protobuf.
        pub source_contents: Option<Vec<u8>>,
    }

    /// Short sides of the requested rungs, pixels, as a JSON array.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
    pub(crate) struct Rungs(pub Vec<i32>);

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Renditions of a video, in the order of its job.
pub(crate) mod video_renditions {
    use sea_orm::entity::prelude::*;

    use crate::domain::rendition::{RenditionKind, RenditionState};

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "video_renditions")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub video_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub rendition_index: i32,
        pub rendition_id: String,
        pub kind: RenditionKind,
        pub state: RenditionState,
        pub width: i32,
        pub height: i32,
        #[sea_orm(column_type = "Double")]
        pub frame_rate: f64,
        pub codecs: String,
        pub bandwidth_bps: i64,
        pub average_bandwidth_bps: i64,
        pub size_bytes: i64,
        pub language: String,
        pub channels: i32,
        pub video_range: String,
        /// Object key of the progressive MP4, once the video is READY.
        pub download_key: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Warnings about a video, in the order of its job.
pub(crate) mod video_warnings {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "video_warnings")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub video_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub warning_index: i32,
        pub reason: String,
        pub message: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row per owner: counts the revisions of the owner's videos.
pub(crate) mod owner_revisions {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "owner_revisions")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub owner: String,
        pub revision: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Highest applied revision of each shard of the transcode jobs.
pub(crate) mod applied_revisions {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "applied_revisions")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard: i32,
        pub revision: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
