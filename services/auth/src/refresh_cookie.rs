//! The cookie in which browsers keep their refresh token, inaccessible to scripts (RFC 6265).

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::error::AuthError;

const NAME: &str = "reelmill_refresh";
/// Restricts the cookie to the methods that need it.
const PATH: &str = "/reelmill.auth.v1.AuthService/";

/// Reads the refresh token from the request's cookies.
pub(crate) fn read(metadata: &MetadataMap) -> Option<String> {
    // HTTP/2 allows clients to send cookies in several headers.
    let headers = metadata.get_all("cookie");
    let cookies = headers.iter().filter_map(|header| header.to_str().ok()).flat_map(|text| text.split(';'));
    cookies
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, value)| *name == NAME && !value.is_empty())
        .map(|(_, value)| value.to_owned())
}

/// Sets the cookie for `ttl`. `origin` is the browser's view of the server.
pub(crate) fn set(
    metadata: &mut MetadataMap,
    token: &str,
    ttl: Duration,
    origin: Option<&str>,
) -> Result<(), AuthError> {
    // Browsers reject a `Secure` cookie over plain HTTP.
    let secure = if origin.is_some_and(|origin| origin.starts_with("https://")) { "; Secure" } else { "" };
    let cookie =
        format!("{NAME}={token}; HttpOnly; SameSite=Strict; Path={PATH}; Max-Age={}{secure}", ttl.as_secs());
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
        assert_eq!(read(&cookies(&["a=b; reelmill_refresh=x.y=; c=d"])).as_deref(), Some("x.y="));
        assert_eq!(read(&cookies(&["a=b", "reelmill_refresh=z"])).as_deref(), Some("z"));
    }

    #[test]
    fn read_without_the_cookie_returns_none() {
        for none in ["", "reelmill_refresh", "reelmill_refresh=", "xreelmill_refresh=y", ";;=;"] {
            assert_eq!(read(&cookies(&[none])), None, "{none}");
        }
        assert_eq!(read(&MetadataMap::new()), None);
    }
}
