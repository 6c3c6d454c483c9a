//! What a gateway is told at start.

use std::collections::BTreeMap;

use reelmill_platform::shared_state::RateLimit;

/// How one gateway is set up.
#[derive(Clone)]
pub struct GatewayConfig {
    /// Scheme and authority that clients reach the gateway by, as `https://video.example.org`. Without it,
    /// the host that each client came by is taken.
    pub public_url: Option<String>,
    /// Secret that playback addresses are signed with, the same in every role that signs them.
    pub playback_secret: String,
    /// Where each role is: `reelmill.auth.v1.X` goes to `auth`, the second word of its package. Values are
    /// `http://HOST:PORT` or `unix:///PATH`.
    pub upstreams: BTreeMap<String, String>,
    /// Origins that browsers may call from, besides the gateway's own: exact ones get credentials (cookies),
    /// `*` stands for every origin and gets none. Empty: the gateway's own pages only.
    pub allowed_origins: Vec<String>,
    /// What each signed-in user may spend.
    pub rate: RateLimit,
    /// What each client address may spend without signing in.
    pub anonymous_rate: RateLimit,
    /// Scheme and authority that browsers put parts to, where that is not the gateway itself.
    pub store_url: Option<String>,
    /// Whether a proxy in front sets `X-Forwarded-For`, `-Proto` and `-Host`. Believed only then.
    pub trusted_proxies: bool,
}

/// Hides the secret.
impl std::fmt::Debug for GatewayConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayConfig")
            .field("public_url", &self.public_url)
            .field("upstreams", &self.upstreams)
            .field("allowed_origins", &self.allowed_origins)
            .field("trusted_proxies", &self.trusted_proxies)
            .finish_non_exhaustive()
    }
}
