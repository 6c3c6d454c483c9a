//! The web page and its files, embedded in the binary.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header};

use crate::{config::GatewayConfig, error::GatewayError, etag::matches_etag, http_error::not_found};

/// The page uses none of these.
const PERMISSIONS_POLICY: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), \
     magnetometer=(), microphone=(), midi=(), payment=(), serial=(), usb=()";

/// Headers of the page that depend on the configuration.
pub(crate) struct Pages {
    content_security_policy: HeaderValue,
    /// Only where the public URL is https: browsers then use nothing else for a year.
    strict_transport_security: Option<HeaderValue>,
}

impl Pages {
    /// The content security policy allows the page's own files, and the public addresses of gateway and object store.
    /// hls.js plays from blob URLs and runs a worker from one; parts are uploaded directly to the object store.
    pub(crate) fn new(config: &GatewayConfig) -> Result<Self, GatewayError> {
        let public = policy_source("public_url", config.public_url.as_deref())?;
        let objects = policy_source("object_store_url", config.object_store_url.as_deref())?;
        let policy = format!(
            "default-src 'self'; connect-src 'self'{public}{objects}; img-src 'self' data:{public}; \
             media-src 'self' blob:{public}; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; \
             form-action 'self'; frame-ancestors 'none'"
        );
        let content_security_policy = HeaderValue::from_str(&policy)
            .map_err(|error| GatewayError::Setting { setting: "public_url", cause: error.to_string() })?;
        let is_https = config.public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
        let strict_transport_security = is_https.then(|| HeaderValue::from_static("max-age=31536000"));
        Ok(Self { content_security_policy, strict_transport_security })
    }
}

/// GET of a file of the page. 404 for everything else.
pub(crate) async fn page(State(pages): State<Arc<Pages>>, request: Request) -> Response {
    let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
    let Some(asset) = is_get.then(|| reelmill_web::get(request.uri().path())).flatten() else {
        return not_found();
    };
    let if_none_match = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let not_modified = if_none_match.is_some_and(|tags| matches_etag(tags, asset.etag));
    let mut response = if not_modified {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, asset.content_type)], asset.bytes).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, HeaderValue::from_static(asset.etag));
    // Another build may have other files under the same names.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, pages.content_security_policy.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert("permissions-policy", HeaderValue::from_static(PERMISSIONS_POLICY));
    if let Some(value) = &pages.strict_transport_security {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value.clone());
    }
    response
}

/// The origin of a configured URL as a source in a content security policy, or nothing.
fn policy_source(setting: &'static str, url: Option<&str>) -> Result<String, GatewayError> {
    let Some(text) = url else {
        return Ok(String::new());
    };
    let invalid = |cause: &str| GatewayError::Setting { setting, cause: format!("{text}: {cause}") };
    let url = url::Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
    let origin = url.origin();
    if origin.is_tuple() {
        Ok(format!(" {}", origin.ascii_serialization()))
    } else {
        Err(invalid("not an http or https URL"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_source_is_the_origin_of_the_url() {
        let source = policy_source("object_store_url", Some("https://s3.example.org/bucket?x=1;y")).unwrap();
        assert_eq!(source, " https://s3.example.org");
        assert_eq!(policy_source("object_store_url", None).unwrap(), "");
    }

    #[test]
    fn policy_source_of_an_invalid_url_is_an_error() {
        assert!(policy_source("object_store_url", Some("no address")).is_err());
        assert!(policy_source("object_store_url", Some("data:text/plain,x")).is_err());
    }
}
