//! Response body that ends at its deadline, with its session, or at shutdown.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures::FutureExt as _;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use super::framing::Framing;
use crate::{admission::CallPermit, error::CallError, sessions::OpenCall};

/// What may end a response before the role ends it.
pub(super) struct ResponseLimits {
    /// The client's deadline.
    pub(super) deadline: Option<Instant>,
    /// The session of a stream, registered as open until the body is dropped.
    pub(super) session: Option<OpenCall>,
    /// Cancelled at shutdown. Set only for streams: single responses are sent in full.
    pub(super) draining: Option<CancellationToken>,
}

impl ResponseLimits {
    fn is_empty(&self) -> bool {
        self.deadline.is_none() && self.session.is_none() && self.draining.is_none()
    }

    /// Resolves when a limit is reached.
    async fn reached(self) -> CallError {
        let session_ended = async {
            match &self.session {
                Some(call) => call.ended().cancelled_owned().await,
                None => std::future::pending().await,
            }
        };
        let deadline_exceeded = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let shutting_down = async {
            match &self.draining {
                Some(draining) => draining.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = session_ended => CallError::SessionEnded,
            () = deadline_exceeded => CallError::DeadlineExceeded,
            () = shutting_down => CallError::ShuttingDown,
        }
    }
}

/// Time after which a stream sends an empty message if it has sent nothing else. Proxies commonly close a response that is
/// silent for 60 s.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(25);
/// An empty message: every type can be decoded from it.
const EMPTY_MESSAGE: [u8; 5] = [0; 5];

/// Keeps a silent stream alive.
struct Keepalive {
    due: Pin<Box<Sleep>>,
    /// Where messages end: an empty one fits only between them.
    framing: Framing,
}

impl Keepalive {
    fn new() -> Self {
        Self { due: Box::pin(sleep(KEEPALIVE_INTERVAL)), framing: Framing::new(true, usize::MAX) }
    }

    /// Notes what the role has sent.
    fn sent(&mut self, data: &Bytes) {
        // What a role sends is well-formed, or ends the stream at the client.
        let _ = self.framing.feed(data);
        self.restart();
    }

    fn restart(&mut self) {
        self.due.as_mut().reset(Instant::now() + KEEPALIVE_INTERVAL);
    }

    /// The message to send now, if one is due.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            ready!(self.due.as_mut().poll(cx));
            self.restart();
            if self.framing.is_between_messages() {
                return Poll::Ready(Bytes::from_static(&EMPTY_MESSAGE));
            }
        }
    }
}

/// Passes a role's response on. When a limit is reached, it ends with trailers that carry the reason, which a reset
/// connection would not.
pub(super) struct LimitedBody {
    inner: Body,
    /// `None` for a body without limits.
    limit_reached: Option<Pin<Box<dyn Future<Output = CallError> + Send>>>,
    ended: bool,
    /// Of a stream of messages.
    keepalive: Option<Keepalive>,
    /// The call is in progress until the body is dropped.
    _permit: CallPermit,
}

impl LimitedBody {
    /// `is_kept_alive` for a stream of messages of a role.
    pub(super) fn new(inner: Body, limits: ResponseLimits, is_kept_alive: bool, permit: CallPermit) -> Self {
        let ended = http_body::Body::is_end_stream(&inner);
        let limit_reached = (!limits.is_empty()).then(|| limits.reached().boxed());
        let keepalive = (is_kept_alive && !ended).then(Keepalive::new);
        Self { inner, limit_reached, ended, keepalive, _permit: permit }
    }

    fn end(&mut self, error: &CallError) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.ended = true;
        // Closes the stream to the role at once.
        self.inner = Body::empty();
        Poll::Ready(Some(Ok(Frame::trailers(error.to_trailers()))))
    }
}

impl http_body::Body for LimitedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // Polled before each frame, so that a stream that is never idle ends too.
        if let Some(Poll::Ready(error)) = self.limit_reached.as_mut().map(|limit| limit.as_mut().poll(cx)) {
            return self.end(&error);
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Err(error))) => {
                tracing::warn!(cause = %error, "a role broke off its response");
                self.end(&CallError::ServiceUnavailable)
            }
            Poll::Ready(frame) => {
                self.ended = frame.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
                if let (Some(keepalive), Some(Ok(frame))) = (&mut self.keepalive, &frame)
                    && let Some(data) = frame.data_ref()
                {
                    keepalive.sent(data);
                }
                Poll::Ready(frame)
            }
            Poll::Pending => match &mut self.keepalive {
                Some(keepalive) => keepalive.poll(cx).map(|message| Some(Ok(Frame::data(message)))),
                None => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        // Unknown: the body may be cut off by trailers.
        SizeHint::default()
    }
}
