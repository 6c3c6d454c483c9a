//! Configuration of the auth service.

use std::{fmt, time::Duration};

/// Configuration of the auth service.
#[derive(Clone)]
pub struct AuthConfig {
    /// URL of the auth database: `sqlite:` or `postgres:`.
    pub database_url: String,
    /// Ed25519 private key that signs access tokens, as PKCS#8 in PEM.
    pub signing_key_pem: String,
    /// Lifetime of an access token; 15 minutes by default.
    pub access_token_ttl: Duration,
    /// Lifetime of a session that is not refreshed; 30 days by default.
    pub refresh_token_ttl: Duration,
    /// Cost and concurrency of password hashing.
    pub password_hashing: PasswordHashing,
}

/// Cost of Argon2id, and limits on concurrent hashing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordHashing {
    /// Memory of one hash, KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
    /// Concurrent hashes in this process; at least 1.
    pub concurrency: usize,
    /// How long a call waits to start hashing before it fails with OVERLOADED.
    pub max_wait: Duration,
}

impl AuthConfig {
    /// Defaults for a database and a signing key.
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

/// Omits the key and the URL, which may contain a password.
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
    /// 19 MiB, two passes, one lane: OWASP's recommendation for Argon2id (Password Storage Cheat Sheet). One core stays
    /// free for other work.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            memory_kib: 19 * 1024,
            iterations: 2,
            parallelism: 1,
            concurrency: cores.saturating_sub(1).clamp(1, 8),
            max_wait: Duration::from_secs(5),
        }
    }
}
