//! State shared by all replicas that may be lost: session cache, rate limiter and publish/subscribe.
//!
//! None of it is authoritative. A lost session entry is restored from the auth database, a lost rate-limit bucket is a
//! full one, and a subscriber that missed a notification reloads from the database.

mod error;
mod memory;
mod pub_sub;
mod rate_limiter;
mod redis;
mod session_cache;

use std::sync::Arc;

pub use error::SharedStateError;
pub use pub_sub::{Notification, PubSub, Subscription};
pub use rate_limiter::{Bucket, RateDecision, RateLimit, RateLimiter, Taken};
pub use session_cache::{SESSION_ENDED, SessionCache, SessionState};

/// The three capabilities of one backend. Each user takes only those that it needs.
#[derive(Clone)]
pub struct SharedState {
    /// Session states.
    pub session_cache: Arc<dyn SessionCache>,
    /// Rate limits.
    pub rate_limiter: Arc<dyn RateLimiter>,
    /// Change notifications.
    pub pub_sub: Arc<dyn PubSub>,
}

impl SharedState {
    /// State of this process alone.
    pub fn in_memory() -> Self {
        Self::of(Arc::new(memory::MemoryState::new()))
    }

    /// All capabilities of one backend.
    pub fn of<B: SessionCache + RateLimiter + PubSub + 'static>(backend: Arc<B>) -> Self {
        Self { session_cache: backend.clone(), rate_limiter: backend.clone(), pub_sub: backend }
    }
}

/// Opens the backend at `url`: `memory:NAME` or `redis://…` (`rediss://…` with TLS).
///
/// Within a process, all connections with the same `memory:` URL share one state, because each role of the process
/// connects by itself.
pub async fn connect(url: &str) -> Result<SharedState, SharedStateError> {
    match url.split(':').next().unwrap_or_default() {
        "memory" => Ok(SharedState::of(memory::open(url))),
        "redis" | "rediss" => Ok(SharedState::of(Arc::new(redis::RedisState::open(url).await?))),
        other => Err(SharedStateError::Config(format!("no backend has URLs that start with `{other}:`"))),
    }
}
