//! How long a call may take.

use std::time::Duration;

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use reelmill_mesh::deadline::{DEFAULT, take_grpc_timeout};
use tokio::time::Instant;

use crate::error::Refused;

/// Longest time that a client may name, so that no sum overflows.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// By when a call must be answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    named: bool,
}

impl Deadline {
    /// What is left until the answer must have begun.
    pub(crate) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// When the answer must have ended: only where its client named the time, since streams may
    /// last for ever.
    pub(crate) fn end(self) -> Option<Instant> {
        self.named.then_some(self.at)
    }
}

/// Answers DEADLINE_EXCEEDED in time, whatever a call waits for. What has begun by then is ended by
/// [`crate::call::guarded_body::GuardedBody`].
pub(crate) async fn bound(mut request: Request, next: Next) -> Response {
    let named = take_grpc_timeout(request.headers_mut()).map(|bound| bound.min(LONGEST));
    let deadline = Deadline { at: Instant::now() + named.unwrap_or(DEFAULT), named: named.is_some() };
    request.extensions_mut().insert(deadline);
    let answer = tokio::time::timeout_at(deadline.at, next.run(request)).await;
    answer.unwrap_or_else(|_| Refused::DeadlineExceeded.into_response())
}
