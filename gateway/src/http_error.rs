//! Errors of plain HTTP routes.

use axum::response::{IntoResponse, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::{StatusCode, header};
use prost::Message as _;
use reelmill_mesh::DOMAIN;
use reelmill_proto::Reason;

/// A JSON document with a stable reason and a message.
pub(crate) fn http_error(status: StatusCode, reason: Reason, message: &str) -> Response {
    let body = serde_json::json!({ "error": { "reason": reason.as_str_name(), "message": message } });
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}

/// The same in the shape of the Connect protocol, which clients of its libraries decode (connectrpc.com/docs/protocol).
pub(crate) fn connect_error(status: StatusCode, reason: Reason, message: &str) -> Response {
    let info = tonic_types::pb::ErrorInfo {
        reason: reason.as_str_name().to_owned(),
        domain: DOMAIN.to_owned(),
        ..tonic_types::pb::ErrorInfo::default()
    };
    let detail = serde_json::json!({
        "type": "google.rpc.ErrorInfo",
        "value": STANDARD_NO_PAD.encode(info.encode_to_vec()),
        "debug": { "reason": info.reason, "domain": info.domain },
    });
    let body = serde_json::json!({ "code": "unknown", "message": message, "details": [detail] });
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}

/// 404.
pub(crate) fn not_found() -> Response {
    http_error(StatusCode::NOT_FOUND, Reason::NotFound, "there is nothing at this URL")
}
