//! The cookie in which browsers keep their refresh token, inaccessible to scripts (RFC 6265).

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::error::AuthError;

/// How the cookie is named, and for which paths it is sent.
struct Form {
    name: &'static str,
    attributes: &'static str,
}

/// Over https. Browsers accept a `__Host-` cookie from this host alone, for all of its paths: another host of the same domain
/// cannot set one.
const SECURE: Form = Form { name: "__Host-reelmill_refresh", attributes: "Path=/; Secure" };
/// Over plain http, where browsers reject secure cookies: on this machine.
const PLAIN: Form = Form { name: "reelmill_refresh", attributes: "Path=/reelmill.auth.v1.AuthService/" };

/// `origin` is the browser's view of the server.
fn form(origin: Option<&str>) -> Form {
    if origin.is_some_and(|origin| origin.starts_with("https://")) { SECURE } else { PLAIN }
}

/// Reads the refresh token from the request's cookies.
pub(crate) fn read(metadata: &MetadataMap, origin: Option<&str>) -> Option<String> {
    let name = form(origin).name;
    // HTTP/2 allows clients to send cookies in several headers.
    let headers = metadata.get_all("cookie");
    let cookies = headers.iter().filter_map(|header| header.to_str().ok()).flat_map(|text| text.split(';'));
    cookies
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(found, value)| *found == name && !value.is_empty())
        .map(|(_, value)| value.to_owned())
}

/// Sets the cookie for `ttl`.
pub(crate) fn set(
    metadata: &mut MetadataMap,
    token: &str,
    ttl: Duration,
    origin: Option<&str>,
) -> Result<(), AuthError> {
    let Form { name, attributes } = form(origin);
    let cookie =
        format!("{name}={token}; HttpOnly; SameSite=Strict; Max-Age={}; {attributes}", ttl.as_secs());
    let value: MetadataValue<Ascii> = cookie.parse().map_err(AuthError::internal)?;
    metadata.append("set-cookie", value);
    Ok(())
}

/// Deletes the cookie.
pub(crate) fn clear(metadata: &mut MetadataMap, origin: Option<&str>) -> Result<(), AuthError> {
    set(metadata, "", Duration::ZERO, origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(headers: &[&str]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for header in headers {
            metadata.append("cookie", header.parse().unwrap());
        }
        metadata
    }

    #[test]
    fn read_finds_the_cookie_among_others() {
        let http = Some("http://127.0.0.1:8080");
        assert_eq!(read(&cookies(&["a=b; reelmill_refresh=x.y=; c=d"]), http).as_deref(), Some("x.y="));
        assert_eq!(read(&cookies(&["a=b", "reelmill_refresh=z"]), None).as_deref(), Some("z"));
    }

    #[test]
    fn read_over_https_ignores_a_cookie_that_another_host_could_set() {
        let https = Some("https://video.example.org");
        let both = cookies(&["reelmill_refresh=tossed; __Host-reelmill_refresh=own"]);
        assert_eq!(read(&both, https).as_deref(), Some("own"));
        assert_eq!(read(&cookies(&["reelmill_refresh=tossed"]), https), None);
    }

    #[test]
    fn read_without_the_cookie_returns_none() {
        for none in ["", "reelmill_refresh", "reelmill_refresh=", "xreelmill_refresh=y", ";;=;"] {
            assert_eq!(read(&cookies(&[none]), None), None, "{none}");
        }
        assert_eq!(read(&MetadataMap::new(), None), None);
    }
}
