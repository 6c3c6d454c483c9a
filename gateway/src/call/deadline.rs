//! Deadlines of calls.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{extract::Request, response::Response};
use reelmill_mesh::deadline::{DEFAULT_TIMEOUT, take_grpc_timeout};
use tokio::time::Instant;

use super::{
    method::KnownCall,
    typed_layer::{CallLayer, Handler},
};
use crate::{
    error::CallError,
    methods::{Destination, Method},
};

/// Longest timeout that a client may set for a response stream. Keeps sums from overflowing.
const MAX_STREAM_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Longest stream of the gateway's own methods, which anyone may call.
const MAX_EMBEDDED_STREAM: Duration = Duration::from_secs(600);

/// A call with a deadline.
pub(super) struct TimedCall {
    pub(super) peer: SocketAddr,
    pub(super) deadline: Deadline,
    pub(super) method: Arc<Method>,
    pub(super) request: Request,
}

/// When the response must have started, and when it must have ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    start: Instant,
    end: Option<Instant>,
}

impl Deadline {
    /// The deadline of a call of `method` that starts now, with the timeout that the client set.
    fn of(method: &Method, timeout: Option<Duration>) -> Self {
        let now = Instant::now();
        let longest = method.policy.longest_deadline();
        let start = now + timeout.unwrap_or(DEFAULT_TIMEOUT).min(longest);
        let end = match (method.server_streaming, &method.destination) {
            // The role ends it in time.
            (false, _) => timeout.map(|_| start),
            (true, Destination::Embedded) => {
                Some(now + timeout.unwrap_or(MAX_EMBEDDED_STREAM).min(MAX_EMBEDDED_STREAM))
            }
            // Without a timeout, streams may last for ever.
            (true, Destination::Role(_)) => timeout.map(|timeout| now + timeout.min(MAX_STREAM_TIMEOUT)),
        };
        Self { start, end }
    }

    /// Time until the response must have started.
    pub(super) fn remaining(self) -> Duration {
        self.start.saturating_duration_since(Instant::now())
    }

    /// When the response must have ended.
    pub(super) fn response_end(self) -> Option<Instant> {
        self.end
    }
}

/// Ends a call with DEADLINE_EXCEEDED if its response has not started in time. After that,
/// [`super::limited_body::LimitedBody`] enforces the deadline.
pub(super) struct DeadlineLayer;

impl CallLayer<KnownCall> for DeadlineLayer {
    type Next = TimedCall;

    async fn process(
        &self,
        KnownCall { peer, method, mut request }: KnownCall,
        next: &impl Handler<TimedCall>,
    ) -> Result<Response, CallError> {
        let deadline = Deadline::of(&method, take_grpc_timeout(request.headers_mut()));
        let handled = next.handle(TimedCall { peer, deadline, method, request });
        tokio::time::timeout_at(deadline.start, handled).await.unwrap_or(Err(CallError::DeadlineExceeded))
    }
}

#[cfg(test)]
mod tests {
    use reelmill_proto::MethodPolicy;

    use super::*;

    #[test]
    fn deadline_of_a_call_is_at_most_that_of_its_method() {
        let of = |server_streaming, hours: Option<u64>| {
            let method = Method {
                policy: MethodPolicy { max_deadline_seconds: 20, ..MethodPolicy::default() },
                client_streaming: false,
                server_streaming,
                destination: Destination::Embedded,
            };
            Deadline::of(&method, hours.map(|hours| Duration::from_secs(hours * 3600)))
        };
        let at_most = |at: Instant, seconds| at <= Instant::now() + Duration::from_secs(seconds);
        for hours in [None, Some(24)] {
            assert!(at_most(of(false, hours).start, 20) && at_most(of(true, hours).start, 20));
        }
        assert!(of(false, Some(24)).end.is_some_and(|end| at_most(end, 20)));
        // Anyone may call the gateway's own streams.
        assert!(of(true, Some(24)).end.is_some_and(|end| at_most(end, 600) && !at_most(end, 500)));
    }
}
