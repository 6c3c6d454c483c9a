//! Request bodies, buffered if they are small, so that they can be sent twice.

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};
use tonic::body::Body;

use super::framing::FramedBody;
use crate::error::CallError;

/// Size up to which requests are buffered.
const MAX_BUFFERED_BYTES: usize = 64 << 10;

/// The body of a request to a role.
pub(super) enum Payload {
    /// The whole body, which can be sent again.
    Buffered(Bytes),
    /// A body that is read while it is sent, and can be sent only once.
    Streamed(Body),
}

impl Payload {
    /// Reads a body until its end or the size limit. Malformed small requests fail here, before they reach a role.
    pub(super) async fn buffer(mut body: FramedBody) -> Result<Self, CallError> {
        let mut buffered = BytesMut::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                buffered.extend_from_slice(&data);
            }
            if buffered.len() > MAX_BUFFERED_BYTES {
                let first = stream::iter([Ok(http_body::Frame::data(buffered.freeze()))]);
                let rest = BodyStream::new(body);
                return Ok(Self::Streamed(Body::new(StreamBody::new(first.chain(rest)))));
            }
        }
        Ok(Self::Buffered(buffered.freeze()))
    }

    /// Streams a body without buffering: the client may wait for responses before it sends the rest.
    pub(super) fn stream(body: FramedBody) -> Self {
        Self::Streamed(Body::new(body))
    }

    /// The body to send, and a copy for a second attempt if there can be one.
    pub(super) fn into_body(self) -> (Body, Option<Self>) {
        match self {
            Self::Buffered(bytes) => (Body::new(Full::new(bytes.clone())), Some(Self::Buffered(bytes))),
            Self::Streamed(body) => (body, None),
        }
    }
}
