//! CORS of gRPC calls: web pages of other origins that may call.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, header, request::Parts};
use tower_http::cors::{AllowCredentials, AllowOrigin, CorsLayer};

use crate::error::GatewayError;

/// Headers that gRPC-web clients send.
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

/// Response headers that scripts may read.
const EXPOSED_HEADERS: [HeaderName; 5] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-request-id"),
];

/// Allows the listed origins with credentials, and with `*` all others without.
pub(crate) fn layer(allowed_origins: &[String]) -> Result<CorsLayer, GatewayError> {
    let invalid = |origin: &str| GatewayError::Setting {
        setting: "allowed_origins",
        cause: format!("{origin}: not an origin: https://HOST without patterns, or * alone"),
    };
    let any = allowed_origins.iter().any(|origin| origin == "*");
    let mut listed = Vec::new();
    for origin in allowed_origins.iter().filter(|origin| *origin != "*") {
        // Only the whole origin is compared: a pattern would never match.
        if origin.contains('*') {
            return Err(invalid(origin));
        }
        let url = url::Url::parse(origin).map_err(|_| invalid(origin))?;
        // The form that browsers send: no trailing slash, no default port.
        let exact = url.origin().ascii_serialization();
        listed.push(HeaderValue::from_str(&exact).map_err(|_| invalid(origin))?);
    }
    let listed: Arc<[HeaderValue]> = listed.into();
    let credentialed = listed.clone();
    let allowed = move |origin: &HeaderValue, _: &Parts| any || listed.contains(origin);
    let with_credentials = move |origin: &HeaderValue, _: &Parts| credentialed.contains(origin);
    Ok(CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_credentials(AllowCredentials::predicate(with_credentials))
        .allow_methods([Method::POST])
        .allow_headers(REQUEST_HEADERS)
        .expose_headers(EXPOSED_HEADERS)
        .max_age(Duration::from_secs(7200)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_with_what_is_no_origin_is_an_error() {
        let is_valid = |origin: &str| layer(&[origin.to_owned()]).is_ok();
        for good in ["*", "https://app.example.org", "http://localhost:3000/"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["https://*.example.org", "app.example.org", "", "https://"] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
