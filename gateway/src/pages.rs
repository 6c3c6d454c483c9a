//! The page and its files, embedded in the binary.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header};

use crate::{GatewayConfig, GatewayError, error::not_found, gateway::Shared};

/// GET of a file of the page; everything else is not found.
pub(crate) async fn page(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let asked = matches!(*request.method(), Method::GET | Method::HEAD);
    let Some(asset) = asked.then(|| reelmill_web::get(request.uri().path())).flatten() else {
        return not_found();
    };
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let unchanged = known.is_some_and(|tags| matches_etag(tags, asset.etag));
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, asset.content_type)], asset.bytes).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, HeaderValue::from_static(asset.etag));
    // A new binary may bring new files under the same names.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, shared.page_policy.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

/// Whether an `If-None-Match` names a tag. The comparison is weak (RFC 9110 section 13.1.2).
pub(crate) fn matches_etag(tags: &str, etag: &str) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.trim() == "*" || tags.split(',').any(|tag| strong(tag) == strong(etag))
}

/// The page's content security policy: its own files only, and what the system's public addresses serve.
/// hls.js plays from blobs and works in a worker made of one; parts are put straight to the store.
pub(crate) fn policy(config: &GatewayConfig) -> Result<HeaderValue, GatewayError> {
    let public = origin("public_url", config.public_url.as_deref())?;
    let store = origin("store_url", config.store_url.as_deref())?;
    let policy = format!(
        "default-src 'self'; connect-src 'self'{public}{store}; img-src 'self' data:{public}; \
         media-src 'self' blob:{public}; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; \
         form-action 'self'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy)
        .map_err(|error| GatewayError::Setting { setting: "public_url", cause: error.to_string() })
}

/// A configured address as one more source of a policy.
fn origin(setting: &'static str, address: Option<&str>) -> Result<String, GatewayError> {
    let Some(address) = address else {
        return Ok(String::new());
    };
    let bad = |cause: &str| GatewayError::Setting { setting, cause: format!("{address}: {cause}") };
    let url = url::Url::parse(address).map_err(|error| bad(&error.to_string()))?;
    let origin = url.origin();
    if origin.is_tuple() { Ok(format!(" {}", origin.ascii_serialization())) } else { Err(bad("not http(s)")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        assert!(matches_etag("\"a\", W/\"b\"", "\"b\""));
        assert!(matches_etag("*", "\"b\""));
        assert!(!matches_etag("\"a\"", "\"b\""));
    }

    #[test]
    fn addresses_are_reduced_to_their_origin() {
        let reduced = origin("store_url", Some("https://s3.example.org/bucket?x=1;y")).unwrap();
        assert_eq!(reduced, " https://s3.example.org");
        assert_eq!(origin("store_url", None).unwrap(), "");
        assert!(origin("store_url", Some("no address")).is_err());
        assert!(origin("store_url", Some("data:text/plain,x")).is_err());
    }
}
