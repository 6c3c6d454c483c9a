//! Range proxy on the loopback interface, which ffmpeg reads instead of the object store. It serves one file,
//! at a random path.

use std::{io, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Response, StatusCode, header},
    routing::get,
};
use futures::stream;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::engine::source::reader::SourceReader;

/// A running proxy. Dropping it stops it.
pub(crate) struct SourceProxy {
    uri: String,
    port: u16,
    _server: AbortOnDropHandle<()>,
}

impl SourceProxy {
    /// Serves `reader` at a new address.
    ///
    /// # Errors
    /// When no loopback port is available.
    pub(crate) async fn start(reader: Arc<SourceReader>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let path = format!("/{:032x}/source", rand::random::<u128>());
        let router = Router::new().route(&path, get(serve)).with_state(reader);
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the source proxy failed");
            }
        });
        let uri = format!("http://127.0.0.1:{port}{path}");
        Ok(Self { uri, port, _server: AbortOnDropHandle::new(server) })
    }

    /// Its loopback port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// URL of the source.
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }
}

async fn serve(State(reader): State<Arc<SourceReader>>, headers: HeaderMap) -> Response<Body> {
    let size = reader.size();
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, start, end) = match range.map(|range| parse_range(range, size)) {
        None => (StatusCode::OK, 0, size),
        Some(Some((start, end))) => (StatusCode::PARTIAL_CONTENT, start, end),
        Some(None) => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
    };
    let mut response =
        Response::new(if status.is_success() { body(reader, start, end) } else { Body::empty() });
    *response.status_mut() = status;
    let mut put = |name, value: String| {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    };
    put(header::ACCEPT_RANGES, "bytes".into());
    put(header::CONTENT_TYPE, "application/octet-stream".into());
    match status {
        StatusCode::PARTIAL_CONTENT => {
            put(header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1))
        }
        StatusCode::RANGE_NOT_SATISFIABLE => put(header::CONTENT_RANGE, format!("bytes */{size}")),
        _ => {}
    }
    put(header::CONTENT_LENGTH, (end - start).to_string());
    response
}

/// The bytes from `start` to `end`, fetched as the client reads them.
fn body(reader: Arc<SourceReader>, start: u64, end: u64) -> Body {
    let pieces = stream::try_unfold(start, move |offset| {
        let reader = Arc::clone(&reader);
        async move {
            if offset >= end {
                return Ok(None);
            }
            let mut piece = reader.read(offset).await.map_err(io::Error::other)?;
            if piece.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            piece.truncate(usize::try_from(end - offset).unwrap_or(usize::MAX));
            let next = offset + piece.len() as u64;
            Ok(Some((piece, next)))
        }
    });
    Body::from_stream(pieces)
}

/// Parses `bytes=A-B`, `bytes=A-` or `bytes=-N` to start and end (exclusive). `None` if it is outside the file.
fn parse_range(range: &str, size: u64) -> Option<(u64, u64)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (from.trim(), to.trim()) {
        ("", last) => (size.saturating_sub(last.parse().ok()?), size),
        (from, "") => (from.parse().ok()?, size),
        (from, to) => (from.parse().ok()?, to.parse::<u64>().ok()?.saturating_add(1).min(size)),
    };
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::parse_range;

    #[test]
    fn parse_range_returns_range_within_file() {
        assert_eq!(parse_range("bytes=0-", 10), Some((0, 10)));
        assert_eq!(parse_range("bytes=2-4", 10), Some((2, 5)));
        assert_eq!(parse_range("bytes=2-400", 10), Some((2, 10)));
        assert_eq!(parse_range("bytes=-3", 10), Some((7, 10)));
        assert_eq!(parse_range("bytes=10-", 10), None);
        assert_eq!(parse_range("bytes=5-3", 10), None);
        assert_eq!(parse_range("bytes=0-18446744073709551615", 10), Some((0, 10)));
        assert_eq!(parse_range("items=0-1", 10), None);
    }
}
