//! Address of a client, and the origin by which it reached the gateway.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use http::{HeaderMap, HeaderValue, header, uri::Authority};
use reelmill_mesh::Origin;

use crate::{config::GatewayConfig, error::GatewayError};

/// Determines client addresses for rate limits.
pub(crate) struct ClientAddresses {
    trusted_proxies: bool,
}

impl ClientAddresses {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        Self { trusted_proxies: config.trusted_proxies }
    }

    /// Name of the client's rate limit: its IPv4 address, or its IPv6 /64 network, since IPv6 users have whole ones.
    pub(crate) fn rate_limit_subject(&self, peer: SocketAddr, headers: &HeaderMap) -> String {
        let forwarded = self.trusted_proxies.then(|| last_forwarded(headers)).flatten();
        match forwarded.unwrap_or(peer.ip()).to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        }
    }
}

/// The last address in `X-Forwarded-For`, which the nearest proxy added. Clients can forge the others.
fn last_forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let values = headers.get_all("x-forwarded-for").iter().next_back()?;
    values.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

/// Determines the scheme and authority by which clients reach the gateway.
pub(crate) struct ClientOrigins {
    public_origin: Option<Origin>,
    trusted_proxies: bool,
}

impl ClientOrigins {
    /// # Errors
    /// When the public URL is no header value.
    pub(crate) fn new(config: &GatewayConfig) -> Result<Self, GatewayError> {
        let public_url = config.public_url.as_deref().map(|url| url.trim_end_matches('/'));
        if let Some(Err(error)) = public_url.map(HeaderValue::from_str) {
            return Err(GatewayError::Setting { setting: "public_url", cause: error.to_string() });
        }
        let public_origin = public_url.map(|url| Origin(url.to_owned()));
        Ok(Self { public_origin, trusted_proxies: config.trusted_proxies })
    }

    /// The origin of a request: as configured, as the proxy says, or as the request names it.
    pub(crate) fn origin_of(&self, request: &Request) -> Option<Origin> {
        if let Some(origin) = &self.public_origin {
            return Some(origin.clone());
        }
        let headers = request.headers();
        let forwarded = |name| self.trusted_proxies.then(|| text(headers, name)).flatten();
        let host = forwarded("x-forwarded-host")
            .or_else(|| request.uri().authority().map(Authority::as_str))
            .or_else(|| text(headers, header::HOST.as_str()))?;
        let scheme = forwarded("x-forwarded-proto").filter(|scheme| *scheme == "https").unwrap_or("http");
        is_plain_authority(host).then(|| Origin(format!("{scheme}://{host}")))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether the text is HOST or HOST:PORT and nothing else. It becomes part of URLs.
fn is_plain_authority(host: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    host.len() <= 255
        && host.bytes().all(allowed)
        && host.parse::<Authority>().is_ok_and(|authority| !authority.host().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_plain_authority_accepts_only_host_and_port() {
        for good in ["localhost", "127.0.0.1:8080", "[::1]:8080", "video.example.org"] {
            assert!(is_plain_authority(good), "{good}");
        }
        for bad in ["", "user@host", "host/path", "host name", "host\"", ":80", "a:b:c"] {
            assert!(!is_plain_authority(bad), "{bad}");
        }
    }

    #[test]
    fn last_forwarded_is_the_address_that_the_nearest_proxy_added() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "6.6.6.6, 10.0.0.1".parse().unwrap());
        assert_eq!(last_forwarded(&headers), "10.0.0.1".parse().ok());
        headers.append("x-forwarded-for", "nonsense".parse().unwrap());
        assert_eq!(last_forwarded(&headers), None);
    }
}
