//! Removes what clients may not say.

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderMap, HeaderName, header};
use reelmill_mesh::headers::PREFIX;

/// Headers that concern one connection only (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Drops hop-by-hop headers and those by which roles believe one another.
pub(crate) async fn scrub(mut request: Request, next: Next) -> Response {
    remove_hop_by_hop(request.headers_mut());
    remove_internal(request.headers_mut());
    next.run(request).await
}

/// Drops what concerns one connection only, including what `Connection` names.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Drops what roles say to one another.
pub(crate) fn remove_internal(headers: &mut HeaderMap) {
    let internal: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in internal {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_end_to_end_and_ours_to_hear_stays() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("x-reelmill-caller", "service upload"),
            ("x-reelmill-anything", "1"),
            ("x-request-id", "kept"),
        ] {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        remove_hop_by_hop(&mut headers);
        remove_internal(&mut headers);
        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-request-id"]);
    }
}
