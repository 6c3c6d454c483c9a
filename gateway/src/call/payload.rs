//! Holds small requests, so that they can be sent twice.

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full, StreamBody};
use tonic::body::Body;

use crate::{call::framing::FramedBody, error::Refused};

/// Requests up to this size are held, bytes.
const HELD_BYTES: usize = 64 << 10;

/// A request's messages on their way to a role.
pub(crate) enum Payload {
    /// All of them, as often as needed.
    Held(Bytes),
    /// Passing through, once.
    Passing(Body),
}

impl Payload {
    /// Reads on until the request has ended or is too large to be held. A malformed small request is found
    /// out here, before any role hears of it.
    pub(crate) async fn gather(mut body: FramedBody) -> Result<Self, Refused> {
        let mut held = BytesMut::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                held.extend_from_slice(&data);
            }
            if held.len() > HELD_BYTES {
                let first = stream::iter([Ok(http_body::Frame::data(held.freeze()))]);
                let rest = http_body_util::BodyStream::new(body);
                return Ok(Self::Passing(Body::new(StreamBody::new(first.chain(rest)))));
            }
        }
        Ok(Self::Held(held.freeze()))
    }

    /// Lets messages through as they come: the client may be waiting for answers in between.
    pub(crate) fn pass(body: FramedBody) -> Self {
        Self::Passing(Body::new(body))
    }

    /// The body to send, and what is left for another try.
    pub(crate) fn take(self) -> (Body, Option<Self>) {
        match self {
            Self::Held(bytes) => (Body::new(Full::new(bytes.clone())), Some(Self::Held(bytes))),
            Self::Passing(body) => (body, None),
        }
    }
}
