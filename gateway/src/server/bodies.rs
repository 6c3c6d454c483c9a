//! Bodies of requests and responses that count what moves on their connection.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::connections::{OpenRequest, Transfer, Trusted};

/// Rest of a request body that is read and dropped after a response that did not need it, so that an HTTP/1.1 connection can be
/// used again.
pub(super) const MAX_DRAINED_BYTES: u64 = 256 << 10;
/// The same of an HTTP/2 stream, which then ends without a reset. Some clients take a reset for an error, although the response
/// is complete.
const MAX_DRAINED_STREAM_BYTES: u64 = 8 << 20;
/// Time for that.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// A request body. What the handler has not read is read and dropped.
pub(super) struct RequestBody {
    inner: Option<Incoming>,
    is_http1: bool,
    /// Set when all was read.
    is_read: Arc<AtomicBool>,
    transfer: Option<Transfer>,
}

impl RequestBody {
    /// `transfer` counts its bytes; none for a gRPC call.
    pub(super) fn new(inner: Incoming, is_http1: bool, transfer: Option<Transfer>) -> Self {
        let is_read = Arc::new(AtomicBool::new(inner.is_end_stream()));
        Self { inner: Some(inner), is_http1, is_read, transfer }
    }

    pub(super) fn is_read(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_read)
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *inner).poll_frame(cx));
        let has_ended = !matches!(&frame, Some(Ok(_))) || inner.is_end_stream();
        if let (Some(transfer), Some(Ok(frame))) = (&self.transfer, &frame)
            && let Some(data) = frame.data_ref()
        {
            transfer.add(data.len());
        }
        if has_ended {
            self.is_read.store(true, Ordering::Relaxed);
            self.transfer = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if inner.is_end_stream() || self.is_read.load(Ordering::Relaxed) {
            return;
        }
        let is_small = inner.size_hint().upper().is_some_and(|left| left <= MAX_DRAINED_BYTES);
        if is_small || !self.is_http1 {
            tokio::spawn(drain(inner));
        }
    }
}

async fn drain(mut body: Incoming) {
    let draining = async {
        let mut left = MAX_DRAINED_STREAM_BYTES;
        while left > 0
            && let Some(Ok(frame)) = body.frame().await
        {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len) as u64);
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, draining).await;
}

type Guards = (OpenRequest, Option<Arc<Trusted>>);

/// A response body.
pub(super) struct ResponseBody {
    inner: Body,
    transfer: Option<Transfer>,
    /// The request is open, and its caller trusted, until the body is dropped.
    _guards: Guards,
}

impl ResponseBody {
    /// `transfer` counts its bytes; none for a gRPC call.
    pub(super) fn new(inner: Body, transfer: Option<Transfer>, guards: Guards) -> Self {
        Self { inner, transfer, _guards: guards }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let (Some(transfer), Some(Ok(frame))) = (&self.transfer, &frame)
            && let Some(data) = frame.data_ref()
        {
            transfer.add(data.len());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
