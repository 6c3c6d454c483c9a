//! Configuration of the transcode role.

use std::time::Duration;

use reelmill_media::plan::{Codec, Preset};

/// Configuration of the transcode role.
#[derive(Debug, Clone)]
pub struct TranscodeConfig {
    /// Database URL: `sqlite://…` or `postgres://…`.
    pub database_url: String,
    /// Lifetime of a lease without renewal.
    pub lease: Duration,
    /// Remaining lifetime of a lease after the worker's report stream broke.
    pub lease_after_disconnect: Duration,
    /// Failures of a task, because of workers, after which its job fails.
    pub max_failures: i32,
    /// Lifetime of presigned GET URLs.
    pub address_ttl: Duration,
    /// Codec of videos that request none.
    pub default_profile: Codec,
    /// Preset of videos that request none.
    pub default_preset: Preset,
    /// Threads of each HEVC or VP9 encoder. Part of every new plan, because the output bytes depend on it.
    pub encoder_threads: u32,
    /// Shortest interval between two writes of a growing playlist.
    pub publish_interval: Duration,
    /// Jobs of one owner that are started and not ended at a time; the others wait.
    pub max_started_jobs_per_owner: u32,
    /// Tasks of one owner that run at a time; none for no limit.
    pub max_running_tasks_per_owner: Option<u32>,
    /// How long a job waits for a worker with the encoder build that it was started with, before another build
    /// encodes it from the start; up to ten times as long, in proportion to what is done.
    pub replan_after: Duration,
}

impl TranscodeConfig {
    /// Default configuration on a database.
    pub fn new(database_url: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            lease: Duration::from_secs(15),
            lease_after_disconnect: Duration::from_secs(4),
            max_failures: 5,
            address_ttl: Duration::from_secs(12 * 3600),
            default_profile: Codec::H264,
            default_preset: Preset::Fast,
            encoder_threads: 2,
            publish_interval: Duration::from_secs(1),
            max_started_jobs_per_owner: 16,
            max_running_tasks_per_owner: None,
            replan_after: Duration::from_secs(600),
        }
    }
}
