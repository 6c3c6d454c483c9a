//! The fake's object store: takes parts and serves a file.

use std::{io, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State as Shared},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use md5::{Digest as _, Md5};

use crate::fake::{Fake, Fault, Put};

pub fn routes(fake: Fake) -> Router {
    Router::new()
        .route("/store/{upload}/{part}", put(put_part))
        .route("/file/{rendition}", get(get_file))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(fake)
}

pub fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", hex::encode(Md5::digest(bytes)))
}

pub fn checksum(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(crc32c::crc32c(bytes).to_be_bytes())
}

async fn put_part(
    Shared(fake): Shared<Fake>,
    Path((upload, part)): Path<(String, i32)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let signature = uri.query().and_then(|query| query.strip_prefix("signature=")?.parse().ok()).unwrap_or(0);
    let content_length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let fault = {
        let mut state = fake.state();
        state.puts.push(Put { part, signature, content_length, chunked });
        state.faults.get_mut(&part).and_then(std::collections::VecDeque::pop_front)
    };
    fake.changed.notify_waiters();
    fake.under_way.send_modify(|count| *count += 1);
    let together = *fake.together.borrow();
    let company = fake.under_way.subscribe().wait_for(|count| *count >= together).await.is_ok();
    let open = fake.open_up_to.subscribe().wait_for(|open| part <= *open).await.is_ok();
    assert!(company && open);
    match fault {
        Some(Fault::Status(status)) => return StatusCode::from_u16(status).unwrap().into_response(),
        // hyper closes the connection when a handler panics.
        Some(Fault::Drop) => panic!("dropped on purpose"),
        Some(Fault::Expired) => drop(fake.state().expired.insert(signature)),
        None => {}
    }
    if fake.state().expired.contains(&signature) {
        return (StatusCode::FORBIDDEN, "<Error><Code>AccessDenied</Code></Error>").into_response();
    }
    if headers.get("x-amz-checksum-crc32c").is_none_or(|told| told != checksum(&body).as_str()) {
        return (StatusCode::BAD_REQUEST, "<Error><Code>BadDigest</Code></Error>").into_response();
    }
    let etag = etag(&body);
    fake.state().uploads.get_mut(&format!("uploads/{upload}")).unwrap().parts.insert(part, body.to_vec());
    fake.changed.notify_waiters();
    (StatusCode::OK, [(header::ETAG, etag)]).into_response()
}

async fn get_file(Shared(fake): Shared<Fake>, Path(rendition): Path<String>, headers: HeaderMap) -> Response {
    assert_eq!(rendition, if fake.state().audio_only { "audio-0" } else { "720p" });
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let (file, cut) = {
        let mut state = fake.state();
        state.ranges.push(range.clone());
        (Bytes::from(state.file.clone()), state.cuts.pop_front())
    };
    let from: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
    if from >= file.len() {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let length = file.len() - from;
    let content_range = format!("bytes {from}-{}/{}", file.len() - 1, file.len());
    let mut pieces = vec![Ok(file.slice(from..from + cut.unwrap_or(length).min(length)))];
    if cut.is_some() {
        pieces.push(Err(io::Error::other("cut on purpose")));
    }
    // What was sent before the cut must have time to arrive, so the cut waits for the next poll.
    let body = Body::from_stream(futures::StreamExt::then(futures::stream::iter(pieces), async |piece| {
        if piece.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        piece
    }));
    let headers = [(header::CONTENT_RANGE, content_range), (header::CONTENT_LENGTH, length.to_string())];
    (StatusCode::PARTIAL_CONTENT, headers, body).into_response()
}
