//! Response body that ends when its server shuts down.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reelmill_proto::Reason;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Code, Status};

use crate::status::RpcError;

/// Response body that ends an open stream with UNAVAILABLE and a retry delay at shutdown. Without it, the stream would
/// block the shutdown, or its client would see a broken connection.
pub(crate) struct DrainingBody {
    inner: tonic::body::Body,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
}

impl DrainingBody {
    pub(crate) fn new(inner: tonic::body::Body, shutdown: CancellationToken) -> Self {
        Self { inner, shutdown: Box::pin(shutdown.cancelled_owned()), ended: false }
    }
}

impl Body for DrainingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if self.shutdown.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.ended = true;
        let mut trailers = http::HeaderMap::new();
        let error = RpcError::new(
            Code::Unavailable,
            Reason::ShuttingDown,
            "this process is shutting down; call again",
        )
        .retry_after(Duration::from_secs(1));
        // Fails only for a message that is no header value, and this one is.
        let _ = error.to_status().add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
