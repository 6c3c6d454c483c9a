//! What the transcode role is told.

use std::time::Duration;

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
        }
    }
}
