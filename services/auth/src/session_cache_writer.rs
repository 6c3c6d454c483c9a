//! Writes session states to the session cache, after the database.

use std::{sync::Arc, time::Duration};

use backon::{ConstantBuilder, Retryable as _};
use reelmill_platform::shared_state::SessionCache;

use crate::{db::SessionRow, error::AuthError};

/// How much longer than its access tokens a session is cached, because clocks differ.
const CLOCK_SKEW_ALLOWANCE: Duration = Duration::from_secs(60);
const END_RETRY: ConstantBuilder =
    ConstantBuilder::new().with_delay(Duration::from_secs(1)).without_max_times();

/// Writes session states to the session cache. The database is authoritative.
#[derive(Clone)]
pub(crate) struct SessionCacheWriter {
    cache: Arc<dyn SessionCache>,
    entry_ttl: Duration,
}

impl SessionCacheWriter {
    pub fn new(cache: Arc<dyn SessionCache>, access_token_ttl: Duration) -> Self {
        Self { cache, entry_ttl: access_token_ttl + CLOCK_SKEW_ALLOWANCE }
    }

    /// Lifetime of a cache entry: how long access tokens of an ended session may be presented.
    pub fn entry_ttl(&self) -> Duration {
        self.entry_ttl
    }

    /// Caches a live session, unless it is cached already: unlike `put`, this never overwrites an end that was written
    /// in between. If it fails, the gateway gets a cache miss and calls CheckSession, which restores the entry.
    pub async fn restore(&self, session: &SessionRow) {
        if let Err(error) = self.cache.restore(&session.id, &session.user_id, self.entry_ttl).await {
            tracing::warn!(%error, "cannot write a live session to the session cache");
        }
    }

    /// Caches sessions as ended. If the cache is unavailable, this fails, and retries in the background for as long as
    /// the cache may have them as live.
    pub async fn end(&self, sessions: Vec<String>) -> Result<(), AuthError> {
        for (index, session) in sessions.iter().enumerate() {
            if let Err(error) = self.cache.end(session, self.entry_ttl).await {
                tokio::spawn(self.clone().retry_end(sessions[index..].to_vec()));
                return Err(error.into());
            }
        }
        Ok(())
    }

    async fn retry_end(self, sessions: Vec<String>) {
        let end_all = async {
            for session in &sessions {
                // Retries without limit.
                let _ = (|| self.cache.end(session, self.entry_ttl)).retry(END_RETRY).await;
            }
        };
        if tokio::time::timeout(self.entry_ttl, end_all).await.is_err() {
            tracing::warn!(
                "the session cache stayed unavailable until the access tokens of ended sessions expired"
            );
        }
    }
}
