use std::time::Duration;

use async_trait::async_trait;

use super::SharedStateError;

/// Topic on which [`SessionCache::end`] publishes the id of the session.
pub const SESSION_ENDED: &str = "session-ended";

/// Cached state of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The session is valid.
    Alive {
        /// The user the session belongs to.
        user: String,
    },
    /// The session has ended: its access tokens are rejected even if they have not expired.
    Ended,
}

/// Cache of session states, shared by all replicas. The auth database is authoritative.
#[async_trait]
pub trait SessionCache: Send + Sync {
    /// Stores a session as alive for `ttl`, at sign-in.
    async fn put(&self, session: &str, user: &str, ttl: Duration) -> Result<(), SharedStateError>;

    /// Stores a session as alive for `ttl` if the cache has no entry for it. Never overwrites [`SessionState::Ended`].
    async fn restore(&self, session: &str, user: &str, ttl: Duration) -> Result<(), SharedStateError>;

    /// Stores a session as ended for `ttl`, which must be at least the lifetime of its access tokens, and publishes
    /// its id on [`SESSION_ENDED`].
    async fn end(&self, session: &str, ttl: Duration) -> Result<(), SharedStateError>;

    /// The state of a session. `None` on a cache miss: ask the auth service.
    async fn get(&self, session: &str) -> Result<Option<SessionState>, SharedStateError>;
}
