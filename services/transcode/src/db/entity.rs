//! The tables. Times are Unix milliseconds.

use sea_orm::{DeriveActiveEnum, EnumIter};

pub(crate) use self::{
    job::Model as JobRow, rendition::Model as RenditionRow, task::Model as TaskRow,
    warning::Model as WarningRow, worker::Model as WorkerRow,
};

/// Defines a column type for an enum of the contract: stored under the contract's value names, converted both ways.
macro_rules! contract_enum {
    ($(#[$doc:meta])* $name:ident, $contract:ty { $($variant:ident = $text:tt),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
        #[sea_orm(rs_type = "String", db_type = "Text")]
        pub(crate) enum $name {
            $(#[sea_orm(string_value = $text)] $variant),+
        }

        impl From<$contract> for $name {
            fn from(value: $contract) -> Self {
                match value { $(<$contract>::$variant => Self::$variant),+ }
            }
        }

        impl From<$name> for $contract {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => Self::$variant),+ }
            }
        }
    };
}

contract_enum!(
    /// Requested codec.
    Profile, reelmill_proto::transcode::transcode_options::Profile {
        Unspecified = "PROFILE_UNSPECIFIED", H264 = "H264", Hevc = "HEVC", Av1 = "AV1", Vp9 = "VP9",
    }
);

contract_enum!(
    /// Requested trade-off between encoding time and size.
    Preset, reelmill_proto::transcode::transcode_options::Preset {
        Unspecified = "PRESET_UNSPECIFIED", Fast = "FAST", Balanced = "BALANCED", Small = "SMALL",
    }
);

contract_enum!(
    /// Kind of a rendition.
    RenditionKind, reelmill_proto::transcode::rendition::Kind {
        Unspecified = "KIND_UNSPECIFIED", Video = "VIDEO", Audio = "AUDIO", Subtitles = "SUBTITLES",
    }
);

contract_enum!(
    /// State of a rendition.
    RenditionState, reelmill_proto::transcode::rendition::State {
        Unspecified = "STATE_UNSPECIFIED", Pending = "PENDING", Encoding = "ENCODING", Ready = "READY",
        Failed = "FAILED",
    }
);

/// One row per job.
pub(crate) mod job {
    use sea_orm::{FromJsonQueryResult, entity::prelude::*};
    use serde::{Deserialize, Serialize};

    use super::{Preset, Profile};
    pub(crate) use crate::db::index_ranges::IndexRanges;
    use crate::domain::{JobPriority, JobState};

    /// Short sides of the requested rungs, pixels. A JSON array.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
    pub(crate) struct Rungs(pub(crate) Vec<i32>);

    /// Row of a job.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "jobs")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub video: String,
        pub owner: String,
        /// Idempotency key.
        #[sea_orm(unique)]
        pub request_id: String,
        pub state: JobState,
        pub shard: i32,
        /// Increases with every announced change, across all jobs of the shard.
        pub revision: i64,
        /// Number of restarts. Tasks, plan and outputs belong to one generation.
        pub generation: i32,
        /// Priority among the jobs of its owner.
        pub priority: JobPriority,
        /// Restarts because no worker had its encoder build any more.
        pub replans: i32,
        /// Whether the current generation has a plan.
        pub planned: bool,
        /// Work units of the plan; 0 before there is one.
        pub work_units: i32,
        /// Work units that have or had a task: the first ones. The others get one when there are few unfinished tasks.
        pub created_work_units: i32,
        /// Succeeded work units whose tasks were removed.
        #[sea_orm(column_type = "Json")]
        pub folded_work_units: IndexRanges,
        pub create_time: i64,
        pub start_time: Option<i64>,
        pub playable_time: Option<i64>,
        pub end_time: Option<i64>,
        /// Name of a `reelmill.error.v1.Reason`; empty unless failed.
        pub failure_reason: String,
        pub failure_message: String,
        /// Name of a `reelmill.error.v1.Reason`; empty unless the job waits for a dependency, like the next two.
        pub waiting_reason: String,
        pub waiting_message: String,
        pub waiting_since: Option<i64>,
        pub source_key: String,
        pub source_size_bytes: i64,
        pub output_prefix: String,
        /// NULL when the request carried no options, like the next five.
        pub option_profile: Option<Profile>,
        pub option_preset: Option<Preset>,
        #[sea_orm(column_type = "Json", nullable)]
        pub option_rungs: Option<Rungs>,
        pub option_keep_hdr: Option<bool>,
        /// NULL also when the server chooses the poster.
        pub option_poster_seconds: Option<f64>,
        /// 0 if the server chooses the programme.
        pub option_source_program: Option<i32>,
        /// NULL until the source was probed, like all that follows of the source.
        pub source_container: Option<String>,
        pub source_video_codec: Option<String>,
        pub source_audio_codec: Option<String>,
        pub source_width: Option<i32>,
        pub source_height: Option<i32>,
        pub source_rotation_degrees: Option<i32>,
        pub source_frame_rate: Option<f64>,
        pub source_duration_seconds: Option<f64>,
        pub source_pixel_format: Option<String>,
        pub source_video_range: Option<String>,
        pub source_interlaced: Option<bool>,
        pub source_audio_tracks: Option<i32>,
        pub source_subtitle_tracks: Option<i32>,
        /// Tracks and programmes: a SourceInfo with these two fields, Protobuf.
        pub source_contents: Option<Vec<u8>>,
        /// Progress watermark: an upper bound of what any process has published.
        pub progress_percent: f64,
        pub progress_frames: i64,
        pub progress_segments_ready: i64,
        /// Id of the process that last raised the watermark; empty before the first.
        pub progress_writer: String,
        /// Object keys; empty until there is such an object.
        pub master_playlist_key: String,
        pub dash_manifest_key: String,
        pub thumbnails_key: String,
        pub poster_key: String,
        pub output_size_bytes: i64,
        /// Time of the last change that its playlists do not have; NULL when they have all. Different for each change.
        pub unpublished_since: Option<i64>,
        /// Id of the process that has claimed the job's playlists; empty before the first claim.
        pub publisher: String,
        /// Expiry of that claim.
        pub publisher_expire_time: i64,
        /// When to remove unreferenced objects; NULL while running and once done.
        pub cleanup_time: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row per rendition of a job.
pub(crate) mod rendition {
    use sea_orm::entity::prelude::*;

    use super::{RenditionKind, RenditionState};

    /// Row of a rendition.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "job_renditions")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub job_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub rendition_id: String,
        /// Position in the job's list of renditions.
        pub position: i32,
        pub kind: RenditionKind,
        pub state: RenditionState,
        pub width: i32,
        pub height: i32,
        pub frame_rate: f64,
        pub video_range: String,
        pub language: String,
        pub channels: i32,
        pub codecs: String,
        pub bandwidth_bps: i64,
        pub average_bandwidth_bps: i64,
        pub size_bytes: i64,
        /// Object key of the progressive MP4; empty while there is none.
        pub download_key: String,
        /// Progress watermark, as that of the job.
        pub progress_percent: f64,
        pub progress_frames: i64,
        pub progress_segments_ready: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row per warning of a job.
pub(crate) mod warning {
    use sea_orm::entity::prelude::*;

    /// Row of a warning.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "job_warnings")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub job_id: String,
        /// Position in the job's list of warnings.
        #[sea_orm(primary_key, auto_increment = false)]
        pub position: i32,
        /// Name of a `reelmill.error.v1.Reason`.
        pub reason: String,
        pub message: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row per task.
pub(crate) mod task {
    use sea_orm::entity::prelude::*;

    use crate::domain::{JobPriority, TaskClass, TaskKind, TaskState};

    /// Row of a task.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "tasks")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub job_id: String,
        pub generation: i32,
        /// Index among the tasks of its generation; of an ENCODE task the index of its work unit in the plan.
        pub task_index: i32,
        pub kind: TaskKind,
        pub state: TaskState,
        /// Owner of the job.
        pub owner: String,
        pub class: TaskClass,
        /// Priority of the job.
        pub job_priority: JobPriority,
        /// Rank among the tasks of all jobs of one priority: 0 for what makes a video playable or completes it, otherwise 1.
        pub stage: i32,
        /// Rank among the tasks of its job: lower starts first.
        pub job_position: i32,
        /// What it takes from its owner's share.
        pub cost: i64,
        /// Rank among the queued tasks of its class; 0 before it is queued.
        pub virtual_start: i64,
        /// Id of the rendition that a PACKAGE task joins; otherwise empty.
        pub rendition_id: String,
        /// Encoder build that must run it; empty for any.
        pub required_build: String,
        /// Encoder build of the worker that has or had the lease.
        pub encoder_build: String,
        /// Name of the worker that has or had the lease.
        pub worker: String,
        /// Nonce of the StartTask call that leased it last; NULL before the first.
        #[sea_orm(unique)]
        pub start_nonce: Option<String>,
        /// Token of the current or last lease; 0 before the first.
        pub fencing_token: i64,
        pub lease_expire_time: i64,
        /// Attempts that were lost, or whose encoder crashed.
        pub attempt_failures: i32,
        /// Attempts that failed because a dependency was unavailable.
        pub dependency_failures: i32,
        /// Attempts that found the file faulty.
        pub file_failures: i32,
        /// Worker that may not start it until `excluded_until`; empty for none.
        pub excluded_worker: String,
        pub excluded_until: i64,
        /// End of the delay before its next attempt, while it waits; 0 without a delay.
        pub ready_time: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row per owner and class: the owner's place in the fair order.
pub(crate) mod owner_share {
    use sea_orm::entity::prelude::*;

    use crate::domain::TaskClass;

    /// Row of an owner's share.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "owner_shares")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub owner: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub class: TaskClass,
        /// When the owner's last queued task finishes, in virtual time.
        pub virtual_finish: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row per worker process.
pub(crate) mod worker {
    use sea_orm::entity::prelude::*;

    /// Row of a worker.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "workers")]
    pub struct Model {
        /// Unique per process.
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub host: String,
        /// Release of the program.
        pub version: String,
        pub encoder_build: String,
        pub bulk_slots: i32,
        pub express_slots: i32,
        pub first_seen_time: i64,
        pub last_seen_time: i64,
        /// Whether it shall lease no more tasks.
        pub draining: bool,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The one row of the whole dispatcher's state.
pub(crate) mod dispatch_state {
    use sea_orm::entity::prelude::*;

    /// Row of the state.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "dispatch_state")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i32,
        /// Whether no task is leased.
        pub paused: bool,
        /// When the backlog is to be swept next.
        pub backlog_sweep_time: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row per plan. Not in `jobs`: a plan is large, and is read once per process.
pub(crate) mod plan {
    use sea_orm::entity::prelude::*;

    /// Row of a plan.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "plans")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub job_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub generation: i32,
        /// A `reelmill_media::plan::Plan`, JSON: only the planner and the workers read it.
        #[sea_orm(column_type = "Text")]
        pub plan: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row per recorded output other than segments and thumbnails. Rows never change, and are folded into the manifest when
/// the job succeeds.
pub(crate) mod output {
    use sea_orm::entity::prelude::*;

    use crate::domain::OutputKind;

    /// Row of a recorded output.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "outputs")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub job_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub generation: i32,
        /// Empty for outputs of the whole video.
        #[sea_orm(primary_key, auto_increment = false)]
        pub rendition_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub kind: OutputKind,
        /// Object key relative to the job's folder: its URI in the playlists.
        pub uri: String,
        pub size_bytes: i64,
        /// RFC 6381 codec string of an init segment.
        pub codec: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Recorded segments and sheets of thumbnails, many in a row: a row for each part of a task, and one for each group
/// of tasks that were removed.
pub(crate) mod segment_part {
    use sea_orm::entity::prelude::*;

    /// Row of a part.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "segment_parts")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub job_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub generation: i32,
        /// Index of the task; -1 for tasks that were removed.
        #[sea_orm(primary_key, auto_increment = false)]
        pub task_index: i32,
        /// Position among the parts of the task.
        #[sea_orm(primary_key, auto_increment = false)]
        pub part: i32,
        /// Number of outputs. They never change; more may follow.
        pub count: i32,
        /// An encoded `StoredOutputs`.
        pub outputs: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row per succeeded job: all its outputs.
pub(crate) mod manifest {
    use sea_orm::entity::prelude::*;

    /// Row of a manifest.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "manifests")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub job_id: String,
        pub generation: i32,
        /// An encoded `StoredOutputs`.
        pub outputs: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row per shard of the jobs: counts revisions.
pub(crate) mod revision_counter {
    use sea_orm::entity::prelude::*;

    /// Row of the counter.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "revision_counters")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard: i32,
        pub revision: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
