//! The tables. Times are milliseconds since the Unix epoch, ids are bare.

/// Upload sessions.
pub(crate) mod uploads {
    use sea_orm::entity::prelude::*;

    use crate::domain::upload::State;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "uploads")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub video_id: String,
        pub owner: String,
        pub request_id: Option<String>,
        pub state: State,
        pub file_name: String,
        pub size_bytes: i64,
        pub part_size_bytes: i64,
        pub part_count: i32,
        /// The store's id of the multipart upload; none until it is opened.
        pub store_upload_id: Option<String>,
        /// While COMPLETING: the client's claim (an encoded CompleteUploadSessionRequest), so that
        /// whoever takes a broken call over checks the same.
        pub claimed_parts: Option<Vec<u8>>,
        /// When the client said that all parts were sent; none while the upload is OPEN.
        pub complete_time: Option<i64>,
        pub create_time: i64,
        /// When the state last changed. Also tells one completing call from the next.
        pub update_time: i64,
        pub expire_time: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Videos, and for a while what is left of deleted ones.
pub(crate) mod videos {
    use sea_orm::entity::prelude::*;

    use crate::domain::video::State;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "videos")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub owner: String,
        pub display_name: String,
        pub state: State,
        pub size_bytes: i64,
        pub upload_id: String,
        /// How to encode it, as an encoded TranscodeOptions.
        pub options: Option<Vec<u8>>,
        pub create_time: i64,
        /// When its upload's completion was called for.
        pub complete_time: Option<i64>,
        /// When its first segments could be played.
        pub playable_time: Option<i64>,
        /// When it became READY or FAILED.
        pub end_time: Option<i64>,
        pub revision: i64,
        /// `jobs/{job}`.
        pub job: Option<String>,
        /// The highest revision of the job that was applied.
        pub job_revision: i64,
        /// Source, renditions, warnings and failure, as an encoded transcode Job with just those.
        pub outcome: Option<Vec<u8>>,
        pub master_playlist_key: Option<String>,
        pub poster_key: Option<String>,
        pub dash_manifest_key: Option<String>,
        pub thumbnails_key: Option<String>,
        /// As an encoded WatchJobsResponse with just those; none where the job told none.
        pub download_keys: Option<Vec<u8>>,
        pub output_size_bytes: i64,
        /// When it was deleted: it does not exist for its owner any more.
        pub delete_time: Option<i64>,
        /// When its objects are to be removed (again).
        pub cleanup_time: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The number of the last change.
pub(crate) mod counter {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "counter")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub value: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// How far another service's changes were applied.
pub(crate) mod follower {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "follower")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub revision: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
