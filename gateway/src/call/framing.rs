//! Validation of gRPC's length-prefixed framing, without decoding messages.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;

use crate::error::CallError;

/// Size of a message's prefix: compression flag and length.
const PREFIX_BYTES: usize = 5;

/// Incremental parser of message boundaries.
#[derive(Debug)]
pub(super) struct Framing {
    prefix: [u8; PREFIX_BYTES],
    prefix_filled: usize,
    /// Remaining bytes of the current message.
    payload_left: usize,
    messages: u64,
    /// Whether any number of messages is valid. Otherwise exactly one is.
    streaming: bool,
    /// Size limit of a message, bytes.
    limit: usize,
}

impl Framing {
    pub(super) fn new(streaming: bool, limit: usize) -> Self {
        Self { prefix: [0; PREFIX_BYTES], prefix_filled: 0, payload_left: 0, messages: 0, streaming, limit }
    }

    /// Reads more bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), CallError> {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.payload_left > 0 {
                let skipped = self.payload_left.min(bytes.len());
                self.payload_left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.prefix[self.prefix_filled] = first;
            self.prefix_filled += 1;
            bytes = rest;
            if self.prefix_filled == PREFIX_BYTES {
                self.begin_message()?;
            }
        }
        Ok(())
    }

    fn begin_message(&mut self) -> Result<(), CallError> {
        let [flag, a, b, c, d] = self.prefix;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        self.prefix_filled = 0;
        self.messages += 1;
        if flag > 1 || (self.messages > 1 && !self.streaming) {
            return Err(CallError::Malformed);
        }
        if length > self.limit {
            return Err(CallError::TooLarge { limit: self.limit });
        }
        self.payload_left = length;
        Ok(())
    }

    /// Whether the last message is complete.
    pub(super) fn is_between_messages(&self) -> bool {
        self.prefix_filled == 0 && self.payload_left == 0
    }

    /// Checks that the bytes may end here.
    fn finish(&self) -> Result<(), CallError> {
        if self.is_between_messages() && (self.streaming || self.messages == 1) {
            Ok(())
        } else {
            Err(CallError::Malformed)
        }
    }
}

/// Request body that fails at the first byte that is not valid framing. The reason is in [`Self::fault`].
/// Its size hint is empty, because for gRPC-web text it would be that of the base64 encoding.
pub(super) struct FramedBody {
    inner: Body,
    framing: Framing,
    fault: Arc<OnceLock<CallError>>,
}

impl FramedBody {
    /// A body of one message of at most `limit` bytes, or of any number if `streaming`.
    pub(super) fn new(inner: Body, streaming: bool, limit: usize) -> Self {
        Self { inner, framing: Framing::new(streaming, limit), fault: Arc::default() }
    }

    /// Bytes of the current message that are still to come, once its prefix was read.
    pub(super) fn message_bytes_left(&self) -> Option<usize> {
        (self.framing.messages > 0).then_some(self.framing.payload_left)
    }

    /// The reason, set once the body has failed.
    pub(super) fn fault(&self) -> Arc<OnceLock<CallError>> {
        self.fault.clone()
    }

    fn check(
        &mut self,
        frame: Option<Result<Frame<Bytes>, axum::Error>>,
    ) -> Result<Option<Bytes>, CallError> {
        match frame {
            None => self.framing.finish().map(|()| None),
            // The transport or the base64 decoder failed.
            Some(Err(_)) => Err(CallError::Malformed),
            Some(Ok(frame)) => {
                // gRPC has no request trailers; they count as empty data.
                let data = frame.into_data().unwrap_or_default();
                self.framing.feed(&data).map(|()| Some(data))
            }
        }
    }
}

impl http_body::Body for FramedBody {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let checked = self.check(frame);
        if let Err(error) = &checked {
            // Keeps the first error.
            let _ = self.fault.set(error.clone());
        }
        Poll::Ready(checked.map(|data| data.map(Frame::data)).transpose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 4096;

    fn parse(streaming: bool, pieces: &[&[u8]]) -> Result<(), CallError> {
        let mut framing = Framing::new(streaming, LIMIT);
        pieces.iter().try_for_each(|piece| framing.feed(piece))?;
        framing.finish()
    }

    #[test]
    fn feed_accepts_messages_split_anywhere() {
        let two = [0, 0, 0, 0, 3, b'a', b'b', b'c', 1, 0, 0, 0, 0];
        for cut in 0..=two.len() {
            assert!(parse(true, &[&two[..cut], &two[cut..]]).is_ok(), "{cut}");
        }
        assert!(parse(true, &[]).is_ok());
    }

    #[test]
    fn feed_of_a_second_message_without_streaming_is_an_error() {
        let two = [0, 0, 0, 0, 3, b'a', b'b', b'c', 1, 0, 0, 0, 0];
        assert!(parse(false, &[&two]).is_err());
        assert!(parse(false, &[&two[..8]]).is_ok());
    }

    #[test]
    fn feed_of_malformed_bytes_is_an_error() {
        let malformed: [&[u8]; 5] =
            [b"", b"\0\0\0", b"\0\0\0\0\x03ab", b"\x80\0\0\0\0", b"hello, is this a web page?"];
        for bytes in malformed {
            assert!(matches!(parse(false, &[bytes]), Err(CallError::Malformed)), "{bytes:?}");
        }
    }

    #[test]
    fn feed_of_a_too_large_length_fails_before_the_payload() {
        let huge = [0, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(Framing::new(false, LIMIT).feed(&huge), Err(CallError::TooLarge { .. })));
        for (length, is_accepted) in [(LIMIT, true), (LIMIT + 1, false)] {
            let mut prefix = vec![0];
            prefix.extend_from_slice(&(length as u32).to_be_bytes());
            assert_eq!(Framing::new(false, LIMIT).feed(&prefix).is_ok(), is_accepted, "{length}");
        }
    }
}
