//! Request id, in the logs of every role that handles a request and in its response.

use axum::{extract::Request, middleware::Next, response::Response};
use http::HeaderValue;
use reelmill_mesh::headers::REQUEST_ID;
use tracing::Instrument as _;

/// Middleware: keeps the client's request id if it is valid, otherwise generates one, and returns it in the response.
pub(crate) async fn assign(mut request: Request, next: Next) -> Response {
    let id = match request.headers().get(REQUEST_ID) {
        Some(given) if is_valid(given) => given.clone(),
        _ => generate(),
    };
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Whether an id cannot forge or flood log lines.
fn is_valid(value: &HeaderValue) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    (1..=64).contains(&value.len()) && value.as_bytes().iter().all(allowed)
}

fn generate() -> HeaderValue {
    let id = uuid::Uuid::now_v7().simple().to_string();
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("unnamed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_valid_rejects_ids_that_could_forge_log_lines() {
        for good in ["a", "0190-ab_c.d:e"] {
            assert!(is_valid(&HeaderValue::from_static(good)), "{good}");
        }
        let long = "x".repeat(65);
        for bad in ["", "a b", "a=1\"", long.as_str()] {
            assert!(!is_valid(&HeaderValue::from_str(bad).unwrap()), "{bad}");
        }
        assert!(is_valid(&generate()));
    }
}
