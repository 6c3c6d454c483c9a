//! A response body that ends when its server is told to stop.

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

use crate::RpcError;

/// Passes a body on; once the server drains, an open stream ends with UNAVAILABLE and a hint to
/// come back, instead of holding the server or being cut.
pub(crate) struct DrainingBody {
    inner: tonic::body::Body,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
}

impl DrainingBody {
    pub(crate) fn new(inner: tonic::body::Body, shutdown: CancellationToken) -> Self {
        Self { inner, draining: Box::pin(shutdown.cancelled_owned()), ended: false }
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
        if self.draining.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.ended = true;
        let mut trailers = http::HeaderMap::new();
        let leaving =
            RpcError::new(Code::Unavailable, Reason::ShuttingDown, "this process is stopping; call again")
                .retry_after(Duration::from_secs(1));
        let _ = leaving.to_status().add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
