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
        /// An encoded Job that carries `renditions` and `source` only.
        pub detail: Vec<u8>,
        /// Key prefix of the attempt whose outputs are recorded; empty until SUCCEEDED.
        pub recorded_prefix: String,
        pub master_playlist: String,
        pub poster: String,
        pub output_size_bytes: i64,
        /// When to remove what lost attempts left in the store; none once done.
        pub cleanup_due: Option<i64>,
        pub revision: i64,
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
        /// 1: the whole video.
        pub kind: i32,
        pub state: i32,
        pub fencing_token: i64,
        pub lease_expires_at: i64,
        pub worker: String,
        pub encoder_build: String,
        pub failures: i32,
        /// When to tell the queue of it (again), while it is queued.
        pub send_due: i64,
        /// How often the queue was told since it was last queued.
        pub sends: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row a recorded object.
pub mod output {
    use sea_orm::entity::prelude::*;

    /// A recorded object's row.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "outputs")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub task_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub key: String,
        pub size_bytes: i64,
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
