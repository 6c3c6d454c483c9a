//! Rejects requests that are neither gRPC nor gRPC-web, with plain HTTP errors: their clients do not speak gRPC.

use axum::{extract::Request, middleware::Next, response::Response};
use http::{Method, StatusCode, Version, header};
use reelmill_proto::Reason;

use crate::http_error::connect_error;

const GRPC: [&str; 2] = ["application/grpc", "application/grpc+proto"];
const GRPC_WEB: [&str; 4] = [
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
];

/// Middleware: passes POST requests with one of the content types above.
pub(super) async fn check_format(request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return connect_error(
            StatusCode::METHOD_NOT_ALLOWED,
            Reason::HttpMethodInvalid,
            "calls are POST requests",
        );
    }
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default();
    if GRPC_WEB.contains(&content_type) || is_native(content_type, request.version()) {
        return next.run(request).await;
    }
    connect_error(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Reason::ContentTypeInvalid,
        "send gRPC over HTTP/2 (application/grpc) or gRPC-web (application/grpc-web+proto)",
    )
}

/// Native gRPC needs the trailers of HTTP/2.
fn is_native(content_type: &str, version: Version) -> bool {
    GRPC.contains(&content_type) && version == Version::HTTP_2
}
