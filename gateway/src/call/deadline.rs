//! Deadlines of calls.

use std::{net::SocketAddr, time::Duration};

use axum::{extract::Request, response::Response};
use reelmill_mesh::deadline::{DEFAULT_TIMEOUT, take_grpc_timeout};
use tokio::time::Instant;

use super::{
    grpc_service::IncomingCall,
    typed_layer::{CallLayer, Handler},
};
use crate::error::CallError;

/// Longest timeout that a client may set. Keeps sums from overflowing.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// A call with a deadline.
pub(super) struct TimedCall {
    pub(super) peer: SocketAddr,
    pub(super) deadline: Deadline,
    pub(super) request: Request,
}

/// Time by which the response must have started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    set_by_client: bool,
}

impl Deadline {
    /// Time until the deadline.
    pub(super) fn remaining(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Time by which the response must have ended. `None` if the client set no timeout: streams may last for ever.
    pub(super) fn response_end(self) -> Option<Instant> {
        self.set_by_client.then_some(self.at)
    }
}

/// Ends a call with DEADLINE_EXCEEDED if its response has not started in time. After that,
/// [`super::limited_body::LimitedBody`] enforces the deadline.
pub(super) struct DeadlineLayer;

impl CallLayer<IncomingCall> for DeadlineLayer {
    type Next = TimedCall;

    async fn process(
        &self,
        IncomingCall { peer, mut request }: IncomingCall,
        next: &impl Handler<TimedCall>,
    ) -> Result<Response, CallError> {
        let timeout = take_grpc_timeout(request.headers_mut()).map(|timeout| timeout.min(MAX_TIMEOUT));
        let at = Instant::now() + timeout.unwrap_or(DEFAULT_TIMEOUT);
        let deadline = Deadline { at, set_by_client: timeout.is_some() };
        let handled = next.handle(TimedCall { peer, deadline, request });
        tokio::time::timeout_at(at, handled).await.unwrap_or(Err(CallError::DeadlineExceeded))
    }
}
