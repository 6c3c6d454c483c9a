//! The tables as sea-orm knows them.

/// One row a job.
pub mod job {
    use sea_orm::entity::prelude::*;

    /// A job's row.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "jobs")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub video: String,
        pub owner: String,
        pub request_id: String,
        pub state: i32,
        pub source_key: String,
        pub source_size_bytes: i64,
        pub output_prefix: String,
        pub created_at: i64,
        pub started_at: Option<i64>,
        pub ended_at: Option<i64>,
        pub failure_reason: String,
        pub failure_message: String,
        /// An encoded Job that carries `renditions`, `source`, `warnings` and `options` only.
        pub detail: Vec<u8>,
        /// Key prefix that the playlists and the poster are named below; empty until there are any.
        pub recorded_prefix: String,
        pub master_playlist: String,
        pub poster: String,
        pub output_size_bytes: i64,
        /// When to remove what lost attempts left in the store; none once done.
        pub cleanup_due: Option<i64>,
        pub revision: i64,
        /// How often the job was started anew. Tasks, plan and outputs belong to one generation.
        pub generation: i32,
        /// Whether this generation has a plan.
        pub planned: bool,
        pub playable_at: Option<i64>,
        /// An encoded WatchJobsResponse that carries the keys told at the end only.
        pub keys: Option<Vec<u8>>,
        /// The process that puts playlists; empty when none does.
        pub publisher: String,
        /// Until when no other may.
        pub publish_until: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row a task.
pub mod task {
    use sea_orm::entity::prelude::*;

    /// A task's row.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "tasks")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub job_id: String,
        /// A stored [`crate::domain::TaskKind`].
        pub kind: i32,
        pub state: i32,
        pub fencing_token: i64,
        pub lease_expires_at: i64,
        pub worker: String,
        /// The build of the worker that has, or had, it.
        pub encoder_build: String,
        pub failures: i32,
        /// When to tell the queue of it (again), while it is queued.
        pub send_due: i64,
        /// How often the queue was told since it was last queued.
        pub sends: i32,
        pub generation: i32,
        /// Its place in its generation; of an ENCODE task the place of its share in the plan.
        pub ordinal: i32,
        /// Lower is sooner.
        pub priority: i32,
        /// Not before.
        pub ready_at: i64,
        /// The build that must have it; empty: any.
        pub required_build: String,
        /// What a PACKAGE task joins.
        pub rendition: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row a plan.
pub mod plan {
    use sea_orm::entity::prelude::*;

    /// A plan's row. Apart from its job's, which is read and written often.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "plans")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub job_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub generation: i32,
        /// JSON.
        pub plan: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row a recorded object.
pub mod recorded {
    use sea_orm::entity::prelude::*;

    /// A recorded object's row. It never changes.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "recorded")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub job_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub generation: i32,
        /// Empty where it belongs to the whole video.
        #[sea_orm(primary_key, auto_increment = false)]
        pub rendition: String,
        /// A stored [`crate::domain::Role`].
        #[sea_orm(primary_key, auto_increment = false)]
        pub role: i32,
        /// Its place among those of its role.
        #[sea_orm(primary_key, auto_increment = false)]
        pub sequence: i32,
        pub task_id: String,
        /// Key below the job's folder, which is its address in the playlists.
        pub uri: String,
        pub size_bytes: i64,
        pub start: f64,
        pub seconds: f64,
        pub frames: i32,
        pub keyframe_bytes: i64,
        /// RFC 6381 codec string of an initialisation segment.
        pub codec: String,
        /// An encoded ThumbnailSheet.
        pub sheet: Option<Vec<u8>>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The one row that counts revisions.
pub mod counter {
    use sea_orm::entity::prelude::*;

    /// The counter's row.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "counter")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i32,
        pub revision: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
