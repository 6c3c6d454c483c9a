//! Errors of plain HTTP routes.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use reelmill_proto::Reason;

/// A JSON document with a stable reason and a message.
pub(crate) fn http_error(status: StatusCode, reason: Reason, message: &str) -> Response {
    let body = serde_json::json!({ "error": { "reason": reason.as_str_name(), "message": message } });
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}

/// 404.
pub(crate) fn not_found() -> Response {
    http_error(StatusCode::NOT_FOUND, Reason::NotFound, "there is nothing at this URL")
}
