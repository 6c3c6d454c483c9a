//! Configuration of a gateway.

use std::collections::BTreeMap;

use reelmill_platform::shared_state::RateLimit;

/// Configuration of a gateway.
#[derive(Clone)]
pub struct GatewayConfig {
    /// Scheme and authority by which clients reach the gateway, as `https://video.example.org`. `None`: the host that
    /// each request names.
    pub public_url: Option<String>,
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
    /// Whether a reverse proxy sets `X-Forwarded-For`, `-Proto` and `-Host`. Otherwise these headers are ignored.
    pub trusted_proxies: bool,
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
