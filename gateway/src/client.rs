//! Address of a client, and the origin by which it reached the gateway.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use http::{HeaderMap, HeaderName, HeaderValue, header, uri::Authority};
use ipnet::IpNet;
use reelmill_mesh::Origin;

use crate::{config::GatewayConfig, error::GatewayError};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The header in which a proxy says for whom it forwards. Only the configured one counts: a proxy passes a client's own
/// headers of the other kind on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl std::str::FromStr for ProxyHeader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "x-forwarded" => Ok(Self::XForwarded),
            "forwarded" => Ok(Self::Forwarded),
            other => Err(format!("`{other}` is neither \"x-forwarded\" nor \"forwarded\"")),
        }
    }
}

/// The reverse proxies whose headers are accepted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    networks: Vec<IpNet>,
    header: ProxyHeader,
}

impl Proxies {
    /// # Errors
    /// When a network is neither an address nor `ADDRESS/BITS`.
    pub(crate) fn new(config: &GatewayConfig) -> Result<Self, GatewayError> {
        let networks = config.trusted_proxies.iter().map(|text| {
            let address = text.parse::<IpAddr>().map(IpNet::from);
            let network = text.parse::<IpNet>().or(address);
            network.map_err(|_| GatewayError::Setting {
                setting: "trusted_proxies",
                cause: format!("`{text}` is neither an address nor a network such as 10.0.0.0/8"),
            })
        });
        Ok(Self { networks: networks.collect::<Result<_, _>>()?, header: config.proxy_header })
    }

    /// Whether headers from this address are accepted.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The address of the client. Each proxy appends the address from which it received the request: of the list, read from
    /// its end, the first one that is no trusted proxy. Clients can forge those before it.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let forwarded = self.forwarded_for(headers);
        let mut hops = forwarded.iter().rev();
        while self.contains(client) {
            // Without a readable address, the nearest proxy that is known stands for the client.
            let Some(Some(hop)) = hops.next() else { break };
            client = hop.to_canonical();
        }
        client
    }

    /// Addresses in the configured header, the nearest one last; `None` for those that are hidden or malformed.
    fn forwarded_for(&self, headers: &HeaderMap) -> Vec<Option<IpAddr>> {
        match self.header {
            ProxyHeader::XForwarded => list(headers, &X_FORWARDED_FOR).map(parse_address).collect(),
            ProxyHeader::Forwarded => {
                let elements = list(headers, &header::FORWARDED);
                elements.map(|element| parameter(element, "for").and_then(parse_address)).collect()
            }
        }
    }

    /// Scheme and host by which the client reached the nearest trusted proxy.
    fn origin<'a>(&self, peer: IpAddr, headers: &'a HeaderMap) -> (Option<&'a str>, Option<&'a str>) {
        if !self.contains(peer) {
            return (None, None);
        }
        match self.header {
            ProxyHeader::XForwarded => {
                (list(headers, &X_FORWARDED_PROTO).last(), list(headers, &X_FORWARDED_HOST).last())
            }
            ProxyHeader::Forwarded => {
                let last = list(headers, &header::FORWARDED).last().unwrap_or_default();
                (parameter(last, "proto"), parameter(last, "host"))
            }
        }
    }
}

/// Elements of a comma-separated header, of all its lines.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    // Each by itself: a client's unreadable one must not hide those that proxies have appended.
    let elements = lines.flat_map(|line| line.split(|byte| *byte == b','));
    elements.map(|element| str::from_utf8(element).unwrap_or_default().trim())
}

/// Value of a parameter of an element of `Forwarded`, without quotes.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(found, _)| found.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim().trim_matches('"'))
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// Determines client addresses for rate limits.
pub(crate) struct ClientAddresses {
    proxies: Proxies,
}

impl ClientAddresses {
    pub(crate) fn new(proxies: Proxies) -> Self {
        Self { proxies }
    }

    /// The networks of a client, which name its rate limits.
    pub(crate) fn networks(&self, peer: SocketAddr, headers: &HeaderMap) -> Networks {
        let address = self.proxies.client(peer.ip(), headers);
        let wide = match address {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                format!("{a}.{b}.{c}.0/24")
            }
            IpAddr::V6(address) => {
                let [a, b, c, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}::/48")
            }
        };
        Networks { narrow: network(address), wide }
    }
}

/// Networks of an address.
pub(crate) struct Networks {
    /// Of one customer: see [`network`].
    pub narrow: String,
    /// Of many addresses that one attacker may have: an IPv4 /24, or an IPv6 /48.
    pub wide: String,
}

/// The part of an address that belongs to one customer: an IPv4 address, or an IPv6 /64 network.
pub(crate) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// Determines the scheme and authority by which clients reach the gateway.
pub(crate) struct ClientOrigins {
    public_origin: Option<Origin>,
    proxies: Proxies,
}

impl ClientOrigins {
    /// # Errors
    /// When the public URL is no header value.
    pub(crate) fn new(config: &GatewayConfig, proxies: Proxies) -> Result<Self, GatewayError> {
        let public_url = config.public_url.as_deref().map(|url| url.trim_end_matches('/'));
        if let Some(Err(error)) = public_url.map(HeaderValue::from_str) {
            return Err(GatewayError::Setting { setting: "public_url", cause: error.to_string() });
        }
        let public_origin = public_url.map(|url| Origin(url.to_owned()));
        Ok(Self { public_origin, proxies })
    }

    /// The origin of a request: as configured, as a trusted proxy says, or as the request names it.
    pub(crate) fn origin_of(&self, request: &Request) -> Option<Origin> {
        if let Some(origin) = &self.public_origin {
            return Some(origin.clone());
        }
        let headers = request.headers();
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let (scheme, host) =
            peer.map_or((None, None), |ConnectInfo(peer)| self.proxies.origin(peer.ip(), headers));
        let host = host
            .or_else(|| request.uri().authority().map(Authority::as_str))
            .or_else(|| headers.get(header::HOST)?.to_str().ok())?;
        let scheme = scheme.filter(|scheme| *scheme == "https").unwrap_or("http");
        is_plain_authority(host).then(|| Origin(format!("{scheme}://{host}")))
    }
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

    fn proxies(header: ProxyHeader) -> Proxies {
        Proxies { networks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()], header }
    }

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

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
    fn client_is_the_nearest_address_that_is_no_trusted_proxy() {
        let client = |peer: &str, list: &[&str]| {
            let lines: Vec<_> = list.iter().map(|value| (X_FORWARDED_FOR, *value)).collect();
            let mut map = HeaderMap::new();
            for (name, value) in lines {
                map.append(name, value.parse().unwrap());
            }
            proxies(ProxyHeader::XForwarded).client(peer.parse().unwrap(), &map).to_string()
        };
        assert_eq!(client("192.0.2.9", &["1.1.1.1"]), "192.0.2.9", "not from a proxy");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "192.0.2.1, 10.9.9.9"]), "192.0.2.1", "two proxies");
        assert_eq!(client("::ffff:10.0.0.1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["192.0.2.1:4711"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["192.0.2.1, nonsense"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.2"]), "10.0.0.2", "a client in the proxies' network");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn only_the_configured_header_counts() {
        let both = headers(&[
            (X_FORWARDED_FOR, "192.0.2.1"),
            (header::FORWARDED, "for=6.6.6.6, for=\"[2001:db8::7]:80\";proto=https;host=a.example"),
            (X_FORWARDED_HOST, "b.example"),
        ]);
        let peer = "10.0.0.1".parse().unwrap();
        let (x_forwarded, forwarded) = (proxies(ProxyHeader::XForwarded), proxies(ProxyHeader::Forwarded));
        assert_eq!(x_forwarded.client(peer, &both).to_string(), "192.0.2.1");
        assert_eq!(forwarded.client(peer, &both).to_string(), "2001:db8::7");
        assert_eq!(x_forwarded.origin(peer, &both), (None, Some("b.example")));
        assert_eq!(forwarded.origin(peer, &both), (Some("https"), Some("a.example")));
        assert_eq!(forwarded.origin("192.0.2.1".parse().unwrap(), &both), (None, None));
    }
}
