//! How the service is set up.

use std::{fmt, time::Duration};

/// How the upload service is set up.
#[derive(Clone)]
pub struct UploadConfig {
    /// Where uploads and videos are kept: `sqlite:` or `postgres:`.
    pub database_url: String,
    /// Secret that playback addresses are signed with; the gateway verifies with the same.
    pub playback_secret: String,
    /// Address that playback is reached at, without a trailing slash. Without it the host that the caller
    /// came by is used.
    pub public_url: Option<String>,
    /// Smallest size of a part, bytes; at least 5 MiB, as S3 demands.
    pub part_size_bytes: i64,
    /// How long an upload may stay open.
    pub session_ttl: Duration,
    /// How long the signed address of a part works.
    pub address_ttl: Duration,
    /// How long playback addresses work where the caller names no time.
    pub playback_ttl: Duration,
    /// How often the sweeper looks for unfinished business when nobody wakes it.
    pub sweep_interval: Duration,
    /// How often a watch looks at the records when it hears of no change: news of other replicas may be lost.
    pub watch_interval: Duration,
}

impl UploadConfig {
    /// The defaults, over this database and with this playback secret.
    pub fn new(database_url: impl Into<String>, playback_secret: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            playback_secret: playback_secret.into(),
            public_url: None,
            part_size_bytes: 8 << 20,
            session_ttl: Duration::from_secs(7 * 24 * 3600),
            address_ttl: Duration::from_secs(3600),
            playback_ttl: Duration::from_secs(6 * 3600),
            sweep_interval: Duration::from_secs(15),
            watch_interval: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for UploadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadConfig")
            .field("public_url", &self.public_url)
            .field("part_size_bytes", &self.part_size_bytes)
            .finish_non_exhaustive()
    }
}
