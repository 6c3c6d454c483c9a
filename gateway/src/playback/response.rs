//! HTTP answers made of what the store says.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use reelmill_platform::objects::{ObjectHead, aws_sdk_s3::operation::get_object::GetObjectOutput};
use reelmill_proto::Reason;

use super::file::File;
use crate::{error::http_error, pages::matches_etag};

/// An object or a part of it; its bytes stream through as fast as the client takes them.
pub(super) fn object(file: &File, object: GetObjectOutput) -> Response {
    let status = if object.content_range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = with_headers(file, status, object.e_tag.as_deref());
    let headers = response.headers_mut();
    set_age(headers, object.cache_control.as_deref());
    if let Some(range) = object.content_range.as_deref().and_then(|range| range.parse().ok()) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    set_length(headers, object.content_length);
    *response.body_mut() = Body::new(object.body.into_inner());
    response
}

/// What GET would say, without the object.
pub(super) fn head(file: &File, object: &ObjectHead, asked: &HeaderMap) -> Response {
    let known = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|tags| matches_etag(tags, &object.etag)) {
        return not_modified(file, Some(&object.etag));
    }
    let mut response = with_headers(file, StatusCode::OK, Some(&object.etag));
    set_age(response.headers_mut(), object.cache_control.as_deref());
    set_length(response.headers_mut(), Some(object.size));
    response
}

/// The client has it already.
pub(super) fn not_modified(file: &File, etag: Option<&str>) -> Response {
    let mut response = with_headers(file, StatusCode::NOT_MODIFIED, etag);
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

/// The range lies beyond the end.
pub(super) fn range_not_satisfiable(size: Option<i64>) -> Response {
    let mut response = http_error(
        StatusCode::RANGE_NOT_SATISFIABLE,
        Reason::RangeNotSatisfiable,
        "the range lies beyond the end of the file",
    );
    let total = size.map_or_else(|| "*".to_owned(), |size| size.to_string());
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{total}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

fn with_headers(file: &File, status: StatusCode, etag: Option<&str>) -> Response {
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

/// What was stored with an object goes before what its name says.
fn set_age(headers: &mut HeaderMap, stored: Option<&str>) {
    if let Some(stored) = stored.and_then(|stored| HeaderValue::from_str(stored).ok()) {
        headers.insert(header::CACHE_CONTROL, stored);
    }
}

fn set_length(headers: &mut HeaderMap, length: Option<i64>) {
    if let Some(length) = length.and_then(|length| u64::try_from(length).ok()) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}
