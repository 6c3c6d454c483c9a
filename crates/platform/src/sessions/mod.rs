//! The seam for what all replicas must know at once and may forget: which sessions live, how much of a rate limit
//! is used, and hints that something changed.
//!
//! Nothing here is the truth. A lost session is restored from the auth database, a lost bucket is full again, and
//! whoever misses a hint reads the truth again.

mod memory;
mod rate;
mod redis;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

pub use rate::{Decision, RateLimit};

/// The topic on which [`Hub::end_session`] publishes the session's id.
pub const SESSION_ENDED: &str = "session-ended";

/// Hints a subscriber may lag behind before it misses some.
const HINTS_KEPT: usize = 1024;

/// What is known of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// It may be used.
    Alive {
        /// The user whose session it is.
        user: String,
    },
    /// It was ended and must not be used, whatever its tokens say.
    Ended,
}

/// Something published on a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A payload, as it was published.
    Payload(Bytes),
    /// Some hints were missed (a slow reader, a lost connection): read the truth again.
    Lagged,
}

/// Why a call on the hub failed.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The URL names no backend there is, or is not well formed.
    #[error("sessions: {0}")]
    Config(String),
    /// A rate limit that lets nothing through or has no burst.
    #[error("sessions: a rate limit needs a positive, finite rate and a burst of at least 1")]
    Limit,
    /// Redis refused, failed, or does not answer.
    #[error("sessions: Redis: {0}")]
    Redis(#[from] fred::error::Error),
}

/// Sessions, rate limits and hints, shared by all replicas.
#[async_trait]
pub trait Hub: Send + Sync {
    /// Marks a session alive for `ttl` (at sign-in).
    async fn put_session(&self, session: &str, user: &str, ttl: Duration) -> Result<(), HubError>;

    /// Marks a session alive for `ttl` when nothing is known of it; never takes back its end.
    async fn restore_session(&self, session: &str, user: &str, ttl: Duration) -> Result<(), HubError>;

    /// Marks a session ended for `ttl` (at least as long as its access tokens are valid) and publishes its id on
    /// [`SESSION_ENDED`].
    async fn end_session(&self, session: &str, ttl: Duration) -> Result<(), HubError>;

    /// What is known of a session; `None`: nothing, ask the auth database.
    async fn session(&self, session: &str) -> Result<Option<SessionState>, HubError>;

    /// Takes `units` from the bucket `key`, or says when to come again. What costs more than the whole burst is
    /// charged the burst, since it could never pass otherwise.
    async fn take(&self, key: &str, units: u32, limit: RateLimit) -> Result<Decision, HubError>;

    /// Tells all present subscribers of `topic`, in every replica.
    async fn publish(&self, topic: &str, payload: Bytes) -> Result<(), HubError>;

    /// Everything published on `topic` once this call has returned. It ends when the hub is dropped.
    async fn subscribe(&self, topic: &str) -> Result<Subscription, HubError>;
}

/// Opens the hub at `url`: `memory:NAME` or `redis://…` (`rediss://…` with TLS).
///
/// All handles in one process with the same `memory:` URL share one state, since the roles of a process connect
/// each for itself.
pub async fn connect(url: &str) -> Result<Arc<dyn Hub>, HubError> {
    match url.split(':').next().unwrap_or_default() {
        "memory" => Ok(memory::open(url)),
        "redis" | "rediss" => Ok(Arc::new(redis::RedisHub::open(url).await?)),
        other => Err(HubError::Config(format!("no backend has URLs that start with `{other}:`"))),
    }
}

/// A stream of [`Hint`]s.
#[derive(Debug)]
pub struct Subscription {
    hints: BroadcastStream<Hint>,
}

impl Subscription {
    fn new(hints: broadcast::Receiver<Hint>) -> Self {
        Self { hints: BroadcastStream::new(hints) }
    }
}

impl Stream for Subscription {
    type Item = Hint;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Hint>> {
        Pin::new(&mut self.hints).poll_next(context).map(|hint| {
            hint.map(|hint| hint.unwrap_or_else(|BroadcastStreamRecvError::Lagged(_)| Hint::Lagged))
        })
    }
}
