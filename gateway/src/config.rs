//! Configuration of a gateway.

use std::collections::BTreeMap;

use bytes::Bytes;
use reelmill_platform::shared_state::RateLimit;

use crate::{client::ProxyHeader, error::GatewayError};

/// Configuration of a gateway.
#[derive(Clone)]
pub struct GatewayConfig {
    /// Scheme and authority by which clients reach the gateway, as `https://video.example.org`. `None`: the host that
    /// each request names.
    pub public_url: Option<String>,
    /// The API: an encoded `FileDescriptorSet` whose methods declare their policies, [`reelmill_proto::DESCRIPTORS`].
    pub descriptors: Bytes,
    /// Secret that playback URLs are signed with, the same in every role that signs them.
    pub playback_secret: String,
    /// Address of each role, `http://HOST:PORT` or `unix:///PATH`. The role of a method is the second word of its
    /// package: `auth` for `reelmill.auth.v1`.
    pub upstreams: BTreeMap<String, String>,
    /// Origins of web pages that may call, besides the gateway's own. Listed origins may send credentials (cookies);
    /// `*` allows all others without credentials. Empty: only the gateway's own pages.
    pub allowed_origins: Vec<String>,
    /// Rate limit of each signed-in user.
    pub rate: RateLimit,
    /// Rate limit of each client address for calls without a valid access token.
    pub anonymous_rate: RateLimit,
    /// URL to which browsers upload parts, if the object store is not behind the gateway.
    pub object_store_url: Option<String>,
    /// Bounds of what callers may use at once.
    pub limits: Limits,
    /// Addresses and networks (`10.0.0.0/8`) of reverse proxies. Their header `proxy_header` gives the address of the
    /// client; that of others is ignored.
    pub trusted_proxies: Vec<String>,
    /// The header in which these proxies say for whom they forward.
    pub proxy_header: ProxyHeader,
}

impl std::fmt::Debug for GatewayConfig {
    /// Omits the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayConfig")
            .field("public_url", &self.public_url)
            .field("upstreams", &self.upstreams)
            .field("allowed_origins", &self.allowed_origins)
            .field("trusted_proxies", &self.trusted_proxies)
            .finish_non_exhaustive()
    }
}

/// Bounds of what callers may use at once. What exceeds them is refused with OVERLOADED, or closed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Calls and streams of one user.
    pub calls_per_user: usize,
    /// Calls of one client address without a valid access token.
    pub calls_per_address: usize,
    /// Bytes of request bodies in memory, of all callers.
    pub body_bytes: usize,
    /// Open connections. Beyond it, the one that was active least recently is closed, those with calls of signed-in users
    /// last.
    pub connections: usize,
    /// The same for one client address; without effect behind trusted proxies, whose address is that of all clients.
    pub connections_per_address: usize,
}

impl Limits {
    /// # Errors
    /// When one of them is 0.
    pub(crate) fn checked(self) -> Result<Self, GatewayError> {
        let all = [
            ("calls_per_user", self.calls_per_user),
            ("calls_per_address", self.calls_per_address),
            ("request_body_bytes", self.body_bytes),
            ("connections", self.connections),
            ("connections_per_address", self.connections_per_address),
        ];
        match all.into_iter().find(|(_, limit)| *limit == 0) {
            Some((setting, _)) => {
                Err(GatewayError::Setting { setting, cause: "must be at least 1".to_owned() })
            }
            None => Ok(self),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_per_user: 1024,
            calls_per_address: 128,
            body_bytes: 64 << 20,
            connections: 8192,
            connections_per_address: 1024,
        }
    }
}
