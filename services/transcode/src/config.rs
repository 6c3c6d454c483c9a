//! What the transcode role is told.

use std::time::Duration;

use reelmill_media::plan::{Codec, Preset};

/// Settings of the transcode role.
#[derive(Debug, Clone)]
pub struct TranscodeConfig {
    /// Where its tables are: `sqlite://…` or `postgres://…`.
    pub database_url: String,
    /// How long a lease lasts without a report.
    pub lease: Duration,
    /// How long a lease lasts once the worker's report stream broke.
    pub lease_after_disconnect: Duration,
    /// How often a worker may lose or give back a task before the job fails.
    pub max_failures: i32,
    /// How long signed source and output addresses work.
    pub address_ttl: Duration,
    /// The codec of videos that ask for none.
    pub default_profile: Codec,
    /// The preset of videos that ask for none.
    pub default_preset: Preset,
    /// Threads of each encoder of HEVC and VP9. Part of every plan made from now on, because output bytes depend on it.
    pub encoder_threads: u32,
    /// How often a growing playlist is put, at most.
    pub publish_interval: Duration,
}

impl TranscodeConfig {
    /// The usual settings on a database.
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
        }
    }
}
