//! Who is at the other end of a connection, and by which address they came.

use std::net::{IpAddr, SocketAddr};

use axum::{extract::ConnectInfo, extract::Request};
use http::{HeaderMap, header, uri::Authority};
use reelmill_mesh::Origin;

use crate::GatewayConfig;

/// The name that an address spends from a rate limit under. IPv6 users have whole /64 networks, so those
/// count as one.
pub(crate) fn address_of(request: &Request, config: &GatewayConfig) -> String {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let forwarded = config.trusted_proxies.then(|| last_forwarded(request.headers())).flatten();
    match forwarded.or(peer).map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        None => "unknown".to_owned(),
    }
}

/// The last address in `X-Forwarded-For`: the one that the nearest proxy saw for itself.
fn last_forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let values = headers.get_all("x-forwarded-for").iter().next_back()?;
    values.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

/// Scheme and authority that clients reach this gateway by.
pub(crate) fn origin_of(request: &Request, config: &GatewayConfig) -> Option<Origin> {
    if let Some(public_url) = &config.public_url {
        return Some(Origin(public_url.trim_end_matches('/').to_owned()));
    }
    let headers = request.headers();
    let trusted = |name| config.trusted_proxies.then(|| text(headers, name)).flatten();
    let host = trusted("x-forwarded-host")
        .or_else(|| request.uri().authority().map(Authority::as_str))
        .or_else(|| text(headers, header::HOST.as_str()))?;
    let scheme = trusted("x-forwarded-proto").filter(|scheme| *scheme == "https").unwrap_or("http");
    is_plain_authority(host).then(|| Origin(format!("{scheme}://{host}")))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// HOST or HOST:PORT and nothing else: it is going to stand in addresses that others are given.
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
    fn only_plain_authorities_stand_in_addresses() {
        for good in ["localhost", "127.0.0.1:8080", "[::1]:8080", "video.example.org"] {
            assert!(is_plain_authority(good), "{good}");
        }
        for bad in ["", "user@host", "host/path", "host name", "host\"", ":80", "a:b:c"] {
            assert!(!is_plain_authority(bad), "{bad}");
        }
    }

    #[test]
    fn the_nearest_proxy_is_believed_not_the_client() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "6.6.6.6, 10.0.0.1".parse().unwrap());
        assert_eq!(last_forwarded(&headers), "10.0.0.1".parse().ok());
        headers.append("x-forwarded-for", "nonsense".parse().unwrap());
        assert_eq!(last_forwarded(&headers), None);
    }
}
