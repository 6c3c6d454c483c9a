//! Which pages of other origins may call.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, header, request::Parts};
use tower_http::cors::{AllowCredentials, AllowOrigin, CorsLayer};

use crate::{GatewayConfig, GatewayError};

/// Request headers of gRPC-web clients.
const REQUEST_HEADERS: [HeaderName; 8] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-user-agent"),
];

/// Answer headers that scripts may read.
const EXPOSED_HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    HeaderName::from_static("x-request-id"),
];

/// CORS as configured: listed origins with credentials; with `*`, all others without.
pub(crate) fn layer(config: &GatewayConfig) -> Result<CorsLayer, GatewayError> {
    let bad = |origin: &str| GatewayError::Setting {
        setting: "allowed_origins",
        cause: format!("{origin}: not an origin (https://HOST, or *)"),
    };
    let any = config.allowed_origins.iter().any(|origin| origin == "*");
    let mut listed = Vec::new();
    for origin in config.allowed_origins.iter().filter(|origin| *origin != "*") {
        let url = url::Url::parse(origin).map_err(|_| bad(origin))?;
        // Browsers send just this form: no slash at the end, no port that the scheme implies.
        let exact = url.origin().ascii_serialization();
        listed.push(HeaderValue::from_str(&exact).map_err(|_| bad(origin))?);
    }
    let listed: Arc<[HeaderValue]> = listed.into();
    let trusted = listed.clone();
    let allowed = move |origin: &HeaderValue, _: &Parts| any || listed.contains(origin);
    let with_credentials = move |origin: &HeaderValue, _: &Parts| trusted.contains(origin);
    Ok(CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_credentials(AllowCredentials::predicate(with_credentials))
        .allow_methods([Method::POST])
        .allow_headers(REQUEST_HEADERS)
        .expose_headers(EXPOSED_HEADERS)
        .max_age(Duration::from_secs(7200)))
}
