//! Limits and intervals of the product's default configuration.

use reelmill_platform::clock::duration_millis;

use super::event_queue::Millis;
use crate::{QUEUED_TASKS_PER_OWNER, TranscodeConfig, domain::OwnerLimits};

/// Limits of a dispatcher.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) lease_ttl_ms: Millis,
    pub(super) lease_after_disconnect_ms: Millis,
    pub(super) max_failures: i32,
    pub(super) owner: OwnerLimits,
}

impl Default for Limits {
    fn default() -> Self {
        let config = TranscodeConfig::new("");
        Self {
            lease_ttl_ms: duration_millis(config.lease),
            lease_after_disconnect_ms: duration_millis(config.lease_after_disconnect),
            max_failures: config.max_failures,
            owner: OwnerLimits {
                queued: QUEUED_TASKS_PER_OWNER,
                running: config.max_running_tasks_per_owner.map(i64::from),
                started_jobs: i64::from(config.max_started_jobs_per_owner),
            },
        }
    }
}
