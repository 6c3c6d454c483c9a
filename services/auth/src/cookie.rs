//! The cookie in which browsers hold their refresh token, out of reach of scripts (RFC 6265).

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::AuthError;

const NAME: &str = "reelmill_refresh";
/// The only methods that need it.
const PATH: &str = "/reelmill.auth.v1.AuthService/";

/// The refresh token of a request's cookies.
pub(crate) fn read(metadata: &MetadataMap) -> Option<String> {
    // HTTP/2 lets a client split the cookies into several headers.
    let headers = metadata.get_all("cookie");
    let cookies = headers.iter().filter_map(|header| header.to_str().ok()).flat_map(|text| text.split(';'));
    cookies
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, value)| *name == NAME && !value.is_empty())
        .map(|(_, value)| value.to_owned())
}

/// Has the browser keep a token for `ttl`. `origin` is where the browser thinks it is.
pub(crate) fn set(
    metadata: &mut MetadataMap,
    token: &str,
    ttl: Duration,
    origin: Option<&str>,
) -> Result<(), AuthError> {
    // A browser drops a `Secure` cookie that comes over plain HTTP.
    let secure = if origin.is_some_and(|origin| origin.starts_with("https://")) { "; Secure" } else { "" };
    let cookie =
        format!("{NAME}={token}; HttpOnly; SameSite=Strict; Path={PATH}; Max-Age={}{secure}", ttl.as_secs());
    let value: MetadataValue<Ascii> = cookie.parse().map_err(AuthError::internal)?;
    metadata.append("set-cookie", value);
    Ok(())
}

/// Has the browser forget its token.
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
    fn finds_its_own() {
        assert_eq!(read(&cookies(&["a=b; reelmill_refresh=x.y=; c=d"])).as_deref(), Some("x.y="));
        assert_eq!(read(&cookies(&["a=b", "reelmill_refresh=z"])).as_deref(), Some("z"));
        for none in ["", "reelmill_refresh", "reelmill_refresh=", "xreelmill_refresh=y", ";;=;"] {
            assert_eq!(read(&cookies(&[none])), None, "{none}");
        }
        assert_eq!(read(&MetadataMap::new()), None);
    }
}
