//! One name for a call, in the logs of every role it passes and in the answer.

use axum::{extract::Request, middleware::Next, response::Response};
use http::HeaderValue;
use reelmill_mesh::headers::REQUEST_ID;
use tracing::Instrument as _;

/// Keeps the caller's id if it is sane, makes one else, and always answers it.
pub(crate) async fn name_request(mut request: Request, next: Next) -> Response {
    let id = match request.headers().get(REQUEST_ID) {
        Some(given) if is_sane(given) => given.clone(),
        _ => fresh(),
    };
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn is_sane(value: &HeaderValue) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    (1..=64).contains(&value.len()) && value.as_bytes().iter().all(allowed)
}

fn fresh() -> HeaderValue {
    let id = uuid::Uuid::now_v7().simple().to_string();
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("unnamed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_forge_log_lines_are_replaced() {
        for sane in ["a", "0190-ab_c.d:e"] {
            assert!(is_sane(&HeaderValue::from_static(sane)), "{sane}");
        }
        let long = "x".repeat(65);
        for bad in ["", "a b", "a=1\"", long.as_str()] {
            assert!(!is_sane(&HeaderValue::from_str(bad).unwrap()), "{bad}");
        }
        assert!(is_sane(&fresh()));
    }
}
