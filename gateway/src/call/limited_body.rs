//! A response body that ends in time: by its deadline, with its session, with this process.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use futures::FutureExt as _;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{error::Refused, sessions::OpenCall};

/// What may end a body before its role ends it.
#[derive(Default)]
pub(crate) struct Ends {
    /// When the client's patience ends.
    pub deadline: Option<Instant>,
    /// The session that a stream belongs to.
    pub session: Option<Arc<OpenCall>>,
    /// Fires when this process stops. Only streams look at it: single answers are let through.
    pub draining: Option<CancellationToken>,
}

type Ending = Pin<Box<dyn Future<Output = Refused> + Send>>;

/// Passes a role's answer on. Where it has to end before the role ends it, it ends with trailers that say
/// why, since a reset would tell the client nothing.
pub(crate) struct GuardedBody {
    inner: Body,
    ending: Ending,
    ended: bool,
}

impl GuardedBody {
    pub(crate) fn new(inner: Body, ends: Ends) -> Self {
        let ended = http_body::Body::is_end_stream(&inner);
        Self { inner, ending: ending(ends).boxed(), ended }
    }

    fn end(&mut self, refused: &Refused) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.ended = true;
        // Lets go of the role's stream at once.
        self.inner = Body::empty();
        Poll::Ready(Some(Ok(Frame::trailers(refused.to_trailers()))))
    }
}

/// Resolves when the body has to end. Holds the call open under its session.
async fn ending(Ends { deadline, session, draining }: Ends) -> Refused {
    let overdue = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    let session_ended = async {
        match &session {
            Some(call) => call.ended().cancelled_owned().await,
            None => std::future::pending().await,
        }
    };
    let stopping = async {
        match draining {
            Some(draining) => draining.cancelled_owned().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = session_ended => Refused::SessionEnded,
        () = overdue => Refused::DeadlineExceeded,
        () = stopping => Refused::ShuttingDown,
    }
}

impl http_body::Body for GuardedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // Looked at with every frame, so that a stream that is never idle ends too.
        if let Poll::Ready(refused) = self.ending.as_mut().poll(cx) {
            return self.end(&refused);
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Err(error))) => {
                tracing::warn!(cause = %error, "a role broke off its answer");
                self.end(&Refused::ServiceUnavailable)
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
        // Trailers may come at any time.
        SizeHint::default()
    }
}
