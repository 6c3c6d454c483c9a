//! Configuration of the upload service.

use std::{fmt, time::Duration};

/// Configuration of the upload service.
#[derive(Clone)]
pub struct UploadConfig {
    /// URL of the upload database: `sqlite:` or `postgres:`.
    pub database_url: String,
    /// Secret that signs playback URLs; the gateway verifies them with the same secret.
    pub playback_secret: String,
    /// Base of playback URLs, without a trailing slash. `None`: the origin of each request.
    pub public_url: Option<String>,
    /// Minimum size of a part, bytes; at least 5 MiB, as S3 requires.
    pub part_size_bytes: i64,
    /// Lifetime of an upload session.
    pub session_ttl: Duration,
    /// Lifetime of a presigned part URL.
    pub part_url_ttl: Duration,
    /// Lifetime of a playback URL, unless the request names one.
    pub playback_url_ttl: Duration,
    /// Interval between sweeps that nothing requested.
    pub sweep_interval: Duration,
    /// Interval at which a page of the PROCESSING videos is compared with their jobs.
    pub reconcile_interval: Duration,
    /// Interval at which a page of the videos is compared with the object store.
    pub storage_interval: Duration,
    /// Time after which the source of a FAILED video is deleted; `None` keeps it.
    pub failed_source_retention: Option<Duration>,
    /// Interval at which a watch reads the database without a notification, since notifications of other replicas may
    /// be lost.
    pub watch_poll_interval: Duration,
}

impl UploadConfig {
    /// Defaults for a database and a playback secret.
    pub fn new(database_url: impl Into<String>, playback_secret: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            playback_secret: playback_secret.into(),
            public_url: None,
            part_size_bytes: 8 << 20,
            session_ttl: Duration::from_secs(7 * 24 * 3600),
            part_url_ttl: Duration::from_secs(3600),
            playback_url_ttl: Duration::from_secs(6 * 3600),
            sweep_interval: Duration::from_secs(15),
            reconcile_interval: Duration::from_secs(30),
            storage_interval: Duration::from_secs(300),
            failed_source_retention: None,
            watch_poll_interval: Duration::from_secs(30),
        }
    }
}

/// Omits the secret and the URL, which may contain a password.
impl fmt::Debug for UploadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadConfig")
            .field("public_url", &self.public_url)
            .field("part_size_bytes", &self.part_size_bytes)
            .finish_non_exhaustive()
    }
}
