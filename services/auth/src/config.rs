//! What the role is configured with.

use std::{fmt, time::Duration};

/// What the auth role needs to know.
#[derive(Clone)]
pub struct AuthConfig {
    /// `sqlite:` or `postgres:` URL of the auth database.
    pub database_url: String,
    /// Ed25519 private key that signs access tokens, as PKCS#8 in PEM.
    pub signing_key_pem: String,
    /// How long an access token is valid; 15 minutes by default.
    pub access_token_ttl: Duration,
    /// How long a session lives without being refreshed; 30 days by default.
    pub refresh_token_ttl: Duration,
    /// What hashing a password costs.
    pub password_hashing: PasswordHashing,
}

/// Cost of Argon2id, and how much of it may go on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordHashing {
    /// Memory of one hash, in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
    /// Hashes computed at once in this process; at least 1.
    pub concurrency: usize,
    /// How long a call may wait for its turn before it is refused as OVERLOADED.
    pub longest_wait: Duration,
}

impl AuthConfig {
    /// The defaults, for a database and a key.
    pub fn new(database_url: impl Into<String>, signing_key_pem: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            signing_key_pem: signing_key_pem.into(),
            access_token_ttl: Duration::from_secs(15 * 60),
            refresh_token_ttl: Duration::from_secs(30 * 24 * 60 * 60),
            password_hashing: PasswordHashing::default(),
        }
    }
}

/// Neither the key nor the URL, which may hold a password, belongs in a log.
impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("access_token_ttl", &self.access_token_ttl)
            .field("refresh_token_ttl", &self.refresh_token_ttl)
            .field("password_hashing", &self.password_hashing)
            .finish_non_exhaustive()
    }
}

impl Default for PasswordHashing {
    /// 19 MiB, two passes, one lane: OWASP's recommendation for Argon2id (Password Storage Cheat Sheet).
    /// One core is left to everything else.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            memory_kib: 19 * 1024,
            iterations: 2,
            parallelism: 1,
            concurrency: cores.saturating_sub(1).clamp(1, 8),
            longest_wait: Duration::from_secs(5),
        }
    }
}
