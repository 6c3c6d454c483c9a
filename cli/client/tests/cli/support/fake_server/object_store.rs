//! The object store: accepts parts and serves a file.

use std::{collections::VecDeque, io};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{StreamExt as _, stream};
use md5::{Digest as _, Md5};

use super::state::{Cut, FakeServer, Put, PutFault};
use crate::support::helpers::wait_until;

pub fn routes(server: FakeServer) -> Router {
    Router::new()
        .route("/store/{upload}/{part}", put(put_part))
        .route("/file/{rendition}", get(get_file))
        .layer(DefaultBodyLimit::disable())
        .with_state(server)
}

/// The entity tag of a part, as S3 computes it.
pub fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", hex::encode(Md5::digest(bytes)))
}

fn checksum(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(crc32c::crc32c(bytes).to_be_bytes())
}

async fn put_part(
    State(server): State<FakeServer>,
    Path((upload, part)): Path<(String, i32)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let signature = uri.query().and_then(|query| query.strip_prefix("signature=")?.parse().ok()).unwrap_or(0);
    let content_length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let fault = {
        let mut state = server.state();
        state.puts.push(Put { part, signature, content_length, is_chunked });
        state.put_faults.get_mut(&part).and_then(VecDeque::pop_front)
    };
    server.changed.notify_waiters();
    wait_until_open(&server, part).await;
    match fault {
        Some(PutFault::Status(status)) => return StatusCode::from_u16(status).unwrap().into_response(),
        // hyper closes the connection when a handler panics.
        Some(PutFault::ConnectionClosed) => panic!("connection closed on purpose"),
        Some(PutFault::AddressExpired) => drop(server.state().expired_signatures.insert(signature)),
        None => {}
    }
    if server.state().expired_signatures.contains(&signature) {
        return (StatusCode::FORBIDDEN, "<Error><Code>AccessDenied</Code></Error>").into_response();
    }
    if headers.get("x-amz-checksum-crc32c").is_none_or(|declared| declared != checksum(&body).as_str()) {
        return (StatusCode::BAD_REQUEST, "<Error><Code>BadDigest</Code></Error>").into_response();
    }
    let etag = etag(&body);
    let upload = format!("uploads/{upload}");
    server.state().uploads.get_mut(&upload).unwrap().parts.insert(part, body.to_vec());
    server.changed.notify_waiters();
    (StatusCode::OK, [(header::ETAG, etag)]).into_response()
}

/// Waits until enough PUTs have arrived and this part may be answered.
async fn wait_until_open(server: &FakeServer, part: i32) {
    server.arrived_puts.send_modify(|count| *count += 1);
    let min = *server.min_concurrent_puts.borrow();
    server.arrived_puts.subscribe().wait_for(|count| *count >= min).await.unwrap();
    server.max_open_part.subscribe().wait_for(|max| part <= *max).await.unwrap();
}

async fn get_file(
    State(server): State<FakeServer>,
    Path(rendition): Path<String>,
    headers: HeaderMap,
) -> Response {
    assert_eq!(rendition, if server.state().is_audio_only { "audio-0" } else { "720p" });
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let (file, cut) = {
        let mut state = server.state();
        state.ranges.push(range.clone());
        (Bytes::from(state.file.clone()), state.cuts.pop_front())
    };
    let start: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
    if start >= file.len() {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let content_range = format!("bytes {start}-{}/{}", file.len() - 1, file.len());
    let content_length = (file.len() - start).to_string();
    let headers = [(header::CONTENT_RANGE, content_range), (header::CONTENT_LENGTH, content_length)];
    let body = match cut {
        Some(cut) => cut_body(file.slice(start..start + cut.bytes), cut),
        None => Body::from(file.slice(start..)),
    };
    (StatusCode::PARTIAL_CONTENT, headers, body).into_response()
}

/// Sends the bytes, waits until the client has written them, then breaks the connection.
fn cut_body(bytes: Bytes, cut: Cut) -> Body {
    let broken = async move {
        let is_received =
            || std::fs::metadata(&cut.received_in).is_ok_and(|file| file.len() >= cut.bytes as u64);
        wait_until("the client has the bytes before the cut", is_received).await;
        Err(io::Error::other("broken on purpose"))
    };
    Body::from_stream(stream::iter([Ok(bytes)]).chain(stream::once(broken)))
}
