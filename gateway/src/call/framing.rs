//! gRPC's length-prefixed messages, counted but not read.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;

use crate::error::Refused;

/// Largest request message, bytes, as the roles themselves have it.
pub(crate) const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// Flag and length.
const PREFIX_BYTES: usize = 5;

/// Follows where messages begin and end.
#[derive(Debug)]
struct Framing {
    prefix: [u8; PREFIX_BYTES],
    prefix_filled: usize,
    /// Bytes of the present message that are still to come.
    payload_left: usize,
    messages: u64,
    /// Whether there may be any number of messages; else there is exactly one.
    many: bool,
}

impl Framing {
    fn new(many: bool) -> Self {
        Self { prefix: [0; PREFIX_BYTES], prefix_filled: 0, payload_left: 0, messages: 0, many }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Refused> {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.payload_left > 0 {
                let eaten = self.payload_left.min(bytes.len());
                self.payload_left -= eaten;
                bytes = &bytes[eaten..];
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

    fn begin_message(&mut self) -> Result<(), Refused> {
        let [flag, a, b, c, d] = self.prefix;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        self.prefix_filled = 0;
        self.messages += 1;
        if flag > 1 || (self.messages > 1 && !self.many) {
            return Err(Refused::Malformed);
        }
        if length > MAX_MESSAGE_BYTES {
            return Err(Refused::TooLarge { limit: MAX_MESSAGE_BYTES });
        }
        self.payload_left = length;
        Ok(())
    }

    /// Whether the bytes may end here.
    fn finish(&self) -> Result<(), Refused> {
        let whole = self.prefix_filled == 0 && self.payload_left == 0;
        if whole && (self.many || self.messages == 1) { Ok(()) } else { Err(Refused::Malformed) }
    }
}

/// A request body that fails as soon as it is no sequence of messages, and says why in [`Self::fault`].
/// Its size is not told: for gRPC-web text the size of the encoded body would stand for the decoded one.
pub(crate) struct FramedBody {
    inner: Body,
    framing: Framing,
    fault: Arc<OnceLock<Refused>>,
}

impl FramedBody {
    pub(crate) fn new(inner: Body, many: bool) -> Self {
        Self { inner, framing: Framing::new(many), fault: Arc::default() }
    }

    /// Where the reason stands once the body has failed.
    pub(crate) fn fault(&self) -> Arc<OnceLock<Refused>> {
        self.fault.clone()
    }

    fn check(&mut self, frame: Option<Result<Frame<Bytes>, axum::Error>>) -> Result<Option<Bytes>, Refused> {
        match frame {
            None => self.framing.finish().map(|()| None),
            // What the transport or the base64 decoder could not make sense of.
            Some(Err(_)) => Err(Refused::Malformed),
            Some(Ok(frame)) => {
                // Trailers of requests mean nothing in gRPC.
                let data = frame.into_data().unwrap_or_default();
                self.framing.feed(&data).map(|()| Some(data))
            }
        }
    }
}

impl http_body::Body for FramedBody {
    type Data = Bytes;
    type Error = Refused;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Refused>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let checked = self.check(frame);
        if let Err(refused) = &checked {
            // Only the first fault counts.
            let _ = self.fault.set(refused.clone());
        }
        Poll::Ready(checked.map(|data| data.map(Frame::data)).transpose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(many: bool, pieces: &[&[u8]]) -> Result<(), Refused> {
        let mut framing = Framing::new(many);
        pieces.iter().try_for_each(|piece| framing.feed(piece))?;
        framing.finish()
    }

    #[test]
    fn messages_may_be_cut_anywhere() {
        let two = [0, 0, 0, 0, 3, b'a', b'b', b'c', 1, 0, 0, 0, 0];
        for cut in 0..=two.len() {
            assert!(follow(true, &[&two[..cut], &two[cut..]]).is_ok(), "{cut}");
        }
        assert!(follow(false, &[&two]).is_err());
        assert!(follow(false, &[&two[..8]]).is_ok());
        assert!(follow(true, &[]).is_ok());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let malformed: [&[u8]; 5] =
            [b"", b"\0\0\0", b"\0\0\0\0\x03ab", b"\x80\0\0\0\0", b"hello, is this a web page?"];
        for bytes in malformed {
            assert!(matches!(follow(false, &[bytes]), Err(Refused::Malformed)), "{bytes:?}");
        }
    }

    #[test]
    fn a_length_is_believed_before_its_bytes_come() {
        let huge = [0, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(Framing::new(false).feed(&huge), Err(Refused::TooLarge { .. })));
        let mut largest = vec![0];
        largest.extend_from_slice(&(MAX_MESSAGE_BYTES as u32).to_be_bytes());
        assert!(Framing::new(false).feed(&largest).is_ok());
    }
}
