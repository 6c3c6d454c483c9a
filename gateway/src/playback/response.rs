//! HTTP responses of the playback route.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use reelmill_platform::objects::{Object, ObjectHead};
use reelmill_proto::Reason;

use super::output_file::OutputFile;
use crate::{etag::matches_etag, http_error::http_error};

/// The object or a range of it, streamed as fast as the client reads.
pub(super) fn object(file: &OutputFile, object: Object) -> Response {
    let status = if object.content_range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = with_headers(file, status, object.etag.as_deref());
    let headers = response.headers_mut();
    set_cache_control(headers, object.cache_control.as_deref());
    if let Some(range) = object.content_range.as_deref().and_then(|range| range.parse().ok()) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    set_length(headers, object.content_length);
    *response.body_mut() = Body::new(object.body);
    response
}

/// The response to HEAD.
pub(super) fn head(file: &OutputFile, object: &ObjectHead, request_headers: &HeaderMap) -> Response {
    let if_none_match = request_headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if if_none_match.is_some_and(|tags| matches_etag(tags, &object.etag)) {
        return not_modified(file, Some(&object.etag));
    }
    let mut response = with_headers(file, StatusCode::OK, Some(&object.etag));
    set_cache_control(response.headers_mut(), object.cache_control.as_deref());
    set_length(response.headers_mut(), Some(object.size));
    response
}

/// 304: the client has the current version. `etag` is the object's own.
pub(super) fn not_modified(file: &OutputFile, etag: Option<&str>) -> Response {
    let mut response = with_headers(file, StatusCode::NOT_MODIFIED, etag);
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

/// 416: the range starts beyond the end of the object.
pub(super) fn range_not_satisfiable(size: Option<i64>) -> Response {
    let mut response = http_error(
        StatusCode::RANGE_NOT_SATISFIABLE,
        Reason::RangeNotSatisfiable,
        "the range starts beyond the end of the file",
    );
    let total = size.map_or_else(|| "*".to_owned(), |size| size.to_string());
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{total}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

fn with_headers(file: &OutputFile, status: StatusCode, etag: Option<&str>) -> Response {
    let mut response = status.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, file.content_type.clone());
    headers.insert(header::CACHE_CONTROL, file.cache_control.clone());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
        headers.insert(header::ETAG, etag);
    }
    if let Some(disposition) = &file.disposition {
        headers.insert(header::CONTENT_DISPOSITION, disposition.clone());
    }
    response
}

/// The `Cache-Control` stored with an object overrides the one derived from its name.
fn set_cache_control(headers: &mut HeaderMap, stored: Option<&str>) {
    if let Some(stored) = stored.and_then(|stored| HeaderValue::from_str(stored).ok()) {
        headers.insert(header::CACHE_CONTROL, stored);
    }
}

fn set_length(headers: &mut HeaderMap, length: Option<i64>) {
    if let Some(length) = length.and_then(|length| u64::try_from(length).ok()) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}
