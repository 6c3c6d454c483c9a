//! Response body that ends at its deadline, with its session, or at shutdown.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use futures::FutureExt as _;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{error::CallError, sessions::OpenCall};

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

/// Passes a role's response on. When a limit is reached, it ends with trailers that carry the reason, which a reset
/// connection would not.
pub(super) struct LimitedBody {
    inner: Body,
    /// `None` for a body without limits.
    limit_reached: Option<Pin<Box<dyn Future<Output = CallError> + Send>>>,
    ended: bool,
}

impl LimitedBody {
    pub(super) fn new(inner: Body, limits: ResponseLimits) -> Self {
        let ended = http_body::Body::is_end_stream(&inner);
        let limit_reached = (!limits.is_empty()).then(|| limits.reached().boxed());
        Self { inner, limit_reached, ended }
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
                Poll::Ready(frame)
            }
            Poll::Pending => Poll::Pending,
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
