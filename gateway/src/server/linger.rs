//! Closing a connection so that the client can still read the last response.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

/// How long the client gets to read the last response.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that are read and dropped in that time, because some clients read only after they have sent everything: the usual size
/// of a part of an upload. A client that sends more is held up by the connection's window, and has time to read the response.
const MAX_DROPPED_BYTES: usize = 64 << 20;

/// A connection whose end is sent before its last bytes are received: closing a socket with unread bytes resets the
/// connection, and the client loses the response.
pub(super) struct LingeringStream {
    inner: TcpStream,
    closing: Option<Closing>,
}

struct Closing {
    timeout: Pin<Box<Sleep>>,
    dropped: usize,
}

impl LingeringStream {
    pub(super) fn new(inner: TcpStream) -> Self {
        Self { inner, closing: None }
    }
}

impl AsyncRead for LingeringStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for LingeringStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            self.closing = Some(Closing { timeout: Box::pin(sleep(TIMEOUT)), dropped: 0 });
        }
        let Self { inner, closing: Some(closing) } = &mut *self else { return Poll::Ready(Ok(())) };
        if closing.timeout.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = [0; 16 << 10];
        while closing.dropped < MAX_DROPPED_BYTES {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut *inner).poll_read(cx, &mut buffer));
            // The client has closed the connection, or broken it.
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            closing.dropped += buffer.filled().len();
        }
        Poll::Pending
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
