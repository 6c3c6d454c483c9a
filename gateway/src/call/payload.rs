//! Bodies of requests to roles. A single message is read before a role is called, so that callers who send slowly occupy
//! no role, and so that the call can be sent twice.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use tokio::time::Instant;
use tonic::body::Body;

use super::framing::FramedBody;
use crate::{
    admission::{BodyBytes, CallPermit},
    error::CallError,
};

/// Time that a body of up to [`FREE_BYTES`] gets.
const BASE_TIME: Duration = Duration::from_secs(10);
const FREE_BYTES: usize = 256 << 10;
/// Rate that the rest of a larger body needs.
const MIN_BYTES_PER_SECOND: usize = 32 << 10;

/// The body of a request to a role.
pub(super) enum Payload<'a> {
    /// The only message, which can be sent again, and the memory that is reserved for it.
    Message(Bytes, BodyBytes<'a>),
    /// A stream of messages, which can be sent only once.
    Stream(Body),
}

impl<'a> Payload<'a> {
    /// Reads a body of one message. Malformed, too large, and too slow ones fail here, before they reach a role.
    pub(super) async fn read(mut body: FramedBody, permit: &'a CallPermit) -> Result<Self, CallError> {
        let start = Instant::now();
        let mut message = BytesMut::new();
        let mut reserved = None;
        let mut end = start + BASE_TIME;
        loop {
            let frame = tokio::time::timeout_at(end, body.frame()).await;
            let Some(frame) = frame.map_err(|_| CallError::RequestTooSlow)? else { break };
            let data = frame?.into_data().unwrap_or_default();
            if reserved.is_none()
                && let Some(left) = body.message_bytes_left()
            {
                let length = message.len() + data.len() + left;
                reserved = Some(permit.reserve(length).ok_or(CallError::Overloaded)?);
                message.reserve(length - message.len());
                end = start + time_for(length);
            }
            message.extend_from_slice(&data);
        }
        // A body without a message is malformed.
        let reserved = reserved.ok_or(CallError::Malformed)?;
        Ok(Self::Message(message.freeze(), reserved))
    }

    /// Passes a stream on as it comes: the client may wait for responses before it sends the rest.
    pub(super) fn stream(body: FramedBody) -> Self {
        Self::Stream(Body::new(body))
    }

    /// The body to send, and a copy for a second attempt if there can be one.
    pub(super) fn into_body(self) -> (Body, Option<Self>) {
        match self {
            Self::Message(bytes, reserved) => {
                (Body::new(Full::new(bytes.clone())), Some(Self::Message(bytes, reserved)))
            }
            Self::Stream(body) => (body, None),
        }
    }
}

/// Time that a body of this length gets.
fn time_for(length: usize) -> Duration {
    let rest = length.saturating_sub(FREE_BYTES);
    BASE_TIME + Duration::from_secs_f64(rest as f64 / MIN_BYTES_PER_SECOND as f64)
}
